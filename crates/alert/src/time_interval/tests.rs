//! Texts of ranges, and moments inside and outside of them.

use super::*;

fn ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn check(interval: &TimeInterval, inside: &[&str], outside: &[&str]) {
    for t in inside {
        assert!(interval.contains(ms(t)), "{t} in {interval:?}");
    }
    for t in outside {
        assert!(!interval.contains(ms(t)), "{t} in {interval:?}");
    }
}

#[test]
fn times_end_before_their_end_and_may_go_over_midnight() {
    let day = TimeInterval {
        times: vec![Times::parse("09:00", "17:00").unwrap()],
        weekdays: vec![weekdays("monday:Friday").unwrap()],
        ..TimeInterval::default()
    };
    check(
        &day,
        &["2020-07-08T09:00:00Z", "2020-07-08T16:59:59Z"],
        &["2020-07-08T17:00:00Z", "2020-07-11T10:00:00Z", "2020-07-12T10:00:00Z"],
    );
    let night = TimeInterval {
        times: vec![Times::parse("22:00", "06:00").unwrap()],
        ..TimeInterval::default()
    };
    check(
        &night,
        &["2020-07-08T22:00:00Z", "2020-07-08T00:00:00Z", "2020-07-08T05:59:00Z"],
        &["2020-07-08T06:00:00Z", "2020-07-08T21:59:00Z"],
    );
    let whole = Times::parse("00:00", "24:00").unwrap();
    let whole = TimeInterval { times: vec![whole], ..TimeInterval::default() };
    check(&whole, &["2020-07-08T23:59:59Z", "2020-07-08T00:00:00Z"], &[]);
    check(&TimeInterval::default(), &["1999-12-31T23:59:59Z"], &[]);
}

#[test]
fn days_count_from_the_end_of_each_month() {
    let last = TimeInterval {
        days_of_month: vec![days_of_month("-2:-1").unwrap()],
        ..TimeInterval::default()
    };
    check(
        &last,
        &["2024-02-28T00:00:00Z", "2024-02-29T00:00:00Z", "2023-04-30T00:00:00Z"],
        &["2024-02-27T23:59:59Z", "2023-03-29T12:00:00Z"],
    );
    let none = TimeInterval {
        days_of_month: vec![days_of_month("30:31").unwrap()],
        ..TimeInterval::default()
    };
    check(&none, &["2023-01-30T00:00:00Z"], &["2023-02-28T00:00:00Z"]);
    let all = Range { first: -31, last: 31 };
    let all = TimeInterval { days_of_month: vec![all], ..TimeInterval::default() };
    check(&all, &["2023-02-01T00:00:00Z", "2023-02-28T00:00:00Z"], &[]);
}

#[test]
fn a_location_has_its_own_days() {
    let interval = TimeInterval {
        months: vec![months("1:2").unwrap()],
        years: vec![years("2026").unwrap()],
        location: Some(location("Australia/Sydney").unwrap()),
        ..TimeInterval::default()
    };
    check(
        &interval,
        &["2025-12-31T13:00:00Z", "2026-02-28T12:59:59Z"],
        &["2025-12-31T12:59:59Z", "2026-02-28T13:00:00Z"],
    );
}

#[test]
fn mistakes_have_alertmanagers_words() {
    let times = |text: &str| {
        let (start, end) = text.split_once(' ').unwrap();
        Times::parse(start, end).map(|_| Range { first: 0, last: 0 })
    };
    let location = |text: &str| location(text).map(|_| Range { first: 0, last: 0 });
    let check = |read: &dyn Fn(&str) -> Result<Range>, text: &str, expected: &str| {
        assert_eq!(read(text).unwrap_err().message(), expected, "{text}");
    };
    check(&times, "9:00 10:00", "couldn't parse timestamp 9:00, invalid format");
    check(&times, "24:01 24:00", "couldn't parse timestamp 24:01, invalid format");
    check(&times, "+9:00 10:00", "couldn't parse timestamp +9:00, invalid format");
    check(&times, " 10:00", "both start and end times must be provided");
    check(&times, "10:00 10:00", "start time cannot be equal or greater than end time");
    check(&weekdays, "mon:tue", "mon is not a valid weekday");
    check(&weekdays, "1", "1 is not a valid weekday");
    check(&weekdays, "friday:monday", "start day cannot be before end day");
    check(&weekdays, "a:b:c", "couldn't parse range a:b:c, invalid format");
    check(&days_of_month, "0", "0 is not a valid day of the month: out of range");
    check(&days_of_month, "x", "x is not a valid day of the month");
    check(&days_of_month, "1:32", "32 is not a valid day of the month: out of range");
    check(&days_of_month, "-3:5", "end day must be negative if start day is negative");
    check(&days_of_month, "10:5", "end day 5 is always before start day 10");
    check(&days_of_month, "-5:-10", "end day -10 is always before start day -5");
    check(&months, "0", "0 is not a valid month: out of range");
    check(&months, "May:March", "end month march is before start month may");
    check(&months, "junius", "junius is not a valid month");
    check(&years, "2026:2020", "end year 2020 is before start year 2026");
    check(&years, "x", "x is not a valid year");
    check(&location, "Atlantis/Center", "unknown time zone Atlantis/Center");
}

//! Calendar functions, UTC: `hour`, `day_of_week`, …

/// The function of Unix seconds called `name`.
pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |t| of(t, |s| (s.rem_euclid(3600) / 60) as i64),
        "hour" => |t| of(t, |s| (s.rem_euclid(86_400) / 3600) as i64),
        "day_of_week" => |t| of(t, |s| (day_of(s) + 4).rem_euclid(7)),
        "day_of_month" => |t| of(t, |s| Date::new(s).day),
        "day_of_year" => |t| of(t, |s| Date::new(s).day_of_year()),
        "days_in_month" => |t| of(t, |s| Date::new(s).days_in_month()),
        "month" => |t| of(t, |s| Date::new(s).month),
        "year" => |t| of(t, |s| Date::new(s).year),
        _ => return None,
    })
}

/// `f` of whole seconds. What is no date (NaN, infinities, beyond 64 bits) is the one that Prometheus makes of it on
/// x86-64: the conversion gives the least integer, and its clock counts from [`CLOCK_START`], modulo 2^64.
fn of(t: f64, f: impl Fn(i128) -> i64) -> f64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let seconds = i128::from(if (-LIMIT..LIMIT).contains(&t) { t as i64 } else { i64::MIN });
    let seconds = if seconds < CLOCK_START { seconds + (1 << 64) } else { seconds };
    f(seconds) as f64
}

/// Unix seconds of the first of January of the year -292,277,022,399.
const CLOCK_START: i128 = -9_223_372_028_715_321_600;

fn day_of(seconds: i128) -> i64 {
    // Fewer than 2^48 days either way.
    seconds.div_euclid(86_400) as i64
}

struct Date {
    year: i64,
    /// 1 to 12.
    month: i64,
    /// 1 to 31.
    day: i64,
}

impl Date {
    /// The date of a moment in Unix seconds, in the proleptic Gregorian calendar.
    fn new(seconds: i128) -> Self {
        // Years that begin in March put the leap day last.
        let days = day_of(seconds) + 719_468;
        let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self { year, month, day: day_of_year - (153 * march_month + 2) / 5 + 1 }
    }

    fn is_leap(&self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    fn days_in_month(&self) -> i64 {
        match self.month {
            2 if self.is_leap() => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    fn day_of_year(&self) -> i64 {
        let before = (1..self.month).map(|month| Self { month, ..*self }.days_in_month());
        before.sum::<i64>() + self.day
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_date_has_the_parts_that_prometheus_gives_it() {
        let parts = |t: f64| {
            ["year", "month", "day_of_month", "hour", "minute", "day_of_week"]
                .map(|name| find(name).map_or(f64::NAN, |f| f(t)))
        };
        let end = [292_277_026_596.0, 12.0, 4.0, 15.0, 30.0, 0.0];
        for t in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(parts(t), end, "{t}");
        }
        assert_eq!(parts(951_782_400.0), [2000.0, 2.0, 29.0, 0.0, 0.0, 2.0]);
        assert_eq!(parts(-1.0), [1969.0, 12.0, 31.0, 23.0, 59.0, 3.0]);
    }
}

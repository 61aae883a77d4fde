//! Calendar functions, UTC: `hour`, `day_of_week`, …

/// The function of Unix seconds called `name`.
pub(super) fn find(name: &str) -> Option<fn(f64) -> f64> {
    Some(match name {
        "minute" => |t| of(t, |s| s.rem_euclid(3600) / 60),
        "hour" => |t| of(t, |s| s.rem_euclid(86_400) / 3600),
        "day_of_week" => |t| of(t, |s| (s.div_euclid(86_400) + 4).rem_euclid(7)),
        "day_of_month" => |t| of(t, |s| Date::new(s).day),
        "day_of_year" => |t| of(t, |s| Date::new(s).day_of_year()),
        "days_in_month" => |t| of(t, |s| Date::new(s).days_in_month()),
        "month" => |t| of(t, |s| Date::new(s).month),
        "year" => |t| of(t, |s| Date::new(s).year),
        _ => return None,
    })
}

/// `f` of whole seconds, as long as they make a date.
fn of(t: f64, f: impl Fn(i64) -> i64) -> f64 {
    // A hundred thousand million years either way.
    const SECONDS_MAX: f64 = 3e18;
    if t.is_nan() || t.abs() > SECONDS_MAX { f64::NAN } else { f(t as i64) as f64 }
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
    fn new(seconds: i64) -> Self {
        // Years that begin in March put the leap day last.
        let days = seconds.div_euclid(86_400) + 719_468;
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

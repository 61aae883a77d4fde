//! Snapshots: a directory that opens as a store of its own, made of hard links to the parts that are live now.
//!
//! Owns: names of snapshots, and one shard's share. Does not own: flushing before ([`shard`](crate::shard)).

use std::path::Path;
use std::sync::Arc;

use model::Result;
use storage::fs;
use storage::manifest::{Edit, Manifest};

use crate::shard::{Changes, Shared};

/// Name of a snapshot made at `now_ms`, as Prometheus names them: `20260102T150405Z-` and a number in hexadecimal that
/// tells those of one second apart.
pub(crate) fn name(now_ms: i64, number: u64) -> String {
    let seconds = now_ms.div_euclid(1000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{number:016x}")
}

/// Year, month and day of a number of days since 1970-01-01, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Years are counted from March on, so that the leap day is the last one of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let leap_days = day_of_era / 1460 - day_of_era / 36_524 + day_of_era / 146_096;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Links what is live in a shard into the directory `dest`, durably; `changes` are held meanwhile, so nothing of it goes.
///
/// # Errors
/// [`Io`](model::ErrorKind::Io), also where the file system has no hard links; [`Busy`](model::ErrorKind::Busy) on a full
/// disk.
pub(crate) fn write(shared: &Shared, changes: &Changes, dest: &Path) -> Result<()> {
    let parts_dir = dest.join("parts");
    // First: it would take files that it does not know for leftovers.
    let (mut manifest, _) = Manifest::open(Arc::clone(&shared.fs), &parts_dir)?;
    let live = changes.manifest.parts();
    for name in live.keys() {
        let (from, to) = (shared.parts_dir.join(name), parts_dir.join(name));
        shared
            .fs
            .hard_link(&from, &to)
            .map_err(|e| fs::error(format!("link {} into a snapshot", from.display()), e))?;
    }
    shared
        .fs
        .sync_dir(&parts_dir)
        .map_err(|e| fs::error(format!("sync {}", parts_dir.display()), e))?;
    let parts = live.iter().map(|(n, m)| Edit::AddPart { name: n.clone(), meta: m.clone() });
    let values = changes.manifest.values().iter();
    let values = values.map(|(k, v)| Edit::Set { key: k.clone(), value: v.clone() });
    manifest.commit(&parts.chain(values).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_the_time() {
        let cases = [
            (0, "19700101T000000Z-0000000000000007"),
            (951_825_599_999, "20000229T115959Z-0000000000000007"),
            (1_767_366_245_000, "20260102T150405Z-0000000000000007"),
            (4_107_542_399_000, "21000228T235959Z-0000000000000007"),
            (-1, "19691231T235959Z-0000000000000007"),
        ];
        for (now_ms, expected) in cases {
            assert_eq!(name(now_ms, 7), expected);
        }
    }
}

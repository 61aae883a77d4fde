//! Pages of roll-ups: foreign bytes give windows of a day and as many numbers, or errors.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::RollUpNeeds;
use storage::codec::Reader;
use tsdb::rollup::{RolledPage, RolledSeries, WINDOWS_MAX, decode_windows};

fuzz_target!(|bytes: &[u8]| {
    let windows = decode_windows(&mut Reader::new(bytes)).unwrap_or_default();
    assert!(windows.len() <= WINDOWS_MAX);
    let Ok(page) = RolledPage::decode(bytes) else { return };
    let mut series = RolledSeries::default();
    for slot in 0..page.len() {
        for bits in 0u8..16 {
            let needs = RollUpNeeds {
                falls: bits & 1 != 0,
                extremes: bits & 2 != 0,
                sums: bits & 4 != 0,
                markers: bits & 8 != 0,
            };
            if page.series(slot, &windows, needs, &mut series).is_ok() {
                assert!(series.last.len() == series.first.len());
                assert!(series.last.len() <= WINDOWS_MAX);
                assert!(series.falls.iter().all(|f| (f.window as usize) < series.last.len()));
            }
        }
    }
});

//! Merges: how much they write, what they copy, and that they can be stopped anywhere.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{OnceLock, Weak};

use model::ErrorKind;

use super::*;
use crate::shard::Common;

/// 20,000 days after 1970, 00:00.
const MIDNIGHT_MS: i64 = 20_000 * DAY_MS;

/// A store whose merges are only those that are asked for.
fn open_quiet(fs: &FaultyFs, clock: &Arc<dyn Clock>, config: Config) -> Arc<Store> {
    let (store, _) = Store::open(Arc::new(fs.process()), Arc::clone(clock), config).unwrap();
    store.common.set_wake(None);
    store.merger.lock().take().unwrap().join().unwrap();
    store
}

fn quiet_config() -> Config {
    // Flushed when told to, not by itself.
    Config { flush_after_ms: i64::MAX, head_bytes_max: 1 << 30, ..config() }
}

fn merge_all(store: &Store) {
    while store.merge().unwrap() {}
}

fn parts_dir() -> PathBuf {
    quiet_config().dir.join("parts")
}

/// Some counters, and how many bytes were written for them.
struct Counters {
    random: Random,
    fs: FaultyFs,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    values: Vec<u64>,
    truth: Table,
    flushed: u64,
}

impl Counters {
    fn new(count: usize) -> Self {
        let (fs, clock) = (FaultyFs::new(), Arc::new(ManualClock::at_ms(MIDNIGHT_MS)));
        let shown = Arc::clone(&clock) as Arc<dyn Clock>;
        let store = open_quiet(&fs, &shown, quiet_config());
        let (values, truth) = (vec![0; count], Table::new());
        Self { random: Random(7), fs, clock, store, values, truth, flushed: 0 }
    }

    fn written(&self) -> u64 {
        self.fs.bytes_written(&parts_dir())
    }

    fn scrape(&mut self, step_ms: i64) {
        self.clock.advance_ms(step_ms);
        let t_ms = self.clock.now_ms();
        let mut rows = Vec::new();
        for (number, value) in (0u64..).zip(&mut self.values) {
            *value += self.random.below(1000);
            rows.push((labels(number), (*value as f64).to_bits()));
        }
        append(&self.store, scrape("a", t_ms, &rows)).unwrap();
        for (labels, bits) in rows {
            self.truth.entry(labels).or_default().insert(t_ms, bits);
        }
    }

    fn flush(&mut self) {
        let before = self.written();
        self.store.flush().unwrap();
        self.flushed += self.written() - before;
    }

    fn check(&self) {
        let (found, _) = read(&self.store, &plan(vec![], i64::MIN, i64::MAX));
        assert_eq!(found, self.truth);
    }

    /// Bytes written per byte flushed.
    fn amplification(&self) -> f64 {
        self.written() as f64 / self.flushed as f64
    }
}

/// A day of flushes every 30 minutes (by the clock) and every 5 (a full head): nothing is written more than three times,
/// and there are never many parts.
#[test]
fn merges_of_a_day_write_little() {
    for (scrapes, parts_max) in [(30, 15), (5, 50)] {
        let mut counters = Counters::new(80);
        let mut parts = 0;
        for _ in 0..1440 / scrapes {
            (0..scrapes).for_each(|_| counters.scrape(60_000));
            counters.flush();
            merge_all(&counters.store);
            parts = parts.max(counters.store.stats().parts);
        }
        assert!(parts <= parts_max, "{parts} parts");
        counters.clock.advance_ms(DAY_MS);
        counters.flush();
        merge_all(&counters.store);
        // The last scrape was at midnight: of the next day.
        assert_eq!(counters.store.stats().parts, 2);
        let amplification = counters.amplification();
        assert!((1.5..=3.0).contains(&amplification), "{amplification} after flushes of {scrapes}");
        counters.check();
    }
}

/// A trickle of late samples does not write the closed day again and again; a flood of them does, as it should.
#[test]
fn late_samples_write_little() {
    let mut counters = Counters::new(100);
    (0..1000).for_each(|_| counters.scrape(60_000));
    counters.flush();
    counters.clock.advance_ms(DAY_MS);
    merge_all(&counters.store);
    let day = counters.store.stats().part_bytes;
    let before = (counters.written(), counters.flushed);
    let late = |counters: &mut Counters, rows: std::ops::Range<u64>| {
        let t_ms = MIDNIGHT_MS + 30_000 + i64::try_from(counters.random.below(1_000_000)).unwrap();
        let rows: Vec<_> =
            rows.map(|n| (labels(n), t_ms, counters.random.value() & !STALE_NAN_BITS)).collect();
        append(&counters.store, stamped("late", &rows)).unwrap();
        for (labels, t_ms, bits) in rows {
            counters.truth.entry(labels).or_default().insert(t_ms, bits);
        }
        counters.flush();
        merge_all(&counters.store);
    };
    (0..40).for_each(|_| late(&mut counters, 0..3));
    let (written, flushed) = (counters.written() - before.0, counters.flushed - before.1);
    assert!(written <= 3 * flushed, "{written} bytes written for {flushed}");
    assert!(written < day, "{written} bytes written beside a day of {day}");
    counters.check();
    // Now they become a good part of the day, which is written anew with them.
    let mut floods = 0;
    while counters.store.stats().parts > 1 {
        late(&mut counters, 0..100);
        floods += 1;
        assert!(floods < 200, "{} parts", counters.store.stats().parts);
    }
    counters.check();
}

/// Lengths of the chunks of the only target of the only part.
fn chunks(store: &Store) -> Vec<usize> {
    let parts = store.shards[0].shared.head.read().parts.clone();
    let [part] = &parts[..] else { panic!("{} parts", parts.len()) };
    let index = part.index().unwrap();
    let target = &index.targets()[0];
    (0..target.chunks()).map(|chunk| target.chunk_rows(chunk)).collect()
}

#[test]
fn chunks_are_copied_where_nothing_meddles() {
    let mut counters = Counters::new(150);
    // Long ones, and short ones, which are joined.
    for scrapes in [5, 6, 2, 1, 2, 7, 2, 8] {
        // Series come and go: stripes shift.
        let count = 60 + usize::try_from(counters.random.below(90)).unwrap();
        counters.values.resize(count, 0);
        (0..scrapes).for_each(|_| counters.scrape(60_000));
        counters.flush();
    }
    counters.check();
    merge_all(&counters.store);
    assert_eq!(chunks(&counters.store), [5, 6, 5, 7, 2, 8]);
    counters.check();
    // A deletion concerns one series; the others stay as they are.
    let (start_ms, end_ms) = (MIDNIGHT_MS + 200_000, MIDNIGHT_MS + 400_000);
    counters.store.delete(&[vec![Matcher::equal("n", "7")]], start_ms, end_ms).unwrap();
    counters.truth.get_mut(&labels(7)).unwrap().retain(|t, _| !(start_ms..=end_ms).contains(t));
    counters.check();
    assert_eq!(counters.store.clean_tombstones().unwrap(), 1);
    assert_eq!(chunks(&counters.store), [5, 6, 5, 7, 2, 8]);
    counters.check();
    counters.clock.advance_ms(2 * DAY_MS);
    merge_all(&counters.store);
    assert_eq!(chunks(&counters.store), [33]);
    counters.check();
    counters.store.delete(&[vec![Matcher::equal("n", "70")]], 0, i64::MAX).unwrap();
    counters.truth.remove(&labels(70));
    assert_eq!(counters.store.clean_tombstones().unwrap(), 1);
    assert_eq!(chunks(&counters.store), [33]);
    counters.check();
}

/// Pulls the brake of a store when it was asked for the time often enough.
#[derive(Debug)]
struct StoppingClock {
    clock: ManualClock,
    left: AtomicI64,
    common: OnceLock<Weak<Common>>,
}

impl Clock for StoppingClock {
    fn now_ns(&self) -> i64 {
        self.clock.now_ns()
    }

    fn monotonic_ns(&self) -> i64 {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 0
            && let Some(common) = self.common.get().and_then(Weak::upgrade)
        {
            common.brake.stop();
        }
        self.clock.monotonic_ns()
    }
}

fn stop_and_crash(stop_after: i64) -> bool {
    let fs = FaultyFs::new();
    let stopping = Arc::new(StoppingClock {
        clock: ManualClock::at_ms(MIDNIGHT_MS),
        left: AtomicI64::new(i64::MAX),
        common: OnceLock::new(),
    });
    let clock = Arc::clone(&stopping) as Arc<dyn Clock>;
    let store = open_quiet(&fs, &clock, quiet_config());
    stopping.common.set(Arc::downgrade(&store.common)).unwrap();
    let mut random = Random(3);
    let (mut truth, mut histograms) = (Table::new(), Histograms::new());
    for round in 0..8 {
        for _ in 0..4 {
            stopping.clock.advance_ms(15_000);
            let t_ms = stopping.clock.now_ms();
            let rows: Vec<_> = (0..6).map(|n| (labels(n), random.value())).collect();
            append(&store, scrape("a", t_ms, &rows)).unwrap();
            for (labels, bits) in rows {
                truth.entry(labels).or_default().insert(t_ms, bits);
            }
        }
        let t_ms = stopping.clock.now_ms();
        let more = [(labels(50), t_ms, random.histogram())];
        append(&store, with_histograms("h", &more)).unwrap();
        let [(of, t_ms, histogram)] = more;
        histograms.entry(of).or_default().insert(t_ms, histogram);
        let late = (labels(60), t_ms - 7 - round, random.value());
        append(&store, stamped("b", std::slice::from_ref(&late))).unwrap();
        truth.entry(late.0).or_default().insert(late.1, late.2);
        store.flush().unwrap();
    }
    let names = |fs: &FaultyFs| {
        let files = fs.list(&parts_dir()).unwrap().into_iter();
        files.map(|file| file.name).collect::<Vec<_>>()
    };
    let files = names(&fs);
    stopping.left.store(stop_after, Ordering::Relaxed);
    let outcome = store.merge();
    stopping.left.store(i64::MAX, Ordering::Relaxed);
    let whole = plan(vec![], i64::MIN, i64::MAX);
    let check = |store: &Store| {
        assert_eq!(read(store, &whole).0, truth);
        assert_eq!(read_histograms(store, &whole), histograms);
    };
    check(&store);
    let was_stopped = outcome.is_err();
    if was_stopped {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Cancelled);
        assert_eq!(names(&fs), files, "nothing is left behind, nothing is gone");
        assert_eq!(store.merge().unwrap_err().kind(), ErrorKind::Cancelled, "for good");
    } else {
        assert!(names(&fs).len() < files.len());
    }
    // What was stopped can be done by the next process, whether this one ends in order or not.
    if stop_after % 2 == 0 {
        store.close().unwrap();
    } else {
        fs.crash(stop_after.unsigned_abs());
    }
    drop(store);
    let store = open_quiet(&fs, &clock, quiet_config());
    check(&store);
    merge_all(&store);
    check(&store);
    assert!(names(&fs).len() < files.len());
    was_stopped
}

#[test]
fn a_merge_stopped_anywhere_changes_nothing() {
    let mut stops = 0;
    while stop_and_crash(stops) {
        stops += 1;
    }
    // Once for each series of each merged part, and at the start.
    assert!(stops > 6, "stopped at {stops} places");
}

/// A merge does not begin without room for its output, and does not take what is to be kept free.
#[test]
fn merges_leave_room_on_the_disk() {
    let mut counters = Counters::new(50);
    for _ in 0..8 {
        (0..4).for_each(|_| counters.scrape(60_000));
        counters.flush();
    }
    let used: u64 = {
        let files = counters.fs.list(&parts_dir()).unwrap();
        files.iter().map(|file| file.len).sum()
    };
    counters.fs.set_capacity(Some(used + used / 4));
    let refused = counters.store.merge().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Busy, "{refused}");
    assert!(refused.to_string().contains("must stay"), "{refused}");
    counters.check();
    counters.fs.set_capacity(None);
    assert!(counters.store.merge().unwrap());
    counters.check();
}

//! Queries over closed days with roll-ups against the same queries over samples.

use std::sync::Arc;

use model::{
    Budget, Clock, Done, Labels, ManualClock, Matcher, MetricBatch, MetricMetadata, MetricPlan,
    MetricRow, MetricSource, MetricVisitor, Result, Selected, StampedRow, TimeRange, Visited,
    stale_nan,
};
use proptest::prelude::*;
use query::promql::{Evaluated, Options, PromQuery, Value, evaluate};
use storage::fs::RealFs;
use storage::wal::Durability;

use crate::part::DAY_MS;
use crate::{Config, Store};

const START_MS: i64 = 20_000 * DAY_MS;
const STEP_MS: i64 = 60_000;
const HOUR_MS: i64 = 3_600_000;

/// A store that is only asked for samples.
struct Samples<'s>(&'s Store);

impl MetricSource for Samples<'_> {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        self.0.select(plan, budget)
    }

    fn visit(&self, _: &MetricPlan, _: &dyn MetricVisitor, _: &Budget) -> Result<Visited> {
        Ok(Visited::default())
    }

    fn series(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<Labels>> {
        Ok(Vec::new())
    }

    fn label_names(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn label_values(
        &self,
        _: &str,
        _: &[Vec<Matcher>],
        _: TimeRange,
        _: &Budget,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn metadata(&self, _: Option<&str>) -> Vec<MetricMetadata> {
        Vec::new()
    }
}

fn rows(value: Value) -> Vec<(Labels, Vec<(i64, f64)>)> {
    match value {
        Value::Vector(samples) => {
            samples.into_iter().map(|s| (s.labels, vec![(s.t_ms, s.value)])).collect()
        }
        Value::Matrix(series) => series.into_iter().map(|s| (s.labels, s.points)).collect(),
        other => panic!("{other:?}"),
    }
}

/// Equal to 1e-12.
fn compare(rolled: Evaluated, ordinary: Evaluated) {
    assert_eq!(rolled.infos, ordinary.infos);
    assert_eq!(rolled.warnings, ordinary.warnings);
    let (rolled, ordinary) = (rows(rolled.value), rows(ordinary.value));
    let labels = |rows: &[(Labels, Vec<(i64, f64)>)]| -> Vec<Labels> {
        rows.iter().map(|row| row.0.clone()).collect()
    };
    assert_eq!(labels(&rolled), labels(&ordinary));
    for (a, b) in rolled.iter().zip(&ordinary) {
        assert_eq!(a.1.len(), b.1.len(), "{:?} {:?}", a, b);
        for (x, y) in a.1.iter().zip(&b.1) {
            let near = (x.1 - y.1).abs() <= 1e-12 * x.1.abs().max(y.1.abs());
            let same = x.1.to_bits() == y.1.to_bits() || x.1.is_nan() && y.1.is_nan();
            assert!(x.0 == y.0 && (same || near), "{x:?} is not {y:?} of {:?}", a.0);
        }
    }
}

struct Life {
    store: Arc<Store>,
    clock: Arc<ManualClock>,
    _dir: tempfile::TempDir,
}

impl Life {
    fn new(now_ms: i64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            dir: dir.path().to_owned(),
            durability: Durability::Interval { ms: 1000 },
            shards: 1,
            retention_ms: 1 << 40,
            retention_rules: Vec::new(),
            head_bytes_max: 1 << 30,
            index_bytes_max: 1 << 30,
            flush_after_ms: 1 << 40,
            series_max: 1 << 20,
            future_ms_max: 1000,
            free_bytes_floor: 0,
        };
        let clock = Arc::new(ManualClock::at_ms(now_ms));
        let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let (store, _) = Store::open(Arc::new(RealFs), store_clock, config).unwrap();
        Self { store, clock, _dir: dir }
    }

    fn append(&self, batch: MetricBatch) {
        // A flush is behind all of them.
        self.store.append(batch, Done::new(|outcome| drop(outcome.unwrap())));
    }

    fn scrape(&self, source: &str, values: impl Iterator<Item = (u32, f64)>) {
        let rows = values.map(|(n, value)| MetricRow { labels: labels(n), value }).collect();
        let t_ms = self.clock.now_ms();
        self.append(MetricBatch { source: source.into(), t_ms, rows, ..MetricBatch::default() });
    }

    /// Flushes and merges; what is over is closed.
    fn settle(&self) {
        self.store.flush().unwrap();
        while self.store.merge().unwrap() {}
    }

    /// Samples that the query reads, and its value; compared with what samples give.
    fn check(&self, text: &str, start_ms: i64, end_ms: i64, step_ms: i64) -> (u64, u64) {
        let text = text.to_owned();
        let query = PromQuery { text, start_ms, end_ms, step_ms, lookback_ms: 300_000 };
        let options = Options { experimental: true, ..Options::default() };
        let run = |source: &dyn MetricSource| {
            let budget = Budget::unlimited();
            let evaluated = evaluate(source, &query, &options, &budget);
            (evaluated.unwrap_or_else(|e| panic!("{}: {e}", query.text)), budget.samples())
        };
        let (rolled, ordinary) = (run(&*self.store), run(&Samples(&self.store)));
        compare(rolled.0, ordinary.0);
        (rolled.1, ordinary.1)
    }
}

fn labels(number: u32) -> Labels {
    let name = ["requests_total", "memory_bytes", "up"][number as usize % 3];
    Labels::from_pairs([("__name__", name), ("n", number.to_string().as_str())])
}

const FUNCTIONS: [&str; 13] = [
    "rate(S[R])",
    "increase(S[R] offset 1h)",
    "delta(S[R])",
    "sum_over_time(S[R])",
    "avg_over_time(S[R])",
    "min_over_time(S[R])",
    "max_over_time(S[R])",
    "count_over_time(S[R])",
    "first_over_time(S[R])",
    "last_over_time(S[R])",
    "present_over_time(S[R])",
    "resets(S[R])",
    "S",
];

/// A value of series `number` after `last`, from a draw.
fn next(number: u32, draw: u32, last: f64) -> Option<f64> {
    let few = f64::from(draw % 97);
    Some(match (number % 3, draw % 600) {
        (_, 0) => stale_nan(),
        (_, 1..4) => return None,
        (0, 4) => 0.0,
        (0, _) if last.is_nan() => few,
        (0, _) => last + few,
        (1, 4) if number == 7 => f64::INFINITY,
        (1, _) if number == 4 => (few - 48.0) / 100.0,
        (1, _) if number == 10 => few.sqrt(),
        (1, _) => few * 4096.0,
        (_, draw) => f64::from(u32::from(draw > 30)),
    })
}

proptest! {
    // A life is long, and its seed says it all.
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn roll_ups_and_samples_agree(
        seed in any::<u32>(),
        phase_ms in prop_oneof![Just(0i64), 0..STEP_MS],
        days in 1i64..3,
        late in prop::option::weighted(0.3, 0i64..DAY_MS),
        deletes in prop::bool::weighted(0.15),
        jitter in prop::bool::weighted(0.3),
    ) {
        let life = Life::new(START_MS + phase_ms);
        let mut random = testkit::mix::Random::new(u64::from(seed));
        let mut last = [f64::NAN; 12];
        let rounds = (days * DAY_MS / STEP_MS) + 200;
        for round in 0..rounds {
            for (source, own) in [("a", 0u32..7), ("b", 7..12)] {
                if random.below(400) == 0 {
                    continue;
                }
                let mut row = Vec::new();
                for n in own {
                    let draw = u32::try_from(random.below(1 << 30)).unwrap();
                    if let Some(value) = next(n, draw, last[n as usize]) {
                        last[n as usize] = value;
                        row.push((n, value));
                    }
                }
                life.scrape(source, row.into_iter());
            }
            let jitter_ms = if jitter { i64::try_from(random.below(2000)).unwrap() - 1000 } else { 0 };
            life.clock.advance_ms(STEP_MS + jitter_ms);
            if round % 300 == 299 {
                life.settle();
            }
        }
        if let Some(age_ms) = late {
            let t_ms = (life.clock.now_ms() - DAY_MS / 2 - age_ms).max(START_MS) + 1;
            let stamped = vec![StampedRow { labels: labels(1), t_ms, value: 5.0, target: 0 }];
            let batch = MetricBatch { source: "a".into(), t_ms, stamped, ..MetricBatch::default() };
            life.append(batch);
            life.settle();
        }
        if deletes {
            let selector = vec![Matcher::equal("n", "3")];
            life.store.delete(&[selector], START_MS, START_MS + 5 * HOUR_MS).unwrap();
        }
        // So that everything sent is there; what is not over stays as it is.
        life.store.flush().unwrap();
        let end_ms = life.clock.now_ms().div_euclid(HOUR_MS) * HOUR_MS;
        for function in FUNCTIONS {
            let at = |n: u64| usize::try_from(n).unwrap();
            let range = ["5m", "1h", "30m", "6h", "1d", "2h15s", "3601s", "7m"][at(random.below(8))];
            let selector = ["{n=~\".+\"}", "requests_total", "memory_bytes", "up"][at(random.below(4))];
            let step_ms = [300_000, HOUR_MS, 6 * HOUR_MS, 1_800_000, 420_000][at(random.below(5))];
            let text = function.replace('S', selector).replace('R', range);
            let text = match random.below(3) {
                0 => format!("sum by (n) ({text})"),
                1 if selector.len() > 9 => format!("max({text})"),
                _ => text,
            };
            let start_ms = START_MS + i64::try_from(random.below(20)).unwrap() * HOUR_MS / 2;
            life.check(&text, start_ms, end_ms, step_ms);
        }
    }
}

#[test]
fn roll_ups_are_read_instead_of_samples() {
    let life = Life::new(START_MS + 7_000);
    for round in 0..2 * DAY_MS / STEP_MS {
        let value = |n: u32| match n % 3 {
            0 => f64::from(u32::try_from(round).unwrap()) * f64::from(n + 1),
            1 => f64::from(u32::try_from(round * 7 % 13).unwrap()) / 4.0,
            _ => 1.0,
        };
        life.scrape("a", (0..9).map(|n| (n, value(n))));
        life.clock.advance_ms(STEP_MS);
    }
    life.clock.advance_ms(HOUR_MS);
    life.settle();
    let end_ms = START_MS + 2 * DAY_MS;
    let read = |text: &str| life.check(text, START_MS + 6 * HOUR_MS, end_ms, HOUR_MS);
    for text in [
        "rate(requests_total[1h])",
        "sum(rate(requests_total[1h]))",
        "rate(requests_total[1h1m])",
        "avg_over_time(memory_bytes[6h])",
        "max by (n) (max_over_time(memory_bytes[1h]))",
        "avg_over_time(up[6h])",
        "count(up)",
        "last_over_time(requests_total[1h])",
    ] {
        let (rolled, ordinary) = read(text);
        assert!(rolled * 3 < ordinary, "{text} reads {rolled} instead of {ordinary}");
    }
    // Ranges that cut five minutes, and functions of all samples.
    for text in ["rate(requests_total[67m])", "stddev_over_time(memory_bytes[1h])"] {
        let (rolled, ordinary) = read(text);
        assert_eq!(rolled, ordinary, "{text}");
    }
}

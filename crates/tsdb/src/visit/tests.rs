//! Visits against selects of the same store: labels found again by grouping by all of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crossbeam_channel::bounded;
use model::{
    Budget, Clock, Done, Grouping, Labels, ManualClock, MatchOp, Matcher, MetricBatch, MetricPlan,
    MetricRow, MetricSource, MetricVisitor, MetricWorker, Result, RetentionRule, SeriesView,
    StampedRow, Together, stale_nan,
};
use proptest::prelude::*;
use storage::fs::RealFs;
use storage::wal::Durability;

use crate::{Config, Store};

type Samples = Vec<(i64, u64)>;

/// Notes down everything it is shown.
struct Recorder {
    together: Together,
    groups: Mutex<Vec<Labels>>,
    shown: Mutex<BTreeMap<usize, Vec<Shown>>>,
}

/// Group, how many series, and their samples.
type Shown = (u32, u32, Samples);

struct Hand<'r> {
    recorder: &'r Recorder,
    series: Vec<Shown>,
    times: BTreeMap<u64, Vec<i64>>,
}

impl MetricVisitor for Recorder {
    fn group(&self, labels: &Labels) -> Result<u32> {
        let mut groups = self.groups.lock().unwrap();
        groups.push(labels.clone());
        Ok(u32::try_from(groups.len() - 1).unwrap())
    }

    fn worker(&self) -> Box<dyn MetricWorker + '_> {
        Box::new(Hand { recorder: self, series: Vec::new(), times: BTreeMap::new() })
    }
}

impl MetricWorker for Hand<'_> {
    fn together(&mut self, times_id: u64, timestamps: &[i64]) -> Together {
        assert_eq!(self.times.entry(times_id).or_insert(timestamps.to_vec()), timestamps);
        self.recorder.together
    }

    fn series(&mut self, series: SeriesView<'_>) -> Result<()> {
        assert_eq!(series.timestamps.len(), series.values.len());
        assert!(!series.values.is_empty());
        if series.times_id != 0 {
            let known = self.times.entry(series.times_id).or_insert(series.timestamps.to_vec());
            assert_eq!(known, series.timestamps, "times that should be those of before");
        }
        let bits = series.values.iter().map(|v| v.to_bits());
        let samples = series.timestamps.iter().copied().zip(bits).collect();
        self.series.push((series.group, series.count, samples));
        if series.count == 1 {
            return Ok(());
        }
        let values = series.values;
        match self.recorder.together {
            Together::Apart => panic!("{} series as one", series.count),
            Together::Count => {}
            Together::Sum => assert!(values.iter().all(|v| v.fract() == 0.0)),
            Together::RisingSum { headroom, rows } => {
                assert!(values.is_sorted());
                for (row, value) in values.iter().enumerate() {
                    let later = values[(row + rows).min(values.len() - 1)];
                    assert!(*value >= headroom * (later - value), "{values:?}");
                }
            }
        }
        Ok(())
    }

    fn end_morsel(&mut self, morsel: usize) -> Result<()> {
        let series = std::mem::take(&mut self.series);
        assert!(self.recorder.shown.lock().unwrap().insert(morsel, series).is_none());
        Ok(())
    }
}

/// `None` when the store declines.
fn shown(
    store: &Store,
    plan: &MetricPlan,
    together: Together,
) -> Option<Vec<(Labels, u32, Samples)>> {
    let (groups, shown) = (Mutex::default(), Mutex::default());
    let recorder = Recorder { together, groups, shown };
    if !store.visit(plan, &recorder, &Budget::unlimited()).unwrap().complete {
        return None;
    }
    let (groups, shown) = (recorder.groups.lock().unwrap(), recorder.shown.lock().unwrap());
    assert!(shown.keys().copied().eq(0..shown.len()), "morsels are numbered without gaps");
    let all = shown
        .values()
        .flatten()
        .map(|(group, count, samples)| (groups[*group as usize].clone(), *count, samples.clone()));
    Some(all.collect())
}

fn visited(store: &Store, plan: &MetricPlan) -> Option<BTreeMap<(Labels, Samples), usize>> {
    let mut found = BTreeMap::new();
    for (labels, _, samples) in shown(store, plan, Together::Apart)? {
        *found.entry((labels, samples)).or_default() += 1;
    }
    Some(found)
}

/// By group and time: series, those with a marker, the sum of the others; all values here have exact sums.
fn totals(
    series: impl Iterator<Item = (Labels, u32, Samples)>,
    sums: bool,
) -> BTreeMap<(Labels, i64), (u32, u32, f64)> {
    let mut totals: BTreeMap<(Labels, i64), (u32, u32, f64)> = BTreeMap::new();
    for (labels, count, samples) in series {
        for (t_ms, bits) in samples {
            let total = totals.entry((labels.clone(), t_ms)).or_default();
            total.0 += count;
            if bits == stale_nan().to_bits() {
                total.1 += count;
            } else if sums {
                total.2 += f64::from_bits(bits);
            }
        }
    }
    totals
}

fn selected(store: &Store, plan: &MetricPlan) -> BTreeMap<(Labels, Samples), usize> {
    let selected = store.select(plan, &Budget::unlimited()).unwrap();
    let mut found = BTreeMap::new();
    for series in selected.series {
        let labels = model::group_labels(plan.grouping.as_ref(), &series.labels);
        let bits = series.values.iter().map(|v| v.to_bits());
        let samples = series.timestamps.iter().copied().zip(bits).collect();
        *found.entry((labels, samples)).or_default() += 1;
    }
    found
}

#[derive(Debug, Clone)]
enum Step {
    /// A scrape of a target: which series are in it, by bits.
    Scrape {
        target: u8,
        series: u128,
        value: i32,
    },
    /// A sample of its own time, so many seconds ago.
    Stamped {
        target: u8,
        series: u8,
        age_s: i64,
        value: i32,
    },
    Flush,
    Merge,
    /// What a path had in so many of the last seconds.
    Delete {
        path: u8,
        age_s: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let all = Just(u128::MAX);
    prop_oneof![
        20 => (0u8..3, prop_oneof![4 => all, 1 => any::<u128>()], -9i32..9)
            .prop_map(|(target, series, value)| Step::Scrape { target, series, value }),
        3 => (0u8..3, 0u8..9, 0i64..90, -9i32..9)
            .prop_map(|(target, series, age_s, value)| Step::Stamped { target, series, age_s, value }),
        2 => Just(Step::Flush),
        1 => Just(Step::Merge),
        1 => (0u8..9, 0i64..90).prop_map(|(path, age_s)| Step::Delete { path, age_s }),
    ]
}

/// Series 0 to 2 are the same at all targets, as behind a proxy.
fn labels(target: u8, series: u8) -> Labels {
    let own = if series < 3 { String::new() } else { target.to_string() };
    Labels::from_pairs([
        ("__name__", ["a_total", "b", "c"][usize::from(series % 3)]),
        ("instance", own.as_str()),
        ("le", (series / 8).to_string().as_str()),
        ("path", series.to_string().as_str()),
    ])
}

fn append(store: &Store, batch: MetricBatch) {
    let (sender, receiver) = bounded(1);
    store.append(batch, Done::new(move |outcome| drop(sender.send(outcome))));
    receiver.recv().unwrap().unwrap();
}

fn take(store: &Store, clock: &ManualClock, step: &Step) {
    let t_ms = clock.now_ms();
    match step {
        Step::Scrape { target, series, value } => {
            let value = |s: u8| match value {
                -9 => stale_nan(),
                // Seconds that passed, and what goes up and down.
                _ if s % 5 == 1 => ((t_ms - (1 << 40)) / 1000 + i64::from(s)) as f64,
                value => f64::from(*value) + f64::from(s) / 8.0,
            };
            let row = |s: u8| MetricRow { labels: labels(*target, s), value: value(s) };
            let rows = (0..70).filter(|s| series >> s & 1 == 1).map(row).collect();
            let source = format!("scrape/{target}").into();
            append(store, MetricBatch { source, t_ms, rows, ..MetricBatch::default() });
            clock.advance_ms(5_000);
        }
        Step::Stamped { target, series, age_s, value } => {
            let labels = labels(*target, *series);
            let (t_ms, value) = (t_ms - age_s * 1000 - 1, f64::from(*value));
            let stamped = vec![StampedRow::new(labels, t_ms, value)];
            let source = format!("scrape/{target}").into();
            append(store, MetricBatch { source, t_ms, stamped, ..MetricBatch::default() });
        }
        Step::Flush => store.flush().unwrap(),
        Step::Merge => drop(store.merge().unwrap()),
        Step::Delete { path, age_s } => {
            let path = vec![Matcher::equal("path", path.to_string())];
            store.delete(&[path], t_ms - age_s * 1000, t_ms).unwrap();
        }
    }
}

fn plans(end_ms: i64, range_ms: i64) -> Vec<MetricPlan> {
    let by = |names: &[&str], without| {
        Some(Grouping { labels: names.iter().map(|n| (*n).to_owned()).collect(), without })
    };
    let regex = |pattern: &str| vec![Matcher::new(MatchOp::Regex, "path", pattern).unwrap()];
    let of = |matchers, grouping| MetricPlan {
        matchers,
        start_ms: end_ms - range_ms,
        end_ms,
        step_ms: 0,
        range_ms: 0,
        function: "",
        grouping,
    };
    vec![
        of(Vec::new(), by(&[], true)),
        of(Vec::new(), by(&["le", "nothing"], false)),
        of(regex("1.*|2"), by(&["__name__", "le"], false)),
        of(vec![Matcher::equal("__name__", "b")], by(&["path"], true)),
        of(regex("3|4|5|6.*"), None),
    ]
}

/// Ends inside of what is asked for.
fn rule() -> RetentionRule {
    RetentionRule { matchers: vec![Matcher::equal("__name__", "b")], retention_ms: 60_000 }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn visits_show_what_selects_find(
        steps in prop::collection::vec(step(), 1..60),
        range_s in 1i64..300,
        shards in 1usize..4,
        rules in prop::bool::weighted(0.2),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            dir: dir.path().to_owned(),
            durability: Durability::Interval { ms: 1000 },
            shards,
            retention_ms: 1 << 40,
            retention_rules: rules.then(rule).into_iter().collect(),
            head_bytes_max: 1 << 30,
            flush_after_ms: 1 << 40,
            series_max: 1 << 20,
            index_bytes_max: 256 << 20,
            future_ms_max: 1000,
            free_bytes_floor: 0,
        };
        let clock = Arc::new(ManualClock::at_ms(1 << 40));
        let store_clock: Arc<dyn Clock> = Arc::clone(&clock) as Arc<dyn Clock>;
        let (store, _) = Store::open(Arc::new(RealFs), store_clock, config).unwrap();
        steps.iter().for_each(|step| take(&store, &clock, step));
        for plan in plans(clock.now_ms(), range_s * 1000) {
            let visited = visited(&store, &plan);
            let hides = rules || steps.iter().any(|step| matches!(step, Step::Delete { .. }));
            prop_assert!(visited.is_some() || hides);
            if let Some(visited) = visited {
                let selected = selected(&store, &plan);
                prop_assert_eq!(&visited, &selected, "{:?}", plan);
                let all = || selected.iter().flat_map(|((labels, samples), count)| {
                    std::iter::repeat_n((labels.clone(), 1, samples.clone()), *count)
                });
                let ways = [
                    Together::Sum,
                    Together::Count,
                    Together::RisingSum { headroom: 0.0, rows: 1 },
                    Together::RisingSum { headroom: 0.5, rows: 3 },
                    Together::RisingSum { headroom: 0.5, rows: 1000 },
                ];
                for together in ways {
                    let shown = shown(&store, &plan, together).unwrap().into_iter();
                    let sums = together != Together::Count;
                    prop_assert_eq!(totals(shown, sums), totals(all(), sums), "{:?}", together);
                }
            }
        }
    }
}

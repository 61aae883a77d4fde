//! The fused path against the ordinary one, on the same data.

use std::collections::BTreeMap;

use model::{
    Budget, Labels, Matcher, MetricMetadata, MetricPlan, MetricSource, MetricVisitor, Result,
    Selected, SeriesView, TimeRange, Together, Visited, group_labels, is_stale, stale_nan,
};
use proptest::prelude::*;

use crate::promql::testing::MemorySource;
use crate::promql::{Evaluated, Options, PromQuery, Value, evaluate};

/// How a [`Table`] answers visits.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Not at all.
    Declines,
    /// As sources do that can only select.
    Whole,
    /// Some series per morsel, by several workers, the last morsel first.
    Morsels(usize),
    /// All in one morsel, together wherever the worker allows.
    Together,
}

struct Table {
    series: MemorySource,
    manner: Manner,
}

impl MetricSource for Table {
    fn select(&self, plan: &MetricPlan, budget: &Budget) -> Result<Selected> {
        self.series.select(plan, budget)
    }

    fn visit(
        &self,
        plan: &MetricPlan,
        visitor: &dyn MetricVisitor,
        budget: &Budget,
    ) -> Result<Visited> {
        let size = match self.manner {
            Manner::Declines => return Ok(Visited::default()),
            Manner::Whole => return self.series.visit(plan, visitor, budget),
            Manner::Together => return self.visit_together(plan, visitor, budget),
            Manner::Morsels(size) => size,
        };
        let selected = self.select(plan, budget)?;
        let mut workers = [visitor.worker(), visitor.worker(), visitor.worker()];
        for (morsel, series) in selected.series.chunks(size).enumerate().rev() {
            let worker = &mut workers[morsel % 3];
            for one in series.iter().rev() {
                let group = visitor.group(&group_labels(plan.grouping.as_ref(), &one.labels))?;
                let (timestamps, values) = (&one.timestamps, &one.values);
                worker.series(SeriesView { group, times_id: 0, timestamps, values, count: 1 })?;
            }
            worker.end_morsel(morsel)?;
        }
        Ok(Visited { complete: true, warnings: selected.warnings })
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

impl Table {
    /// As the rules of [`Together`] say, read as literally as can be.
    fn visit_together(
        &self,
        plan: &MetricPlan,
        visitor: &dyn MetricVisitor,
        budget: &Budget,
    ) -> Result<Visited> {
        let selected = self.select(plan, budget)?;
        let mut worker = visitor.worker();
        let mut all_times: Vec<Vec<i64>> = Vec::new();
        for series in &selected.series {
            if !all_times.iter().any(|times| **times == *series.timestamps) {
                all_times.push(series.timestamps.to_vec());
            }
        }
        for (times_id, timestamps) in (1u64..).zip(&all_times) {
            let together = worker.together(times_id, timestamps);
            let mut sums: BTreeMap<u32, (u32, Vec<f64>)> = BTreeMap::new();
            for one in selected.series.iter().filter(|one| *one.timestamps == **timestamps) {
                let group = visitor.group(&group_labels(plan.grouping.as_ref(), &one.labels))?;
                let values = &one.values;
                let whole = values.iter().all(|v| v.fract() == 0.0 && v.abs() < 1e9);
                let rises = values.windows(2).all(|pair| pair[0] <= pair[1]);
                let last = values.len() - 1;
                let may = match together {
                    Together::Apart => false,
                    Together::Sum => whole,
                    Together::RisingSum { headroom, rows } => {
                        let has_room = |(row, v): (usize, &f64)| {
                            *v >= 0.0 && *v >= headroom * (values[last.min(row + rows)] - v)
                        };
                        whole && rises && values.iter().enumerate().all(has_room)
                    }
                    Together::Count => !values.iter().any(|v| is_stale(*v)),
                };
                if may {
                    let sum = sums.entry(group).or_insert((0, vec![0.0; values.len()]));
                    sum.0 += 1;
                    if together != Together::Count {
                        sum.1.iter_mut().zip(values).for_each(|(sum, v)| *sum += v);
                    }
                } else {
                    worker.series(SeriesView { group, times_id, timestamps, values, count: 1 })?;
                }
            }
            for (group, (count, values)) in &sums {
                let (group, count) = (*group, *count);
                worker.series(SeriesView { group, times_id, timestamps, values, count })?;
            }
        }
        worker.end_morsel(0)?;
        Ok(Visited { complete: true, warnings: selected.warnings })
    }
}

const INNER: [&str; 20] = [
    "x_total",
    "x_total offset 30s",
    "x_total @ 300",
    "{job=~\".+\"}",
    "rate({job=~\".+\"}[1m])",
    "rate(x_total[150s])",
    "increase(x_total[90s] offset -20s)",
    "delta(y[2m])",
    "irate(x_total[1m])",
    "idelta(y[1m])",
    "sum_over_time(y[70s])",
    "avg_over_time({job=~\".+\"}[2m])",
    "min_over_time(y[1m])",
    "max_over_time(y[1m])",
    "count_over_time({job=~\".+\"}[1m])",
    "last_over_time(x_total[1m])",
    "changes(y[3m])",
    "resets(x_total[3m])",
    "stddev_over_time(y[1m])",
    "deriv(y[2m] @ end())",
];

const OUTER: [&str; 8] = [
    "sum(I)",
    "sum by (job) (I)",
    "avg without (instance) (I)",
    "min by (job, le) (I)",
    "max by (__name__) (I)",
    "count(I)",
    "group by (nothing) (I)",
    "avg by (instance) (I)",
];

#[derive(Debug, Clone)]
struct Sample {
    value: f64,
    skip: bool,
    jitter_ms: i64,
}

fn sample(kind: usize) -> impl Strategy<Value = Sample> {
    let value = prop_oneof![
        10 => (0i32..9).prop_map(f64::from),
        4 => (0i32..90).prop_map(|i| f64::from(i) / 8.0 - 3.0),
        2 => 0.0..1e3f64,
        1 => Just(stale_nan()),
        1 => prop_oneof![Just(f64::NAN), Just(-0.0), Just(f64::INFINITY), Just(f64::MAX)],
    ];
    // Most series are regular and counters, as most are.
    let value =
        if kind.is_multiple_of(3) { (0i32..9).prop_map(f64::from).boxed() } else { value.boxed() };
    let skip = if kind.is_multiple_of(2) { 0.0 } else { 0.1 };
    let jitter = if kind % 4 == 3 { -4_000i64..4_000 } else { 0..1 };
    (value, prop::bool::weighted(skip), jitter).prop_map(|(value, skip, jitter_ms)| Sample {
        value,
        skip,
        jitter_ms,
    })
}

fn table(series: &[Vec<Sample>]) -> MemorySource {
    let mut source = MemorySource::default();
    for (number, samples) in series.iter().enumerate() {
        let name = if number % 3 == 0 { "y" } else { "x_total" };
        let labels = Labels::from_pairs([
            ("__name__", name),
            ("instance", &number.to_string()),
            ("job", ["a", "b"][number / 2 % 2]),
            ("le", ["", "1", "2"][number % 3]),
        ]);
        let counter = number % 4 != 1;
        // Far from zero, near it, and below.
        let mut total = [0.0, 500.0, 40.0, -7.0][number * 5 / 3 % 4];
        let points = samples.iter().enumerate().filter(|(_, s)| !s.skip).map(|(i, s)| {
            total = if !counter || s.value.is_nan() || s.value == 0.125 {
                s.value
            } else {
                total + s.value
            };
            (i as i64 * 10_000 + s.jitter_ms, total)
        });
        source.insert(&labels, points);
    }
    source
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

/// Equal values, to the bit or within 1e-12 of each other.
fn same(a: f64, b: f64, to_the_bit: bool) -> bool {
    let near = (a - b).abs() <= 1e-12 * a.abs().max(b.abs());
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) || (!to_the_bit && near)
}

type Outcome = Result<Evaluated>;

fn compare(fused: Outcome, ordinary: &Outcome, to_the_bit: bool) -> Result<(), TestCaseError> {
    let (fused, ordinary) = match (fused, ordinary) {
        (Ok(fused), Ok(ordinary)) => (fused, ordinary.clone()),
        (fused, ordinary) => {
            prop_assert!(fused.is_err() && ordinary.is_err(), "{fused:?} {ordinary:?}");
            let messages =
                (fused.unwrap_err().to_string(), ordinary.as_ref().unwrap_err().to_string());
            prop_assert_eq!(messages.0, messages.1);
            return Ok(());
        }
    };
    prop_assert_eq!(fused.warnings, ordinary.warnings);
    prop_assert_eq!(fused.infos, ordinary.infos);
    let (fused, ordinary) = (rows(fused.value), rows(ordinary.value));
    prop_assert_eq!(fused.len(), ordinary.len(), "{:?} {:?}", fused, ordinary);
    for (a, b) in fused.iter().zip(&ordinary) {
        prop_assert_eq!(&a.0, &b.0);
        prop_assert_eq!(a.1.len(), b.1.len());
        for (a, b) in a.1.iter().zip(&b.1) {
            prop_assert!(a.0 == b.0 && same(a.1, b.1, to_the_bit), "{:?} is not {:?}", a, b);
        }
    }
    Ok(())
}

fn check(
    series: &[Vec<Sample>],
    text: String,
    start_ms: i64,
    step_ms: i64,
    size: usize,
) -> Result<(), TestCaseError> {
    let mut table = Table { series: table(series), manner: Manner::Declines };
    let end_ms = if step_ms == 0 { start_ms } else { 400_000 };
    let query = PromQuery { text, start_ms, end_ms, step_ms, lookback_ms: 60_000 };
    let mut run = |manner| {
        table.manner = manner;
        evaluate(&table, &query, &Options::default(), &Budget::unlimited())
    };
    let ordinary = run(Manner::Declines);
    compare(run(Manner::Whole), &ordinary, true)?;
    compare(run(Manner::Together), &ordinary, false)?;
    compare(run(Manner::Morsels(size)), &ordinary, false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn fused_and_ordinary_agree(
        series in (0usize..9).prop_flat_map(|n| (0..n).map(|kind| {
            prop::collection::vec(sample(kind), 45)
        }).collect::<Vec<_>>()),
        inner in 0..INNER.len(),
        outer in 0..OUTER.len(),
        start_ms in 0i64..300_000,
        step_ms in prop_oneof![Just(10_000i64), Just(0), Just(30_000), 500i64..100_000],
        size in 1usize..4,
    ) {
        check(&series, OUTER[outer].replace('I', INNER[inner]), start_ms, step_ms, size)?;
    }
}

#[test]
fn regular_series_walk_in_step() {
    let series: Vec<Vec<Sample>> = (0..8u32)
        .map(|s| {
            let value = |i: u32| f64::from((i * 7 + s * 3) % 5) + if s == 3 { 0.3 } else { 0.0 };
            (0..45).map(|i| Sample { value: value(i), skip: false, jitter_ms: 0 }).collect()
        })
        .collect();
    for outer in OUTER {
        for inner in INNER {
            check(&series, outer.replace('I', inner), 200_000, 10_000, 3).unwrap();
        }
    }
}

//! The documented mix of metrics, from a fixed seed: what benchmarks of every store and every protocol measure on.
//!
//! Scrapes every 15 seconds of constants 34 %, histogram buckets 19, sparse counters 12, request counters 9, byte counters
//! 5, CPU seconds in µs 5, memory in 4 KiB pages 5, slow integers 4, percentages of two decimals 3, booleans 3,
//! full-mantissa floats 1; Poisson and lognormal increments, a daily wave, rare resets. [`Mix::entropy_bits`] is what the
//! distributions themselves hold, the floor below which no encoding of the values can come.

use std::f64::consts::{E, TAU};

/// Milliseconds between scrapes.
pub const STEP_MS: i64 = 15_000;

const DAY_MS: f64 = 86_400_000.0;
/// Chance that a counter starts anew with a scrape.
const RESET: f64 = 1e-5;

/// Standard deviations, in natural logarithm, of lognormal increments.
const BYTES_SIGMA: f64 = 1.0;
const CPU_SIGMA: f64 = 0.5;
/// Pages by which memory changes, when it does.
const PAGES_SIGMA: f64 = 20.0;
const PERCENT_SIGMA: f64 = 0.5;
const SLOW_SIGMA: f64 = 1.0;
const MEMORY_CHANGES: f64 = 0.5;
const SLOW_CHANGES: f64 = 0.2;
const BOOL_CHANGES: f64 = 0.002;

/// A fixed sequence of numbers (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// One of the numbers below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.draw() % n.max(1)
    }

    /// One of them.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (TAU * self.unit()).cos()
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0);
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0.0);
        while product > limit {
            product *= self.unit();
            count += 1.0;
        }
        count
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Constant,
    /// Poisson increments.
    Counter {
        mean: f64,
    },
    /// Lognormal increments, whole numbers of `1 / divisor`.
    Flow {
        median: f64,
        sigma: f64,
        divisor: f64,
    },
    Memory,
    SlowInteger,
    Percent,
    Bool,
    Mantissa,
}

/// The metric and kind of a target's series by its number.
fn kind(random: &mut Random, number: usize) -> (&'static str, Kind) {
    let spread = 10f64.powf(random.unit());
    match number % 100 {
        0..34 => ("config_limit", Kind::Constant),
        34..53 => ("request_duration_seconds_bucket", Kind::Counter { mean: 0.4 * spread }),
        53..65 => ("errors_total", Kind::Counter { mean: 0.02 }),
        65..74 => ("requests_total", Kind::Counter { mean: 20.0 * spread }),
        74..79 => {
            let median = 10_000.0 * spread;
            ("network_bytes_total", Kind::Flow { median, sigma: BYTES_SIGMA, divisor: 1.0 })
        }
        79..84 => {
            let median = 5_000.0 * spread;
            ("cpu_seconds_total", Kind::Flow { median, sigma: CPU_SIGMA, divisor: 1e6 })
        }
        84..89 => ("memory_bytes", Kind::Memory),
        89..93 => ("goroutines", Kind::SlowInteger),
        93..96 => ("usage_percent", Kind::Percent),
        96..99 => ("up_state", Kind::Bool),
        _ => ("load", Kind::Mantissa),
    }
}

/// Bits of a normal distribution of whole numbers.
fn normal_bits(sigma: f64) -> f64 {
    (0.5 * (TAU * E * sigma * sigma).log2()).max(0.0)
}

fn poisson_bits(mean: f64) -> f64 {
    if mean > 100.0 {
        return normal_bits(mean.sqrt());
    }
    let (mut p, mut bits) = ((-mean).exp(), 0.0);
    for k in 1..1000 {
        bits -= if p > 0.0 { p * p.log2() } else { 0.0 };
        p *= mean / f64::from(k);
    }
    bits
}

/// Bits of an event of chance `p` that, when it happens, holds `more` bits.
fn event_bits(p: f64, more: f64) -> f64 {
    -p * p.log2() - (1.0 - p) * (1.0 - p).log2() + p * more
}

impl Kind {
    fn entropy_bits(self) -> f64 {
        match self {
            Self::Constant => 0.0,
            Self::Counter { mean } => event_bits(RESET, 0.0) + poisson_bits(mean),
            Self::Flow { median, sigma, .. } => {
                event_bits(RESET, 0.0) + (sigma * median * (TAU * E).sqrt()).log2()
            }
            Self::Memory => event_bits(MEMORY_CHANGES, normal_bits(PAGES_SIGMA)),
            Self::SlowInteger => event_bits(SLOW_CHANGES, normal_bits(SLOW_SIGMA)),
            Self::Percent => normal_bits(PERCENT_SIGMA * 100.0),
            Self::Bool => event_bits(BOOL_CHANGES, 0.0),
            Self::Mantissa => 52.0,
        }
    }
}

#[derive(Debug, Clone)]
struct Series {
    labels: Vec<(String, String)>,
    kind: Kind,
    value: f64,
}

/// Some targets' series and their values, scrape after scrape.
#[derive(Debug, Clone)]
pub struct Mix {
    series: Vec<Series>,
    per_target: usize,
    random: Random,
    round: u32,
}

impl Mix {
    /// `series` series, `per_target` of them at each target.
    pub fn new(seed: u64, series: usize, per_target: usize) -> Self {
        let mut random = Random::new(seed);
        let per_target = per_target.clamp(1, series.max(1));
        let one = |number: usize| {
            let (target, inner) = (number / per_target, number % per_target);
            let (name, kind) = kind(&mut random, inner);
            let mut labels = vec![
                ("__name__", name.to_owned()),
                ("cluster", "eu-west-1".to_owned()),
                ("container", format!("app-{}", inner % 7)),
                ("instance", format!("10.0.{}.{}:9100", target / 250, target % 250)),
                ("job", "kubernetes-pods".to_owned()),
                ("namespace", format!("team-{}", target % 20)),
                ("path", format!("/api/v1/thing/{}", inner / 100)),
                ("pod", format!("app-{}-6f7d8b9c5-{target:05}", target % 50)),
                ("slot", (inner % 100).to_string()),
            ];
            if name.ends_with("_bucket") {
                labels.push(("le", (f64::from((inner % 19) as u32 + 1) / 4.0).to_string()));
                labels.sort();
            }
            let labels = labels.into_iter().map(|(n, v)| (n.to_owned(), v)).collect();
            let value = (random.unit() * 100_000.0).round();
            Series { labels, kind, value }
        };
        let series = (0..series).map(one).collect();
        Self { series, per_target, random, round: 0 }
    }

    /// Number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Series at each target (the last may have fewer).
    pub fn per_target(&self) -> usize {
        self.per_target
    }

    /// Labels of series `number`, sorted by name, `__name__` included.
    pub fn labels(&self, number: usize) -> &[(String, String)] {
        &self.series[number].labels
    }

    /// The next scrape: a value for each series, in their order.
    pub fn scrape(&mut self, values: &mut Vec<f64>) {
        let day = f64::from(self.round) * STEP_MS as f64 / DAY_MS;
        let wave = 1.0 + 0.5 * (day * TAU).sin();
        self.round += 1;
        values.clear();
        for series in &mut self.series {
            values.push(series.next(&mut self.random, wave));
        }
    }

    /// Bits per value that the distributions hold, on average over the series, at the daily wave's mean.
    pub fn entropy_bits(&self) -> f64 {
        let total: f64 = self.series.iter().map(|s| s.kind.entropy_bits()).sum();
        total / self.series.len().max(1) as f64
    }
}

impl Series {
    fn next(&mut self, random: &mut Random, wave: f64) -> f64 {
        match self.kind {
            Kind::Constant => {}
            Kind::Counter { mean } => {
                if random.unit() < RESET {
                    self.value = 0.0;
                }
                self.value += random.poisson(mean * wave);
            }
            Kind::Flow { median, sigma, divisor } => {
                if random.unit() < RESET {
                    self.value = 0.0;
                }
                self.value += (median * wave * (sigma * random.normal()).exp()).round();
                return self.value / divisor;
            }
            Kind::Memory => {
                if random.unit() < MEMORY_CHANGES {
                    let change = (random.normal() * PAGES_SIGMA).round();
                    self.value = (self.value + change).max(100.0);
                }
                return self.value * 4096.0;
            }
            Kind::SlowInteger => {
                if random.unit() < SLOW_CHANGES {
                    self.value = (self.value + (random.normal() * SLOW_SIGMA).round()).max(0.0);
                }
            }
            Kind::Percent => {
                let moved = self.value % 100.0 + random.normal() * PERCENT_SIGMA;
                self.value = moved.clamp(0.0, 99.99);
                return (self.value * 100.0).round() / 100.0;
            }
            Kind::Bool => {
                if random.unit() < BOOL_CHANGES {
                    self.value = 1.0 - self.value.min(1.0);
                }
                return self.value.min(1.0);
            }
            Kind::Mantissa => self.value = self.value * 0.95 + random.unit(),
        }
        self.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_scrapes_and_the_documented_entropy() {
        let (mut a, mut b) = (Mix::new(1, 1000, 500), Mix::new(1, 1000, 500));
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            a.scrape(&mut x);
            b.scrape(&mut y);
            assert_eq!(x, y);
        }
        assert_eq!(x.len(), 1000);
        // 0.434 bytes per sample, of the documented mix.
        let bytes = Mix::new(1, 20_000, 500).entropy_bits() / 8.0;
        assert!((0.42..0.45).contains(&bytes), "{bytes}");
    }
}

//! Three hours of counters with resets, gauges, classic histograms, gaps, staleness markers and special values.

use testkit::mix::Random;
use testkit::remote_write::Series;

const STEP_MS: i64 = 15_000;
const SCRAPES: i64 = 700;

/// The staleness marker of Prometheus.
const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// All series, from `start_ms` on.
pub(super) fn series(start_ms: i64) -> Vec<Series> {
    let mut random = Random::new(1);
    let mut all = Vec::new();
    for instance in 0..4u32 {
        for code in ["200", "404", "500"] {
            let labels = [("code", code), ("path", if instance % 2 == 0 { "/" } else { "/api" })];
            let name = "http_requests_total";
            all.push(one(&mut random, start_ms, instance, name, &labels, Shape::Counter));
        }
        let shapes = [
            ("memory_bytes", Shape::Gauge),
            ("temperature", Shape::Tenths),
            ("build_info", Shape::Constant),
            ("odd_values", Shape::Odd),
        ];
        for (name, shape) in shapes {
            all.push(one(&mut random, start_ms, instance, name, &[], shape));
        }
        histogram(&mut random, start_ms, instance, &mut all);
    }
    all
}

#[derive(Clone, Copy)]
enum Shape {
    Counter,
    Gauge,
    Tenths,
    Constant,
    Odd,
}

fn labels(instance: u32, name: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let instance_label = format!("host-{instance}:9100");
    let job = if instance < 2 { "api" } else { "web" };
    let mut labels: Vec<(String, String)> =
        [("__name__", name), ("instance", instance_label.as_str()), ("job", job)]
            .iter()
            .chain(more)
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect();
    labels.sort();
    labels
}

fn one(
    random: &mut Random,
    start_ms: i64,
    instance: u32,
    name: &str,
    more: &[(&str, &str)],
    shape: Shape,
) -> Series {
    let mut value = 100_000.0 + random.below(1000) as f64;
    let phase_ms = 137 + i64::from(instance) * 1210;
    let (mut samples, mut gone) = (Vec::new(), 0);
    for scrape in 0..SCRAPES {
        let t_ms = start_ms + scrape * STEP_MS + phase_ms;
        if gone > 0 {
            gone -= 1;
            continue;
        }
        match random.below(250) {
            0 => {
                samples.push((t_ms, STALE));
                gone = random.below(30);
                continue;
            }
            1 => {
                gone = random.below(40);
                continue;
            }
            _ => {}
        }
        value = match shape {
            Shape::Counter if random.below(120) == 0 => 50_000.0,
            Shape::Counter => value + random.below(40) as f64,
            Shape::Gauge => 4096.0 * (1000 + random.below(500)) as f64,
            Shape::Tenths => (200 + random.below(200)) as f64 / 10.0,
            Shape::Constant => 1.0,
            Shape::Odd => *random.pick(&[
                0.0,
                -0.0,
                1.0,
                f64::INFINITY,
                f64::NEG_INFINITY,
                f64::NAN,
                1e300,
                5e-324,
            ]),
        };
        samples.push((t_ms, value));
    }
    Series { labels: labels(instance, name, more), samples }
}

fn histogram(random: &mut Random, start_ms: i64, instance: u32, all: &mut Vec<Series>) {
    let bounds = ["0.05", "0.1", "0.5", "1", "+Inf"];
    let mut counts = [1000.0; 5];
    let mut buckets: Vec<Series> = bounds
        .iter()
        .map(|le| Series {
            labels: labels(instance, "request_seconds_bucket", &[("le", le)]),
            samples: Vec::new(),
        })
        .collect();
    let mut sum = Series { labels: labels(instance, "request_seconds_sum", &[]), samples: vec![] };
    // Sums differ by host in their hundredths: none ties with another.
    let mut total = 5000.0 + f64::from(instance) / 100.0;
    for scrape in 0..SCRAPES {
        let t_ms = start_ms + scrape * STEP_MS + 137 + i64::from(instance) * 1210;
        let mut below = 0.0;
        for (bucket, count) in buckets.iter_mut().zip(&mut counts) {
            let more = random.below(6) as f64;
            *count += more;
            below += *count;
            bucket.samples.push((t_ms, below));
            total += more * 0.25;
        }
        sum.samples.push((t_ms, total));
    }
    let mut count = buckets[4].clone();
    count.labels = labels(instance, "request_seconds_count", &[]);
    all.extend(buckets);
    all.extend([sum, count]);
}

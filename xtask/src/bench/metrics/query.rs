//! Queries over 100,000 active series: CPU and wall time, and that all servers answer the same.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use testkit::get;
use testkit::mix::{Mix, STEP_MS};

use super::comparison::{Aim, Comparison};
use super::load::Bodies;
use super::servers::{KINDS, Kind, Server};
use super::{CONNECTIONS, Run, SEED, SERIES_PER_TARGET, now_ms};
use crate::shell::step;

const SERIES: usize = 100_000;
/// An hour and the window in front of it.
const ROUNDS: usize = 264;
/// Prometheus takes requests of one sample per series an order of magnitude slower than these, and its speed of taking
/// them is measured elsewhere.
const ROUNDS_PER_REQUEST_PROMETHEUS: usize = 12;
/// Each query is repeated at least so often and so long.
const RUNS_MIN: usize = 7;
const RUNS_MAX: usize = 200;
const RUN_FOR: Duration = Duration::from_millis(1500);

struct Question {
    name: &'static str,
    text: String,
    /// Seconds; 0: an instant, otherwise over the last hour.
    step_s: i64,
    aim: Aim,
    limit: &'static str,
    /// Asked once more of a server that was started again.
    again: bool,
}

fn questions() -> Vec<Question> {
    // 9 of 20 namespaces: 45 k series of 100 k.
    let most = "namespace=~\"team-[0-8]\"";
    let question = |name, text: String, step_s, aim, limit, again| Question {
        name,
        text,
        step_s,
        aim,
        limit,
        again,
    };
    let rate = format!("sum by (namespace) (rate({{{most}}}[5m]))");
    let highest = format!("avg by (namespace) (max_over_time({{{most}}}[5m]))");
    let quantile = "histogram_quantile(0.9, sum by (le, namespace) (rate(request_duration_seconds_bucket[5m])))";
    let panel = "rate(requests_total{instance=\"10.0.0.7:9100\",path=\"/api/v1/thing/3\"}[5m])";
    let (dashboard, decode) = (Aim::AtMostAndPartOfVm(30.0, 8.0), "6.2: decode and read");
    vec![
        question(
            "sum by (rate), 45 k series, 1 h, step 1 min",
            rate.clone(),
            60,
            dashboard,
            decode,
            true,
        ),
        question("the same, step 15 s", rate.clone(), 15, Aim::None, decode, false),
        question("the same, now", rate, 0, Aim::None, "0.5: decode and read", false),
        question("avg by (max_over_time), 45 k series, 1 h", highest, 60, Aim::None, decode, false),
        question(
            "histogram_quantile, 19 k buckets, 1 h",
            quantile.to_owned(),
            60,
            Aim::None,
            "2.6: decode and read",
            false,
        ),
        question(
            "count of 100 k series, now",
            "count({job=\"kubernetes-pods\"})".to_owned(),
            0,
            Aim::None,
            "",
            false,
        ),
        question("panel: 9 series, 1 h", panel.to_owned(), 60, Aim::AtMost(1.0), "0.05", true),
    ]
}

/// 100,000 series × 66 min up to now.
pub(super) fn query(run: &Run) -> Result<Comparison> {
    step("query: 100,000 series, 66 min of 15 s up to now");
    // At an odd millisecond, so that no window ends on a sample: Prometheus 2 and 3 differ there.
    let first_ms = now_ms()? / 1000 * 1000 - i64::try_from(ROUNDS)? * STEP_MS + 137;
    let generate = |rounds_per_request| {
        let mut mix = Mix::new(SEED, run.series(SERIES), SERIES_PER_TARGET);
        Bodies::generate(&mut mix, first_ms, ROUNDS, rounds_per_request)
    };
    let mut bodies = generate(1);
    let end_s = (first_ms + i64::try_from(ROUNDS)? * STEP_MS) / 1000 - 30;
    let questions = questions();
    let mut answers = [(); 3].map(|()| Vec::new());
    let mut restarted = [(); 3].map(|()| Vec::new());
    let mut per_series = [f64::NAN; 3];
    for (k, kind) in KINDS.into_iter().enumerate().filter(|(_, kind)| run.includes(*kind)) {
        if kind == Kind::Prometheus {
            bodies = generate(ROUNDS_PER_REQUEST_PROMETHEUS);
        }
        let mut server = Server::start(kind, &run.work, "")?;
        server.push(&bodies, CONNECTIONS)?;
        server.wait_for_idle();
        per_series[k] = server.process.memory_mb("VmRSS") * 1e6 / run.series(SERIES) as f64;
        for question in &questions {
            let asked = ask(&server, question, end_s)
                .with_context(|| format!("{}: {}", kind.name(), question.text))?;
            answers[k].push(asked);
        }
        // Prometheus would read its whole log again, and answer from the same head.
        if kind != Kind::Prometheus {
            let server = server.restart_in_order()?;
            server.wait_for_idle();
            for question in questions.iter().filter(|q| q.again) {
                restarted[k].push(once(&server, question, end_s)?.cpu_ms);
            }
        }
    }
    let mut rows = Comparison::default();
    rows.row("RSS with 66 min in it, B per series", per_series, Aim::None, "130");
    for (number, question) in questions.iter().enumerate() {
        let of = |value: fn(&Asked) -> f64| {
            [0, 1, 2].map(|k: usize| answers[k].get(number).map_or(f64::NAN, value))
        };
        let name = question.name;
        rows.row(&format!("{name}, CPU ms"), of(|a| a.cpu_ms), question.aim, question.limit);
        rows.row(&format!("{name}, wall ms"), of(|a| a.wall_ms), Aim::None, question.limit);
    }
    for (number, question) in questions.iter().filter(|q| q.again).enumerate() {
        let cpu_ms =
            [0, 1, 2].map(|k: usize| restarted[k].get(number).copied().unwrap_or(f64::NAN));
        let name = format!("{}, first after a restart, CPU ms", question.name);
        rows.row(&name, cpu_ms, Aim::None, question.limit);
    }
    rows.print();
    println!("\nmedians of at least {RUNS_MIN} warm runs; CPU is the whole server's");
    if answers[0].is_empty() || answers[2].is_empty() {
        return Ok(rows);
    }
    for (number, question) in questions.iter().enumerate() {
        let [ours, prometheus] = [0, 2].map(|k: usize| answers[k][number].sum);
        let differ = (ours - prometheus).abs() > 1e-9 * prometheus.abs();
        ensure!(
            !differ,
            "{}: all values sum up to {ours}, prometheus' to {prometheus}",
            question.name
        );
    }
    println!("the sums of all values equal prometheus' to 1e-9");
    Ok(rows)
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    cpu_ms: f64,
    wall_ms: f64,
    /// Of all values of the answer.
    sum: f64,
}

/// Warm: medians of many runs, the first left out.
fn ask(server: &Server, question: &Question, end_s: i64) -> Result<Asked> {
    let Asked { sum, .. } = once(server, question, end_s)?;
    let (mut cpus, mut walls) = (Vec::new(), Vec::new());
    let started = Instant::now();
    while cpus.len() < RUNS_MIN || (started.elapsed() < RUN_FOR && cpus.len() < RUNS_MAX) {
        let asked = once(server, question, end_s)?;
        cpus.push(asked.cpu_ms);
        walls.push(asked.wall_ms);
    }
    Ok(Asked { cpu_ms: median(&mut cpus), wall_ms: median(&mut walls), sum })
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn once(server: &Server, question: &Question, end_s: i64) -> Result<Asked> {
    let step_s = question.step_s;
    let (start, end, step) = ((end_s - 3300).to_string(), end_s.to_string(), step_s.to_string());
    let text = question.text.as_str();
    let range = [("query", text), ("start", &start), ("end", &end), ("step", &step)];
    let instant = [("query", text), ("time", &end)];
    let (path, params) = match step_s {
        0 => ("/api/v1/query", &instant[..]),
        _ => ("/api/v1/query_range", &range[..]),
    };
    let (cpu_s, started) = (server.process.cpu_of_living(), Instant::now());
    let answer = get(server.address, path, params)?;
    let wall_ms = started.elapsed().as_secs_f64() * 1e3;
    let cpu_ms = (server.process.cpu_of_living() - cpu_s) * 1e3;
    ensure!(answer.status == 200, "{}", answer.body);
    Ok(Asked { cpu_ms, wall_ms, sum: sum_of(&answer.json())? })
}

/// The sum of all values of an answer.
pub(super) fn sum_of(json: &serde_json::Value) -> Result<f64> {
    let mut sum = 0.0;
    for series in json["data"]["result"].as_array().context("no result")? {
        let points = series["values"].as_array().cloned();
        for point in points.unwrap_or_else(|| vec![series["value"].clone()]) {
            let value: f64 = point[1].as_str().context("no value")?.parse()?;
            sum += if value.is_nan() { 0.0 } else { value };
        }
    }
    Ok(sum)
}

//! `bench traces`: the trace store over HTTP in the real binary, beside what plain files give: protobuf with `zstd -3`, and
//! memcpy of the requests.
//!
//! The spans are those of the test kit's shop. CPU is the server's own, from the scheduler; the generator's is not in it.
//! Sizes count all files of the trace store after an orderly end. Times of answers are as the client sees them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use testkit::mix::Random;
use testkit::service_spans::{ServiceSpans, otlp, service};
use testkit::{get, send};

use super::example;
use super::server::Server;
use super::suite::{self, Phase, Row, Run, child_cpu, dir_bytes, memcpy, row, zstd};

const SEED: u64 = 1;
/// Spans of the phases that write, and of a day.
const SPANS: usize = 480_000;
const DAY_SPANS: usize = 10_000_000;
const DAY_NS: i64 = 86_400_000_000_000;
/// Days of ten million traces.
const MANY_DAYS: i64 = 12;
/// Spans of a request.
const BATCH: usize = 2_000;
/// Traces asked for by their ids, and how often a search is asked.
const IDS: usize = 200;
const ASKED: usize = 20;
/// One trace in so many is remembered to be asked for.
const REMEMBERED: usize = 997;

/// In the order in which all are run.
const PHASES: [Phase; 4] = [("push", push), ("size", size), ("day", day), ("many", many)];

/// `cargo xtask bench traces [PHASE…] [--small]`.
pub(crate) fn traces(args: &[String]) -> Result<()> {
    if args.first().is_some_and(|arg| arg == "store") {
        return example("tracedb", "bench_spans", args.get(1..).unwrap_or_default());
    }
    suite::run("traces", &PHASES, "store [SPANS] [merged] | ", args)
}

/// Spans that end about now, and how far apart they are.
struct Spans {
    count: usize,
    spacing_ns: i64,
    start_ns: i64,
}

impl Spans {
    fn new(count: usize, spacing_ns: i64) -> Result<Self> {
        let now_ns = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let span_ns = i64::try_from(count)? * spacing_ns;
        Ok(Self { count, spacing_ns, start_ns: now_ns - span_ns - 60_000_000_000 })
    }

    /// Visits the requests, and gives ids of some of their traces.
    fn each(&self, mut visit: impl FnMut(&[u8]) -> Result<()>) -> Result<Vec<u128>> {
        let mut spans = ServiceSpans::new(SEED, self.start_ns, self.spacing_ns);
        let (mut left, mut roots, mut ids) = (self.count, 0, Vec::new());
        while left > 0 {
            let batch = spans.take(BATCH.min(left));
            left -= batch.len();
            for root in batch.iter().filter(|span| span.parent_id == 0) {
                roots += 1;
                if roots % REMEMBERED == 0 {
                    ids.push(root.trace_id);
                }
            }
            visit(&otlp(&batch))?;
        }
        Ok(ids)
    }

    /// Writes the requests to a file in `work`.
    fn write(&self, work: &Path) -> Result<PathBuf> {
        let path = work.join("raw.otlp");
        let mut file = std::io::BufWriter::new(fs::File::create(&path)?);
        self.each(|body| Ok(file.write_all(body)?))?;
        file.flush()?;
        Ok(path)
    }

    /// Pushes all, waiting for each answer.
    fn push(&self, server: &Server) -> Result<Vec<u128>> {
        let headers = [("Content-Type", "application/x-protobuf")];
        self.each(|body| {
            let answer = send(server.address, "POST /v1/traces", &headers, body)?;
            ensure!(answer.status == 200, "push: {} {}", answer.status, answer.body);
            Ok(())
        })
    }
}

/// From OTLP bytes to durable and flushed: thousands of spans for each CPU second of the whole server.
fn push(run: &Run) -> Result<Vec<Row>> {
    let spans = Spans::new(SPANS / run.divisor, 20_000)?;
    let raw = spans.write(&run.work)?;
    let (zstd_cpu, _) = zstd(&raw)?;
    let bytes = fs::metadata(&raw)?.len() as f64;
    let thousands = spans.count as f64 / 1e3;
    let server = Server::start(&run.work)?;
    spans.push(&server)?;
    let pushed = server.process.cpu_seconds();
    let peak_mb = server.process.memory_mb("VmHWM");
    let flushed = server.end()?;
    let baseline = (thousands / zstd_cpu, "zstd -3");
    let unit = "k spans/s of a core";
    Ok(vec![
        row("bytes of OTLP a span", bytes / spans.count as f64, (245.0, "ENGINE.md"), "-"),
        row(&format!("OTLP by HTTP, {unit} until durable"), thousands / pushed, baseline, ">= 400"),
        row(&format!("OTLP by HTTP, {unit} until flushed"), thousands / flushed, baseline, "-"),
        row("memcpy of the requests, GB/s", memcpy(&raw)?, (f64::NAN, ""), "limit"),
        row("push, peak memory MB of 2 GiB allowed", peak_mb, (f64::NAN, ""), "-"),
    ])
}

/// Bytes of all files of the trace store for each span.
fn size(run: &Run) -> Result<Vec<Row>> {
    let spans = Spans::new(SPANS / run.divisor, 20_000)?;
    let (_, packed) = zstd(&spans.write(&run.work)?)?;
    let server = Server::start(&run.work)?;
    let data = server.data();
    spans.push(&server)?;
    server.end()?;
    let count = spans.count as f64;
    let bytes = dir_bytes(&data.join("traces"))? as f64 / count;
    let baseline = (packed as f64 / count, "protobuf, zstd -3");
    Ok(vec![row("bytes a span, all files", bytes, baseline, "<= 28")])
}

/// A day of spans: traces by their ids, and searches.
fn day(run: &Run) -> Result<Vec<Row>> {
    let count = DAY_SPANS / run.divisor;
    let spans = Spans::new(count, DAY_NS / i64::try_from(count)?)?;
    let server = Server::start(&run.work)?;
    let (server, ids, mut rows) = filled(&spans, server)?;
    rows.extend(by_ids(&server, &ids)?);
    searches(&spans, &server, &mut rows)?;
    server.end()?;
    Ok(rows)
}

/// Ten million traces: some of them by their ids.
fn many(run: &Run) -> Result<Vec<Row>> {
    let count = usize::try_from(MANY_DAYS)? * DAY_SPANS / run.divisor;
    let spans = Spans::new(count, MANY_DAYS * DAY_NS / i64::try_from(count)?)?;
    let (server, ids, mut rows) = filled(&spans, Server::start(&run.work)?)?;
    rows.extend(by_ids(&server, &ids)?);
    server.end()?;
    Ok(rows)
}

/// The server with all spans, started anew, and ids of some traces.
fn filled(spans: &Spans, server: Server) -> Result<(Server, Vec<u128>, Vec<Row>)> {
    let began = Instant::now();
    let ids = spans.push(&server)?;
    let written = began.elapsed().as_secs_f64();
    let peak_mb = server.process.memory_mb("VmHWM");
    let traces = (ids.len() * REMEMBERED) as f64 / 1e6;
    let rows = vec![
        row("million traces stored", traces, (f64::NAN, ""), "-"),
        row("their spans, written in seconds", written, (f64::NAN, ""), "-"),
        row("the same, peak memory MB of 2 GiB allowed", peak_mb, (f64::NAN, ""), "-"),
    ];
    Ok((server.restart()?, ids, rows))
}

/// Traces by their ids.
fn by_ids(server: &Server, ids: &[u128]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut random = Random::new(SEED);
    let wanted: Vec<u128> = (0..IDS).map(|_| *random.pick(ids)).collect();
    // Each id once, with nothing of the store in memory; then all of them again.
    let mut cold = Vec::new();
    for id in &wanted {
        forget(&server.data())?;
        cold.push(trace(server, *id)?);
    }
    let cpu_before = server.process.cpu_of_living();
    let warm = wanted.iter().map(|id| trace(server, *id)).collect::<Result<_>>()?;
    let cpu_ms = (server.process.cpu_of_living() - cpu_before) * 1e3 / wanted.len() as f64;
    for (what, times, aim) in [("cold", cold, "<= 10"), ("warm", warm, "<= 2")] {
        let (median, most) = spread(times);
        rows.push(row(&format!("trace by id, {what}, median ms"), median, (f64::NAN, ""), aim));
        rows.push(row(&format!("trace by id, {what}, 99 % ms"), most, (f64::NAN, ""), "-"));
    }
    rows.push(row("trace by id, warm, CPU ms", cpu_ms, (f64::NAN, ""), "-"));
    Ok(rows)
}

/// Searches over all of it.
fn searches(spans: &Spans, server: &Server, rows: &mut Vec<Row>) -> Result<()> {
    let name = service(7);
    for (what, query) in [
        (
            "service + tag + duration, newest 20",
            format!(
                "{{resource.service.name=\"{name}\" && span.http.status_code=500 && duration>40ms}}"
            ),
        ),
        (
            "service + rare tag + duration, few in all",
            format!(
                "{{resource.service.name=\"{name}\" && span.net.peer.ip=\"10.0.99.99\" && duration>1ms}}"
            ),
        ),
        ("duration alone, none in all", "{duration>1h}".to_owned()),
    ] {
        let start = (spans.start_ns / 1_000_000_000 - 60).to_string();
        let end = ((spans.start_ns + DAY_NS) / 1_000_000_000 + 60).to_string();
        let params = [("q", query.as_str()), ("start", &start), ("end", &end)];
        let ask = || -> Result<f64> {
            let began = Instant::now();
            let answer = get(server.address, "/api/search", &params)?;
            ensure!(answer.status == 200, "{query}: {} {}", answer.status, answer.body);
            Ok(began.elapsed().as_secs_f64() * 1e3)
        };
        ask()?;
        let before = server.process.cpu_of_living();
        let times = (0..ASKED).map(|_| ask()).collect::<Result<_>>()?;
        let cpu_ms = (server.process.cpu_of_living() - before) * 1e3 / ASKED as f64;
        let name = format!("search of a day by {what}, median ms");
        rows.push(row(&name, spread(times).0, (cpu_ms, "CPU ms"), "<= 100"));
    }
    Ok(())
}

/// Asks for one trace; milliseconds until the answer was there.
fn trace(server: &Server, id: u128) -> Result<f64> {
    let began = Instant::now();
    let answer = get(server.address, &format!("/api/traces/{id:032x}"), &[])?;
    let ms = began.elapsed().as_secs_f64() * 1e3;
    ensure!(answer.status == 200, "{id:032x}: {} {}", answer.status, answer.body);
    Ok(ms)
}

/// Median and the value that 99 of 100 are not above.
fn spread(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |share: f64| values[((values.len() - 1) as f64 * share).round() as usize];
    (at(0.5), at(0.99))
}

/// Lets the system forget what it has in memory of the files below `dir`.
fn forget(dir: &Path) -> Result<()> {
    let files = format!("find {} -type f", dir.display());
    child_cpu(&format!("{files} -exec dd if={{}} iflag=nocache count=0 status=none \\;"))?;
    Ok(())
}

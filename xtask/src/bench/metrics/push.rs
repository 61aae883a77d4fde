//! Pushing: speed, memory, and what stays on disk, by the age of the day.

use anyhow::Result;
use testkit::mix::{Mix, STEP_MS};

use super::comparison::{Aim, Comparison};
use super::load::{Bodies, Wire};
use super::servers::{Kind, Server};
use super::{CONNECTIONS, DAY_MS, Run, SEED, SERIES_PER_TARGET, each, now_ms, yesterday_ms};
use crate::shell::step;

const SERIES: usize = 10_000;
/// Six hours.
const ROUNDS: usize = 1440;
/// What is left of the day may be shorter; below this, figures are those of headers.
const OPEN_ROUNDS_MIN: usize = 240;
const COPY: &str = "220: copy";

fn mix(run: &Run) -> Mix {
    Mix::new(SEED, run.series(SERIES), SERIES_PER_TARGET)
}

/// 10,000 series × 6 h by remote write, of yesterday: its day is closed.
pub(super) fn closed_day(run: &Run) -> Result<Comparison> {
    step("push: 10,000 series, 6 h of 15 s, by remote write, of yesterday");
    let mut mix = mix(run);
    let bodies = Bodies::generate(&mut mix, yesterday_ms()?, ROUNDS, 1);
    let samples = bodies.samples as f64;
    let [speed, wall, rss, bytes] = each(run, |kind| {
        let mut server = Server::start(kind, &run.work, "")?;
        let (wall_s, cpu_s) = server.push(&bodies, CONNECTIONS)?;
        let rss = server.process.memory_mb("VmHWM");
        let bytes = server.settled_bytes()? as f64;
        Ok([samples / cpu_s / 1e6, samples / wall_s / 1e6, rss, bytes / samples])
    })?;
    let mut rows = Comparison::default();
    rows.row("remote write, M samples per CPU second", speed, Aim::None, COPY);
    rows.row("remote write, M samples per second of wall time", wall, Aim::None, COPY);
    rows.row("peak RSS meanwhile, MB", rss, Aim::None, "1.3: 130 B per series");
    let entropy = format!("{:.3}: entropy of the values", mix.entropy_bits() / 8.0);
    rows.row("cold: B/sample on disk, closed day, all files", bytes, Aim::AtMost(0.54), &entropy);
    rows.print();
    Ok(rows)
}

/// The same up to now: the day is open. Prometheus' blocks do not know the difference.
pub(super) fn open_day(run: &Run) -> Result<Comparison> {
    let today_ms = now_ms()? / DAY_MS * DAY_MS;
    let rounds = ROUNDS.min(usize::try_from((now_ms()? - today_ms) / STEP_MS)?);
    let mut rows = Comparison::default();
    if rounds < OPEN_ROUNDS_MIN {
        step("push: the day (UTC) is younger than an hour, nothing to say about open days");
        return Ok(rows);
    }
    step(&format!("push: 10,000 series, {:.1} h of 15 s up to now", rounds as f64 / 240.0));
    let mut mix = mix(run);
    let first_ms = now_ms()? - i64::try_from(rounds)? * STEP_MS + 137;
    let bodies = Bodies::generate(&mut mix, first_ms, rounds, 1);
    let samples = bodies.samples as f64;
    let [bytes] = each(run, |kind| {
        if kind == Kind::Prometheus {
            return Ok([f64::NAN]);
        }
        let mut server = Server::start(kind, &run.work, "")?;
        server.push(&bodies, CONNECTIONS)?;
        let bytes = server.settled_bytes()? as f64;
        // Past midnight it is no open day any more.
        let is_open = now_ms()? / DAY_MS * DAY_MS == today_ms;
        Ok([if is_open { bytes / samples } else { f64::NAN }])
    })?;
    let entropy = format!("{:.3}: entropy of the values", mix.entropy_bits() / 8.0);
    rows.row("hot: B/sample on disk, open day, all files", bytes, Aim::AtMost(0.58), &entropy);
    rows.print();
    Ok(rows)
}

/// 10,000 series × 90 min as text; prometheus takes none.
pub(super) fn text(run: &Run) -> Result<Comparison> {
    step("push: 10,000 series, 90 min of 15 s, as text");
    let bodies = Bodies::of(Wire::Text, &mut mix(run), yesterday_ms()?, 360, 1);
    let samples = bodies.samples as f64;
    let [speed, wall] = each(run, |kind| {
        if kind == Kind::Prometheus {
            return Ok([f64::NAN; 2]);
        }
        let mut server = Server::start(kind, &run.work, "")?;
        let (wall_s, cpu_s) = server.push(&bodies, CONNECTIONS)?;
        Ok([samples / cpu_s / 1e6, samples / wall_s / 1e6])
    })?;
    let mut rows = Comparison::default();
    let limit = "45: compare and parse";
    rows.row("text over HTTP, M samples per CPU second", speed, Aim::TimesVm(5.0), limit);
    rows.row("text over HTTP, M samples per second of wall time", wall, Aim::None, limit);
    rows.print();
    Ok(rows)
}

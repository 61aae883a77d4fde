//! One million series: memory, and `kill -9` while more is coming.

use std::time::Instant;

use anyhow::{Result, ensure};
use testkit::get;
use testkit::mix::{Mix, STEP_MS};

use super::comparison::{Aim, Comparison};
use super::load::Bodies;
use super::query::sum_of;
use super::servers::Server;
use super::{CONNECTIONS, Run, SEED, SERIES_PER_TARGET, each, yesterday_ms};
use crate::shell::step;

const SERIES: usize = 1_000_000;
/// Scrapes before memory is measured, and those of which the server dies in the middle.
const ROUNDS: [usize; 2] = [4, 2];
/// Bytes per second at which files are read that are in memory already.
const READ_BYTES_PER_S: f64 = 5.7e9;

pub(super) fn crash(run: &Run) -> Result<Comparison> {
    step("crash: 1,000,000 series, kill -9 while they are pushed, restart");
    let (series, first_ms) = (run.series(SERIES), yesterday_ms()?);
    let mut mix = Mix::new(SEED, series, SERIES_PER_TARGET);
    let calm = Bodies::generate(&mut mix, first_ms, ROUNDS[0], 1);
    let second_ms = first_ms + i64::try_from(ROUNDS[0])? * STEP_MS;
    let deadly = Bodies::generate(&mut mix, second_ms, ROUNDS[1], 1);
    let end_ms = second_ms + i64::try_from(ROUNDS[1])? * STEP_MS;
    let mut read_s = f64::NAN;
    let [rss, peak, ready, lost] = each(run, |kind| {
        let mut server = Server::start(kind, &run.work, "")?;
        server.push(&calm, CONNECTIONS)?;
        server.wait_for_idle();
        let rss = server.process.memory_mb("VmRSS") * 1e6 / series as f64;
        let peak = server.process.memory_mb("VmHWM") * 1e6 / series as f64;
        let acknowledged = calm.samples + server.push_and_kill(&deadly, CONNECTIONS, 0.5)?;
        if read_s.is_nan() {
            read_s = server.bytes() as f64 / READ_BYTES_PER_S;
        }
        let started = Instant::now();
        let server = server.restart_after_kill()?;
        let ready_s = started.elapsed().as_secs_f64();
        // VictoriaMetrics shows what it has read a moment later.
        server.wait_for_idle();
        let at = (end_ms / 1000 + 1).to_string();
        let text = "sum(count_over_time({job=\"kubernetes-pods\"}[10m]))";
        let answer = get(server.address, "/api/v1/query", &[("query", text), ("time", &at)])?;
        ensure!(answer.status == 200, "{}", answer.body);
        let found = sum_of(&answer.json())?;
        ensure!(found > 0.0, "nothing is found after the restart: {}", answer.body);
        Ok([rss, peak, ready_s, (acknowledged as f64 - found).max(0.0)])
    })?;
    let mut rows = Comparison::default();
    rows.row("1 M series: RSS, B per series, all in", rss, Aim::AtMost(500.0), "130");
    rows.row("1 M series: peak RSS, B per series", peak, Aim::None, "130");
    let limit = format!("{read_s:.4}: read the files once");
    rows.row("1 M series: restart after kill -9 until ready, s", ready, Aim::AtMost(10.0), &limit);
    rows.row("1 M series: acknowledged samples lost", lost, Aim::AtMost(0.0), "0");
    rows.print();
    Ok(rows)
}

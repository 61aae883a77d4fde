//! Scraping text over HTTP at a steady rate.

use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::mix::Mix;

use super::comparison::{Aim, Comparison};
use super::load::Exporter;
use super::servers::Server;
use super::{Run, SEED, SERIES_PER_TARGET, each};
use crate::shell::step;

const SERIES: usize = 100_000;
const MEASURED: Duration = Duration::from_secs(30);

/// 100 targets × 1,000 series every second.
pub(super) fn scrape(run: &Run) -> Result<Comparison> {
    step("scrape: 100 targets of 1,000 series as text, every second for 30 s");
    let exporter = Exporter::start(Mix::new(SEED, run.series(SERIES), SERIES_PER_TARGET))?;
    let [speed, rate, rss] = each(run, |kind| {
        let mut server = Server::start(kind, &run.work, &exporter.scrape_configs())?;
        // The first scrapes introduce the series; what goes on is measured.
        let due = exporter.scrapes() + 3 * exporter.targets();
        exporter.wait_for(due, Duration::from_secs(120))?;
        let (before, started) = (exporter.scrapes(), Instant::now());
        server.process.mark();
        std::thread::sleep(MEASURED);
        let scrapes = (exporter.scrapes() - before) as f64;
        let cpu_s = server.process.cpu_seconds();
        let wall_s = started.elapsed().as_secs_f64();
        let samples = scrapes * SERIES_PER_TARGET as f64;
        let rss = server.process.memory_mb("VmRSS") * 1e6 / run.series(SERIES) as f64;
        Ok([samples / cpu_s / 1e6, scrapes / wall_s, rss])
    })?;
    let mut rows = Comparison::default();
    let text = "45: compare and parse";
    rows.row("scraped text, M samples per CPU second", speed, Aim::TimesVm(5.0), text);
    let due = format!("{}: what is due", run.series(SERIES) / SERIES_PER_TARGET);
    rows.row("scrapes per second", rate, Aim::None, &due);
    rows.row("RSS meanwhile, B per series", rss, Aim::None, "130");
    rows.print();
    Ok(rows)
}

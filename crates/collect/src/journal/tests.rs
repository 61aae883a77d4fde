//! Entries become Promtail's lines; reading goes on behind the last one, with a program that plays journalctl and with the
//! real one where it is installed.

#![expect(clippy::disallowed_methods, reason = "journals and programs are files of the test's own")]

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ingest::journal::{Decoder, Entry, Limits};
use ingest::pipeline::{Metrics, MultilineConfig, Pipeline, StageConfig};
use ingest::relabel::{Action, Rule, RuleConfig};
use model::{Done, LogBatch, MetricBatch, Receipt, SystemClock};
use parking_lot::Mutex;

use super::*;

/// As `journalctl -o export` prints it.
const RECORDED: &str = "__CURSOR=s=1;i=1\n__REALTIME_TIMESTAMP=1795000000000001\n__MONOTONIC_TIMESTAMP=7\n\
    PRIORITY=3\n_SYSTEMD_UNIT=shop.service\n_HOSTNAME=h1\nMESSAGE=it broke\n\n";

fn recorded() -> Entry {
    let mut all = Vec::new();
    let mut decoder = Decoder::new(Limits::default());
    decoder
        .read(RECORDED.as_bytes(), &mut |entry| {
            all.push(entry);
            Ok(())
        })
        .unwrap();
    all.remove(0)
}

fn rules() -> Vec<Rule> {
    let copy = |source: &str, target: &str| RuleConfig {
        source_labels: Some(vec![source.to_owned()]),
        target_label: Some(target.to_owned()),
        ..RuleConfig::default()
    };
    let drop = RuleConfig {
        action: Some(Action::Drop),
        regex: Some("secret.service".to_owned()),
        target_label: None,
        ..copy("__journal__systemd_unit", "")
    };
    [
        copy("__journal__systemd_unit", "unit"),
        copy("__journal_priority_keyword", "level"),
        copy("__journal_priority", "priority"),
        drop,
    ]
    .map(|config| Rule::new(config).unwrap())
    .to_vec()
}

#[test]
fn entries_become_lines_with_the_labels_that_promtail_gives() {
    let (mut entry, fixed) = (recorded(), Labels::from_pairs([("job", "systemd")]));
    let shown = |entry: &Entry| entry::labels(entry, &fixed, &rules()).map(|l| l.to_string());
    let expected = r#"{job="systemd", level="error", priority="3", unit="shop.service"}"#;
    assert_eq!(shown(&entry).as_deref(), Some(expected));
    assert_eq!(entry::line(&entry, false).as_deref(), Some("it broke"));
    let json =
        r#"{"MESSAGE":"it broke","PRIORITY":"3","_HOSTNAME":"h1","_SYSTEMD_UNIT":"shop.service"}"#;
    assert_eq!(entry::line(&entry, true).as_deref(), Some(json));
    entry.fields.retain(|(name, _)| name != "MESSAGE");
    assert_eq!(entry::line(&entry, false), None);
    entry.fields.retain(|(name, _)| name != "_SYSTEMD_UNIT");
    entry.fields.push(("_SYSTEMD_UNIT".to_owned(), "secret.service".to_owned()));
    assert_eq!(shown(&entry), None);
}

/// Streams and lines, and the cursor behind them.
type Held = (Vec<(String, String)>, Option<Vec<u8>>);

/// Remembers lines and cursor.
#[derive(Default)]
struct Store {
    held: Mutex<Held>,
}

impl Sink for Store {
    fn append_metrics(&self, _: MetricBatch, done: Done) {
        drop(done);
    }

    fn append_logs(&self, batch: LogBatch, done: Done) {
        let mut held = self.held.lock();
        let rows = batch.rows.iter().map(|row| (row.stream.to_string(), row.line.to_owned()));
        held.0.extend(rows);
        held.1 = batch.cursor;
        done.call(Ok(Receipt { stored: batch.rows.len() as u64, rejected: Vec::new() }));
    }

    fn cursor(&self, source: &str) -> Result<Option<Vec<u8>>> {
        assert_eq!(source, "journal/promtail/j");
        Ok(self.held.lock().1.clone())
    }
}

impl Store {
    fn lines(&self) -> Vec<String> {
        self.held.lock().0.iter().map(|(_, line)| line.clone()).collect()
    }
}

fn config(journalctl: &Path, directory: Option<&Path>, stages: &[StageConfig]) -> Config {
    let pipeline = Pipeline::new(stages, &Metrics::default()).unwrap();
    let (limits, dropped) = (Arc::default(), Arc::default());
    let treatment =
        Treatment::staged(pipeline, Labels::default(), limits, dropped, i64::MAX / 2_000_000);
    Config {
        name: "promtail/j".to_owned(),
        journalctl: journalctl.to_owned(),
        directory: directory.map(Path::to_owned),
        matches: Vec::new(),
        max_age_ns: i64::MAX / 2,
        is_json: false,
        labels: Labels::from_pairs([("job", "systemd")]),
        relabel: rules(),
        treatment: Arc::new(treatment),
        cursor: None,
    }
}

/// Reads until `holds`, then ends the reader.
async fn read_until(config: Config, store: &Arc<Store>, holds: impl Fn(&Store) -> bool) {
    let cancel = CancellationToken::new();
    let (sink, clock) = (Arc::clone(store) as Arc<dyn Sink>, Arc::new(SystemClock));
    let handle = spawn(config, sink, clock, Arc::default(), cancel.clone());
    for _ in 0..6_000 {
        if holds(store) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cancel.cancel();
    handle.settled().await;
    assert!(holds(store), "waited in vain: {:?}", store.lines());
}

fn multiline() -> StageConfig {
    StageConfig::Multiline(MultilineConfig {
        firstline: "^[a-z]".to_owned(),
        max_wait_ns: 3_600_000_000_000,
        max_lines: 128,
    })
}

#[tokio::test]
async fn reading_goes_on_behind_the_last_entry_though_lines_are_held_back() {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("journalctl");
    // Two entries each time it is started, behind the one it is asked for.
    let script = r#"#!/bin/sh
last=0
for argument in "$@"; do
    case "$argument" in
        --after-cursor=*) last="${argument#--after-cursor=i}";;
        --follow) follow=yes;;
    esac
done
[ "$follow" = yes ] || exit 3
for number in $((last + 1)) $((last + 2)); do
    text="first $number"
    [ $((number % 3)) = 0 ] || text="  more $number"
    printf '__CURSOR=i%s\n__REALTIME_TIMESTAMP=179500000000000%s\nMESSAGE=%s\n\n' "$number" "$number" "$text"
done
[ "$last" = 8 ] && { echo 'the disk is gone' >&2; exit 1; }
exec sleep 60
"#;
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let store = Arc::new(Store::default());
    for read in 1..=4 {
        let config = config(&program, None, &[multiline()]);
        let position = format!("i{}", read * 2);
        read_until(config, &store, |store| {
            let held = store.held.lock();
            held.1.as_ref().is_some_and(|cursor| {
                held::decode(cursor).is_some_and(|(found, _)| found == position.as_bytes())
            })
        })
        .await;
    }
    // Lines in front of any first one pass; the block of 6 waits for more.
    let expected = ["  more 1", "  more 2", "first 3\n  more 4\n  more 5"];
    assert_eq!(store.lines(), expected);
    assert_eq!(store.held.lock().0[0].0, r#"{job="systemd", service_name="systemd"}"#);
    // It ends by itself with 10 and is started again behind that.
    read_until(config(&program, None, &[multiline()]), &store, |store| store.lines().len() >= 5)
        .await;
    assert_eq!(
        store.lines()[3..5],
        ["first 6\n  more 7\n  more 8", "first 9\n  more 10\n  more 11"]
    );
}

/// Makes or extends a journal file of entries in the export format; `false` where that is not installed.
fn write_journal(file: &Path, numbers: std::ops::Range<u64>) -> bool {
    let program = "/usr/lib/systemd/systemd-journal-remote";
    if !Path::new(program).exists() {
        return false;
    }
    let entries: String = numbers
        .map(|number| {
            format!(
                "__CURSOR=x{number}\n__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={number}\n\
                 _BOOT_ID=0123456789abcdef0123456789abcdef\n_SYSTEMD_UNIT=shop.service\nPRIORITY=6\nMESSAGE=line {number}\n\n",
                1_790_000_000_000_000 + number
            )
        })
        .collect();
    let mut child = std::process::Command::new(program)
        .arg(format!("--output={}", file.display()))
        .args(["--split-mode=none", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), entries.as_bytes()).unwrap();
    child.wait().unwrap().success()
}

#[tokio::test]
async fn a_real_journal_is_read_once() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Path::new("journalctl");
    let is_installed = std::process::Command::new(journal).arg("--version").output().is_ok();
    if !is_installed || !write_journal(&dir.path().join("a.journal"), 0..20) {
        eprintln!("skipped: journalctl and systemd-journal-remote are not installed");
        return;
    }
    let store = Arc::new(Store::default());
    for count in [20, 50, 80] {
        let config = config(journal, Some(dir.path()), &[]);
        read_until(config, &store, |store| store.lines().len() >= count).await;
        let from = count as u64;
        assert!(write_journal(&dir.path().join(format!("{count}.journal")), from..from + 30));
    }
    let expected: Vec<String> = (0..80).map(|number| format!("line {number}")).collect();
    assert_eq!(store.lines(), expected);
    let pairs = r#"job="systemd", level="info", priority="6", service_name="systemd""#;
    let stream = format!(r#"{{{pairs}, unit="shop.service"}}"#);
    assert!(store.held.lock().0.iter().all(|(found, _)| *found == stream));
}

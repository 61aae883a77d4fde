//! `taffrail import`, into a stopped data directory, read back by the running program.

use std::path::Path;
use std::process::{Command, Output};

use testkit::{Options, Taffrail};

use crate::{PROGRAM, quiet_config};

/// Prometheus wrote these; `ingest`'s tests say what is in them.
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../ingest/testdata/prometheus_tsdb");
/// First sample, Unix seconds.
const START_S: i64 = 1_750_003_200;

/// A Prometheus data directory: a block of floats, and a log with histograms.
fn prometheus_dir(dir: &Path) {
    let block = dir.join("01M82BRA3HZF45Z3N5MZXXQ2DH");
    std::fs::create_dir_all(block.join("chunks")).unwrap();
    std::fs::create_dir_all(dir.join("wal")).unwrap();
    for (from, to) in [
        ("floats.index", block.join("index")),
        ("floats.chunks", block.join("chunks/000001")),
        ("floats.meta.json", block.join("meta.json")),
        ("histograms.wal", dir.join("wal/00000000")),
    ] {
        std::fs::copy(Path::new(FILES).join(from), to).unwrap();
    }
}

fn import(data: &Path, args: &[&str]) -> Output {
    Command::new(PROGRAM).arg("import").args(args).arg("--data-dir").arg(data).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_prometheus_directory_comes_in_once() {
    let dir = tempfile::tempdir().unwrap();
    let (source, data) = (dir.path().join("prometheus"), dir.path().join("data"));
    prometheus_dir(&source);
    let from = source.to_str().unwrap();

    // The default retention keeps nothing of it, and says so first.
    let dry = import(&data, &["tsdb", from, "--dry-run"]);
    assert!(dry.status.success(), "{dry:?}");
    let said = text(&dry);
    assert!(said.contains("351 samples are in blocks before that") && said.contains("all too old"));

    // Of the log only what is behind the block.
    let kept = ["tsdb", from, "--retention", "20y"];
    let first = import(&data, &kept);
    assert!(first.status.success(), "{first:?}");
    assert!(text(&first).contains("imported 351 samples in "), "{}", text(&first));
    let second = text(&import(&data, &kept));
    assert!(second.contains("imported 0 samples"), "{second}");
    assert!(second.contains("going on where an earlier run stopped ("), "{second}");
    assert!(!text(&first).contains("earlier run"), "{}", text(&first));
    let again = import(&data, &[&kept[..], &["--again"]].concat());
    assert!(text(&again).contains("imported 351 samples"), "{}", text(&again));
    // Without blocks, the log comes in whole.
    std::fs::remove_dir_all(source.join("01M82BRA3HZF45Z3N5MZXXQ2DH")).unwrap();
    assert!(text(&import(&data, &kept)).contains("imported 120 samples"));

    let options =
        Options { config: quiet_config("host:\n  enabled: false\nretention: 20y\n"), args: vec![] };
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    let busy = import(&data, &kept);
    assert_eq!(busy.status.code(), Some(1));
    assert!(text(&busy).contains("in use by another running process"), "{}", text(&busy));
    let at = |query: &str, seconds: i64| {
        let time = (START_S + seconds).to_string();
        let answer = taffrail.get("/api/v1/query", &[("query", query), ("time", &time)]).json();
        answer["data"]["result"][0]["value"][1].as_str().unwrap_or("nothing").to_owned()
    };
    assert_eq!(at("a_total", 15 * 199), (199 * 199).to_string());
    assert_eq!(at("count_over_time(a_total[2h])", 15 * 199), "200");
    assert_eq!(at(r#"b{host="h1"}"#, 0), "+Inf");
    assert_eq!(at("sum(count_over_time(b[3h]))", 7200), "151");
    assert_eq!(at("histogram_count(lat)", 15 * 9), "62");
    assert_eq!(at("up", 15 * 39), "nothing");
}

#[test]
fn open_metrics_needs_times_and_an_end() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("history.om");
    let kept = ["openmetrics", file.to_str().unwrap(), "--retention", "20y"];
    let refused = |body: &str| {
        std::fs::write(&file, body).unwrap();
        let output = import(&data, &kept);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        text(&output)
    };
    assert!(refused("a 1 1750003200\n").contains("the last line must be # EOF"));
    let said = refused("a 1 1750003200\na 2\n# EOF\n");
    assert!(said.contains("line 2, column 1: expected a timestamp"), "{said}");

    std::fs::write(
        &file,
        "# TYPE a gauge\na{x=\"1\"} 1 1750003200\na{x=\"1\"} 2 1750003215.5\n# EOF\n",
    )
    .unwrap();
    let output = import(&data, &kept);
    assert!(text(&output).contains("imported 2 samples"), "{output:?}");
    assert!(text(&import(&data, &kept)).contains("imported 0 samples"));
}

#[test]
fn a_rehearsal_of_open_metrics_says_what_would_come_in() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = dir.path().join("history.om");
    let rehearse = |body: &str| {
        std::fs::write(&file, body).unwrap();
        import(&data, &["openmetrics", file.to_str().unwrap(), "--retention", "20y", "--dry-run"])
    };
    let output = rehearse(
        "# TYPE a gauge\n# HELP a Things.\na 1 1750003200 # {t=\"1\"} 1 1750003199\n\
         a 2 1750003215.5\nb 1 100\n# EOF\n",
    );
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    for part in [
        "2 samples would be imported, from 2025-06-15T16:00:00Z to 2025-06-15T16:00:15.5Z\n",
        "1 exemplars",
        "1 descriptions",
        "1 older than the target's retention",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let output = rehearse("a 1 1750003200\na 2 33000000000\n# EOF\n");
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output);
    assert!(said.contains("1 more than ten minutes in the future, would be refused"), "{said}");
    let said = text(&rehearse("a 1 1750003200\na {\n# EOF\n"));
    assert!(said.contains("line 2"), "{said}");
    // Nothing of it was taken for done.
    let output = import(&data, &["openmetrics", file.to_str().unwrap(), "--retention", "20y"]);
    assert!(text(&output).contains("line 2"), "{output:?}");
    std::fs::write(&file, "a 1 1750003200\n# EOF\n").unwrap();
    let output = import(&data, &["openmetrics", file.to_str().unwrap(), "--retention", "20y"]);
    assert!(text(&output).contains("imported 1 samples"), "{output:?}");
}

/// Into a stopped directory and into the running program.
#[test]
fn open_metrics_brings_exemplars_and_metadata() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let write = |name: &str, body: &str| {
        let file = dir.path().join(name);
        std::fs::write(&file, body).unwrap();
        file
    };
    let stopped = write(
        "a.om",
        "# HELP a Things \\\\ done.\n# TYPE a counter\na_total 1 1750003200 # {trace_id=\"t1\"} 0.5 1750003199\n\
         # TYPE b_bytes gauge\n# UNIT b_bytes bytes\nb_bytes 3 1750003200\n# EOF\n",
    );
    let output = import(&data, &["openmetrics", stopped.to_str().unwrap(), "--retention", "20y"]);
    let said = text(&output);
    assert!(said.contains("1 exemplars") && said.contains("2 descriptions"), "{said}");

    let options =
        Options { config: quiet_config("host:\n  enabled: false\nretention: 20y\n"), args: vec![] };
    let taffrail = Taffrail::start(PROGRAM, dir.path(), &options);
    let running = write(
        "c.om",
        "# TYPE c histogram\nc_bucket{le=\"+Inf\"} 1 1750003200 # {trace_id=\"t2\"} 7\nc_count 1 1750003200\n\
         # HELP d Only said.\n# TYPE d gauge\n# EOF\n",
    );
    let output = Command::new(PROGRAM)
        .args(["import", "openmetrics", running.to_str().unwrap()])
        .args(["--server", &format!("http://{}", taffrail.address)])
        .env("XDG_STATE_HOME", dir.path())
        .output()
        .unwrap();
    assert!(text(&output).contains("imported 2 samples"), "{}", text(&output));

    let metadata = taffrail.get("/api/v1/metadata", &[]).json();
    let of = |name: &str| {
        let one = &metadata["data"][name][0];
        ["type", "help", "unit"].map(|key| one[key].as_str().unwrap_or("nothing").to_owned())
    };
    assert_eq!(of("a"), ["counter", "Things \\ done.", ""]);
    assert_eq!(of("b_bytes"), ["gauge", "", "bytes"]);
    assert_eq!(of("c"), ["histogram", "", ""]);
    assert_eq!(of("d"), ["gauge", "Only said.", ""]);
    let exemplar = |query: &str| {
        let range = [("query", query), ("start", "1750003000"), ("end", "1750003300")];
        let answer = taffrail.get("/api/v1/query_exemplars", &range).json();
        let one = &answer["data"][0]["exemplars"][0];
        format!("{} {} {}", one["labels"]["trace_id"], one["value"], one["timestamp"])
    };
    assert_eq!(exemplar("a_total"), r#""t1" "0.5" 1750003199"#);
    assert_eq!(exemplar("c_bucket"), r#""t2" "7" 1750003200"#);
}

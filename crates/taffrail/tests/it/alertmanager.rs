//! `alertmanager.yml` on the command line, beside Debian's amtool 0.25 where that is installed.

use std::path::Path;
use std::process::{Command, Output};

use alert::matcher::Syntax;
use taffrail::alertmanager_yml::{self, Options};
use testkit::clients_wanted;

use crate::PROGRAM;

/// Every key that Alertmanager 0.25 knows, or nearly so.
const ALL_KEYS: &str = include_str!("alertmanager/all_keys.yml");

const ROUTES: &str = "\
route:
  receiver: d
  routes:
  - match: {b: '1', a: '2'}
    match_re: {c: x|y}
    receiver: e
    continue: true
    routes:
    - matchers: [d=\"q\\\"z\", e!~\"f.*\", g!=h]
      receiver: with space
  - receiver: e
receivers: [{name: d}, {name: e}, {name: with space}]
";

fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|e| panic!("{program}: {e}"))
}

/// Exit code and standard output.
fn taffrail(args: &[&str]) -> (Option<i32>, String) {
    let output = run(PROGRAM, args);
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn check_says_what_runs_and_strict_judges_as_alertmanager() {
    let dir = tempfile::tempdir().unwrap();
    let text = "route: {receiver: x}\nreceivers:\n- name: x\n  slack_configs: [{api_url: YOUR_URL}]\n  \
                webhook_configs: [{url: 'http://localhost:1/'}]\ntemplates: ['*.tmpl']\n";
    let path = write(dir.path(), "am.yml", text);
    let main = write(dir.path(), "taffrail.yml", "alertmanager: am.yml\n");
    for file in [&path, &main] {
        let (code, text) = taffrail(&["check", file]);
        assert_eq!(code, Some(0), "{text}");
        let summary = "1 route, 1 receiver with 1 integration, 0 inhibition rules, 0 time intervals; \
                       1 integration switched off";
        assert!(text.contains(summary), "{text}");
        let why = "am.yml:4:3: receiver \"x\": slack[0] is switched off: api_url is a placeholder: put the real value there";
        assert!(text.contains(why), "{text}");
        assert!(text.contains("am.yml: templates: no file matches"), "{text}");
        let (code, text) = taffrail(&["check", "--strict", file]);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains("am.yml:4:3: api_url: unsupported scheme"), "{text}");
    }
    write(dir.path(), "t.tmpl", "{{ define \"x\" }}\n{{ nope }}{{ end }}");
    let (code, text) = taffrail(&["check", &path]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("t.tmpl: template: t.tmpl:2: function \"nope\" not defined"), "{text}");
}

#[test]
fn routes_are_shown_and_tested() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "am.yml", ROUTES);
    let file = format!("--config.file={path}");
    let labels = ["b=1", "a=2", "c=y"];
    let cases: [Vec<&str>; 7] = [
        vec!["show", &file],
        vec!["test", &file],
        vec!["test", &file, "--tree", labels[0], labels[1], labels[2]],
        vec!["test", &file, "--tree", labels[0], labels[1], labels[2], "d=\"q\\\"z\""],
        vec!["test", &file, "--verify.receivers=e,e", labels[0], labels[1], labels[2]],
        vec!["test", &file, "--verify.receivers=d", "x=y"],
        vec!["test", &file, "a=~b"],
    ];
    let ours: Vec<(Option<i32>, String)> =
        cases.iter().map(|case| taffrail(&[&["routes"], case.as_slice()].concat())).collect();
    assert_eq!(ours[1], (Some(0), "e\n".to_owned()));
    assert_eq!(ours[4], (Some(0), "e,e\n".to_owned()));
    assert!(ours[3].1.contains("receiver: with space\n    └── default-route  receiver: e\n"));
    assert_eq!((ours[5].0, ours[6].0), (Some(1), Some(1)));
    if clients_wanted().is_none() {
        return;
    }
    for (case, ours) in cases.iter().zip(ours) {
        let theirs = run("amtool", &[&["config", "routes"], case.as_slice()].concat());
        let theirs = (theirs.status.code(), String::from_utf8_lossy(&theirs.stdout).into_owned());
        assert_eq!(ours, theirs, "{case:?}");
    }
}

/// Values that keys get in turn.
const VALUES: [&str; 18] = [
    "''",
    "null",
    "0",
    "abc",
    "[]",
    "{}",
    "{a: b}",
    "1h",
    "-1",
    "['...']",
    "ftp://x/",
    "'a=b'",
    "['a=b']",
    "['monday:friday']",
    "['5:1']",
    "'09:00'",
    "\"a\\nb\"",
    "2020-01-01",
];

/// Lines that later versions take with other values: what they begin with, and the values; an empty one is no line.
const NEWER: [(&str, &[&str]); 2] = [
    // A secret may be missing.
    ("client_secret:", &["''", "null", ""]),
    // Details may be objects.
    ("a:", &["[]", "{}", "{a: b}", "['a=b']", "['...']", "['monday:friday']", "['5:1']"]),
];

#[test]
fn strict_readings_judge_as_amtool() {
    if clients_wanted().is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lines: Vec<&str> = ALL_KEYS.lines().collect();
    let mut files = vec![write(dir.path(), "0.yml", ALL_KEYS)];
    for (at, line) in lines.iter().enumerate() {
        let (key, _) = line.split_once(':').unwrap_or((line, ""));
        let name = format!("{}:", key.trim_start_matches([' ', '-']));
        let newer =
            NEWER.iter().find(|(key, _)| *key == name).map_or(&[][..], |(_, values)| values);
        let values = VALUES.iter().filter(|value| line.contains(':') && !newer.contains(value));
        let mutants = values.map(|value| format!("{key}: {value}"));
        let without = (!newer.contains(&"")).then(String::new);
        for mutant in mutants.chain(without).chain([format!("{line}\n{line}")]) {
            let mut all = lines.clone();
            all[at] = &mutant;
            let name = format!("{}.yml", files.len());
            files.push(write(dir.path(), &name, &(all.join("\n") + "\n")));
        }
    }
    let options = Options { strict: true, syntax: Syntax::Classic };
    let (mut accepted, mut wrong) = (0, Vec::new());
    for chunk in files.chunks(200) {
        let args: Vec<&str> =
            ["check-config"].into_iter().chain(chunk.iter().map(String::as_str)).collect();
        let output = run("amtool", &args);
        let output = String::from_utf8_lossy(&output.stdout);
        for file in chunk {
            let verdict = output.split(&format!("Checking '{file}'  ")).nth(1).unwrap();
            let is_good = verdict.starts_with("SUCCESS");
            accepted += usize::from(is_good);
            let text = std::fs::read_to_string(file).unwrap();
            let ours = alertmanager_yml::load(Path::new(file), &text, options, &|_| None);
            if ours.is_ok() != is_good {
                let changed = text.lines().zip(&lines).find(|(line, other)| line != *other);
                let verdict = verdict.lines().take(2).collect::<Vec<_>>().join(" ");
                wrong.push(format!("{changed:?}: {verdict}; {:?}", ours.map(|_| ()).err()));
            }
        }
    }
    println!("{} files, {accepted} accepted by both", files.len());
    assert!(accepted > files.len() / 10, "{accepted} of {}", files.len());
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

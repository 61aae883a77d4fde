//! Lines come out joined, once, and in order, whenever the reader dies.

use ingest::pipeline::{
    CriConfig, DropConfig, Metrics, MultilineConfig, StageConfig, TenantConfig,
};
use model::ManualClock;
use proptest::prelude::*;

use super::*;

const TRACE: [&str; 3] =
    ["java.lang.Error: no disk", "\tat a.B.c(D.java:1)", "\tat a.B.main(D.java:9)"];

fn streams() -> [Labels; 2] {
    ["stdout", "stderr"].map(|stream| Labels::from_pairs([("stream", stream)]))
}

fn staged(stages: &[StageConfig], limits: Limits) -> Arc<Treatment> {
    let pipeline = Pipeline::new(stages, &Metrics::default()).unwrap();
    let external = Labels::from_pairs([("host", "h1"), ("stream", "never")]);
    Arc::new(Treatment::staged(pipeline, external, Arc::new(limits), Arc::default(), 600_000))
}

fn multiline() -> StageConfig {
    StageConfig::Multiline(MultilineConfig {
        firstline: "^[a-z]".to_owned(),
        max_wait_ns: 3_000_000_000,
        max_lines: 128,
    })
}

/// A source that is read, stores, and dies.
struct Source {
    flow: Flow,
    clock: ManualClock,
    rows: LogRows,
    stored: Vec<String>,
    cursor: (usize, Vec<HeldLine>),
    read: usize,
}

impl Source {
    fn new(treatment: &Arc<Treatment>) -> Self {
        Self {
            flow: Flow::new(Arc::clone(treatment)),
            clock: ManualClock::at_ms(1_795_000_000_000),
            rows: LogRows::default(),
            stored: Vec::new(),
            cursor: Default::default(),
            read: 0,
        }
    }

    fn read(&mut self, output: usize, text: &str) {
        let t_ns = self.clock.now_ns();
        self.flow.push(&streams(), output, t_ns, text, &self.clock, &mut self.rows);
        self.read += 1;
    }

    fn wait_ms(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
        self.flow.flush_due(&streams(), &self.clock, &mut self.rows);
    }

    /// Stores what is complete, and the cursor.
    fn store(&mut self) {
        let Some(cursor) = self.flow.cursor(self.read.to_string().into_bytes()) else { return };
        let (position, held) = held::decode(&cursor).unwrap();
        self.cursor = (std::str::from_utf8(position).unwrap().parse().unwrap(), held);
        self.stored.extend(std::mem::take(&mut self.rows).iter().map(|row| row.line.to_owned()));
    }

    /// A new reader begins at the cursor.
    fn die(&mut self, treatment: &Arc<Treatment>) {
        self.flow = Flow::new(Arc::clone(treatment));
        self.rows = LogRows::default();
        self.read = self.cursor.0;
        self.flow.restore(self.cursor.1.clone());
    }
}

#[test]
fn a_trace_is_one_record_though_the_reader_dies_within_it() {
    for treatment in [Arc::new(Treatment::plain(true)), staged(&[multiline()], Limits::default())] {
        let mut source = Source::new(&treatment);
        source.read(0, TRACE[0]);
        source.read(1, "other");
        source.read(0, TRACE[1]);
        source.wait_ms(10);
        source.store();
        source.die(&treatment);
        assert_eq!(source.read, 3);
        source.read(0, TRACE[2]);
        source.wait_ms(5_000);
        source.store();
        source.stored.sort();
        assert_eq!(source.stored, [TRACE.join("\n"), "other".to_owned()]);
        assert!(!source.flow.is_holding() && source.flow.next_due_ns().is_none());
    }
}

#[test]
fn lines_with_labels_of_their_own_keep_them() {
    let treatment = staged(&[multiline()], Limits::default());
    let mut source = Source::new(&treatment);
    let unit = |name: &str| Labels::from_pairs([("unit", name)]);
    for (name, text) in [("a", "one"), ("b", "two"), ("a", " more")] {
        let clock = &source.clock;
        let (t_ns, fields) = (clock.now_ns(), Labels::from_pairs([("field", name)]));
        source.flow.push_labelled(&unit(name), t_ns, text, &fields, clock, &mut source.rows);
        source.read += 1;
    }
    source.store();
    source.die(&treatment);
    source.flow.flush(&[], &source.clock, &mut source.rows);
    let shown = source.rows.iter().map(|row| (row.stream.get("unit").unwrap(), row.line));
    assert_eq!(shown.collect::<Vec<_>>(), [("a", "one\n more"), ("b", "two")]);
    let fields = source.rows.iter().map(|row| row.fields.get("field").unwrap().to_owned());
    assert_eq!(fields.collect::<Vec<_>>(), ["a", "b"]);
    // Without stages each is a record, be it a trace's or not.
    let mut plain = Flow::new(Arc::new(Treatment::plain(true)));
    let mut rows = LogRows::default();
    let fields = Labels::default();
    plain.push_labelled(&unit("a"), 1, TRACE[0], &fields, &source.clock, &mut rows);
    assert_eq!((rows.len(), plain.is_holding()), (1, false));
}

#[test]
fn too_much_for_a_cursor_waits_to_be_stored() {
    let treatment = staged(&[multiline()], Limits::default());
    let mut source = Source::new(&treatment);
    source.read(0, "first");
    source.store();
    let long = format!(" {}", "x".repeat(HELD_BYTES_MAX));
    source.read(0, &long);
    source.store();
    assert_eq!(source.cursor.0, 1);
    source.wait_ms(3_000);
    source.store();
    assert_eq!((source.cursor.0, source.stored), (2, vec![format!("first\n{long}")]));
}

#[test]
fn labels_fields_and_times_of_records() {
    let stages = [StageConfig::Labels(vec![("level".to_owned(), "stream".to_owned())])];
    let treatment = staged(&stages, Limits::default());
    let mut source = Source::new(&treatment);
    let clock = ManualClock::at_ms(1_795_000_000_000);
    let streams = [Labels::from_pairs([("__path__", "/x"), ("stream", "error")])];
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let line = format!("level=error trace_id={trace}");
    for t_ns in [clock.now_ns(), 12, clock.now_ns() + 601_000_000_000] {
        source.flow.push(&streams, 0, t_ns, &line, &clock, &mut source.rows);
    }
    let shown: Vec<(String, i64, String)> = source
        .rows
        .iter()
        .map(|row| (row.stream.to_string(), row.t_ns - clock.now_ns(), row.fields.to_string()))
        .collect();
    let stream =
        r#"{host="h1", level="error", service_name="unknown_service", stream="error"}"#.to_owned();
    let fields = |more: &str| format!(r#"{{{more}trace_id="{trace}"}}"#);
    let wrong = |time: &str| fields(&format!(r#"original_timestamp="{time}", "#));
    assert_eq!(shown[0], (stream.clone(), 0, fields("")));
    assert_eq!(shown[1], (stream.clone(), 0, wrong("1970-01-01T00:00:00.000000012Z")));
    assert_eq!(shown[2], (stream, 0, wrong("2026-11-18T11:16:41Z")));
}

#[test]
fn a_tenant_that_a_stage_names_is_a_label() {
    let tenant = TenantConfig { label: Some("team".into()), ..TenantConfig::default() };
    let treatment = staged(&[StageConfig::Tenant(tenant)], Limits::default());
    let mut source = Source::new(&treatment);
    let clock = ManualClock::at_ms(1_795_000_000_000);
    let streams = ["a", "b", ""].map(|team| Labels::from_pairs([("app", "x"), ("team", team)]));
    for stream in 0..3 {
        source.flow.push(&streams, stream, clock.now_ns(), "line", &clock, &mut source.rows);
    }
    let tenants: Vec<_> = source.rows.iter().map(|row| row.stream.get("tenant")).collect();
    assert_eq!(tenants, [Some("a"), Some("b"), None]);
}

#[test]
fn limits_are_held_and_counted() {
    let rate = ReadRate { per_second: 1.0, burst: 3, drops: true };
    for (limits, expected, reason) in [
        (Limits::new(0, false, Some(rate), 0), vec!["a", "béé", "c"], "rate_limited"),
        (Limits::new(2, true, None, 0), vec!["a", "b", "c", "d"], "line_cut"),
        (Limits::new(2, false, None, 0), vec!["a", "c", "d"], "line_too_long"),
        (Limits::new(0, false, None, 1), vec!["a", "béé", "d"], "stream_limited"),
    ] {
        let treatment = staged(&[StageConfig::Decolorize], limits);
        let mut source = Source::new(&treatment);
        for (output, text) in [(0, "a"), (0, "béé"), (1, "c"), (0, "d")] {
            source.read(output, text);
        }
        source.store();
        assert_eq!(source.stored, expected);
        assert_eq!(treatment.dropped.snapshot(), [(Arc::from(reason), 1)]);
    }
    let rate = ReadRate { drops: false, ..rate };
    let treatment = staged(&[StageConfig::Decolorize], Limits::new(0, false, Some(rate), 0));
    let mut source = Source::new(&treatment);
    (0..5).for_each(|_| source.read(0, "a"));
    source.store();
    assert_eq!(source.stored.len(), 5);
    let now_ns = source.clock.monotonic_ns();
    assert!(source.flow.is_paused(now_ns + 1_900_000_000) && source.flow.is_waiting());
    assert!(!source.flow.is_paused(now_ns + 2_100_000_000));
}

/// One thing that happens to a source.
#[derive(Debug, Clone)]
enum Step {
    Read(usize, usize),
    Wait(i64),
    Store,
    Die,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_usize, 0..9_usize).prop_map(|(output, line)| Step::Read(output, line)),
        2 => (1..4_000_i64).prop_map(Step::Wait),
        3 => Just(Step::Store),
        1 => Just(Step::Die),
    ]
}

proptest! {
    #[test]
    fn every_line_is_stored_once(
        steps in prop::collection::vec(step(), 1..80),
        kind in 0..4_usize,
    ) {
        const LINES: [&str; 9] = [
            "java.lang.Error: x", "\tat a.b(C.java:1)", "plain", " indented", "Caused by: y", "",
            "2026-11-23T02:50:23Z stdout P part", "2026-11-23T02:50:23Z stdout F end", "drop me",
        ];
        let drop = StageConfig::Drop(DropConfig {
            expression: Some("^drop".to_owned()),
            ..DropConfig::default()
        });
        let treatment = match kind {
            0 => Arc::new(Treatment::plain(true)),
            1 => staged(&[multiline()], Limits::default()),
            2 => staged(&[StageConfig::Cri(CriConfig::default()), multiline()], Limits::default()),
            _ => staged(&[drop, multiline()], Limits::default()),
        };
        let mut source = Source::new(&treatment);
        let mut log: Vec<(usize, String)> = Vec::new();
        for step in &steps {
            match step {
                Step::Read(output, line) => {
                    // What was written before the reader died is read first.
                    log.push((*output, format!("{}<{}>", LINES[*line], log.len())));
                }
                Step::Wait(ms) => source.wait_ms(*ms),
                Step::Store => source.store(),
                Step::Die => source.die(&treatment),
            }
            while source.read < log.len() {
                let (output, line) = log[source.read].clone();
                source.read(output, &line);
            }
        }
        source.flow.flush(&streams(), &source.clock, &mut source.rows);
        source.store();
        prop_assert_eq!(source.cursor, (log.len(), Vec::new()));
        // Each line has its number; parts are put together without anything between them.
        let mut found = source.stored.join("\n");
        for (number, (_, line)) in log.iter().enumerate().rev() {
            let text = line.strip_prefix("2026-11-23T02:50:23Z stdout P ")
                .or_else(|| line.strip_prefix("2026-11-23T02:50:23Z stdout F "))
                .filter(|_| kind == 2)
                .unwrap_or(line);
            let is_dropped = kind == 3 && text.starts_with("drop");
            let times = found.matches(text).count();
            prop_assert_eq!(times, usize::from(!is_dropped), "line {} {:?} in {:?}", number, text, found);
            found = found.replacen(text, &"#".repeat(3), 1);
        }
        let left: String = found.chars().filter(|c| *c != '#' && *c != '\n').collect();
        prop_assert_eq!(left, "");
    }
}

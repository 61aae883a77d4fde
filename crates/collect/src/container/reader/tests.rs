//! Reading logs: partial lines, resuming at every byte, what the daemon repeats.

use std::sync::Arc;

use ingest::stack_traces::HOLD_NS;
use jiff::Timestamp;
use model::{Labels, ManualClock};

use super::*;
use crate::lines::held;

const S: i64 = 1_000_000_000;
const BASE: i64 = 1_795_000_000 * S;

/// One message as the runtime wrote it: output (1, 2), time, text; without a newline it is a piece of a line.
type Message = (u8, i64, &'static str);

/// Both outputs interleaved with swapped times, equal times, pieces, an empty line, and an unfinished end of a run.
const RECORDED: &[Message] = &[
    (1, 10, "first\n"),
    (2, 12, "error one\n"),
    (1, 11, "swapped with the error\n"),
    (1, 13_000, "twin\n"),
    (1, 13_000, "twin\n"),
    (1, 13_000, "twin\n"),
    (2, 13_000, "twin\n"),
    (1, 20_000, "piece one,"),
    (2, 21_000, "between\n"),
    (1, 20_000, "piece two,"),
    (2, 22_000, "\n"),
    (1, 20_000, "end\n"),
    (1, 30_000, "unfinished by the first run"),
    (1, 9_000_000_040, "second run\n"),
    (2, 9_000_000_041, "half"),
    (1, 30_000_000_000, "much later, the other output is far behind\n"),
    (2, 9_000_000_041, " and half\n"),
    (1, 30_000_000_001, "last\n"),
    (2, 30_000_000_002, "last\n"),
];

/// The clock is set back by 25 s and later passes its old reading again.
const STEPPED: &[Message] = &[
    (1, 60 * S, "before\n"),
    (2, 61 * S, "before\n"),
    (1, 62 * S, "before, newest\n"),
    (1, 37 * S, "after the step\n"),
    (2, 38 * S, "after the step\n"),
    (1, 39 * S, "after\n"),
    (1, 61 * S, "in the same second as an old line\n"),
    (2, 61 * S + 1, "close to an old line\n"),
    (1, 70 * S, "past the old reading\n"),
    (1, 71 * S, "end\n"),
    (2, 72 * S, "end\n"),
];

const TERMINAL: &[Message] = &[
    (1, 10, "one\n"),
    (1, 11_000, "two\n"),
    (1, 11_000, "two\n"),
    (1, 12_000, "three\n"),
    (1, 20 * S, "four\n"),
];

fn stamp(t_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(BASE + t_ns)).unwrap();
    format!("{time:.9} ")
}

/// What the daemon answers for `since_ns` (absolute): all messages at or after it, in the order written.
fn serve(log: &[Message], since_ns: i64, terminal: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, t_ns, text) in log.iter().filter(|(_, t, _)| BASE + t >= since_ns) {
        let payload = format!("{}{text}", stamp(*t_ns));
        if !terminal {
            bytes.extend([*kind, 0, 0, 0]);
            bytes.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        }
        bytes.extend(payload.as_bytes());
    }
    bytes
}

fn reader(cursor: Option<&[u8]>) -> LogReader {
    let (position, held) = match cursor {
        Some(cursor) => {
            let (position, held) = held::decode(cursor).unwrap();
            (Position::decode(position).unwrap(), held)
        }
        None => (Position::start(0), Vec::new()),
    };
    let streams = ["stdout", "stderr"].map(|s| Labels::from_pairs([("stream", s)]));
    let clock = Arc::new(ManualClock::at_ms(BASE / 1_000_000));
    let treatment = Arc::new(Treatment::plain(true));
    let beginning = Beginning { position, held };
    LogReader::new(Arc::from("docker/c"), streams, treatment, beginning, clock, Arc::default())
}

/// A store: lines per output, and the cursor behind them.
#[derive(Default, Clone)]
struct Stored {
    lines: [Vec<(i64, String)>; 2],
    cursor: Option<Vec<u8>>,
}

impl Stored {
    fn commit(&mut self, reader: &mut LogReader) {
        let batch = reader.take_batch(true).unwrap();
        for row in batch.rows.iter() {
            let index = usize::from(row.stream.get("stream") == Some("stderr"));
            self.lines[index].push((row.t_ns - BASE, row.line.to_owned()));
        }
        self.cursor = batch.cursor;
    }

    /// Reads `log` from the cursor; crashes after `cut` bytes, or runs to the end. Batches of `batch` lines are
    /// committed; what was read behind the last commit is lost in the crash.
    fn run(&mut self, log: &[Message], terminal: bool, cut: Option<usize>, batch: usize) {
        let mut reader = reader(self.cursor.as_deref());
        let attempts =
            (0..=GAP_ATTEMPTS).take_while(|_| !self.read(&mut reader, log, terminal, cut, batch));
        assert!(attempts.count() <= GAP_ATTEMPTS as usize, "a gap is believed in the end");
    }

    /// One stream; `false` when the reader wants another because of a gap.
    fn read(
        &mut self,
        reader: &mut LogReader,
        log: &[Message],
        terminal: bool,
        cut: Option<usize>,
        batch: usize,
    ) -> bool {
        let bytes = serve(log, reader.since_ns(), terminal);
        reader.open(0);
        let end = cut.map_or(bytes.len(), |c| c.min(bytes.len()));
        for chunk in bytes[..end].chunks(13) {
            if reader.feed(chunk).is_err() {
                return false;
            }
            if reader.rows.len() >= batch {
                self.commit(reader);
            }
        }
        if cut.is_none() {
            reader.finish();
            self.commit(reader);
        }
        true
    }
}

fn whole(log: &[Message], terminal: bool) -> Stored {
    let mut stored = Stored::default();
    stored.run(log, terminal, None, usize::MAX);
    stored
}

/// Crashes at every byte from `first` on, resumes, crashes again somewhere, resumes: every line exactly once and in
/// order.
fn check(log: &[Message], terminal: bool, batches: &[usize], first: usize) {
    let expected = whole(log, terminal).lines;
    let total = serve(log, 0, terminal).len();
    for &batch in batches {
        for cut in first..=total {
            let mut stored = Stored::default();
            stored.run(log, terminal, Some(cut), batch);
            stored.run(log, terminal, Some(cut * 7919 % (total + 1)), batch);
            stored.run(log, terminal, None, batch);
            assert_eq!(stored.lines, expected, "batches of {batch}, cut at {cut}");
            // Reading again from the end brings nothing.
            stored.run(log, terminal, None, batch);
            assert_eq!(stored.lines, expected, "read again, batches of {batch}, cut at {cut}");
        }
    }
}

#[test]
fn recorded_lines_are_what_was_written() {
    let [stdout, stderr] = whole(RECORDED, false).lines;
    let texts = |lines: &[(i64, String)]| lines.iter().map(|l| l.1.clone()).collect::<Vec<_>>();
    assert_eq!(
        texts(&stdout),
        [
            "first",
            "swapped with the error",
            "twin",
            "twin",
            "twin",
            "piece one,piece two,end",
            "unfinished by the first run",
            "second run",
            "much later, the other output is far behind",
            "last"
        ]
    );
    assert_eq!(texts(&stderr), ["error one", "twin", "between", "", "half and half", "last"]);
}

#[test]
fn every_cut_resumes_exactly_once() {
    check(RECORDED, false, &[1, 2, 5], 0);
}

/// Traces of both outputs at once, with a line between them, and one at the end.
const TRACES: &[Message] = &[
    (1, 10, "begin\n"),
    (1, 11, "java.lang.Error: no disk\n"),
    (2, 11, "Traceback (most recent call last):\n"),
    (1, 12, "\tat a.B.c(D.java:1)\n"),
    (2, 12, "  File \"a.py\", line 3, in <module>\n"),
    (1, 13, "\tat a.B.main(D.java:9)\n"),
    (2, 13, "    main()\n"),
    (2, 14, "ValueError: bad\n"),
    (1, 15, "between\n"),
    (2, 16, "panic: oh\n"),
    (2, 17, "\n"),
    (2, 17, "goroutine 1 [running]:\n"),
    (2, 17, "main.main()\n"),
    (2, 18, "\t/app/main.go:3 +0x1d\n"),
    (1, 20_000, "java.lang.Error: last\n"),
    (1, 20_001, "\tat a.B.c(D.java:1)\n"),
];

#[test]
fn traces_are_records_wherever_reading_is_cut() {
    let lines = whole(TRACES, false).lines.map(|lines| lines.len());
    assert_eq!(lines, [4, 2]);
    check(TRACES, false, &[1, 2], 0);
}

#[test]
fn a_trace_waits_for_its_next_line_and_then_no_longer() {
    let clock = Arc::new(ManualClock::at_ms(BASE / 1_000_000));
    let mut reader = LogReader { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..reader(None) };
    reader.open(0);
    reader.feed(&serve(&TRACES[..2], 0, false)).unwrap();
    assert_eq!((reader.rows.len(), reader.due_in_ns()), (1, Some(HOLD_NS)));
    clock.advance_ms(HOLD_NS / 1_000_000);
    reader.flush_due();
    assert_eq!((reader.rows.len(), reader.due_in_ns()), (2, None));
}

#[test]
fn every_cut_resumes_exactly_once_when_the_clock_is_set_back() {
    // From the first line behind the step on; that the step itself is noticed is the follower's part, which compares
    // the log's last line with the position.
    let first = serve(&STEPPED[..4], 0, false).len() + 13;
    check(STEPPED, false, &[1], first);
}

#[test]
fn every_cut_of_a_terminal_resumes_exactly_once() {
    check(TERMINAL, true, &[1, 2, 5], 0);
}

#[test]
fn rotation_loses_only_what_was_rotated_away() {
    let expected = whole(RECORDED, false).lines;
    let total = serve(RECORDED, 0, false).len();
    for cut in (0..=total).step_by(3) {
        let mut before = Stored::default();
        before.run(RECORDED, false, Some(cut), 1);
        // Only whole lines are rotated away: these are places between them.
        for dropped in [1, 2, 3, 6, 7, 12, 13, 14, 17, 19] {
            let kept = &RECORDED[dropped..];
            let remaining = whole(kept, false).lines;
            let mut stored = before.clone();
            stored.run(kept, false, None, 1);
            for output in 0..2 {
                let got = &stored.lines[output];
                // Lines are told apart by their place from the end: what remains is there in full, once.
                let at_least = expected[output].len() - remaining[output].len();
                let mut want = before.lines[output].clone();
                let from = want.len().max(at_least);
                want.extend_from_slice(&expected[output][from..]);
                assert_eq!(got, &want, "cut at {cut}, {dropped} messages rotated away");
            }
        }
    }
}

#[test]
fn a_terminal_cut_off_by_its_end_is_not_glued_to_the_next_run() {
    let first: &[Message] = &[(1, 10, "prompt> ")];
    let mut stored = Stored::default();
    stored.run(first, true, None, 1);
    let both: &[Message] = &[(1, 10, "prompt> "), (1, 20, "next run\n")];
    stored.run(both, true, None, 1);
    stored.run(both, true, None, 1);
    let texts: Vec<_> = stored.lines[0].iter().map(|l| l.1.as_str()).collect();
    assert_eq!(texts, ["prompt> ", "next run"]);
}

#[test]
fn lines_that_the_daemon_repeats_within_a_stream_are_taken_once() {
    let mut repeated = RECORDED.to_vec();
    // Behind the eleventh message the daemon goes back to the fourth.
    repeated.splice(11..11, RECORDED[6..11].iter().copied());
    let written = whole(RECORDED, false).lines;
    assert_eq!(whole(&repeated, false).lines[1], written[1]);
    let mut lines = RECORDED[..7].to_vec();
    lines.extend_from_slice(&RECORDED[..5]);
    assert_eq!(whole(&lines, false).lines, whole(&RECORDED[..7], false).lines);
    // A single line again, to the nanosecond.
    let again: &[Message] = &[(1, 17, "a\n"), (1, 17, "a\n"), (1, 17, "b\n")];
    assert_eq!(whole(again, false).lines[0].len(), 2);
}

#[test]
fn a_stream_that_leaves_lines_out_is_asked_for_again() {
    let mut stored = Stored::default();
    stored.run(&RECORDED[..4], false, None, 1);
    let mut reader = reader(stored.cursor.as_deref());
    reader.open(0);
    assert!(reader.feed(&serve(&RECORDED[12..], 0, false)).is_err());
    assert!(reader.is_empty());
    // The next stream has everything.
    assert!(stored.read(&mut reader, RECORDED, false, None, 1));
    assert_eq!(stored.lines[1], whole(RECORDED, false).lines[1]);
    assert_eq!(stored.lines[0], whole(RECORDED, false).lines[0]);
}

#[test]
fn damaged_cursors_are_refused() {
    let cursor = whole(RECORDED, false).cursor.unwrap();
    assert_eq!(Position::decode(&cursor).unwrap().encode(), cursor);
    for damaged in [&b""[..], b"2 0 0 | 0 0 0 | 0 0 0", b"1 0 0 | 0 0", b"\xff\xfe", b"1 a b"] {
        assert!(Position::decode(damaged).is_none());
    }
}

//! Steps: what waits, what the log says of it, and a model of an engine that leaves files out and sends them again.

use ingest::docker::frames::Output;
use proptest::prelude::*;

use super::*;

const LEAST_NS: i64 = 1000;

fn lines(times_ns: &[i64]) -> Vec<Line> {
    let line = |&t_ns: &i64| Line {
        output: Output::Stdout,
        t_ns: Some(t_ns),
        text: String::new(),
        truncated_bytes: 0,
    };
    times_ns.iter().map(line).collect()
}

fn log(times_ns: &[i64], wanted_ns: i64) -> LogSteps {
    let mut steps = LogSteps::new(LEAST_NS, wanted_ns);
    times_ns.chunks(3).for_each(|times_ns| steps.note(&lines(times_ns)));
    steps
}

#[test]
fn lines_behind_a_step_wait_for_the_log() {
    let mut watch = StepWatch::new(OPENING_NS, LEAST_NS);
    assert_eq!(watch.certain(&lines(&[1, 2, 1001, 2001, 2002])), 3);
    let doubt = watch.doubt().unwrap();
    assert_eq!(doubt, Step { before_ns: 1001, after_ns: 2001 });
    assert_eq!(watch.certain(&lines(&[2001, 2002])), 0, "until the log was asked");
    let whole = log(&[1, 2, 1001, 2001, 2002, 4000], doubt.before_ns);
    assert!(whole.has_wanted && watch.learn(whole));
    assert_eq!(watch.certain(&lines(&[2001, 2002, 4000])), 3, "the log said more than was asked");
    assert_eq!(watch.certain(&lines(&[9000])), 0);
    assert!(!watch.learn(log(&[4000, 7000, 9000], 4000)), "a line lies between");
    watch.believe();
    assert_eq!(watch.certain(&lines(&[9000, 8900])), 2);
    assert_eq!(watch.certain(&lines(&[4000])), 0, "sent again");
}

#[test]
fn what_was_there_when_the_stream_was_opened_is_no_step() {
    let mut watch = StepWatch::new(OPENING_NS + 5000, LEAST_NS);
    assert_eq!(watch.certain(&lines(&[0, 2000, 4000, 4500])), 4);
    assert_eq!(watch.certain(&lines(&[6000])), 0);
}

#[test]
fn sizes_of_files_become_times() {
    assert_eq!(least_ns(10_000_000), 100_000_000);
    assert_eq!(least_ns(u64::MAX), i64::MAX);
}

proptest! {
    /// Files of a log of which a stream leaves out any, and sends any again: what is taken before the stream is found
    /// torn is the log's beginning, and a stream that left nothing out is never torn.
    #[test]
    fn what_is_taken_is_the_log(
        gaps_ns in proptest::collection::vec(prop_oneof![1_i64..50, LEAST_NS..3 * LEAST_NS], 1..60),
        files in proptest::collection::vec(prop_oneof![4 => Just(1_usize), 1 => Just(0), 1 => Just(2)], 1..12),
        at_a_time in 1_usize..7,
    ) {
        // A file takes LEAST_NS to fill: its last line is at least so much behind the last one of the file before.
        let mut times_ns = vec![OPENING_NS];
        for file_ns in gaps_ns.as_chunks::<5>().0 {
            for (index, gap_ns) in file_ns.iter().enumerate() {
                let fills_ns = if index == 4 { LEAST_NS } else { 0 };
                times_ns.push(times_ns.last().unwrap() + gap_ns + fills_ns);
            }
        }
        let (first, rest) = times_ns.split_first().unwrap();
        // 0 leaves the file out, 2 sends it twice.
        let mut stream = vec![*first];
        let mut is_torn = false;
        for (file, times) in rest.chunks(5).zip(files.iter().cycle()) {
            is_torn |= *times != 1;
            for _ in 0..*times {
                stream.extend(file);
            }
        }
        let mut watch = StepWatch::new(OPENING_NS, LEAST_NS);
        let (mut taken, mut waiting, mut is_found) = (Vec::new(), Vec::new(), false);
        'stream: for chunk in stream.chunks(at_a_time) {
            waiting.extend(chunk);
            loop {
                let certain = watch.certain(&lines(&waiting));
                taken.extend(waiting.drain(..certain));
                let Some(doubt) = watch.doubt() else { break };
                if !watch.learn(log(&times_ns, doubt.before_ns)) {
                    is_found = true;
                    break 'stream;
                }
            }
        }
        if !is_torn {
            prop_assert!(!is_found);
        }
        // The end of a log may be missing: nothing came behind it.
        prop_assert_eq!(&taken[..], &times_ns[..taken.len()]);
    }
}

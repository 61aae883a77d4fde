//! Lumberjack, version 2: what Beats and Logstash send, frame by frame.
//!
//! Owns: windows, events as JSON, compressed frames, acknowledgements. Does not own: connections, what members of events mean
//! ([`elastic::roles`](crate::elastic::roles)).
//!
//! An event that is no JSON object is refused alone, and acknowledged as the others: its sender would send it again for
//! ever.
//!
//! Source: Logstash Forwarder, "Protocol"; Elastic's go-lumber, v2.

use model::{Error, ErrorKind, Result, text_of_bytes};

use crate::compression::{self, Encoding};
use crate::document::{Documents, More, Roles};
use crate::pushed_lines::{Lines, Streams};

const VERSION: u8 = b'2';
/// Version and type.
const HEAD_BYTES: usize = 2;
/// Events of one window; Beats send up to 4,096 by default settings.
const WINDOW_MAX: u32 = 1 << 20;

/// What members of events mean: as Elasticsearch's, without what Beats say about their target.
pub fn roles() -> Roles {
    Roles { ignored: vec!["@metadata.*".to_owned()], ..crate::elastic::roles() }
}

/// Bounds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame as it is sent.
    pub frame_bytes_max: usize,
    /// Bytes of the frames inside a compressed one.
    pub unpacked_bytes_max: usize,
}

/// Reads the frames of one connection.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    /// Events of the window that are to come; `None` outside of one.
    left: Option<u32>,
}

/// A frame.
enum Frame<'a> {
    Window(u32),
    Event { number: u32, json: &'a [u8] },
    Compressed(&'a [u8]),
}

impl Decoder {
    /// Nothing read yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, left: None }
    }

    /// Takes the whole frames at the beginning of `bytes` until about `rows_max` events are in `lines`. Returns the bytes
    /// they take and the numbers to be acknowledged, in this order: of every window that ended the last event's, for each
    /// is waited for by itself; and that of the last event of a window of which more is to come.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) when they are no frames, [`Limit`](ErrorKind::Limit) beyond a bound.
    pub fn read(
        &mut self,
        bytes: &[u8],
        rows_max: usize,
        roles: &Roles,
        streams: &Streams,
        lines: &mut Lines,
    ) -> Result<(usize, Vec<u32>)> {
        let (mut used, mut taken) = (0, Taken::default());
        let mut documents = Documents::new(roles, streams);
        while lines.rows.len() < rows_max {
            let rest = bytes.get(used..).unwrap_or_default();
            let Some((frame, len)) = next(rest, self.limits.frame_bytes_max)? else { break };
            used += len;
            if let Frame::Compressed(packed) = frame {
                let unpacked =
                    compression::unpack(Encoding::Deflate, packed, self.limits.unpacked_bytes_max)
                        .map_err(|e| e.context("compressed frame"))?;
                let mut inner = &*unpacked;
                while !inner.is_empty() {
                    let found = next(inner, self.limits.unpacked_bytes_max)?;
                    let (frame, len) = found
                        .ok_or_else(|| Error::invalid("a compressed frame ends within a frame"))?;
                    if matches!(frame, Frame::Compressed(_)) {
                        return Err(Error::invalid("a compressed frame inside another"));
                    }
                    self.frame(&frame, &mut documents, lines, &mut taken)?;
                    inner = inner.get(len..).unwrap_or_default();
                }
            } else {
                self.frame(&frame, &mut documents, lines, &mut taken)?;
            }
        }
        taken.end_window();
        Ok((used, taken.numbers))
    }

    /// Takes a window or an event.
    fn frame(
        &mut self,
        frame: &Frame<'_>,
        documents: &mut Documents<'_>,
        lines: &mut Lines,
        taken: &mut Taken,
    ) -> Result<()> {
        let (number, json) = match frame {
            Frame::Window(count) if *count > WINDOW_MAX => {
                let why = format!("window of {count} events; the limit is {WINDOW_MAX}");
                return Err(Error::new(ErrorKind::Limit, why));
            }
            Frame::Window(count) => {
                taken.end_window();
                self.left = Some(*count);
                return Ok(());
            }
            Frame::Event { number, json } => (*number, *json),
            Frame::Compressed(_) => return Ok(()),
        };
        let left = self.left.and_then(|left| left.checked_sub(1));
        self.left = Some(left.ok_or_else(|| Error::invalid("an event outside of a window"))?);
        let more = More { labels: &[("job", "beats")], fields: &[] };
        match documents.add(&text_of_bytes(json), &more, lines) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Limit => return Err(e),
            Err(e) => lines.refused.add(1, format!("event {number}: {}", e.message())),
        }
        taken.last = Some(number);
        if left == Some(0) {
            taken.end_window();
        }
        Ok(())
    }
}

/// Numbers to be acknowledged.
#[derive(Debug, Default)]
struct Taken {
    numbers: Vec<u32>,
    /// Of the last event, while its window goes on.
    last: Option<u32>,
}

impl Taken {
    fn end_window(&mut self) {
        self.numbers.extend(self.last.take());
    }
}

/// The frame at the beginning of `bytes` and how many of them it takes; `None` when they are not all there.
fn next(bytes: &[u8], bytes_max: usize) -> Result<Option<(Frame<'_>, usize)>> {
    let Some((&[version, kind], rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
        return match bytes.first() {
            Some(version) if *version != VERSION => Err(unknown_version(*version)),
            _ => Ok(None),
        };
    };
    if version != VERSION {
        return Err(unknown_version(version));
    }
    let number = |at: usize| -> Option<u32> {
        rest.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    };
    let body = |at: usize, len: u32| -> Result<Option<(&[u8], usize)>> {
        let end = (len as usize).saturating_add(at);
        if end > bytes_max {
            let why = format!("frame of {end} bytes; the limit is {bytes_max}");
            return Err(Error::new(ErrorKind::Limit, why));
        }
        Ok(rest.get(at..end).map(|body| (body, HEAD_BYTES + end)))
    };
    match kind {
        b'W' => Ok(number(0).map(|count| (Frame::Window(count), HEAD_BYTES + 4))),
        b'J' => {
            let (Some(number), Some(len)) = (number(0), number(4)) else { return Ok(None) };
            let found = body(8, len)?;
            Ok(found.map(|(json, len)| (Frame::Event { number, json }, len)))
        }
        b'C' => {
            let Some(len) = number(0) else { return Ok(None) };
            Ok(body(4, len)?.map(|(packed, len)| (Frame::Compressed(packed), len)))
        }
        _ => Err(Error::invalid(format!(
            "frame of type {kind:#04x}; W (window), J (event) and C (compressed) are known"
        ))),
    }
}

fn unknown_version(version: u8) -> Error {
    Error::invalid(format!(
        "not Lumberjack version 2: a frame begins with byte {version:#04x}, not with '2'"
    ))
}

/// The acknowledgement of all events up to `number`; of 0 it is a sign of life.
pub fn acknowledgement(number: u32) -> Vec<u8> {
    let mut frame = vec![VERSION, b'A'];
    frame.extend_from_slice(&number.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;
    use crate::pushed_lines;

    const LIMITS: Limits = Limits { frame_bytes_max: 200, unpacked_bytes_max: 1_000 };

    fn window(count: u32) -> Vec<u8> {
        [&b"2W"[..], &count.to_be_bytes()].concat()
    }

    fn event(number: u32, json: &str) -> Vec<u8> {
        let len = u32::try_from(json.len()).unwrap();
        [&b"2J"[..], &number.to_be_bytes(), &len.to_be_bytes(), json.as_bytes()].concat()
    }

    fn compressed(frames: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::fast();
        let mut packer = flate2::write::ZlibEncoder::new(Vec::new(), level);
        packer.write_all(frames).unwrap();
        let packed = packer.finish().unwrap();
        let len = u32::try_from(packed.len()).unwrap();
        [&b"2C"[..], &len.to_be_bytes(), &packed].concat()
    }

    /// Lines and acknowledged numbers of frames that come in pieces of `step`, and what was refused.
    fn read(bytes: &[u8], step: usize) -> Result<(Vec<String>, Vec<u32>, Vec<String>)> {
        let limits = pushed_lines::Limits {
            rows_max: 100,
            labels_max: 5,
            name_bytes_max: 32,
            value_bytes_max: 32,
            line_fields_bytes_max: 1_000,
            field_bytes_max: 10_000,
            future_ms_max: 600_000,
        };
        let (roles, streams) = (roles(), Streams::new(10_000, 100));
        let mut lines = Lines::new(&limits, 1_700_000_000_000);
        let (mut decoder, mut held, mut acknowledged) = (Decoder::new(LIMITS), Vec::new(), vec![]);
        for piece in bytes.chunks(step) {
            held.extend_from_slice(piece);
            let (used, numbers) = decoder.read(&held, 1_000, &roles, &streams, &mut lines)?;
            held.drain(..used);
            acknowledged.extend(numbers);
        }
        let spelled = lines.rows.iter().map(|row| {
            format!("{} {} {}", row.stream.without("service_name"), row.line, row.fields)
        });
        Ok((spelled.collect(), acknowledged, lines.refused.reasons.clone()))
    }

    #[test]
    fn frames_come_in_pieces() {
        let one = r#"{"@timestamp":"2023-11-14T22:13:19Z","message":"one","host":{"name":"h"},"@metadata":{"beat":"filebeat"},"agent":{"type":"a"}}"#;
        let two = event(2, r#"{"@timestamp":"2023-11-14T22:13:19Z","message":"two"}"#);
        let bytes = [window(2), event(1, one), two.clone(), window(2), compressed(&two)].concat();
        let expected = [
            r#"{host_name="h", job="beats"} one {agent_type="a"}"#,
            r#"{job="beats"} two {}"#,
            r#"{job="beats"} two {}"#,
        ];
        for (step, acknowledged) in [(1, &[1, 2, 2][..]), (10_000, &[2, 2])] {
            assert_eq!(
                read(&bytes, step).unwrap(),
                (expected.map(str::to_owned).to_vec(), acknowledged.to_vec(), vec![])
            );
        }
        assert_eq!(acknowledgement(258), b"2A\0\0\x01\x02");
    }

    #[test]
    fn broken_events_are_refused_alone() {
        let bytes = [window(2), event(1, "[]"), event(2, r#"{"message":"x"}"#)].concat();
        let (lines, acknowledged, refused) = read(&bytes, 1_000).unwrap();
        assert_eq!((lines.len(), acknowledged), (1, vec![2]));
        assert!(refused[0].starts_with("event 1: not a JSON object"), "{refused:?}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |bytes: &[u8], words: &str| {
            let error = read(bytes, 1_000).unwrap_err();
            assert!(error.message().contains(words), "{error}");
        };
        check(b"GET / HTTP/1.1", "begins with byte 0x47, not with '2'");
        check(b"1", "begins with byte 0x31");
        check(b"2D", "frame of type 0x44");
        check(&event(1, "{}"), "an event outside of a window");
        check(&[window(1), event(1, "{}"), event(2, "{}")].concat(), "outside of a window");
        check(&window(u32::MAX), "window of 4294967295 events; the limit is 1048576");
        check(b"2C\xff\xff\xff\xff", "frame of 4294967299 bytes; the limit is 200");
        check(&compressed(&compressed(b"")), "a compressed frame inside another");
        check(&compressed(b"2W\0"), "ends within a frame");
        check(&compressed(&[0; 2_000]), "the limit is 1000 bytes");
        check(b"2C\0\0\0\x02ab", "body is not deflate");
    }

    /// What a client of go-lumber reads while it waits for a window of `count` events: acknowledgements until they reach
    /// `count`; a larger one is an error, and so is none.
    fn await_window(
        acknowledged: &mut impl Iterator<Item = u32>,
        count: u32,
    ) -> Result<(), String> {
        loop {
            match acknowledged.next() {
                None => return Err(format!("no acknowledgement of {count}")),
                Some(number) if number > count => return Err(format!("{number} of {count}")),
                Some(number) if number == count => return Ok(()),
                Some(_) => {}
            }
        }
    }

    proptest! {
        #[test]
        fn windows_on_their_way_at_once_are_acknowledged_one_by_one(
            windows in proptest::collection::vec((1_u32..8, any::<bool>()), 1..8),
            step in 1_usize..400,
        ) {
            let frames = |&(count, is_packed): &(u32, bool)| {
                let events = (1..=count).map(|number| event(number, r#"{"message":"x"}"#));
                let events: Vec<u8> = events.flatten().collect();
                [window(count), if is_packed { compressed(&events) } else { events }].concat()
            };
            let bytes: Vec<u8> = windows.iter().flat_map(frames).collect();
            let (lines, acknowledged, _) = read(&bytes, step).unwrap();
            prop_assert_eq!(lines.len(), windows.iter().map(|(count, _)| *count as usize).sum::<usize>());
            let mut acknowledged = acknowledged.into_iter();
            for (count, _) in &windows {
                prop_assert_eq!(await_window(&mut acknowledged, *count), Ok(()));
            }
            prop_assert_eq!(acknowledged.next(), None);
        }

        #[test]
        fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..80)) {
            let head = [Vec::new(), window(3), [window(3), b"2J\0\0\0\x01\0\0\0".to_vec()].concat()];
            let bytes = [head[noise.len() % head.len()].clone(), noise].concat();
            let whole = read(&bytes, 1_000).map(|(lines, ..)| lines);
            let pieces = read(&bytes, 3).map(|(lines, ..)| lines);
            prop_assert_eq!(whole.ok(), pieces.ok());
        }
    }
}

//! NDJSON: one JSON object per line, as VictoriaLogs takes it.
//!
//! Owns: the lines around the objects. Does not own: what the objects mean ([`document`](crate::document)), HTTP.

use memchr::memchr_iter;
use model::{ErrorKind, Result, text_of_bytes};

use crate::document::{Documents, More, Roles};
use crate::pushed_lines::{Limits, Lines, Pushed, Streams};

/// Reads a body that came at `now_ms`. A line that is no object is refused alone, by its number.
///
/// # Errors
/// [`Limit`](ErrorKind::Limit) beyond a bound.
pub fn decode(
    body: &[u8],
    roles: &Roles,
    more: &More<'_>,
    limits: &Limits,
    streams: &Streams,
    now_ms: i64,
) -> Result<Pushed> {
    let mut lines = Lines::new(limits, now_ms);
    let mut documents = Documents::new(roles, streams);
    for (number, line) in split(body) {
        match documents.add(&text_of_bytes(line), more, &mut lines) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::Limit => return Err(e),
            Err(e) => lines.refused.add(1, format!("line {number}: {}", e.message())),
        }
    }
    Ok(lines.finish())
}

/// Lines that are not blank, with their numbers.
pub(crate) fn split(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut begin = 0;
    let ends = memchr_iter(b'\n', body).chain([body.len()]);
    ends.enumerate().filter_map(move |(i, end)| {
        let line = body.get(begin..end).unwrap_or_default().trim_ascii();
        begin = end + 1;
        (!line.is_empty()).then_some((i + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pushed_lines::SMALL;

    fn read(body: &[u8]) -> Result<Pushed> {
        let roles = Roles {
            message: vec!["_msg".into()],
            time: vec!["_time".into()],
            labels: vec!["app".into()],
            ignored: Vec::new(),
        };
        decode(body, &roles, &More::default(), &SMALL, &Streams::new(10_000, 10), 1_700_000_000_000)
    }

    #[test]
    fn lines_are_read_one_by_one() {
        let body =
            b"{\"_msg\":\"a\",\"_time\":\"0\",\"app\":\"x\"}\r\n\n[]\n\xff\n{\"_msg\":\"b\"}";
        let pushed = read(body).unwrap();
        let lines: Vec<_> = pushed.rows.iter().map(|row| row.line.to_owned()).collect();
        assert_eq!(lines, ["a", "b"]);
        assert_eq!(pushed.rows.row(0).stream.to_string(), r#"{app="x", service_name="x"}"#);
        assert_eq!((pushed.corrected.epoch, pushed.corrected.absent), (1, 1));
        assert_eq!(pushed.refused.rows, 2);
        assert!(pushed.refused.reasons[0].starts_with("line 3: not a JSON object: "));
        assert!(pushed.refused.reasons[1].starts_with("line 4: not a JSON object: "));
        assert_eq!(read(&b"{}\n".repeat(101)).unwrap_err().kind(), ErrorKind::Limit);
    }

    proptest! {
        #[test]
        fn noise_is_refused_or_bounded(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(pushed) = read(&noise) {
                prop_assert!(pushed.rows.len() <= SMALL.rows_max);
            }
        }
    }
}

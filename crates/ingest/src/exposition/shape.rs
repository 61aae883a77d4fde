//! [`Shape`]: a body of text without its numbers.
//!
//! Owns: reading the numbers out of a body whose other bytes are those of an earlier one. Nearly all bodies of a sender
//! are so, and then nothing but its numbers is new: no name, label, comment, order or count. Does not own: the grammar
//! (what a shape is made from was [parsed](super::parse), and any body that differs has to be), what the series mean.
//!
//! Of the text lengths and one hash are kept, keyed at random for each process: of two texts it is the same by a chance
//! of 1 in 2^64.

use std::hash::{BuildHasher, Hasher};

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use memchr::memchr;

use super::{decimal, number};

/// See the module's page.
#[derive(Debug)]
pub struct Shape {
    /// Bytes before each number: the rest of the line before, comments, the series and a space.
    gaps: Box<[u32]>,
    /// Bytes behind the last number.
    tail: usize,
    hash: u64,
}

impl Shape {
    /// The shape of a body that was parsed, whose series end at these offsets ([`Sample::series_end`](super::Sample)).
    /// `None` when more than numbers may change in it: when any sample is more than its series, one space, a number and
    /// the end of the line.
    pub fn of(body: &[u8], series_ends: &[u32]) -> Option<Self> {
        let mut hasher = hasher();
        let mut gaps = Vec::with_capacity(series_ends.len());
        let mut at = 0;
        for end in series_ends {
            let value_at = *end as usize + 1;
            let gap = body.get(at..value_at).filter(|gap| gap.ends_with(b" "))?;
            hasher.write(gap);
            gaps.push(u32::try_from(gap.len()).ok()?);
            let (_, len) = line_end(body.get(value_at..)?)?;
            at = value_at + len;
        }
        let tail = body.get(at..)?;
        hasher.write(tail);
        Some(Self { gaps: gaps.into(), tail: tail.len(), hash: hasher.finish() })
    }

    /// Samples of a body.
    pub fn len(&self) -> usize {
        self.gaps.len()
    }

    /// Whether a body has no sample.
    pub fn is_empty(&self) -> bool {
        self.gaps.is_empty()
    }

    /// A hash of its text, the same for equal shapes while this process runs.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Bytes it takes on the heap.
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.gaps)
    }

    /// The values of `body` in its order, which [`parse`](super::parse) would give as well; `None` when it has another
    /// shape or a mistake.
    ///
    /// Cost: one pass that hashes the text and reads the numbers, and one allocation.
    pub fn read(&self, body: &[u8]) -> Option<Vec<f64>> {
        let mut hasher = hasher();
        let mut values = Vec::with_capacity(self.gaps.len());
        let mut rest = body;
        for gap in &self.gaps {
            let (text, behind) = rest.split_at_checked(*gap as usize)?;
            hasher.write(text);
            let (value, len) = line_end(behind)?;
            values.push(value);
            rest = behind.get(len..)?;
        }
        hasher.write(rest);
        (rest.len() == self.tail && hasher.finish() == self.hash).then_some(values)
    }
}

fn hasher() -> impl Hasher {
    SeedableRandomState::with_seed(2, SharedSeed::global_random()).build_hasher()
}

/// The number that is all of the line from here on, and its bytes with the line feed.
#[inline]
fn line_end(text: &[u8]) -> Option<(f64, usize)> {
    if let Some((value, len)) = decimal::read(text)
        && text.get(len) == Some(&b'\n')
    {
        return Some((value, len + 1));
    }
    long_line_end(text)
}

/// The same for the numbers that are not short decimals.
#[cold]
fn long_line_end(text: &[u8]) -> Option<(f64, usize)> {
    let len = memchr(b'\n', text)?;
    let value = number(std::str::from_utf8(&text[..len]).ok()?)?;
    Some((value, len + 1))
}

#[cfg(test)]
mod tests {
    use model::Result;
    use proptest::prelude::*;

    use super::super::{Format, Limits, Metadata, Sample, Visitor, parse};
    use super::*;

    /// Notes where series end, and what was read.
    #[derive(Default)]
    struct Ends {
        ends: Vec<u32>,
        rows: Vec<(String, u64, Option<i64>, bool)>,
        metadata: Vec<String>,
    }

    impl Visitor for Ends {
        fn sample(&mut self, s: Sample<'_>) -> Result<()> {
            self.ends.extend(s.series_end.and_then(|end| u32::try_from(end).ok()));
            let bits = s.value.to_bits();
            self.rows.push((s.series.to_owned(), bits, s.timestamp_ms, s.exemplar.is_some()));
            Ok(())
        }

        fn metadata(&mut self, metadata: Metadata<'_>) -> Result<()> {
            self.metadata.push(format!("{metadata:?}"));
            Ok(())
        }
    }

    fn parsed(body: &[u8], format: Format) -> Result<Ends> {
        let mut ends = Ends::default();
        parse(body, format, &Limits::NONE, &mut ends)?;
        Ok(ends)
    }

    fn shape(body: &str, format: Format) -> Option<Shape> {
        Shape::of(body.as_bytes(), &parsed(body.as_bytes(), format).unwrap().ends)
    }

    /// What the shape of `first` reads out of `second`.
    fn check(first: &str, second: &str, expected: Option<&[f64]>) {
        let shape = shape(first, Format::Prometheus).unwrap();
        let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let found = shape.read(second.as_bytes());
        assert_eq!(found.as_deref().map(bits), expected.map(bits), "{first:?} {second:?}");
    }

    #[test]
    fn only_numbers_may_differ() {
        let first = "# TYPE a gauge\na{b=\"c d\"} 1\n\n e 2\nf 3\n# the end";
        let second = first.replace("} 1", "} -12.75").replace("e 2", "e NaN").replace('3', "1e-3");
        let nan = f64::from_bits(super::super::NORMAL_NAN_BITS);
        check(first, first, Some(&[1.0, 2.0, 3.0]));
        check(first, &second, Some(&[-12.75, nan, 0.001]));
        for other in [
            first.replace("gauge", "counter"),
            first.replace("c d", "c e"),
            first.replace("e 2\n", ""),
            first.replace("e 2", "e  2"),
            first.replace("e 2", "e 2 2"),
            first.replace("e 2", "e two"),
            first.replace("3\n", "3 # {x=\"y\"} 5\n"),
            format!("{first}\ng 1\n"),
            format!("\n{first}"),
            first[..first.len() - 1].to_owned(),
            String::new(),
        ] {
            check(first, &other, None);
        }
        check("", "", Some(&[]));
    }

    #[test]
    fn bodies_with_more_than_numbers_have_no_shape() {
        for body in
            ["a 1 5\n", "a 1", "a  1\n", "a\t1\n", "a{b=\"c\"}1\n", "a 1 \n", "b 2\na 1 5\n"]
        {
            assert!(shape(body, Format::Prometheus).is_none(), "{body:?}");
        }
        assert!(shape("a 1 # {} 1\n# EOF\n", Format::OpenMetrics).is_none());
        assert!(shape("a 1\n# EOF\n", Format::OpenMetrics).is_some());
    }

    fn line() -> impl Strategy<Value = String> {
        let series = "[ab]|[ab]\\{c=\"[de ]?\"\\}|[ab] \\{ c=\"d\", \\}|\\{\"é\"\\}|# TYPE a gauge|# HELP a 1";
        let value = "| 1| -0\\.5| 3e[0-9]| NaN| x|  7| 1 2| 12345678901234567890";
        (series, value).prop_map(|(series, value)| format!("{series}{value}\n"))
    }

    proptest! {
        #[test]
        fn a_shape_reads_what_a_parse_reads(
            lines in proptest::collection::vec(line(), 0..8),
            others in proptest::collection::vec((0usize..8, line()), 0..3),
            cut in any::<prop::sample::Index>(),
            bytes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            is_open_metrics: bool,
        ) {
            let (format, end) = match is_open_metrics {
                true => (Format::OpenMetrics, "# EOF\n"),
                false => (Format::Prometheus, ""),
            };
            let first = lines.concat() + end;
            let Ok(Ends { ends, rows, metadata }) = parsed(first.as_bytes(), format) else { return Ok(()) };
            let Some(shape) = Shape::of(first.as_bytes(), &ends) else { return Ok(()) };
            prop_assert_eq!(shape.len(), rows.len());
            // Other lines, other bytes, and a shorter body, each on top of the last.
            let mut lines = lines.clone();
            for (at, line) in others {
                if let Some(old) = lines.get_mut(at) {
                    *old = line;
                }
            }
            let mut body = (lines.concat() + end).into_bytes();
            let mut bodies = vec![first.clone().into_bytes(), body.clone()];
            for (at, byte) in bytes {
                if !body.is_empty() {
                    let at = at.index(body.len());
                    body[at] = byte;
                    bodies.push(body.clone());
                }
            }
            body.truncate(cut.index(body.len() + 1));
            bodies.push(body);
            for body in bodies {
                let Some(values) = shape.read(&body) else { continue };
                let again = parsed(&body, format);
                prop_assert!(again.is_ok(), "{:?} is read as {:?}", body, first);
                let again = again.unwrap();
                prop_assert_eq!(&again.metadata, &metadata);
                prop_assert_eq!(again.rows.len(), rows.len());
                for ((new, old), value) in again.rows.iter().zip(&rows).zip(&values) {
                    prop_assert_eq!(new, &(old.0.clone(), value.to_bits(), None, false));
                }
            }
            prop_assert!(shape.read(first.as_bytes()).is_some());
        }
    }
}

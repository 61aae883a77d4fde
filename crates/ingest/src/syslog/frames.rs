//! [`Frames`]: messages of a connection, framed as each of them chooses (RFC 6587).
//!
//! A frame that begins with a number, a space and `<` is counted in octets; any other ends with a newline or NUL. A frame
//! beyond the bound is cut there, and the rest of it is passed over.

/// Digits of a count; more are no count.
const DIGITS_MAX: usize = 8;

/// Takes frames off the bytes of one connection, in order.
#[derive(Debug)]
pub struct Frames {
    bytes_max: usize,
    passing: Passing,
}

/// What is left of a frame that was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passing {
    Nothing,
    Octets(usize),
    Line,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The message, without what frames it.
    pub bytes: &'a [u8],
    /// What of it is missing: it is too long, or the connection ended within it.
    pub missing: Missing,
}

/// What is missing of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// It is whole.
    Nothing,
    /// So many bytes.
    Bytes(usize),
    /// All up to the end of its line, which has not come yet.
    Rest,
}

impl Missing {
    /// What stands in its place at the end of a line that was cut.
    pub fn mark(self) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Bytes(count) => format!("…[truncated {count} bytes]"),
            Self::Rest => "…[truncated]".to_owned(),
        }
    }
}

/// How a frame begins.
enum Begin {
    /// Octets of the count with its space, and of the message.
    Counted(usize, usize),
    Line,
    /// More bytes are needed to tell.
    Unknown,
}

impl Frames {
    /// Frames of at most `bytes_max` bytes each.
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max: bytes_max.max(1), passing: Passing::Nothing }
    }

    /// The next whole frame in `bytes` from `at` on, which is moved behind it; `None` when more bytes are needed, of
    /// which never more than the bound and 16 are held back. With `ended` nothing more comes, and what is left is a frame.
    pub fn next<'a>(&mut self, bytes: &'a [u8], at: &mut usize, ended: bool) -> Option<Frame<'a>> {
        loop {
            let rest = bytes.get(*at..).unwrap_or_default();
            match self.passing {
                Passing::Nothing => {}
                Passing::Octets(left) => {
                    let step = left.min(rest.len());
                    *at += step;
                    self.passing =
                        if step == left { Passing::Nothing } else { Passing::Octets(left - step) };
                    if step < left {
                        return None;
                    }
                    continue;
                }
                Passing::Line => match line_end(rest) {
                    Some(end) => {
                        *at += end + 1;
                        self.passing = Passing::Nothing;
                        continue;
                    }
                    None => {
                        *at += rest.len();
                        return None;
                    }
                },
            }
            // Between frames stand newlines that nobody asked for.
            let blank = rest.iter().take_while(|b| matches!(b, b'\n' | b'\r' | 0)).count();
            *at += blank;
            let rest = &rest[blank..];
            if rest.is_empty() {
                return None;
            }
            return match begin(rest) {
                Begin::Unknown if !ended => None,
                Begin::Counted(prefix, len) => {
                    let body = rest.get(prefix..).unwrap_or_default();
                    let wanted = len.min(self.bytes_max);
                    if body.len() < wanted && !ended {
                        return None;
                    }
                    let body = &body[..wanted.min(body.len())];
                    *at += prefix + body.len();
                    if len > wanted {
                        self.passing = Passing::Octets(len - wanted);
                    }
                    let missing = match len - body.len() {
                        0 => Missing::Nothing,
                        count => Missing::Bytes(count),
                    };
                    Some(Frame { bytes: body, missing })
                }
                Begin::Line | Begin::Unknown => {
                    let window = rest.get(..=self.bytes_max).unwrap_or(rest);
                    match line_end(window) {
                        Some(end) => {
                            *at += end + 1;
                            Some(Frame { bytes: &rest[..end], missing: Missing::Nothing })
                        }
                        None if rest.len() > self.bytes_max => {
                            *at += self.bytes_max;
                            self.passing = Passing::Line;
                            Some(Frame { bytes: &rest[..self.bytes_max], missing: Missing::Rest })
                        }
                        None if ended => {
                            *at += rest.len();
                            Some(Frame { bytes: rest, missing: Missing::Nothing })
                        }
                        None => None,
                    }
                }
            };
        }
    }
}

fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\n', 0, bytes)
}

fn begin(bytes: &[u8]) -> Begin {
    let digits = bytes.iter().take_while(|b| b.is_ascii_digit()).take(DIGITS_MAX + 1).count();
    if digits == 0 || digits > DIGITS_MAX || bytes[0] == b'0' {
        return Begin::Line;
    }
    match (bytes.get(digits), bytes.get(digits + 1)) {
        (None, _) | (Some(b' '), None) => Begin::Unknown,
        (Some(b' '), Some(b'<')) => {
            let count = bytes[..digits].iter().fold(0, |n, b| n * 10 + usize::from(b - b'0'));
            Begin::Counted(digits + 1, count)
        }
        _ => Begin::Line,
    }
}

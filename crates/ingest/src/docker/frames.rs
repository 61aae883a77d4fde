//! The log stream of a container: multiplexed frames or raw terminal output, with timestamps, into whole lines.
//!
//! ```text
//!  frame    kind u8 | 0 0 0 | length u32 BE | payload        kind: 1 stdout, 2 stderr, 3 the daemon's own error
//!  payload  RFC3339-nano ' ' message                         message ends in '\n' unless the runtime cut it
//!  raw      the payloads of a terminal's messages one behind the other, without frames
//! ```
//!
//! The runtime cuts lines at 16 KiB; all pieces of a line carry the timestamp of the first. A stream with timestamps
//! starts with a digit when raw and with a byte below 4 when framed, which is how the two are told apart.
//!
//! Does not own: which lines were stored already (`collect`), what a line means (`logline`).

use model::{Error, Result};

/// Longest line kept in bytes; the rest is cut and said so in the line.
pub const LINE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a message piece that the runtime cut.
const PIECE_BYTES: usize = 16 * 1024;

/// Longest timestamp with its space.
const STAMP_BYTES_MAX: usize = 40;

/// Most bytes kept of an error message of the daemon.
const DAEMON_ERROR_BYTES_MAX: usize = 512;

/// Where a line was written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Output {
    /// Standard output, and everything of a terminal.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// Value of the `stream` label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// 0 for stdout, 1 for stderr.
    pub fn index(self) -> usize {
        match self {
            Self::Stdout => 0,
            Self::Stderr => 1,
        }
    }
}

/// One whole line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it was written to.
    pub output: Output,
    /// Unix nanoseconds, from the runtime; `None` when the stream carried no readable time.
    pub t_ns: Option<i64>,
    /// Without its newline; bytes that are not UTF-8 as [`model::text_of_bytes`] keeps them; cut lines end in `…[truncated N bytes]`.
    pub text: String,
    /// Bytes cut off, 0 for nearly all.
    pub truncated_bytes: u64,
}

/// Turns the bytes of one log stream into lines, however they are split on the way.
#[derive(Debug, Default)]
pub struct Decoder {
    mode: Mode,
    outputs: [Assembler; 2],
    /// Raw mode: bytes since the last timestamp, and the timestamp's text to recognise its repetition by.
    raw: Raw,
    daemon_error: Vec<u8>,
}

#[derive(Debug, Default)]
enum Mode {
    #[default]
    Unknown,
    Raw,
    Header {
        bytes: [u8; 8],
        len: usize,
    },
    Payload {
        kind: u8,
        left: u32,
    },
}

#[derive(Debug, Default)]
struct Raw {
    in_line: bool,
    stamp: Vec<u8>,
    since_stamp_bytes: usize,
    /// Bytes that may turn out to be the repeated timestamp.
    candidate: Vec<u8>,
}

/// Collects the pieces of one output's current line.
#[derive(Debug, Default)]
struct Assembler {
    open: bool,
    t_ns: Option<i64>,
    text: Vec<u8>,
    cut_bytes: u64,
    piece_bytes: usize,
    /// Timestamp of the current payload, until its space came.
    stamp: Vec<u8>,
    stamp_done: bool,
}

impl Decoder {
    /// Takes the next bytes and appends the lines they complete.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) when the bytes are not such a stream, [`Io`](model::ErrorKind::Io) when
    /// the daemon reports an error of its own inside the stream; in both cases the stream must be opened again.
    pub fn feed(&mut self, mut bytes: &[u8], lines: &mut Vec<Line>) -> Result<()> {
        while let Some(&first) = bytes.first() {
            match &mut self.mode {
                Mode::Unknown => {
                    self.mode = if first < 4 { header() } else { Mode::Raw };
                }
                Mode::Raw => {
                    self.feed_raw(bytes, lines);
                    return Ok(());
                }
                Mode::Header { bytes: head, len } => {
                    if let Some(slot) = head.get_mut(*len) {
                        *slot = first;
                    }
                    *len += 1;
                    bytes = bytes.get(1..).unwrap_or_default();
                    if *len == head.len() {
                        let head = *head;
                        self.begin_frame(head, lines)?;
                    }
                }
                Mode::Payload { kind, left } => {
                    let take = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    let (payload, rest) = bytes.split_at(take);
                    let kind = *kind;
                    *left -= u32::try_from(take).unwrap_or(*left);
                    let ended = *left == 0;
                    bytes = rest;
                    self.payload(kind, payload, lines);
                    if ended {
                        self.end_frame(kind, lines)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The stream is over and its writer is known to be gone: what is left is a line without a newline.
    pub fn finish(&mut self, lines: &mut Vec<Line>) {
        let candidate = std::mem::take(&mut self.raw.candidate);
        let [stdout, stderr] = &mut self.outputs;
        stdout.push(&candidate);
        stdout.complete(Output::Stdout, matches!(self.mode, Mode::Raw), lines);
        stderr.complete(Output::Stderr, false, lines);
        self.mode = Mode::Unknown;
        self.raw = Raw::default();
    }

    /// Earliest time of a line whose end has not come yet.
    pub fn pending_t_ns(&self) -> Option<i64> {
        self.outputs.iter().filter(|o| o.open).filter_map(|o| o.t_ns).min()
    }

    /// Whether the stream is a terminal's.
    pub fn is_raw(&self) -> bool {
        matches!(self.mode, Mode::Raw)
    }

    fn begin_frame(&mut self, head: [u8; 8], lines: &mut Vec<Line>) -> Result<()> {
        let [kind, zero1, zero2, zero3, length @ ..] = head;
        if kind > 3 || [zero1, zero2, zero3] != [0; 3] {
            return Err(Error::invalid(format!("log frame starts with {head:02x?}")));
        }
        let left = u32::from_be_bytes(length);
        self.mode = Mode::Payload { kind, left };
        if let Some(output) = output_of(kind)
            && let Some(assembler) = self.outputs.get_mut(output.index())
        {
            assembler.stamp.clear();
            assembler.stamp_done = false;
        }
        if left == 0 { self.end_frame(kind, lines) } else { Ok(()) }
    }

    fn payload(&mut self, kind: u8, bytes: &[u8], lines: &mut Vec<Line>) {
        match output_of(kind) {
            Some(output) => {
                if let Some(assembler) = self.outputs.get_mut(output.index()) {
                    assembler.payload(output, bytes, lines);
                }
            }
            None => {
                let room = DAEMON_ERROR_BYTES_MAX.saturating_sub(self.daemon_error.len());
                self.daemon_error.extend(bytes.iter().take(room));
            }
        }
    }

    fn end_frame(&mut self, kind: u8, lines: &mut Vec<Line>) -> Result<()> {
        self.mode = header();
        match output_of(kind) {
            Some(output) => {
                if let Some(assembler) = self.outputs.get_mut(output.index()) {
                    assembler.end_payload(output, lines);
                }
                Ok(())
            }
            None => {
                let message = std::mem::take(&mut self.daemon_error);
                let message = String::from_utf8_lossy(&message).trim().to_owned();
                Err(Error::new(model::ErrorKind::Io, format!("docker log stream: {message}")))
            }
        }
    }

    fn feed_raw(&mut self, bytes: &[u8], lines: &mut Vec<Line>) {
        let [terminal, _] = &mut self.outputs;
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = if !self.raw.in_line {
                self.raw.stamp(terminal, rest)
            } else if self.raw.since_stamp_bytes == PIECE_BYTES {
                self.raw.repeated_stamp(terminal, rest)
            } else {
                self.raw.text(terminal, rest, lines)
            };
        }
    }
}

impl Raw {
    /// At a line's start: collects its timestamp.
    fn stamp<'a>(&mut self, terminal: &mut Assembler, bytes: &'a [u8]) -> &'a [u8] {
        let room = STAMP_BYTES_MAX.saturating_sub(self.stamp.len());
        let window = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        let end = window.iter().position(|b| *b == b' ' || *b == b'\n');
        let take =
            end.map_or(window.len(), |i| if window.get(i) == Some(&b' ') { i + 1 } else { i });
        let (stamp, rest) = bytes.split_at(take);
        self.stamp.extend_from_slice(stamp);
        if end.is_some() || self.stamp.len() >= STAMP_BYTES_MAX {
            let t_ns = stamp_t_ns(&self.stamp);
            terminal.open_at(t_ns);
            if t_ns.is_none() {
                let text = std::mem::take(&mut self.stamp);
                terminal.push(&text);
            }
            self.in_line = true;
            self.since_stamp_bytes = 0;
        }
        rest
    }

    /// Behind a full piece: the same timestamp again belongs to the runtime, anything else to the line.
    fn repeated_stamp<'a>(&mut self, terminal: &mut Assembler, bytes: &'a [u8]) -> &'a [u8] {
        let mut rest = bytes;
        while let Some((&byte, tail)) = rest.split_first() {
            let expected = self.stamp.get(self.candidate.len());
            if expected != Some(&byte) {
                let text = std::mem::take(&mut self.candidate);
                terminal.push(&text);
                // No second look at this place: the next piece can only end 16 KiB further on.
                self.since_stamp_bytes = PIECE_BYTES + 1;
                return rest;
            }
            self.candidate.push(byte);
            rest = tail;
            if self.candidate.len() == self.stamp.len() {
                self.candidate.clear();
                self.since_stamp_bytes = 0;
                return rest;
            }
        }
        rest
    }

    fn text<'a>(
        &mut self,
        terminal: &mut Assembler,
        bytes: &'a [u8],
        lines: &mut Vec<Line>,
    ) -> &'a [u8] {
        let room = match self.since_stamp_bytes {
            n if n < PIECE_BYTES && !self.stamp.is_empty() => PIECE_BYTES - n,
            _ => bytes.len(),
        };
        let window = bytes.get(..room.min(bytes.len())).unwrap_or_default();
        let newline = memchr::memchr(b'\n', window);
        let (text, rest) = bytes.split_at(newline.unwrap_or(window.len()));
        terminal.push(text);
        self.since_stamp_bytes = self.since_stamp_bytes.saturating_add(text.len());
        if newline.is_none() {
            return rest;
        }
        terminal.complete(Output::Stdout, true, lines);
        self.in_line = false;
        self.stamp.clear();
        rest.get(1..).unwrap_or_default()
    }
}

impl Assembler {
    fn payload(&mut self, output: Output, mut bytes: &[u8], lines: &mut Vec<Line>) {
        if !self.stamp_done {
            let room = STAMP_BYTES_MAX.saturating_sub(self.stamp.len());
            let window = bytes.get(..room.min(bytes.len())).unwrap_or_default();
            let space = memchr::memchr(b' ', window);
            let (stamp, rest) = bytes.split_at(space.map_or(window.len(), |i| i + 1));
            self.stamp.extend_from_slice(stamp);
            bytes = rest;
            if space.is_some() || self.stamp.len() >= STAMP_BYTES_MAX {
                self.begin_piece(output, lines);
            }
        }
        if self.stamp_done {
            self.text(output, bytes, lines);
        }
    }

    /// The piece's timestamp is complete: it goes on with the open line or begins one.
    fn begin_piece(&mut self, output: Output, lines: &mut Vec<Line>) {
        self.stamp_done = true;
        let t_ns = stamp_t_ns(&self.stamp);
        let continues = self.open && (t_ns == self.t_ns || self.piece_bytes == PIECE_BYTES);
        if !continues {
            // A line that its process never ended: the next run's line must not be glued to it.
            self.complete(output, false, lines);
            self.open_at(t_ns);
        }
        self.piece_bytes = 0;
        if t_ns.is_none() {
            let text = std::mem::take(&mut self.stamp);
            self.text(output, &text, lines);
        }
    }

    fn text(&mut self, output: Output, bytes: &[u8], lines: &mut Vec<Line>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            if !self.open {
                // A further line of the same payload, whichever read brings it.
                self.open_at(stamp_t_ns(&self.stamp));
            }
            let newline = memchr::memchr(b'\n', rest);
            let (text, tail) = rest.split_at(newline.unwrap_or(rest.len()));
            self.push(text);
            self.piece_bytes += text.len();
            if newline.is_some() {
                self.complete(output, false, lines);
            }
            rest = tail.get(1..).unwrap_or_default();
        }
    }

    fn end_payload(&mut self, output: Output, lines: &mut Vec<Line>) {
        if !self.stamp_done {
            self.begin_piece(output, lines);
        }
    }

    fn open_at(&mut self, t_ns: Option<i64>) {
        self.open = true;
        self.t_ns = t_ns;
        self.piece_bytes = 0;
    }

    fn push(&mut self, bytes: &[u8]) {
        let room = LINE_BYTES_MAX.saturating_sub(self.text.len());
        let kept = bytes.len().min(room);
        self.text.extend_from_slice(bytes.get(..kept).unwrap_or_default());
        self.cut_bytes += u64::try_from(bytes.len() - kept).unwrap_or(0);
    }

    fn complete(&mut self, output: Output, terminal: bool, lines: &mut Vec<Line>) {
        if !self.open {
            return;
        }
        if terminal && self.text.last() == Some(&b'\r') {
            self.text.pop();
        }
        if self.cut_bytes > 0 {
            self.cut_bytes += u64::try_from(trim_split_character(&mut self.text)).unwrap_or(0);
        }
        let mut text = model::text_of_bytes(&std::mem::take(&mut self.text)).into_owned();
        if self.cut_bytes > 0 {
            text.push_str(&format!("…[truncated {} bytes]", self.cut_bytes));
        }
        lines.push(Line { output, t_ns: self.t_ns, text, truncated_bytes: self.cut_bytes });
        *self = Self {
            stamp: std::mem::take(&mut self.stamp),
            stamp_done: self.stamp_done,
            ..Self::default()
        };
    }
}

fn header() -> Mode {
    Mode::Header { bytes: [0; 8], len: 0 }
}

/// Kind 0 is stdin's echo, which the daemon writes as stdout.
fn output_of(kind: u8) -> Option<Output> {
    match kind {
        0 | 1 => Some(Output::Stdout),
        2 => Some(Output::Stderr),
        _ => None,
    }
}

fn stamp_t_ns(stamp: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(stamp).ok()?.strip_suffix(' ')?;
    super::api::decode_time_ns(text)
}

/// Removes a character that the cut went through; returns its bytes.
fn trim_split_character(text: &mut Vec<u8>) -> usize {
    for back in 1..=3.min(text.len()) {
        let at = text.len() - back;
        let Some(&byte) = text.get(at) else { break };
        let width = match byte {
            0xC0..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF7 => 4,
            0x80..=0xBF => continue,
            _ => break,
        };
        if width > back {
            text.truncate(at);
            return back;
        }
        break;
    }
    0
}

#[cfg(test)]
mod tests;

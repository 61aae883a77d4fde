//! What the fuzz targets share: cutting the fuzzer's bytes into arguments, and checksums that hold.
//!
//! Owns: [`Input`], frames and segments of the WAL as bytes, the bound on results. Does not own: any target's property
//! (`fuzz_targets/`), nor how targets are run (`cargo xtask fuzz`).

pub mod exposition;
pub mod lines;
pub mod rows;
pub mod series;

/// Takes arguments from the front of the fuzzer's bytes; zeros and nothing once they are used up.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// The next two bytes, little-endian.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    /// The next eight bytes, little-endian.
    pub fn u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        bytes.fill_with(|| self.u8());
        u64::from_le_bytes(bytes)
    }

    /// The next `len` bytes, or what is left of them.
    pub fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A slice with its length (two bytes) in front.
    pub fn slice(&mut self) -> &'a [u8] {
        let len = self.u16();
        self.take(usize::from(len))
    }

    /// Everything that is left.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Fails when a result of `result_bytes` is out of proportion to the `input_bytes` it came from: more than 16 times as
/// large and 1 MiB.
///
/// # Panics
/// Then.
pub fn assert_bounded(result_bytes: usize, input_bytes: usize) {
    let max = input_bytes * 16 + (1 << 20);
    assert!(result_bytes <= max, "{result_bytes} bytes came of {input_bytes}");
}

/// Fails when an error points outside the text it is about, or into the middle of a character.
///
/// # Panics
/// Then.
pub fn assert_span(error: &model::Error, text: &str) {
    if let Some((start, end)) = error.span() {
        assert!(text.get(start..end).is_some(), "span {start}..{end} of {error} in {text:?}");
    }
}

/// A frame of a WAL or manifest with a right checksum, after `docs/format/wal.md`.
pub fn frame(seq: u64, kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut checked = seq.to_le_bytes().to_vec();
    checked.push(kind);
    checked.extend_from_slice(payload);
    let mut frame = (payload.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(&crc32c::crc32c(&checked).to_le_bytes());
    frame.extend_from_slice(&checked);
    frame
}

/// Frames with right checksums and foreign payloads, mixed with foreign bytes.
pub fn frames(mut input: Input<'_>, first_seq: u64) -> Vec<u8> {
    let (mut out, mut seq) = (Vec::new(), first_seq);
    while !input.is_empty() {
        let (choice, kind) = (input.u8(), input.u8());
        match choice % 8 {
            0 => out.extend_from_slice(input.slice()),
            1 => seq = seq.saturating_add(u64::from(kind)),
            2 => out.truncate(out.len().saturating_sub(usize::from(kind))),
            3 => seq = input.u64(),
            _ => {
                out.extend_from_slice(&frame(seq, kind, input.slice()));
                seq = seq.saturating_add(1);
            }
        }
    }
    out
}

/// Header of a WAL segment or manifest: magic, version, `rest`, checksum.
pub fn header(magic: &[u8; 8], rest: &[u8]) -> Vec<u8> {
    let mut header = magic.to_vec();
    header.extend_from_slice(&1_u32.to_le_bytes());
    header.extend_from_slice(rest);
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}

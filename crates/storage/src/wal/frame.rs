//! One frame of a log file, shared by WAL and manifest: layout, checking, and finding the next good one behind damage.
//!
//! Pure functions over bytes that may be anything. Does not own: files, or what a kind means.
//!
//! ```text
//! +---------+-----------+---------+---------+-------------------+
//! | len u32 | crc32c u32| seq u64 | kind u8 | payload len bytes |   little-endian
//! +---------+-----------+---------+---------+-------------------+
//!            crc over seq, kind, payload
//! ```

/// Bytes before the payload.
pub(crate) const FRAME_HEADER_BYTES: usize = 17;

/// Longest payload: bounds what a reader ever has to buffer.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 20;

/// Top bit of the kind byte: when this frame was written, everything before it in the file had been synced.
pub(crate) const SYNCED_BEFORE: u8 = 0x80;

/// A frame whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) seq: u64,
    /// Without the flag.
    pub(crate) kind: u8,
    pub(crate) synced_before: bool,
    pub(crate) payload: &'a [u8],
}

/// What is at a place.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// A good frame of so many bytes in all.
    Frame(Frame<'a>, usize),
    /// The bytes end here.
    End,
    /// Could be a frame, if there were this many bytes from its start.
    Incomplete { need: usize },
    /// Not a frame.
    Bad(&'static str),
}

/// Appends a frame to `out`. `payload` is at most [`PAYLOAD_BYTES_MAX`] and `kind` below 0x80: the callers check.
pub(crate) fn encode(seq: u64, kind: u8, synced_before: bool, payload: &[u8], out: &mut Vec<u8>) {
    let len = u32::try_from(payload.len()).expect("BUG: payload length checked by the caller");
    let kind = kind | if synced_before { SYNCED_BEFORE } else { 0 };
    let crc = checksum(seq, kind, payload);
    out.reserve(FRAME_HEADER_BYTES + payload.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&seq.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(payload);
}

/// Looks at the start of `bytes`. Sequence numbers below `seq_min` are not accepted.
pub(crate) fn decode(bytes: &[u8], seq_min: u64) -> Found<'_> {
    if bytes.is_empty() {
        return Found::End;
    }
    let Some(header) = Header::read(bytes) else {
        return Found::Incomplete { need: FRAME_HEADER_BYTES };
    };
    if header.len > PAYLOAD_BYTES_MAX {
        return Found::Bad("length is over the bound");
    }
    if header.seq < seq_min || header.seq == u64::MAX {
        return Found::Bad("sequence number is out of order");
    }
    let need = FRAME_HEADER_BYTES + header.len;
    let Some(payload) = bytes.get(FRAME_HEADER_BYTES..need) else {
        return Found::Incomplete { need };
    };
    if checksum(header.seq, header.kind, payload) != header.crc {
        return Found::Bad("checksum does not match");
    }
    let frame = Frame {
        seq: header.seq,
        kind: header.kind & !SYNCED_BEFORE,
        synced_before: header.kind & SYNCED_BEFORE != 0,
        payload,
    };
    Found::Frame(frame, need)
}

/// Good frames behind damage, with their place in `bytes`: tries every place after a bad one. Sequence numbers rise and
/// stay in `[seq_min, seq_end)`. Work is bounded by about 16 × the length of `bytes`; what lies behind that is given up.
pub(crate) fn salvage(bytes: &[u8], seq_min: u64, seq_end: u64) -> Vec<(usize, Frame<'_>)> {
    let mut found = Vec::new();
    let mut seq_min = seq_min;
    let mut work_left = bytes.len().saturating_mul(16).saturating_add(1 << 20);
    let mut at = 0;
    while let Some(rest) = bytes.get(at..) {
        let Some(header) = Header::read(rest) else { break };
        let plausible = (seq_min..seq_end).contains(&header.seq)
            && header.len <= rest.len() - FRAME_HEADER_BYTES;
        if !plausible {
            at += 1;
            continue;
        }
        let Some(left) = work_left.checked_sub(FRAME_HEADER_BYTES + header.len) else { break };
        work_left = left;
        match decode(rest, seq_min) {
            Found::Frame(frame, len) => {
                seq_min = frame.seq + 1;
                found.push((at, frame));
                at += len;
            }
            _ => at += 1,
        }
    }
    found
}

struct Header {
    len: usize,
    crc: u32,
    seq: u64,
    kind: u8,
}

impl Header {
    fn read(bytes: &[u8]) -> Option<Self> {
        let (len, rest) = bytes.split_first_chunk::<4>()?;
        let (crc, rest) = rest.split_first_chunk::<4>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let kind = *rest.first()?;
        let (crc, seq) = (u32::from_le_bytes(*crc), u64::from_le_bytes(*seq));
        Some(Self { len, crc, seq, kind })
    }
}

fn checksum(seq: u64, kind: u8, payload: &[u8]) -> u32 {
    let mut head = [0; 9];
    head[..8].copy_from_slice(&seq.to_le_bytes());
    head[8] = kind;
    crc32c::crc32c_append(crc32c::crc32c(&head), payload)
}

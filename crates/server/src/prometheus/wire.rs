//! Writing protocol buffers: the few field kinds that federation and remote read need. Reading is
//! [`ingest::protobuf`]'s.

/// A base-128 number.
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The number under which `value` is written as `sint`: small for small values of either sign.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

/// A whole number or enumeration; 0 is the default and left out.
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        tag(out, field, 0);
        varint(out, value);
    }
}

/// A `double`, also when it is 0.
pub(super) fn double(out: &mut Vec<u8>, field: u32, value: f64) {
    tag(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Bytes or text.
pub(super) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    tag(out, field, 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// A message that `fill` writes.
pub(super) fn message(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    bytes(out, field, &inner);
}

/// Repeated `double`, packed.
pub(super) fn doubles(out: &mut Vec<u8>, field: u32, values: &[f64]) {
    if !values.is_empty() {
        let packed: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        bytes(out, field, &packed);
    }
}

/// Repeated `sint64`, packed.
pub(super) fn signed(out: &mut Vec<u8>, field: u32, values: impl Iterator<Item = i64>) {
    let mut packed = Vec::new();
    values.for_each(|v| varint(&mut packed, zigzag(v)));
    if !packed.is_empty() {
        bytes(out, field, &packed);
    }
}

/// Differences of each count to the one before.
pub(super) fn deltas(counts: &[f64]) -> impl Iterator<Item = i64> + '_ {
    let mut before = 0;
    counts.iter().map(move |count| {
        let delta = *count as i64 - before;
        before = *count as i64;
        delta
    })
}

//! The other direction: fields of messages appended to a buffer, for requests this process sends.
//!
//! Defaults (zero, empty) are left out, as proto3 has it; the `always_*` methods are for members of a `oneof`, where
//! presence itself says something.

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The message.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// `uint32`, `uint64`, enumerations.
    pub fn uint(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.always_uint(number, value);
        }
    }

    /// The same, also when zero.
    pub fn always_uint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        self.varint(value);
    }

    /// `int64`: ten bytes when negative.
    pub fn int(&mut self, number: u32, value: i64) {
        self.uint(number, value.cast_unsigned());
    }

    /// `sint32`, `sint64`.
    pub fn sint(&mut self, number: u32, value: i64) {
        self.uint(number, zigzag(value));
    }

    /// `double`; minus zero is not the default.
    pub fn double(&mut self, number: u32, value: f64) {
        if value.to_bits() != 0 {
            self.always_double(number, value);
        }
    }

    /// The same, also when zero.
    pub fn always_double(&mut self, number: u32, value: f64) {
        self.tag(number, 1);
        self.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// `string`.
    pub fn text(&mut self, number: u32, value: &str) {
        if !value.is_empty() {
            self.always_text(number, value);
        }
    }

    /// The same, also when empty: items of a `repeated string`.
    pub fn always_text(&mut self, number: u32, value: &str) {
        self.always_bytes(number, value.as_bytes());
    }

    /// `bytes`.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.always_bytes(number, value);
        }
    }

    /// The same, also when empty.
    pub fn always_bytes(&mut self, number: u32, value: &[u8]) {
        self.tag(number, 2);
        self.varint(value.len() as u64);
        self.bytes.extend_from_slice(value);
    }

    /// `fixed64`.
    pub fn fixed64(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.tag(number, 1);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// `fixed32`.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        if value != 0 {
            self.tag(number, 5);
            self.bytes.extend_from_slice(&value.to_le_bytes());
        }
    }

    /// A message, also when empty.
    pub fn message(&mut self, number: u32, fields: impl FnOnce(&mut Self)) {
        self.tag(number, 2);
        self.sized(fields);
    }

    /// A packed list of `uint32` or `uint64`.
    pub fn packed_uints(&mut self, number: u32, values: impl ExactSizeIterator<Item = u64>) {
        self.packed(number, values, |writer, value| writer.varint(value));
    }

    /// A packed list of `sint32` or `sint64`.
    pub fn packed_sints(&mut self, number: u32, values: impl ExactSizeIterator<Item = i64>) {
        self.packed(number, values, |writer, value| writer.varint(zigzag(value)));
    }

    /// A packed list of `double`.
    pub fn packed_doubles(&mut self, number: u32, values: impl ExactSizeIterator<Item = f64>) {
        self.packed(number, values, |writer, value| {
            writer.bytes.extend_from_slice(&value.to_bits().to_le_bytes());
        });
    }

    fn packed<T>(
        &mut self,
        number: u32,
        values: impl ExactSizeIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) {
        if values.len() == 0 {
            return;
        }
        self.message(number, |writer| values.for_each(|value| write(writer, value)));
    }

    fn tag(&mut self, number: u32, wire_type: u32) {
        self.varint(u64::from(number << 3 | wire_type));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Content with its length in front. Most messages are short: one byte is kept free for the length, and only longer
    /// ones are moved.
    fn sized(&mut self, content: impl FnOnce(&mut Self)) {
        let at = self.bytes.len();
        self.bytes.push(0);
        content(self);
        let mut len = self.bytes.len() - at - 1;
        if len < 0x80 {
            self.bytes[at] = len as u8;
            return;
        }
        let mut prefix = [0_u8; 10];
        let mut prefix_len = 0;
        while len >= 0x80 {
            prefix[prefix_len] = len as u8 | 0x80;
            len >>= 7;
            prefix_len += 1;
        }
        prefix[prefix_len] = len as u8;
        self.bytes.splice(at..=at, prefix[..=prefix_len].iter().copied());
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::super::Reader;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer.uint(1, 300);
        writer.uint(2, 0);
        writer.int(3, -1);
        writer.sint(4, -3);
        writer.always_double(5, 0.0);
        writer.double(6, -0.0);
        writer.text(7, "");
        writer.always_text(8, "x");
        writer.message(9, |inner| {
            inner.packed_uints(1, [1_u64; 200].into_iter());
            inner.packed_sints(2, [-1_i64, 1].into_iter());
            inner.packed_doubles(3, std::iter::empty::<f64>().collect::<Vec<_>>().into_iter());
        });
        let bytes = writer.finish();
        let mut reader = Reader::new(&bytes);
        let mut numbers = Vec::new();
        while let Some(field) = reader.next_field().unwrap() {
            numbers.push(field.number);
            if field.number == 9 {
                let mut inner = field.message().unwrap();
                let list = inner.next_field().unwrap().unwrap();
                assert!(matches!(list.value, super::super::Value::Bytes(b) if b.len() == 200));
                assert_eq!(inner.next_field().unwrap().unwrap().number, 2);
                assert!(inner.next_field().unwrap().is_none());
            }
        }
        assert_eq!(numbers, [1, 3, 4, 5, 6, 8, 9]);
    }
}

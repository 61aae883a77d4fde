//! Remote write 1.0 bodies, written down field by field so that they do not share a mistake with the program's decoder.

/// One series to send: its labels, sorted by name, and its samples as (Unix milliseconds, value).
#[derive(Debug, Clone)]
pub struct Series {
    /// Name and value, `__name__` included.
    pub labels: Vec<(String, String)>,
    /// Ascending.
    pub samples: Vec<(i64, f64)>,
}

/// A `prometheus.WriteRequest`, snappy-compressed.
pub fn encode<'a>(series: impl IntoIterator<Item = (&'a Series, &'a [(i64, f64)])>) -> Vec<u8> {
    let mut request = Vec::new();
    for (one, samples) in series {
        let mut message = Vec::new();
        for (name, value) in &one.labels {
            let mut label = Vec::new();
            field(&mut label, 1, name.as_bytes());
            field(&mut label, 2, value.as_bytes());
            field(&mut message, 1, &label);
        }
        for (t_ms, value) in samples {
            let mut sample = vec![1 << 3 | 1];
            sample.extend_from_slice(&value.to_bits().to_le_bytes());
            sample.push(2 << 3);
            varint(&mut sample, t_ms.cast_unsigned());
            field(&mut message, 2, &sample);
        }
        field(&mut request, 1, &message);
    }
    snap::raw::Encoder::new().compress_vec(&request).unwrap()
}

/// Adds a field of bytes.
pub fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Adds a number.
pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

//! Attribute values of every signal, and their text as a label.

use crate::json::quote;

/// Keys and values in the order they were sent.
pub type Attributes = Vec<(String, Value)>;

/// Lists and maps inside each other at most.
pub(super) const VALUE_DEPTH_MAX: usize = 64;

/// `AnyValue`
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Value {
    /// Not set.
    #[default]
    Empty,
    /// Text.
    Text(String),
    /// `true` or `false`.
    Bool(bool),
    /// Whole number.
    Int(i64),
    /// Number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// List.
    List(Vec<Value>),
    /// Map.
    Map(Attributes),
}

impl Value {
    /// As a label value: texts as they are, bytes in base64, lists and maps as JSON.
    pub fn to_text(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Bytes(bytes) => base64(bytes),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Double(value) => number(*value),
            Self::List(_) | Self::Map(_) => {
                let mut json = String::new();
                self.write_json(&mut json);
                json
            }
        }
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Empty => out.push_str("null"),
            Self::Text(text) => quote(text, out),
            Self::Bytes(bytes) => quote(&base64(bytes), out),
            Self::Bool(_) | Self::Int(_) => out.push_str(&self.to_text()),
            Self::Double(value) if value.is_finite() => out.push_str(&number(*value)),
            Self::Double(value) => quote(&number(*value), out),
            Self::List(values) => {
                out.push('[');
                for (i, value) in values.iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    value.write_json(out);
                }
                out.push(']');
            }
            Self::Map(pairs) => {
                let mut sorted: Vec<_> = pairs.iter().collect();
                sorted.sort_by(|a, b| a.0.cmp(&b.0));
                out.push('{');
                for (i, (key, value)) in sorted.into_iter().enumerate() {
                    out.push_str(if i > 0 { "," } else { "" });
                    quote(key, out);
                    out.push(':');
                    value.write_json(out);
                }
                out.push('}');
            }
        }
    }
}

impl From<Value> for model::AttributeValue {
    fn from(value: Value) -> Self {
        match value {
            Value::Empty => Self::Empty,
            Value::Text(text) => Self::String(text),
            Value::Bool(value) => Self::Bool(value),
            Value::Int(value) => Self::Int(value),
            Value::Double(value) => Self::Double(value),
            Value::Bytes(bytes) => Self::Bytes(bytes),
            Value::List(values) => Self::Array(values.into_iter().map(Self::from).collect()),
            Value::Map(pairs) => {
                Self::Map(pairs.into_iter().map(|(name, value)| (name, value.into())).collect())
            }
        }
    }
}

/// Shortest digits; an exponent where JavaScript writes one.
fn number(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let size = value.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                format!("{digits}e+{exponent}")
            }
            _ => text,
        };
    }
    value.to_string()
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Bytes in base64, padded.
pub(crate) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4_usize {
            if i <= chunk.len() {
                text.push(char::from(DIGITS[(bits >> (18 - 6 * i) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

/// Bytes of base64, in either alphabet, padded or not.
pub fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    if text.len() % 4 == 1 {
        return None;
    }
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xff).unwrap_or(0));
        }
    }
    Some(bytes)
}

/// Bytes of hexadecimal digits.
pub(super) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|d| u8::try_from(d).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: Value, expected: &str) {
        assert_eq!(value.to_text(), expected);
    }

    #[test]
    fn values_as_labels() {
        check(Value::Empty, "");
        check(Value::Text("a\"b".into()), "a\"b");
        check(Value::Bool(true), "true");
        check(Value::Int(-5), "-5");
        check(Value::Double(1.5), "1.5");
        check(Value::Double(1e21), "1e+21");
        check(Value::Double(1e-7), "1e-7");
        check(Value::Double(f64::INFINITY), "+Inf");
        check(Value::Bytes(vec![1, 2, 3, 255]), "AQID/w==");
        check(
            Value::Map(vec![
                ("b".into(), Value::List(vec![Value::Int(1), Value::Text("x\n".into())])),
                ("a".into(), Value::Empty),
            ]),
            r#"{"a":null,"b":[1,"x\n"]}"#,
        );
    }

    #[test]
    fn encodings_of_bytes() {
        for bytes in [&b""[..], b"f", b"fo", b"foo", b"foob", &[0xfb, 0xff]] {
            assert_eq!(unbase64(&base64(bytes)).as_deref(), Some(bytes));
        }
        assert_eq!(unbase64("-_8"), Some(vec![0xfb, 0xff]));
        assert_eq!(unbase64("a"), None);
        assert_eq!(unbase64("a!=="), None);
        assert_eq!(unhex("0aFF"), Some(vec![10, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}

//! `printf` as templates know it: the verbs that make sense for text, numbers and truth.

use super::OUTPUT_BYTES_MAX;
use super::value::{Value, format_float};

/// Widest field.
const WIDTH_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    zero: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

/// Formats `args` by `format`.
pub(super) fn format(format: &str, args: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = args.iter();
    let mut rest = format;
    while let Some((text, tail)) = rest.split_once('%') {
        out.push_str(text);
        let (spec, tail) = read_spec(tail, &mut args);
        let mut chars = tail.chars();
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) => match args.next() {
                Some(value) => out.push_str(&pad(&spec, verb, one(&spec, verb, value))),
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
        rest = chars.as_str();
        if out.len() > OUTPUT_BYTES_MAX {
            return Err(format!("printf result exceeds {OUTPUT_BYTES_MAX} bytes"));
        }
    }
    out.push_str(rest);
    let extra: Vec<String> = args.map(|v| format!("{}={}", v.type_name(), v.to_text())).collect();
    if !extra.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    Ok(out)
}

fn read_spec<'t, 'v>(
    mut rest: &'t str,
    args: &mut impl Iterator<Item = &'v Value>,
) -> (Spec, &'t str) {
    let mut spec = Spec::default();
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => spec.left = true,
            Some(b'+') => spec.plus = true,
            Some(b'0') => spec.zero = true,
            Some(b' ') => spec.space = true,
            Some(b'#') => {}
            _ => break,
        }
        rest = rest.split_at(1).1;
    }
    (spec.width, rest) = read_size(rest, args);
    if let Some(tail) = rest.strip_prefix('.') {
        let precision;
        (precision, rest) = read_size(tail, args);
        spec.precision = Some(precision);
    }
    (spec, rest)
}

fn read_size<'t, 'v>(
    rest: &'t str,
    args: &mut impl Iterator<Item = &'v Value>,
) -> (usize, &'t str) {
    if let Some(tail) = rest.strip_prefix('*') {
        let size = args.next().map_or(0, Value::to_int);
        return (usize::try_from(size).unwrap_or(0).min(WIDTH_MAX), tail);
    }
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, tail) = rest.split_at(len);
    (digits.parse().unwrap_or(0).min(WIDTH_MAX), tail)
}

fn one(spec: &Spec, verb: char, value: &Value) -> String {
    let sign = |x: f64| match (x < 0.0, spec.plus, spec.space) {
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    };
    match (verb, value) {
        ('v' | 's', Value::Text(text)) => cut(spec, text),
        ('q', Value::Text(text)) => format!("{:?}", cut(spec, text)),
        ('x', Value::Text(text)) => text.bytes().map(|b| format!("{b:02x}")).collect(),
        ('X', Value::Text(text)) => text.bytes().map(|b| format!("{b:02X}")).collect(),
        ('v', Value::Float(x)) => format!("{}{}", sign(*x), format_float(*x)),
        ('g', Value::Float(x)) => format!("{}{}", sign(*x), format_float(*x)),
        ('f' | 'F', Value::Float(x)) => {
            format!("{}{x:.*}", sign(*x), spec.precision.unwrap_or(6))
        }
        ('e', Value::Float(x)) => format!("{}{x:.*e}", sign(*x), spec.precision.unwrap_or(6)),
        ('d' | 'v', Value::Int(n)) => format!("{}{n}", sign(*n as f64)),
        ('x', Value::Int(n)) => format!("{n:x}"),
        ('X', Value::Int(n)) => format!("{n:X}"),
        ('o', Value::Int(n)) => format!("{n:o}"),
        ('b', Value::Int(n)) => format!("{n:b}"),
        ('c', Value::Int(n)) => {
            u32::try_from(*n).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}').to_string()
        }
        ('t' | 'v', Value::Bool(b)) => b.to_string(),
        ('v', other) => other.to_text(),
        ('s', Value::Time(_) | Value::List(_) | Value::Map(_)) => value.to_text(),
        (verb, other) => format!("%!{verb}({}={})", other.type_name(), other.to_text()),
    }
}

fn cut(spec: &Spec, text: &str) -> String {
    match spec.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

fn pad(spec: &Spec, verb: char, text: String) -> String {
    let missing = spec.width.saturating_sub(text.chars().count());
    if missing == 0 {
        return text;
    }
    if spec.left {
        return text + &" ".repeat(missing);
    }
    let is_number = matches!(verb, 'd' | 'f' | 'F' | 'e' | 'g' | 'x' | 'X' | 'o' | 'b');
    if !(spec.zero && is_number) {
        return " ".repeat(missing) + &text;
    }
    let digits = text.trim_start_matches(['+', '-', ' ']);
    let sign = text.split_at(text.len() - digits.len()).0;
    format!("{sign}{}{digits}", "0".repeat(missing))
}

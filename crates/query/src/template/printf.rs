//! `printf` as Go has it, for the values templates know.

use super::escapes::{go_quote, go_quote_ascii, go_quote_char};
use super::function::bounded;
use super::moment::duration_text;
use super::numbers::float_text_with;
use super::value::Value;

/// Widest field, most digits.
const WIDTH_MAX: usize = 4096;

#[derive(Debug, Default)]
struct Spec {
    left: bool,
    plus: bool,
    zero: bool,
    space: bool,
    sharp: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    /// Whether positive numbers get a sign; with `%+v`, fields get their names instead.
    fn signs(&self, verb: char) -> bool {
        self.plus && verb != 'v'
    }
}

struct Args<'v> {
    values: &'v [Value],
    at: usize,
    /// Whether an argument was named by its number; extra ones are then not told.
    reordered: bool,
    bad_index: bool,
}

/// Formats `values` by `format`.
pub(super) fn format(format: &str, values: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    let mut args = Args { values, at: 0, reordered: false, bad_index: false };
    let mut rest = format;
    while let Some((text, tail)) = rest.split_once('%') {
        out.push_str(text);
        args.bad_index = false;
        let (spec, tail) = read_spec(tail, &mut args, &mut out);
        let mut chars = tail.chars();
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some(verb) if args.bad_index => out.push_str(&format!("%!{verb}(BADINDEX)")),
            Some(verb) => match args.next() {
                Some(value) => push_value(&spec, verb, value, &mut out)?,
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
        rest = chars.as_str();
        bounded(out.len())?;
    }
    out.push_str(rest);
    let extra = args.values.get(args.at..).unwrap_or(&[]);
    if !args.reordered && !extra.is_empty() {
        let extra: Vec<String> = extra.iter().map(typed).collect();
        out.push_str(&format!("%!(EXTRA {})", extra.join(", ")));
    }
    bounded(out.len())?;
    Ok(out)
}

/// A value with its type, where it does not belong.
fn typed(value: &Value) -> String {
    match value {
        Value::Nil => "<nil>".to_owned(),
        value => format!("{}={}", value.type_name(), value.to_text()),
    }
}

impl<'v> Args<'v> {
    fn next(&mut self) -> Option<&'v Value> {
        let value = self.values.get(self.at)?;
        self.at += 1;
        Some(value)
    }

    /// Reads `[2]`, the number of the next argument.
    fn index<'t>(&mut self, rest: &'t str) -> &'t str {
        let Some(tail) = rest.strip_prefix('[') else { return rest };
        self.reordered = true;
        let Some((number, after)) = tail.split_once(']') else {
            self.bad_index = true;
            return tail;
        };
        match number.parse::<usize>().ok().and_then(|n| n.checked_sub(1)) {
            Some(at) if at < self.values.len() => self.at = at,
            _ => self.bad_index = true,
        }
        after
    }
}

fn read_spec<'t>(mut rest: &'t str, args: &mut Args<'_>, out: &mut String) -> (Spec, &'t str) {
    let mut spec = Spec::default();
    loop {
        match rest.as_bytes().first() {
            Some(b'-') => (spec.left, spec.zero) = (true, false),
            Some(b'+') => spec.plus = true,
            Some(b'0') => spec.zero = !spec.left,
            Some(b' ') => spec.space = true,
            Some(b'#') => spec.sharp = true,
            _ => break,
        }
        rest = rest.split_at(1).1;
    }
    rest = args.index(rest);
    let width;
    (width, rest) = read_size(rest, args, out, "%!(BADWIDTH)");
    let width = width.unwrap_or(0);
    if width < 0 {
        (spec.left, spec.zero) = (true, false);
    }
    spec.width = usize::try_from(width.unsigned_abs()).unwrap_or(WIDTH_MAX).min(WIDTH_MAX);
    if let Some(tail) = rest.strip_prefix('.') {
        let precision;
        rest = args.index(tail);
        (precision, rest) = read_size(rest, args, out, "%!(BADPREC)");
        let precision = usize::try_from(precision.unwrap_or(0));
        spec.precision = precision.ok().map(|p| p.min(WIDTH_MAX));
    }
    (spec, args.index(rest))
}

fn read_size<'t>(
    rest: &'t str,
    args: &mut Args<'_>,
    out: &mut String,
    bad: &str,
) -> (Option<i64>, &'t str) {
    if let Some(tail) = rest.strip_prefix('*') {
        return match args.next() {
            Some(Value::Int(size)) => (Some(*size), tail),
            _ => {
                out.push_str(bad);
                (None, tail)
            }
        };
    }
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, tail) = rest.split_at(len);
    (digits.parse().ok(), tail)
}

/// Appends `value`; what is in a list, map or struct is formatted one by one.
fn push_value(spec: &Spec, verb: char, value: &Value, out: &mut String) -> Result<(), String> {
    bounded(out.len())?;
    let has_own_text = matches!(verb, 'v' | 's' | 'q')
        && value.methods().iter().any(|m| m.name == "String" && m.params.is_empty());
    if has_own_text || verb == 'T' {
        let text = if verb == 'T' { value.type_name().to_owned() } else { value.to_text() };
        let verb = if verb == 'T' { 's' } else { verb };
        out.push_str(&pad(spec, verb, one(spec, verb, &Value::Text(text))));
        return Ok(());
    }
    let item = |out: &mut String, i: usize, name: Option<&str>, value: &Value| {
        out.push_str(if i == 0 { "" } else { " " });
        if let (Value::Nil, None) = (value, name) {
            out.push_str("<nil>");
            return Ok(());
        }
        if let Some(name) = name {
            let name = Value::Text(name.to_owned());
            push_value(spec, verb, &name, out)?;
            out.push(':');
            if let Value::Nil = value {
                out.push_str("<nil>");
                return Ok(());
            }
        }
        push_value(spec, verb, value, out)
    };
    match value {
        Value::List(list) => {
            out.push('[');
            let mut items = list.items.iter().enumerate();
            items.try_for_each(|(i, v)| item(out, i, None, v))?;
            out.push(']');
        }
        Value::Map(map) => {
            out.push_str("map[");
            let mut items = map.items().iter().enumerate();
            items.try_for_each(|(i, (name, v))| item(out, i, Some(name), v))?;
            out.push(']');
        }
        Value::Struct(record) => {
            out.push_str(if record.kind.name.starts_with('*') { "&{" } else { "{" });
            for (i, (name, v)) in record.fields.iter().enumerate() {
                if i > 0 {
                    out.push(' ');
                }
                if spec.plus && verb == 'v' {
                    out.push_str(&format!("{name}:"));
                }
                item(out, 0, None, v)?;
            }
            out.push('}');
        }
        value => out.push_str(&pad(spec, verb, one(spec, verb, value))),
    }
    Ok(())
}

fn one(spec: &Spec, verb: char, value: &Value) -> String {
    let bad = || format!("%!{verb}({})", typed(value));
    match value {
        Value::Text(text) | Value::Trusted(_, text) => match verb {
            'v' if spec.sharp => go_quote(text),
            'v' | 's' => cut(spec, text).to_owned(),
            'q' if spec.sharp && !text.contains(['`', '\n']) => format!("`{text}`"),
            'q' if spec.plus => go_quote_ascii(cut(spec, text)),
            'q' => go_quote(cut(spec, text)),
            'x' => text.bytes().map(|b| format!("{b:02x}")).collect(),
            'X' => text.bytes().map(|b| format!("{b:02X}")).collect(),
            _ => bad(),
        },
        Value::Float(x) => match verb {
            'v' => signed(spec, verb, *x, float_text_with('g', spec.precision, *x)),
            'g' | 'G' => signed(spec, verb, *x, float_text_with(verb, spec.precision, *x)),
            'e' | 'E' => {
                signed(spec, verb, *x, float_text_with(verb, spec.precision.or(Some(6)), *x))
            }
            'f' | 'F' => {
                signed(spec, verb, *x, float_text_with('f', spec.precision.or(Some(6)), *x))
            }
            _ => bad(),
        },
        Value::Int(n) => whole(spec, verb, *n).unwrap_or_else(bad),
        Value::Duration(ns) => match verb {
            'v' | 's' => duration_text(*ns),
            'q' => go_quote(&duration_text(*ns)),
            _ => whole(spec, verb, *ns).unwrap_or_else(bad),
        },
        Value::Bool(b) if matches!(verb, 't' | 'v') => b.to_string(),
        Value::Nil if verb == 'v' => "<nil>".to_owned(),
        Value::Nil => format!("%!{verb}(<nil>)"),
        Value::Root | Value::Regex(_) | Value::Time(_) if matches!(verb, 'v' | 's') => {
            value.to_text()
        }
        _ => bad(),
    }
}

fn signed(spec: &Spec, verb: char, x: f64, text: String) -> String {
    // Infinity brings its plus.
    let text = text.strip_prefix('+').unwrap_or(&text);
    match () {
        () if x.is_sign_negative() && !x.is_nan() => text.to_owned(),
        () if spec.signs(verb) || (x.is_infinite() && !spec.space) => format!("+{text}"),
        () if spec.space => format!(" {text}"),
        () => text.to_owned(),
    }
}

fn whole(spec: &Spec, verb: char, n: i64) -> Option<String> {
    let magnitude = n.unsigned_abs();
    let (prefix, digits) = match verb {
        'd' | 'v' => ("", magnitude.to_string()),
        'b' => (if spec.sharp { "0b" } else { "" }, format!("{magnitude:b}")),
        'o' => (if spec.sharp { "0" } else { "" }, format!("{magnitude:o}")),
        'O' => ("0o", format!("{magnitude:o}")),
        'x' => (if spec.sharp { "0x" } else { "" }, format!("{magnitude:x}")),
        'X' => (if spec.sharp { "0X" } else { "" }, format!("{magnitude:X}")),
        'c' => return Some(character(n).to_string()),
        'q' => return Some(go_quote_char(character(n))),
        'U' => return Some(format!("U+{n:04X}")),
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' => return Some(format!("%!{verb}(int={n})")),
        _ => return None,
    };
    let digits = match spec.precision {
        Some(0) if n == 0 => String::new(),
        Some(precision) => format!("{digits:0>precision$}"),
        None => digits,
    };
    let sign = match () {
        () if n < 0 => "-",
        () if spec.signs(verb) => "+",
        () if spec.space => " ",
        () => "",
    };
    Some(format!("{sign}{prefix}{digits}"))
}

fn character(n: i64) -> char {
    u32::try_from(n).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}')
}

fn cut<'t>(spec: &Spec, text: &'t str) -> &'t str {
    let Some(precision) = spec.precision else { return text };
    match text.char_indices().nth(precision) {
        Some((end, _)) => text.split_at(end).0,
        None => text,
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
    let is_finite = text.ends_with(|c: char| c.is_ascii_hexdigit());
    let whole_with_precision = spec.precision.is_some() && "dboOxX".contains(verb);
    if !spec.zero || !is_finite && "vdfFeEgG".contains(verb) || whole_with_precision {
        return " ".repeat(missing) + &text;
    }
    let digits = text.trim_start_matches(['+', '-', ' ']);
    let sign = text.split_at(text.len() - digits.len()).0;
    format!("{sign}{}{digits}", "0".repeat(missing))
}

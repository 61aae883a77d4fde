//! The functions templates may call: those Loki documents, and those that all of Go's templates have.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use model::{Clock as _, SystemClock, layout};
use regex::{Captures, Regex};

use super::escapes;
use super::printf;
use super::value::{Time, Value, saturate};
use super::{Context, OUTPUT_BYTES_MAX};
use crate::logql::{regexes, units};

/// A function and how many arguments it takes.
#[derive(Debug)]
pub(super) struct Function {
    name: &'static str,
    args_min: usize,
    /// `usize::MAX` for any number.
    args_max: usize,
    run: Run,
}

type Run = fn(&Context<'_>, &[Value]) -> Result<Value, String>;

/// The function called `name`.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

impl Function {
    /// Calls it.
    pub(super) fn call(&self, context: &Context<'_>, args: &[Value]) -> Result<Value, String> {
        let count = args.len();
        if self.args_max == usize::MAX && count < self.args_min {
            let (name, min) = (self.name, self.args_min);
            return Err(format!(
                "wrong number of args for {name}: want at least {min} got {count}"
            ));
        }
        if !(self.args_min..=self.args_max).contains(&count) {
            let (name, max) = (self.name, self.args_max);
            return Err(format!("wrong number of args for {name}: want {max} got {count}"));
        }
        (self.run)(context, args)
    }

    /// Whether its arguments are evaluated one by one.
    pub(super) fn is_short_circuit(&self) -> bool {
        matches!(self.name, "and" | "or")
    }

    /// The truth at which it stops.
    pub(super) fn stops_on(&self) -> bool {
        self.name == "or"
    }
}

const fn function(name: &'static str, args: usize, run: Run) -> Function {
    Function { name, args_min: args, args_max: args, run }
}

const fn variadic(name: &'static str, args_min: usize, run: Run) -> Function {
    Function { name, args_min, args_max: usize::MAX, run }
}

static FUNCTIONS: &[Function] = &[
    // The row itself.
    function("__line__", 0, |c, _| Ok(Value::Text(c.line.to_owned()))),
    function("__timestamp__", 0, |c, _| Ok(time(c.t_ns.into()))),
    // Text.
    function("ToLower", 1, |_, a| Ok(Value::Text(text(&a[0])?.to_lowercase()))),
    function("lower", 1, |_, a| Ok(Value::Text(text(&a[0])?.to_lowercase()))),
    function("ToUpper", 1, |_, a| Ok(Value::Text(text(&a[0])?.to_uppercase()))),
    function("upper", 1, |_, a| Ok(Value::Text(text(&a[0])?.to_uppercase()))),
    function("title", 1, |_, a| Ok(Value::Text(title(text(&a[0])?)))),
    function("Replace", 4, |_, a| replace(text(&a[0])?, text(&a[1])?, text(&a[2])?, a[3].to_int())),
    function("replace", 3, |_, a| replace(text(&a[2])?, text(&a[0])?, text(&a[1])?, -1)),
    function("Trim", 2, |_, a| Ok(trim(text(&a[0])?, text(&a[1])?, true, true))),
    function("TrimLeft", 2, |_, a| Ok(trim(text(&a[0])?, text(&a[1])?, true, false))),
    function("TrimRight", 2, |_, a| Ok(trim(text(&a[0])?, text(&a[1])?, false, true))),
    function("TrimPrefix", 2, |_, a| Ok(trim_prefix(text(&a[0])?, text(&a[1])?))),
    function("TrimSuffix", 2, |_, a| Ok(trim_suffix(text(&a[0])?, text(&a[1])?))),
    function("TrimSpace", 1, |_, a| Ok(Value::Text(text(&a[0])?.trim().to_owned()))),
    function("trim", 1, |_, a| Ok(Value::Text(text(&a[0])?.trim().to_owned()))),
    function("trimAll", 2, |_, a| Ok(trim(text(&a[1])?, text(&a[0])?, true, true))),
    function("trimPrefix", 2, |_, a| Ok(trim_prefix(text(&a[1])?, text(&a[0])?))),
    function("trimSuffix", 2, |_, a| Ok(trim_suffix(text(&a[1])?, text(&a[0])?))),
    function("contains", 2, |_, a| Ok(Value::Bool(text(&a[1])?.contains(text(&a[0])?)))),
    function("hasPrefix", 2, |_, a| Ok(Value::Bool(text(&a[1])?.starts_with(text(&a[0])?)))),
    function("hasSuffix", 2, |_, a| Ok(Value::Bool(text(&a[1])?.ends_with(text(&a[0])?)))),
    function("substr", 3, |_, a| Ok(substring(a[0].to_int(), a[1].to_int(), text(&a[2])?))),
    function("trunc", 2, |_, a| Ok(truncate(a[0].to_int(), text(&a[1])?))),
    function("repeat", 2, |_, a| repeat(a[0].to_int(), text(&a[1])?)),
    function("indent", 2, |_, a| indent(a[0].to_int(), text(&a[1])?, "")),
    function("nindent", 2, |_, a| indent(a[0].to_int(), text(&a[1])?, "\n")),
    function("alignLeft", 2, |_, a| align(a[0].to_int(), text(&a[1])?, true)),
    function("alignRight", 2, |_, a| align(a[0].to_int(), text(&a[1])?, false)),
    function("default", 2, |_, a| Ok(if a[1].is_true() { a[1].clone() } else { a[0].clone() })),
    function("regexReplaceAll", 3, |_, a| {
        let by = text(&a[2])?;
        replace_all(&*pattern(&a[0])?, text(&a[1])?, |found, out| found.expand(by, out))
    }),
    function("regexReplaceAllLiteral", 3, |_, a| {
        let by = text(&a[2])?;
        replace_all(&*pattern(&a[0])?, text(&a[1])?, |_, out| out.push_str(by))
    }),
    function("count", 2, |_, a| Ok(Value::index(pattern(&a[0])?.find_iter(text(&a[1])?).count()))),
    function("urlencode", 1, |_, a| Ok(Value::Text(url_encode(text(&a[0])?)))),
    function("urldecode", 1, |_, a| url_decode(text(&a[0])?)),
    function("b64enc", 1, |_, a| Ok(Value::Text(base64_encode(text(&a[0])?)))),
    function("b64dec", 1, |_, a| base64_decode(text(&a[0])?)),
    function("fromJson", 1, |_, a| from_json(text(&a[0])?)),
    variadic("printf", 1, |_, a| printf::format(text(&a[0])?, &a[1..]).map(Value::Text)),
    variadic("print", 0, |_, a| joined(a, "").map(Value::Text)),
    variadic("println", 0, |_, a| joined(a, " ").map(|t| Value::Text(t + "\n"))),
    variadic("html", 0, |_, a| joined(a, "").map(|t| Value::Text(escapes::html(&t)))),
    variadic("js", 0, |_, a| joined(a, "").map(|t| Value::Text(escapes::js(&t)))),
    variadic("urlquery", 0, |_, a| joined(a, "").map(|t| Value::Text(url_encode(&t)))),
    // Numbers.
    function("int", 1, |_, a| Ok(Value::Int(a[0].to_int()))),
    function("float64", 1, |_, a| Ok(Value::Float(a[0].to_float()))),
    variadic("add", 1, |_, a| Ok(fold_int(a, i64::wrapping_add))),
    function("sub", 2, |_, a| Ok(fold_int(a, i64::wrapping_sub))),
    variadic("mul", 1, |_, a| Ok(fold_int(a, i64::wrapping_mul))),
    function("div", 2, |_, a| divide(a, i64::checked_div)),
    function("mod", 2, |_, a| divide(a, i64::checked_rem)),
    variadic("addf", 1, |_, a| Ok(fold_float(a, |x, y| x + y))),
    variadic("subf", 1, |_, a| Ok(fold_float(a, |x, y| x - y))),
    variadic("mulf", 1, |_, a| Ok(fold_float(a, |x, y| x * y))),
    variadic("divf", 1, |_, a| Ok(fold_float(a, |x, y| x / y))),
    variadic("max", 1, |_, a| Ok(fold_int(a, i64::max))),
    variadic("min", 1, |_, a| Ok(fold_int(a, i64::min))),
    variadic("maxf", 1, |_, a| Ok(fold_float(a, f64::max))),
    variadic("minf", 1, |_, a| Ok(fold_float(a, f64::min))),
    function("ceil", 1, |_, a| Ok(Value::Float(a[0].to_float().ceil()))),
    function("floor", 1, |_, a| Ok(Value::Float(a[0].to_float().floor()))),
    variadic("round", 2, |_, a| {
        Ok(round(a[0].to_float(), a[1].to_int(), a.get(2).map_or(0.5, Value::to_float)))
    }),
    function("bytes", 1, |_, a| units::parse_bytes(text(&a[0])?).map(Value::Float)),
    function("duration", 1, |_, a| units::parse_duration(text(&a[0])?).map(Value::Float)),
    function("duration_seconds", 1, |_, a| units::parse_duration(text(&a[0])?).map(Value::Float)),
    // Times.
    function("now", 0, |_, _| Ok(time(SystemClock.now_ns().into()))),
    function("date", 2, |_, a| {
        let layout = text(&a[0])?;
        Ok(Value::Text(moment(&a[1])?.format(layout)))
    }),
    function("toDate", 2, |_, a| {
        Time::parse(text(&a[0])?, text(&a[1])?, &TimeZone::UTC).map(Value::Time)
    }),
    function("toDateInZone", 3, |_, a| {
        let name = text(&a[1])?;
        let unknown = || format!("unknown time zone {}", units::excerpt(name));
        let zone = layout::zone(name).ok_or_else(unknown)?;
        Time::parse(text(&a[0])?, text(&a[2])?, &zone).map(Value::Time)
    }),
    function("unixToTime", 1, |_, a| unix_to_time(text(&a[0])?)),
    function("unixEpoch", 1, |_, a| epoch(&a[0], 1_000_000_000)),
    function("unixEpochMillis", 1, |_, a| epoch(&a[0], 1_000_000)),
    function("unixEpochNanos", 1, |_, a| epoch(&a[0], 1)),
    // Logic.
    variadic("and", 1, |_, a| Ok(a.last().cloned().unwrap_or(Value::Nil))),
    variadic("or", 1, |_, a| Ok(a.last().cloned().unwrap_or(Value::Nil))),
    function("not", 1, |_, a| Ok(Value::Bool(!a[0].is_true()))),
    variadic("eq", 2, |_, a| {
        let mut any = false;
        for other in &a[1..] {
            any |= compare(&a[0], other)?.is_eq();
        }
        Ok(Value::Bool(any))
    }),
    function("ne", 2, |_, a| Ok(Value::Bool(compare(&a[0], &a[1])?.is_ne()))),
    function("lt", 2, |_, a| Ok(Value::Bool(compare(&a[0], &a[1])?.is_lt()))),
    function("le", 2, |_, a| Ok(Value::Bool(compare(&a[0], &a[1])?.is_le()))),
    function("gt", 2, |_, a| Ok(Value::Bool(compare(&a[0], &a[1])?.is_gt()))),
    function("ge", 2, |_, a| Ok(Value::Bool(compare(&a[0], &a[1])?.is_ge()))),
    function("len", 1, |_, a| length(&a[0])),
    variadic("index", 1, |_, a| index(&a[0], &a[1..])),
    variadic("slice", 1, |_, a| escapes::slice(&a[0], &a[1..])),
];

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Nil => Ok(""),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn bounded(bytes: usize) -> Result<(), String> {
    if bytes > OUTPUT_BYTES_MAX {
        return Err(format!("result has {bytes} bytes; the limit is {OUTPUT_BYTES_MAX}"));
    }
    Ok(())
}

/// Functions whose first argument is a pattern, which is compiled with the template when it stands there as text.
pub(super) fn takes_pattern(name: &str) -> bool {
    matches!(name, "regexReplaceAll" | "regexReplaceAllLiteral" | "count")
}

fn pattern(value: &Value) -> Result<Cow<'_, Regex>, String> {
    match value {
        Value::Regex(regex) => Ok(Cow::Borrowed(regex)),
        other => {
            let compiled = regexes::compile(text(other)?);
            compiled.map(Cow::Owned).map_err(|e| e.message().to_owned())
        }
    }
}

/// `text` with each match replaced by what `write` appends, as long as that stays within bounds.
fn replace_all(
    regex: &Regex,
    text: &str,
    write: impl Fn(&Captures<'_>, &mut String),
) -> Result<Value, String> {
    let mut out = String::new();
    let mut copied = 0;
    for found in regex.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(text.get(copied..whole.start()).unwrap_or(""));
        write(&found, &mut out);
        copied = whole.end();
        bounded(out.len())?;
    }
    out.push_str(text.get(copied..).unwrap_or(""));
    Ok(Value::Text(out))
}

/// The arguments' texts with `separator` between them.
fn joined(args: &[Value], separator: &str) -> Result<String, String> {
    let mut out = String::new();
    for (i, value) in args.iter().enumerate() {
        out.push_str(if i == 0 { "" } else { separator });
        value.print(&mut out);
        bounded(out.len())?;
    }
    Ok(out)
}

fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut starts_word = true;
    for c in text.chars() {
        if starts_word {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        starts_word = !c.is_alphanumeric() && c != '\'' && c != '_';
    }
    out
}

fn replace(text: &str, from: &str, to: &str, count: i64) -> Result<Value, String> {
    let matches = text.len() / from.len().max(1) + 1;
    if to.len() > from.len() {
        let hits = if from.is_empty() { matches } else { text.matches(from).count() };
        bounded(text.len().saturating_add(hits.saturating_mul(to.len())))?;
    }
    Ok(Value::Text(match usize::try_from(count) {
        Ok(count) => text.replacen(from, to, count),
        Err(_) => text.replace(from, to),
    }))
}

fn trim(text: &str, chars: &str, left: bool, right: bool) -> Value {
    let is_cut = |c: char| chars.contains(c);
    let text = if left { text.trim_start_matches(is_cut) } else { text };
    let text = if right { text.trim_end_matches(is_cut) } else { text };
    Value::Text(text.to_owned())
}

fn trim_prefix(text: &str, prefix: &str) -> Value {
    Value::Text(text.strip_prefix(prefix).unwrap_or(text).to_owned())
}

fn trim_suffix(text: &str, suffix: &str) -> Value {
    Value::Text(text.strip_suffix(suffix).unwrap_or(text).to_owned())
}

/// Characters `[start, end)`; a negative start means the beginning, a negative or too large end the end.
fn substring(start: i64, end: i64, text: &str) -> Value {
    let count = text.chars().count();
    let end = usize::try_from(end).unwrap_or(count).min(count);
    let start = usize::try_from(start).unwrap_or(0).min(end);
    Value::Text(text.chars().skip(start).take(end - start).collect())
}

/// The first `count` characters, or the last ones for a negative count.
fn truncate(count: i64, text: &str) -> Value {
    let len = text.chars().count();
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let skipped = if count < 0 { len.saturating_sub(wanted) } else { 0 };
    Value::Text(text.chars().skip(skipped).take(wanted).collect())
}

fn repeat(count: i64, text: &str) -> Result<Value, String> {
    let count = usize::try_from(count).unwrap_or(0);
    bounded(count.saturating_mul(text.len()))?;
    Ok(Value::Text(text.repeat(count)))
}

fn indent(spaces: i64, text: &str, front: &str) -> Result<Value, String> {
    let spaces = usize::try_from(spaces).unwrap_or(0);
    let lines = text.matches('\n').count() + 1;
    bounded(spaces.saturating_mul(lines).saturating_add(text.len()))?;
    let padding = " ".repeat(spaces);
    let padded = text.replace('\n', &format!("\n{padding}"));
    Ok(Value::Text(format!("{front}{padding}{padded}")))
}

/// Exactly `width` characters: cut, or padded with spaces, on the right for `left` and on the left otherwise.
fn align(width: i64, text: &str, left: bool) -> Result<Value, String> {
    let Ok(width) = usize::try_from(width) else { return Ok(Value::Text(text.to_owned())) };
    bounded(width)?;
    let count = text.chars().count();
    let padding = " ".repeat(width.saturating_sub(count));
    let skipped = if left { 0 } else { count.saturating_sub(width) };
    let kept: String = text.chars().skip(skipped).take(width).collect();
    Ok(Value::Text(if left { kept + &padding } else { padding + &kept }))
}

fn fold_int(args: &[Value], f: fn(i64, i64) -> i64) -> Value {
    Value::Int(args.iter().map(Value::to_int).reduce(f).unwrap_or(0))
}

fn fold_float(args: &[Value], f: fn(f64, f64) -> f64) -> Value {
    Value::Float(args.iter().map(Value::to_float).reduce(f).unwrap_or(0.0))
}

fn divide(args: &[Value], f: fn(i64, i64) -> Option<i64>) -> Result<Value, String> {
    let quotient = f(args[0].to_int(), args[1].to_int());
    quotient.map(Value::Int).ok_or_else(|| "integer divide by zero".to_owned())
}

/// Rounds to `places` decimals; fractions from `up_from` on go up.
fn round(x: f64, places: i64, up_from: f64) -> Value {
    let scale = 10f64.powi(i32::try_from(places.clamp(-300, 300)).unwrap_or(0));
    let scaled = x * scale;
    let fraction = scaled.fract().abs();
    let whole = if fraction >= up_from {
        if x >= 0.0 { scaled.ceil() } else { scaled.floor() }
    } else {
        scaled.trunc()
    };
    Value::Float(whole / scale)
}

fn url_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn url_decode(text: &str) -> Result<Value, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let digit = bytes.next().and_then(|b| char::from(b).to_digit(16));
                    digit.ok_or_else(|| "invalid URL escape".to_owned())
                };
                u8::try_from(digit()? * 16 + digit()?).unwrap_or(b'?')
            }
            _ => byte,
        });
    }
    Ok(Value::Text(String::from_utf8_lossy(&out).into_owned()))
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len().div_ceil(3) * 4);
    for chunk in text.as_bytes().chunks(3) {
        let mut bits = 0u32;
        for i in 0..3 {
            bits = bits << 8 | u32::from(chunk.get(i).copied().unwrap_or(0));
        }
        for i in 0..4 {
            let digit = (bits >> (18 - 6 * i)) as usize & 63;
            out.push(if i <= chunk.len() { char::from(BASE64[digit]) } else { '=' });
        }
    }
    out
}

/// Standard alphabet, with or without padding.
fn base64_decode(text: &str) -> Result<Value, String> {
    let (mut bits, mut count) = (0u32, 0);
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for (i, byte) in text.trim_end_matches('=').bytes().enumerate() {
        let digit = BASE64.iter().position(|b| *b == byte);
        let digit = digit.ok_or_else(|| format!("illegal base64 data at input byte {i}"))?;
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count & 0xFF) as u8);
        }
    }
    Ok(Value::Text(String::from_utf8_lossy(&out).into_owned()))
}

/// Reads JSON; the parser bounds its own depth.
fn from_json(text: &str) -> Result<Value, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    Ok(json_value(value))
}

fn json_value(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(b) => Value::Bool(b),
        serde_json::Value::Number(n) => Value::Float(n.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(s) => Value::Text(s),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(json_value).collect()),
        serde_json::Value::Object(items) => {
            let mut pairs: Vec<_> = items.into_iter().map(|(k, v)| (k, json_value(v))).collect();
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Map(pairs)
        }
    }
}

fn time(t_ns: i128) -> Value {
    Value::Time(Time { t_ns, zone: TimeZone::UTC })
}

/// A time, or whole seconds that stand for one.
fn moment(value: &Value) -> Result<Time, String> {
    match value {
        Value::Time(time) => Ok(time.clone()),
        Value::Int(_) | Value::Float(_) => {
            let t_ns = i128::from(value.to_int()) * 1_000_000_000;
            Ok(Time { t_ns, zone: TimeZone::UTC })
        }
        other => {
            Err(format!("wrong type for value; expected time.Time; got {}", other.type_name()))
        }
    }
}

fn epoch(value: &Value, unit_ns: i128) -> Result<Value, String> {
    let t = moment(value)?.t_ns.div_euclid(unit_ns);
    Ok(Value::Text(t.to_string()))
}

/// Reads Unix days, seconds, milliseconds, microseconds or nanoseconds, told apart by the number of digits.
fn unix_to_time(text: &str) -> Result<Value, String> {
    let number: i128 = text
        .parse::<i64>()
        .map_err(|_| format!("unable to parse time '{}'", units::excerpt(text)))?
        .into();
    let unit_ns: i128 = match text.len() {
        5 => 86_400_000_000_000,
        10 => 1_000_000_000,
        13 => 1_000_000,
        16 => 1000,
        19 => 1,
        _ => {
            return Err(format!(
                "unable to parse time '{}': length is unexpected",
                units::excerpt(text)
            ));
        }
    };
    Ok(time(number * unit_ns))
}

fn compare(a: &Value, b: &Value) -> Result<std::cmp::Ordering, String> {
    let incompatible = || "incompatible types for comparison".to_owned();
    match (a, b) {
        (Value::Text(a), Value::Text(b)) => Ok(a.cmp(b)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Float(_) | Value::Int(_), Value::Float(_) | Value::Int(_)) => {
            a.to_float().partial_cmp(&b.to_float()).ok_or_else(incompatible)
        }
        (Value::Time(a), Value::Time(b)) => Ok(a.t_ns.cmp(&b.t_ns)),
        _ => Err(incompatible()),
    }
}

fn length(value: &Value) -> Result<Value, String> {
    Ok(Value::index(match value {
        Value::Text(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Map(items) => items.len(),
        other => return Err(format!("len of type {}", other.type_name())),
    }))
}

fn index(value: &Value, path: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for step in path {
        value = match value {
            Value::List(items) => {
                let at = usize::try_from(step.to_int()).unwrap_or(usize::MAX);
                items.into_iter().nth(at).ok_or_else(|| {
                    format!(
                        "error calling index: index out of range: {}",
                        saturate(step.to_float())
                    )
                })?
            }
            Value::Map(items) => {
                let key = text(step)?;
                items.into_iter().find(|(k, _)| k == key).map_or(Value::Nil, |(_, v)| v)
            }
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(value)
}

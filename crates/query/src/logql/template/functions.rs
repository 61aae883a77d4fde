//! The functions LogQL's templates may call beside those that all of Go's templates have: those Loki documents.

use std::borrow::Cow;

use jiff::tz::TimeZone;
use model::layout::{self, Layout};
use regex::{Captures, Regex};

use crate::logql::units;
use crate::template::{ANY_LIST, ANY_MAP, Function, Moment, Param, Value, bounded, url_query};

const ANY: Param = Param::Any;

const fn function(
    name: &'static str,
    params: &'static [Param],
    run: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function::new(name, params, run)
}

const fn variadic(
    name: &'static str,
    params: &'static [Param],
    run: fn(&[Value]) -> Result<Value, String>,
) -> Function {
    Function::variadic(name, params, ANY, run)
}

pub(super) static FUNCTIONS: &[Function] = &[
    // The row itself.
    Function::env("__line__", &[]),
    Function::env("__timestamp__", &[]),
    // Text.
    function("ToLower", &[ANY], |a| Ok(Value::Text(text(&a[0])?.to_lowercase()))),
    function("lower", &[ANY], |a| Ok(Value::Text(text(&a[0])?.to_lowercase()))),
    function("ToUpper", &[ANY], |a| Ok(Value::Text(text(&a[0])?.to_uppercase()))),
    function("upper", &[ANY], |a| Ok(Value::Text(text(&a[0])?.to_uppercase()))),
    function("title", &[ANY], |a| Ok(Value::Text(title(text(&a[0])?)))),
    function("Replace", &[ANY; 4], |a| {
        replace(text(&a[0])?, text(&a[1])?, text(&a[2])?, to_int(&a[3]))
    }),
    function("replace", &[ANY; 3], |a| replace(text(&a[2])?, text(&a[0])?, text(&a[1])?, -1)),
    function("Trim", &[ANY; 2], |a| Ok(trim(text(&a[0])?, text(&a[1])?, true, true))),
    function("TrimLeft", &[ANY; 2], |a| Ok(trim(text(&a[0])?, text(&a[1])?, true, false))),
    function("TrimRight", &[ANY; 2], |a| Ok(trim(text(&a[0])?, text(&a[1])?, false, true))),
    function("TrimPrefix", &[ANY; 2], |a| Ok(trim_prefix(text(&a[0])?, text(&a[1])?))),
    function("TrimSuffix", &[ANY; 2], |a| Ok(trim_suffix(text(&a[0])?, text(&a[1])?))),
    function("TrimSpace", &[ANY], |a| Ok(Value::Text(text(&a[0])?.trim().to_owned()))),
    function("trim", &[ANY], |a| Ok(Value::Text(text(&a[0])?.trim().to_owned()))),
    function("trimAll", &[ANY; 2], |a| Ok(trim(text(&a[1])?, text(&a[0])?, true, true))),
    function("trimPrefix", &[ANY; 2], |a| Ok(trim_prefix(text(&a[1])?, text(&a[0])?))),
    function("trimSuffix", &[ANY; 2], |a| Ok(trim_suffix(text(&a[1])?, text(&a[0])?))),
    function("contains", &[ANY; 2], |a| Ok(Value::Bool(text(&a[1])?.contains(text(&a[0])?)))),
    function("hasPrefix", &[ANY; 2], |a| Ok(Value::Bool(text(&a[1])?.starts_with(text(&a[0])?)))),
    function("hasSuffix", &[ANY; 2], |a| Ok(Value::Bool(text(&a[1])?.ends_with(text(&a[0])?)))),
    function("substr", &[ANY; 3], |a| Ok(substring(to_int(&a[0]), to_int(&a[1]), text(&a[2])?))),
    function("trunc", &[ANY; 2], |a| Ok(truncate(to_int(&a[0]), text(&a[1])?))),
    function("repeat", &[ANY; 2], |a| repeat(to_int(&a[0]), text(&a[1])?)),
    function("indent", &[ANY; 2], |a| indent(to_int(&a[0]), text(&a[1])?, "")),
    function("nindent", &[ANY; 2], |a| indent(to_int(&a[0]), text(&a[1])?, "\n")),
    function("alignLeft", &[ANY; 2], |a| align(to_int(&a[0]), text(&a[1])?, true)),
    function("alignRight", &[ANY; 2], |a| align(to_int(&a[0]), text(&a[1])?, false)),
    function("default", &[ANY; 2], |a| {
        Ok(if a[1].is_true() { a[1].clone() } else { a[0].clone() })
    }),
    function("regexReplaceAll", &[Param::Pattern, ANY, ANY], |a| {
        let by = text(&a[2])?;
        replace_all(&*pattern(&a[0])?, text(&a[1])?, |found, out| found.expand(by, out))
    }),
    function("regexReplaceAllLiteral", &[Param::Pattern, ANY, ANY], |a| {
        let by = text(&a[2])?;
        replace_all(&*pattern(&a[0])?, text(&a[1])?, |_, out| out.push_str(by))
    }),
    function("count", &[Param::Pattern, ANY], |a| {
        Ok(Value::index(pattern(&a[0])?.find_iter(text(&a[1])?).count()))
    }),
    function("urlencode", &[ANY], |a| Ok(Value::Text(url_query(text(&a[0])?)))),
    function("urldecode", &[ANY], |a| url_decode(text(&a[0])?)),
    function("b64enc", &[ANY], |a| Ok(Value::Text(base64_encode(text(&a[0])?)))),
    function("b64dec", &[ANY], |a| base64_decode(text(&a[0])?)),
    function("fromJson", &[ANY], |a| from_json(text(&a[0])?)),
    // Numbers.
    function("int", &[ANY], |a| Ok(Value::Int(to_int(&a[0])))),
    function("float64", &[ANY], |a| Ok(Value::Float(to_float(&a[0])))),
    variadic("add", &[ANY], |a| Ok(fold_int(a, i64::wrapping_add))),
    function("sub", &[ANY; 2], |a| Ok(fold_int(a, i64::wrapping_sub))),
    variadic("mul", &[ANY], |a| Ok(fold_int(a, i64::wrapping_mul))),
    function("div", &[ANY; 2], |a| divide(a, i64::checked_div)),
    function("mod", &[ANY; 2], |a| divide(a, i64::checked_rem)),
    variadic("addf", &[ANY], |a| Ok(fold_float(a, |x, y| x + y))),
    variadic("subf", &[ANY], |a| Ok(fold_float(a, |x, y| x - y))),
    variadic("mulf", &[ANY], |a| Ok(fold_float(a, |x, y| x * y))),
    variadic("divf", &[ANY], |a| Ok(fold_float(a, |x, y| x / y))),
    variadic("max", &[ANY], |a| Ok(fold_int(a, i64::max))),
    variadic("min", &[ANY], |a| Ok(fold_int(a, i64::min))),
    variadic("maxf", &[ANY], |a| Ok(fold_float(a, f64::max))),
    variadic("minf", &[ANY], |a| Ok(fold_float(a, f64::min))),
    function("ceil", &[ANY], |a| Ok(Value::Float(to_float(&a[0]).ceil()))),
    function("floor", &[ANY], |a| Ok(Value::Float(to_float(&a[0]).floor()))),
    variadic("round", &[ANY; 2], |a| {
        Ok(round(to_float(&a[0]), to_int(&a[1]), a.get(2).map_or(0.5, to_float)))
    }),
    function("bytes", &[ANY], |a| units::parse_bytes(text(&a[0])?).map(Value::Float)),
    function("duration", &[ANY], |a| units::parse_duration(text(&a[0])?).map(Value::Float)),
    function("duration_seconds", &[ANY], |a| units::parse_duration(text(&a[0])?).map(Value::Float)),
    // Times.
    Function::env("now", &[]),
    function("date", &[ANY; 2], |a| {
        let layout = text(&a[0])?;
        Ok(Value::Text(moment(&a[1])?.format(layout)))
    }),
    function("toDate", &[ANY; 2], |a| {
        parse_time(text(&a[0])?, text(&a[1])?, &TimeZone::UTC).map(Value::Time)
    }),
    function("toDateInZone", &[ANY; 3], |a| {
        let name = text(&a[1])?;
        let unknown = || format!("unknown time zone {}", units::excerpt(name));
        let zone = layout::zone(name).ok_or_else(unknown)?;
        parse_time(text(&a[0])?, text(&a[2])?, &zone).map(Value::Time)
    }),
    function("unixToTime", &[ANY], |a| unix_to_time(text(&a[0])?)),
    function("unixEpoch", &[ANY], |a| epoch(&a[0], 1_000_000_000)),
    function("unixEpochMillis", &[ANY], |a| epoch(&a[0], 1_000_000)),
    function("unixEpochNanos", &[ANY], |a| epoch(&a[0], 1)),
];

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Nil => Ok(""),
        other => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
    }
}

fn pattern(value: &Value) -> Result<Cow<'_, Regex>, String> {
    match value {
        Value::Regex(regex) => Ok(Cow::Borrowed(regex)),
        other => {
            let compiled = model::line_regex(text(other)?);
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
    Value::Int(args.iter().map(to_int).reduce(f).unwrap_or(0))
}

fn fold_float(args: &[Value], f: fn(f64, f64) -> f64) -> Value {
    Value::Float(args.iter().map(to_float).reduce(f).unwrap_or(0.0))
}

fn divide(args: &[Value], f: fn(i64, i64) -> Option<i64>) -> Result<Value, String> {
    let quotient = f(to_int(&args[0]), to_int(&args[1]));
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
        serde_json::Value::Array(items) => {
            Value::list(&ANY_LIST, items.into_iter().map(json_value).collect())
        }
        serde_json::Value::Object(items) => {
            let pairs = items.into_iter().map(|(k, v)| (k, json_value(v))).collect();
            Value::map(&ANY_MAP, pairs)
        }
    }
}

fn time(t_ns: i128) -> Value {
    Value::Time(Moment::utc(t_ns))
}

/// A time, or whole seconds that stand for one.
fn moment(value: &Value) -> Result<Moment, String> {
    match value {
        Value::Time(time) => Ok(time.clone()),
        Value::Int(_) | Value::Float(_) => {
            let t_ns = i128::from(to_int(value)) * 1_000_000_000;
            Ok(Moment::utc(t_ns))
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

/// Reads `text` in `layout`; without an offset in it, it is a wall clock time in `zone`.
fn parse_time(layout: &str, text: &str, zone: &TimeZone) -> Result<Moment, String> {
    let read = Layout::new(layout).read(text).and_then(|time| time.to_zoned(zone));
    let zoned = read.ok_or_else(|| {
        let (text, layout) = (units::excerpt(text), units::excerpt(layout));
        format!("parsing time {text:?} as {layout:?}: cannot parse")
    })?;
    let t_ns = zoned.timestamp().as_nanosecond();
    Ok(Moment { t_ns, zone: zoned.time_zone().clone() })
}

/// A value as a whole number; what is no number counts as 0.
fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(n) | Value::Duration(n) => *n,
        Value::Bool(b) => i64::from(*b),
        Value::Text(text) => match text.parse() {
            Ok(n) => n,
            Err(_) => saturate(text.parse().unwrap_or(0.0)),
        },
        Value::Float(x) => saturate(*x),
        _ => 0,
    }
}

/// A value as a number; what is no number counts as 0.
fn to_float(value: &Value) -> f64 {
    match value {
        Value::Float(x) => *x,
        Value::Text(text) => text.parse().unwrap_or(0.0),
        other => to_int(other) as f64,
    }
}

/// Cuts off the fraction and keeps within bounds.
fn saturate(x: f64) -> i64 {
    x as i64
}

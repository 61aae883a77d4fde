//! The functions of notifications' templates.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use model::layout;
use query::template::{
    ANY_LIST, ANY_MAP, Function, Moment, Param, TEXT_LIST, Trust, Value, bounded, go_quote,
};

use super::json;
use crate::expand::numbers;
use crate::expand::texts::{change, matches, replace_all, text};

const TEXT: Param = Param::Text;
const ANY: Param = Param::Any;

pub(super) static FUNCTIONS: &[Function] = &[
    // Texts.
    Function::new("toUpper", &[TEXT], |a| change(a, str::to_uppercase)),
    Function::new("toLower", &[TEXT], |a| change(a, str::to_lowercase)),
    Function::new("title", &[TEXT], |a| change(a, title)),
    Function::new("trimSpace", &[TEXT], |a| change(a, |text| text.trim().to_owned())),
    Function::new("match", &[Param::Pattern, TEXT], matches),
    Function::new("reReplaceAll", &[Param::Pattern, TEXT, TEXT], replace_all),
    Function::new("safeHtml", &[TEXT], |a| Ok(Value::Trusted(Trust::Html, text(a, 0).to_owned()))),
    Function::new("safeUrl", &[TEXT], |a| Ok(Value::Trusted(Trust::Url, text(a, 0).to_owned()))),
    Function::new("urlUnescape", &[TEXT], |a| unescape(text(a, 0)).map(Value::Text)),
    Function::new("base64encode", &[TEXT], |a| change(a, |text| URL_SAFE.encode(text))),
    Function::new("base64decode", &[TEXT], |a| decode(text(a, 0)).map(Value::Text)),
    Function::new("toJson", &[ANY], |a| {
        json::write(a.first().unwrap_or(&Value::Nil)).map(Value::Text)
    }),
    // Lists and maps.
    Function::new("join", &[TEXT, Param::Texts], |a| join(a).map(Value::Text)),
    Function::variadic("stringSlice", &[], TEXT, |a| Ok(Value::list(&TEXT_LIST, a.to_vec()))),
    Function::variadic("list", &[], ANY, |a| Ok(Value::list(&ANY_LIST, a.to_vec()))),
    Function::variadic("append", &[Param::List], ANY, append),
    Function::variadic("dict", &[], ANY, dict),
    // Of the route.
    Function::env("routeLabels", &[TEXT]),
    // What else is known of an alert; Alertmanager has no such function.
    Function::env("context", &[ANY]),
    // Times.
    Function::new("date", &[TEXT, Param::Time], |a| match a.get(1) {
        Some(Value::Time(time)) => Ok(Value::Text(time.format(text(a, 0)))),
        _ => Err("not a time".to_owned()),
    }),
    Function::new("tz", &[TEXT, Param::Time], |a| in_zone(a).map(Value::Time)),
    Function::env("since", &[Param::Time]),
    Function::new("humanizeDuration", &[ANY], |a| {
        let seconds = numbers::to_float(a.first().unwrap_or(&Value::Nil))?;
        Ok(Value::Text(numbers::humanize_duration(seconds)))
    }),
];

/// How long ago a time is.
pub(super) fn since(args: &[Value], now_ns: i64) -> Value {
    let Some(Value::Time(time)) = args.first() else { return Value::Nil };
    let ns = i128::from(now_ns) - time.t_ns;
    let bound = if ns < 0 { i64::MIN } else { i64::MAX };
    Value::Duration(i64::try_from(ns).unwrap_or(bound))
}

fn in_zone(args: &[Value]) -> Result<Moment, String> {
    let name = text(args, 0);
    let zone = layout::zone(name).ok_or_else(|| format!("unknown time zone {name}"))?;
    match args.get(1) {
        Some(Value::Time(time)) => Ok(Moment { t_ns: time.t_ns, zone }),
        _ => Err("not a time".to_owned()),
    }
}

/// Every word with its first letter in upper case and the others in lower case.
fn title(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_word = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c.is_alphanumeric() || c == '_' {
            if in_word {
                out.extend(c.to_lowercase());
            } else {
                out.extend(c.to_uppercase());
            }
            in_word = true;
        } else {
            out.push(c);
            // Within a word, as in "it's" and "a.b".
            let joins = matches!(c, '\'' | '\u{2019}' | '.' | ':' | '\u{b7}');
            in_word = in_word && joins && chars.peek().is_some_and(|c| c.is_alphabetic());
        }
    }
    out
}

/// Reads the value of a parameter of a URL.
fn unescape(text: &str) -> Result<String, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || bytes.next().and_then(|(_, b)| char::from(b).to_digit(16));
                let code = digit().zip(digit()).and_then(|(a, b)| u8::try_from(a * 16 + b).ok());
                code.ok_or_else(|| {
                    let wrong: String = text.get(at..).unwrap_or("").chars().take(3).collect();
                    format!("invalid URL escape {}", go_quote(&wrong))
                })?
            }
            byte => byte,
        });
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Of the alphabet for URLs or the standard one.
fn decode(text: &str) -> Result<String, String> {
    let is_for_urls = text.contains(['-', '_']);
    let engine = if is_for_urls { &URL_SAFE } else { &STANDARD };
    let bytes = engine.decode(text).map_err(|e| format!("illegal base64 data: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn join(args: &[Value]) -> Result<String, String> {
    let items: Vec<&str> =
        args.get(1).map_or(&[][..], Value::items).iter().map(Value::as_text).collect();
    let separators = text(args, 0).len().saturating_mul(items.len());
    bounded(items.iter().map(|item| item.len()).sum::<usize>().saturating_add(separators))?;
    Ok(items.join(text(args, 0)))
}

fn append(args: &[Value]) -> Result<Value, String> {
    let Some((list, more)) = args.split_first() else { return Ok(Value::Nil) };
    let items: Vec<Value> = list.items().iter().chain(more).cloned().collect();
    // As many as a rendering could go through.
    bounded(items.len())?;
    Ok(Value::list(&ANY_LIST, items))
}

fn dict(args: &[Value]) -> Result<Value, String> {
    if !args.len().is_multiple_of(2) {
        return Err("dict expects an even number of arguments".to_owned());
    }
    let pairs = args.chunks_exact(2).map(|pair| match pair {
        [Value::Text(name), value] => Ok((name.clone(), value.clone())),
        [other, _] => Err(format!("dict keys must be strings; got {}", other.type_name())),
        _ => Err("dict expects pairs".to_owned()),
    });
    Ok(Value::map(&ANY_MAP, pairs.collect::<Result<_, String>>()?))
}

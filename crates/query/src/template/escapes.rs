//! Text for other languages, as Go writes it: HTML, JavaScript, and Go itself.

/// `text` with what HTML gives a meaning escaped.
pub fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

/// `text` as it may stand inside of a string of JavaScript.
pub(super) fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '\'' | '"' => out.extend(['\\', c]),
            '<' | '>' | '&' | '=' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if is_hidden(c) => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// `text` as Go quotes it (`%q`).
pub fn go_quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            c => push_go_char(c, &mut out),
        }
    }
    out.push('"');
    out
}

/// The value of a string that Go quotes with `"`.
///
/// # Errors
/// `Invalid` when it is none, or its value no UTF-8.
pub fn go_unquote(literal: &str) -> model::Result<String> {
    let is_whole = literal.len() > 1 && literal.starts_with('"') && literal.ends_with('"');
    let value = crate::syntax::unquote(literal, 0)?;
    if !is_whole || value.lossy || literal.contains('\n') {
        return Err(model::Error::invalid(format!("no string of Go: {literal}")));
    }
    Ok(value.text)
}

/// As [`go_quote`], with what is not ASCII escaped (`%+q`).
pub(super) fn go_quote_ascii(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    for c in go_quote(text).chars() {
        match u32::from(c) {
            0..0x80 => out.push(c),
            code @ 0x80..=0xFFFF => out.push_str(&format!("\\u{code:04x}")),
            code => out.push_str(&format!("\\U{code:08x}")),
        }
    }
    out
}

/// A character as Go quotes one (`%q` of a number).
pub(super) fn go_quote_char(c: char) -> String {
    let mut out = "'".to_owned();
    match c {
        '\'' => out.push_str("\\'"),
        c => push_go_char(c, &mut out),
    }
    out + "'"
}

fn push_go_char(c: char, out: &mut String) {
    match c {
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        c if c < ' ' || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if is_hidden(c) && u32::from(c) > 0xFFFF => {
            out.push_str(&format!("\\U{:08x}", u32::from(c)));
        }
        c if is_hidden(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => out.push(c),
    }
}

/// Whether a character is not to be seen.
fn is_hidden(c: char) -> bool {
    c != ' ' && (c.is_control() || c.is_whitespace() || c.escape_debug().nth(1) == Some('u'))
}

/// `U+0026 '&'`, or only the number of a character that is not to be seen.
pub(super) fn shown_char(c: char) -> String {
    let code = format!("U+{:04X}", u32::from(c));
    if is_hidden(c) { code } else { format!("{code} '{c}'") }
}

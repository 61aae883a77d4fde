//! What stands around an anchor: is it a secret, and from where to where? Owns settings (`name=value` in all its forms)
//! and what the other rules share: where values end, what is a placeholder, what looks like a secret.

use std::ops::Range;

use super::anchors::Anchor;
use super::found::Found;
use super::{Kind, commands, forms, headers};

/// Names of settings whose value is a secret, by their end, without `_` and `-`, in lower case. Those from the second
/// list say so only together with a value that looks like one.
const PASSWORDS: [&str; 5] = ["password", "passwd", "passphrase", "pwd", "pass"];
const KEYS: [&str; 11] = [
    "secret",
    "token",
    "apikey",
    "accesskey",
    "privatekey",
    "accountkey",
    "secretkey",
    "encryptionkey",
    "signingkey",
    "masterkey",
    "subscriptionkey",
];
/// Bytes before an anchor that may belong to the name.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Bytes behind an anchor that decide whether there is a secret. It may be longer.
const NEAR_BYTES_MAX: usize = 256;
/// Least length of a secret that is known only by the name before it, when that name is common in prose.
const KEY_BYTES_MIN: usize = 8;

/// Visits the secrets around an anchor of `line`; their row is set by the caller.
///
/// Cost: looks at [`NAME_BYTES_MAX`] bytes before the anchor and at [`NEAR_BYTES_MAX`] behind it, and beyond only for the
/// end of a secret that was found. A line that is nothing but anchors is read in linear time when anchors inside what
/// was found are left out.
pub(super) fn secrets(line: &[u8], anchor: Anchor, at: Range<usize>, visit: &mut dyn FnMut(Found)) {
    let mut found = |place: Option<Range<usize>>| {
        place.into_iter().for_each(|place| visit(Found::new(0, place, anchor.kind())));
    };
    match anchor {
        Anchor::Setting => {
            near(line, at.end, &|line| setting(line, at.clone())).into_iter().for_each(visit);
        }
        // The anchor has the byte behind the name; a longer word (`bypass`) is another name.
        Anchor::Pass => {
            let name = at.start..at.end - 1;
            let is_longer =
                name.start.checked_sub(1).is_some_and(|b| line[b].is_ascii_alphanumeric());
            if !is_longer {
                near(line, at.end, &|line| setting(line, name.clone())).into_iter().for_each(visit);
            }
        }
        Anchor::Command => found(commands::password(clip(line, at.end), at)),
        Anchor::Header => found(near_place(line, at.end, &|line| headers::header(line, at.end))),
        Anchor::Bearer => {
            found(near_place(line, at.end, &|line| headers::bearer(line, at.clone())));
        }
        Anchor::Basic => {
            found(near_place(line, at.end, &|line| headers::basic(line, at.clone())));
        }
        Anchor::Cookie => headers::cookies(line, at.end, &mut |place| found(Some(place))),
        Anchor::Url => found(forms::url(clip(line, at.end), at)),
        Anchor::Signature => found(forms::signature(line, at)),
        Anchor::PrivateKey => found(forms::private_key(line, at)),
        Anchor::Jwt => found(forms::jwt(line, at)),
        Anchor::Known(least, letters) => found(forms::known(line, at, least, letters)),
        Anchor::Entra => found(forms::entra(line, at)),
        Anchor::Telegram => found(forms::telegram(line, at)),
    }
}

/// Visits the secrets that a field has because of its name.
pub(super) fn secrets_of_field(
    name: &str,
    value: &str,
    is_wanted: impl Fn(Kind) -> bool,
    visit: &mut dyn FnMut(Found),
) {
    let (name, text) = (name.as_bytes(), value.as_bytes());
    let mut found = |place: Range<usize>, kind| visit(Found::new(0, place, kind));
    let is_whole = is_wanted(Kind::Password)
        && strength(name).is_some_and(|is_sure| is_sure || looks_secret(text))
        && !is_placeholder(text);
    if is_whole {
        found(0..text.len(), Kind::Password);
    } else if is_wanted(Kind::Authorization) && ends_with(name, "authorization") {
        headers::credentials(text, 0).into_iter().for_each(|at| found(at, Kind::Authorization));
    } else if is_wanted(Kind::Cookie) && ends_with(name, "cookie") {
        headers::cookies_of(text, 0, &mut |at| found(at, Kind::Cookie));
    }
}

/// `line` up to what may decide about a secret behind `at`.
fn clip(line: &[u8], at: usize) -> &[u8] {
    &line[..line.len().min(at + NEAR_BYTES_MAX)]
}

/// What `find` finds in the clipped line; in all of the line when it goes on to the clip's end.
fn near(line: &[u8], at: usize, find: &dyn Fn(&[u8]) -> Option<Found>) -> Option<Found> {
    let clipped = clip(line, at);
    let found = find(clipped)?;
    if found.at.end < clipped.len() || clipped.len() == line.len() {
        return Some(found);
    }
    find(line).or(Some(found))
}

fn near_place(
    line: &[u8],
    at: usize,
    find: &dyn Fn(&[u8]) -> Option<Range<usize>>,
) -> Option<Range<usize>> {
    near(line, at, &|line| find(line).map(|place| Found::new(0, place, Kind::Authorization)))
        .map(|found| found.at)
}

/// Whether a name is that of a secret: surely, or if its value looks like one.
fn strength(name: &[u8]) -> Option<bool> {
    if PASSWORDS.iter().any(|known| ends_with(name, known)) {
        return Some(true);
    }
    KEYS.iter().any(|known| ends_with(name, known)).then_some(false)
}

/// Whether `name` ends with `word`, which is in lower case, whatever its case and the `_`, `-` and `.` in it.
pub(super) fn ends_with(name: &[u8], word: &str) -> bool {
    let mut letters = name.iter().rev().filter(|b| !matches!(b, b'_' | b'-' | b'.'));
    word.bytes().rev().all(|b| letters.next().is_some_and(|l| l.to_ascii_lowercase() == b))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

pub(super) fn is_word_before(line: &[u8], at: usize) -> bool {
    at.checked_sub(1).is_some_and(|b| line[b].is_ascii_alphanumeric() || line[b] == b'_')
}

/// The first byte from `from` that is not `part` of it.
pub(super) fn end_of(line: &[u8], from: usize, part: impl Fn(u8) -> bool) -> usize {
    line[from..].iter().position(|b| !part(*b)).map_or(line.len(), |n| from + n)
}

/// `name=value`, `"name": "value"`, `name: value`, `--name value`, `name='value'`, `list[name]=value`,
/// `"name", "value": "value"`, also with escaped quotes.
fn setting(line: &[u8], at: Range<usize>) -> Option<Found> {
    let least = at.start.saturating_sub(NAME_BYTES_MAX);
    let start = (least..at.start).rev().take_while(|i| is_name(line[*i])).last();
    let start = start.unwrap_or(at.start);
    let name = &line[start..at.end];
    let is_sure = strength(name)?;
    let behind = match &line[at.end..] {
        [b']', ..] => at.end + 1,
        [b'%', b'5', b'D', ..] => at.end + 3,
        _ => at.end,
    };
    let (mut i, quote) = skip_quote(line, behind);
    let spaced = end_of(line, i, |b| b == b' ');
    let separator = match line.get(spaced) {
        Some(b'=') => {
            i = spaced + 1 + usize::from(line.get(spaced + 1) == Some(&b'>'));
            b'='
        }
        Some(b':') => {
            i = spaced + 1 + usize::from(line.get(spaced + 1) == Some(&b'='));
            b':'
        }
        // `<password>value</password>`
        Some(b'>') if spaced == i && start.checked_sub(1).is_some_and(|b| line[b] == b'<') => {
            i += 1;
            b'='
        }
        // `{"name": "password", "value": "x"}`
        Some(b',') if quote.is_some() => {
            i = behind_member(line, spaced + 1, b"value")?;
            b':'
        }
        // An option of a command line.
        Some(_) if spaced == i + 1 && name.starts_with(b"-") => b'=',
        _ => return None,
    };
    i = end_of(line, i, |b| b == b' ');
    let (value, open) = skip_quote(line, i);
    let end = match open {
        Some(open) => closing(line, value, open),
        None => bare_end(line, value),
    };
    let text = &line[value..end];
    // `PWD` is also where a shell is.
    let is_path = ends_with(name, "pwd") && text.starts_with(b"/");
    if text.is_empty() || is_placeholder(text) || is_path {
        return None;
    }
    let is_prose = open.is_none() && separator == b':' && quote.is_none() && is_plain_word(text);
    if is_prose || (!is_sure && !looks_secret(text)) {
        return None;
    }
    let needs_quotes = open.is_none() && quote.is_some() && separator == b':';
    Some(Found { needs_quotes, ..Found::new(0, value..end, Kind::Password) })
}

/// Behind `"name":`, whose quotes may be escaped.
fn behind_member(line: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let (start, _) = skip_quote(line, end_of(line, from, |b| b == b' '));
    line[start..].starts_with(name).then_some(())?;
    let (end, _) = skip_quote(line, start + name.len());
    let colon = end_of(line, end, |b| b == b' ');
    (line.get(colon) == Some(&b':')).then_some(colon + 1)
}

/// Where a value without quotes ends: at white space, at quotes and brackets, and at `&`, `;` and `,` unless these are
/// parts of it, as in `Tr0ub4dor&3`: they separate when white space, the end or another `name=` follows.
fn bare_end(line: &[u8], from: usize) -> usize {
    let separates = |at: usize| {
        let next = end_of(line, at + 1, is_name);
        at + 1 == line.len()
            || line.get(at + 1).is_some_and(u8::is_ascii_whitespace)
            || matches!(line.get(next), Some(b'=' | b':' | b'['))
            || line[next..].starts_with(b"%5B")
    };
    let is_end = |at: usize| match line[at] {
        b'"' | b'\'' | b'<' | b'>' | b')' | b'}' | b']' | b'\\' => true,
        b'&' | b';' | b',' => separates(at),
        byte => byte.is_ascii_whitespace(),
    };
    (from..line.len()).find(|at| is_end(*at)).unwrap_or(line.len())
}

/// Behind a quote at `at`, if there is one; `\"` is one inside a text of JSON.
pub(super) fn skip_quote(line: &[u8], at: usize) -> (usize, Option<(u8, bool)>) {
    match line.get(at..) {
        Some([quote @ (b'"' | b'\''), ..]) => (at + 1, Some((*quote, false))),
        Some([b'\\', quote @ (b'"' | b'\''), ..]) => (at + 2, Some((*quote, true))),
        _ => (at, None),
    }
}

/// Where a quoted value ends; the end of the line when it is not closed.
pub(super) fn closing(line: &[u8], from: usize, (quote, is_escaped): (u8, bool)) -> usize {
    let mut i = from;
    while let Some(byte) = line.get(i) {
        match byte {
            b'\\' if is_escaped && line.get(i + 1) == Some(&quote) => return i,
            b'\\' => i += 2,
            byte if *byte == quote => return i,
            _ => i += 1,
        }
    }
    line.len()
}

/// What people write where a secret was, or will be.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 9] = [
        b"null",
        b"none",
        b"nil",
        b"true",
        b"false",
        b"undefined",
        b"empty",
        b"redacted",
        b"hidden",
    ];
    const STARTS: [&[u8]; 10] = [
        b"[redacted",
        b"[REDACTED",
        b"[FILTERED",
        b"[MASKED",
        b"[REMOVED",
        b"[HIDDEN",
        b"${",
        b"$(",
        b"{{",
        b"<",
    ];
    let bare = text.trim_ascii();
    let is_variable = |name: &[u8]| {
        name.iter().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || *b == b'_')
    };
    bare.is_empty()
        || STARTS.iter().any(|start| bare.starts_with(start))
        || bare.strip_prefix(b"$").is_some_and(is_variable)
        || WORDS.iter().any(|word| bare.eq_ignore_ascii_case(word))
        || bare.iter().all(|b| matches!(b, b'*' | b'x' | b'X' | b'.' | b'-'))
        || (bare.starts_with(b"%") && bare.len() <= 3)
}

/// A word of prose: small letters, perhaps with a large one in front or a full stop behind.
pub(super) fn is_plain_word(text: &[u8]) -> bool {
    let word = text.strip_suffix(b".").unwrap_or(text);
    word.iter().skip(1).all(u8::is_ascii_lowercase)
        && word.first().is_some_and(u8::is_ascii_alphabetic)
}

/// Long enough, and not a word or a number.
pub(super) fn looks_secret(text: &[u8]) -> bool {
    let has = |test: fn(&u8) -> bool| text.iter().any(test);
    let is_number = text.iter().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+'));
    text.len() >= KEY_BYTES_MIN
        && !is_number
        && !text.iter().any(u8::is_ascii_whitespace)
        && (has(u8::is_ascii_digit) || (has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase)))
}

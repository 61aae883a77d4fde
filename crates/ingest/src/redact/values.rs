//! What stands around an anchor: is it a secret, and from where to where? Owns which rule is asked, and what the rules
//! share: what is a placeholder, what is prose, what looks like a secret.

use std::ops::Range;

use super::anchors::Anchor;
use super::found::Found;
use super::settings::{self, Strength};
use super::{Kind, commands, forms, headers, statements};

/// Bytes before an anchor that may belong to the name.
pub(super) const NAME_BYTES_MAX: usize = 64;
/// Bytes behind an anchor that decide whether there is a secret. It may be longer.
const NEAR_BYTES_MAX: usize = 256;
/// Bytes between a text of a list and the next one.
const LIST_BYTES_MAX: usize = 16;
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
        Anchor::CardCode => {
            let end = at.end + usize::from(line.get(at.end) == Some(&b'2'));
            near_each(line, end, visit, |line, visit| {
                settings::setting(line, at.start..end, visit);
            });
        }
        Anchor::Setting => near_each(line, at.end, visit, |line, visit| {
            settings::setting(line, at.clone(), visit);
        }),
        // The anchor has what is behind the name.
        Anchor::Pass => near_each(line, at.end, visit, |line, visit| {
            let name = end_of(line, at.start, |b| b.is_ascii_alphabetic() || b == b'-');
            settings::setting(line, at.start..name, visit);
        }),
        Anchor::Command => found(near_place(line, at.end, &|l| commands::password(l, at.clone()))),
        Anchor::Identified => {
            found(near_place(line, at.end, &|l| statements::identified(l, at.clone())));
        }
        Anchor::Values => statements::inserted(line, at, &mut |place| found(Some(place))),
        Anchor::Auth => found(near_place(line, at.end, &|l| statements::auth(l, at.clone()))),
        Anchor::Directive => {
            found(near_place(line, at.end, &|l| statements::directive(l, at.clone())));
        }
        Anchor::Header => found(near_place(line, at.end, &|l| headers::header(l, at.end))),
        Anchor::Bearer => found(near_place(line, at.end, &|l| headers::bearer(l, at.clone()))),
        Anchor::Basic => found(near_place(line, at.end, &|l| headers::basic(l, at.clone()))),
        Anchor::Cookie => headers::cookies(line, at.end, &mut |place| found(Some(place))),
        Anchor::Url => found(near_place(line, at.end, &|l| forms::url(l, at.clone()))),
        Anchor::OracleUrl => found(near_place(line, at.end, &|l| forms::oracle_url(l, at.end))),
        Anchor::Signature => found(forms::signature(line, at)),
        Anchor::Mailgun => found(forms::mailgun(line, at)),
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
    let strength = Strength::of(name, true).filter(|strength| is_wanted(strength.kind()));
    if let Some(strength) = strength.filter(|strength| strength.is_met_by(text)) {
        found(0..text.len(), strength.kind());
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

/// Visits what `find` finds in the clipped line; in all of the line when it goes on to the clip's end.
fn near_each(
    line: &[u8],
    at: usize,
    visit: &mut dyn FnMut(Found),
    find: impl Fn(&[u8], &mut dyn FnMut(Found)),
) {
    let clipped = clip(line, at);
    let mut found = Vec::new();
    find(clipped, &mut |secret| found.push(secret));
    let is_cut = clipped.len() < line.len()
        && found.last().is_some_and(|last: &Found| last.at.end + LIST_BYTES_MAX >= clipped.len());
    if is_cut {
        found.clear();
        find(line, &mut |secret| found.push(secret));
    }
    found.into_iter().for_each(visit);
}

fn near_place(
    line: &[u8],
    at: usize,
    find: &dyn Fn(&[u8]) -> Option<Range<usize>>,
) -> Option<Range<usize>> {
    let clipped = clip(line, at);
    let found = find(clipped)?;
    if found.end < clipped.len() || clipped.len() == line.len() {
        return Some(found);
    }
    find(line).or(Some(found))
}

/// Whether `name` ends with `word`, which is in lower case, whatever its case and the `_`, `-` and `.` in it.
pub(super) fn ends_with(name: &[u8], word: &str) -> bool {
    let mut letters = name.iter().rev().filter(|b| !matches!(b, b'_' | b'-' | b'.'));
    word.bytes().rev().all(|b| letters.next().is_some_and(|l| l.to_ascii_lowercase() == b))
}

pub(super) fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Whether a word goes on before `at`. The letter of `\n`, `\t`, `\r` is none of a word, nor are the digits of `\u0026`.
pub(super) fn is_word_before(line: &[u8], at: usize) -> bool {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    line[..at].last().is_some_and(is_word) && !is_escape_before(line, at)
}

/// Whether an escaped character of a text of JSON stands before `at`.
pub(super) fn is_escape_before(line: &[u8], at: usize) -> bool {
    match &line[..at] {
        [.., b'\\', b'n' | b't' | b'r'] => true,
        [.., b'\\', b'u', a, b, c, d] => [a, b, c, d].into_iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

/// The first byte from `from` that is not `part` of it.
pub(super) fn end_of(line: &[u8], from: usize, part: impl Fn(u8) -> bool) -> usize {
    line[from..].iter().position(|b| !part(*b)).map_or(line.len(), |n| from + n)
}

/// What people write where a secret was, will be, or should have been.
pub(super) fn is_placeholder(text: &[u8]) -> bool {
    const STARTS: [&[u8]; 7] = [b"[redacted", b"${", b"$(", b"{{", b"#{", b"%(", b"<"];
    /// In any brackets.
    const REMOVED: [&str; 9] = [
        "redacted",
        "hidden",
        "masked",
        "filtered",
        "removed",
        "protected",
        "sanitized",
        "scrubbed",
        "omitted",
    ];
    let bare = text.trim_ascii();
    let is_identifier = |name: &[u8]| {
        name.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
            && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
    };
    let is_shouted = |name: &[u8]| !name.iter().any(u8::is_ascii_lowercase) && is_identifier(name);
    // `$1`, `:password`, `@p0`, `{0}` and `%s` of statements and formats.
    let is_parameter = match bare {
        [b'?'] => true,
        [b'$', name @ ..] => name.iter().all(u8::is_ascii_digit) || is_shouted(name),
        [b':', name @ ..] => name.iter().all(u8::is_ascii_digit) || is_identifier(name),
        [b'@', name @ ..] => is_identifier(name) && name.len() <= 3,
        [b'{', name @ .., b'}'] => {
            name.is_empty() || name.iter().all(u8::is_ascii_digit) || is_identifier(name)
        }
        [b'%', _] | [b'%', b'+' | b'#', _] => true,
        _ => false,
    };
    let is_filler = |fill: &[u8]| bare.len() >= 3 && bare.iter().all(|b| fill.contains(b));
    let begin = bare.iter().position(u8::is_ascii_alphanumeric).unwrap_or(0);
    let end = bare.iter().rposition(u8::is_ascii_alphanumeric).map_or(0, |last| last + 1);
    let word = bare.get(begin..end).unwrap_or_default();
    bare.is_empty()
        || is_parameter
        || is_status(bare)
        || STARTS.iter().any(|start| bare.starts_with(start))
        || bare.iter().all(|b| matches!(b, b'*' | b'.' | b'-' | b'_'))
        || is_filler(b"xX")
        || (is_filler("•●∗…".as_bytes()) && !bare.is_ascii())
        || REMOVED.iter().any(|removed| word.eq_ignore_ascii_case(removed.as_bytes()))
        || (begin > 0 && end < bare.len() && is_status(word))
}

/// Words that say how it stands with a secret, or of what type it is.
fn is_status(word: &[u8]) -> bool {
    const WORDS: [&str; 36] = [
        "null",
        "none",
        "nil",
        "true",
        "false",
        "undefined",
        "empty",
        "yes",
        "no",
        "on",
        "off",
        "enabled",
        "disabled",
        "required",
        "optional",
        "unset",
        "missing",
        "invalid",
        "incorrect",
        "wrong",
        "mismatch",
        "expired",
        "changed",
        "unchanged",
        "failed",
        "denied",
        "rejected",
        "accepted",
        "unknown",
        "string",
        "str",
        "text",
        "varchar",
        "object",
        "boolean",
        "prompt",
    ];
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a text in quotes is a sentence about a secret: words, and one of those that say something. Words that only stand
/// between others (`with`, `of`, `to`) are as well in passwords of several words.
pub(super) fn is_sentence(text: &[u8]) -> bool {
    const WORDS: [&str; 36] = [
        "is",
        "are",
        "was",
        "be",
        "been",
        "must",
        "should",
        "shall",
        "may",
        "can",
        "cannot",
        "can't",
        "could",
        "not",
        "isn't",
        "doesn't",
        "don't",
        "didn't",
        "does",
        "do",
        "has",
        "have",
        "too",
        "required",
        "invalid",
        "incorrect",
        "wrong",
        "missing",
        "expired",
        "field",
        "please",
        "enter",
        "password",
        "characters",
        "match",
        "no",
    ];
    let is_word = |word: &[u8]| {
        let word = word.strip_suffix(b"'s").unwrap_or(word);
        let word = word.trim_ascii_end();
        let end = word.iter().rposition(|b| !matches!(b, b'.' | b',' | b'!' | b'?' | b':' | b';'));
        let word = &word[..end.map_or(0, |last| last + 1)];
        let is_number = word.len() <= 3 && word.iter().all(u8::is_ascii_digit);
        is_number || word.iter().all(|b| b.is_ascii_alphabetic() || matches!(b, b'\'' | b'-'))
    };
    let words = || text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let says = |word: &[u8]| {
        let end = end_of(word, 0, |b| b.is_ascii_alphabetic() || b == b'\'');
        WORDS.iter().any(|known| word[..end].eq_ignore_ascii_case(known.as_bytes()))
    };
    words().count() >= 2 && words().all(is_word) && words().any(says)
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

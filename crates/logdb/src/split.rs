//! Splits a line into literals and slots, so that what varies becomes columns and what repeats is stored once.
//!
//! A *skeleton* is the line with every slot replaced by the byte `0xFF`, which never occurs in UTF-8 text. Putting the
//! slots back into the skeleton gives the line byte for byte, by construction: nothing is parsed into a value here.
//! Two splitters exist: one for JSON objects (slots are the leaf values) and one for any other text (slots are quoted
//! strings, timestamps and tokens that contain digits). Slots are never adjacent, and a slot's neighbours in the
//! skeleton are never token bytes, so that no token of a line straddles a boundary; the token filter relies on it.
//!
//! Most values have the skeleton of one before them: a [`Form`] checks that with comparisons alone, and finds the slots
//! without hashing keys or building a skeleton.
//!
//! Does not own: which columns slots go to beyond naming a key, and how columns are stored (`column`).

use std::hash::Hasher;

use rustc_hash::FxHasher;

/// Stands for a slot in a skeleton.
pub(crate) const SLOT: u8 = 0xFF;
/// Slots one value may have; what follows becomes part of the last slot.
const SLOTS_MAX: usize = 192;
/// Nesting of JSON objects that is taken apart; deeper ones are one slot.
const DEPTH_MAX: usize = 16;
/// Longest quoted or bracketed text in a non-JSON line that is still one slot.
const QUOTED_MAX: usize = 4096;

/// One varying piece of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Bytes `[start, end)` of the value.
    pub(crate) start: u32,
    /// End, exclusive.
    pub(crate) end: u32,
}

/// How the end of a slot is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Inside of a JSON string.
    String,
    /// A JSON number, `true`, `false` or `null`.
    Bare,
    /// A JSON array, or an object too deep to be taken apart.
    Nested,
    /// A token with digits, a timestamp or a UUID.
    Token,
    /// Inside of a quoted text.
    Quoted,
    /// Inside of a bracketed time.
    Bracketed,
    /// Everything up to the end.
    Rest,
}

/// Whether two slices of the same length are equal; literals are mostly short, and a call for each would cost more than
/// the comparison.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_le_bytes);
    match b.len() {
        0..8 => a.iter().zip(b).all(|(a, b)| a == b),
        len @ 8..=16 => {
            word(&a[..8]) == word(&b[..8]) && word(&a[len - 8..]) == word(&b[len - 8..])
        }
        _ => a == b,
    }
}

/// What is the same for all values of one skeleton, of one slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Which column it goes to: equal for slots that mean the same. Only a hint; any key decodes correctly.
    pub(crate) key: u64,
    kind: Kind,
}

/// Slots and their marks of the value being split.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    pub(crate) found: Vec<Slot>,
    pub(crate) marks: Vec<Mark>,
}

impl Slots {
    fn len(&self) -> usize {
        self.found.len()
    }

    fn clear(&mut self) {
        self.found.clear();
        self.marks.clear();
    }

    fn push(&mut self, start: usize, end: usize, key: u64, kind: Kind) {
        // Lengths were checked by `split`.
        self.found.push(Slot { start: start as u32, end: end as u32 });
        self.marks.push(Mark { key, kind });
    }
}

/// The literals of a skeleton and how the slots between them end.
#[derive(Debug)]
pub(crate) struct Form {
    literals: Vec<u8>,
    /// For each slot the end of the literal before it, and its kind; the last literal follows.
    steps: Vec<(u32, Kind)>,
}

impl Form {
    /// The form of a value that was split into `skeleton` with `marks`.
    pub(crate) fn new(skeleton: &[u8], marks: &[Mark]) -> Self {
        let mut form = Self { literals: Vec::with_capacity(skeleton.len()), steps: Vec::new() };
        let mut marks = marks.iter();
        for byte in skeleton {
            match marks.as_slice().first() {
                Some(mark) if *byte == SLOT => {
                    form.steps.push((form.literals.len() as u32, mark.kind));
                    marks.next();
                }
                _ => form.literals.push(*byte),
            }
        }
        form
    }

    /// Appends the slots of `value` to `slots` if it has this skeleton; leaves them alone and returns `false` otherwise.
    pub(crate) fn fit(&self, value: &[u8], slots: &mut Vec<Slot>) -> bool {
        let before = slots.len();
        let fits = self.slots(value, slots).is_some();
        if !fits {
            slots.truncate(before);
        }
        fits
    }

    fn slots(&self, value: &[u8], slots: &mut Vec<Slot>) -> Option<()> {
        if value.len() > u32::MAX as usize / 2 {
            return None;
        }
        let (mut at, mut from) = (0, 0);
        for (to, kind) in &self.steps {
            let literal = &self.literals[from..*to as usize];
            from = *to as usize;
            if !is_same(value.get(at..at + literal.len())?, literal) {
                return None;
            }
            at += literal.len();
            let end = match kind {
                Kind::String => string_end(value, at)?,
                Kind::Bare => Some(bare_end(value, at)).filter(|end| *end > at)?,
                Kind::Nested => nested_end(value, at)?,
                Kind::Token => {
                    value.get(at).filter(|b| is_token_byte(**b))?;
                    let (end, has_digit) = token(value, at);
                    if !has_digit {
                        return None;
                    }
                    timestamp(value, at).or_else(|| uuid(value, at)).unwrap_or(end)
                }
                Kind::Quoted => quoted(value, at.checked_sub(1)?)?.1,
                Kind::Bracketed => bracketed(value, at.checked_sub(1)?)?.1,
                Kind::Rest => value.len(),
            };
            slots.push(Slot { start: at as u32, end: end as u32 });
            at = end;
        }
        (value.get(at..)? == &self.literals[from..]).then_some(())
    }
}

/// Bytes that tokens consist of; the same set for filters and splitters.
pub(crate) fn is_token_byte(b: u8) -> bool {
    TOKEN[usize::from(b)]
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut i = 0;
    while i < 256 {
        let b = i as u8;
        table[i] = b.is_ascii_alphanumeric() || b == b'_' || b >= 0x80;
        i += 1;
    }
    table
};

/// Splits `value`; leaves `slots` and `skeleton` cleared and filled anew. `false` when no slot was found.
pub(crate) fn split(value: &[u8], slots: &mut Slots, skeleton: &mut Vec<u8>) -> bool {
    slots.clear();
    skeleton.clear();
    if value.len() > u32::MAX as usize / 2 {
        skeleton.extend_from_slice(value);
        return false;
    }
    let is_json = value.first() == Some(&b'{') && Json { value, at: 0, slots }.line();
    if !is_json {
        slots.clear();
        text(value, slots);
    }
    let mut from = 0;
    for slot in &slots.found {
        skeleton.extend_from_slice(&value[from..slot.start as usize]);
        skeleton.push(SLOT);
        from = slot.end as usize;
    }
    skeleton.extend_from_slice(&value[from..]);
    slots.len() > 0
}

fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write_u64(seed);
    hasher.write(bytes);
    hasher.finish()
}

/// A lenient walk over a JSON object: it needs only to find the leaves, since everything else is kept as it stands.
struct Json<'a, 's> {
    value: &'a [u8],
    at: usize,
    slots: &'s mut Slots,
}

impl Json<'_, '_> {
    fn line(&mut self) -> bool {
        self.object(0, 0) && {
            self.space();
            self.at == self.value.len()
        }
    }

    fn peek(&self) -> Option<u8> {
        self.value.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, b: u8) -> bool {
        let hit = self.peek() == Some(b);
        self.at += usize::from(hit);
        hit
    }

    /// At an opening quote: the range of the text inside; moves behind the closing quote.
    fn string(&mut self) -> Option<(usize, usize)> {
        if !self.eat(b'"') {
            return None;
        }
        let start = self.at;
        let end = string_end(self.value, start)?;
        self.at = end + 1;
        Some((start, end))
    }

    fn object(&mut self, path: u64, depth: usize) -> bool {
        if !self.eat(b'{') {
            return false;
        }
        self.space();
        if self.eat(b'}') {
            return true;
        }
        loop {
            self.space();
            let Some((start, end)) = self.string() else { return false };
            let key = hash(path, &self.value[start..end]);
            self.space();
            if !self.eat(b':') {
                return false;
            }
            self.space();
            if !self.member(key, depth) {
                return false;
            }
            self.space();
            if self.eat(b'}') {
                return true;
            }
            if !self.eat(b',') || self.slots.len() >= SLOTS_MAX {
                return false;
            }
        }
    }

    fn member(&mut self, key: u64, depth: usize) -> bool {
        match self.peek() {
            Some(b'"') => {
                let Some((start, end)) = self.string() else { return false };
                self.slots.push(start, end, key, Kind::String);
                true
            }
            Some(b'{') if depth < DEPTH_MAX => self.object(key, depth + 1),
            Some(b'{' | b'[') => {
                let Some(end) = nested_end(self.value, self.at) else { return false };
                self.slots.push(self.at, end, key ^ 1, Kind::Nested);
                self.at = end;
                true
            }
            _ => {
                let start = self.at;
                self.at = bare_end(self.value, start);
                self.slots.push(start, self.at, key ^ 2, Kind::Bare);
                self.at > start
            }
        }
    }
}

/// The quote that closes the JSON string whose inside begins at `at`.
fn string_end(value: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', value.get(at..)?)?;
        if value[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// End of the JSON number or word that begins at `at`.
fn bare_end(value: &[u8], at: usize) -> usize {
    let rest = value.get(at..).unwrap_or_default();
    let is_bare = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'+' | b'.');
    at + rest.iter().take_while(is_bare).count()
}

/// End of the JSON array or object that opens at `at`.
fn nested_end(value: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    while let Some(b) = value.get(at) {
        match b {
            b'"' => {
                at = string_end(value, at + 1)? + 1;
                continue;
            }
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.checked_sub(1)?,
            _ => {}
        }
        at += 1;
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Slots of a line that is not JSON.
fn text(value: &[u8], slots: &mut Slots) {
    let mut at = 0;
    // Everything before a slot names its column, so that lines with a common beginning share the leading columns.
    let mut prefix = 0_u64;
    let mut literal = 0;
    while at < value.len() {
        let b = value[at];
        let slot = if is_token_byte(b) {
            let (end, has_digit) = token(value, at);
            if !has_digit {
                at = end;
                continue;
            }
            let end = timestamp(value, at).or_else(|| uuid(value, at)).unwrap_or(end);
            Some((at, end, Kind::Token))
        } else if b == b'"' {
            quoted(value, at).map(|(start, end)| (start, end, Kind::Quoted))
        } else if b == b'[' {
            bracketed(value, at).map(|(start, end)| (start, end, Kind::Bracketed))
        } else {
            None
        };
        let Some((start, end, kind)) = slot else {
            at += 1;
            continue;
        };
        let is_last = slots.len() + 1 >= SLOTS_MAX;
        let (end, kind) = if is_last { (value.len(), Kind::Rest) } else { (end, kind) };
        let key = key_before(value, start).unwrap_or_else(|| hash(prefix, &value[literal..start]));
        prefix = hash(prefix, &value[literal..start]);
        slots.push(start, end, key, kind);
        literal = end;
        at = end;
        // The closing quote or bracket belongs to the literal, and must not open another slot.
        if at < value.len() && matches!(value[at], b'"' | b']') {
            at += 1;
        }
    }
}

/// The token at `at`: its end, and whether it has a digit. Decimal points between digits belong to it.
fn token(value: &[u8], at: usize) -> (usize, bool) {
    let mut end = at;
    let mut has_digit = false;
    while let Some(&b) = value.get(end) {
        if is_token_byte(b) {
            has_digit |= b.is_ascii_digit();
            end += 1;
        } else if b == b'.'
            && value[end - 1].is_ascii_digit()
            && value.get(end + 1).is_some_and(u8::is_ascii_digit)
        {
            end += 1;
        } else {
            break;
        }
    }
    (end, has_digit)
}

/// End of a timestamp `2016-12-19[T ]16:00:01[.,123][Z|+00:00]` that starts at `at` and ends at a token boundary.
fn timestamp(value: &[u8], at: usize) -> Option<usize> {
    const SHAPE: &[u8] = b"dddd-dd-dd dd:dd:dd";
    let text = value.get(at..at + SHAPE.len())?;
    let fits = text.iter().zip(SHAPE).all(|(&b, &s)| match s {
        b'd' => b.is_ascii_digit(),
        b' ' => matches!(b, b'T' | b' '),
        s => b == s,
    });
    if !fits {
        return None;
    }
    let digits = |from: usize| value[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = at + SHAPE.len();
    if matches!(value.get(end), Some(b'.' | b',')) && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if value.get(end) == Some(&b'Z') {
        end += 1;
    } else if matches!(value.get(end), Some(b'+' | b'-')) {
        let zone = value.get(end + 1..end + 6).filter(|z| z[2] == b':').map(|_| 6);
        let len = zone.unwrap_or(5);
        let zone_digits =
            value.get(end + 1..end + len)?.iter().filter(|b| b.is_ascii_digit()).count();
        if zone_digits == 4 {
            end += len;
        }
    }
    value.get(end).is_none_or(|&b| !is_token_byte(b)).then_some(end)
}

fn uuid(value: &[u8], at: usize) -> Option<usize> {
    let text = value.get(at..at + 36)?;
    let fits = text.iter().enumerate().all(|(i, b)| match i {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    (fits && value.get(at + 36).is_none_or(|&b| !is_token_byte(b))).then_some(at + 36)
}

/// The inside of a quoted text that opens at `at`, when it closes soon.
fn quoted(value: &[u8], at: usize) -> Option<(usize, usize)> {
    let opens = at == 0 || matches!(value[at - 1], b' ' | b'=' | b'(' | b'[' | b',' | b':' | b'\t');
    if !opens {
        return None;
    }
    let mut end = at + 1;
    let limit = value.len().min(at + QUOTED_MAX);
    while end < limit {
        end += memchr::memchr2(b'"', b'\\', &value[end..limit])?;
        if value[end] == b'"' {
            return Some((at + 1, end));
        }
        end += 2;
    }
    None
}

/// The inside of `[…]` when it looks like a timestamp, as in access logs.
fn bracketed(value: &[u8], at: usize) -> Option<(usize, usize)> {
    let inside = value.get(at + 1..value.len().min(at + 64))?;
    if !inside.first()?.is_ascii_digit() {
        return None;
    }
    let end = at + 1 + memchr::memchr(b']', inside)?;
    Some((at + 1, end))
}

/// The key of `key=value` or `key="value"`, hashed.
fn key_before(value: &[u8], start: usize) -> Option<u64> {
    let mut end = start;
    if end > 0 && value[end - 1] == b'"' {
        end -= 1;
    }
    if end == 0 || value[end - 1] != b'=' {
        return None;
    }
    let len = value[..end - 1].iter().rev().take(64).take_while(|b| is_token_byte(**b)).count();
    (len > 0).then(|| hash(3, &value[end - 1 - len..end - 1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, skeleton: &str, slots: &[&str]) {
        let (mut found, mut built) = (Slots::default(), Vec::new());
        split(line.as_bytes(), &mut found, &mut built);
        let mut again = Vec::new();
        assert!(Form::new(&built, &found.marks).fit(line.as_bytes(), &mut again), "{line}");
        let Slots { found, .. } = found;
        assert_eq!(again, found, "{line}");
        let shown: Vec<u8> = built.iter().map(|b| if *b == SLOT { b'*' } else { *b }).collect();
        assert_eq!(String::from_utf8(shown).unwrap(), skeleton, "{line}");
        let texts: Vec<&str> =
            found.iter().map(|s| &line[s.start as usize..s.end as usize]).collect();
        assert_eq!(texts, slots, "{line}");
    }

    #[test]
    fn finds_what_varies() {
        check(
            r#"{"a": "x\"y", "b":{"c":-1.5e3} ,"d":[1,"]"],"e":null}"#,
            r#"{"a": "*", "b":{"c":*} ,"d":*,"e":*}"#,
            &["x\\\"y", "-1.5e3", "[1,\"]\"]", "null"],
        );
        check(r#"{"a":"cut"#, r#"{"a":"cut"#, &[]);
        check("{}", "{}", &[]);
        check(
            r#"10.0.0.1 - - [19/Dec/2016:16:00:01 +0000] "GET /a?b=1 HTTP/1.1" 200 12 "-" "x y""#,
            r#"* - - [*] "*" * * "*" "*""#,
            &[
                "10.0.0.1",
                "19/Dec/2016:16:00:01 +0000",
                "GET /a?b=1 HTTP/1.1",
                "200",
                "12",
                "-",
                "x y",
            ],
        );
        check(
            "2016-12-19 16:00:01,123 INFO [Controller 1]: took 12.5ms, id=0b3cf1d2-0f5c-4a4f-9c3a-001122334455.",
            "* INFO [Controller *]: took *, id=*.",
            &["2016-12-19 16:00:01,123", "1", "12.5ms", "0b3cf1d2-0f5c-4a4f-9c3a-001122334455"],
        );
        check(r#"level=info msg="a b" n=3"#, r#"level=info msg="*" n=*"#, &["a b", "3"]);
        check("2024-01-01T00:00:00.5Zx", "*-*-*:*:*", &["2024", "01", "01T00", "00", "00.5Zx"]);
    }
}

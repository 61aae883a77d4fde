//! Settings with a secret as value: `name=value`, `name: value`, members of JSON, options of programs, clauses of SQL.
//! Owns which names are those of secrets, how sure they are of it, and where their values begin and end.

use std::ops::Range;

use super::Kind;
use super::found::Found;
use super::quotes::{Quote, closing, skip_quote};
use super::values::{
    NAME_BYTES_MAX, end_of, ends_with, is_escape_before, is_name, is_placeholder, is_plain_word,
    is_sentence, looks_secret,
};

/// Names of settings whose value is a secret, by their end, without `_`, `-` and `.`, in lower case.
const PASSWORDS: [&str; 4] = ["password", "passwd", "passphrase", "pwd"];
/// Names that say so only together with a value that looks like one.
const KEYS: [&str; 12] = [
    "secret",
    "secretkeybase",
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
/// Names of the code on the back of a card.
const CARD_CODES: [&str; 4] = ["cvv", "cvv2", "cvc", "cvc2"];
/// What a `pass` is that is a password, by what stands before it: `db_pass`, `smtpPass`. Other passes are gone through,
/// boarded and counted.
const ACCOUNTS: [&str; 56] = [
    "account",
    "admin",
    "amqp",
    "api",
    "app",
    "auth",
    "basic",
    "bind",
    "broker",
    "cert",
    "client",
    "current",
    "database",
    "db",
    "default",
    "docker",
    "encryption",
    "ftp",
    "git",
    "http",
    "imap",
    "jdbc",
    "kafka",
    "key",
    "keystore",
    "ldap",
    "login",
    "mail",
    "master",
    "mongo",
    "mq",
    "mqtt",
    "my",
    "mysql",
    "new",
    "old",
    "oracle",
    "pg",
    "postgres",
    "rabbit",
    "rds",
    "redis",
    "registry",
    "require",
    "root",
    "service",
    "smtp",
    "sql",
    "ssh",
    "ssl",
    "sudo",
    "truststore",
    "usr",
    "user",
    "vpn",
    "wifi",
];
/// Bytes before a name in which a user says that a `pass` is a password.
const USER_BYTES_MAX: usize = 64;
/// Least length of a value that looks like a password without further signs.
const PASS_BYTES_MIN: usize = 6;
/// Least length of one that is all digits.
const DIGITS_MIN: usize = 4;
/// Bytes of an element's attributes.
const ATTRIBUTES_BYTES_MAX: usize = 192;
/// Bytes between `PASSWORD FOR` and `=`.
const CLAUSE_BYTES_MAX: usize = 128;

/// How sure a name is that its value is a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strength {
    /// Whatever the value, unless it says that there is none.
    Sure,
    /// As sure, and the value may be a sentence.
    Phrase,
    /// If the value is not a number that counts something or an unfinished word: there is a user, or it is in quotes.
    Likely,
    /// If the value looks like a password, too.
    Pass,
    /// If the value looks very much like one: it is the `pass` of something unknown.
    Strange,
    /// If the value looks like a key.
    Key,
    /// If the value is the code on the back of a card: 3 or 4 digits.
    CardCode,
}

impl Strength {
    /// That of `name`; `is_member` when it is the name of a member or of a field, and so nothing else.
    pub(super) fn of(name: &[u8], is_member: bool) -> Option<Self> {
        if ends_with(name, "passphrase") {
            return Some(Self::Phrase);
        }
        if PASSWORDS.iter().any(|known| ends_with(name, known)) {
            return Some(Self::Sure);
        }
        if CARD_CODES.iter().any(|known| is_last_word(name, known)) {
            return Some(Self::CardCode);
        }
        if let Some(before) = name.strip_suffix(b"pw").or_else(|| name.strip_suffix(b"PW")) {
            // `bindpw`, `db_pw`; alone it may as well be a power, and within a word it is anything.
            if before.iter().all(|b| !b.is_ascii_alphanumeric()) {
                return Some(if is_member { Self::Likely } else { Self::Strange });
            }
            return ACCOUNTS.iter().any(|known| ends_with(before, known)).then_some(Self::Sure);
        }
        if ends_with(name, "pass") {
            let before = name.get(..name.len() - 4).unwrap_or_default();
            let is_apart = |b: &u8| !b.is_ascii_alphanumeric();
            if before.iter().all(is_apart) {
                return Some(if is_member { Self::Likely } else { Self::Pass });
            }
            if ACCOUNTS.iter().any(|known| ends_with(before, known)) {
                return Some(Self::Sure);
            }
            // `bypass`, `compass`: another word.
            let is_word = name.iter().rev().nth(4).is_some_and(u8::is_ascii_lowercase)
                && name.get(name.len() - 4) == Some(&b'p');
            return (!is_word).then_some(Self::Strange);
        }
        KEYS.iter().any(|known| ends_with(name, known)).then_some(Self::Key)
    }

    /// Whether a number that is no text may be a secret.
    fn is_of_numbers(self) -> bool {
        matches!(self, Self::Sure | Self::Phrase | Self::CardCode)
    }

    /// What the secret is.
    pub(super) fn kind(self) -> Kind {
        if self == Self::CardCode { Kind::Card } else { Kind::Password }
    }

    /// Whether `text` is a secret as the value of such a name.
    pub(super) fn is_met_by(self, text: &[u8]) -> bool {
        if text.is_empty() || is_placeholder(text) || (self != Self::Phrase && is_sentence(text)) {
            return false;
        }
        let has = |test: fn(&u8) -> bool| text.iter().any(test);
        let is_special = |b: &u8| b.is_ascii_punctuation() && !b"/.,:;|()[]{}-_=<>%".contains(b);
        let is_number = text.iter().all(|b| b.is_ascii_digit() || b.is_ascii_punctuation());
        let has_digits = has(u8::is_ascii_digit);
        // `120ms`, `33%`, `1of3`.
        let unit = end_of(text, 0, |b| b.is_ascii_digit() || b == b'.');
        let is_amount = unit > 0 && text.len() - unit <= 4 && !text[unit..].iter().any(is_special);
        let is_place = text.starts_with(b"/") || memchr::memmem::find(text, b"://").is_some();
        match self {
            Self::Sure | Self::Phrase => true,
            Self::Likely => {
                !is_place && if is_number { text.len() >= DIGITS_MIN } else { !is_amount }
            }
            Self::Pass => {
                !is_place
                    && !is_number
                    && !is_amount
                    && text.len() >= PASS_BYTES_MIN
                    && has(u8::is_ascii_lowercase)
                    && (has_digits || text.iter().any(is_special))
            }
            Self::Strange => {
                let is_mixed = has(u8::is_ascii_uppercase) && has_digits;
                Self::Pass.is_met_by(text)
                    && looks_secret(text)
                    && (is_mixed || text.iter().any(is_special))
            }
            Self::Key => looks_secret(text),
            Self::CardCode => (3..=4).contains(&text.len()) && text.iter().all(u8::is_ascii_digit),
        }
    }
}

/// Where a value begins, and how its name says so.
struct Value {
    at: usize,
    form: Form,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `name=value`
    Equals,
    /// `name: value`
    Colon,
    /// `"name": value`
    Member(Quote),
    /// `name 'value'`: only if it is in quotes that are closed.
    Quoted,
    /// `--name value`, `"name", "value": "value"`, `"--name", "value"`.
    Next,
    /// `<name>value<`
    Element,
    /// `name is value`
    Said,
}

/// Visits the secrets in the value of the setting whose name ends with what is `at`.
pub(super) fn setting(line: &[u8], at: Range<usize>, visit: &mut dyn FnMut(Found)) {
    let least = at.start.saturating_sub(NAME_BYTES_MAX);
    let start = (least..at.start).rev().take_while(|i| is_name(line[*i])).last();
    let mut start = start.unwrap_or(at.start);
    // `\u0026name` is `&name`.
    let escape = line.get(start..start + 5).filter(|_| line[..start].ends_with(b"\\"));
    if escape.is_some_and(|code| code.starts_with(b"u00")) && start + 5 <= at.start {
        start += 5;
    } else if start < at.start && is_escape_before(line, start + 1) {
        start += 1;
    }
    let name = &line[start..at.end];
    let Some(value) = value(line, start, at.end) else { return };
    let is_member = matches!(value.form, Form::Member(_));
    let Some(mut strength) = Strength::of(name, is_member) else { return };
    if strength == Strength::Pass && is_of_user(line, start) {
        strength = Strength::Likely;
    }
    match value.form {
        Form::Quoted | Form::Said if strength == Strength::Key => return,
        // `password is base64-encoded`
        Form::Said => strength = Strength::Strange,
        _ => {}
    }
    let mut found = |at: Range<usize>, quote| {
        // `PWD` is also where a shell is.
        let is_path = ends_with(name, "pwd") && line[at.clone()].starts_with(b"/");
        if !is_path && strength.is_met_by(&line[at.clone()]) {
            visit(Found { quote, ..Found::new(0, at, strength.kind()) });
        }
    };
    let (inside, quote) = skip_quote(line, value.at);
    if let Some(quote) = quote {
        let end = closing(line, inside, quote);
        if end < line.len() || value.form != Form::Quoted {
            found(inside..end, None);
        }
        return;
    }
    match (value.form, line.get(value.at)) {
        (Form::Quoted, _) => {}
        // A list of texts.
        (Form::Member(_), Some(b'[')) => each_text(line, value.at + 1, &mut |at| found(at, None)),
        // `"name": {"value": "x"}`
        (Form::Member(_), Some(b'{')) => {
            let text = behind_member(line, value.at + 1, b"value")
                .map(|behind| skip_quote(line, spaces(line, behind)));
            if let Some((start, Some(quote))) = text {
                found(start..closing(line, start, quote), None);
            }
        }
        // Numbers count something unless the name is sure.
        (Form::Member(_), Some(b'0'..=b'9' | b'-')) if !strength.is_of_numbers() => {}
        (Form::Member(quote), _) => found(value.at..member_end(line, value.at), Some(quote)),
        (Form::Element, _) if memchr::memchr(b'<', &line[value.at..]).is_some() => {
            let text = &line[value.at..end_of(line, value.at, |b| b != b'<')];
            let start = value.at + (text.len() - text.trim_ascii_start().len());
            found(start..start + text.trim_ascii().len(), None);
        }
        (form, _) => {
            if let Some(at) = bare(line, value.at, form, strength) {
                found(at, None);
            }
        }
    }
}

/// Where the value of the name from `start` to `end` begins.
fn value(line: &[u8], start: usize, end: usize) -> Option<Value> {
    let behind = match &line[end..] {
        [b']', ..] => end + 1,
        [b'%', b'5', b'D', ..] => end + 3,
        _ => end,
    };
    let (quoted, quote) = skip_quote(line, behind);
    // `settings["password"] = "x"`
    let is_index = quote.is_some() && line.get(quoted) == Some(&b']');
    let i = quoted + usize::from(is_index);
    let spaced = spaces(line, i);
    let begin = |at: usize, form| Some(Value { at: spaces(line, at), form });
    match &line[spaced..] {
        // Comparisons are no settings.
        [b'=', b'=' | b'~', ..] | [b'!', b'=', ..] | [b':', b':', ..] => None,
        [b'=', b'>', ..] | [b':', b'=', ..] => begin(spaced + 2, Form::Equals),
        [b'=', rest @ ..] => {
            // `password= ip=1.2.3.4`: nothing, and another setting.
            let next = spaced + 1 + (rest.len() - rest.trim_ascii_start().len());
            let is_apart = spaced == i && next > spaced + 1;
            let is_next = || {
                let name = end_of(line, next, is_name);
                (name > next && line.get(name) == Some(&b'=')) || next == line.len()
            };
            if is_apart && is_next() { None } else { begin(spaced + 1, Form::Equals) }
        }
        [b':', ..] => match quote.filter(|_| !is_index) {
            Some(quote) => begin(spaced + 1, Form::Member(quote)),
            None => begin(spaced + 1, Form::Colon),
        },
        // `<password>value</password>`
        [b'>', ..] if spaced == i && is_element(line, start) => {
            Some(Value { at: spaced + 1, form: Form::Element })
        }
        // `<soap:Password Type="PasswordText">value</soap:Password>`
        [_, ..] if spaced > i && is_element(line, start) => {
            let near = &line[..line.len().min(spaced + ATTRIBUTES_BYTES_MAX)];
            let end = end_of(near, spaced, |b| !matches!(b, b'>' | b'<'));
            let has_attributes = line[spaced..end].contains(&b'=');
            let is_open = line.get(end) == Some(&b'>') && line[end - 1] != b'/';
            (has_attributes && is_open).then_some(Value { at: end + 1, form: Form::Element })
        }
        [b',', ..] if quote.is_some() => {
            if let Some(at) = behind_member(line, spaced + 1, b"value") {
                return begin(at, Form::Next);
            }
            let next = spaces(line, spaced + 1);
            let is_option = line[start..].starts_with(b"--") && skip_quote(line, next).1.is_some();
            if is_option { begin(next, Form::Next) } else { None }
        }
        // `PASSWORD('value')`
        [b'(', ..] if quote.is_none() && spaced == i => begin(spaced + 1, Form::Quoted),
        _ if quote.is_some() || spaced == i => None,
        [b'-', ..] => None,
        // An option of a command line.
        [_, ..] if spaced == i + 1 && line[start..].starts_with(b"-") => begin(spaced, Form::Next),
        [b'"' | b'\'' | b'\\', ..] => begin(spaced, Form::Quoted),
        // `password is x`, `password is: x`
        [b'i', b's', rest @ ..] if spaced == i + 1 => match rest {
            [b':', b' ', ..] => begin(spaced + 4, Form::Said),
            [b' ', ..] => begin(spaced + 3, Form::Said),
            _ => None,
        },
        rest => begin(behind_clause(line, spaced, rest)?, Form::Quoted),
    }
}

/// Behind the words of SQL between `PASSWORD` and its value: `BY 'x'`, `AS 'x'`, `FOR user = 'x'`, `FOR user TO 'x'`.
fn behind_clause(line: &[u8], at: usize, rest: &[u8]) -> Option<usize> {
    let word = |word: &[u8]| {
        let begin = rest.get(..word.len())?;
        (begin.eq_ignore_ascii_case(word) && rest.get(word.len()) == Some(&b' '))
            .then_some(at + word.len() + 1)
    };
    if let Some(behind) = word(b"BY").or_else(|| word(b"AS")).or_else(|| word(b"TO")) {
        return Some(behind);
    }
    let user = word(b"FOR")?;
    let near = &line[..line.len().min(user + CLAUSE_BYTES_MAX)];
    let equals = end_of(near, user, |b| b != b'=');
    let value = (equals < near.len()).then(|| spaces(line, equals + 1))?;
    // `= PASSWORD('x')` is found by its own name.
    skip_quote(line, value).1.map(|_| value)
}

/// Whether the name from `start` is that of an XML element, perhaps with a prefix: `<name`, `<soap:name`.
fn is_element(line: &[u8], start: usize) -> bool {
    let before = &line[start.saturating_sub(NAME_BYTES_MAX)..start];
    let prefix = before.strip_suffix(b":").map(|prefix| {
        let len = prefix.iter().rev().take_while(|b| is_name(**b)).count();
        &prefix[..prefix.len() - len]
    });
    prefix.unwrap_or(before).ends_with(b"<")
}

/// Whether `name` is `word`, whatever its case, or ends with it behind something that is no letter.
fn is_last_word(name: &[u8], word: &str) -> bool {
    let Some((before, last)) = name.split_at_checked(name.len().wrapping_sub(word.len())) else {
        return false;
    };
    let is_apart = before.last().is_none_or(|b| !b.is_ascii_alphanumeric());
    last.eq_ignore_ascii_case(word.as_bytes()) && is_apart
}

fn spaces(line: &[u8], at: usize) -> usize {
    end_of(line, at, |b| matches!(b, b' ' | b'\t'))
}

/// Whether a name is part of a query, or a user stands before it.
fn is_of_user(line: &[u8], start: usize) -> bool {
    if line[..start].ends_with(b"&")
        || line[..start].ends_with(b"?")
        || is_escape_before(line, start)
    {
        return true;
    }
    let near = &line[start.saturating_sub(USER_BYTES_MAX)..start];
    let says = |word: &[u8]| near.windows(word.len()).any(|w| w.eq_ignore_ascii_case(word));
    says(b"user") || says(b"login") || says(b"usr")
}

/// Visits the texts of a list, up to something else.
fn each_text(line: &[u8], from: usize, visit: &mut dyn FnMut(Range<usize>)) {
    let mut at = from;
    while let (start, Some(quote)) = skip_quote(line, spaces(line, at)) {
        let end = closing(line, start, quote);
        visit(start..end);
        let comma = spaces(line, skip_quote(line, end).0);
        if line.get(comma) != Some(&b',') {
            return;
        }
        at = comma + 1;
    }
}

/// Behind `"name":`.
fn behind_member(line: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let (start, _) = skip_quote(line, spaces(line, from));
    line[start..].starts_with(name).then_some(())?;
    let (end, _) = skip_quote(line, start + name.len());
    let colon = spaces(line, end);
    (line.get(colon) == Some(&b':')).then_some(colon + 1)
}

/// Where the value of a member ends that is in no quotes.
fn member_end(line: &[u8], from: usize) -> usize {
    end_of(line, from, |b| {
        !b.is_ascii_whitespace() && !matches!(b, b',' | b'}' | b']' | b'"' | b'\'' | b'\\')
    })
}

/// A value without quotes, unless it is prose or a part of a program.
fn bare(line: &[u8], from: usize, form: Form, strength: Strength) -> Option<Range<usize>> {
    // `map[password:[value]]`
    let is_list = line.get(from) == Some(&b'[') && !is_placeholder(&line[from..]);
    let from = from + usize::from(is_list);
    let end = bare_end(line, from);
    let text = &line[from..end];
    let is_prose = form == Form::Colon && is_plain_word(text);
    let is_spaced = line[..from].ends_with(b" ");
    // `PASS: TestLogin4`; not `-passin pass:x1`.
    let is_counted = form == Form::Colon && strength == Strength::Pass && is_spaced;
    let is_comparison = matches!(text, [b'=', ..]);
    let is_option = form == Form::Next && text.starts_with(b"-");
    // The end of a sentence.
    let is_end = |b: &u8| matches!(b, b'.' | b',' | b'!' | b'?' | b':' | b';');
    let ends = text.iter().rev().take_while(|b| is_end(b)).count();
    let end = if form == Form::Said { end - ends } else { end };
    let is_said_of = form == Form::Said && says_how(&line[from..end]);
    let is_left = is_prose
        || is_counted
        || is_comparison
        || is_option
        || is_said_of
        || (form != Form::Next && is_expression(line, from, end, is_spaced));
    (!is_left).then_some(from..end)
}

/// `os.Getenv("X")`, `getPassword()`, `config.db.password`: where a value comes from.
fn is_expression(line: &[u8], from: usize, end: usize, is_spaced: bool) -> bool {
    let is_path = |b: u8| b.is_ascii_alphabetic() || matches!(b, b'_' | b'.' | b':');
    let path = end_of(&line[..end], from, is_path);
    if path == from {
        return false;
    }
    let is_dotted = line[from..path].contains(&b'.');
    match line.get(path) {
        Some(b'(' | b'[') => is_dotted || is_spaced,
        _ => {
            let is_secret = |name: &[u8]| Strength::of(name, true).is_some();
            path == end && is_dotted && is_secret(&line[from..end])
        }
    }
}

/// Whether a word is about a secret and none: `base64-encoded`, `SHA256`.
fn says_how(word: &[u8]) -> bool {
    const STARTS: [&str; 9] =
        ["base64", "base32", "sha", "md5", "bcrypt", "argon", "pbkdf", "utf", "rot13"];
    let starts = |with: &str| {
        word.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
    };
    STARTS.iter().any(|start| starts(start))
}

/// Where a value without quotes ends: at white space, at quotes and brackets that it does not open itself, and at `&`, `;` and `,` unless these are
/// parts of it, as in `Tr0ub4dor&3`: they separate when white space, the end or another `name=` follows.
fn bare_end(line: &[u8], from: usize) -> usize {
    let separates = |at: usize| {
        let next = end_of(line, at + 1, is_name);
        line.get(at + 1).is_none_or(|b| b.is_ascii_whitespace() || b"\"'{[\\".contains(b))
            || matches!(line.get(next), Some(b'=' | b':' | b'['))
            || line[next..].starts_with(b"%5B")
    };
    let (mut at, mut depth) = (from, 0);
    while let Some(byte) = line.get(at) {
        match byte {
            b'(' => depth += 1,
            b')' if depth > 0 => depth -= 1,
            b'"' | b'\'' | b'<' | b'>' | b')' | b'}' | b']' => return at,
            b'&' | b';' | b',' if separates(at) => return at,
            // A backslash is part of it when it begins no escaped character.
            b'\\' => match line.get(at + 1) {
                Some(b'\\') if !matches!(line.get(at + 2), None | Some(b'"' | b'\'' | b'\\')) => {
                    at += 1;
                }
                Some(b'n' | b'r' | b't' | b'u' | b'"' | b'\'' | b'\\') | None => return at,
                Some(_) => {}
            },
            byte if byte.is_ascii_whitespace() => return at,
            _ => {}
        }
        at += 1;
    }
    line.len()
}

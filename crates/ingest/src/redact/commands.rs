//! Passwords among the arguments of well-known programs: `mysql -pSECRET`, `curl -u user:SECRET`, `sshpass -p SECRET`,
//! `sqlplus user/SECRET@db`.
//! Arguments may be words of a shell, quoted or not, or texts of a list in JSON.

use std::ops::Range;

use super::forms::oracle_logon;
use super::quotes::{closing, skip_quote};
use super::settings::Strength;
use super::values::{end_of, is_placeholder};

/// A program and the options by which it takes a password.
struct Command {
    /// How its name begins.
    start: &'static [u8],
    /// How it goes on.
    is_end: fn(&[u8]) -> bool,
    /// A word that has to be before it.
    after: &'static [&'static [u8]],
    short: &'static [u8],
    long: &'static [&'static [u8]],
    form: Form,
}

/// How an option has its password.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `-pSECRET`; `-p` alone asks for it.
    Attached,
    /// `-p SECRET` or `-pSECRET`.
    Next,
    /// `-u USER:SECRET`.
    Pair,
    /// `USER/SECRET@DATABASE`, a word by itself.
    Logon,
}

const COMMANDS: [Command; 13] = [
    Command::new(b"mysql", is_tool, b"p", &[], Form::Attached),
    Command::new(b"mariadb", is_tool, b"p", &[], Form::Attached),
    Command::new(b"mongo", is_tool, b"p", &[], Form::Next),
    Command::new(b"sshpass", <[u8]>::is_empty, b"p", &[], Form::Next),
    Command::new(b"redis-cli", <[u8]>::is_empty, b"a", &[b"--pass"], Form::Next),
    Command::new(b"curl", <[u8]>::is_empty, b"uU", &[b"--user", b"--proxy-user"], Form::Pair),
    Command::new(b"ldap", is_ldap, b"w", &[], Form::Next),
    Command::new(b"sqlplus", <[u8]>::is_empty, b"", &[], Form::Logon),
    Command::new(b"sqlldr", <[u8]>::is_empty, b"", &[], Form::Logon),
    Command::new(b"expdp", <[u8]>::is_empty, b"", &[], Form::Logon),
    Command::new(b"impdp", <[u8]>::is_empty, b"", &[], Form::Logon),
    Command::new(b"rman", <[u8]>::is_empty, b"", &[], Form::Logon),
    Command {
        after: &[
            b"docker",
            b"podman",
            b"nerdctl",
            b"buildah",
            b"skopeo",
            b"registry",
            b"oras",
            b"az",
            b"oc",
        ],
        ..Command::new(b"login", <[u8]>::is_empty, b"p", &[], Form::Next)
    },
];

impl Command {
    const fn new(
        start: &'static [u8],
        is_end: fn(&[u8]) -> bool,
        short: &'static [u8],
        long: &'static [&'static [u8]],
        form: Form,
    ) -> Self {
        Self { start, is_end, after: &[], short, long, form }
    }
}

/// `mysqldump`, `mariadb-dump`, `mongosh`; not `mysql_exporter`.
fn is_tool(end: &[u8]) -> bool {
    const ENDS: [&[u8]; 13] = [
        b"", b"dump", b"admin", b"import", b"show", b"check", b"slap", b"binlog", b"pump", b"sh",
        b"restore", b"export", b"stat",
    ];
    ENDS.contains(&end.strip_prefix(b"-").unwrap_or(end))
}

fn is_ldap(end: &[u8]) -> bool {
    const ENDS: [&[u8]; 7] =
        [b"search", b"add", b"modify", b"delete", b"passwd", b"whoami", b"compare"];
    ENDS.contains(&end)
}

/// The password among the arguments of the program whose name begins at `at`.
pub(super) fn password(line: &[u8], at: Range<usize>) -> Option<Range<usize>> {
    let command = COMMANDS.iter().find(|command| command.start == &line[at.clone()])?;
    let is_inside = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if at.start.checked_sub(1).is_some_and(|b| is_inside(line[b])) {
        return None;
    }
    let end = end_of(line, at.end, is_inside);
    let is_alone = line.get(end).is_some_and(|b| matches!(b, b' ' | b',' | b'"' | b'\'' | b'\\'));
    if !is_alone || !(command.is_end)(&line[at.end..end]) || !is_behind(line, at.start, command) {
        return None;
    }
    let mut words = Words { line, from: end };
    while let Some(word) = words.next() {
        let text = &line[word.clone()];
        if command.form == Form::Logon {
            if let Some(secret) = logon(line, word) {
                return Some(secret);
            }
            continue;
        }
        let value = match option(text, command) {
            Some(0) => words.next()?,
            Some(skipped) => word.start + skipped..word.end,
            None => continue,
        };
        let value = strip_quote(line, value);
        let secret = match command.form {
            Form::Pair => {
                let colon = line[value.clone()].iter().position(|b| *b == b':');
                let Some(colon) = colon else { continue };
                value.start + colon + 1..value.end
            }
            Form::Attached if is_something_else(&line[value.clone()]) => continue,
            Form::Attached | Form::Next | Form::Logon => value,
        };
        let text = &line[secret.clone()];
        if !text.is_empty() && !is_placeholder(text) && !text.starts_with(b"-") {
            return Some(secret);
        }
    }
    None
}

/// The password in `user/password@database`, also behind `userid=`; without a database it has to look like one, for
/// people write `and/or`.
fn logon(line: &[u8], word: Range<usize>) -> Option<Range<usize>> {
    let text = &line[word.clone()];
    let skipped = if text.starts_with(b"userid=") { b"userid=".len() } else { 0 };
    let secret = oracle_logon(&line[..word.end], word.start + skipped)?;
    let has_database = line[..word.end].get(secret.end) == Some(&b'@');
    (has_database || Strength::Pass.is_met_by(&line[secret.clone()])).then_some(secret)
}

/// Whether the word that has to be before the program's name is.
fn is_behind(line: &[u8], at: usize, command: &Command) -> bool {
    let before = line[..at].trim_ascii_end();
    command.after.is_empty()
        || command.after.iter().any(|word| {
            before.strip_suffix(*word).is_some_and(|rest| {
                rest.last().is_none_or(|b| !b.is_ascii_alphanumeric() && *b != b'_')
            })
        })
}

/// Where the password begins in the word of an option; 0 when it is the next word.
fn option(word: &[u8], command: &Command) -> Option<usize> {
    if let Some(long) = command.long.iter().find(|long| word.starts_with(long)) {
        return match word.get(long.len()) {
            None => Some(0),
            Some(b'=') => Some(long.len() + 1),
            Some(_) => None,
        };
    }
    let letters = word.strip_prefix(b"-").filter(|rest| !rest.starts_with(b"-"))?;
    let is_option = |letter: &u8| command.short.contains(letter);
    let is_flags = letters.iter().all(u8::is_ascii_alphabetic);
    let takes_next = command.form != Form::Attached;
    match letters {
        [letter] if is_option(letter) => takes_next.then_some(0),
        [letter, ..] if is_option(letter) => Some(2),
        // Several in one: `-sSu user:password`.
        [.., letter] if takes_next && is_flags && letters.len() <= 6 && is_option(letter) => {
            Some(0)
        }
        _ => None,
    }
}

/// Options that only begin like that of a password, and the ports of a container.
fn is_something_else(value: &[u8]) -> bool {
    const OTHERS: [&[u8]; 7] = [b"ort", b"ath", b"id", b"lugin", b"rotocol", b"rint", b"ipe"];
    let is_port = value.iter().all(|b| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'/'))
        && value.contains(&b':');
    let word = end_of(value, 0, |b| b != b'=' && b != b'-');
    is_port || OTHERS.contains(&&value[..word])
}

/// `value` without quotes around it.
fn strip_quote(line: &[u8], value: Range<usize>) -> Range<usize> {
    match skip_quote(line, value.start) {
        (start, Some(open)) if start <= value.end => {
            start..closing(&line[..value.end], start, open)
        }
        _ => value,
    }
}

/// The words behind a program's name, without quotes around them, up to what ends the command.
struct Words<'a> {
    line: &'a [u8],
    from: usize,
}

impl Words<'_> {
    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let start = end_of(self.line, self.from, |b| b.is_ascii_whitespace());
            let (inside, open) = skip_quote(self.line, start);
            let Some(open) = open else { return self.bare(start) };
            // Between the texts of a list; also where the text ends in which all of it stands.
            let comma = end_of(self.line, inside, |b| b == b' ');
            match self.line.get(comma) {
                Some(b',') => self.from = comma + 1,
                Some(b']' | b'}' | b':') | None => return None,
                Some(_) => {
                    let end = closing(self.line, inside, open);
                    self.from = skip_quote(self.line, end).0;
                    return Some(inside..end);
                }
            }
        }
    }

    /// A word that does not begin with a quote; one may be inside, as in `-p'a b'`.
    fn bare(&mut self, start: usize) -> Option<Range<usize>> {
        if matches!(self.line.get(start)?, b'|' | b';' | b'&' | b')' | b'}' | b'<' | b'>' | b':') {
            return None;
        }
        let mut end = start;
        while let Some(byte) = self.line.get(end) {
            match (byte, self.line.get(end + 1)) {
                (b'\\', Some(b'n' | b'r' | b't')) => break,
                (b'"' | b'\'', _) | (b'\\', Some(b'"' | b'\'')) => {
                    let word = &self.line[start..end];
                    let (inside, open) = skip_quote(self.line, end);
                    let is_end = matches!(self.line.get(inside), None | Some(b',' | b']' | b'}'));
                    let takes_value = word.ends_with(b"=") || (word.len() == 2 && word[0] == b'-');
                    if let Some(open) = open
                        && takes_value
                        && !is_end
                    {
                        end = skip_quote(self.line, closing(self.line, inside, open)).0;
                    }
                    break;
                }
                (byte, _) if byte.is_ascii_whitespace() => break,
                _ => end += 1,
            }
        }
        self.from = end.max(start + 1);
        let word = &self.line[start..end];
        let kept = word.iter().rposition(|b| !matches!(b, b',' | b';' | b']' | b')'));
        let kept = kept.map_or(0, |last| last + 1);
        // What is behind a semicolon is another command.
        if word[kept..].contains(&b';') {
            self.from = self.line.len();
        }
        Some(start..start + kept)
    }
}

//! Patterns of paths: `/var/log/**/*.log`, `{a,b}`, `[0-9]`, `?`.
//!
//! Owns: the pattern language (that of Promtail's doublestar), matching, and the walk over directories that finds what
//! matches. Does not own: which of the found files may be opened ([`super::open`]).
//!
//! ```text
//!  *       any characters but '/'          {a,b}  one of the alternatives, which may hold '/' and patterns
//!  ?       one character but '/'           [a-z]  one of a class; [!a-z] and [^a-z] one outside of it
//!  **      as a whole component: any number of directories, also none     \x  the character x itself
//! ```

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

use model::{Error, Result};

/// Most patterns that the braces of one pattern may stand for.
const ALTERNATIVES_MAX: usize = 256;
/// Longest pattern in bytes.
const PATTERN_BYTES_MAX: usize = 4096;
/// Deepest directory below a `**`.
const DEPTH_MAX: usize = 64;

/// A pattern of absolute paths.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    alternatives: Vec<Vec<Part>>,
}

/// One component of a path pattern.
#[derive(Debug, Clone, PartialEq)]
enum Part {
    Name(String),
    Like(Vec<Token>),
    /// `**`
    AnyDepth,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Char(char),
    One,
    Any,
    Class { ranges: Vec<(char, char)>, negated: bool },
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Matching names that are not directories; sorted.
    pub(crate) files: BTreeSet<PathBuf>,
    /// Directories whose content decides what matches.
    pub(crate) dirs: BTreeSet<PathBuf>,
    /// Matching names beyond the limit.
    pub(crate) refused_count: u64,
}

impl Pattern {
    /// Reads a pattern, which must be an absolute path.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) naming the pattern and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let invalid = |what: &str| Error::invalid(format!("pattern {text:?}: {what}"));
        if text.len() > PATTERN_BYTES_MAX {
            let what = format!("{} bytes; at most {PATTERN_BYTES_MAX}", text.len());
            return Err(invalid(&what));
        }
        let mut alternatives = Vec::new();
        for plain in without_braces(text).map_err(|what| invalid(&what))? {
            if !plain.starts_with('/') {
                return Err(invalid("it must be an absolute path"));
            }
            let mut parts = Vec::new();
            for component in plain.split('/').filter(|c| !c.is_empty() && *c != ".") {
                if component == ".." {
                    return Err(invalid("\"..\" leads out of its directory"));
                }
                let part = Part::parse(component).map_err(|what| invalid(&what))?;
                // Two in a row say no more than one, and cost a walk each.
                if part != Part::AnyDepth || parts.last() != Some(&Part::AnyDepth) {
                    parts.push(part);
                }
            }
            if parts.is_empty() {
                return Err(invalid("it names no file"));
            }
            alternatives.push(parts);
        }
        Ok(Self { text: text.to_owned(), alternatives })
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether `path` matches.
    pub(crate) fn matches(&self, path: &Path) -> bool {
        let names: Vec<String> = path
            .components()
            .filter_map(|component| match component {
                Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
                _ => None,
            })
            .collect();
        self.alternatives.iter().any(|parts| matches_parts(parts, &names))
    }

    /// The directories under which everything that matches lies: up to the first component that is a pattern.
    pub(crate) fn bases(&self) -> impl Iterator<Item = PathBuf> {
        self.alternatives.iter().map(|parts| {
            let dirs = &parts[..parts.len() - 1];
            let fixed = dirs.iter().map_while(|part| match part {
                Part::Name(name) => Some(name.as_str()),
                _ => None,
            });
            Path::new("/").join(fixed.collect::<PathBuf>())
        })
    }

    /// Walks the directories and adds what matches and none of `exclude` does, until `found` has `files_max` files.
    pub(crate) fn find(&self, exclude: &[Self], files_max: usize, found: &mut Found) {
        for parts in &self.alternatives {
            let mut walk = Walk { exclude, files_max, found };
            walk.step(PathBuf::from("/"), parts, 0);
        }
    }
}

impl Part {
    fn parse(text: &str) -> std::result::Result<Self, String> {
        if text == "**" {
            return Ok(Self::AnyDepth);
        }
        let mut tokens = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let token = match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => Token::Char(chars.next().ok_or("it ends in a backslash")?),
                '[' => {
                    let negated = chars.next_if(|c| matches!(c, '!' | '^')).is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let first = match chars.next().ok_or("[ has no ]")? {
                            ']' if ranges.is_empty() => return Err("[] holds no character".into()),
                            ']' => break,
                            '\\' => chars.next().ok_or("[ has no ]")?,
                            c => c,
                        };
                        let mut last = first;
                        if chars.next_if_eq(&'-').is_some() {
                            match chars.next().ok_or("[ has no ]")? {
                                ']' => {
                                    ranges.extend([(first, first), ('-', '-')]);
                                    break;
                                }
                                '\\' => last = chars.next().ok_or("[ has no ]")?,
                                c => last = c,
                            }
                        }
                        ranges.push((first, last));
                    }
                    Token::Class { ranges, negated }
                }
                c => Token::Char(c),
            };
            if token != Token::Any || tokens.last() != Some(&Token::Any) {
                tokens.push(token);
            }
        }
        let literal: Option<String> = tokens
            .iter()
            .map(|token| match token {
                Token::Char(c) => Some(*c),
                _ => None,
            })
            .collect();
        Ok(literal.map_or(Self::Like(tokens), Self::Name))
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Like(tokens) => matches_tokens(tokens, name),
            Self::AnyDepth => true,
        }
    }
}

impl Token {
    fn matches(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::One => true,
            Self::Any => false,
            Self::Class { ranges, negated } => {
                ranges.iter().any(|(first, last)| (*first..=*last).contains(&c)) != *negated
            }
        }
    }
}

/// Whether the whole of `name` matches. A star is tried as short as possible first; only the last one needs to grow.
fn matches_tokens(tokens: &[Token], name: &str) -> bool {
    let name: Vec<char> = name.chars().collect();
    let (mut at, mut token) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match tokens.get(token) {
            Some(Token::Any) => {
                star = Some((token, at));
                token += 1;
            }
            Some(other) if other.matches(name[at]) => {
                token += 1;
                at += 1;
            }
            _ => {
                let Some((star_token, star_at)) = star else { return false };
                star = Some((star_token, star_at + 1));
                (token, at) = (star_token + 1, star_at + 1);
            }
        }
    }
    tokens[token..].iter().all(|token| *token == Token::Any)
}

/// As [`matches_tokens`], with components in the place of characters and `**` in that of stars.
fn matches_parts(parts: &[Part], names: &[String]) -> bool {
    let (mut at, mut part) = (0, 0);
    let mut deep: Option<(usize, usize)> = None;
    while at < names.len() {
        match parts.get(part) {
            Some(Part::AnyDepth) => {
                deep = Some((part, at));
                part += 1;
            }
            Some(other) if other.matches(&names[at]) => {
                part += 1;
                at += 1;
            }
            _ => {
                let Some((deep_part, deep_at)) = deep else { return false };
                deep = Some((deep_part, deep_at + 1));
                (part, at) = (deep_part + 1, deep_at + 1);
            }
        }
    }
    parts[part..].iter().all(|part| *part == Part::AnyDepth)
}

/// The patterns without braces for which `text` stands.
fn without_braces(text: &str) -> std::result::Result<Vec<String>, String> {
    let mut done = Vec::new();
    let mut open = vec![text.to_owned()];
    while let Some(text) = open.pop() {
        if done.len() + open.len() > ALTERNATIVES_MAX {
            return Err(format!("its braces stand for more than {ALTERNATIVES_MAX} patterns"));
        }
        let Some((before, alternatives, behind)) = first_braces(&text)? else {
            done.push(text);
            continue;
        };
        // The last comes off the stack first, so that the order stays that of the text.
        for alternative in alternatives.iter().rev() {
            open.push(format!("{before}{alternative}{behind}"));
        }
    }
    Ok(done)
}

type Braces<'a> = (&'a str, Vec<&'a str>, &'a str);

/// What stands before the first braces, their alternatives, and what stands behind them.
fn first_braces(text: &str) -> std::result::Result<Option<Braces<'_>>, String> {
    let (mut depth, mut start, mut begin) = (0_usize, 0, 0);
    let mut alternatives = Vec::new();
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        if std::mem::take(&mut is_escaped) {
            continue;
        }
        match c {
            '\\' => is_escaped = true,
            '{' => {
                depth += 1;
                if depth == 1 {
                    (start, begin) = (at, at + 1);
                }
            }
            ',' if depth == 1 => {
                alternatives.push(text.get(begin..at).unwrap_or_default());
                begin = at + 1;
            }
            '}' if depth == 1 => {
                alternatives.push(text.get(begin..at).unwrap_or_default());
                let before = text.get(..start).unwrap_or_default();
                let behind = text.get(at + 1..).unwrap_or_default();
                return Ok(Some((before, alternatives, behind)));
            }
            '}' => depth = depth.checked_sub(1).ok_or("} has no {")?,
            _ => {}
        }
    }
    if depth > 0 { Err("{ has no }".into()) } else { Ok(None) }
}

struct Walk<'a> {
    exclude: &'a [Pattern],
    files_max: usize,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn step(&mut self, dir: PathBuf, parts: &[Part], depth: usize) {
        let Some((part, rest)) = parts.split_first() else { return };
        match part {
            Part::Name(name) => {
                let path = dir.join(name);
                if rest.is_empty() {
                    // Seen in its directory, when it comes.
                    self.found.dirs.insert(dir);
                    if fs::metadata(&path).is_ok_and(|found| !found.is_dir()) {
                        self.add(path);
                    }
                } else {
                    self.step(path, rest, depth);
                }
            }
            Part::Like(_) => {
                self.found.dirs.insert(dir.clone());
                for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                    if !part.matches(&entry.file_name().to_string_lossy()) {
                        continue;
                    }
                    let path = entry.path();
                    let is_dir = fs::metadata(&path).is_ok_and(|found| found.is_dir());
                    if rest.is_empty() && !is_dir {
                        self.add(path);
                    } else if !rest.is_empty() && is_dir {
                        self.step(path, rest, depth);
                    }
                }
            }
            Part::AnyDepth => {
                self.found.dirs.insert(dir.clone());
                if rest.is_empty() {
                    self.step(dir.clone(), &[Part::Like(vec![Token::Any])], depth);
                } else {
                    self.step(dir.clone(), rest, depth);
                }
                if depth >= DEPTH_MAX {
                    return;
                }
                for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                    // Not through symbolic links: they may lead in circles.
                    if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                        self.step(entry.path(), parts, depth + 1);
                    }
                }
            }
        }
    }

    fn add(&mut self, path: PathBuf) {
        if self.found.files.contains(&path) || self.exclude.iter().any(|e| e.matches(&path)) {
            return;
        }
        if self.found.files.len() >= self.files_max {
            self.found.refused_count += 1;
        } else {
            self.found.files.insert(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(Path::new(path))
    }

    #[test]
    fn patterns_match_whole_paths() {
        for (pattern, path, expected) in [
            ("/var/log/*.log", "/var/log/a.log", true),
            ("/var/log/*.log", "/var/log/.log", true),
            ("/var/log/*.log", "/var/log/a/b.log", false),
            ("/var/log/*log", "/var/log/syslog", true),
            ("/var/log/*log", "/var/log/syslog.1", false),
            ("/var/log/**/*.log", "/var/log/a.log", true),
            ("/var/log/**/*.log", "/var/log/a/b/c.log", true),
            ("/var/log/**/*.log", "/var/log/a/b/c.log.1", false),
            ("/a/**", "/a/b/c", true),
            ("/a/**/**/x", "/a/x", true),
            ("/a/**/b/**/c", "/a/q/b/b/r/c", true),
            ("/a/{b,c/d}/*.{log,txt}", "/a/c/d/e.txt", true),
            ("/a/{b,c/d}/*.{log,txt}", "/a/c/e.txt", false),
            ("/a/{b,{c,d}x}", "/a/dx", true),
            ("/a/[a-c]?[!0-9]", "/a/bzz", true),
            ("/a/[a-c]?[!0-9]", "/a/bz9", false),
            ("/a/[x-]", "/a/-", true),
            ("/a/\\*", "/a/*", true),
            ("/a/\\*", "/a/b", false),
            ("/a/*b*c", "/a/xbybzc", true),
            ("/a/Zür?ch", "/a/Zürich", true),
            ("/a//./b", "/a/b", true),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (pattern, expected) in [
            ("var/log", "it must be an absolute path"),
            ("/a/{b", "{ has no }"),
            ("/a/[b", "[ has no ]"),
            ("/a/[]b", "[] holds no character"),
            ("/a/\\", "it ends in a backslash"),
            ("/a/../b", "\"..\" leads out of its directory"),
            ("/", "it names no file"),
            ("/{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}{a,b}", "more than 256 patterns"),
        ] {
            let error = Pattern::parse(pattern).unwrap_err().message().to_owned();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn the_base_ends_before_the_first_pattern() {
        let bases = |text: &str| Pattern::parse(text).unwrap().bases().collect::<Vec<_>>();
        assert_eq!(bases("/var/log/*.log"), [Path::new("/var/log")]);
        assert_eq!(bases("/var/log/a.log"), [Path::new("/var/log")]);
        assert_eq!(bases("/{a,b}/*/c"), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn a_walk_finds_what_matches() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for sub in ["a/b", "c"] {
            fs::DirBuilder::new().recursive(true).create(root.join(sub)).unwrap();
        }
        for name in ["x.log", "a/x.log", "a/b/x.log", "c/x.txt", "a/skip.log"] {
            fs::copy("/proc/self/comm", root.join(name)).unwrap();
        }
        std::os::unix::fs::symlink(root, root.join("a/loop")).unwrap();
        let pattern = Pattern::parse(&format!("{}/**/*.log", root.display())).unwrap();
        let exclude = [Pattern::parse(&format!("{}/**/skip*", root.display())).unwrap()];
        let mut found = Found::default();
        pattern.find(&exclude, 10, &mut found);
        let names = ["a/b/x.log", "a/x.log", "x.log"].map(|name| root.join(name));
        assert_eq!(found.files.into_iter().collect::<Vec<_>>(), names);
        assert_eq!(found.dirs.len(), 4);
        let mut found = Found::default();
        pattern.find(&[], 1, &mut found);
        assert_eq!((found.files.len(), found.refused_count), (1, 3));
    }
}

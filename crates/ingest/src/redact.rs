//! Secrets in log lines, replaced before anything is stored: credentials, tokens, keys, card numbers.
//!
//! Owns: which parts of a line are secret ([`Kind`]), and lines and fields without them. Does not own: which sources are
//! left as they are (`taffrail`'s configuration says so), counting over time.
//!
//! One pass over the text of a batch looks for *anchors* (`assword`, `://`, `eyJ`, …); only where one stands is the line
//! looked at. Everything is linear in the length of the line. What is found is replaced by `[redacted:KIND]`; the name of
//! a setting, the scheme of a header, the user of a URL stay. A rule errs towards prose: `password: incorrect` is kept.

mod anchors;
mod card_words;
mod cards;
mod commands;
mod forms;
mod found;
mod headers;
mod json;
mod keys;
mod quotes;
mod settings;
mod statements;
#[cfg(test)]
mod tests;
mod values;

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, AhoCorasickKind, Input, MatchKind, packed};
use model::{Error, Labels, LogRows, Result};
use regex::Regex;

use self::anchors::{ANCHORS, Anchor};
use self::found::{Found, Row};
pub use self::keys::{Keys, Past};

/// What a secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// The value of a setting called password, secret, token, API key and the like; a password among the arguments of a
    /// program.
    Password,
    /// Credentials of an `Authorization` header, bearer tokens, users with passwords in base64.
    Authorization,
    /// Values of cookies that may open a session.
    Cookie,
    /// The password in a URL.
    Url,
    /// A private key in PEM form.
    PrivateKey,
    /// A JSON web token.
    Jwt,
    /// Keys that are known by their form: of clouds, of code hosts, of chat and payment services.
    Token,
    /// A payment card's number: its length, its first digits and its check digit are right.
    Card,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Password,
        Self::Authorization,
        Self::Cookie,
        Self::Url,
        Self::PrivateKey,
        Self::Jwt,
        Self::Token,
        Self::Card,
    ];

    /// Its name in configuration, in metrics and in place of a secret.
    pub fn name(self) -> &'static str {
        match self {
            Self::Password => "password",
            Self::Authorization => "authorization",
            Self::Cookie => "cookie",
            Self::Url => "url",
            Self::PrivateKey => "private_key",
            Self::Jwt => "jwt",
            Self::Token => "token",
            Self::Card => "card",
        }
    }
}

/// A pattern of one's own.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// What stands in place of a match: `[redacted:NAME]`.
    pub name: String,
    /// What is replaced: the first group, or all of the match when there is none.
    pub regex: Regex,
}

/// Texts with so many bytes are worth the start of a comparison of many bytes at once.
const PACKED_BYTES_MIN: usize = 256;

/// How many secrets were replaced: one count per kind in the order of [`Kind::ALL`], then one per own pattern.
pub type Counts = Vec<u64>;

/// Some of the anchors, for texts that are worth the start of a search of many bytes at once.
#[derive(Debug)]
struct Packed {
    searcher: packed::Searcher,
    /// What each anchor is part of, by its number.
    meanings: Vec<Anchor>,
}

impl Packed {
    /// `anchors` in as few sets as they can be searched in; `None` if the processor cannot.
    ///
    /// The first bytes of a set are compared, as many as its shortest anchor has, up to four: shorter ones are apart, for
    /// the fewer bytes are compared, the more often something looks like an anchor.
    fn sets(anchors: &[&(&str, Anchor)]) -> Option<Vec<Self>> {
        let of_len = |lens: Range<usize>| {
            let is_wanted = move |(text, _): &&&(&str, Anchor)| lens.contains(&text.len());
            anchors.iter().filter(is_wanted).copied().collect::<Vec<_>>()
        };
        let (two, three, long) = (of_len(0..3), of_len(3..4), of_len(4..usize::MAX));
        let (first, second) = long.split_at(long.len() / 2);
        let sets = [&*two, &*three, first, second].into_iter().filter(|set| !set.is_empty());
        sets.map(Self::new).collect()
    }

    fn new(anchors: &[&(&str, Anchor)]) -> Option<Self> {
        let searcher = packed::Config::new()
            .match_kind(packed::MatchKind::LeftmostFirst)
            .heuristic_pattern_limits(false)
            .builder()
            .extend(anchors.iter().map(|(text, _)| *text))
            .build()?;
        Some(Self { searcher, meanings: anchors.iter().map(|(_, anchor)| *anchor).collect() })
    }

    /// The anchors of all `sets` in `text`, in order; `None` when some lie across each other, for each set knows only
    /// its own.
    fn find(sets: &[Self], text: &[u8]) -> Option<Vec<(Anchor, Range<usize>)>> {
        let hits = |set: &'_ Self| {
            let hits = set.searcher.find_iter(text);
            hits.map(|hit| (set.meanings[hit.pattern().as_usize()], hit.range())).collect()
        };
        let mut found: Vec<(Anchor, Range<usize>)> =
            sets.iter().flat_map::<Vec<_>, _>(hits).collect();
        found.sort_unstable_by_key(|(_, at)| at.start);
        let are_apart = found.array_windows().all(|[(_, a), (_, b)]| a.end <= b.start);
        are_apart.then_some(found)
    }
}

/// Finds and replaces secrets. Share it; it has no state but what is handed in.
#[derive(Debug)]
pub struct Redactor {
    anchors: AhoCorasick,
    /// The same, by comparing many bytes at once; none if the processor cannot.
    packed: Vec<Packed>,
    /// What each anchor is part of, by its number.
    meanings: Vec<Anchor>,
    kinds: Vec<Kind>,
    patterns: Vec<Pattern>,
}

impl Redactor {
    /// Looks for `kinds` and `patterns`.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) for a pattern that matches the empty text, which is everywhere.
    pub fn new(kinds: &[Kind], patterns: Vec<Pattern>) -> Result<Self> {
        if let Some(pattern) = patterns.iter().find(|p| p.regex.is_match("")) {
            let message = format!("pattern {:?} matches the empty text", pattern.regex.as_str());
            return Err(Error::invalid(message));
        }
        let used: Vec<&(&str, Anchor)> =
            ANCHORS.iter().filter(|(_, anchor)| kinds.contains(&anchor.kind())).collect();
        let anchors = AhoCorasickBuilder::new()
            .match_kind(MatchKind::LeftmostFirst)
            // What is chosen for so many patterns otherwise is smaller and slower.
            .kind(Some(AhoCorasickKind::DFA))
            .build(used.iter().map(|(text, _)| *text))
            .map_err(|e| Error::invalid(format!("anchors of redaction: {e}")))?;
        let packed = Packed::sets(&used).unwrap_or_default();
        let meanings = used.into_iter().map(|(_, anchor)| *anchor).collect();
        Ok(Self { anchors, packed, meanings, kinds: kinds.to_vec(), patterns })
    }

    /// Names of what is counted, in the order of [`Counts`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let own = self.patterns.iter().map(|p| p.name.as_str());
        Kind::ALL.iter().map(|kind| kind.name()).chain(own)
    }

    /// `rows` without secrets, and how many there were; `None` when there is none, the usual case. Streams for which
    /// `is_left` says so stay as they are; it is asked only when something is found.
    ///
    /// The body of a private key goes on in further rows of its stream, also of later batches: `keys` know which. They are
    /// changed at once, so that batches may follow each other before the first one is stored; one that comes again is
    /// treated as it was.
    ///
    /// Cost: one pass over the text, one over the values of the fields; a copy of the rows when something is found.
    pub fn redact(
        &self,
        rows: &LogRows,
        is_left: impl Fn(&Labels) -> bool,
        keys: &Keys,
    ) -> Option<(LogRows, Counts)> {
        let mut found = self.find_in_text(rows);
        let sets: Vec<Option<(Labels, Counts)>> =
            rows.field_sets().iter().map(|set| self.redact_fields(set)).collect();
        let has_secrets = !found.is_empty() || sets.iter().any(Option::is_some);
        let left: Vec<bool> =
            if has_secrets { rows.streams().iter().map(is_left).collect() } else { Vec::new() };
        let is_left = |row: usize| left.get(rows.stream_number(row) as usize) == Some(&true);
        found.retain(|f| !is_left(f.row));
        if self.kinds.contains(&Kind::PrivateKey) {
            keys.follow(rows, &mut found);
        }
        if found.is_empty() && !has_secrets {
            return None;
        }
        let mut counts = vec![0; Kind::ALL.len() + self.patterns.len()];
        // What is said of all rows stays: whether they may repeat others.
        let mut out = rows.emptied();
        let mut has_marks = false;
        let mut found = found.into_iter().peekable();
        let mut line = String::new();
        for (i, row) in rows.iter().enumerate() {
            line.clear();
            let of_row = std::iter::from_fn(|| found.next_if(|f| f.row == i)).collect();
            has_marks |= self.put_marks(row.line, of_row, &mut counts, &mut line);
            let set = sets[rows.fields_number(i) as usize].as_ref().filter(|_| !is_left(i));
            if let Some((_, of_set)) = set {
                counts.iter_mut().zip(of_set).for_each(|(count, more)| *count += more);
            }
            out.push(row.stream, row.t_ns, &line, set.map_or(row.fields, |(fields, _)| fields));
        }
        (has_marks || counts.iter().any(|count| *count > 0)).then_some((out, counts))
    }

    /// Adds `line` to `out` with marks in place of the secrets `found` in it, which are counted; whether there is one.
    fn put_marks(
        &self,
        line: &str,
        found: Vec<Found>,
        counts: &mut Counts,
        out: &mut String,
    ) -> bool {
        let found = json::fit(line, found);
        let mut from = 0;
        for secret in &found {
            // Bounds of secrets are ASCII but where a line was looked at in parts.
            let start = line.floor_char_boundary(secret.at.start).max(from);
            let end = line.ceil_char_boundary(secret.at.end).max(start);
            out.push_str(line.get(from..start).unwrap_or_default());
            from = end;
            self.put_mark(secret, out);
            counts[secret.what] += u64::from(!secret.goes_on);
        }
        out.push_str(line.get(from..).unwrap_or_default());
        !found.is_empty()
    }

    fn put_mark(&self, secret: &Found, out: &mut String) {
        let own = || self.patterns.get(secret.what - Kind::ALL.len()).map(|p| p.name.as_str());
        let name = Kind::ALL.get(secret.what).map(|kind| kind.name()).or_else(own);
        secret.quote.into_iter().for_each(|quote| quote.put(out));
        out.extend(["[redacted:", name.unwrap_or_default(), "]"]);
        secret.quote.into_iter().for_each(|quote| quote.put(out));
    }

    /// Secrets by row and place, none overlapping another.
    fn find_in_text(&self, rows: &LogRows) -> Vec<Found> {
        let mut found = Vec::new();
        let text = rows.text().as_bytes();
        self.find_anchors(rows, &mut |anchor, row, at| {
            visit_secrets(&text[row.at.clone()], anchor, at, row.number, &mut found);
        });
        if self.kinds.contains(&Kind::Card) {
            let mut row = Row::first(rows);
            let mut seen = 0;
            cards::places(text, &mut |at| {
                if at < seen || !row.advance(rows, at) {
                    return;
                }
                let (line, start) = (&text[row.at.clone()], row.at.start);
                let end = cards::numbers(line, None, at - start, &mut |at, quote| {
                    found.push(Found { quote, ..Found::new(row.number, at, Kind::Card) });
                });
                seen = start + end;
            });
        }
        if !self.patterns.is_empty() {
            rows.iter().enumerate().for_each(|(i, row)| self.find_own(row.line, i, &mut found));
        }
        found::disjoint(&mut found);
        found
    }

    /// Visits the anchors in lines in order, with their row and their place in it: of those that lie across each other the
    /// first one.
    fn find_anchors(&self, rows: &LogRows, visit: &mut dyn FnMut(Anchor, &Row, Range<usize>)) {
        let text = rows.text().as_bytes();
        let mut row = Row::first(rows);
        let is_long = text.len() >= PACKED_BYTES_MIN && !self.packed.is_empty();
        if let Some(hits) = is_long.then(|| Packed::find(&self.packed, text)).flatten()
            && are_inside(rows, &hits)
        {
            for (anchor, at) in hits {
                if row.advance(rows, at.start) {
                    let start = row.at.start;
                    visit(anchor, &row, at.start - start..at.end - start);
                }
            }
            return;
        }
        // Lines stand side by side: what lies across the end of one is no anchor, and may hide one of the next line.
        let mut from = 0;
        while let Some(hit) = self.anchors.find(Input::new(text).range(from..)) {
            if !row.advance(rows, hit.start()) {
                return;
            }
            if hit.end() > row.at.end {
                from = row.at.end;
                continue;
            }
            from = hit.end();
            let start = row.at.start;
            visit(self.meanings[hit.pattern().as_usize()], &row, hit.start() - start..from - start);
        }
    }

    /// Visits the anchors in a text by itself.
    fn find_anchors_in(&self, text: &[u8], visit: &mut dyn FnMut(Anchor, Range<usize>)) {
        for hit in self.anchors.find_iter(text) {
            visit(self.meanings[hit.pattern().as_usize()], hit.range());
        }
    }

    fn find_own(&self, line: &str, row: usize, found: &mut Vec<Found>) {
        for (number, pattern) in self.patterns.iter().enumerate() {
            for captures in pattern.regex.captures_iter(line) {
                let Some(whole) = captures.get(0) else { continue };
                let at = captures.get(1).unwrap_or(whole).range();
                found.push(Found {
                    what: Kind::ALL.len() + number,
                    ..Found::new(row, at, Kind::Card)
                });
            }
        }
    }

    /// A set of fields without secrets; `None` when it has none.
    fn redact_fields(&self, fields: &Labels) -> Option<(Labels, Counts)> {
        let mut changed: Vec<(&str, String)> = Vec::new();
        let mut counts = Counts::new();
        for (name, value) in fields.iter() {
            let mut found = Vec::new();
            let is_wanted = |kind| self.kinds.contains(&kind);
            values::secrets_of_field(name, value, is_wanted, &mut |secret| found.push(secret));
            if found.is_empty() {
                self.find_anchors_in(value.as_bytes(), &mut |anchor, at| {
                    visit_secrets(value.as_bytes(), anchor, at, 0, &mut found);
                });
                if self.kinds.contains(&Kind::Card) {
                    let mut seen = 0;
                    cards::places(value.as_bytes(), &mut |at| {
                        if at >= seen {
                            let text = value.as_bytes();
                            seen = cards::numbers(text, Some(name), at, &mut |at, quote| {
                                found.push(Found { quote, ..Found::new(0, at, Kind::Card) });
                            });
                        }
                    });
                }
                self.find_own(value, 0, &mut found);
                found::disjoint(&mut found);
            }
            if found.is_empty() {
                continue;
            }
            counts.resize(Kind::ALL.len() + self.patterns.len(), 0);
            let mut text = String::new();
            if self.put_marks(value, found, &mut counts, &mut text) {
                changed.push((name, text));
            }
        }
        if changed.is_empty() {
            return None;
        }
        let all = fields.iter().map(|(name, value)| {
            let new = changed.iter().find(|(of, _)| *of == name);
            (name, new.map_or(value, |(_, text)| text.as_str()))
        });
        Some((Labels::from_pairs(all), counts))
    }
}

/// Whether all `hits`, which are in order, lie in one row each.
fn are_inside(rows: &LogRows, hits: &[(Anchor, Range<usize>)]) -> bool {
    let mut row = Row::first(rows);
    hits.iter().all(|(_, at)| row.advance(rows, at.start) && at.end <= row.at.end)
}

/// Adds the secrets around an anchor of a row's line, unless it is inside the one found last.
fn visit_secrets(
    line: &[u8],
    anchor: Anchor,
    at: Range<usize>,
    row: usize,
    found: &mut Vec<Found>,
) {
    let is_inside =
        |last: &Found| last.row == row && last.at.start <= at.start && at.end <= last.at.end;
    if !found.last().is_some_and(is_inside) {
        values::secrets(line, anchor, at, &mut |secret| found.push(secret.of_row(row)));
    }
}

//! Pattern expressions (`<ip> - <_> "<method>"`): the `pattern` parser and the `|>` line filter.

use model::{Error, Result};

/// Captures a pattern may have; more is a mistake.
const CAPTURES_MAX: usize = 64;

/// A compiled pattern: literals and captures in turn, never two captures in a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Literal(String),
    /// `None`: the anonymous `<_>`.
    Capture(Option<String>),
}

impl Pattern {
    /// Compiles a pattern for the parser stage.
    ///
    /// # Errors
    /// Invalid when it has no named capture, two captures in a row, or one name twice.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let pattern = Self { nodes: split(text) };
        let names: Vec<&str> = pattern.names().collect();
        if names.is_empty() {
            return Err(Error::invalid(format!(
                "invalid pattern {text:?}: at least one capture is required"
            )));
        }
        if let Some(name) = names.iter().enumerate().find(|(i, n)| names[..*i].contains(n)) {
            return Err(Error::invalid(format!(
                "invalid pattern {text:?}: duplicate capture name ({})",
                name.1
            )));
        }
        pattern.check(text)
    }

    /// Compiles a pattern for a line filter.
    ///
    /// # Errors
    /// Invalid when it has a named capture or two captures in a row.
    pub(crate) fn parse_filter(text: &str) -> Result<Self> {
        let pattern = Self { nodes: split(text) };
        if let Some(name) = pattern.names().next() {
            return Err(Error::invalid(format!(
                "invalid pattern {text:?}: named captures are not allowed (<{name}>)"
            )));
        }
        pattern.check(text)
    }

    fn check(self, text: &str) -> Result<Self> {
        let captures = self.nodes.iter().filter(|n| matches!(n, Node::Capture(_))).count();
        if captures > CAPTURES_MAX {
            return Err(Error::invalid(format!(
                "invalid pattern: {captures} captures; the limit is {CAPTURES_MAX}"
            )));
        }
        if self.nodes.windows(2).any(|w| matches!(w, [Node::Capture(_), Node::Capture(_)])) {
            return Err(Error::invalid(format!(
                "invalid pattern {text:?}: found consecutive capture; a literal is needed between"
            )));
        }
        Ok(self)
    }

    /// Names of the captures, in order.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|n| match n {
            Node::Capture(Some(name)) => Some(name.as_str()),
            Node::Capture(None) | Node::Literal(_) => None,
        })
    }

    /// The texts between the captures.
    pub(crate) fn literals(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|n| match n {
            Node::Literal(text) => Some(text.as_str()),
            Node::Capture(_) => None,
        })
    }

    /// Calls `found(name, text)` for each named capture as far as the pattern fits `line`. The capture before a
    /// literal that does not occur takes the rest of the line.
    pub(crate) fn captures<'t>(&self, line: &'t str, mut found: impl FnMut(&str, &'t str)) {
        let mut rest = line;
        let mut nodes = self.nodes.iter().peekable();
        if let Some(Node::Literal(literal)) = nodes.peek() {
            let Some(tail) = rest.strip_prefix(literal.as_str()) else { return };
            rest = tail;
            nodes.next();
        }
        while let Some(node) = nodes.next() {
            let Node::Capture(name) = node else { return };
            let (text, tail) = match nodes.next() {
                Some(Node::Literal(literal)) => match rest.split_once(literal.as_str()) {
                    Some((text, tail)) => (text, Some(tail)),
                    None => (rest, None),
                },
                _ => (rest, None),
            };
            if let Some(name) = name {
                found(name, text);
            }
            let Some(tail) = tail else { return };
            rest = tail;
        }
    }

    /// Whether the whole line fits; each capture takes at least one character, each literal its first occurrence.
    pub(crate) fn matches(&self, line: &str) -> bool {
        let mut rest = line;
        let mut after_capture = false;
        for node in &self.nodes {
            match node {
                Node::Capture(_) => after_capture = true,
                Node::Literal(literal) if after_capture => {
                    match rest.find(literal.as_str()) {
                        None | Some(0) => return false,
                        Some(at) => rest = rest.split_at(at + literal.len()).1,
                    }
                    after_capture = false;
                }
                Node::Literal(literal) => match rest.strip_prefix(literal.as_str()) {
                    Some(tail) => rest = tail,
                    None => return false,
                },
            }
        }
        after_capture != rest.is_empty()
    }
}

/// Splits into literals and captures; `<` that does not open a capture is literal.
fn split(text: &str) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        let (before, tail) = rest.split_at(at);
        literal.push_str(before);
        match capture_name(tail) {
            Some(name) => {
                if !literal.is_empty() {
                    nodes.push(Node::Literal(std::mem::take(&mut literal)));
                }
                rest = tail.split_at(name.len() + 2).1;
                nodes.push(Node::Capture((name != "_").then(|| name.to_owned())));
            }
            None => {
                literal.push('<');
                rest = tail.split_at(1).1;
            }
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        nodes.push(Node::Literal(literal));
    }
    nodes
}

/// The name in `<name>…`, if that is what `text` starts with.
fn capture_name(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once('>')?;
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (starts_well && goes_on_well).then_some(name)
}

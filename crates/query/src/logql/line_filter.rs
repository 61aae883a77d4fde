//! Line filters: `|= != |~ !~ |> !>` with `or` chains and `ip()`.

use model::{Error, LineFilter, LineFilterOp, Result};
use regex::Regex;

use super::ip::IpMatcher;
use super::pattern::Pattern;
use super::regexes;

/// One line filter: the line must fit one of the alternatives, or none when negated.
#[derive(Debug, Clone)]
pub(crate) struct LineCondition {
    negated: bool,
    any: Vec<LineMatch>,
}

/// The operator in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineOp {
    Contains,
    Regex,
    Pattern,
}

#[derive(Debug, Clone)]
enum LineMatch {
    Contains(String),
    Regex(String, Regex),
    Pattern(Pattern),
    Ip(IpMatcher),
}

impl LineCondition {
    /// Compiles `op` with its alternatives: `(text, whether it stood in ip(…))`.
    ///
    /// # Errors
    /// Invalid when an expression, pattern or address is malformed, or `ip` stands behind another operator than
    /// `|=` and `!=`.
    pub(crate) fn compile(
        op: LineOp,
        negated: bool,
        alternatives: &[(String, bool)],
    ) -> Result<Self> {
        let compile = |(text, is_ip): &(String, bool)| {
            Ok(match (op, is_ip) {
                (LineOp::Contains, true) => LineMatch::Ip(IpMatcher::parse(text)?),
                (_, true) => {
                    return Err(Error::invalid(
                        "ip: invalid operation: only |= and != compare addresses",
                    ));
                }
                (LineOp::Contains, false) => LineMatch::Contains(text.clone()),
                (LineOp::Regex, false) => LineMatch::Regex(text.clone(), regexes::compile(text)?),
                (LineOp::Pattern, false) => LineMatch::Pattern(Pattern::parse_filter(text)?),
            })
        };
        Ok(Self { negated, any: alternatives.iter().map(compile).collect::<Result<_>>()? })
    }

    /// Whether `line` passes.
    pub(crate) fn matches(&self, line: &str) -> bool {
        self.any.iter().any(|m| m.matches(line)) != self.negated
    }

    /// The same as something a store can apply itself, if it can be said so.
    pub(crate) fn for_store(&self) -> Option<LineFilter> {
        let mut patterns = Vec::new();
        let mut regexes = Vec::new();
        for alternative in &self.any {
            match alternative {
                LineMatch::Contains(text) => patterns.push(text.clone()),
                LineMatch::Regex(text, regex) => {
                    patterns.push(text.clone());
                    regexes.push(regex.clone());
                }
                LineMatch::Pattern(_) | LineMatch::Ip(_) => return None,
            }
        }
        let op = match (regexes.is_empty(), self.negated) {
            (true, false) => LineFilterOp::Contains,
            (true, true) => LineFilterOp::NotContains,
            (false, false) => LineFilterOp::Regex,
            (false, true) => LineFilterOp::NotRegex,
        };
        Some(LineFilter { op, patterns, regexes })
    }
}

impl LineCondition {
    /// Conditions that every line it passes satisfies, for a store that cannot apply the condition itself: the texts
    /// of its patterns.
    pub(crate) fn demands(&self) -> Vec<LineFilter> {
        let contains = |patterns: Vec<String>| LineFilter {
            op: LineFilterOp::Contains,
            patterns,
            regexes: Vec::new(),
        };
        let patterns = self.any.iter().map(|alternative| match alternative {
            LineMatch::Pattern(pattern) => Some(pattern),
            _ => None,
        });
        match patterns.collect::<Option<Vec<&Pattern>>>().as_deref() {
            _ if self.negated => Vec::new(),
            Some([only]) => only.literals().map(|text| contains(vec![text.to_owned()])).collect(),
            Some(several) => {
                let longest =
                    |p: &&Pattern| p.literals().max_by_key(|text| text.len()).map(str::to_owned);
                let texts: Option<Vec<String>> = several.iter().map(longest).collect();
                texts.map(contains).into_iter().collect()
            }
            None => Vec::new(),
        }
    }
}

impl LineMatch {
    fn matches(&self, line: &str) -> bool {
        match self {
            Self::Contains(text) => line.contains(text.as_str()),
            Self::Regex(_, regex) => regex.is_match(line),
            Self::Pattern(pattern) => pattern.matches(line),
            Self::Ip(matcher) => matcher.matches_any_in(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn condition(negated: bool, patterns: &[String]) -> Option<LineCondition> {
        let alternatives: Vec<(String, bool)> =
            patterns.iter().map(|p| (p.clone(), false)).collect();
        LineCondition::compile(LineOp::Pattern, negated, &alternatives).ok()
    }

    #[test]
    fn patterns_demand_their_texts() {
        let texts = |patterns: &[&str], negated| -> Vec<Vec<String>> {
            let patterns: Vec<String> = patterns.iter().map(|p| (*p).to_owned()).collect();
            let condition = condition(negated, &patterns).unwrap();
            condition.demands().into_iter().map(|f| f.patterns).collect()
        };
        assert_eq!(texts(&["<_> took <_>ms"], false), [[" took "], ["ms"]]);
        assert_eq!(texts(&["a<_>bcd", "<_>ef"], false), [["bcd", "ef"]]);
        assert_eq!(texts(&["<_>", "<_>ef"], false), Vec::<Vec<String>>::new());
        assert_eq!(texts(&["<_> took <_>ms"], true), Vec::<Vec<String>>::new());
    }

    proptest! {
        #[test]
        fn lines_that_pass_satisfy_what_is_demanded(
            patterns in prop::collection::vec("(<_>|a|b|ab| ){1,5}", 1..3),
            negated in any::<bool>(),
            lines in prop::collection::vec("[ab ]{0,8}", 1..20),
        ) {
            let Some(condition) = condition(negated, &patterns) else { return Ok(()) };
            let demands = condition.demands();
            for line in lines.iter().filter(|line| condition.matches(line)) {
                prop_assert!(demands.iter().all(|d| d.matches(line)), "{patterns:?} {line:?}");
            }
        }
    }
}

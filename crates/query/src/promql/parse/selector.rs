//! Vector selectors: `name{label="value", "other name"=~"…"}`.

use model::{Error, METRIC_NAME, MatchOp, Matcher, Result};

use super::{Parser, plain_selector};
use crate::promql::ast::{Expr, Kind};
use crate::syntax::{self, Token};

impl Parser<'_> {
    /// A selector whose name, if any, was just consumed.
    pub(super) fn selector(&mut self, name: Option<Token>) -> Result<Expr> {
        let start = name.map_or_else(|| self.peek().start, |token| token.start);
        let mut name = name.map(|token| self.str_of(token).to_owned());
        let mut matchers: Vec<Matcher> =
            name.iter().map(|name| Matcher::equal(METRIC_NAME, name.as_str())).collect();
        if self.accept("{") {
            self.matchers(&mut name, &mut matchers)?;
        }
        let end = self.previous_end();
        let mut names = matchers.iter().filter(|m| m.name() == METRIC_NAME).map(Matcher::value);
        if let (Some(first), Some(_), Some(second)) = (name.as_deref(), names.next(), names.next())
        {
            return Err(Error::invalid(format!(
                "metric name must not be set twice: {first:?} or {second:?}"
            ))
            .with_span(start, end));
        }
        if !self.any_selector && matchers.iter().all(Matcher::matches_empty) {
            return Err(Error::invalid(
                "vector selector must contain at least one non-empty matcher",
            )
            .with_span(start, end));
        }
        self.node(Kind::Selector(Box::new(plain_selector(name, matchers))), start)
    }

    /// Everything up to and including `}`.
    fn matchers(&mut self, name: &mut Option<String>, matchers: &mut Vec<Matcher>) -> Result<()> {
        loop {
            if self.accept("}") {
                return Ok(());
            }
            let token = self.peek();
            let label = match token.kind {
                syntax::Kind::Word => {
                    self.at += 1;
                    self.str_of(token).to_owned()
                }
                syntax::Kind::Text => self.string("label matching")?.text,
                _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
            };
            let op = [
                ("=", MatchOp::Equal),
                ("!=", MatchOp::NotEqual),
                ("=~", MatchOp::Regex),
                ("!~", MatchOp::NotRegex),
            ]
            .into_iter()
            .find(|(sign, _)| self.is_sign(0, sign));
            match op {
                Some((_, op)) => {
                    self.at += 1;
                    let value = self.string("label matching")?.text;
                    let matcher = Matcher::new(op, label, value)
                        .map_err(|e| e.with_span(token.start, self.previous_end()))?;
                    matchers.push(matcher);
                }
                // A quoted name alone is the metric's.
                None if token.kind == syntax::Kind::Text => {
                    matchers.push(Matcher::equal(METRIC_NAME, label.as_str()));
                    name.get_or_insert(label);
                }
                None => return Err(self.unexpected("label matching", "label matching operator")),
            }
            if !self.accept(",") && !self.is_sign(0, "}") {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
    }
}

//! The grammar of pipelines: what stands behind a selector.

use model::{Error, MatchOp, Matcher, Result};

use super::{Parser, query_duration_ns};
use crate::logql::ast::{Conversion, Unwrap};
use crate::logql::format::{LabelFormat, LabelSelection, LabelSource};
use crate::logql::ip::IpMatcher;
use crate::logql::json::JsonExpressions;
use crate::logql::label_filter::{CompareOp, LabelFilter, Quantity};
use crate::logql::line_filter::{LineCondition, LineOp};
use crate::logql::logfmt::Logfmt;
use crate::logql::pattern::Pattern;
use crate::logql::regexes::RegexpParser;
use crate::logql::stage::Stage;
use crate::logql::template::Template;
use crate::logql::tokens::{Kind, Role};
use crate::logql::units;

/// Stages one pipeline may have.
const STAGES_MAX: usize = 256;
/// Conditions one filter may have.
const CONDITIONS_MAX: usize = 100;

impl Parser<'_> {
    /// Reads stages as long as there are any; an `unwrap` ends them, together with the filters behind it.
    pub(super) fn pipeline(&mut self, stages: &mut Vec<Stage>) -> Result<Option<Unwrap>> {
        loop {
            if stages.len() > STAGES_MAX {
                return Err(self.tokens.fail(&format!("pipeline has over {STAGES_MAX} stages")));
            }
            if let Some((op, negated)) = line_op(self.tokens.peek().text) {
                self.tokens.mark(Role::Stage);
                stages.push(self.line_filter(op, negated)?);
                continue;
            }
            if !self.take_bar() {
                return Ok(None);
            }
            if self.tokens.peek().text == "unwrap" {
                return self.unwrap().map(Some);
            }
            stages.push(self.stage()?);
        }
    }

    /// Steps over a `|`, if one is next.
    fn take_bar(&mut self) -> bool {
        if self.tokens.peek().text == "|" {
            self.tokens.mark(Role::Stage);
        }
        self.tokens.take("|")
    }

    /// Steps over a `=` that joins two names, if one is next.
    fn take_equals(&mut self) -> bool {
        if self.tokens.peek().text == "=" {
            self.tokens.mark(Role::Tight);
        }
        self.tokens.take("=")
    }

    /// `|= "a" or ip("b")`
    fn line_filter(&mut self, op: LineOp, negated: bool) -> Result<Stage> {
        let operator = self.tokens.next();
        let mut alternatives = Vec::new();
        loop {
            let is_ip = self.tokens.peek().text == "ip";
            if is_ip {
                alternatives.push((self.ip_text()?, true));
            } else if self.tokens.peek().kind == Kind::Text {
                alternatives.push((self.tokens.string()?, false));
            } else {
                return Err(self.tokens.unexpected("STRING or ip"));
            }
            if !self.tokens.take("or") {
                break;
            }
        }
        LineCondition::compile(op, negated, &alternatives)
            .map(Stage::LineFilter)
            .map_err(|e| e.with_span(operator.start, self.tokens.peek().start))
    }

    /// `ip("…")`
    fn ip_text(&mut self) -> Result<String> {
        self.tokens.next();
        self.tokens.expect("(")?;
        let text = self.tokens.string()?;
        self.tokens.expect(")")?;
        Ok(text)
    }

    fn stage(&mut self) -> Result<Stage> {
        let token = self.tokens.peek();
        // A stage's name may also be that of a label: `| json="x"` compares. `| json != "x"` is two stages.
        let second = self.tokens.peek_second().text;
        let compares = compare_op(second).is_some() && !matches!(second, "!=" | "!~");
        if token.kind != Kind::Word || compares {
            return self.label_filter().map(Stage::LabelFilter);
        }
        let stage = match token.text {
            "json" => {
                self.tokens.next();
                let pairs = self.extractions()?;
                match pairs.as_slice() {
                    [] => Ok(Stage::Json),
                    pairs => JsonExpressions::compile(pairs).map(Stage::JsonExpressions),
                }
            }
            "logfmt" => return self.logfmt().map(Stage::Logfmt),
            "regexp" => {
                self.text_argument().and_then(|t| RegexpParser::compile(&t)).map(Stage::Regexp)
            }
            "pattern" => self.text_argument().and_then(|t| Pattern::parse(&t)).map(Stage::Pattern),
            "unpack" => self.bare(Stage::Unpack),
            "decolorize" => self.bare(Stage::Decolorize),
            "line_format" => self
                .text_argument()
                .and_then(|t| Template::parse("line", &t))
                .map(Stage::LineFormat),
            "label_format" => self.label_format().map(Stage::LabelFormat),
            "drop" => self.selection().map(Stage::Drop),
            "keep" => self.selection().map(Stage::Keep),
            "distinct" => self.distinct().map(Stage::Distinct),
            _ => return self.label_filter().map(Stage::LabelFilter),
        };
        stage.map_err(|e| match e.span() {
            Some(_) => e,
            None => e.with_span(token.start, self.tokens.peek().start),
        })
    }

    fn bare(&mut self, stage: Stage) -> Result<Stage> {
        self.tokens.next();
        Ok(stage)
    }

    fn text_argument(&mut self) -> Result<String> {
        self.tokens.next();
        self.tokens.string()
    }

    /// `a="x.y", b`: labels and what they are taken from.
    fn extractions(&mut self) -> Result<Vec<(String, String)>> {
        let mut pairs = Vec::new();
        if self.tokens.peek().kind != Kind::Word {
            return Ok(pairs);
        }
        loop {
            let label = self.tokens.word()?;
            let source = if self.take_equals() { self.tokens.string()? } else { label.clone() };
            pairs.push((label, source));
            if !self.tokens.take(",") {
                return Ok(pairs);
            }
        }
    }

    fn logfmt(&mut self) -> Result<Logfmt> {
        self.tokens.next();
        let mut logfmt = Logfmt::default();
        while self.tokens.peek().text == "-" && self.tokens.peek_second().text == "-" {
            self.tokens.mark(Role::Sign);
            let token = self.tokens.next();
            self.tokens.mark(Role::Tight);
            self.tokens.next();
            let name = self.tokens.next().text;
            if self.tokens.peek().text == "-" && name == "keep" {
                self.tokens.mark(Role::Tight);
            }
            match name {
                "strict" => logfmt.strict = true,
                "keep" if self.tokens.take("-") && self.tokens.take("empty") => {
                    logfmt.keep_empty = true;
                }
                _ => {
                    return Err(Error::invalid(
                        "unknown parser flag; there are --strict and --keep-empty",
                    )
                    .with_span(token.start, self.tokens.peek().start));
                }
            }
        }
        logfmt.wanted = self.extractions()?;
        Ok(logfmt)
    }

    fn label_format(&mut self) -> Result<LabelFormat> {
        self.tokens.next();
        let mut assignments = Vec::new();
        loop {
            let name = self.tokens.word()?;
            if !self.take_equals() {
                return Err(self.tokens.unexpected("="));
            }
            let source = if self.tokens.peek().kind == Kind::Text {
                let text = self.tokens.string()?;
                LabelSource::Template(Template::parse("label", &text)?)
            } else {
                LabelSource::Rename(self.tokens.word()?)
            };
            assignments.push((name, source));
            if !self.tokens.take(",") {
                return LabelFormat::compile(assignments);
            }
        }
    }

    /// `a, b` of `distinct`.
    fn distinct(&mut self) -> Result<Vec<String>> {
        self.tokens.next();
        let mut names = vec![self.tokens.word()?];
        while self.tokens.take(",") {
            names.push(self.tokens.word()?);
        }
        Ok(names)
    }

    /// `a, b="x"` of `drop` and `keep`.
    fn selection(&mut self) -> Result<LabelSelection> {
        self.tokens.next();
        let mut selection = LabelSelection { names: Vec::new(), matchers: Vec::new() };
        loop {
            if compare_op(self.tokens.peek_second().text).is_some() {
                selection.matchers.push(self.matcher()?);
            } else {
                selection.names.push(self.tokens.word()?);
            }
            if !self.tokens.take(",") {
                return Ok(selection);
            }
        }
    }

    /// `unwrap duration(x) | filters`
    fn unwrap(&mut self) -> Result<Unwrap> {
        self.tokens.next();
        let mut conversion = Conversion::Number;
        let mut label = self.tokens.word()?;
        if self.tokens.peek().text == "(" {
            conversion = match label.as_str() {
                "duration" | "duration_seconds" => Conversion::Duration,
                "bytes" => Conversion::Bytes,
                _ => return Err(self.tokens.unexpected("duration, duration_seconds or bytes")),
            };
            self.tokens.next();
            label = self.tokens.word()?;
            self.tokens.expect(")")?;
        }
        let mut filters = Vec::new();
        while self.take_bar() {
            filters.push(self.label_filter()?);
        }
        Ok(Unwrap { label, conversion, filters })
    }

    /// Conditions joined by `or`, `and`, commas or nothing; `or` binds least.
    fn label_filter(&mut self) -> Result<LabelFilter> {
        self.deeper(|parser| {
            let mut left = parser.label_filter_and()?;
            let mut count = 1;
            while parser.tokens.take("or") {
                count += 1;
                parser.check_conditions(count)?;
                let right = parser.label_filter_and()?;
                left = LabelFilter::Or(Box::new(left), Box::new(right));
            }
            Ok(left)
        })
    }

    fn check_conditions(&self, count: usize) -> Result<()> {
        if count > CONDITIONS_MAX {
            let what = format!("over {CONDITIONS_MAX} conditions in one filter");
            return Err(self.tokens.fail(&what));
        }
        Ok(())
    }

    fn label_filter_and(&mut self) -> Result<LabelFilter> {
        let mut left = self.label_condition()?;
        let mut count = 1;
        loop {
            let joins = self.tokens.take("and") || self.tokens.take(",");
            let goes_on = self.tokens.peek().text == "("
                || (self.tokens.peek().kind == Kind::Word
                    && compare_op(self.tokens.peek_second().text).is_some());
            if !joins && !goes_on {
                return Ok(left);
            }
            count += 1;
            self.check_conditions(count)?;
            let right = self.label_condition()?;
            left = LabelFilter::And(Box::new(left), Box::new(right));
        }
    }

    fn label_condition(&mut self) -> Result<LabelFilter> {
        if self.tokens.take("(") {
            let inner = self.label_filter()?;
            self.tokens.expect(")")?;
            return Ok(inner);
        }
        let name = self.tokens.word()?;
        let operator = self.tokens.peek();
        let Some(op) = compare_op(operator.text) else {
            return Err(self.tokens.unexpected("= or == or != or > or >= or < or <= or =~ or !~"));
        };
        self.tokens.mark(Role::Tight);
        self.tokens.next();
        let value = self.tokens.peek();
        if value.kind == Kind::Text {
            let op = match operator.text {
                "=" => MatchOp::Equal,
                "!=" => MatchOp::NotEqual,
                "=~" => MatchOp::Regex,
                "!~" => MatchOp::NotRegex,
                _ => return Err(self.tokens.unexpected("BYTES or NUMBER or DURATION")),
            };
            let text = self.tokens.string()?;
            return Matcher::new(op, name, text)
                .map(LabelFilter::Text)
                .map_err(|e| e.with_span(value.start, value.end));
        }
        if value.text == "ip" && matches!(operator.text, "=" | "!=") {
            let matcher = IpMatcher::parse(&self.ip_text()?)
                .map_err(|e| e.with_span(value.start, value.end))?;
            return Ok(LabelFilter::Ip { name, negated: operator.text == "!=", matcher });
        }
        let Some(op) = op else { return Err(self.tokens.unexpected("STRING")) };
        Ok(LabelFilter::Quantity { name, op, value: self.quantity()? })
    }

    /// `5`, `-1.5`, `250ms`, `20MB`
    fn quantity(&mut self) -> Result<Quantity> {
        let negative = self.sign();
        let token = self.tokens.peek();
        if token.kind != Kind::Number {
            return Err(self.tokens.unexpected("BYTES or NUMBER or DURATION or STRING"));
        }
        let sign = if negative { -1.0 } else { 1.0 };
        let unit = token.text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
        // `1mb` is a minute and a word, to Loki as well.
        let is_bytes = unit.ends_with(['b', 'B'])
            && !unit.starts_with('m')
            && units::bytes_of_unit(unit).is_some();
        let looks_like_duration = unit.starts_with(|c: char| "nuµμsmhdwy".contains(c));
        let quantity = if is_bytes {
            units::parse_bytes(token.text).map(|bytes| Quantity::Bytes(sign * bytes))
        } else if looks_like_duration {
            query_duration_ns(token.text)
                .map(|ns| Quantity::Duration(sign * ns as f64))
                .map_err(|what| format!("syntax error: {what}"))
        } else {
            units::parse_number(token.text)
                .map(|n| Quantity::Number(sign * n))
                .map_err(|what| format!("unable to parse literal as a float: {what}"))
        };
        let quantity = quantity.map_err(|what| self.tokens.fail(&what))?;
        self.tokens.next();
        Ok(quantity)
    }
}

fn line_op(text: &str) -> Option<(LineOp, bool)> {
    Some(match text {
        "|=" => (LineOp::Contains, false),
        "!=" => (LineOp::Contains, true),
        "|~" => (LineOp::Regex, false),
        "!~" => (LineOp::Regex, true),
        "|>" => (LineOp::Pattern, false),
        "!>" => (LineOp::Pattern, true),
        _ => return None,
    })
}

/// The operator of a label filter: `Some(None)` for those that only compare texts.
fn compare_op(text: &str) -> Option<Option<CompareOp>> {
    Some(Some(match text {
        "=" | "==" => CompareOp::Equal,
        "!=" => CompareOp::NotEqual,
        ">" => CompareOp::Greater,
        ">=" => CompareOp::GreaterEqual,
        "<" => CompareOp::Less,
        "<=" => CompareOp::LessEqual,
        "=~" | "!~" => return Some(None),
        _ => return None,
    }))
}

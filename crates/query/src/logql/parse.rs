//! The grammar of LogQL: metric expressions here, pipelines in `parse/stages.rs`.

mod stages;

use model::{DurationMistake, Error, Grouping, MatchOp, Matcher, Result};

use super::ast::{
    AggregateExpr, AggregateOp, BinaryExpr, BinaryOp, Expr, ExprKind, LabelReplaceExpr, LogExpr,
    RangeExpr, RangeOp, Unwrap,
};
use super::tokens::{Kind, Role, Token, Tokens};
use super::units;
use crate::syntax::{DEPTH_MAX, Grammar, Power, TEXT_BYTES_MAX, climb};
use crate::vector::binary::{Many, Matching};

/// Operators of one query; chains of them make trees as deep as they are long.
const OPERATORS_MAX: usize = 500;

/// Parses a query.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) in Loki's words, with the place as span where there is one.
pub fn parse(text: &str) -> Result<Expr> {
    Parser::new(text)?.query()
}

/// Parses a stream selector alone, as the label and series calls take it.
///
/// # Errors
/// As [`parse`]; also when a pipeline follows.
pub fn parse_selector(text: &str) -> Result<Vec<Matcher>> {
    let mut parser = Parser::new(text)?;
    let matchers = parser.selector()?;
    match parser.tokens.peek().kind {
        Kind::End => Ok(matchers),
        _ => Err(parser.tokens.unexpected("")),
    }
}

/// The tokens of a well-formed query, with what each was taken for.
///
/// # Errors
/// As [`parse`].
pub(super) fn parse_tokens(text: &str) -> Result<Vec<Token<'_>>> {
    let mut parser = Parser::new(text)?;
    parser.query()?;
    Ok(parser.tokens.into_all())
}

struct Parser<'t> {
    tokens: Tokens<'t>,
    depth: usize,
    operators: usize,
}

/// A window `[5m] offset 1m`.
#[derive(Debug, Clone, Copy)]
struct RangeSpec {
    range_ns: i64,
    offset_ns: i64,
}

/// What stands inside the parentheses of a range aggregation, as far as read.
struct LogRange {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    range: Option<RangeSpec>,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "query has {} bytes; the limit is {TEXT_BYTES_MAX}",
                text.len()
            )));
        }
        Ok(Self { tokens: Tokens::new(text)?, depth: 0, operators: 0 })
    }

    fn query(&mut self) -> Result<Expr> {
        let expr = self.expr()?;
        if self.tokens.peek().kind != Kind::End {
            return Err(self.tokens.unexpected(""));
        }
        if let ExprKind::Log(log) = &expr.kind {
            check_selective(&log.matchers)?;
        }
        Ok(expr)
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            let token = self.tokens.peek();
            return Err(Error::invalid(format!(
                "expression is nested over {DEPTH_MAX} levels deep"
            ))
            .with_span(token.start, token.end));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn expr(&mut self) -> Result<Expr> {
        self.deeper(|parser| climb(parser, 1))
    }

    fn parenthesized(&mut self) -> Result<Expr> {
        self.tokens.expect("(")?;
        let inner = self.expr()?;
        self.tokens.expect(")")?;
        if let ExprKind::Log(mut log) = inner.kind {
            let unwrap = self.pipeline(&mut log.stages)?;
            self.refuse_unwrap(unwrap.as_ref())?;
            return Ok(Expr { kind: ExprKind::Log(log) });
        }
        Ok(inner)
    }

    fn refuse_unwrap(&self, unwrap: Option<&Unwrap>) -> Result<()> {
        match unwrap {
            None => Ok(()),
            Some(_) => Err(self.tokens.unexpected("RANGE")),
        }
    }

    /// A selector with its pipeline.
    fn log_expr(&mut self) -> Result<LogExpr> {
        let matchers = self.selector()?;
        let mut stages = Vec::new();
        let unwrap = self.pipeline(&mut stages)?;
        self.refuse_unwrap(unwrap.as_ref())?;
        Ok(LogExpr { matchers, stages })
    }

    fn selector(&mut self) -> Result<Vec<Matcher>> {
        self.tokens.expect("{")?;
        let mut matchers = Vec::new();
        while !self.tokens.take("}") {
            if !matchers.is_empty() {
                if !self.tokens.take(",") {
                    return Err(self.tokens.unexpected("} or ,"));
                }
                if self.tokens.take("}") {
                    break;
                }
            }
            matchers.push(self.matcher()?);
        }
        Ok(matchers)
    }

    /// `name="value"` with any of the four operators.
    fn matcher(&mut self) -> Result<Matcher> {
        let name = self.tokens.word()?;
        let op = match self.tokens.peek().text {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            _ => return Err(self.tokens.unexpected("= or != or =~ or !~")),
        };
        self.tokens.mark(Role::Tight);
        self.tokens.next();
        let token = self.tokens.peek();
        let value = self.tokens.string()?;
        Matcher::new(op, name, value).map_err(|e| e.with_span(token.start, token.end))
    }

    fn call(&mut self, token: Token<'t>) -> Result<Expr> {
        if let Some(op) = RangeOp::find(token.text) {
            return self.range_aggregation(op);
        }
        if let Some(op) = AggregateOp::find(token.text) {
            return self.aggregation(op);
        }
        match token.text {
            "vector" => {
                self.tokens.next();
                self.tokens.expect("(")?;
                let value = self.number()?;
                self.tokens.expect(")")?;
                Ok(Expr { kind: ExprKind::Vector(value) })
            }
            "label_replace" => self.label_replace(),
            _ => Err(self.tokens.unexpected("")),
        }
    }

    /// `op(0.9, {…} | … [5m]) by (a)`
    fn range_aggregation(&mut self, op: RangeOp) -> Result<Expr> {
        let name = self.tokens.next();
        let fail = |what: String| Error::invalid(what).with_span(name.start, name.end);
        self.tokens.expect("(")?;
        let mut param = None;
        if self.tokens.peek().kind == Kind::Number {
            let text = self.tokens.peek().text;
            param = Some(self.number()?);
            if op != RangeOp::Quantile {
                return Err(fail(format!(
                    "parameter {text} not supported for operation {}",
                    op.name()
                )));
            }
            self.tokens.expect(",")?;
        } else if !matches!(self.tokens.peek().text, "{" | "(") {
            return Err(self.tokens.unexpected("NUMBER or { or ("));
        }
        let LogRange { log, unwrap, range } = self.log_range()?;
        let Some(RangeSpec { range_ns, offset_ns }) = range else {
            return Err(self.tokens.unexpected("RANGE"));
        };
        self.tokens.expect(")")?;
        let grouping = self.grouping()?;
        check_selective(&log.matchers)?;
        let range = RangeExpr { op, param, log, unwrap, range_ns, offset_ns, grouping };
        check_range(&range).map_err(fail)?;
        Ok(Expr { kind: ExprKind::Range(range) })
    }

    /// A log expression with its window, which may stand before or behind the pipeline or a parenthesis.
    fn log_range(&mut self) -> Result<LogRange> {
        self.deeper(|parser| {
            let mut read = if parser.tokens.take("(") {
                let inner = parser.log_range()?;
                parser.tokens.expect(")")?;
                inner
            } else {
                let matchers = parser.selector()?;
                LogRange {
                    log: LogExpr { matchers, stages: Vec::new() },
                    unwrap: None,
                    range: None,
                }
            };
            loop {
                let before = parser.tokens.position();
                if read.unwrap.is_none() {
                    read.unwrap = parser.pipeline(&mut read.log.stages)?;
                }
                if read.range.is_none() && parser.tokens.peek().text == "[" {
                    read.range = Some(parser.range_spec()?);
                }
                if parser.tokens.position() == before {
                    return Ok(read);
                }
            }
        })
    }

    /// `[5m] offset 1m`
    fn range_spec(&mut self) -> Result<RangeSpec> {
        self.tokens.expect("[")?;
        let range_ns = self.duration()?;
        if self.tokens.peek().text != "]" {
            return Err(self.tokens.fail("missing closing ']' in duration"));
        }
        self.tokens.next();
        if range_ns <= 0 {
            return Err(self.tokens.fail("range must be larger than zero"));
        }
        let mut offset_ns = 0;
        if self.tokens.take("offset") {
            if self.tokens.peek().text == "-" {
                self.tokens.mark(Role::Sign);
            }
            let negative = self.tokens.take("-");
            let ns = self.duration()?;
            offset_ns = if negative { -ns } else { ns };
        }
        Ok(RangeSpec { range_ns, offset_ns })
    }

    /// A duration as queries write them (`5m`, `1d12h`), in nanoseconds.
    fn duration(&mut self) -> Result<i64> {
        let token = self.tokens.peek();
        let parsed = match token.kind {
            Kind::Number => query_duration_ns(token.text),
            _ => return Err(self.tokens.unexpected("DURATION")),
        };
        let ns = parsed.map_err(|what| self.tokens.fail(&what))?;
        self.tokens.next();
        Ok(ns)
    }

    fn aggregation(&mut self, op: AggregateOp) -> Result<Expr> {
        let name = self.tokens.next();
        let fail = |what: String| Error::invalid(what).with_span(name.start, name.end);
        let mut grouping = self.grouping()?;
        self.tokens.expect("(")?;
        let mut param = None;
        if op.takes_param() {
            match self.tokens.peek().kind {
                Kind::Number => param = Some(self.number()?),
                // `topk(he, …)`: a word that calls nothing is reported as such.
                Kind::Word if !self.starts_call() => return Err(self.tokens.unexpected("")),
                _ => return Err(fail(format!("parameter required for operation {}", name.text))),
            }
            self.tokens.expect(",")?;
        }
        let inner = self.expr()?;
        if matches!(inner.kind, ExprKind::Log(_)) {
            return Err(self.tokens.unexpected("RANGE"));
        }
        self.tokens.expect(")")?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        if grouping.is_some() && !op.takes_grouping() {
            return Err(fail(format!("grouping not allowed for {} aggregation", name.text)));
        }
        if let Some(k) = param.filter(|k| *k < 1.0 || k.fract() != 0.0) {
            return Err(fail(format!(
                "invalid parameter {k} for {}; need a whole number from 1",
                name.text
            )));
        }
        let inner = Box::new(inner);
        Ok(Expr { kind: ExprKind::Aggregate(AggregateExpr { op, param, grouping, inner }) })
    }

    /// Whether the word here names a function.
    fn starts_call(&self) -> bool {
        let word = self.tokens.peek().text;
        RangeOp::find(word).is_some()
            || AggregateOp::find(word).is_some()
            || matches!(word, "vector" | "label_replace")
    }

    fn grouping(&mut self) -> Result<Option<Grouping>> {
        let without = match self.tokens.peek().text {
            "by" => false,
            "without" => true,
            _ => return Ok(None),
        };
        self.tokens.next();
        let mut names = self.names()?;
        names.sort_unstable();
        names.dedup();
        Ok(Some(Grouping { without, labels: names }))
    }

    /// `(a, b)`
    fn names(&mut self) -> Result<Vec<String>> {
        self.tokens.expect("(")?;
        let mut names = Vec::new();
        while !self.tokens.take(")") {
            if !names.is_empty() {
                self.tokens.expect(",")?;
            }
            names.push(self.tokens.word()?);
        }
        Ok(names)
    }

    /// What may stand behind an operator: `bool`, `on (…)`, `group_left (…)`.
    fn modifiers(&mut self, op: BinaryOp) -> Result<(bool, Matching)> {
        let mut matching = Matching::default();
        let returns_bool = self.tokens.peek().text == "bool";
        if returns_bool {
            if !op.is_comparison() {
                return Err(self
                    .tokens
                    .fail("bool modifier can only be used on comparison operators"));
            }
            self.tokens.next();
        }
        if matches!(self.tokens.peek().text, "on" | "ignoring") {
            matching.on = self.tokens.next().text == "on";
            matching.labels = self.names()?;
            matching.many = match self.tokens.peek().text {
                "group_left" => Many::Left,
                "group_right" => Many::Right,
                _ => Many::Neither,
            };
            if matching.many != Many::Neither {
                if op.is_set() {
                    return Err(self.tokens.fail("no grouping allowed for set operations"));
                }
                self.tokens.next();
                if self.tokens.peek().text == "(" && self.tokens.is_name_list() {
                    matching.include = self.names()?;
                }
            }
        }
        Ok((returns_bool, matching))
    }

    fn label_replace(&mut self) -> Result<Expr> {
        self.tokens.next();
        self.tokens.expect("(")?;
        let inner = self.expr()?;
        if matches!(inner.kind, ExprKind::Log(_)) {
            return Err(self.tokens.unexpected("RANGE"));
        }
        let mut texts = [const { String::new() }; 4];
        for text in &mut texts {
            self.tokens.expect(",")?;
            *text = self.tokens.string()?;
        }
        let [target, replacement, source, pattern] = texts;
        let pattern = model::anchored_regex(&pattern).map_err(|e| {
            self.tokens.fail(&format!("invalid regex in label_replace: {}", e.message()))
        })?;
        self.tokens.expect(")")?;
        let inner = Box::new(inner);
        Ok(Expr {
            kind: ExprKind::LabelReplace(LabelReplaceExpr {
                inner,
                target,
                replacement,
                source,
                pattern,
            }),
        })
    }

    /// An optional sign; whether it is a minus.
    fn sign(&mut self) -> bool {
        let is_there = matches!(self.tokens.peek().text, "-" | "+");
        if is_there {
            self.tokens.mark(Role::Sign);
        }
        is_there && self.tokens.next().text == "-"
    }

    /// A number with an optional sign.
    fn number(&mut self) -> Result<f64> {
        let negative = self.sign();
        let token = self.tokens.peek();
        if token.kind != Kind::Number {
            return Err(self.tokens.unexpected("NUMBER"));
        }
        let value = units::parse_number(token.text).map_err(|what| {
            self.tokens.fail(&format!("unable to parse literal as a float: {what}"))
        })?;
        self.tokens.next();
        Ok(if negative { -value } else { value })
    }
}

/// An infix operator with its modifiers.
struct Operator {
    op: BinaryOp,
    returns_bool: bool,
    matching: Matching,
    start: usize,
    end: usize,
}

impl Grammar for Parser<'_> {
    type Node = Expr;
    type Operator = Operator;

    fn operand(&mut self) -> Result<Expr> {
        let token = self.tokens.peek();
        match token.kind {
            Kind::Number => self.number().map(number_expr),
            Kind::Punct if matches!(token.text, "-" | "+") => self.number().map(number_expr),
            Kind::Punct if token.text == "{" => {
                let log = self.log_expr()?;
                Ok(Expr { kind: ExprKind::Log(log) })
            }
            Kind::Punct if token.text == "(" => self.parenthesized(),
            Kind::Word => self.call(token),
            _ => Err(self.tokens.unexpected("")),
        }
    }

    fn peek_power(&self) -> Option<Power> {
        let token = self.tokens.peek();
        let (_, level) = BinaryOp::find(token.text)?;
        Some(Power { level, right_associative: token.text == "^" })
    }

    fn operator(&mut self) -> Result<Operator> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return Err(self.tokens.fail(&format!("query has over {OPERATORS_MAX} operators")));
        }
        self.tokens.mark(Role::Operator);
        let Token { text, start, end, .. } = self.tokens.next();
        let (op, _) = BinaryOp::find(text).expect("BUG: peeked before");
        let (returns_bool, matching) = self.modifiers(op)?;
        Ok(Operator { op, returns_bool, matching, start, end })
    }

    fn combine(&mut self, left: Expr, operator: Operator, right: Expr) -> Result<Expr> {
        let Operator { op, returns_bool, matching, start, end } = operator;
        check_sides(op, &left, &right).map_err(|e| e.with_span(start, end))?;
        let (left, right) = (Box::new(left), Box::new(right));
        let kind = ExprKind::Binary(BinaryExpr { op, returns_bool, matching, left, right });
        Ok(Expr { kind })
    }
}

fn number_expr(value: f64) -> Expr {
    Expr { kind: ExprKind::Number(value) }
}

/// Refuses selectors that select everything.
fn check_selective(matchers: &[Matcher]) -> Result<()> {
    if matchers.iter().all(Matcher::matches_empty) {
        return Err(Error::invalid(
            "queries require at least one regexp or equality matcher that does not have an empty-compatible value. For \
             instance, app=~\".*\" does not meet this requirement, but app=~\".+\" will",
        ));
    }
    Ok(())
}

fn check_range(range: &RangeExpr) -> std::result::Result<(), String> {
    let name = range.op.name();
    match (range.op.needs_unwrap(), &range.unwrap) {
        (Some(true), None) => return Err(format!("invalid aggregation {name} without unwrap")),
        (Some(false), Some(_)) => return Err(format!("invalid aggregation {name} with unwrap")),
        _ => {}
    }
    if range.log.is_distinct() {
        return Err("distinct is for log queries, not for metrics of lines".to_owned());
    }
    if range.grouping.is_some() && !range.op.takes_grouping() {
        return Err(format!("grouping not allowed for {name} aggregation"));
    }
    if range.op == RangeOp::Quantile && range.param.is_none() {
        return Err(format!("parameter required for operation {name}"));
    }
    Ok(())
}

fn check_sides(op: BinaryOp, left: &Expr, right: &Expr) -> Result<()> {
    for (side, expr) in [("left", left), ("right", right)] {
        match &expr.kind {
            ExprKind::Log(_) => {
                return Err(Error::invalid(format!(
                    "unexpected type for {side} leg of binary operation ({}): log query",
                    op.as_str()
                )));
            }
            ExprKind::Number(value) if op.is_set() => {
                return Err(Error::invalid(format!(
                    "unexpected literal for {side} leg of logical/set binary operation ({}): {value:.6}",
                    op.as_str()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Reads `1y2w3d4h5m6s7ms`, each unit also with a fraction, as nanoseconds.
fn query_duration_ns(text: &str) -> std::result::Result<i64, String> {
    let unit_ns = |unit: &str| match unit {
        "d" => Some(86_400e9),
        "w" => Some(604_800e9),
        "y" => Some(31_536_000e9),
        unit => model::go_unit_ns(unit),
    };
    let total_ns = model::sum_of_units(text, unit_ns).map_err(|mistake| match mistake {
        DurationMistake::Invalid => format!("not a valid duration string: {text:?}"),
        DurationMistake::MissingUnit => format!("missing unit in duration {text:?}"),
        DurationMistake::UnknownUnit(unit) => {
            format!("unknown unit {unit:?} in duration {text:?}")
        }
    })?;
    // A hundred years are beyond what any store keeps, and far within range.
    if total_ns > 100.0 * 31_536_000e9 {
        return Err(format!("duration {text:?} is longer than 100 years"));
    }
    Ok(total_ns as i64)
}

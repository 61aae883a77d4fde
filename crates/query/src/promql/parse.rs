//! Text to tree. Every node is type-checked as it is built; errors carry the place and Prometheus' wording.

mod duration;
mod selector;

use model::{Error, Grouping, Result};

use super::ast::{
    Aggregate, AggregateOp, At, Binary, Duration, Edges, Expr, Kind, Operator, Selector, Subquery,
    Type, UNARY_LEVEL,
};
use super::functions;
use crate::syntax::{
    self, DEPTH_MAX, Grammar, Power, TEXT_BYTES_MAX, TREE_DEPTH_MAX, Token, climb, parse_number,
    tokenize, unquote,
};
use crate::vector::binary::{Many, Matching};

/// Reads `text` as one expression.
///
/// # Errors
/// `Invalid` with the bytes in question: syntax, types, names; text over 16 KiB, nesting over 100 levels.
pub fn parse(text: &str) -> Result<Expr> {
    let mut parser = Parser::new(text)?;
    if parser.peek().kind == syntax::Kind::End {
        return Err(Error::invalid("no expression found in input").with_span(0, text.len()));
    }
    let expr = climb(&mut parser, 1)?;
    match parser.peek().kind {
        syntax::Kind::End => Ok(expr),
        _ => Err(parser.unexpected("", "")),
    }
}

/// Reads `text` as a series selector such as `up{job="a"}`: the matchers it stands for.
///
/// # Errors
/// As [`parse`]; also when it is anything else than a selector.
pub fn parse_selector(text: &str) -> Result<Vec<model::Matcher>> {
    match parse(text)?.kind {
        Kind::Selector(s) if s.offset.is_none() && s.at.is_none() && s.edges == Edges::Plain => {
            Ok(s.matchers)
        }
        _ => Err(Error::invalid("expected a series selector").with_span(0, text.len())),
    }
}

pub(crate) struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    /// Open levels of recursion.
    depth: usize,
    /// Operators in durations so far.
    duration_nodes: usize,
    /// A selector may select everything: inside `info(v, {…})`.
    any_selector: bool,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "query has {} bytes; the limit is {TEXT_BYTES_MAX}",
                text.len()
            ))
            .with_span(TEXT_BYTES_MAX, text.len()));
        }
        Ok(Self {
            text,
            tokens: tokenize(text)?,
            at: 0,
            depth: 0,
            duration_nodes: 0,
            any_selector: false,
        })
    }

    fn peek(&self) -> Token {
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Token {
        let end = self.text.len();
        let last = Token { kind: syntax::Kind::End, start: end, end };
        self.tokens.get(self.at + ahead).copied().unwrap_or(last)
    }

    fn str_of(&self, token: Token) -> &'t str {
        self.text.get(token.start..token.end).unwrap_or("")
    }

    fn next(&mut self) -> Token {
        let token = self.peek();
        self.at += 1;
        token
    }

    /// End of the last consumed token.
    fn previous_end(&self) -> usize {
        self.tokens.get(self.at.wrapping_sub(1)).map_or(0, |t| t.end)
    }

    fn is_sign(&self, ahead: usize, sign: &str) -> bool {
        let token = self.peek_at(ahead);
        token.kind == syntax::Kind::Sign && self.str_of(token) == sign
    }

    fn is_word(&self, ahead: usize, word: &str) -> bool {
        let token = self.peek_at(ahead);
        token.kind == syntax::Kind::Word && self.str_of(token).eq_ignore_ascii_case(word)
    }

    /// Steps over `sign` if it comes next.
    fn accept(&mut self, sign: &str) -> bool {
        let found = self.is_sign(0, sign);
        self.at += usize::from(found);
        found
    }

    /// The error about the next token, as Prometheus words it.
    fn unexpected(&self, context: &str, expected: &str) -> Error {
        let token = self.peek();
        let text = self.str_of(token);
        let what = match token.kind {
            syntax::Kind::End => "end of input".to_owned(),
            syntax::Kind::Text => format!("string {text}"),
            syntax::Kind::Number if parse_number(text).is_some() => format!("number {text:?}"),
            syntax::Kind::Number => format!("duration {text:?}"),
            syntax::Kind::Word if is_keyword(text) => format!("<{}>", text.to_ascii_lowercase()),
            syntax::Kind::Word => format!("identifier {text:?}"),
            syntax::Kind::Sign if Operator::find(text).is_some() => format!("<op:{text}>"),
            syntax::Kind::Sign => format!("{text:?}"),
        };
        let mut message = format!("unexpected {what}");
        if !context.is_empty() {
            message += &format!(" in {context}");
        }
        if !expected.is_empty() {
            message += &format!(", expected {expected}");
        } else if context.is_empty() && token.kind == syntax::Kind::Word && !is_keyword(text) {
            message += &hint(syntax::nearest(text, FOLLOWERS.into_iter()));
        }
        Error::invalid(message).with_span(token.start, token.end)
    }

    fn expect(&mut self, sign: &str, context: &str) -> Result<()> {
        if self.accept(sign) {
            return Ok(());
        }
        Err(self.unexpected(context, &format!("{sign:?}")))
    }

    /// Runs `f` one level deeper.
    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let token = self.peek();
            return Err(too_deep(token.start, token.end));
        }
        let result = f(self);
        self.depth -= 1;
        result
    }

    fn string(&mut self, context: &str) -> Result<syntax::Quoted> {
        let token = self.peek();
        if token.kind != syntax::Kind::Text {
            return Err(self.unexpected(context, "string"));
        }
        self.at += 1;
        unquote(self.str_of(token), token.start)
    }

    /// A node over `[start, end of the last token)`.
    fn node(&self, kind: Kind, start: usize) -> Result<Expr> {
        build(kind, start, self.previous_end())
    }

    fn primary(&mut self) -> Result<Expr> {
        let token = self.peek();
        let text = self.str_of(token);
        match token.kind {
            syntax::Kind::Number => {
                let value = self.number()?;
                self.node(Kind::Number(value), token.start)
            }
            syntax::Kind::Text => {
                let quoted = self.string("")?;
                self.node(Kind::Text { value: quoted.text, lossy: quoted.lossy }, token.start)
            }
            syntax::Kind::Sign if text == "(" => {
                self.at += 1;
                let inner = climb(self, 1)?;
                self.expect(")", "parenthesized expression")?;
                self.node(Kind::Paren(Box::new(inner)), token.start)
            }
            syntax::Kind::Sign if text == "{" => self.selector(None),
            syntax::Kind::Word => self.word(token, text),
            _ => Err(self.unexpected("", "")),
        }
    }

    /// A number or duration as seconds; consumed.
    fn number(&mut self) -> Result<f64> {
        let token = self.next();
        let text = self.str_of(token);
        let error = |what: String| Err(Error::invalid(what).with_span(token.start, token.end));
        match (parse_number(text), syntax::duration_ms(text)) {
            (Some(value), _) if value.is_infinite() && !text.eq_ignore_ascii_case("inf") => {
                error(format!(
                    "error parsing number: strconv.ParseFloat: parsing {text:?}: value out of range"
                ))
            }
            (Some(value), _) => Ok(value),
            (None, Some(ms)) => Ok(ms as f64 / 1000.0),
            (None, None) => {
                let last = text.trim_start_matches(|c: char| c.is_ascii_digit());
                if last.chars().all(|c| c.is_ascii_alphabetic()) && !is_unit(last) {
                    return error(format!("unknown unit {last:?} in duration {text:?}"));
                }
                error(format!("not a valid duration string: {text:?}"))
            }
        }
    }

    fn word(&mut self, token: Token, text: &str) -> Result<Expr> {
        if let Some(op) = AggregateOp::find(text)
            && (self.is_sign(1, "(") || self.is_word(1, "by") || self.is_word(1, "without"))
        {
            self.at += 1;
            return self.aggregate(op, token);
        }
        if self.is_sign(1, "(") && !is_operator_word(text) {
            self.at += 1;
            return self.call(token, text);
        }
        if parse_number(text).is_some() && !self.is_sign(1, "{") {
            let value = self.number()?;
            return self.node(Kind::Number(value), token.start);
        }
        self.at += 1;
        self.selector(Some(token))
    }

    fn call(&mut self, token: Token, name: &str) -> Result<Expr> {
        let Some(function) = functions::find(name) else {
            return Err(unknown_function(name).with_span(token.start, token.end));
        };
        let args = self.args(name == "info")?;
        let end = self.previous_end();
        let fail = |what: String| Err(Error::invalid(what).with_span(token.start, end));
        let (min, max, count) = (function.args_min(), function.args_max(), args.len());
        match max {
            Some(max) if max == min && count != min => {
                return fail(format!(
                    "expected {min} argument(s) in call to {name:?}, got {count}"
                ));
            }
            _ if count < min => {
                return fail(format!(
                    "expected at least {min} argument(s) in call to {name:?}, got {count}"
                ));
            }
            Some(max) if count > max => {
                return fail(format!(
                    "expected at most {max} argument(s) in call to {name:?}, got {count}"
                ));
            }
            _ => {}
        }
        let context = format!("call to function {name:?}");
        for (i, arg) in args.iter().enumerate() {
            let expected = function.args.get(i).or(function.args.last()).copied();
            // Info's second argument is checked below: labels alone.
            if let Some(expected) = expected {
                expect_type(arg, expected, &context)?;
            }
        }
        if name == "info"
            && let Some(selector) = args.get(1)
        {
            match &selector.kind {
                Kind::Selector(s) if s.name.is_none() => {}
                Kind::Selector(_) => {
                    return fail(
                        "expected label selectors only, got vector selector instead".into(),
                    );
                }
                _ => return fail("expected label selectors only".into()),
            }
        }
        self.check_edges(name, &args)?;
        self.node(Kind::Call { function, args }, token.start)
    }

    /// `anchored` and `smoothed` make sense for few functions.
    fn check_edges(&self, name: &str, args: &[Expr]) -> Result<()> {
        for arg in args {
            let Kind::Range { selector, .. } = &arg.unparenthesised().kind else { continue };
            let (word, allowed): (_, &[&str]) = match selector.edges {
                Edges::Plain => continue,
                Edges::Anchored => {
                    ("anchored", &["changes", "delta", "increase", "rate", "resets"])
                }
                Edges::Smoothed => ("smoothed", &["delta", "increase", "rate"]),
            };
            if !allowed.contains(&name) {
                return Err(Error::invalid(format!(
                    "{word} modifier can only be used with: {} - not with {name}",
                    allowed.join(", ")
                ))
                .with_span(arg.start, arg.end));
            }
        }
        Ok(())
    }

    /// `(a, b)`; consumed. Of `info`, the arguments after the first are no selectors of their own.
    fn args(&mut self, of_info: bool) -> Result<Vec<Expr>> {
        self.expect("(", "function call")?;
        let mut args = Vec::new();
        if self.accept(")") {
            return Ok(args);
        }
        loop {
            let outer = std::mem::replace(&mut self.any_selector, of_info && !args.is_empty());
            args.push(climb(self, 1)?);
            self.any_selector = outer;
            let comma = self.peek();
            if !self.accept(",") {
                break;
            }
            if self.is_sign(0, ")") {
                return Err(Error::invalid("trailing commas not allowed in function call args")
                    .with_span(comma.start, comma.end));
            }
        }
        self.expect(")", "function call")?;
        Ok(args)
    }

    fn aggregate(&mut self, op: AggregateOp, token: Token) -> Result<Expr> {
        let mut grouping = self.grouping()?;
        let args = self.args(false)?;
        if grouping.is_none() {
            grouping = self.grouping()?;
        }
        let end = self.previous_end();
        let fail = |what: String| Err(Error::invalid(what).with_span(token.start, end));
        let expected = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            return fail("no arguments for aggregate expression provided".into());
        }
        if args.len() != expected {
            return fail(format!(
                "wrong number of arguments for aggregate expression provided, expected {expected}, got {}",
                args.len()
            ));
        }
        let mut args = args.into_iter();
        let param = if op.param().is_some() { args.next() } else { None };
        let Some(inner) = args.next() else {
            return fail("no arguments for aggregate expression provided".into());
        };
        expect_type(&inner, Type::Vector, "aggregation expression")?;
        if let (Some(param), Some(expected)) = (&param, op.param()) {
            expect_type(param, expected, "aggregation parameter")?;
        }
        let grouped = grouping.is_some();
        let grouping = grouping.unwrap_or_else(|| Grouping { labels: Vec::new(), without: false });
        self.node(
            Kind::Aggregate(Box::new(Aggregate { op, grouping, grouped, param, inner })),
            token.start,
        )
    }

    /// `by (…)` or `without (…)` if it comes next.
    fn grouping(&mut self) -> Result<Option<Grouping>> {
        let without = self.is_word(0, "without");
        if !without && !self.is_word(0, "by") {
            return Ok(None);
        }
        self.at += 1;
        Ok(Some(Grouping { labels: self.label_list()?, without }))
    }

    /// `(a, "b", c)`; a comma may follow the last.
    fn label_list(&mut self) -> Result<Vec<String>> {
        let context = "grouping opts";
        self.expect("(", context)?;
        let mut labels = Vec::new();
        loop {
            if self.accept(")") {
                return Ok(labels);
            }
            let token = self.peek();
            match token.kind {
                syntax::Kind::Text => labels.push(self.string(context)?.text),
                syntax::Kind::Word if !self.str_of(token).contains(':') => {
                    self.at += 1;
                    labels.push(self.str_of(token).to_owned());
                }
                _ => return Err(self.unexpected(context, "label")),
            }
            if !self.accept(",") && !self.is_sign(0, ")") {
                return Err(self.unexpected(context, "\",\" or \")\""));
            }
        }
    }

    /// `[5m]`, `[5m:1m]`, `offset 5m`, `@ 10`, `anchored`, `smoothed`, as often as they come.
    fn postfixes(&mut self, mut expr: Expr) -> Result<Expr> {
        loop {
            let token = self.peek();
            if self.is_sign(0, "[") {
                expr = self.deeper(|p| p.bracket(expr))?;
            } else if self.is_sign(0, "@") {
                self.at += 1;
                let at = self.at_time()?;
                set_at(&mut expr, at, token)?;
            } else if self.is_word(0, "offset") {
                self.at += 1;
                let offset = self.offset_duration()?;
                set_offset(&mut expr, offset, token)?;
            } else if self.is_word(0, "anchored") || self.is_word(0, "smoothed") {
                let edges =
                    if self.is_word(0, "anchored") { Edges::Anchored } else { Edges::Smoothed };
                self.at += 1;
                set_edges(&mut expr, edges, token)?;
            } else {
                return Ok(expr);
            }
            expr.end = self.previous_end();
        }
    }

    fn bracket(&mut self, expr: Expr) -> Result<Expr> {
        let open = self.next();
        if self.peek().kind == syntax::Kind::End {
            return Err(self.unexpected("duration expression", ""));
        }
        let range = self.duration_expr()?;
        if self.accept(":") {
            let step = if self.is_sign(0, "]") { None } else { Some(self.duration_expr()?) };
            self.expect("]", "subquery or range selector")?;
            return self.subquery(expr, range, step);
        }
        let close = self.peek();
        if !self.accept("]") {
            let text = self.str_of(close);
            return Err(Error::invalid(format!("unexpected character: '{text}', expected ':'"))
                .with_span(close.start, close.end));
        }
        let fail = |what: &str| Err(Error::invalid(what).with_span(open.start, close.end));
        let (start, end) = (expr.start, self.previous_end());
        match expr.kind {
            Kind::Selector(s) if s.offset.is_some() => {
                fail("no offset modifiers allowed before range")
            }
            Kind::Selector(s) if s.at.is_some() => fail("no @ modifiers allowed before range"),
            Kind::Selector(selector) => build(Kind::Range { selector, range }, start, end),
            _ => fail("ranges only allowed for vector selectors"),
        }
    }

    fn subquery(&mut self, inner: Expr, range: Duration, step: Option<Duration>) -> Result<Expr> {
        let start = inner.start;
        if inner.type_of() != Type::Vector {
            let what = match inner.type_of() {
                Type::Matrix => "matrix",
                other => other.as_str(),
            };
            return Err(Error::invalid(format!(
                "subquery is only allowed on instant vector, got {what} instead"
            ))
            .with_span(inner.start, self.previous_end()));
        }
        self.node(
            Kind::Subquery(Box::new(Subquery { inner, range, step, offset: None, at: None })),
            start,
        )
    }

    fn at_time(&mut self) -> Result<At> {
        let first = self.peek();
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.is_word(0, word) && self.is_sign(1, "(") && self.is_sign(2, ")") {
                self.at += 3;
                return Ok(at);
            }
        }
        let negative = self.is_sign(0, "-");
        if negative || self.is_sign(0, "+") {
            self.at += 1;
        }
        let token = self.peek();
        let is_number = token.kind == syntax::Kind::Number
            || (token.kind == syntax::Kind::Word && parse_number(self.str_of(token)).is_some());
        if !is_number {
            return Err(self.unexpected("@", "timestamp"));
        }
        let seconds = self.number()? * if negative { -1.0 } else { 1.0 };
        // Prometheus bounds it by what a 64-bit count of milliseconds can hold.
        if !seconds.is_finite() || seconds.abs() * 1000.0 >= i64::MAX as f64 {
            let shown = crate::syntax::format_float(seconds);
            return Err(Error::invalid(format!("timestamp out of bounds for @ modifier: {shown}"))
                .with_span(first.start, token.end));
        }
        Ok(At::Time((seconds * 1000.0).round() as i64))
    }

    /// Modifiers between an operator and its right side.
    fn matching(&mut self, op: Operator) -> Result<(bool, Matching, bool)> {
        let returns_bool = self.is_word(0, "bool");
        let token = self.peek();
        if returns_bool {
            self.at += 1;
            if !op.is_comparison() {
                return Err(Error::invalid(
                    "bool modifier can only be used on comparison operators",
                )
                .with_span(token.start, token.end));
            }
        }
        let mut matching = Matching::default();
        let mut written = false;
        // A metric may be called `on`; only a list makes it a modifier.
        if (self.is_word(0, "on") || self.is_word(0, "ignoring")) && self.is_sign(1, "(") {
            written = true;
            matching.on = self.is_word(0, "on");
            self.at += 1;
            matching.labels = self.label_list()?;
            if self.is_word(0, "group_left") || self.is_word(0, "group_right") {
                let token = self.peek();
                let left = self.is_word(0, "group_left");
                matching.many = if left { Many::Left } else { Many::Right };
                self.at += 1;
                if self.is_sign(0, "(") {
                    matching.include = self.label_list()?;
                }
                if op.is_set() {
                    return Err(Error::invalid(format!(
                        "no grouping allowed for {:?} operation",
                        op.as_str()
                    ))
                    .with_span(token.start, self.previous_end()));
                }
                if matching.on
                    && let Some(label) =
                        matching.include.iter().find(|l| matching.labels.contains(l))
                {
                    return Err(Error::invalid(format!(
                        "label {label:?} must not occur in ON and GROUP clause at once"
                    ))
                    .with_span(token.start, self.previous_end()));
                }
            }
        }
        while let Some((left, right)) = self.fill_word() {
            let token = self.next();
            if op.is_set() {
                return Err(Error::invalid(format!(
                    "filling in missing series not allowed for set operators, got {:?}",
                    op.as_str()
                ))
                .with_span(token.start, token.end));
            }
            written = true;
            self.expect("(", "fill modifier")?;
            let value = self.fill_value()?;
            self.expect(")", "fill modifier")?;
            if left {
                matching.fill_left = Some(value);
            }
            if right {
                matching.fill_right = Some(value);
            }
        }
        Ok((returns_bool, matching, written))
    }

    /// `fill(`, `fill_left(` or `fill_right(`: which sides.
    fn fill_word(&self) -> Option<(bool, bool)> {
        if !self.is_sign(1, "(") {
            return None;
        }
        [("fill", (true, true)), ("fill_left", (true, false)), ("fill_right", (false, true))]
            .into_iter()
            .find(|(word, _)| self.is_word(0, word))
            .map(|(_, sides)| sides)
    }

    fn fill_value(&mut self) -> Result<f64> {
        let negative = self.is_sign(0, "-");
        if negative || self.is_sign(0, "+") {
            self.at += 1;
        }
        let token = self.peek();
        if token.kind == syntax::Kind::Number || parse_number(self.str_of(token)).is_some() {
            let value = self.number()?;
            return Ok(if negative { -value } else { value });
        }
        Err(self.unexpected("fill modifier", "number"))
    }
}

/// An infix operator with its modifiers and place.
pub(crate) struct Infix {
    op: Operator,
    returns_bool: bool,
    matching: Matching,
    /// Whether any matching was written.
    matching_written: bool,
}

impl Grammar for Parser<'_> {
    type Node = Expr;
    type Operator = Infix;

    fn operand(&mut self) -> Result<Expr> {
        self.deeper(|p| {
            let token = p.peek();
            let negate = p.is_sign(0, "-");
            if !negate && !p.is_sign(0, "+") {
                let primary = p.primary()?;
                return p.postfixes(primary);
            }
            p.at += 1;
            let inner = climb(p, UNARY_LEVEL + 1)?;
            match inner.kind {
                Kind::Number(n) => p.node(Kind::Number(if negate { -n } else { n }), token.start),
                _ if !matches!(inner.type_of(), Type::Scalar | Type::Vector) => {
                    Err(Error::invalid(format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {:?}",
                        inner.type_of().as_str()
                    ))
                    .with_span(token.start, inner.end))
                }
                _ => p.node(Kind::Unary { negate, inner: Box::new(inner) }, token.start),
            }
        })
    }

    fn peek_power(&self) -> Option<Power> {
        let token = self.peek();
        if !matches!(token.kind, syntax::Kind::Sign | syntax::Kind::Word) {
            return None;
        }
        let op = Operator::find(self.str_of(token))?;
        Some(Power { level: op.level(), right_associative: op.as_str() == "^" })
    }

    fn operator(&mut self) -> Result<Infix> {
        let token = self.next();
        let Some(op) = Operator::find(self.str_of(token)) else {
            return Err(self.unexpected("", "operator"));
        };
        let (returns_bool, matching, matching_written) = self.matching(op)?;
        Ok(Infix { op, returns_bool, matching, matching_written })
    }

    fn combine(&mut self, left: Expr, infix: Infix, right: Expr) -> Result<Expr> {
        let Infix { op, returns_bool, matching, matching_written } = infix;
        let (start, end) = (left.start, right.end);
        let fail = |what: String| Err(Error::invalid(what).with_span(start, end));
        for side in [&left, &right] {
            if !matches!(side.type_of(), Type::Scalar | Type::Vector) {
                return Err(Error::invalid(
                    "binary expression must contain only scalar and instant vector types",
                )
                .with_span(side.start, side.end));
            }
        }
        let scalars = [&left, &right].iter().filter(|e| e.type_of() == Type::Scalar).count();
        if scalars > 0 && matching_written {
            return fail("vector matching only allowed between instant vectors".into());
        }
        if scalars > 0 && op.is_set() {
            return fail(format!(
                "set operator {:?} not allowed in binary scalar expression",
                op.as_str()
            ));
        }
        if scalars == 2 && op.is_comparison() && !returns_bool {
            return fail("comparisons between scalars must use BOOL modifier".into());
        }
        build(
            Kind::Binary(Box::new(Binary { op, returns_bool, matching, left, right })),
            start,
            end,
        )
    }
}

/// A node; checks how deep it is.
fn build(kind: Kind, start: usize, end: usize) -> Result<Expr> {
    let below = match &kind {
        Kind::Number(_) | Kind::Text { .. } | Kind::Selector(_) | Kind::Range { .. } => 0,
        Kind::Paren(inner) | Kind::Unary { inner, .. } => inner.depth,
        Kind::Binary(b) => b.left.depth.max(b.right.depth),
        Kind::Subquery(s) => s.inner.depth,
        Kind::Call { args, .. } => args.iter().map(|a| a.depth).max().unwrap_or(0),
        Kind::Aggregate(a) => a.inner.depth.max(a.param.as_ref().map_or(0, |p| p.depth)),
    };
    if below >= TREE_DEPTH_MAX {
        return Err(too_deep(start, end));
    }
    Ok(Expr { kind, start, end, depth: below + 1 })
}

fn too_deep(start: usize, end: usize) -> Error {
    Error::invalid(format!(
        "expression is nested too deeply; the limit is {DEPTH_MAX} levels, or {TREE_DEPTH_MAX} operators in a row"
    ))
        .with_span(start, end)
}

fn expect_type(expr: &Expr, expected: Type, context: &str) -> Result<()> {
    let actual = expr.type_of();
    if actual == expected {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "expected type {} in {context}, got {}",
        expected.as_str(),
        actual.as_str()
    ))
    .with_span(expr.start, expr.end))
}

fn set_at(expr: &mut Expr, at: At, token: Token) -> Result<()> {
    let slot = match &mut expr.kind {
        Kind::Selector(s) => &mut s.at,
        Kind::Range { selector, .. } => &mut selector.at,
        Kind::Subquery(s) => &mut s.at,
        _ => {
            return Err(Error::invalid(
                "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            )
            .with_span(token.start, token.end));
        }
    };
    if slot.replace(at).is_some() {
        return Err(Error::invalid("@ <timestamp> may not be set multiple times")
            .with_span(token.start, token.end));
    }
    Ok(())
}

fn set_offset(expr: &mut Expr, offset: Duration, token: Token) -> Result<()> {
    let slot = match &mut expr.kind {
        Kind::Selector(s) => &mut s.offset,
        Kind::Range { selector, .. } => &mut selector.offset,
        Kind::Subquery(s) => &mut s.offset,
        _ => {
            return Err(Error::invalid(
                "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
            )
            .with_span(token.start, token.end));
        }
    };
    if slot.replace(offset).is_some() {
        return Err(Error::invalid("offset may not be set multiple times")
            .with_span(token.start, token.end));
    }
    Ok(())
}

fn set_edges(expr: &mut Expr, edges: Edges, token: Token) -> Result<()> {
    let slot = match &mut expr.kind {
        Kind::Selector(s) if edges == Edges::Smoothed => &mut s.edges,
        Kind::Range { selector, .. } => &mut selector.edges,
        _ => {
            return Err(Error::invalid(
                "anchored and smoothed modifiers must be preceded by a range vector selector, smoothed also by an instant vector selector",
            )
            .with_span(token.start, token.end));
        }
    };
    *slot = edges;
    Ok(())
}

fn is_keyword(text: &str) -> bool {
    const KEYWORDS: [&str; 10] = [
        "by",
        "without",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "bool",
        "offset",
        "anchored",
        "smoothed",
    ];
    KEYWORDS.iter().any(|k| k.eq_ignore_ascii_case(text))
}

fn is_operator_word(text: &str) -> bool {
    Operator::find(text).is_some()
}

fn is_unit(text: &str) -> bool {
    matches!(text, "y" | "w" | "d" | "h" | "m" | "s" | "ms")
}

fn unknown_function(name: &str) -> Error {
    let names = functions::names().chain(AggregateOp::names());
    let hint = hint(syntax::nearest(name, names));
    Error::invalid(format!("unknown function with name {name:?}{hint}"))
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or(String::new(), |name| format!("; did you mean {name:?}?"))
}

/// Words that may follow an expression.
const FOLLOWERS: [&str; 12] = [
    "and",
    "anchored",
    "atan2",
    "bool",
    "by",
    "group_left",
    "group_right",
    "ignoring",
    "offset",
    "or",
    "unless",
    "without",
];

/// A selector with nothing but matchers.
pub(super) fn plain_selector(name: Option<String>, matchers: Vec<model::Matcher>) -> Selector {
    Selector { name, matchers, offset: None, at: None, edges: Edges::Plain }
}

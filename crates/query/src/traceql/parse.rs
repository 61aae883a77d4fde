//! The grammar of TraceQL: pipelines, operators between sets of spans, aggregates and metrics here, expressions over one
//! span in `parse/expressions.rs`.
//!
//! Operators outside of braces are climbed once for all that they can stand between (sets of spans, numbers of a set, series):
//! what an operand is decides what an operator means.

mod expressions;
mod metrics;

use model::{Error, Result};

use super::ast::{
    Aggregate, Expr, Form, Metric, Query, Relation, Root, Scalar, Spanset, SpansetOp, Stage,
};
use super::field::{Field, Type};
use super::tokens::{self, Kind, Token, tokenize};
use super::value::{Arithmetic, Comparison, Value};
use crate::syntax::{DEPTH_MAX, Grammar, Power, TEXT_BYTES_MAX, climb};

/// Operators and stages of one query; chains of them make trees as deep as they are long.
const OPERATORS_MAX: usize = 500;

/// How tightly operators bind, inside of braces and outside.
mod level {
    pub(super) const LOGICAL: u8 = 1;
    pub(super) const COMPARISON: u8 = 2;
    pub(super) const SUM: u8 = 3;
    pub(super) const PRODUCT: u8 = 4;
    pub(super) const POWER: u8 = 5;
}

/// Parses a query and checks its types.
///
/// # Errors
/// [`Invalid`](model::ErrorKind::Invalid) with the place as span.
pub fn parse(text: &str) -> Result<Query> {
    let mut parser = Parser::new(text)?;
    let node = parser.pipeline()?;
    let root = match node {
        Node::Spans(spanset) => Root::Spans(vec![Stage::Spans(spanset)]),
        Node::Pipeline(stages) => Root::Spans(stages),
        Node::Metric(metric) => Root::Metrics(metric),
        Node::Scalar(_) => {
            return Err(parser.fail("an aggregate needs a comparison, as in count() > 2"));
        }
        Node::Number { .. } => {
            return Err(Error::invalid("a number alone selects no spans").with_span(0, text.len()));
        }
    };
    let hints = parser.hints()?;
    match parser.peek().kind {
        Kind::End => Ok(Query { root, hints }),
        _ => Err(parser.unexpected("the end of the query")),
    }
}

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    depth: usize,
    operators: usize,
}

/// What an expression outside of braces is.
enum Node {
    Spans(Spanset),
    Pipeline(Vec<Stage>),
    /// Without a comparison yet.
    Scalar(Scalar),
    /// `is_plain`: one literal, as opposed to the result of arithmetic.
    Number {
        value: Value<'static>,
        is_plain: bool,
    },
    Metric(Metric),
}

impl Node {
    fn what(&self) -> &'static str {
        match self {
            Self::Spans(_) | Self::Pipeline(_) => "spans",
            Self::Scalar(_) => "an aggregate",
            Self::Number { .. } => "a number",
            Self::Metric(_) => "a metric",
        }
    }
}

impl<'t> Parser<'t> {
    fn new(text: &'t str) -> Result<Self> {
        if text.len() > TEXT_BYTES_MAX {
            return Err(Error::invalid(format!(
                "query has {} bytes; the limit is {TEXT_BYTES_MAX}",
                text.len()
            ))
            .with_span(0, text.len()));
        }
        Ok(Self { tokens: tokenize(text)?, at: 0, depth: 0, operators: 0 })
    }

    /// The next token; the last one is the end for ever.
    fn peek(&self) -> Token<'t> {
        let last = self.tokens.len() - 1;
        self.tokens[self.at.min(last)]
    }

    fn peek_second(&self) -> Token<'t> {
        let last = self.tokens.len() - 1;
        self.tokens[(self.at + 1).min(last)]
    }

    fn next(&mut self) -> Token<'t> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn is(&self, sign: &str) -> bool {
        self.peek().kind == Kind::Sign && self.peek().text == sign
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_there = self.is(sign);
        self.at += usize::from(is_there);
        is_there
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&format!("{sign:?}"))) }
    }

    fn fail(&self, what: &str) -> Error {
        let token = self.peek();
        Error::invalid(what).with_span(token.start, token.end)
    }

    fn unexpected(&self, expected: &str) -> Error {
        let token = self.peek();
        let found = match token.kind {
            Kind::End => "the end of the query".to_owned(),
            _ => format!("{:?}", token.text),
        };
        self.fail(&format!("unexpected {found}, expected {expected}"))
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return Err(self.fail(&format!("query is nested over {DEPTH_MAX} levels deep")));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn count_operator(&mut self) -> Result<()> {
        self.operators += 1;
        if self.operators > OPERATORS_MAX {
            return Err(self.fail(&format!("query has over {OPERATORS_MAX} operators and stages")));
        }
        Ok(())
    }

    /// Elements joined by `|`, up to a closing parenthesis or the end.
    fn pipeline(&mut self) -> Result<Node> {
        self.deeper(Self::pipeline_elements)
    }

    fn pipeline_elements(&mut self) -> Result<Node> {
        let mut node = match self.stage()? {
            Some(stage) => Node::Pipeline(vec![stage]),
            None => self.operators()?,
        };
        while self.is("|") {
            self.count_operator()?;
            let mut stages = match node {
                Node::Spans(spanset) => vec![Stage::Spans(spanset)],
                Node::Pipeline(stages) => stages,
                Node::Metric(metric) => {
                    self.next();
                    node = Node::Metric(self.second_stage(metric)?);
                    continue;
                }
                Node::Scalar(_) => {
                    return Err(self.fail("an aggregate needs a comparison before the next stage"));
                }
                Node::Number { .. } => return Err(self.fail("a number alone selects no spans")),
            };
            self.next();
            if let Some(stage) = self.stage()? {
                stages.push(stage);
                node = Node::Pipeline(stages);
                continue;
            }
            if self.is("(") || self.is("{") || self.is_scalar() {
                node = match self.operators()? {
                    Node::Spans(spanset) => {
                        stages.push(Stage::Spans(spanset));
                        Node::Pipeline(stages)
                    }
                    Node::Pipeline(inner) => {
                        match <[Stage; 1]>::try_from(inner) {
                            Ok([single]) => stages.push(single),
                            Err(inner) => stages.push(Stage::Spans(Spanset::Pipeline(inner))),
                        }
                        Node::Pipeline(stages)
                    }
                    Node::Scalar(scalar) => {
                        Node::Scalar(Scalar::Pipeline(stages, Box::new(scalar)))
                    }
                    other => {
                        let what = format!("{} cannot stand behind a |", other.what());
                        return Err(self.fail(&what));
                    }
                };
                continue;
            }
            node = Node::Metric(self.metric(stages)?);
        }
        Ok(node)
    }

    fn is_scalar(&self) -> bool {
        let token = self.peek();
        match token.kind {
            Kind::Number => true,
            Kind::Sign => token.text == "-",
            Kind::Word => aggregate(token.text).is_some() && self.peek_second().text == "(",
            _ => false,
        }
    }

    /// `by(…)`, `select(…)` or `coalesce()`.
    fn stage(&mut self) -> Result<Option<Stage>> {
        let token = self.peek();
        if token.kind != Kind::Word {
            return Ok(None);
        }
        let stage = match token.text {
            "by" => {
                self.next();
                self.expect("(")?;
                let key = self.span_expression()?;
                self.expect(")")?;
                Stage::By(key)
            }
            "select" => {
                self.next();
                Stage::Select(self.field_list()?)
            }
            "coalesce" if self.at > 0 => {
                self.next();
                self.expect("(")?;
                self.expect(")")?;
                Stage::Coalesce
            }
            _ => return Ok(None),
        };
        Ok(Some(stage))
    }

    /// Names in parentheses, at least one.
    fn field_list(&mut self) -> Result<Vec<Field>> {
        self.expect("(")?;
        let mut fields = vec![self.field()?];
        while self.take(",") {
            fields.push(self.field()?);
        }
        self.expect(")")?;
        Ok(fields)
    }

    fn operators(&mut self) -> Result<Node> {
        climb(&mut Sets(self), level::LOGICAL)
    }

    /// `with(name=value, …)`, possibly absent.
    fn hints(&mut self) -> Result<Vec<(String, Value<'static>)>> {
        let mut hints = Vec::new();
        while self.peek().kind == Kind::Word && self.peek().text == "with" {
            self.next();
            self.expect("(")?;
            loop {
                if self.peek().kind != Kind::Word {
                    return Err(self.unexpected("the name of a hint"));
                }
                let name = self.next().text.to_owned();
                self.expect("=")?;
                hints.push((name, self.literal()?));
                if !self.take(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        Ok(hints)
    }

    /// `count()`, or an aggregate of an expression.
    fn aggregate(&mut self, function: Option<Aggregate>) -> Result<Scalar> {
        let name = self.next();
        self.expect("(")?;
        let Some(function) = function else {
            self.expect(")")?;
            return Ok(Scalar::Count);
        };
        let typed = self.typed_expression()?;
        self.expect(")")?;
        if !matches!(typed.value_type, Type::Number | Type::Any) {
            return Err(typed.fail(&format!(
                "{} takes a number or duration, not {}",
                name.text,
                typed.value_type.name()
            )));
        }
        if !typed.has_field {
            return Err(typed.fail(&format!("{} takes a field of the spans", name.text)));
        }
        Ok(Scalar::Aggregate(function, typed.expr))
    }

    /// An expression that says something of each span.
    fn span_expression(&mut self) -> Result<Expr> {
        let typed = self.typed_expression()?;
        if !typed.has_field {
            return Err(typed.fail("an expression without a field is the same for all spans"));
        }
        Ok(typed.expr)
    }
}

/// The aggregate a word names; `count` takes no expression.
fn aggregate(word: &str) -> Option<Option<Aggregate>> {
    Some(match word {
        "count" => None,
        "avg" => Some(Aggregate::Avg),
        "min" => Some(Aggregate::Min),
        "max" => Some(Aggregate::Max),
        "sum" => Some(Aggregate::Sum),
        _ => return None,
    })
}

/// Operators outside of braces.
enum SetOperator {
    Spans(SpansetOp),
    Compare(Comparison),
    /// `>` and `<`, of spans or of numbers.
    Ordered(Relation, Comparison),
    Calculate(Arithmetic),
}

fn comparison(sign: &str) -> Option<Comparison> {
    Some(match sign {
        "=" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn arithmetic(sign: &str) -> Option<(u8, Arithmetic)> {
    Some(match sign {
        "+" => (level::SUM, Arithmetic::Add),
        "-" => (level::SUM, Arithmetic::Subtract),
        "*" => (level::PRODUCT, Arithmetic::Multiply),
        "/" => (level::PRODUCT, Arithmetic::Divide),
        "%" => (level::PRODUCT, Arithmetic::Modulo),
        "^" => (level::POWER, Arithmetic::Power),
        _ => return None,
    })
}

fn set_operator(sign: &str) -> Option<(u8, SetOperator)> {
    use Form::{Related, Union, Unrelated};
    use Relation::{Ancestor, Child, Descendant, Parent, Sibling};
    let structural = |relation, form| {
        (level::COMPARISON, SetOperator::Spans(SpansetOp::Structural(relation, form)))
    };
    Some(match sign {
        "&&" => (level::LOGICAL, SetOperator::Spans(SpansetOp::And)),
        "||" => (level::LOGICAL, SetOperator::Spans(SpansetOp::Or)),
        ">" => (level::COMPARISON, SetOperator::Ordered(Child, Comparison::Greater)),
        "<" => (level::COMPARISON, SetOperator::Ordered(Parent, Comparison::Less)),
        ">>" => structural(Descendant, Related),
        "<<" => structural(Ancestor, Related),
        "~" => structural(Sibling, Related),
        "!>" => structural(Child, Unrelated),
        "!<" => structural(Parent, Unrelated),
        "!>>" => structural(Descendant, Unrelated),
        "!<<" => structural(Ancestor, Unrelated),
        "!~" => structural(Sibling, Unrelated),
        "&>" => structural(Child, Union),
        "&<" => structural(Parent, Union),
        "&>>" => structural(Descendant, Union),
        "&<<" => structural(Ancestor, Union),
        "&~" => structural(Sibling, Union),
        _ => match (comparison(sign), arithmetic(sign)) {
            (Some(comparison), _) => (level::COMPARISON, SetOperator::Compare(comparison)),
            (None, Some((level, op))) => (level, SetOperator::Calculate(op)),
            (None, None) => return None,
        },
    })
}

/// The grammar outside of braces.
struct Sets<'p, 't>(&'p mut Parser<'t>);

impl<'t> Grammar for Sets<'_, 't> {
    type Node = Node;
    type Operator = (SetOperator, Token<'t>);

    fn operand(&mut self) -> Result<Node> {
        let parser = &mut *self.0;
        let token = parser.peek();
        match token.kind {
            Kind::Sign if token.text == "{" => Ok(Node::Spans(parser.filter()?)),
            Kind::Sign if token.text == "(" => {
                parser.next();
                let inner = parser.pipeline()?;
                parser.expect(")")?;
                Ok(match inner {
                    Node::Number { value, .. } => Node::Number { value, is_plain: false },
                    other => other,
                })
            }
            Kind::Sign if token.text == "-" => {
                parser.next();
                match parser.deeper(|parser| climb(&mut Sets(parser), level::POWER))? {
                    Node::Number { value, is_plain } => {
                        Ok(Node::Number { value: negative(&value), is_plain })
                    }
                    other => Err(Error::invalid(format!("{} has no sign", other.what()))
                        .with_span(token.start, token.end)),
                }
            }
            Kind::Number => Ok(Node::Number { value: parser.literal()?, is_plain: true }),
            Kind::Word => match aggregate(token.text) {
                Some(function) if parser.peek_second().text == "(" => {
                    Ok(Node::Scalar(parser.aggregate(function)?))
                }
                _ => Err(parser.unexpected("spans in braces, an aggregate such as count() or (")),
            },
            _ => Err(parser.unexpected("spans in braces, an aggregate such as count() or (")),
        }
    }

    fn peek_power(&self) -> Option<Power> {
        let token = self.0.peek();
        let (level, _) = set_operator(token.text).filter(|_| token.kind == Kind::Sign)?;
        Some(Power { level, right_associative: level == level::POWER })
    }

    fn operator(&mut self) -> Result<(SetOperator, Token<'t>)> {
        self.0.count_operator()?;
        let token = self.0.next();
        let (_, operator) = set_operator(token.text).expect("BUG: an operator was there");
        Ok((operator, token))
    }

    fn combine(
        &mut self,
        left: Node,
        (operator, token): (SetOperator, Token<'t>),
        right: Node,
    ) -> Result<Node> {
        let (l, r) = (left.what(), right.what());
        combine(left, operator, right).map_err(|reason| {
            let what = match reason {
                "" => format!("{:?} cannot stand between {l} and {r}", token.text),
                reason => format!("{:?} between {l} and {r}: {reason}", token.text),
            };
            Error::invalid(what).with_span(token.start, token.end)
        })
    }
}

/// Spans as an operand.
fn spans(node: Node) -> Option<Spanset> {
    match node {
        Node::Spans(spanset) => Some(spanset),
        Node::Pipeline(stages) => Some(Spanset::Pipeline(stages)),
        _ => None,
    }
}

fn scalar(node: Node) -> Option<Scalar> {
    match node {
        Node::Scalar(scalar) => Some(scalar),
        Node::Number { value, .. } => Some(Scalar::Literal(value)),
        _ => None,
    }
}

/// The node of an operation, or why there is none.
fn combine(left: Node, operator: SetOperator, right: Node) -> Result<Node, &'static str> {
    let is_number = |node: &Node| matches!(node, Node::Number { .. });
    let operator = match operator {
        SetOperator::Ordered(relation, comparison) => {
            if matches!(
                (&left, &right),
                (Node::Spans(_) | Node::Pipeline(_), Node::Spans(_) | Node::Pipeline(_))
            ) {
                SetOperator::Spans(SpansetOp::Structural(relation, Form::Related))
            } else {
                SetOperator::Compare(comparison)
            }
        }
        other => other,
    };
    match operator {
        SetOperator::Spans(op) => {
            // A comparison of aggregates is a stage: it stands in a pipeline or in parentheses.
            let (left, right) = (spans(left).ok_or("")?, spans(right).ok_or("")?);
            let is_bare = |side: &Spanset| match side {
                Spanset::Pipeline(stages) => matches!(stages.as_slice(), [Stage::Scalar(..)]),
                _ => false,
            };
            if is_bare(&left) || is_bare(&right) {
                return Err(
                    "a comparison of aggregates needs spans in front of it: ({…} | count() > 1)",
                );
            }
            Ok(Node::Spans(Spanset::Operation(op, Box::new(left), Box::new(right))))
        }
        SetOperator::Ordered(..) => Err("BUG: resolved above"),
        SetOperator::Compare(comparison) => match (left, right) {
            (left @ Node::Metric(_), right) | (left, right @ Node::Metric(_)) => {
                metrics::filter(left, comparison, right).map(Node::Metric)
            }
            (left, right) if is_number(&left) && is_number(&right) => {
                Err("it is the same for all traces")
            }
            (left, right) => {
                let (left, right) = (scalar(left).ok_or("")?, scalar(right).ok_or("")?);
                Ok(Node::Pipeline(vec![Stage::Scalar(comparison, left, right)]))
            }
        },
        SetOperator::Calculate(op) => match (left, right) {
            (left @ Node::Metric(_), right) | (left, right @ Node::Metric(_)) => {
                metrics::calculate(op, left, right).map(Node::Metric)
            }
            (Node::Number { value: l, .. }, Node::Number { value: r, .. }) => {
                Ok(Node::Number { value: op.on_values(&l, &r), is_plain: false })
            }
            (left, right) => {
                let (left, right) = (scalar(left).ok_or("")?, scalar(right).ok_or("")?);
                Ok(Node::Scalar(Scalar::Calculate(op, Box::new(left), Box::new(right))))
            }
        },
    }
}

fn negative(value: &Value<'_>) -> Value<'static> {
    match value {
        Value::Int(value) => Value::Int(value.wrapping_neg()),
        Value::Float(value) => Value::Float(-value),
        Value::Duration(ns) => Value::Duration(ns.wrapping_neg()),
        _ => Value::Nil,
    }
}

impl Parser<'_> {
    /// A literal, with its sign.
    fn literal(&mut self) -> Result<Value<'static>> {
        let is_negative = self.take("-");
        let token = self.peek();
        let value = match token.kind {
            Kind::Number => match tokens::number(token.text, token.start)? {
                tokens::Number::Int(value) => Value::Int(value),
                tokens::Number::Float(value) => Value::Float(value),
                tokens::Number::Duration(ns) => Value::Duration(ns),
            },
            Kind::Text if !is_negative => Value::Text(tokens::text_of(token)?.into()),
            Kind::Word if !is_negative => match super::field::literal(token.text) {
                Some(value) => value,
                None => return Err(self.unexpected("a value")),
            },
            _ => return Err(self.unexpected("a value")),
        };
        self.next();
        Ok(if is_negative { negative(&value) } else { value })
    }
}

//! Expressions over the fields of one span, with their types.

use std::borrow::Cow;

use model::{Error, Result, anchored_regex};

use super::{Parser, arithmetic, comparison, level};
use crate::syntax::{Grammar, Power, climb};
use crate::traceql::ast::{Expr, Spanset};
use crate::traceql::field::{self, Field, Type};
use crate::traceql::tokens::{Kind, Token, text_of};
use crate::traceql::value::{Arithmetic, Comparison, Value};

/// An expression, what it gives and where it stands.
pub(super) struct Typed {
    pub(super) expr: Expr,
    pub(super) value_type: Type,
    pub(super) has_field: bool,
    start: usize,
    end: usize,
}

impl Typed {
    pub(super) fn fail(&self, what: &str) -> Error {
        Error::invalid(what).with_span(self.start, self.end)
    }

    /// Whether it can be an operand of `&&`, `||` and `!`.
    fn is_condition(&self) -> bool {
        matches!(self.value_type, Type::Bool | Type::Any)
    }

    fn is_number(&self) -> bool {
        matches!(self.value_type, Type::Number | Type::Any)
    }

    fn is_nil(&self) -> bool {
        matches!(self.expr, Expr::Literal(Value::Nil))
    }
}

impl Parser<'_> {
    /// `{ … }`
    pub(super) fn filter(&mut self) -> Result<Spanset> {
        self.expect("{")?;
        if self.take("}") {
            return Ok(Spanset::Filter(Expr::Literal(Value::Bool(true))));
        }
        let typed = self.typed_expression()?;
        self.expect("}")?;
        if !typed.is_condition() {
            let what =
                format!("spans are selected by a condition, not by {}", typed.value_type.name());
            return Err(typed.fail(&what));
        }
        Ok(Spanset::Filter(typed.expr))
    }

    pub(super) fn typed_expression(&mut self) -> Result<Typed> {
        self.deeper(|parser| climb(&mut Expressions(parser), level::LOGICAL))
    }

    /// One field.
    pub(super) fn field(&mut self) -> Result<Field> {
        let token = self.peek();
        let field = match token.kind {
            Kind::Attribute => Field::of_attribute(token),
            Kind::Word => match Field::of_word(token.text) {
                Some(field) => field,
                None => return Err(field::unknown_word(token)),
            },
            _ => return Err(self.unexpected("a field, as in span.name or duration")),
        };
        self.next();
        Ok(field)
    }

    fn word(&mut self, token: Token<'_>) -> Result<(Expr, Type, bool)> {
        if let Some(value) = field::literal(token.text) {
            self.next();
            let value_type = type_of(&value);
            return Ok((Expr::Literal(value), value_type, false));
        }
        if token.text == "parent" {
            let what = "parent alone is not supported; name one of its fields, as in parent.name";
            return Err(self.fail(what));
        }
        let field = self.field()?;
        let value_type = field.value_type();
        Ok((Expr::Field(field), value_type, true))
    }
}

fn type_of(value: &Value<'_>) -> Type {
    match value {
        Value::Nil => Type::Nil,
        Value::Bool(_) => Type::Bool,
        Value::Int(_) | Value::Float(_) | Value::Duration(_) => Type::Number,
        Value::Text(_) => Type::Text,
        Value::Status(_) => Type::Status,
        Value::Kind(_) => Type::Kind,
        Value::Many(_) => Type::Any,
    }
}

enum Operator {
    And,
    Or,
    Compare(Comparison),
    /// Whether a match is wanted.
    Match(bool),
    Calculate(Arithmetic),
}

fn operator(sign: &str) -> Option<(u8, Operator)> {
    Some(match sign {
        "&&" => (level::LOGICAL, Operator::And),
        "||" => (level::LOGICAL, Operator::Or),
        "=~" => (level::COMPARISON, Operator::Match(true)),
        "!~" => (level::COMPARISON, Operator::Match(false)),
        _ => match (comparison(sign), arithmetic(sign)) {
            (Some(comparison), _) => (level::COMPARISON, Operator::Compare(comparison)),
            (None, Some((level, op))) => (level, Operator::Calculate(op)),
            (None, None) => return None,
        },
    })
}

struct Expressions<'p, 't>(&'p mut Parser<'t>);

impl<'t> Grammar for Expressions<'_, 't> {
    type Node = Typed;
    type Operator = (Operator, Token<'t>);

    fn operand(&mut self) -> Result<Typed> {
        let parser = &mut *self.0;
        let token = parser.peek();
        let (expr, value_type, has_field) = match (token.kind, token.text) {
            (Kind::Sign, "(") => {
                parser.next();
                let inner = parser.typed_expression()?;
                parser.expect(")")?;
                return Ok(inner);
            }
            (Kind::Sign, "!") => {
                parser.next();
                let inner =
                    parser.deeper(|parser| climb(&mut Expressions(parser), level::PRODUCT))?;
                if !inner.is_condition() {
                    let what = format!("! takes a condition, not {}", inner.value_type.name());
                    return Err(inner.fail(&what));
                }
                (Expr::Not(Box::new(inner.expr)), Type::Bool, inner.has_field)
            }
            (Kind::Sign, "-") => {
                parser.next();
                let inner =
                    parser.deeper(|parser| climb(&mut Expressions(parser), level::PRODUCT))?;
                if !inner.is_number() {
                    let what = format!("- takes a number, not {}", inner.value_type.name());
                    return Err(inner.fail(&what));
                }
                let expr = match inner.expr {
                    Expr::Literal(value) => Expr::Literal(super::negative(&value)),
                    other => Expr::Negative(Box::new(other)),
                };
                (expr, inner.value_type, inner.has_field)
            }
            (Kind::Number, _) => (Expr::Literal(parser.literal()?), Type::Number, false),
            (Kind::Text, _) => {
                let text = Value::Text(Cow::Owned(text_of(token)?));
                parser.next();
                (Expr::Literal(text), Type::Text, false)
            }
            (Kind::Attribute, _) => (Expr::Field(parser.field()?), Type::Any, true),
            (Kind::Word, _) => parser.word(token)?,
            _ => return Err(parser.unexpected("a field or value")),
        };
        // A parent's intrinsics have types as well.
        let value_type = match &expr {
            Expr::Field(field) => field.value_type(),
            _ => value_type,
        };
        let end = parser.tokens[parser.at - 1].end;
        Ok(Typed { expr, value_type, has_field, start: token.start, end })
    }

    fn peek_power(&self) -> Option<Power> {
        let token = self.0.peek();
        let (level, _) = operator(token.text).filter(|_| token.kind == Kind::Sign)?;
        Some(Power { level, right_associative: level == level::POWER })
    }

    fn operator(&mut self) -> Result<(Operator, Token<'t>)> {
        self.0.count_operator()?;
        let token = self.0.next();
        let (_, operator) = operator(token.text).expect("BUG: an operator was there");
        Ok((operator, token))
    }

    fn combine(
        &mut self,
        left: Typed,
        (operator, token): (Operator, Token<'t>),
        right: Typed,
    ) -> Result<Typed> {
        let (start, end) = (left.start, right.end);
        let has_field = left.has_field || right.has_field;
        let types = [left.value_type, right.value_type];
        let wrong = |what: &str| {
            let [l, r] = types.map(Type::name);
            Error::invalid(format!("{:?} {what}, not {l} and {r}", token.text))
                .with_span(start, end)
        };
        let (expr, value_type) = match operator {
            Operator::And | Operator::Or => {
                if !left.is_condition() || !right.is_condition() {
                    return Err(wrong("joins conditions"));
                }
                let (l, r) = (Box::new(left.expr), Box::new(right.expr));
                let is_and = matches!(operator, Operator::And);
                (if is_and { Expr::And(l, r) } else { Expr::Or(l, r) }, Type::Bool)
            }
            Operator::Match(is_wanted) => {
                let Expr::Literal(Value::Text(pattern)) = &right.expr else {
                    return Err(wrong("takes a pattern in quotes on its right side"));
                };
                if !matches!(left.value_type, Type::Text | Type::Any) {
                    return Err(wrong("matches texts"));
                }
                let regex = anchored_regex(pattern).map_err(|e| e.with_span(right.start, end))?;
                (Expr::Match(Box::new(left.expr), regex, is_wanted), Type::Bool)
            }
            Operator::Calculate(op) => {
                if !left.is_number() || !right.is_number() {
                    return Err(wrong("takes numbers and durations"));
                }
                let is_any = types.contains(&Type::Any);
                let value_type = if is_any { Type::Any } else { Type::Number };
                let expr = match (left.expr, right.expr) {
                    (Expr::Literal(l), Expr::Literal(r)) => Expr::Literal(op.on_values(&l, &r)),
                    (l, r) => Expr::Calculate(op, Box::new(l), Box::new(r)),
                };
                (expr, value_type)
            }
            Operator::Compare(comparison) => {
                check_comparison(comparison, &left, &right, &wrong)?;
                let expr = match (left.expr, right.expr) {
                    (Expr::Field(field), Expr::Literal(value))
                        if field.is_parent_number()
                            && comparison == Comparison::Less
                            && value == Value::Int(0) =>
                    {
                        Expr::Field(field.into_is_root())
                    }
                    (l, r) => {
                        let (l, r) = with_whole_id(l, r);
                        Expr::Compare(comparison, Box::new(l), Box::new(r))
                    }
                };
                (expr, Type::Bool)
            }
        };
        Ok(Typed { expr, value_type, has_field, start, end })
    }
}

/// Two sides of a comparison: an id that is compared with a field has all its digits, as in Tempo.
fn with_whole_id(left: Expr, right: Expr) -> (Expr, Expr) {
    match (left, right) {
        (Expr::Field(field), Expr::Literal(value)) => {
            let value = field.whole_id(value);
            (Expr::Field(field), Expr::Literal(value))
        }
        (Expr::Literal(value), Expr::Field(field)) => {
            let value = field.whole_id(value);
            (Expr::Literal(value), Expr::Field(field))
        }
        sides => sides,
    }
}

fn check_comparison(
    comparison: Comparison,
    left: &Typed,
    right: &Typed,
    wrong: &dyn Fn(&str) -> Error,
) -> Result<()> {
    let is_equality = matches!(comparison, Comparison::Equal | Comparison::NotEqual);
    if left.is_nil() || right.is_nil() {
        if !is_equality {
            return Err(wrong("does not take nil"));
        }
        let other = if left.is_nil() { right } else { left };
        return match &other.expr {
            Expr::Field(field)
                if comparison == Comparison::Equal && !field.may_be_asked_for_nil() =>
            {
                let what =
                    "is not compared with nil; attributes are, but for resource.service.name";
                Err(other.fail(&format!("{} {what}", field.text)))
            }
            _ => Ok(()),
        };
    }
    let has_order = |t: Type| matches!(t, Type::Number | Type::Text | Type::Any);
    let have_order = has_order(left.value_type) && has_order(right.value_type);
    if !is_equality && !have_order {
        return Err(wrong("compares numbers, durations and texts"));
    }
    let is_any = left.value_type == Type::Any || right.value_type == Type::Any;
    if left.value_type != right.value_type && !is_any {
        return Err(wrong("compares values of one type"));
    }
    Ok(())
}

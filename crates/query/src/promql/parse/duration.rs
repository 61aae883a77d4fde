//! Durations: literals, numbers of seconds, and expressions of them with `step()` and `range()`.

use model::{Error, Result};

use super::Parser;
use crate::promql::ast::Duration;
use crate::syntax::{self, duration_ms, parse_number};
use crate::vector::binary::Op;

const EXPECTED: &str = "number, duration, step(), or range()";

/// Largest duration in seconds that Prometheus' nanoseconds hold.
const SECONDS_MAX: f64 = (i64::MAX / 1_000_000_000) as f64;

impl Parser<'_> {
    /// Between brackets: any expression. A literal must be positive there.
    pub(super) fn duration_expr(&mut self) -> Result<Duration> {
        let start = self.peek().start;
        let duration = folded(self.duration_sum(0, "subquery or range selector")?);
        if let Duration::Literal(ms) = duration
            && ms <= 0
        {
            return Err(Error::invalid("duration must be greater than 0")
                .with_span(start, self.previous_end()));
        }
        Ok(duration)
    }

    /// After `offset`: one operand, since what follows belongs to the expression around it.
    pub(super) fn offset_duration(&mut self) -> Result<Duration> {
        self.deeper(|p| p.duration_operand("offset")).map(folded)
    }

    fn duration_sum(&mut self, min_level: u8, context: &str) -> Result<Duration> {
        self.deeper(|p| {
            let mut left = p.duration_signed(context)?;
            loop {
                let token = p.peek();
                let (op, level) = match p.str_of(token) {
                    "+" => (Op::Add, 1),
                    "-" => (Op::Sub, 1),
                    "*" => (Op::Mul, 2),
                    "/" => (Op::Div, 2),
                    "%" => (Op::Mod, 2),
                    "^" => (Op::Pow, 3),
                    _ => return Ok(left),
                };
                if level <= min_level {
                    return Ok(left);
                }
                p.at += 1;
                let right_level = if op == Op::Pow { level - 1 } else { level };
                let right = p.duration_sum(right_level, context)?;
                let is_zero = matches!(right, Duration::Literal(0))
                    || matches!(right, Duration::Number(n) if n == 0.0);
                if is_zero && matches!(op, Op::Div | Op::Mod) {
                    let what = if op == Op::Div { "division by zero" } else { "modulo by zero" };
                    return Err(Error::invalid(what).with_span(token.start, p.previous_end()));
                }
                p.duration_nodes += 1;
                if p.duration_nodes > syntax::DEPTH_MAX {
                    return Err(super::too_deep(token.start, p.previous_end()));
                }
                left = Duration::Binary(Box::new((left, op, right)));
            }
        })
    }

    /// An operand with signs, which bind like `*`.
    fn duration_signed(&mut self, context: &str) -> Result<Duration> {
        if self.accept("+") {
            return self.duration_sum(2, context);
        }
        if self.accept("-") {
            return Ok(Duration::Negative(Box::new(self.duration_sum(2, context)?)));
        }
        self.duration_operand(context)
    }

    fn duration_operand(&mut self, context: &str) -> Result<Duration> {
        let token = self.peek();
        if token.kind == syntax::Kind::Number {
            return self.duration_literal();
        }
        if self.is_sign(0, "-") || self.is_sign(0, "+") {
            let negate = self.is_sign(0, "-");
            self.at += 1;
            let inner = self.deeper(|p| p.duration_operand(context))?;
            return Ok(if negate { Duration::Negative(Box::new(inner)) } else { inner });
        }
        if self.accept("(") {
            let inner = self.duration_sum(0, context)?;
            self.expect(")", context)?;
            return Ok(Duration::Paren(Box::new(inner)));
        }
        if self.is_sign(1, "(") {
            for (word, duration) in [("step", Duration::Step), ("range", Duration::Range)] {
                if self.is_word(0, word) {
                    self.at += 2;
                    self.expect(")", context)?;
                    return Ok(duration);
                }
            }
            if self.is_word(0, "min_of") || self.is_word(0, "max_of") {
                let max = self.is_word(0, "max_of");
                self.at += 2;
                let first = self.duration_sum(0, context)?;
                self.expect(",", context)?;
                let second = self.duration_sum(0, context)?;
                self.expect(")", context)?;
                return Ok(Duration::Extreme { max, pair: Box::new((first, second)) });
            }
        }
        Err(self.unexpected(context, EXPECTED))
    }

    fn duration_literal(&mut self) -> Result<Duration> {
        let token = self.peek();
        let text = self.str_of(token);
        if parse_number(text).is_none()
            && let Some(ms) = duration_ms(text)
        {
            self.at += 1;
            return Ok(Duration::Literal(ms));
        }
        let seconds = self.number()?;
        if !seconds.is_finite() || seconds.abs() > SECONDS_MAX {
            return Err(Error::invalid("duration out of range").with_span(token.start, token.end));
        }
        Ok(Duration::Number(seconds))
    }
}

/// A literal for what is one, with its sign; everything else as it is.
fn folded(duration: Duration) -> Duration {
    match &duration {
        Duration::Number(seconds) => Duration::Literal(to_ms(*seconds)),
        Duration::Negative(inner) => match **inner {
            Duration::Literal(ms) => Duration::Literal(-ms),
            Duration::Number(seconds) => Duration::Literal(to_ms(-seconds)),
            _ => duration,
        },
        _ => duration,
    }
}

/// Seconds to milliseconds.
fn to_ms(seconds: f64) -> i64 {
    // Saturates; the bound is checked where a duration is used.
    (seconds * 1000.0).round() as i64
}

impl Duration {
    /// Its length in milliseconds in a query with this step and range.
    ///
    /// # Errors
    /// `Invalid` for divisions by zero and lengths out of range.
    pub(crate) fn resolve_ms(&self, step_ms: i64, range_ms: i64) -> Result<i64> {
        if let Self::Literal(ms) = self {
            return Ok(*ms);
        }
        let seconds = self.seconds(step_ms, range_ms)?;
        if !seconds.is_finite() || seconds.abs() > SECONDS_MAX {
            return Err(Error::invalid("duration is out of range"));
        }
        Ok(to_ms(seconds))
    }

    fn seconds(&self, step_ms: i64, range_ms: i64) -> Result<f64> {
        let of = |duration: &Self| duration.seconds(step_ms, range_ms);
        Ok(match self {
            Self::Literal(ms) => *ms as f64 / 1000.0,
            Self::Number(n) => *n,
            Self::Step => step_ms as f64 / 1000.0,
            Self::Range => range_ms as f64 / 1000.0,
            Self::Negative(inner) => -of(inner)?,
            Self::Paren(inner) => of(inner)?,
            Self::Binary(parts) => match (of(&parts.0)?, parts.1, of(&parts.2)?) {
                (_, Op::Div, 0.0) => return Err(Error::invalid("division by zero")),
                (_, Op::Mod, 0.0) => return Err(Error::invalid("modulo by zero")),
                (left, op, right) => op.apply(left, right),
            },
            Self::Extreme { max, pair } => {
                let (a, b) = (of(&pair.0)?, of(&pair.1)?);
                if *max { a.max(b) } else { a.min(b) }
            }
        })
    }
}

//! A number made of each log line as it arrives: what a log query and `unwrap` say, one row at a time.
//!
//! Does not own: adding numbers up, which is the caller's.

use std::borrow::Cow;

use model::{Error, Labels, LogRow, Matcher, Result};

use super::ast::{ExprKind, LogExpr, Unwrap};
use super::parse::parse;
use super::pipeline::Pipeline;
use super::range::unwrap_value;
use super::row::{ERROR_LABEL, RowLabels};

/// A compiled rule.
#[derive(Debug, Clone)]
pub struct LineMetric {
    log: LogExpr,
    unwrap: Option<Unwrap>,
    by: Vec<String>,
}

/// What a row gives.
#[derive(Debug, Clone, PartialEq)]
pub enum Observed {
    /// A filter dropped it, or it does not have the value.
    Nothing,
    /// A stage or the conversion of the value failed.
    Failed,
    /// A number, 1 for a rule that counts lines, and the labels among those asked for that the row has.
    Value(Labels, f64),
}

impl LineMetric {
    /// `query` is a log query; `value` is what stands behind `unwrap` in LogQL (`bytes(size)`, `latency`), or nothing to
    /// count lines; `by` are the labels of the result.
    ///
    /// # Errors
    /// [`Invalid`](model::ErrorKind::Invalid) as [`parse`](super::parse()), with the place in `query` or `value`.
    pub fn parse(query: &str, value: Option<&str>, by: Vec<String>) -> Result<Self> {
        Pipeline::parse_arriving(query)?;
        let Some(value) = value else {
            let ExprKind::Log(log) = parse(query)?.kind else {
                return Err(Error::invalid("a rule takes a log query; this is a metric query"));
            };
            return Ok(Self { log, unwrap: None, by });
        };
        let range = parse(&format!("sum_over_time({query} | unwrap {value} [1s])"))
            .map_err(|_| Error::invalid(format!("{value:?} is not what `unwrap` takes in LogQL: a label, or duration(label) or bytes(label)")))?;
        match range.kind {
            ExprKind::Range(range) => Ok(Self { log: range.log, unwrap: range.unwrap, by }),
            _ => Err(Error::invalid(format!("{value:?} is more than a value"))),
        }
    }

    /// The stream selector; [`observe`](Self::observe) does not apply it.
    pub fn matchers(&self) -> &[Matcher] {
        &self.log.matchers
    }

    /// Runs all stages on `row`.
    pub fn observe(&self, row: &LogRow<'_>) -> Observed {
        let mut changes = Vec::new();
        let mut labels = RowLabels::new(row.stream, row.fields, &mut changes);
        let mut line = Cow::Borrowed(row.line);
        if !self.log.stages.iter().all(|s| s.apply(row.t_ns, &mut line, &mut labels)) {
            return Observed::Nothing;
        }
        let value = match &self.unwrap {
            Some(unwrap) => match unwrap_value(unwrap, &mut labels) {
                Some(value) => value,
                None => return Observed::Nothing,
            },
            None => 1.0,
        };
        if labels.get(ERROR_LABEL).is_some_and(|kind| !kind.is_empty()) {
            return Observed::Failed;
        }
        let by = self.by.iter().filter_map(|name| Some((name.as_str(), labels.get(name)?)));
        Observed::Value(Labels::from_pairs(by), value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_numbers() {
        let stream = Labels::from_pairs([("job", "web")]);
        let observe = |metric: &LineMetric, line: &str| {
            metric.observe(&LogRow { stream: &stream, t_ns: 1, line, fields: &Labels::default() })
        };
        let by = vec!["status".to_owned(), "missing".to_owned()];
        let count = LineMetric::parse("{job=\"web\"} | logfmt | status >= 500", None, by).unwrap();
        let labels = Labels::from_pairs([("status", "503")]);
        assert_eq!(count.matchers(), [Matcher::equal("job", "web")]);
        assert_eq!(observe(&count, "status=503"), Observed::Value(labels, 1.0));
        assert_eq!(observe(&count, "status=200"), Observed::Nothing);
        let none = Labels::default();
        let time = LineMetric::parse("{job=\"web\"} | json", Some("duration(took)"), Vec::new());
        let time = time.unwrap();
        assert_eq!(observe(&time, r#"{"took":"250ms"}"#), Observed::Value(none, 0.25));
        assert_eq!(observe(&time, r#"{"took":"soon"}"#), Observed::Failed);
        assert_eq!(observe(&time, "no json"), Observed::Nothing);
        for (query, value) in [
            ("{job=\"web\"} | jsn", None),
            ("rate({job=\"web\"}[1m])", None),
            ("{job=\"web\"}", Some("duration(")),
            ("{job=\"web\"}", Some("x [1s]) + sum_over_time({a=\"b\"} | unwrap y")),
        ] {
            assert!(LineMetric::parse(query, value, Vec::new()).is_err(), "{query} {value:?}");
        }
    }
}

//! A few log rows as a source, so that queries which parse are evaluated as well.

use std::ops::ControlFlow;

use model::{
    Budget, Labels, LogAggregation, LogPlan, LogRow, LogSource, Matcher, Order, Result, StepCounts,
    StreamVolume, TimeRange, label_of,
};

/// Rows of one stream, ascending.
#[derive(Debug)]
pub struct Rows {
    stream: Labels,
    fields: Labels,
    rows: Vec<(i64, String)>,
}

impl Rows {
    /// Rows that every parser stage finds something in.
    pub fn sample() -> Self {
        let lines = [
            r#"{"level":"info","msg":"done","took":"12ms","size":"3KB","n":{"a":[1,2.5,"x"]}}"#,
            r#"level=warn msg="slow query" took=3.5s size=10MiB ip=10.0.0.1"#,
            "10.1.2.3 - - [10/Oct/2000:13:55:36 -0700] \"GET /a HTTP/1.1\" 200 2326",
            "",
            "\u{1b}[31merror\u{1b}[0m ünïcode \u{1f980}",
            r#"{"_entry":"inner","app":"b","unterminated":"#,
        ];
        Self::of_lines(lines.into_iter())
    }

    /// Rows with these lines.
    pub fn of_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Self {
        let times = (0_i64..).map(|i| i * 9_000_000_000);
        let rows = times.zip(lines.map(str::to_owned)).collect();
        let stream = Labels::from_pairs([("app", "a"), ("pod", "p-1")]);
        Self { stream, fields: Labels::from_pairs([("level", "info"), ("value", "7")]), rows }
    }
}

impl LogSource for Rows {
    fn scan(
        &self,
        plan: &LogPlan,
        budget: &Budget,
        visit: &mut dyn FnMut(&LogRow<'_>) -> ControlFlow<()>,
    ) -> Result<Vec<String>> {
        let mut rows = self.rows.clone();
        if plan.order == Order::Backward {
            rows.reverse();
        }
        for (t_ns, line) in rows {
            budget.check()?;
            let holds = |m: &Matcher| m.matches(label_of(&self.stream, &self.fields, m.name()));
            let wanted = plan.range.contains(t_ns)
                && plan.matchers.iter().all(|m| m.matches_labels(&self.stream))
                && plan.line_filters.iter().all(|f| f.matches(&line))
                && plan.label_filters.iter().all(holds);
            let row = LogRow { stream: &self.stream, t_ns, line: &line, fields: &self.fields };
            if wanted && visit(&row).is_break() {
                break;
            }
        }
        Ok(Vec::new())
    }

    fn aggregate(
        &self,
        _: &LogPlan,
        _: &LogAggregation,
        _: &Budget,
    ) -> Result<Option<Vec<StepCounts>>> {
        Ok(None)
    }

    fn volumes(&self, _: &[Matcher], _: TimeRange, _: &Budget) -> Result<Vec<StreamVolume>> {
        Ok(Vec::new())
    }

    fn streams(&self, _: &[Vec<Matcher>], _: TimeRange, _: &Budget) -> Result<Vec<Labels>> {
        Ok(vec![self.stream.clone()])
    }
}

//! Which function is where.

use model::{Error, Result, anchored_regex};

use super::select::Pick;
use super::{Evaluation, Evaluator, dates, elements};
use crate::promql::ast::{Expr, Kind, Type};
use crate::promql::functions::Function;
use crate::vector::labels::{label_join, label_replace};
use crate::vector::{Grid, Row, is_absent, is_present, sort};

impl Evaluator<'_> {
    pub(super) fn call(
        &mut self,
        call: &Expr,
        function: &'static Function,
        args: &[Expr],
        grid: Grid,
    ) -> Result<Evaluation> {
        if function.returns == Type::Scalar {
            return self.scalar_call(function.name, args, grid).map(Evaluation::Scalar);
        }
        let rows = match function.name {
            "vector" => {
                let values = self.eval_scalar(first(args)?, grid)?;
                vec![Row::new(model::Labels::default(), values)]
            }
            "absent" => {
                let rows = self.eval_vector(first(args)?, grid)?;
                elements::absent(&rows, first(args)?, grid)
            }
            "timestamp" => self.timestamp(first(args)?, grid)?,
            "label_replace" => self.label_replace(args, grid)?,
            "label_join" => self.label_join(args, grid)?,
            "sort" | "sort_desc" | "sort_by_label" | "sort_by_label_desc" => {
                self.sorted(call, function.name, args, grid)?
            }
            "histogram_quantile" => self.histogram_quantile(args, grid)?,
            "histogram_quantiles" => self.histogram_quantiles(args, grid)?,
            "histogram_fraction" => self.histogram_fraction(args, grid)?,
            "histogram_avg" | "histogram_count" | "histogram_stddev" | "histogram_stdvar"
            | "histogram_sum" => self.histogram_number(function.name, first(args)?, grid)?,
            "start_timestamp" => self.start_timestamp(first(args)?, grid)?,
            "info" => self.info_call(args, grid)?,
            _ if args.iter().any(|a| a.type_of() == Type::Matrix) => {
                self.range_call(function, args, grid)?
            }
            name => self.element_call(name, args, grid)?,
        };
        Ok(Evaluation::Vector(rows))
    }

    fn scalar_call(&mut self, name: &str, args: &[Expr], grid: Grid) -> Result<Vec<f64>> {
        let constant = |value: f64| Ok(vec![value; grid.count]);
        match name {
            "time" => Ok(grid.times_ms().map(|t| t as f64 / 1000.0).collect()),
            "pi" => constant(std::f64::consts::PI),
            "start" => constant(self.start_ms as f64 / 1000.0),
            "end" => constant(self.end_ms as f64 / 1000.0),
            "step" => constant(self.step_ms as f64 / 1000.0),
            "range" => constant(self.range_ms() as f64 / 1000.0),
            "scalar" => {
                let rows = self.eval_vector(first(args)?, grid)?;
                Ok((0..grid.count).map(|step| only_value(&rows, step)).collect())
            }
            "min_of" | "max_of" => {
                let [a, b] = args else { return constant(f64::NAN) };
                let (a, b) = (self.eval_scalar(a, grid)?, self.eval_scalar(b, grid)?);
                let pick = if name == "min_of" { elements::min } else { elements::max };
                Ok(a.into_iter().zip(b).map(|(a, b)| pick(a, b)).collect())
            }
            _ => Err(Error::invalid(format!("function {name}() is not supported yet"))),
        }
    }

    /// Functions that map each value by itself.
    fn element_call(&mut self, name: &str, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        if let Some(f) = dates::find(name) {
            let Some(arg) = args.first() else {
                let values = grid.times_ms().map(|t| f(t as f64 / 1000.0)).collect();
                return Ok(vec![Row::new(model::Labels::default(), values)]);
            };
            let mut rows = self.eval_vector(arg, grid)?;
            elements::map_steps(&mut rows, |_, v| f(v));
            return Ok(rows);
        }
        let mut rows = self.eval_vector(first(args)?, grid)?;
        let mut params = Vec::new();
        for arg in args.iter().skip(1) {
            params.push(self.eval_scalar(arg, grid)?);
        }
        match (name, params.as_slice()) {
            ("round", []) => elements::map_steps(&mut rows, |_, v| elements::round(v, 1.0)),
            ("round", [to]) => elements::map_steps(&mut rows, |s, v| elements::round(v, to[s])),
            ("clamp_min", [low]) => elements::map_steps(&mut rows, |s, v| elements::max(low[s], v)),
            ("clamp_max", [high]) => {
                elements::map_steps(&mut rows, |s, v| elements::min(high[s], v))
            }
            ("clamp", [low, high]) => elements::map_steps(&mut rows, |s, v| {
                if high[s] < low[s] {
                    crate::vector::ABSENT
                } else {
                    elements::max(low[s], elements::min(high[s], v))
                }
            }),
            _ => match elements::find(name) {
                Some(f) => elements::map_steps(&mut rows, |_, v| f(v)),
                None => {
                    return Err(Error::invalid(format!("function {name}() is not supported yet")));
                }
            },
        }
        Ok(rows)
    }

    fn timestamp(&mut self, arg: &Expr, grid: Grid) -> Result<Vec<Row>> {
        if let Kind::Selector(selector) = &arg.unparenthesised().kind {
            return self.sample_times(selector, grid, Pick::Seconds);
        }
        let mut rows = self.eval_vector(arg, grid)?;
        for row in &mut rows {
            for step in 0..grid.count {
                if row.is_present(step) {
                    row.values[step] = grid.time_ms(step) as f64 / 1000.0;
                }
            }
            row.histograms = None;
            row.drop_name = true;
        }
        Ok(rows)
    }

    /// Computed values have no start.
    fn start_timestamp(&mut self, arg: &Expr, grid: Grid) -> Result<Vec<Row>> {
        match &arg.unparenthesised().kind {
            Kind::Selector(selector) => self.sample_times(selector, grid, Pick::StartSeconds),
            _ => self.eval_vector(arg, grid).map(|_| Vec::new()),
        }
    }

    fn label_replace(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [vector, texts @ ..] = args else { return Ok(Vec::new()) };
        let texts = strings(texts);
        let [target, replacement, source, pattern] = texts.as_slice() else {
            return Err(Error::invalid("label_replace() needs four strings"));
        };
        let regex = anchored_regex(pattern).map_err(|_| {
            Error::invalid(format!("invalid regular expression in label_replace(): {pattern}"))
        })?;
        if target.is_empty() {
            return Err(Error::invalid(format!(
                "invalid destination label name in label_replace(): {target}"
            )));
        }
        let rows = self.eval_vector(vector, grid)?;
        label_replace(rows, target, replacement, source, &regex, self.budget)
    }

    fn label_join(&mut self, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        let [vector, texts @ ..] = args else { return Ok(Vec::new()) };
        let texts = strings(texts);
        let [target, separator, sources @ ..] = texts.as_slice() else {
            return Err(Error::invalid("label_join() needs a label and a separator"));
        };
        if let Some(bad) = std::iter::once(target).chain(sources).find(|name| name.is_empty()) {
            return Err(Error::invalid(format!("invalid label name in label_join(): {bad}")));
        }
        let rows = self.eval_vector(vector, grid)?;
        label_join(rows, target, separator, sources)
    }

    fn sorted(&mut self, call: &Expr, name: &str, args: &[Expr], grid: Grid) -> Result<Vec<Row>> {
        if self.step_ms > 0 {
            self.warn(
                call.start,
                "sort is ineffective for range queries since results are always ordered by labels",
            );
        }
        let mut rows = self.eval_vector(first(args)?, grid)?;
        let descending = name.ends_with("_desc");
        if name.starts_with("sort_by_label") {
            sort::by_labels(&mut rows, &strings(args.get(1..).unwrap_or_default()), descending);
        } else {
            sort::by_value(&mut rows, descending);
        }
        Ok(rows)
    }
}

fn first(args: &[Expr]) -> Result<&Expr> {
    args.first().ok_or_else(|| Error::invalid("an argument is missing"))
}

/// The values of string arguments.
fn strings(args: &[Expr]) -> Vec<String> {
    let value = |arg: &Expr| match &arg.unparenthesised().kind {
        Kind::Text { value, .. } => value.clone(),
        _ => String::new(),
    };
    args.iter().map(value).collect()
}

/// The value of the only row that has one at `step`, otherwise NaN.
fn only_value(rows: &[Row], step: usize) -> f64 {
    let mut present = rows.iter().map(|row| row.values[step]).filter(|v| is_present(*v));
    match (present.next(), present.next()) {
        (Some(value), None) if !is_absent(value) => value,
        _ => f64::NAN,
    }
}

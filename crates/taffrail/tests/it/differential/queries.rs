//! Generated queries: every construct of the language as it was in 2.42, nested up to three deep.

use testkit::mix::Random;

/// One request.
pub(super) struct Query {
    pub(super) path: &'static str,
    pub(super) params: Vec<(&'static str, String)>,
}

/// Makes one query after another, the same ones every time.
pub(super) struct Generator {
    random: Random,
    start_ms: i64,
    end_ms: i64,
}

const METRICS: &[&str] = &[
    "http_requests_total",
    "http_requests_total",
    "memory_bytes",
    "temperature",
    "build_info",
    "request_seconds_count",
    "request_seconds_sum",
];
const MATCHERS: &[&str] = &[
    "",
    "",
    "{job=\"api\"}",
    "{job!=\"api\"}",
    "{instance=~\"host-[12].*\"}",
    "{instance!~\"host-(0|3):9100\",job=~\".+\"}",
    "{code=\"200\"}",
    "{code=~\"4..|500\"}",
    "{code=\"\"}",
    "{nothing=\"\"}",
    "{path=~\"/|/api\"}",
];
const RANGES: &[&str] = &["1m", "2m30s", "5m", "17m", "1h"];
/// Steps of subqueries are at whole seconds: none at the left end of these.
const SUBQUERY_RANGES: &[&str] = &["1m500ms", "5m500ms", "17m500ms"];
const COUNTERS: &[&str] = &["http_requests_total", "request_seconds_count", "request_seconds_sum"];
const RANGE_FUNCTIONS: &[&str] = &[
    "irate",
    "delta",
    "idelta",
    "deriv",
    "changes",
    "resets",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "sum_over_time",
    "count_over_time",
    "stddev_over_time",
    "stdvar_over_time",
    "last_over_time",
    "present_over_time",
    "absent_over_time",
];
const FUNCTIONS: &[&str] = &[
    "abs",
    "ceil",
    "floor",
    "exp",
    "ln",
    "log2",
    "log10",
    "sqrt",
    "sgn",
    "round",
    "timestamp",
    "minute",
    "hour",
    "day_of_week",
    "day_of_month",
    "day_of_year",
    "days_in_month",
    "month",
    "year",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "asinh",
    "acosh",
    "atanh",
    "deg",
    "rad",
    "absent",
    "sort",
    "sort_desc",
];
const AGGREGATIONS: &[&str] = &["sum", "avg", "min", "max", "count", "group"];
const GROUPINGS: &[&str] = &[
    "",
    " by (job)",
    " by (instance, code)",
    " by (nothing)",
    " without (instance)",
    " without (instance, code, path)",
    " by ()",
    " without ()",
];
/// Remainders magnify the last bit of a logarithm: they are asked of samples themselves.
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "^"];
const COMPARISONS: &[&str] = &["==", "!=", "<", "<=", ">", ">="];
const SETS: &[&str] = &["and", "or", "unless"];
const NUMBERS: &[&str] = &["0", "1", "2", "0.5", "-3", "1e3", "Inf", "NaN", "100"];

impl Generator {
    pub(super) fn new(seed: u64, start_ms: i64, end_ms: i64) -> Self {
        Self { random: Random::new(seed), start_ms, end_ms }
    }

    pub(super) fn next(&mut self) -> Query {
        let depth = 1 + self.random.below(3);
        let text = match self.random.below(60) {
            // Infinite results are compared as they are, not in what is done with them.
            0 => format!(
                "histogram_quantile({}, request_seconds_bucket{})",
                self.pick(&["-1", "2"]),
                self.modifier()
            ),
            _ => self.vector(depth),
        };
        // Whole seconds: samples are at odd milliseconds, so that none lies on the edge of a window.
        let second = |ms: i64| ms.div_euclid(1000);
        let span_s = self.random.below(second(self.end_ms - self.start_ms).cast_unsigned());
        let at_s = second(self.start_ms) + span_s.cast_signed() + 60;
        if self.random.below(3) > 0 {
            let params = vec![("query", text), ("time", at_s.to_string())];
            return Query { path: "/api/v1/query", params };
        }
        let step_s = *self.random.pick(&[7, 15, 60, 300, 1000]);
        let end_s = at_s + step_s * self.random.below(40).cast_signed();
        let params = vec![
            ("query", text),
            ("start", at_s.to_string()),
            ("end", end_s.to_string()),
            ("step", step_s.to_string()),
        ];
        Query { path: "/api/v1/query_range", params }
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        self.random.pick::<&'static str>(of)
    }

    fn modifier(&mut self) -> String {
        match self.random.below(12) {
            0 => " offset 3m".to_owned(),
            1 => " offset -2m".to_owned(),
            2 => {
                let span = (self.end_ms - self.start_ms).cast_unsigned();
                let at_ms = self.start_ms + self.random.below(span).cast_signed();
                format!(" @ {}", at_ms / 1000)
            }
            3 => " @ end()".to_owned(),
            4 => " @ start() offset 1m".to_owned(),
            _ => String::new(),
        }
    }

    fn selector(&mut self) -> String {
        let (metric, matchers) = (self.pick(METRICS), self.pick(MATCHERS));
        format!("{metric}{matchers}")
    }

    /// A range vector; of its kind only selectors are windows of samples.
    fn range(&mut self, depth: u64) -> String {
        let (range, modifier) = (self.pick(RANGES), self.modifier());
        if depth > 1 && self.random.below(4) == 0 {
            let step = self.pick(&["", "30s", "1m", "45s"]);
            let (range, inner) = (self.pick(SUBQUERY_RANGES), self.vector(depth - 1));
            return format!("({inner})[{range}:{step}]{modifier}");
        }
        format!("{}[{range}]{modifier}", self.selector())
    }

    fn scalar(&mut self, depth: u64) -> String {
        match self.random.below(6) {
            0 if depth > 1 => format!("scalar({})", self.vector(depth - 1)),
            1 => "time()".to_owned(),
            2 => "pi()".to_owned(),
            _ => self.pick(NUMBERS).to_owned(),
        }
    }

    fn vector(&mut self, depth: u64) -> String {
        if depth == 0 || self.random.below(8) == 0 {
            let selector = self.selector();
            return format!("{selector}{}", self.modifier());
        }
        match self.random.below(11) {
            0 => {
                let function = self.pick(&["rate", "increase"]);
                let (metric, matchers) = (self.pick(COUNTERS), self.pick(MATCHERS));
                let (range, modifier) = (self.pick(RANGES), self.modifier());
                format!("{function}({metric}{matchers}[{range}]{modifier})")
            }
            1 | 2 => {
                let (function, range) = (self.pick(RANGE_FUNCTIONS), self.range(depth));
                format!("{function}({range})")
            }
            3 => {
                let (phi, range) = (self.pick(&["0", "0.5", "0.9", "1"]), self.range(depth));
                match self.random.below(2) {
                    0 => format!("quantile_over_time({phi}, {range})"),
                    _ if range.contains('@') => format!("deriv({range})"),
                    _ => format!("predict_linear({range}, 600)"),
                }
            }
            4 if self.random.below(8) == 0 => {
                // Of large arguments these magnify the last bit: of samples themselves.
                format!("{}({})", self.pick(&["sin", "cos", "tan"]), self.selector())
            }
            4 => {
                let (function, inner) = (self.pick(FUNCTIONS), self.vector(depth - 1));
                format!("{function}({inner})")
            }
            5 | 6 => self.aggregation(depth),
            7 | 8 => self.binary(depth),
            9 => self.labels_and_more(depth),
            _ => {
                let rate = self.pick(RANGES);
                let grouping = self.pick(&["le", "le, job", "le, instance"]);
                let phi = self.pick(&["0", "0.5", "0.99", "1"]);
                format!(
                    "histogram_quantile({phi}, sum by ({grouping}) (rate(request_seconds_bucket[{rate}])))"
                )
            }
        }
    }

    fn aggregation(&mut self, depth: u64) -> String {
        let (grouping, inner) = (self.pick(GROUPINGS), self.vector(depth - 1));
        match self.random.below(10) {
            // Ties are broken by order, which is nobody's promise: sums of distinct series do not tie.
            0 => {
                let direction = self.pick(&["topk", "bottomk"]);
                let k = self.random.below(3) + 1;
                format!("{direction}{grouping}({k}, request_seconds_sum{})", self.modifier())
            }
            1 => format!("quantile{grouping}({}, {inner})", self.pick(&["0", "0.5", "0.9", "1"])),
            3 => {
                let function = self.pick(&["stddev", "stdvar"]);
                format!("{function}{grouping}({}{})", self.selector(), self.modifier())
            }
            2 => format!("count_values{grouping}(\"value\", build_info{})", self.modifier()),
            _ => format!("{}{grouping}({inner})", self.pick(AGGREGATIONS)),
        }
    }

    fn binary(&mut self, depth: u64) -> String {
        let left = self.vector(depth - 1);
        match self.random.below(8) {
            0 => format!("({left}) {} {}", self.pick(ARITHMETIC), self.scalar(depth)),
            1 => format!("{} {} ({left})", self.scalar(depth), self.pick(ARITHMETIC)),
            2 => {
                let bool = self.pick(&["", " bool"]);
                format!("({left}) {}{bool} {}", self.pick(COMPARISONS), self.scalar(depth))
            }
            3 => {
                let (operator, right) = (self.pick(SETS), self.vector(depth - 1));
                let on = self.pick(&["", " on(job)", " ignoring(code, path)", " on()"]);
                format!("({left}) {operator}{on} ({right})")
            }
            4 => {
                let operator = self.pick(ARITHMETIC);
                let side = self.pick(&["group_left", "group_left(path)"]);
                format!(
                    "http_requests_total {operator} on(instance, job) {side} (sum by (instance, job, path) ({left}))"
                )
            }
            5 if self.random.below(2) == 0 => {
                format!("{} % {}", self.selector(), self.pick(NUMBERS))
            }
            5 => format!("-({left})"),
            6 => {
                let (operator, bool) = (self.pick(COMPARISONS), self.pick(&["", " bool"]));
                format!("({left}) {operator}{bool} ({left})")
            }
            _ => format!("({left}) {} ({left})", self.pick(ARITHMETIC)),
        }
    }

    fn labels_and_more(&mut self, depth: u64) -> String {
        let inner = self.vector(depth - 1);
        match self.random.below(7) {
            0 => format!(r#"label_replace({inner}, "host", "$1", "instance", "(.*):.*")"#),
            1 => format!(r#"label_join({inner}, "both", "/", "job", "instance")"#),
            2 => format!("clamp({inner}, 10, 1000)"),
            3 => format!("clamp_min({inner}, {})", self.scalar(depth)),
            4 => format!("vector({})", self.scalar(depth)),
            5 => match self.random.below(2) {
                0 => format!("odd_values {} {}", self.pick(COMPARISONS), self.scalar(1)),
                _ => {
                    let function = self.pick(&["min", "max", "last", "count", "present"]);
                    format!("{function}_over_time(odd_values[{}])", self.pick(RANGES))
                }
            },
            _ => format!("round({inner}, 0.5)"),
        }
    }
}

//! The table of functions: names, types of arguments and results, what is experimental.

use super::ast::Type;

/// A function's signature.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [Type],
    /// How many of `args` may be left out from the end; -1 when the last may be repeated or left out.
    pub(crate) optional: i8,
    pub(crate) returns: Type,
    pub(crate) experimental: bool,
}

impl Function {
    /// Fewest arguments.
    pub(crate) fn args_min(&self) -> usize {
        self.args.len() - usize::from(self.optional.unsigned_abs())
    }

    /// Most arguments; `None` without bound.
    pub(crate) fn args_max(&self) -> Option<usize> {
        (self.optional >= 0).then_some(self.args.len())
    }
}

/// The function called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|f| f.name == name)
}

/// All names.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.iter().map(|f| f.name)
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = &'static Function> {
    FUNCTIONS.iter()
}

const M: Type = Type::Matrix;
const V: Type = Type::Vector;
const S: Type = Type::Scalar;
const T: Type = Type::Text;

const fn function(
    name: &'static str,
    args: &'static [Type],
    optional: i8,
    returns: Type,
) -> Function {
    Function { name, args, optional, returns, experimental: false }
}

const fn experimental(
    name: &'static str,
    args: &'static [Type],
    optional: i8,
    returns: Type,
) -> Function {
    Function { name, args, optional, returns, experimental: true }
}

static FUNCTIONS: &[Function] = &[
    function("abs", &[V], 0, V),
    function("absent", &[V], 0, V),
    function("absent_over_time", &[M], 0, V),
    function("acos", &[V], 0, V),
    function("acosh", &[V], 0, V),
    function("asin", &[V], 0, V),
    function("asinh", &[V], 0, V),
    function("atan", &[V], 0, V),
    function("atanh", &[V], 0, V),
    function("avg_over_time", &[M], 0, V),
    function("ceil", &[V], 0, V),
    function("changes", &[M], 0, V),
    function("clamp", &[V, S, S], 0, V),
    function("clamp_max", &[V, S], 0, V),
    function("clamp_min", &[V, S], 0, V),
    function("cos", &[V], 0, V),
    function("cosh", &[V], 0, V),
    function("count_over_time", &[M], 0, V),
    function("day_of_month", &[V], 1, V),
    function("day_of_week", &[V], 1, V),
    function("day_of_year", &[V], 1, V),
    function("days_in_month", &[V], 1, V),
    function("deg", &[V], 0, V),
    function("delta", &[M], 0, V),
    function("deriv", &[M], 0, V),
    experimental("double_exponential_smoothing", &[M, S, S], 0, V),
    experimental("end", &[], 0, S),
    function("exp", &[V], 0, V),
    experimental("first_over_time", &[M], 0, V),
    function("floor", &[V], 0, V),
    function("histogram_avg", &[V], 0, V),
    function("histogram_count", &[V], 0, V),
    function("histogram_fraction", &[S, S, V], 0, V),
    function("histogram_quantile", &[S, V], 0, V),
    experimental("histogram_quantiles", &[V, T, S, S], -1, V),
    function("histogram_stddev", &[V], 0, V),
    function("histogram_stdvar", &[V], 0, V),
    function("histogram_sum", &[V], 0, V),
    function("hour", &[V], 1, V),
    function("idelta", &[M], 0, V),
    function("increase", &[M], 0, V),
    experimental("info", &[V, V], 1, V),
    function("irate", &[M], 0, V),
    function("label_join", &[V, T, T, T], -1, V),
    function("label_replace", &[V, T, T, T, T], 0, V),
    function("last_over_time", &[M], 0, V),
    function("ln", &[V], 0, V),
    function("log10", &[V], 0, V),
    function("log2", &[V], 0, V),
    experimental("mad_over_time", &[M], 0, V),
    experimental("max_of", &[S, S], 0, S),
    function("max_over_time", &[M], 0, V),
    experimental("min_of", &[S, S], 0, S),
    function("min_over_time", &[M], 0, V),
    function("minute", &[V], 1, V),
    function("month", &[V], 1, V),
    function("pi", &[], 0, S),
    function("predict_linear", &[M, S], 0, V),
    function("present_over_time", &[M], 0, V),
    function("quantile_over_time", &[S, M], 0, V),
    function("rad", &[V], 0, V),
    experimental("range", &[], 0, S),
    function("rate", &[M], 0, V),
    function("resets", &[M], 0, V),
    function("round", &[V, S], 1, V),
    function("scalar", &[V], 0, S),
    function("sgn", &[V], 0, V),
    function("sin", &[V], 0, V),
    function("sinh", &[V], 0, V),
    function("sort", &[V], 0, V),
    experimental("sort_by_label", &[V, T], -1, V),
    experimental("sort_by_label_desc", &[V, T], -1, V),
    function("sort_desc", &[V], 0, V),
    function("sqrt", &[V], 0, V),
    experimental("start", &[], 0, S),
    experimental("start_timestamp", &[V], 0, V),
    function("stddev_over_time", &[M], 0, V),
    function("stdvar_over_time", &[M], 0, V),
    experimental("step", &[], 0, S),
    function("sum_over_time", &[M], 0, V),
    function("tan", &[V], 0, V),
    function("tanh", &[V], 0, V),
    function("time", &[], 0, S),
    function("timestamp", &[V], 0, V),
    experimental("ts_of_first_over_time", &[M], 0, V),
    experimental("ts_of_last_over_time", &[M], 0, V),
    experimental("ts_of_max_over_time", &[M], 0, V),
    experimental("ts_of_min_over_time", &[M], 0, V),
    function("vector", &[S], 0, V),
    function("year", &[V], 1, V),
];

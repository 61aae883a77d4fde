//! Names of OTLP metrics, units and attributes as Prometheus has them.
//!
//! Owns: the four translation strategies and the suffixes for units and counters. Source: OpenTelemetry specification,
//! "Prometheus and OpenMetrics Compatibility"; the `otlp` block of Prometheus' configuration.

use std::borrow::Cow;

/// How names are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// `_` for every character that classic names cannot have; units and `_total` are appended. The default.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// `_` likewise, nothing appended.
    UnderscoreEscapingWithoutSuffixes,
    /// Names stay as they are; units and `_total` are appended.
    NoUtf8EscapingWithSuffixes,
    /// Names stay as they are.
    NoTranslation,
}

impl Strategy {
    /// The one configuration names.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "UnderscoreEscapingWithSuffixes" => Self::UnderscoreEscapingWithSuffixes,
            "UnderscoreEscapingWithoutSuffixes" => Self::UnderscoreEscapingWithoutSuffixes,
            "NoUTF8EscapingWithSuffixes" => Self::NoUtf8EscapingWithSuffixes,
            "NoTranslation" => Self::NoTranslation,
            _ => return None,
        })
    }

    fn escapes(self) -> bool {
        matches!(
            self,
            Self::UnderscoreEscapingWithSuffixes | Self::UnderscoreEscapingWithoutSuffixes
        )
    }

    fn has_suffixes(self) -> bool {
        matches!(self, Self::UnderscoreEscapingWithSuffixes | Self::NoUtf8EscapingWithSuffixes)
    }
}

/// What decides about suffixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A gauge: unit `1` is a ratio.
    Gauge,
    /// A sum that never decreases: `_total`.
    Counter,
    /// Everything else.
    Other,
}

/// Name of a metric.
///
/// # Errors
/// When nothing usable is left of it.
pub fn metric_name(
    name: &str,
    unit: &str,
    kind: Kind,
    strategy: Strategy,
    namespace: &str,
) -> Result<String, String> {
    let built = match (strategy.escapes(), strategy.has_suffixes()) {
        (true, true) => classic_with_suffixes(name, unit, kind, namespace),
        (true, false) => classic(name, namespace),
        (false, suffixes) => {
            let mut built = name.to_owned();
            if !namespace.is_empty() {
                built = format!("{namespace}_{built}");
            }
            if suffixes { with_suffixes(built, unit, kind) } else { built }
        }
    };
    if built.is_empty() {
        return Err(format!("normalization for metric {name:?} resulted in empty name"));
    }
    if built != name && strategy.escapes() && built.bytes().all(|b| b == b'_') {
        return Err(format!(
            "normalization for metric {name:?} resulted in invalid name {built:?}"
        ));
    }
    Ok(built)
}

/// Parts of a text between characters that `keep` refuses.
fn parts(text: &str, keep: impl Fn(char) -> bool) -> Vec<&str> {
    text.split(|c| !keep(c)).filter(|part| !part.is_empty()).collect()
}

fn is_classic(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

fn classic(name: &str, namespace: &str) -> String {
    let joined = |text: &str| parts(text, |c| is_classic(c) || c == '_').join("_");
    let name = joined(name);
    if !namespace.is_empty() {
        return format!("{}_{name}", joined(namespace));
    }
    not_a_digit_first(name)
}

fn not_a_digit_first(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn classic_with_suffixes(name: &str, unit: &str, kind: Kind, namespace: &str) -> String {
    let mut tokens: Vec<Cow<'_, str>> =
        parts(name, is_classic).into_iter().map(Cow::Borrowed).collect();
    let (main, per) = unit_words(unit);
    let (mut main, mut per) = (tidy_unit(&main), tidy_unit(&per));
    if tokens.iter().any(|t| *t == main) {
        main.clear();
    }
    if per == "per_" {
        per.clear();
    }
    per = per.strip_suffix('_').unwrap_or(&per).to_owned();
    if tokens.iter().any(|t| *t == per) {
        per.clear();
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(&main).to_owned();
    }
    tokens.extend([main, per].into_iter().filter(|part| !part.is_empty()).map(Cow::Owned));
    let last = match kind {
        Kind::Counter => Some("total"),
        // Many use unit 1 for counts of things; only of a gauge is it surely a ratio.
        Kind::Gauge if unit == "1" => Some("ratio"),
        Kind::Gauge | Kind::Other => None,
    };
    if let Some(last) = last {
        tokens.retain(|t| t != last);
        tokens.push(Cow::Borrowed(last));
    }
    if !namespace.is_empty() {
        tokens.insert(0, Cow::Borrowed(namespace));
    }
    not_a_digit_first(tokens.join("_"))
}

/// Suffixes behind a name that is not escaped: unit, per unit, then `total` or `ratio`; one that is there already moves
/// to its place.
fn with_suffixes(mut name: String, unit: &str, kind: Kind) -> String {
    let without = |name: String, suffix: &str| match name.strip_suffix(suffix) {
        Some(stem) if stem.chars().count() > 1 => {
            let mut stem = stem.to_owned();
            stem.pop();
            stem
        }
        _ => name,
    };
    let last = match kind {
        Kind::Counter => "total",
        Kind::Gauge if unit == "1" => "ratio",
        Kind::Gauge | Kind::Other => "",
    };
    if !last.is_empty() {
        name = without(name, last);
    }
    let (main, per) = unit_words(unit);
    if !per.is_empty() {
        name = without(name, &per);
    }
    if !main.is_empty() && !name.ends_with(main.as_ref()) {
        name = format!("{name}_{main}");
    }
    for suffix in [per.as_ref(), last] {
        if !suffix.is_empty() {
            name = format!("{name}_{suffix}");
        }
    }
    name
}

/// Unit of a metric as its metadata says it.
pub fn unit_name(unit: &str, strategy: Strategy) -> String {
    let (main, per) = unit_words(unit);
    let (main, per) = if strategy.escapes() {
        (tidy_unit(&main), tidy_unit(&per))
    } else {
        (main.into_owned(), per.into_owned())
    };
    let joined = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        _ => per,
    };
    let joined = joined.strip_prefix('_').unwrap_or(&joined);
    joined.strip_suffix('_').unwrap_or(joined).to_owned()
}

/// The words of a unit: `By/s` is `bytes` and `per_second`. What stands in braces is a remark.
fn unit_words(unit: &str) -> (Cow<'_, str>, Cow<'_, str>) {
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let usable = |text: &str| !text.is_empty() && !text.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    let main = if usable(main) { main_word(main) } else { "" };
    let per = if usable(per) { format!("per_{}", per_word(per)).into() } else { "".into() };
    (main.into(), per)
}

fn main_word(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        // The spelling Prometheus uses.
        "TiBy" => "tibibytes",
        "KBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "1" => "",
        "%" => "percent",
        other => other,
    }
}

fn per_word(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}

/// A unit with classic characters only, single underscores, and none in front.
fn tidy_unit(unit: &str) -> String {
    let tidy = single_underscores(unit.chars().map(|c| if is_classic(c) { c } else { '_' }));
    tidy.strip_prefix('_').unwrap_or(&tidy).to_owned()
}

fn single_underscores(chars: impl Iterator<Item = char>) -> String {
    let mut text = String::new();
    for c in chars {
        if c != '_' || !text.ends_with('_') {
            text.push(c);
        }
    }
    text
}

/// How attributes become labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelRules {
    /// Whether names stay as they are.
    pub utf8: bool,
    /// Whether `_x` becomes `key_x`.
    pub key_before_underscore: bool,
    /// Whether `a..b` becomes `a__b` and not `a_b`.
    pub keep_underscores: bool,
}

/// Name of a label.
///
/// # Errors
/// When nothing usable is left of it.
pub fn label_name(name: &str, rules: LabelRules) -> Result<Cow<'_, str>, String> {
    if name.is_empty() {
        return Err("label name is empty".to_owned());
    }
    let only_underscores = |text: &str| text.bytes().all(|b| b == b'_');
    if rules.utf8 {
        return if only_underscores(name) {
            Err(format!("label name {name:?} contains only underscores"))
        } else {
            Ok(Cow::Borrowed(name))
        };
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut label =
        if name.chars().all(is_plain) && (rules.keep_underscores || !name.contains("__")) {
            Cow::Borrowed(name)
        } else {
            let escaped = name.chars().map(|c| if is_plain(c) { c } else { '_' });
            if rules.keep_underscores {
                Cow::Owned(escaped.collect())
            } else {
                // Reserved names keep their pairs of underscores at both ends.
                let inner = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
                match inner.filter(|inner| !inner.is_empty()) {
                    Some(_) => {
                        let single = single_underscores(escaped);
                        Cow::Owned(format!("_{single}_"))
                    }
                    None => Cow::Owned(single_underscores(escaped)),
                }
            }
        };
    if label.starts_with(|c: char| c.is_ascii_digit()) {
        label = Cow::Owned(format!("key_{label}"));
    } else if rules.key_before_underscore && label.starts_with('_') && !label.starts_with("__") {
        label = Cow::Owned(format!("key{label}"));
    }
    if only_underscores(&label) {
        return Err(format!(
            "normalization for label name {name:?} resulted in invalid name {label:?}"
        ));
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, unit: &str, kind: Kind, expected: [&str; 4]) {
        let strategies = [
            Strategy::UnderscoreEscapingWithSuffixes,
            Strategy::UnderscoreEscapingWithoutSuffixes,
            Strategy::NoUtf8EscapingWithSuffixes,
            Strategy::NoTranslation,
        ];
        for (strategy, expected) in strategies.into_iter().zip(expected) {
            let built = metric_name(name, unit, kind, strategy, "");
            assert_eq!(built.as_deref(), Ok(expected), "{strategy:?}");
        }
    }

    #[test]
    fn metrics_under_all_strategies() {
        check(
            "http.server.duration",
            "s",
            Kind::Other,
            [
                "http_server_duration_seconds",
                "http_server_duration",
                "http.server.duration_seconds",
                "http.server.duration",
            ],
        );
        check(
            "a.total.bytes",
            "By/s",
            Kind::Counter,
            [
                "a_bytes_per_second_total",
                "a_total_bytes",
                "a.total.bytes_per_second_total",
                "a.total.bytes",
            ],
        );
        check("2xx", "1", Kind::Gauge, ["_2xx_ratio", "_2xx", "2xx_ratio", "2xx"]);
    }

    #[test]
    fn labels() {
        let rules = |keep, key| LabelRules {
            utf8: false,
            key_before_underscore: key,
            keep_underscores: keep,
        };
        let check = |name: &str, rules, expected: &str| {
            assert_eq!(label_name(name, rules).as_deref(), Ok(expected));
        };
        check("http.method", rules(true, true), "http_method");
        check("a..b", rules(true, true), "a__b");
        check("a..b", rules(false, true), "a_b");
        check("_x", rules(true, true), "key_x");
        check("__x__", rules(true, true), "__x__");
        check("__x__y__", rules(false, true), "__x_y__");
        assert!(label_name("日本", rules(true, true)).is_err());
        assert!(label_name("", rules(true, true)).is_err());
    }
}

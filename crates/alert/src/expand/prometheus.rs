//! Templates of rules' labels and annotations, as Prometheus expands them: its functions, and `$labels`, `$value`,
//! `$externalLabels` and `$externalURL`.

use std::fmt;

use model::{Labels, Result as Answer};
use query::promql::{self, Sample};
use query::template::{
    ANY_MAP, Caller, Env, Function, Param, Set, TEXT_MAP, Trust, Type, Value, url_query,
};

use super::numbers;
use super::texts::{change, matches, replace_all, text, title};

/// What stands in front of every template.
const DEFINITIONS: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
                           {{$externalURL := .ExternalURL}}{{$value := .Value}}";

static DATA: Type = Type {
    name: "struct { Labels; ExternalLabels; ExternalURL; Value }",
    methods: &[],
    is_of_texts: false,
};
static SAMPLE: Type = Type { name: "*template.sample", methods: &[], is_of_texts: false };
static QUERY_RESULT: Type = Type { name: "template.queryResult", methods: &[], is_of_texts: false };

/// What a template may ask of its surroundings.
pub struct Surroundings<'a> {
    /// Answers an instant query at `t_ms`.
    pub query: &'a dyn Fn(&str) -> Answer<Vec<Sample>>,
    /// When the rule is evaluated, Unix milliseconds.
    pub t_ms: i64,
    /// The address users reach the program under, such as `https://host/metrics`.
    pub external_url: &'a str,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("t_ms", &self.t_ms).finish_non_exhaustive()
    }
}

/// The data of an alert's template: the element that the rule's expression found, and what is said to the outside.
pub fn alert_data(sample: &Sample, external_labels: &Labels, external_url: &str) -> Value {
    let fields = vec![
        ("Labels", label_map(&sample.labels)),
        ("ExternalLabels", label_map(external_labels)),
        ("ExternalURL", Value::Text(external_url.to_owned())),
        ("Value", value(sample)),
    ];
    Value::record(&DATA, fields)
}

/// Checks a template of a label or annotation, as when a rule file is loaded.
///
/// # Errors
/// In Go's words: `error parsing template NAME: …`.
pub fn check_alert(name: &str, template: &str) -> Result<(), String> {
    if !template.contains("{{") {
        return Ok(());
    }
    parse(name, &format!("{DEFINITIONS}{template}")).map(|_| ())
}

/// Expands a template of a label or annotation of an alert, with `$labels` and the like; `name` appears in errors, and
/// `data` comes from [`alert_data`].
///
/// # Errors
/// As [`expand`].
pub fn expand_alert(
    name: &str,
    template: &str,
    data: Value,
    surroundings: &Surroundings<'_>,
) -> Result<String, String> {
    // Most labels and annotations are plain text.
    if !template.contains("{{") {
        return Ok(template.to_owned());
    }
    expand(name, &format!("{DEFINITIONS}{template}"), data, surroundings)
}

/// Expands a template for `data`; `name` appears in errors.
///
/// # Errors
/// In Go's words: `error parsing template NAME: …`, `error executing template NAME: …`.
pub fn expand(
    name: &str,
    template: &str,
    data: Value,
    surroundings: &Surroundings<'_>,
) -> Result<String, String> {
    let set = parse(name, template)?;
    let rendered = set.render(name, surroundings, data);
    rendered.map_err(|e| format!("error executing template {name}: {e}"))
}

fn parse(name: &str, template: &str) -> Result<Set, String> {
    let mut set = Set::new(FUNCTIONS);
    set.parse(name, template)
        .map_err(|e| format!("error parsing template {name}: {}", e.message()))?;
    Ok(set)
}

/// A number, or a histogram's text.
fn value(sample: &Sample) -> Value {
    match &sample.histogram {
        Some(histogram) => Value::Text(promql::histogram_text(histogram)),
        None => Value::Float(sample.value),
    }
}

fn label_map(labels: &Labels) -> Value {
    let pairs = labels.iter().map(|(name, value)| (name.to_owned(), Value::Text(value.to_owned())));
    Value::map(&TEXT_MAP, pairs.collect())
}

impl Env for Surroundings<'_> {
    fn call(
        &self,
        caller: &Caller<'_>,
        name: &'static str,
        args: &[Value],
    ) -> Result<Value, String> {
        match name {
            "query" => {
                let samples = (self.query)(text(args, 0)).map_err(|e| e.message().to_owned())?;
                let items = samples.iter().map(|sample| {
                    let fields =
                        vec![("Labels", label_map(&sample.labels)), ("Value", value(sample))];
                    Value::record(&SAMPLE, fields)
                });
                Ok(Value::list(&QUERY_RESULT, items.collect()))
            }
            "now" => Ok(Value::Float(self.t_ms as f64 / 1000.0)),
            "externalURL" => Ok(Value::Text(self.external_url.to_owned())),
            "pathPrefix" => {
                let url = self.external_url;
                let host = url.find("://").map_or(url, |at| url.split_at(at + 3).1);
                let path = host.find('/').map_or("", |at| host.split_at(at).1);
                let end = path.find(['?', '#']).unwrap_or(path.len());
                Ok(Value::Text(path.split_at(end).0.to_owned()))
            }
            _ => {
                let data = args.get(1).cloned().unwrap_or(Value::Nil);
                caller.render(text(args, 0), data).map(Value::Text)
            }
        }
    }
}

const TEXT: Param = Param::Text;
const ANY: Param = Param::Any;

static FUNCTIONS: &[Function] = &[
    // Samples.
    Function::env("query", &[TEXT]),
    Function::new("first", &[Param::List], |a| {
        let first = a.first().and_then(|list| list.items().first()).cloned();
        first.ok_or_else(|| "first() called on vector with no elements".to_owned())
    }),
    Function::new("label", &[TEXT, Param::Record], |a| Ok(sample_label(a.get(1), text(a, 0)))),
    Function::new("value", &[Param::Record], |a| Ok(sample_field(a.first(), "Value"))),
    Function::new("strvalue", &[Param::Record], |a| Ok(sample_label(a.first(), "__value__"))),
    Function::new("sortByLabel", &[TEXT, Param::List], |a| {
        let mut items = a.get(1).map_or(&[][..], Value::items).to_vec();
        items.sort_by_cached_key(|sample| sample_label(Some(sample), text(a, 0)).to_text());
        Ok(Value::list(&QUERY_RESULT, items))
    }),
    Function::variadic("args", &[], ANY, |a| {
        let items = a.iter().enumerate().map(|(i, value)| (format!("arg{i}"), value.clone()));
        Ok(Value::map(&ANY_MAP, items.collect()))
    }),
    Function::env("tmpl", &[TEXT, ANY]),
    // Texts.
    Function::new("reReplaceAll", &[Param::Pattern, TEXT, TEXT], replace_all),
    Function::new("match", &[Param::Pattern, TEXT], matches),
    Function::new("safeHtml", &[TEXT], |a| Ok(Value::Trusted(Trust::Html, text(a, 0).to_owned()))),
    Function::new("title", &[TEXT], |a| change(a, title)),
    Function::new("toUpper", &[TEXT], |a| change(a, str::to_uppercase)),
    Function::new("toLower", &[TEXT], |a| change(a, str::to_lowercase)),
    Function::new("urlQueryEscape", &[TEXT], |a| change(a, url_query)),
    Function::new("graphLink", &[TEXT], |a| change(a, |expr| link(expr, 0))),
    Function::new("tableLink", &[TEXT], |a| change(a, |expr| link(expr, 1))),
    Function::new("stripPort", &[TEXT], |a| change(a, strip_port)),
    Function::new("stripDomain", &[TEXT], |a| change(a, strip_domain)),
    Function::env("pathPrefix", &[]),
    Function::env("externalURL", &[]),
    // Numbers.
    Function::new("humanize", &[ANY], |a| humanized(a, numbers::humanize)),
    Function::new("humanize1024", &[ANY], |a| humanized(a, numbers::humanize_1024)),
    Function::new("humanizeDuration", &[ANY], |a| humanized(a, numbers::humanize_duration)),
    Function::new("humanizePercentage", &[ANY], |a| humanized(a, numbers::humanize_percentage)),
    Function::new("humanizeTimestamp", &[ANY], |a| {
        numbers::humanize_timestamp(number(a)?).map(Value::Text)
    }),
    Function::new("toTime", &[ANY], |a| numbers::to_time(number(a)?).map(Value::Time)),
    Function::new("toDuration", &[ANY], |a| {
        numbers::nanoseconds(number(a)?, "duration").map(Value::Duration)
    }),
    Function::env("now", &[]),
    Function::new("parseDuration", &[TEXT], |a| parse_duration(text(a, 0)).map(Value::Float)),
];

fn number(args: &[Value]) -> Result<f64, String> {
    numbers::to_float(args.first().unwrap_or(&Value::Nil))
}

fn humanized(args: &[Value], humanize: fn(f64) -> String) -> Result<Value, String> {
    Ok(Value::Text(humanize(number(args)?)))
}

fn sample_field(sample: Option<&Value>, name: &str) -> Value {
    let Some(Value::Struct(sample)) = sample else { return Value::Nil };
    let found = sample.fields.iter().find(|(field, _)| *field == name);
    found.map_or(Value::Nil, |(_, value)| value.clone())
}

fn sample_label(sample: Option<&Value>, name: &str) -> Value {
    match sample_field(sample, "Labels") {
        Value::Map(labels) => labels.get(name).cloned().unwrap_or(Value::Text(String::new())),
        _ => Value::Text(String::new()),
    }
}

/// Path and query of the page that shows `expr` as a table (1) or a graph (0).
pub(crate) fn link(expr: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", url_query(expr))
}

/// The host and port of `host:port` or `[host]:port`.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host.strip_prefix('[') {
        Some(inside) => inside.strip_suffix(']')?,
        None if host.contains(':') => return None,
        None => host,
    };
    (!host.contains(['[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

fn strip_port(text: &str) -> String {
    host_and_port(text).map_or(text, |(host, _)| host).to_owned()
}

/// The first part of a host's name; addresses stay as they are.
fn strip_domain(text: &str) -> String {
    let (host, port) = host_and_port(text).unwrap_or((text, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return text.to_owned();
    }
    let name = host.split('.').next().unwrap_or("");
    match port {
        "" => name.to_owned(),
        port if name.contains(':') => format!("[{name}]:{port}"),
        port => format!("{name}:{port}"),
    }
}

/// A duration as PromQL writes it, also a negative one, in seconds.
fn parse_duration(text: &str) -> Result<f64, String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1.0, digits),
        None => (1.0, text),
    };
    if digits.is_empty() {
        return Err("empty duration string".to_owned());
    }
    let ms = promql::duration_ms(digits).ok_or_else(|| {
        format!("not a valid duration string: {}", query::template::go_quote(text))
    })?;
    Ok(sign * (ms as f64 / 1000.0))
}

#[cfg(test)]
mod tests {
    use model::Error;

    use super::*;

    fn sample(labels: &[(&str, &str)], value: f64) -> Sample {
        let labels = Labels::from_pairs(labels.iter().copied());
        Sample { labels, t_ms: 1_000_500, value, histogram: None }
    }

    fn check(template: &str, expected: Result<&str, &str>) {
        let surroundings = Surroundings {
            query: &|text| match text {
                "up" => Ok(vec![sample(&[("__name__", "up"), ("job", "a")], 1.0)]),
                other => Err(Error::invalid(format!("no {other}"))),
            },
            t_ms: 1_000_500,
            external_url: "https://host:1/a/b?c=d",
        };
        let found = sample(&[("job", "a"), ("instance", "h.x:9")], 0.51234);
        let external = Labels::from_pairs([("site", "x")]);
        let data = alert_data(&found, &external, surroundings.external_url);
        let found = expand_alert("t", template, data, &surroundings);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{template}");
    }

    #[test]
    fn alerts_have_their_variables() {
        check(
            "{{ $labels.job }} on {{ .Labels.instance }}: {{ $value }}",
            Ok("a on h.x:9: 0.51234"),
        );
        check("{{ $value | humanizePercentage }} {{ $labels.nope }}|", Ok("51.23% |"));
        check(
            "{{ $externalLabels.site }} {{ $externalURL }} {{ pathPrefix }}",
            Ok("x https://host:1/a/b?c=d /a/b"),
        );
        check(
            "{{ now }} {{ (now | toTime).Unix }} {{ humanizeTimestamp now }}",
            Ok("1000.5 1000 1970-01-01 00:16:40.5 +0000 UTC"),
        );
        check(
            "{{ with query \"up\" }}{{ . | first | value }}{{ (first .).Labels.job }}{{ . | first | label \"job\" }}{{ end }}",
            Ok("1aa"),
        );
        check("{{ query \"up\" | first }}", Ok("&{map[__name__:up job:a] 1}"));
        check(
            "{{ define \"x\" }}<{{ . }}>{{ end }}{{ tmpl \"x\" 1 }}{{ urlQueryEscape \"a b\" }}",
            Ok("<1>a+b"),
        );
        check(
            "{{ $labels.instance | stripDomain }} {{ title \"ab cd\" }} {{ match \"^a\" \"b\" }}",
            Ok("h:9 Ab Cd false"),
        );
        check("no {{", Err("error parsing template t: template: t:1: unclosed action"));
        check(
            "{{ query \"down\" }}",
            Err(
                "error executing template t: template: t:1:115: executing \"t\" at <query \"down\">: error calling query: no down",
            ),
        );
    }

    #[test]
    fn hosts_and_durations() {
        for (text, port, domain) in [
            ("a.b:1", "a.b", "a:1"),
            ("a.b", "a.b", "a"),
            ("[::1]:1", "::1", "[::1]:1"),
            ("::1", "::1", "::1"),
            ("a]:1", "a]:1", "a]:1"),
        ] {
            assert_eq!(
                (strip_port(text), strip_domain(text)),
                (port.to_owned(), domain.to_owned())
            );
        }
        assert_eq!(parse_duration("-1h2m10ms"), Ok(-3720.01));
        assert!(parse_duration("-").is_err() && parse_duration("1x").is_err());
    }
}

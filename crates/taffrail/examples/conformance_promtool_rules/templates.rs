//! Templates with what they become: `facts/template-expansion.json`.

use std::path::Path;
use std::sync::Arc;

use alert::expand::prometheus::{Surroundings, expand};
use model::{Histogram, Labels};
use query::promql::{Sample, histogram_text};
use query::template::{ANY_LIST, Value};
use serde_json::Value as Json;

use crate::Tally;

/// When upstream's tests expand.
const NOW_MS: i64 = 1_353_755_652_000;

pub(crate) fn run(dir: &Path, tally: &mut Tally) {
    let path = dir.join("facts/template-expansion.json");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let facts: Json = serde_json::from_str(&text).unwrap_or_default();
    for case in facts["cases"].as_array().into_iter().flatten() {
        let template = case["text"].as_str().unwrap_or_default();
        if case["html"] == true {
            tally.skip(template, "pages of HTML are not made from templates");
            continue;
        }
        tally.verdict(template, check(case, template).err());
    }
}

fn check(case: &Json, template: &str) -> Result<(), String> {
    let found: Vec<Sample> =
        array(&case["queryResult"]).map(sample).collect::<Option<_>>().ok_or("sample unknown")?;
    let data = match &case["input"] {
        Json::Array(items) => {
            let items: Option<Vec<Value>> = items.iter().map(value).collect();
            Value::list(&ANY_LIST, items.ok_or("input unknown")?)
        }
        other => value(other).ok_or("input unknown")?,
    };
    let surroundings = Surroundings {
        query: &|_| Ok(found.clone()),
        t_ms: NOW_MS,
        external_url: "http://testhost:9090/path/prefix",
    };
    let result = expand("test", template, data, &surroundings);
    let expected = match (&case["errorMsg"], &case["output"]) {
        (Json::String(error), _) => Err(error.clone()),
        (_, Json::String(output)) => Ok(output.clone()),
        // A histogram's own text.
        _ => found
            .first()
            .and_then(|sample| sample.histogram.as_deref())
            .map(|histogram| Ok(histogram_text(histogram)))
            .ok_or("output unknown")?,
    };
    if result == expected { Ok(()) } else { Err(format!("{result:?}, must be {expected:?}")) }
}

fn array(json: &Json) -> impl Iterator<Item = &Json> {
    json.as_array().into_iter().flatten()
}

fn sample(json: &Json) -> Option<Sample> {
    let args: Option<Vec<&str>> = array(&json["Metric"]["args"])
        .map(|arg| match arg["go"].as_str() {
            Some("labels.MetricName") => Some("__name__"),
            Some(_) => None,
            None => arg.as_str(),
        })
        .collect();
    let args = args?;
    let labels = Labels::from_pairs(args.chunks_exact(2).map(|pair| (pair[0], pair[1])));
    let histogram = json["H"].as_object().map(|h| {
        let number = |name: &str| h.get(name).and_then(Json::as_f64).unwrap_or(0.0);
        Arc::new(Histogram { count: number("Count"), sum: number("Sum"), ..Histogram::default() })
    });
    let value = match histogram {
        Some(_) => f64::NAN,
        None => match value(&json["F"])? {
            Value::Float(x) => x,
            Value::Int(n) => n as f64,
            _ => return None,
        },
    };
    Some(Sample { labels, t_ms: NOW_MS, value, histogram })
}

/// A value as JSON has it, or as Go's source does.
fn value(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::Bool(*b),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(n) => Value::Int(n),
            None => Value::Float(number.as_f64()?),
        },
        Json::Object(parts) => match parts.get("call").and_then(Json::as_str) {
            Some("math.Inf") => {
                let sign = array(parts.get("args")?).next()?.as_f64()?;
                Value::Float(f64::INFINITY.copysign(sign))
            }
            Some("math.NaN") => Value::Float(f64::NAN),
            Some(_) => return None,
            None => match parts.get("go")?.as_str()? {
                "math.MaxInt64" => Value::Int(i64::MAX),
                "math.MinInt64" => Value::Int(i64::MIN),
                "math.MaxUint64" => Value::Float(u64::MAX as f64),
                number => Value::Float(number.parse().ok()?),
            },
        },
        Json::Array(_) => return None,
    })
}

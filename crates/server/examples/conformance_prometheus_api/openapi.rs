//! The OpenAPI description of Prometheus' API as a source of requests and a judge of answers.
//!
//! Requests: for each operation its required parameters alone, then with each optional one, in every documented example;
//! for forms every documented example. Answers may have keys beyond the described ones (clients must ignore them).

use serde_json::Value;

/// A request and the schema its answer must have.
pub(crate) struct Case {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) form: Option<String>,
    pub(crate) schema: Value,
    pub(crate) is_json: bool,
}

/// Paths that take data in, which another suite looks at.
const OTHERS: [&str; 3] = ["/read", "/write", "/otlp/v1/metrics"];

pub(crate) fn cases(document: &Value) -> Vec<Case> {
    let mut cases = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        if OTHERS.contains(&path.as_str()) {
            continue;
        }
        for (method, operation) in item.as_object().into_iter().flatten() {
            let content = &operation["responses"]["200"]["content"];
            let (is_json, schema) = match content.get("application/json") {
                Some(json) => (true, json["schema"].clone()),
                None => (false, Value::Null),
            };
            let case = |uri: String, form: Option<String>| Case {
                method: method.to_ascii_uppercase(),
                uri,
                form,
                schema: schema.clone(),
                is_json,
            };
            let forms = &operation["requestBody"]["content"]["application/x-www-form-urlencoded"];
            for example in forms["examples"].as_object().into_iter().flatten() {
                let pairs = example.1["value"].as_object().into_iter().flatten();
                let pairs: Vec<(&str, &Value)> = pairs.map(|(n, v)| (n.as_str(), v)).collect();
                cases.push(case(format!("/api/v1{path}"), Some(encoded(&pairs))));
            }
            if forms.is_null() {
                let requests = requests(path, &operation["parameters"]);
                cases.extend(requests.into_iter().map(|uri| case(uri, None)));
            }
        }
    }
    cases
}

/// Path and query of each way to ask.
fn requests(path: &str, parameters: &Value) -> Vec<String> {
    let mut path = format!("/api/v1{path}");
    let (mut required, mut optional) = (Vec::new(), Vec::new());
    for parameter in parameters.as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap_or_default();
        if parameter["in"] == "path" {
            path = path.replace(&format!("{{{name}}}"), "job");
            continue;
        }
        let named = parameter["examples"].as_object().into_iter().flatten();
        let mut values: Vec<&Value> = named.map(|(_, example)| &example["value"]).collect();
        let listed = parameter["schema"]["enum"].as_array().into_iter().flatten();
        values.extend(listed);
        if parameter["required"] == true {
            required.extend(values.first().map(|value| (name, *value)));
        }
        optional.extend(values.into_iter().map(|value| (name, value)));
    }
    let uri = |extra: Option<(&str, &Value)>| {
        let replaced = extra.map(|(name, _)| name);
        let kept = required.iter().filter(|(name, _)| Some(*name) != replaced);
        // A direction needs an order.
        let order = Value::from("alpha");
        let order = (replaced == Some("sort_dir")).then_some(("sort_by", &order));
        let pairs: Vec<(&str, &Value)> = kept.copied().chain(extra).chain(order).collect();
        format!("{path}?{}", encoded(&pairs))
    };
    [None].into_iter().chain(optional.iter().copied().map(Some)).map(uri).collect()
}

fn encoded(pairs: &[(&str, &Value)]) -> String {
    let mut out = form_urlencoded::Serializer::new(String::new());
    for (name, value) in pairs {
        match value {
            Value::Array(items) => items.iter().for_each(|item| {
                out.append_pair(name, &text(item));
            }),
            value => {
                out.append_pair(name, &text(value));
            }
        }
    }
    out.finish()
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The first place where `value` is not what `schema` describes.
pub(crate) fn mismatch(
    document: &Value,
    schema: &Value,
    value: &Value,
    at: &str,
) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#')).unwrap_or(&Value::Null);
        return mismatch(document, target, value, at);
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let reasons: Vec<String> =
                choices.iter().filter_map(|s| mismatch(document, s, value, at)).collect();
            if reasons.len() == choices.len() {
                return Some(format!("{at} is none of {}: {}", choices.len(), reasons.join("; ")));
            }
        }
    }
    let is_type = match schema["type"].as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        _ => true,
    };
    if !is_type {
        return Some(format!("{at} is not of type {}", schema["type"]));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("{at} is {value}, not one of {}", schema["enum"]));
    }
    if let Some(object) = value.as_object() {
        for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if !object.contains_key(name) {
                return Some(format!("{at}.{name} is missing"));
            }
        }
        for (name, value) in object {
            let described = schema["properties"].get(name);
            let described = described.or_else(|| schema.get("additionalProperties"));
            if let Some(schema) = described.filter(|s| s.is_object())
                && let Some(reason) = mismatch(document, schema, value, &format!("{at}.{name}"))
            {
                return Some(reason);
            }
        }
    }
    if let Some(items) = value.as_array() {
        let count = items.len() as u64;
        if schema["minItems"].as_u64().is_some_and(|min| count < min)
            || schema["maxItems"].as_u64().is_some_and(|max| count > max)
        {
            return Some(format!("{at} has {count} items"));
        }
        for (i, item) in items.iter().enumerate() {
            if let Some(reason) = mismatch(document, &schema["items"], item, &format!("{at}[{i}]"))
            {
                return Some(reason);
            }
        }
    }
    None
}

//! Templates of notifications, and what they become: `facts/template-functions.json`.

use alert::expand::alertmanager::{Alert, Notification, Pairs, Templates};
use query::template::{ANY_LIST, ANY_MAP, Moment, TEXT_LIST, Value};
use serde_json::Value as Json;

use crate::Tally;

pub(crate) fn run(cases: &[Json], tally: &mut Tally) {
    for case in cases {
        let title = case["title"].as_str().unwrap_or_default();
        tally.verdict(&format!("template {title:?}"), check(case));
    }
}

fn check(case: &Json) -> Result<(), String> {
    let template = case["in"].as_str().unwrap_or_default();
    let data = data(&case["data"]).ok_or("data unknown")?;
    let templates = Templates::new();
    let result = match case["html"] == true {
        true => templates.html(template, &data, 0),
        false => templates.text(template, &data, 0),
    };
    match (result, case["fail"] == true) {
        (Err(_), true) => Ok(()),
        (Ok(found), true) => Err(format!("became {found:?}, must fail")),
        (Ok(found), false) if found == case["exp"].as_str().unwrap_or_default() => Ok(()),
        (found, false) => Err(format!("{found:?}, must be {}", case["exp"])),
    }
}

/// The data of a notification, or plain values.
fn data(json: &Json) -> Option<Value> {
    let is_notification = ["Alerts", "GroupLabels", "RouteLabels"];
    if is_notification.iter().any(|key| !json[*key].is_null()) {
        let alerts = json["Alerts"].as_array().into_iter().flatten().map(|alert| Alert {
            resolved: alert["Status"] == "resolved",
            labels: pairs(&alert["Labels"]),
            annotations: pairs(&alert["Annotations"]),
            ..Alert::default()
        });
        let notification = Notification {
            alerts: alerts.collect(),
            group_labels: pairs(&json["GroupLabels"]),
            route_labels: pairs(&json["RouteLabels"]),
            ..Notification::default()
        };
        let Value::Struct(data) = notification.value() else { return None };
        let fields = data.fields.iter().map(|(name, value)| match (*name, value) {
            ("Alerts", Value::List(list)) => {
                let facts = json["Alerts"].as_array().into_iter().flatten();
                let alerts = list.items.iter().zip(facts).map(|(alert, fact)| zeroed(alert, fact));
                (*name, Value::list(list.kind, alerts.collect()))
            }
            _ => (*name, value.clone()),
        });
        return Some(Value::record(data.kind, fields.collect()));
    }
    plain(json)
}

/// An alert whose fields that a fact does not name have Go's zero values, which no alert of a notification has.
fn zeroed(alert: &Value, fact: &Json) -> Value {
    let Value::Struct(alert) = alert else { return Value::Nil };
    let fields = alert.fields.iter().map(|(name, value)| match *name {
        name @ ("Labels" | "Annotations") if fact[name].is_null() => (name, Value::Nil),
        name @ "StartsAt" => (name, Value::Time(Moment::zero())),
        name => (name, value.clone()),
    });
    Value::record(alert.kind, fields.collect())
}

fn pairs(json: &Json) -> Pairs {
    let entries = json.as_object().into_iter().flatten();
    entries.map(|(k, v)| (k.clone(), v.as_str().unwrap_or("").to_owned())).collect()
}

fn plain(json: &Json) -> Option<Value> {
    Some(match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::Bool(*b),
        Json::String(text) => Value::Text(text.clone()),
        Json::Number(number) => match number.as_i64() {
            Some(n) => Value::Int(n),
            None => Value::Float(number.as_f64()?),
        },
        Json::Array(items) => {
            let kind = if items.iter().all(Json::is_string) { &TEXT_LIST } else { &ANY_LIST };
            Value::list(kind, items.iter().map(plain).collect::<Option<_>>()?)
        }
        Json::Object(entries) => {
            let entries = entries.iter().map(|(k, v)| Some((k.clone(), plain(v)?)));
            Value::map(&ANY_MAP, entries.collect::<Option<_>>()?)
        }
    })
}

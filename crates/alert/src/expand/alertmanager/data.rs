//! The data of a notification as templates see it: `Data`, `Alerts`, `Alert`, `KV`, `Pairs`.

use std::collections::BTreeMap;

use query::template::{Function, Moment, Param, TEXT_LIST, Type, Value};

/// Labels or annotations.
pub type Pairs = BTreeMap<String, String>;

/// What a notification tells.
#[derive(Debug, Clone, Default)]
pub struct Notification {
    /// The receiver's name.
    pub receiver: String,
    /// Why it is sent, such as `firing` or `repeat interval elapsed`.
    pub notification_reason: String,
    /// In the order they are told.
    pub alerts: Vec<Alert>,
    /// What the alerts were grouped by.
    pub group_labels: Pairs,
    /// Where users reach this program.
    pub external_url: String,
    /// The labels of the route, templates themselves.
    pub route_labels: Pairs,
}

/// One alert of a notification.
#[derive(Debug, Clone, Default)]
pub struct Alert {
    /// Whether it is over.
    pub resolved: bool,
    /// Its labels.
    pub labels: Pairs,
    /// Its annotations.
    pub annotations: Pairs,
    /// Since when, Unix nanoseconds.
    pub starts_at_ns: i64,
    /// Until when; `None` while it is not known.
    pub ends_at_ns: Option<i64>,
    /// Where it comes from.
    pub generator_url: String,
    /// Its identity.
    pub fingerprint: String,
}

pub(super) static DATA: Type = Type { name: "*template.Data", methods: &[], is_of_texts: false };
pub(super) static ALERT: Type = Type { name: "template.Alert", methods: &[], is_of_texts: false };
pub(super) static PAIR: Type = Type { name: "template.Pair", methods: &[], is_of_texts: false };
pub(super) static ALERTS: Type = Type {
    name: "template.Alerts",
    methods: &[
        Function::new("Firing", &[], |a| Ok(with_status(a, "firing"))),
        Function::new("Resolved", &[], |a| Ok(with_status(a, "resolved"))),
    ],
    is_of_texts: false,
};
pub(super) static KV: Type = Type {
    name: "template.KV",
    methods: &[
        Function::new("SortedPairs", &[], |a| Ok(sorted_pairs(a))),
        Function::new("Remove", &[Param::Texts], |a| Ok(remove(a))),
        Function::new("Names", &[], |a| Ok(column(sorted_pairs(a).items(), "Name"))),
        Function::new("Values", &[], |a| Ok(column(sorted_pairs(a).items(), "Value"))),
        Function::new("String", &[], |a| Ok(joined(&sorted_pairs(a)))),
    ],
    is_of_texts: true,
};
pub(super) static PAIRS: Type = Type {
    name: "template.Pairs",
    methods: &[
        Function::new("Names", &[], |a| Ok(column(receiver(a).items(), "Name"))),
        Function::new("Values", &[], |a| Ok(column(receiver(a).items(), "Value"))),
        Function::new("String", &[], |a| Ok(joined(receiver(a)))),
    ],
    is_of_texts: false,
};

impl Notification {
    /// It as templates see it, with the labels and annotations that all alerts have in common.
    pub fn value(&self) -> Value {
        let firing = self.alerts.iter().any(|alert| !alert.resolved);
        let common = |of: fn(&Alert) -> &Pairs| {
            let mut alerts = self.alerts.iter().map(of);
            let mut common = alerts.next().cloned().unwrap_or_default();
            alerts.for_each(|other| common.retain(|name, value| other.get(name) == Some(value)));
            kv(&common)
        };
        let fields = vec![
            ("Receiver", text(&self.receiver)),
            ("Status", text(if firing { "firing" } else { "resolved" })),
            ("Alerts", Value::list(&ALERTS, self.alerts.iter().map(Alert::value).collect())),
            ("GroupLabels", kv(&self.group_labels)),
            ("CommonLabels", common(|alert| &alert.labels)),
            ("CommonAnnotations", common(|alert| &alert.annotations)),
            ("ExternalURL", text(&self.external_url)),
            ("NotificationReason", text(&self.notification_reason)),
            ("RouteLabels", kv(&self.route_labels)),
        ];
        Value::record(&DATA, fields)
    }
}

impl Alert {
    /// It as templates see it.
    pub fn value(&self) -> Value {
        let ends_at = self.ends_at_ns.map_or_else(Moment::zero, Moment::utc);
        let fields = vec![
            ("Status", text(if self.resolved { "resolved" } else { "firing" })),
            ("Labels", kv(&self.labels)),
            ("Annotations", kv(&self.annotations)),
            ("StartsAt", Value::Time(Moment::utc(self.starts_at_ns))),
            ("EndsAt", Value::Time(ends_at)),
            ("GeneratorURL", text(&self.generator_url)),
            ("Fingerprint", text(&self.fingerprint)),
        ];
        Value::record(&ALERT, fields)
    }
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn kv(pairs: &Pairs) -> Value {
    Value::map(&KV, pairs.iter().map(|(name, value)| (name.clone(), text(value))).collect())
}

/// What is called `name` in a struct or map.
pub(crate) fn field<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    match value {
        Value::Struct(record) => {
            record.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
        }
        Value::Map(map) => map.get(name),
        _ => None,
    }
}

fn receiver(args: &[Value]) -> &Value {
    args.first().unwrap_or(&Value::Nil)
}

fn with_status(args: &[Value], status: &str) -> Value {
    let has = |alert: &&Value| field(alert, "Status").is_some_and(|s| s.as_text() == status);
    Value::list(&ALERTS_OF_STATUS, receiver(args).items().iter().filter(has).cloned().collect())
}

/// What `Firing` and `Resolved` give: a plain list.
static ALERTS_OF_STATUS: Type = Type { name: "[]template.Alert", methods: &[], is_of_texts: false };

/// The pairs by name, the alert's name in front.
fn sorted_pairs(args: &[Value]) -> Value {
    let Value::Map(map) = receiver(args) else { return Value::list(&PAIRS, Vec::new()) };
    let pair = |name: &str, value: &Value| {
        Value::record(&PAIR, vec![("Name", text(name)), ("Value", value.clone())])
    };
    let is_name = |name: &str| name == "alertname";
    let first = map.get("alertname").map(|value| pair("alertname", value));
    let others = map.items().iter().filter(|(name, _)| !is_name(name)).map(|(n, v)| pair(n, v));
    Value::list(&PAIRS, first.into_iter().chain(others).collect())
}

fn remove(args: &[Value]) -> Value {
    let Value::Map(map) = receiver(args) else { return Value::Nil };
    let names = args.get(1).map_or(&[][..], Value::items);
    let stays = |name: &str| !names.iter().any(|removed| removed.as_text() == name);
    Value::map(&KV, map.items().iter().filter(|(name, _)| stays(name)).cloned().collect())
}

fn column(pairs: &[Value], name: &str) -> Value {
    let values = pairs.iter().filter_map(|pair| field(pair, name)).cloned();
    Value::list(&TEXT_LIST, values.collect())
}

/// `name=value, name=value`
fn joined(pairs: &Value) -> Value {
    let pairs = pairs.items().iter().map(|pair| {
        let part = |name: &str| field(pair, name).map_or("", Value::as_text);
        format!("{}={}", part("Name"), part("Value"))
    });
    Value::Text(pairs.collect::<Vec<_>>().join(", "))
}

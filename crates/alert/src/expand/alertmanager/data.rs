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
    /// What else is known of alerts, by their fingerprints. Alertmanager has no such thing.
    pub contexts: BTreeMap<String, Context>,
}

/// What is known of an alert beyond what its rule says, for who has to look into it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    /// The container it comes from; empty when there is none.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Figures with their units, in the order they are told.
    pub values: Vec<(String, String)>,
    /// The last lines the container logged, oldest first.
    pub log_lines: Vec<String>,
    /// Names and URLs of what to look at: the moment in the user interface, the runbook.
    pub links: Vec<(String, String)>,
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
pub(super) static CONTEXT: Type =
    Type { name: "*taffrail.Context", methods: &[], is_of_texts: false };
pub(super) static CONTEXTS: Type =
    Type { name: "map[string]*taffrail.Context", methods: &[], is_of_texts: false };
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
        let mut fields = vec![
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
        // Without it the data is Alertmanager's, whatever a template does with it.
        if !self.contexts.is_empty() {
            let contexts = self.contexts.iter();
            let contexts = contexts.map(|(alert, context)| (alert.clone(), context.value()));
            fields.push((CONTEXTS_FIELD, Value::map(&CONTEXTS, contexts.collect())));
        }
        Value::record(&DATA, fields)
    }
}

/// Where the data of a notification has what else is known of its alerts.
pub(crate) const CONTEXTS_FIELD: &str = "Taffrail";

impl Context {
    /// It as templates see it.
    pub fn value(&self) -> Value {
        let pairs = |pairs: &[(String, String)]| {
            let pair = |(name, value): &(String, String)| {
                Value::record(&PAIR, vec![("Name", text(name)), ("Value", text(value))])
            };
            Value::list(&PAIRS, pairs.iter().map(pair).collect())
        };
        let lines = self.log_lines.iter().map(|line| text(line)).collect();
        let fields = vec![
            ("Container", text(&self.container)),
            ("Image", text(&self.image)),
            ("Values", pairs(&self.values)),
            ("LogLines", Value::list(&TEXT_LIST, lines)),
            ("Links", pairs(&self.links)),
        ];
        Value::record(&CONTEXT, fields)
    }
}

/// What the data of a notification knows of `alert`; nothing when it knows nothing.
pub(super) fn context(data: &Value, alert: &Value) -> Value {
    let fingerprint = field(alert, "Fingerprint").map_or("", Value::as_text);
    match field(data, CONTEXTS_FIELD) {
        Some(Value::Map(contexts)) => contexts.get(fingerprint).cloned().unwrap_or(Value::Nil),
        _ => Value::Nil,
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

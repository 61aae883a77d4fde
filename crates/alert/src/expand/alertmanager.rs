//! Templates of notifications, as Alertmanager expands them: its functions, and the data of a notification.

mod data;
mod functions;
pub(crate) mod json;

use std::cell::Cell;
use std::fmt;

use query::template::{Caller, Env, Set, Value};

pub use self::data::{Alert, Context, Notification, Pairs};
pub(crate) use self::data::{CONTEXTS_FIELD, field};

/// Route labels whose templates ask for each other.
const ROUTE_LABEL_DEPTH_MAX: usize = 16;
/// Route labels that one rendering may expand.
const ROUTE_LABELS_MAX: usize = 1000;

/// The templates of a configuration, to which each field of a receiver is added for its own rendering.
#[derive(Debug, Clone)]
pub struct Templates {
    text: Set,
    html: Set,
}

impl Default for Templates {
    fn default() -> Self {
        Self::new()
    }
}

impl Templates {
    /// No templates but what is written where it is used.
    pub fn new() -> Self {
        let set = Set::new(functions::FUNCTIONS);
        Self { text: set.clone(), html: set.escaping_html() }
    }

    /// Adds what a file defines; `name` appears in errors.
    ///
    /// # Errors
    /// Invalid, in Go's words with name and line.
    pub fn add(&mut self, name: &str, text: &str) -> model::Result<()> {
        self.text.parse(name, text)?;
        self.html.parse(name, text)
    }

    /// Checks a template as it would stand in a receiver.
    ///
    /// # Errors
    /// Invalid, in Go's words.
    pub fn check(&self, template: &str) -> model::Result<()> {
        self.text.clone().parse("", template)
    }

    /// Expands a text for `data`, which comes from [`Notification::value`] as a rule.
    ///
    /// # Errors
    /// In Go's words.
    pub fn text(&self, template: &str, data: &Value, now_ns: i64) -> Result<String, String> {
        // Most fields are plain text.
        if !template.contains("{{") {
            return Ok(template.to_owned());
        }
        render(&self.text, template, data, now_ns)
    }

    /// As [`Templates::text`], for HTML: what is printed is escaped for the place it stands in.
    ///
    /// # Errors
    /// In Go's words.
    pub fn html(&self, template: &str, data: &Value, now_ns: i64) -> Result<String, String> {
        render(&self.html, template, data, now_ns)
    }
}

fn render(set: &Set, template: &str, data: &Value, now_ns: i64) -> Result<String, String> {
    let mut with = set.clone();
    with.parse("", template).map_err(|e| e.message().to_owned())?;
    let surroundings = Surroundings { set, data, now_ns, depth: 0, expanded: &Cell::new(0) };
    with.render("", &surroundings, data.clone())
}

/// One rendering.
struct Surroundings<'a> {
    set: &'a Set,
    data: &'a Value,
    /// Unix nanoseconds.
    now_ns: i64,
    /// Route labels within each other.
    depth: usize,
    /// Route labels expanded so far.
    expanded: &'a Cell<usize>,
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings").field("depth", &self.depth).finish_non_exhaustive()
    }
}

impl Env for Surroundings<'_> {
    fn call(&self, _: &Caller<'_>, name: &'static str, args: &[Value]) -> Result<Value, String> {
        match name {
            "routeLabels" => self.route_label(args.first().map_or("", Value::as_text)),
            "context" => Ok(data::context(self.data, args.first().unwrap_or(&Value::Nil))),
            _ => Ok(functions::since(args, self.now_ns)),
        }
    }
}

impl Surroundings<'_> {
    /// The route's label `name`, itself a template; empty when the route has none.
    fn route_label(&self, name: &str) -> Result<Value, String> {
        let template = match data::field(self.data, "RouteLabels") {
            Some(Value::Map(labels)) => labels.get(name).map_or("", Value::as_text).to_owned(),
            _ => String::new(),
        };
        let expanded = self.expanded.get() + 1;
        self.expanded.set(expanded);
        if self.depth >= ROUTE_LABEL_DEPTH_MAX || expanded > ROUTE_LABELS_MAX {
            return Err(format!(
                "route label {name:?}: over {ROUTE_LABEL_DEPTH_MAX} labels within each other, or over \
                 {ROUTE_LABELS_MAX} in all; do they name each other in a circle?"
            ));
        }
        let mut with = self.set.clone();
        with.parse("", &template).map_err(|e| e.message().to_owned())?;
        let deeper = Surroundings { depth: self.depth + 1, ..*self };
        with.render("", &deeper, self.data.clone()).map(Value::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, expected: &str) {
        let pairs = |pairs: &[(&str, &str)]| -> Pairs {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let alert = |resolved| Alert {
            resolved,
            labels: pairs(&[("alertname", "Down"), ("a", "1"), ("z", "<2>")]),
            ..Alert::default()
        };
        let notification = Notification {
            alerts: vec![alert(false), alert(true)],
            route_labels: pairs(&[("x", "{{ .Status }}"), ("loop", "{{ routeLabels \"loop\" }}")]),
            ..Notification::default()
        };
        let data = notification.value();
        let expand = |html: bool| match html {
            true => Templates::new().html(template, &data, 90_000_000_000),
            false => Templates::new().text(template, &data, 90_000_000_000),
        };
        let found = expand(template.starts_with('<')).unwrap_or_else(|e| e);
        match expected {
            "circle" => assert!(found.contains(expected), "{template}: {found}"),
            _ => assert_eq!(found, expected, "{template}"),
        }
    }

    #[test]
    fn notifications_have_their_functions_and_data() {
        check(
            "{{ .Alerts.Firing | len }}{{ .CommonLabels.SortedPairs.Values | join \",\" }}",
            "1Down,1,<2>",
        );
        check("{{ (.CommonLabels.Remove (stringSlice \"a\")).Names }}", "[alertname z]");
        check("{{ .CommonLabels }}", "alertname=Down, a=1, z=<2>");
        check("<b>{{ .CommonLabels.z }}{{ .CommonLabels.z | safeHtml }}", "<b>&lt;2&gt;<2>");
        check("{{ routeLabels \"x\" }}{{ routeLabels \"nope\" }}", "firing");
        check("{{ routeLabels \"loop\" }}", "circle");
        check(
            "{{ range .Alerts }}{{ since .StartsAt | humanizeDuration }} {{ end }}",
            "1m 30s 1m 30s ",
        );
        check(
            "{{ dict \"a\" 1 | toJson }}{{ \"flush>>\" | base64encode }}{{ \"dGVzdA==\" | base64decode }}",
            "{\"a\":1}Zmx1c2g-Pg==test",
        );
        check("{{ (index .Alerts 0).EndsAt | toJson }}", "\"0001-01-01T00:00:00Z\"");
    }
}

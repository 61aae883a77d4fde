//! The templates there are without any file of the user's.

use crate::expand::alertmanager::Templates;

/// The default texts of all integrations, under Alertmanager's names. Files of the user are added to them and may replace
/// each.
pub fn default_templates() -> Templates {
    let mut templates = Templates::new();
    for (name, text) in
        [("default.tmpl", include_str!("default.tmpl")), ("email.tmpl", include_str!("email.tmpl"))]
    {
        templates.add(name, text).expect("BUG: the default templates are sound");
    }
    templates
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use query::template::Value;

    use super::*;
    use crate::expand::alertmanager::{Alert, Notification, Pairs};

    fn pairs(pairs: &[(&str, &str)]) -> Pairs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn alert(resolved: bool, severity: &str, annotations: &[(&str, &str)]) -> Alert {
        Alert {
            resolved,
            labels: pairs(&[("alertname", "A <b>"), ("severity", severity), ("z", "1&2")]),
            annotations: pairs(annotations),
            generator_url: "http://g/?a=1&b=<2>".to_owned(),
            ..Alert::default()
        }
    }

    fn check(alerts: Vec<Alert>, theirs: &Templates, names: &[String]) {
        let notification = Notification {
            receiver: "a.b c".to_owned(),
            alerts,
            group_labels: pairs(&[("alertname", "A <b>")]),
            external_url: "http://am/x".to_owned(),
            ..Notification::default()
        };
        let (ours, data) = (default_templates(), notification.value());
        for name in names {
            let is_of_alerts = name.starts_with("__text") || name.ends_with(".instances");
            let dot = if is_of_alerts { ".Alerts.Firing" } else { "." };
            let template = format!("{{{{ template \"{name}\" {dot} }}}}");
            let same = |render: fn(&Templates, &str, &Value) -> Result<String, String>| {
                let [ours, theirs] = [&ours, theirs].map(|set| render(set, &template, &data));
                assert_eq!(ours, theirs, "{name}");
            };
            same(|set, template, data| set.html(template, data, 0));
            // A page has a comment that only its text shows.
            if name != "email.default.html" {
                same(|set, template, data| set.text(template, data, 0));
            }
        }
    }

    #[test]
    fn every_default_text_is_alertmanagers() {
        let dir = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/data/alertmanager/prometheus__alertmanager/template"
        );
        let mut theirs = Templates::new();
        let mut names = Vec::new();
        for file in ["default.tmpl", "email.tmpl"] {
            let Ok(text) = std::fs::read_to_string(Path::new(dir).join(file)) else {
                return;
            };
            theirs.add(file, &text).expect("a template");
            let defined = text.split("define \"").skip(1).filter_map(|rest| rest.split('"').next());
            names.extend(defined.map(str::to_owned));
        }
        assert!(names.len() > 50, "{names:?}");
        let (summary, more) = (("summary", "<it> is down"), ("runbook", "http://r"));
        check(Vec::new(), &theirs, &names);
        check(vec![alert(false, "warning", &[summary])], &theirs, &names);
        check(vec![alert(true, "critical", &[]), alert(true, "info", &[more])], &theirs, &names);
        let mixed = [("critical", false), ("warning", false), ("", false), ("critical", true)];
        let mixed = mixed.map(|(severity, over)| alert(over, severity, &[summary, more]));
        check(mixed.to_vec(), &theirs, &names);
        check(vec![alert(false, "none", &[]), alert(true, "info", &[])], &theirs, &names);
    }
}

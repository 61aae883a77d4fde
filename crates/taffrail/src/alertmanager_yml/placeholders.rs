//! Values that somebody meant to replace, and secrets that must not be shown.

use crate::prometheus_yml::dump::SECRET;
use crate::prometheus_yml::node::{Node, Value};

/// A letter so often in a row stands for something else.
const RUN: usize = 8;

/// Words that ask to be replaced, in upper case, with `_` for all that is no letter.
const WORDS: [&str; 6] =
    ["YOUR_", "CHANGE_ME", "CHANGEME", "REPLACE_ME", "REPLACE_WITH", "PLACEHOLDER"];

/// Whether a URL or a secret is a text such as `YOUR_WEBHOOK_URL`, `https://host/<your>/<key>` or `xxxxxxxx`.
pub(super) fn is_placeholder(text: &str) -> bool {
    // What templates and variables stand for is not known.
    if text.contains("{{") {
        return false;
    }
    let upper: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    let at_start = |word: &str| {
        upper.match_indices(word).any(|(at, _)| at == 0 || upper.as_bytes()[at - 1] == b'_')
    };
    WORDS.into_iter().any(at_start) || has_angles(text) || has_run(text)
}

/// `<something>`
fn has_angles(text: &str) -> bool {
    let Some((_, rest)) = text.split_once('<') else { return false };
    let Some((inner, _)) = rest.split_once('>') else { return false };
    !inner.is_empty() && inner.chars().all(|c| c.is_alphanumeric() || "_- .".contains(c))
}

fn has_run(text: &str) -> bool {
    let mut length = 0;
    let mut is_long = |c: char| {
        length = if matches!(c, 'x' | 'X') { length + 1 } else { 0 };
        length >= RUN
    };
    text.chars().any(&mut is_long)
}

/// `root` without the URLs that are secrets; other secrets are known by their keys.
pub(super) fn masked(mut root: Node) -> Node {
    mask(&mut root, "");
    root
}

fn mask(node: &mut Node, integration: &str) {
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| mask(item, integration)),
        Value::Map(entries) => {
            for (key, value) in entries {
                let is_secret = matches!(
                    (key.name.as_str(), integration),
                    (
                        "slack_api_url"
                            | "mattermost_webhook_url"
                            | "webhook_url"
                            | "token_id"
                            | "rocketchat_token_id",
                        _
                    ) | ("api_url", "slack_configs")
                        | ("url", "webhook_configs" | "incidentio_configs")
                );
                if is_secret && value.text().is_some() {
                    value.value = Value::Text(SECRET.to_owned());
                } else {
                    let is_integration = key.name.ends_with("_configs");
                    mask(value, if is_integration { &key.name } else { integration });
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_to_be_replaced_is_known() {
        let check =
            |text: &str, expected: bool| assert_eq!(is_placeholder(text), expected, "{text}");
        check("YOUR_SLACK_WEBHOOK_URL", true);
        check("https://hooks.slack.com/services/<YOUR>/<SLACK>/<WEBHOOK>", true);
        check("https://hooks.slack.com/services/<webhook-id>", true);
        check("https://hooks.slack.com/services/T000/B000/XXXXXXXXXXXXXXXX", true);
        check("https://hooks.slack.com/services/your/webhook", true);
        check("<SMTP_PASSWORD>", true);
        check("changeme", true);
        check("replace-me-please", true);
        check("https://hooks.slack.com/services/T012AB3/B45/aYourself9", false);
        check("https://example.org/{{ .GroupLabels.a }}?<x>", false);
        check("pa<ss", false);
        check("a<>b", false);
    }
}

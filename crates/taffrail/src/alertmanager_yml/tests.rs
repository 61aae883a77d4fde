//! Files that load, files that do not, and what is made of mistakes.

use std::path::Path;

use alert::receiver::{Integration, Kind};
use alert::route::GroupBy;
use model::http::Secret;

use super::*;
use crate::prometheus_yml::schema::tests::check as check_tables;

const STRICT: Options = Options { strict: true, syntax: Syntax::Fallback };

fn read(text: &str, options: Options) -> Result<Loaded, Vec<ConfigError>> {
    let env = |name: &str| (name == "SET").then(|| "https://hooks.example.org/1".to_owned());
    load(Path::new("/etc/am/a.yml"), text, options, &env)
}

fn loaded(text: &str) -> Loaded {
    read(text, Options::default())
        .unwrap_or_else(|e| panic!("{}", e.iter().map(|e| format!("{e}\n")).collect::<String>()))
}

fn shown(errors: &[ConfigError]) -> Vec<String> {
    errors.iter().map(|e| format!("{}: {}", e.line, e.message)).collect()
}

/// Mistakes, or warnings when there are none.
fn check(text: &str, options: Options, expected: &[&str]) {
    let found = match read(text, options) {
        Ok(loaded) => shown(&loaded.warnings),
        Err(mistakes) => shown(&mistakes),
    };
    assert_eq!(found, expected, "{text}");
}

fn integrations(text: &str) -> Vec<Integration> {
    loaded(text).config.receivers.into_iter().flat_map(|r| r.integrations).collect()
}

#[test]
fn the_table_of_keys_is_well_formed() {
    check_tables(&[keys::OBJECTS, schema::OBJECTS]);
}

#[test]
fn every_mistake_is_told_with_its_line() {
    let text = "\
route:
  receiver: nobody
  group_by: [a, a]
  continue: true
  routes:
  - match: {a: b}
    recever: x
    group_interval: 0s
    mute_time_intervals: [night]
    matchers: ['=']
receivers:
- name: x
- name: x
- slack_configs: []
inhibit_rules:
- source_match_re: {a: '('}
time_intervals:
- name: t
  time_intervals:
  - weekdays: [mon]
    times: [{start_time: '9:00', end_time: '10:00'}]
- name: t
";
    check(
        text,
        Options::default(),
        &[
            "2: undefined receiver \"nobody\" used in route",
            "3: duplicated label \"a\" in group_by",
            "4: cannot have continue in root route",
            "7: unknown key \"recever\" in route; the nearest known key is \"receiver\"",
            "8: group_interval cannot be zero",
            "9: undefined time interval \"night\" used in route",
            "10: bad matcher format: =",
            "13: notification config name \"x\" is not unique",
            "14: missing name in receiver",
            "16: error parsing regexp: unclosed group: `^(?:^(?:()$)$`",
            "20: mon is not a valid weekday",
            "21: couldn't parse timestamp 9:00, invalid format",
            "22: time interval \"t\" is not unique",
        ],
    );
    check("", Options::default(), &["1: no route provided in config"]);
    check("receivers: [{name: x}]\n", STRICT, &["1: no routes provided"]);
}

#[test]
fn an_integration_that_cannot_work_is_switched_off_and_the_rest_runs() {
    let text = "\
global:
  slack_api_url: ${UNSET}
  smtp_smarthost: localhost:25
  smtp_from: a@example.org
  storage: 1
route: {receiver: x}
receivers:
- name: x
  slack_configs:
  - channel: '#a'
  - {channel: '#b', api_url: YOUR_SLACK_WEBHOOK_URL}
  - {channel: '#c', api_url: '${SET}', colour: red, text: '{{ nope }}'}
  email_configs:
  - {to: b@example.org, subject: 'S {{ .Status }}', body: B}
  - {to: c@example.org, require_tls: maybe}
  pagerduty_configs:
  - service_key: <key>
  webhook_configs:
  - url: ${UNSET:-http://localhost:1/}
";
    let Loaded { config, switched_off, warnings, .. } = loaded(text);
    assert_eq!(
        shown(&warnings),
        [
            "2: slack_api_url: environment variable UNSET is not set; ${UNSET:-} would allow that; it is not read",
            "5: unknown key \"storage\" in global; it is not read",
            "10: receiver \"x\": slack[0] is switched off: no Slack API URL nor App token set either inline or in a file",
            "11: receiver \"x\": slack[1] is switched off: api_url is a placeholder: put the real value there",
            "12: unknown key \"colour\" in slack; the nearest known key is \"color\"; it is not read",
            "12: template: :1: function \"nope\" not defined",
            "14: there is no key \"subject\" in email: read as Subject in headers",
            "14: there is no key \"body\" in email: read as text (html is a page)",
            "15: receiver \"x\": email[1] is switched off: require_tls must be true or false, not \"maybe\"",
            "17: receiver \"x\": pagerduty[0] is switched off: service_key is a placeholder: put the real value there",
        ]
    );
    let names: Vec<(&str, &str)> =
        switched_off.iter().map(|off| (off.receiver.as_str(), off.integration.as_str())).collect();
    assert_eq!(
        names,
        [("x", "slack[0]"), ("x", "slack[1]"), ("x", "email[1]"), ("x", "pagerduty[0]")]
    );
    let kinds: Vec<&str> = config.receivers[0].integrations.iter().map(|i| i.kind.name()).collect();
    assert_eq!(kinds, ["slack", "email", "webhook"]);
    let Kind::Email(email) = &config.receivers[0].integrations[1].kind else { panic!() };
    assert_eq!((email.text.as_str(), email.html.as_str()), ("B", ""));
    assert_eq!(email.headers["Subject"], "S {{ .Status }}");
    let Kind::Webhook(webhook) = &config.receivers[0].integrations[2].kind else { panic!() };
    assert_eq!(webhook.url, Some(Secret::Text("http://localhost:1/".to_owned())));
}

#[test]
fn a_strict_reading_refuses_what_alertmanager_refuses() {
    let with =
        |receiver: &str| format!("route: {{receiver: x}}\nreceivers:\n- name: x\n  {receiver}\n");
    let check = |receiver: &str, expected: &[&str]| check(&with(receiver), STRICT, expected);
    check(
        "slack_configs: [{channel: a}]",
        &["4: no Slack API URL nor App token set either inline or in a file"],
    );
    check("slack_configs: [{api_url: x}]", &["4: api_url: unsupported scheme \"\" for URL"]);
    check("slack_configs: [{api_url: 'https://h/<your>'}]", &[]);
    check(
        "slack_configs: [{api_url: 'https://h/', colour: x, body: y}]",
        &[
            "4: unknown key \"colour\" in slack; the nearest known key is \"color\"",
            "4: unknown key \"body\" in slack",
        ],
    );
    check("webhook_configs: [{url: '${SET}'}]", &["4: url: unsupported scheme \"\" for URL"]);
    check("webhook_configs: [{url: '{{ .GroupLabels.url }}'}]", &[]);
    check("webhook_configs: [{}]", &["4: one of url or url_file must be configured"]);
    check("email_configs: [{to: a}]", &["4: no global SMTP smarthost set"]);
    check(
        "email_configs: [{to: a, headers: {subject: a, Subject: b}}]",
        &["4: duplicate header \"Subject\" in email config"],
    );
    check("telegram_configs: [{bot_token: a, chat_id: -1}]", &[]);
    check(
        "telegram_configs: [{bot_token: a}]",
        &["4: missing chat_id or chat_id_file on telegram_config"],
    );
    check(
        "ntfy_configs: [{topic: a}]",
        &["4: unknown key \"ntfy_configs\" in receiver: Alertmanager has none"],
    );
    check(
        "sns_configs: [{}]",
        &["4: must provide either a Target ARN, Topic ARN, or Phone Number for SNS config"],
    );
    check("webex_configs: [{room_id: r}]", &["4: missing webex_configs.http_config.authorization"]);
    check(
        "webhook_configs: [{url: 'http://a', http_config: {basic_auth: {}, authorization: {}}}]",
        &["4: basic_auth and authorization exclude each other"],
    );
}

#[test]
fn times_over_midnight_are_taken_and_warned_of() {
    let text = "\
route: {receiver: x}
receivers: [{name: x}]
time_intervals:
- name: night
  time_intervals: [{times: [{start_time: '17:00', end_time: '09:00'}]}]
";
    check(
        text,
        Options::default(),
        &[
            "5: 17:00 to 09:00 goes over midnight and means 00:00 to 09:00 and 17:00 to 24:00 of each day; \
         Alertmanager refuses it: write these two",
        ],
    );
    check(text, STRICT, &["5: start time cannot be equal or greater than end time"]);
    let config = loaded(text).config;
    let contains = |t_ms| alert::time_interval::any_contains(&config.time_intervals["night"], t_ms);
    assert!(contains(8 * 3_600_000) && !contains(12 * 3_600_000));
}

#[test]
fn integrations_take_what_is_global() {
    let text = "\
global:
  http_config: {proxy_url: 'http://proxy:1'}
  opsgenie_api_key_file: key
  opsgenie_api_url: https://og.example.org/x
  smtp_smarthost: '[::1]:587'
  smtp_from: f
  smtp_auth_password: p
  smtp_require_tls: false
  resolve_timeout: 1h
route: {receiver: x, group_by: ['...'], labels: {a: b}}
templates: ['t/*.tmpl', /abs.tmpl]
receivers:
- name: x
  opsgenie_configs:
  - {send_resolved: false, responders: [{type: team, name: t}]}
  - {api_key: own, http_config: {follow_redirects: false}}
  email_configs: [{to: t, html: '', auth_password_file: own}]
";
    let Loaded { config, yaml, .. } = loaded(text);
    let Config { route, templates, resolve_timeout_ms, .. } = config;
    assert_eq!((&route.group_by, resolve_timeout_ms), (&GroupBy::All, 3_600_000));
    assert_eq!(templates, ["/etc/am/t/*.tmpl", "/abs.tmpl"]);
    assert!(
        yaml.contains("smtp_auth_password: <secret>") && yaml.contains("api_key: <secret>"),
        "{yaml}"
    );
    let all = integrations(text);
    let [first, second, mail] = all.as_slice() else { panic!("{all:?}") };
    let Kind::OpsGenie(it) = &first.kind else { panic!() };
    assert_eq!(it.api_key, Some(Secret::File("/etc/am/key".into())));
    assert_eq!(it.api_url, "https://og.example.org/x/");
    assert!(!first.send_resolved && second.send_resolved);
    assert_eq!(first.http.proxy.url.as_deref(), Some("http://proxy:1"));
    assert!(second.http.proxy.url.is_none() && !second.http.follow_redirects);
    let Kind::Email(it) = &mail.kind else { panic!() };
    assert_eq!((it.smarthost.host.as_str(), it.require_tls, it.html.as_str()), ("::1", false, ""));
    assert_eq!(it.auth_password, Some(Secret::File("/etc/am/own".into())));
}

#[test]
fn a_file_is_known_by_its_keys() {
    assert!(looks_like_alertmanager("# c\nroute:\n  receiver: x\n"));
    assert!(looks_like_alertmanager("global:\nreceivers: []\n"));
    assert!(!looks_like_alertmanager("receivers:\n  otlp:\nexporters:\nservice:\n"));
    assert!(!looks_like_alertmanager("global:\nalerting:\n  alertmanagers: []\n"));
}

//! Jira: looks for the group's issue, makes or updates it, and moves it through its workflow.

use serde_json::Value as Json;

use query::template::go_quote;

use super::object::{Object, expanded, list, quoted};
use super::render::Render;
use super::truncate::chars;
use super::url::{join_segment, segment};
use super::{Answer, Begun, Outcome, Request, Step, Talk, answer};
use crate::receiver::Jira;

/// Characters of Jira's texts.
const SUMMARY_CHARS_MAX: usize = 255;
const DESCRIPTION_CHARS_MAX: usize = 32_767;

pub(super) fn begin<'a>(it: &'a Jira, mut render: Render<'a>) -> Begun<'a> {
    let project = render.address("jira.project", &it.project)?;
    let group = format!("ALERT{{{}}}", render.notice.group_hash());
    let search = search(it, &project, &group, !render.notice.is_resolved());
    let texts = Texts::new(it, &mut render, project, &group)?;
    let is_resolved = render.notice.is_resolved();
    Ok(Box::new(Conversation {
        it,
        search: Some(search),
        texts,
        is_resolved,
        state: State::Search,
    }))
}

/// The request for the group's issue.
fn search(it: &Jira, project: &str, group: &str, firing: bool) -> Request {
    let mut jql = String::new();
    if !it.wont_fix_resolution.is_empty() {
        jql.push_str(&format!("resolution != {} and ", go_quote(&it.wont_fix_resolution)));
    }
    let minutes = it.reopen_duration_ms / 60_000;
    if firing && !it.reopen_transition.is_empty() && minutes > 0 {
        jql.push_str(&format!("(resolutiondate is EMPTY OR resolutiondate >= -{minutes}m) and "));
    } else {
        jql.push_str("statusCategory != Done and ");
    }
    jql.push_str(&format!(
        "project={} and labels={} order by status ASC,resolutiondate DESC",
        go_quote(project),
        go_quote(group)
    ));
    let body = Object::new()
        .raw("fields", &list(&[quoted("status")]))
        .text("jql", &jql)
        .raw("maxResults", "2")
        .body();
    let url = match is_cloud(it) {
        true => join_segment(&it.api_url, "search/jql").replacen("/rest/api/2/", "/rest/api/3/", 1),
        false => join_segment(&it.api_url, "search"),
    };
    json("POST", url, body)
}

/// Whether the server is Jira's own, which searches elsewhere.
fn is_cloud(it: &Jira) -> bool {
    let authority = it.api_url.split("://").nth(1).unwrap_or("").split(['/', '?', '#']).next();
    let host = authority.unwrap_or("").rsplit('@').next().unwrap_or("");
    let host = host.split(':').next().unwrap_or("");
    it.api_type == "cloud" || it.api_type == "auto" && host.ends_with("atlassian.net")
}

fn json(method: &'static str, url: String, body: String) -> Request {
    Request { method, ..Request::post(url, body) }.with("Accept-Language", "en".to_owned())
}

/// What the issue says, member by member.
struct Texts {
    summary: String,
    description: Option<String>,
    labels: String,
    /// All others: project, kind, priority, further fields.
    others: Vec<(String, String)>,
}

impl Texts {
    fn new(
        it: &Jira,
        render: &mut Render<'_>,
        project: String,
        group: &str,
    ) -> Result<Self, Outcome> {
        let kind = render.address("jira.issue_type", &it.issue_type)?;
        let summary = render.text("jira.summary", &it.summary.template);
        let labels = it.labels.values.iter().map(|label| render.text("jira.labels", label));
        let mut labels: Vec<String> = labels.collect();
        labels.push(group.to_owned());
        labels.sort();
        let named = |name: &str| Object::new().text("name", name).end();
        let mut others = vec![
            ("issuetype".to_owned(), named(&kind)),
            ("project".to_owned(), Object::new().text("key", &project).end()),
        ];
        let priority = render.text("jira.priority", &it.priority);
        if !priority.is_empty() {
            others.push(("priority".to_owned(), named(&priority)));
        }
        for (name, value) in &it.fields {
            let key = format!("jira.fields.{name}");
            let value = expanded(value, &mut |template| render.text(&key, template));
            others.retain(|(given, _)| given != name);
            others.push((name.clone(), value));
        }
        let description = render.main("jira.description", &it.description.template);
        Ok(Self {
            summary: quoted(&chars(&summary, SUMMARY_CHARS_MAX)),
            description: description_json(it, &chars(&description, DESCRIPTION_CHARS_MAX)),
            labels: list(&labels.iter().map(|label| quoted(label)).collect::<Vec<_>>()),
            others,
        })
    }

    fn body(&self, it: &Jira, is_update: bool) -> String {
        let mut members = self.others.clone();
        let mut add = |name: &str, json: &str, enabled: bool| {
            if enabled || !is_update {
                members.retain(|(given, _)| given != name);
                members.push((name.to_owned(), json.to_owned()));
            }
        };
        add("summary", &self.summary, it.summary.enable_update);
        add("labels", &self.labels, it.labels.enable_update);
        if let Some(description) = &self.description {
            add("description", description, it.description.enable_update);
        }
        members.sort();
        let fields = members.iter().fold(Object::new(), |o, (name, json)| o.raw(name, json));
        Object::new().raw("fields", &fields.end()).body()
    }
}

/// A text, or for version 3 of the API a document, which the template writes; a text that is none becomes one.
fn description_json(it: &Jira, text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    if !it.api_url.trim_end_matches('/').ends_with("/3") {
        return Some(quoted(text));
    }
    match serde_json::from_str::<Json>(text) {
        Ok(document @ Json::Object(_)) => Some(document.to_string()),
        _ => {
            let text = Object::new().text("type", "text").text("text", text.trim()).end();
            let paragraph =
                Object::new().text("type", "paragraph").raw("content", &list(&[text])).end();
            let document = Object::new()
                .text("type", "doc")
                .raw("version", "1")
                .raw("content", &list(&[paragraph]));
            Some(document.end())
        }
    }
}

/// What was asked last.
enum State {
    Search,
    /// The issue was made, or updated and needs to go nowhere.
    Written,
    /// The issue of this key was updated and is to go through this transition.
    Updated(String, String),
    Transitions(String, String),
}

struct Conversation<'a> {
    it: &'a Jira,
    search: Option<Request>,
    texts: Texts,
    is_resolved: bool,
    state: State,
}

impl Conversation<'_> {
    fn api(&self, path: &str) -> String {
        join_segment(&self.it.api_url, path)
    }

    /// What to do with the issue that was found, if any.
    fn found(&mut self, answer: &Json) -> Step {
        let Some(issue) = answer.pointer("/issues/0") else {
            if self.is_resolved {
                return Step::Done(Outcome::delivered());
            }
            self.state = State::Written;
            return Step::Http(json("POST", self.api("issue"), self.texts.body(self.it, false)));
        };
        let Some(key) = issue.get("key").and_then(Json::as_str) else {
            return Step::Done(Outcome::refused("Jira found an issue without a key"));
        };
        let category = issue.pointer("/fields/status/statusCategory/key").and_then(Json::as_str);
        let transition = match (category, self.is_resolved) {
            (Some("done"), false) => self.it.reopen_transition.as_str(),
            (Some(category), true) if category != "done" => self.it.resolve_transition.as_str(),
            _ => "",
        };
        self.state = match transition {
            "" => State::Written,
            transition => State::Updated(key.to_owned(), transition.to_owned()),
        };
        let url = self.api(&format!("issue/{}", segment(key)));
        Step::Http(json("PUT", url, self.texts.body(self.it, true)))
    }
}

impl Talk for Conversation<'_> {
    fn next(&mut self, answer: Option<&Answer>) -> Step {
        if let Some(search) = self.search.take() {
            return Step::Http(search);
        }
        let Some(answer) = answer else {
            return Step::Done(Outcome::refused("BUG: no answer to a request"));
        };
        if let Err(outcome) = answer::status(answer) {
            return Step::Done(outcome);
        }
        let json = answer.json();
        match std::mem::replace(&mut self.state, State::Written) {
            State::Search => self.found(&json),
            State::Written => Step::Done(Outcome::delivered()),
            State::Updated(key, transition) => {
                let url = self.api(&format!("issue/{}/transitions", segment(&key)));
                self.state = State::Transitions(key, transition);
                let request = self::json("GET", url, String::new());
                Step::Http(request)
            }
            State::Transitions(key, transition) => {
                let all = json.get("transitions").and_then(Json::as_array);
                let named = |t: &&Json| t.get("name").and_then(Json::as_str) == Some(&transition);
                let id = all.and_then(|all| all.iter().find(named)).and_then(|t| t.get("id"));
                let Some(id) = id.and_then(Json::as_str) else {
                    return Step::Done(Outcome::refused(format!(
                        "can't find transition {transition} for issue {key}"
                    )));
                };
                let transition =
                    Object::new().raw("transition", &Object::new().text("id", id).end()).body();
                let url = self.api(&format!("issue/{}/transitions", segment(&key)));
                Step::Http(self::json("POST", url, transition))
            }
        }
    }
}

//! What answers mean: delivered, to be tried again, or refused.

use serde_json::Value as Json;

use super::Outcome;
use super::truncate::chars;

/// Characters of a service's answer that a reason repeats.
const QUOTED_CHARS_MAX: usize = 300;

/// An answer to a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// The header `Content-Type`, empty without one.
    pub content_type: String,
    /// The header `Retry-After`, as milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// As much of the body as is worth reading.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as text, replacement characters for what is none.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` for what is none.
    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or(Json::Null)
    }

    /// As a reason, with the body.
    fn reason(&self) -> String {
        let text = self.text();
        let status = format!("unexpected status code {}", self.status);
        match text.trim() {
            "" => status,
            text => format!("{status}: {}", chars(text, QUOTED_CHARS_MAX)),
        }
    }
}

/// Whether one answer is a success.
pub(super) type Judge = fn(&Answer) -> Result<(), Outcome>;

/// By the status alone: 2xx is a success; 429 and 5xx are worth another try.
pub(super) fn status(answer: &Answer) -> Result<(), Outcome> {
    by_status(answer, &[])
}

/// As [`status`], for PagerDuty's old API, which says 403 when it is told too much at once.
pub(super) fn status_or_forbidden(answer: &Answer) -> Result<(), Outcome> {
    by_status(answer, &[403])
}

fn by_status(answer: &Answer, also_retried: &[u16]) -> Result<(), Outcome> {
    match answer.status {
        200..300 => Ok(()),
        429 | 500..600 => {
            Err(Outcome::Retry { after_ms: answer.retry_after_ms, reason: answer.reason() })
        }
        status if also_retried.contains(&status) => {
            Err(Outcome::Retry { after_ms: answer.retry_after_ms, reason: answer.reason() })
        }
        _ => Err(Outcome::Refused { reason: answer.reason() }),
    }
}

/// Slack's webhooks answer `ok`, its API JSON whose `ok` is true.
pub(super) fn slack(answer: &Answer) -> Result<(), Outcome> {
    status(answer)?;
    if answer.content_type.starts_with("application/json") {
        return json_flag(answer, "ok", "Slack");
    }
    match answer.text().as_str() {
        "ok" => Ok(()),
        other => Err(Outcome::refused(format!(
            "received an error response from Slack: {}",
            chars(other, QUOTED_CHARS_MAX)
        ))),
    }
}

/// Rocket.Chat answers JSON whose `success` is true.
pub(super) fn rocket_chat(answer: &Answer) -> Result<(), Outcome> {
    status(answer)?;
    json_flag(answer, "success", "Rocket.Chat")
}

fn json_flag(answer: &Answer, flag: &str, who: &str) -> Result<(), Outcome> {
    match answer.json() {
        Json::Object(answer) if answer.get(flag) == Some(&Json::Bool(true)) => Ok(()),
        Json::Object(answer) => {
            let error = answer.get("error").and_then(Json::as_str).unwrap_or("");
            let reason = format!("error response from {who}: {}", chars(error, QUOTED_CHARS_MAX));
            // Slack's words for "later".
            match error {
                "ratelimited" | "rate_limited" | "service_unavailable" | "internal_error" => {
                    Err(Outcome::Retry { after_ms: None, reason })
                }
                _ => Err(Outcome::Refused { reason }),
            }
        }
        _ => Err(Outcome::Retry {
            after_ms: None,
            reason: format!(
                "could not unmarshal JSON response {:?}",
                chars(&answer.text(), QUOTED_CHARS_MAX)
            ),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(judge: Judge, status: u16, content_type: &str, body: &str, expected: &str) {
        let answer = Answer {
            status,
            content_type: content_type.to_owned(),
            retry_after_ms: Some(7000),
            body: body.as_bytes().to_vec(),
        };
        let found = match judge(&answer) {
            Ok(()) => "ok".to_owned(),
            Err(Outcome::Retry { after_ms, reason }) => format!("retry {after_ms:?} {reason}"),
            Err(Outcome::Refused { reason }) => format!("refused {reason}"),
            Err(Outcome::Delivered { .. }) => "delivered".to_owned(),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn answers_are_judged_as_upstream_does() {
        check(status, 204, "", "", "ok");
        check(status, 500, "", "x", "retry Some(7000) unexpected status code 500: x");
        check(status, 429, "", "", "retry Some(7000) unexpected status code 429");
        check(status, 400, "", "no", "refused unexpected status code 400: no");
        check(status, 302, "", "", "refused unexpected status code 302");
        check(status_or_forbidden, 403, "", "", "retry Some(7000) unexpected status code 403");
        check(slack, 200, "text/html", "ok", "ok");
        check(
            slack,
            200,
            "text/html",
            "no_text",
            "refused received an error response from Slack: no_text",
        );
        let json = "application/json; charset=utf-8";
        check(slack, 200, json, r#"{"ok":true}"#, "ok");
        check(
            slack,
            200,
            json,
            r#"{"ok":false,"error":"channel_not_found"}"#,
            "refused error response from Slack: channel_not_found",
        );
        check(
            slack,
            200,
            json,
            r#"{"ok":false,"error":"ratelimited"}"#,
            "retry None error response from Slack: ratelimited",
        );
        check(slack, 200, json, "{", "retry None could not unmarshal JSON response \"{\"");
        check(rocket_chat, 200, json, r#"{"success":true}"#, "ok");
    }
}

//! Amazon SNS: a form, signed with keys of the configuration.
//!
//! Source: AWS' pages "Publish" (Amazon SNS API) and "Signature Version 4".

use query::template::Moment;
use ring::{digest, hmac};

use super::render::{Render, secret};
use super::truncate::{bytes, chars};
use super::url::query;
use super::{Answer, Begun, Outcome, Request, Sequence, answer, hexadecimal};
use crate::receiver::Sns;

/// Bytes of a message, and of one to a telephone.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
const SMS_BYTES_MAX: usize = 1600;
/// Characters of a subject.
const SUBJECT_CHARS_MAX: usize = 100;
const FORM: &str = "application/x-www-form-urlencoded; charset=utf-8";
const SIGNED: &str = "content-length;content-type;host;x-amz-date";

pub(super) fn compose<'a>(it: &Sns, mut render: Render<'_>) -> Begun<'a> {
    if !it.role_arn.is_empty() || !it.profile.is_empty() {
        return Err(Outcome::refused(
            "sns: sigv4.role_arn and sigv4.profile are not supported; give sigv4.access_key and sigv4.secret_key",
        ));
    }
    if it.access_key.is_empty() {
        return Err(Outcome::refused(
            "sns: sigv4.access_key is missing; keys of the environment are not used",
        ));
    }
    let secret_key = secret("sns.sigv4.secret_key", it.secret_key.as_ref())?.to_owned();
    let topic = render.address("sns.topic_arn", &it.topic_arn)?;
    let target = render.address("sns.target_arn", &it.target_arn)?;
    let phone = render.address("sns.phone_number", &it.phone_number)?;
    let region = match it.region.as_str() {
        // arn:partition:service:region:account:resource
        "" => [&topic, &target].iter().find_map(|arn| arn.split(':').nth(3)).unwrap_or(""),
        region => region,
    };
    if region.is_empty() {
        return Err(Outcome::refused("sns: sigv4.region is missing"));
    }
    let api_url = render.address("sns.api_url", &it.api_url)?;
    let endpoint = Endpoint::new(&api_url, region)?;
    let body = form(it, &mut render, &topic, &target, &phone);
    let at = Moment::utc(render.now_ns).format("20060102T150405Z");
    let authorization = endpoint.sign(&it.access_key, &secret_key, region, &at, &body);
    let request = Request {
        method: "POST",
        url: endpoint.url,
        headers: vec![
            ("Content-Type", FORM.to_owned()),
            ("X-Amz-Date", at),
            ("Authorization", authorization),
        ],
        body,
    };
    Sequence::of([request], judge)
}

fn form(it: &Sns, render: &mut Render<'_>, topic: &str, target: &str, phone: &str) -> String {
    let subject = render.text("sns.subject", &it.subject);
    let subject: String = subject.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut attributes: Vec<(String, String)> = Vec::new();
    for (name, template) in &it.attributes {
        let key = format!("sns.attributes.{name}");
        attributes.push((render.text(&key, name), render.text(&key, template)));
    }
    let message = render.main("sns.message", &it.message);
    let max = if phone.is_empty() { MESSAGE_BYTES_MAX } else { SMS_BYTES_MAX };
    let message_cut = bytes(&message, max);
    if message_cut != message {
        attributes.push(("truncated".to_owned(), "true".to_owned()));
    }
    attributes.sort();
    let mut parameters = vec![
        ("Action".to_owned(), "Publish".to_owned()),
        ("Version".to_owned(), "2010-03-31".to_owned()),
        ("Message".to_owned(), message_cut),
    ];
    for (i, (name, value)) in attributes.into_iter().enumerate() {
        let entry = format!("MessageAttributes.entry.{}", i + 1);
        parameters.push((format!("{entry}.Name"), name));
        parameters.push((format!("{entry}.Value.DataType"), "String".to_owned()));
        parameters.push((format!("{entry}.Value.StringValue"), value));
    }
    let subject = chars(&subject, SUBJECT_CHARS_MAX);
    for (name, value) in [
        ("Subject", subject.as_str()),
        ("TopicArn", topic),
        ("TargetArn", target),
        ("PhoneNumber", phone),
    ] {
        if !value.is_empty() {
            parameters.push((name.to_owned(), value.to_owned()));
        }
    }
    if topic.ends_with(".fifo") {
        for name in ["MessageDeduplicationId", "MessageGroupId"] {
            parameters.push((name.to_owned(), render.notice.group_hash()));
        }
    }
    query(&parameters.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>())
}

/// Where requests go.
struct Endpoint {
    url: String,
    host: String,
    path: String,
}

impl Endpoint {
    fn new(api_url: &str, region: &str) -> Result<Self, Outcome> {
        let url = match api_url.trim() {
            "" => format!("https://sns.{region}.amazonaws.com"),
            url => url.to_owned(),
        };
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err(Outcome::refused("sns.api_url is no URL"));
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // As the header names it: without the port that goes without saying.
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let host = authority.strip_suffix(default_port).unwrap_or(authority);
        let path = format!("/{path}");
        Ok(Self { url: format!("{scheme}://{authority}{path}"), host: host.to_owned(), path })
    }

    /// The header `Authorization`.
    fn sign(&self, access_key: &str, secret: &str, region: &str, at: &str, body: &str) -> String {
        let day = at.get(..8).unwrap_or(at);
        let scope = format!("{day}/{region}/sns/aws4_request");
        let request = format!(
            "POST\n{}\n\ncontent-length:{}\ncontent-type:{FORM}\nhost:{}\nx-amz-date:{at}\n\n{SIGNED}\n{}",
            self.path,
            body.len(),
            self.host,
            sha256(body)
        );
        let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", sha256(&request));
        let mut key = format!("AWS4{secret}").into_bytes();
        for part in [day, region, "sns", "aws4_request", text.as_str()] {
            let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, &key);
            key = hmac::sign(&hmac_key, part.as_bytes()).as_ref().to_vec();
        }
        format!(
            "AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={SIGNED}, Signature={}",
            hexadecimal(&key)
        )
    }
}

fn sha256(text: &str) -> String {
    hexadecimal(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// Amazon says 400 when it is told too much at once.
fn judge(answer: &Answer) -> Result<(), Outcome> {
    match answer::status(answer) {
        Err(Outcome::Refused { reason }) if answer.text().contains("Throttl") => {
            Err(Outcome::Retry { after_ms: answer.retry_after_ms, reason })
        }
        judged => judged,
    }
}

//! Tokens by the client credentials grant or for a signed assertion, kept until shortly before they end.
//!
//! Does not own the assertion's making. Source: RFC 6749, 4.4 and RFC 7523, 2.1; what the reference client does where
//! they leave it open: credentials go into the header first, into the body if that is refused, and the way that
//! worked is kept.

use std::sync::Arc;

use model::{Clock, Error, ErrorKind, Result};
use parking_lot::Mutex;
use reqwest::{Url, header};
use serde::Deserialize;

use super::super::config::{Grant, OAuth2, TlsOptions};
use super::clients::{Clients, Needs};
use super::{assertion, innermost, reveal};

const CLIENT_CREDENTIALS: &str = "client_credentials";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// Bytes of a token answer at most.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// A token is not used in the last moments of its life.
const LEEWAY_NS: i64 = 10_000_000_000;

#[derive(Debug, Clone)]
struct Token {
    header: String,
    /// On the monotonic clock; `None` when the server named no end.
    until_ns: Option<i64>,
}

#[derive(Debug, Default)]
struct Slot {
    token: Option<Token>,
    credentials_in_body: bool,
}

/// Tokens of all jobs; one is asked for once, however many targets wait for it.
#[derive(Debug)]
pub(super) struct Tokens {
    clock: Arc<dyn Clock>,
    slots: Mutex<Vec<(OAuth2, Arc<tokio::sync::Mutex<Slot>>)>>,
}

#[derive(Deserialize)]
struct Answer {
    access_token: String,
    #[serde(default)]
    token_type: String,
    #[serde(default)]
    expires_in: Option<Seconds>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(f64),
    Text(String),
}

impl Seconds {
    fn get(&self) -> f64 {
        match self {
            Self::Number(seconds) => *seconds,
            Self::Text(text) => text.parse().unwrap_or(0.0),
        }
    }
}

impl Answer {
    /// When the token ends, if it says so.
    fn until_ns(&self, now_ns: i64) -> Option<i64> {
        let seconds = self.expires_in.as_ref().map(Seconds::get).filter(|s| *s > 0.0)?;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "out of range saturates, which is a token without end"
        )]
        let lasts_ns = (seconds * 1e9) as i64;
        Some(now_ns.saturating_add(lasts_ns))
    }
}

impl Tokens {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, slots: Mutex::new(Vec::new()) }
    }

    pub(super) fn clear(&self) {
        self.slots.lock().clear();
    }

    /// The value of the `Authorization` header.
    pub(super) async fn authorization(&self, clients: &Clients, oauth: &OAuth2) -> Result<String> {
        let slot = self.slot(oauth);
        let mut slot = slot.lock().await;
        let now_ns = self.clock.monotonic_ns();
        let is_fresh =
            |t: &Token| t.until_ns.is_none_or(|until| now_ns.saturating_add(LEEWAY_NS) < until);
        if let Some(token) = slot.token.as_ref().filter(|t| is_fresh(t)) {
            return Ok(token.header.clone());
        }
        let answer = match &oauth.grant {
            Grant::ClientCredentials => by_secret(clients, oauth, &mut slot).await?,
            Grant::Assertion(described) => {
                let now_s = self.clock.now_ms().div_euclid(1000);
                let assertion = assertion::sign(oauth, described, now_s).await?;
                let form =
                    form(oauth, &[("grant_type", JWT_BEARER), ("assertion", &assertion)], &[]);
                request(clients, oauth, None, form).await?
            }
            Grant::Unknown(grant) => {
                return Err(Error::new(
                    ErrorKind::NotFound,
                    format!(
                        "oauth2: the grant_type {grant:.200} is not supported; \
                         {CLIENT_CREDENTIALS} and {JWT_BEARER} are"
                    ),
                ));
            }
        };
        let kind = match answer.token_type.to_ascii_lowercase().as_str() {
            "" | "bearer" => "Bearer",
            _ => &answer.token_type,
        };
        let header = format!("{kind} {}", answer.access_token);
        let until_ns = answer.until_ns(now_ns);
        slot.token = Some(Token { header: header.clone(), until_ns });
        Ok(header)
    }

    fn slot(&self, oauth: &OAuth2) -> Arc<tokio::sync::Mutex<Slot>> {
        let mut slots = self.slots.lock();
        if let Some((_, slot)) = slots.iter().find(|(known, _)| known == oauth) {
            return Arc::clone(slot);
        }
        let slot = Arc::default();
        slots.push((oauth.clone(), Arc::clone(&slot)));
        slot
    }
}

/// A token for the client's secret, sent in the place that the server is known to take.
async fn by_secret(clients: &Clients, oauth: &OAuth2, slot: &mut Slot) -> Result<Answer> {
    let secret = reveal(&oauth.client_secret).await?;
    let mut parameters = vec![("grant_type", CLIENT_CREDENTIALS)];
    let scopes = oauth.scopes.join(" ");
    if !scopes.is_empty() {
        parameters.push(("scope", &scopes));
    }
    let in_header = form(oauth, &parameters, &[]);
    let client = [("client_id", oauth.client_id.as_str()), ("client_secret", &secret)];
    let in_body = form(oauth, &parameters, if secret.is_empty() { &client[..1] } else { &client });
    if slot.credentials_in_body {
        return request(clients, oauth, None, in_body).await;
    }
    match request(clients, oauth, Some(&secret), in_header).await {
        Err(e) if e.kind() == ErrorKind::Invalid => {
            let answer = request(clients, oauth, None, in_body).await.map_err(|_| e)?;
            slot.credentials_in_body = true;
            Ok(answer)
        }
        answer => answer,
    }
}

/// Sends `form` to the token's server, with the client's name and `secret` in the header if there is one.
async fn request(
    clients: &Clients,
    oauth: &OAuth2,
    secret: Option<&str>,
    form: String,
) -> Result<Answer> {
    let url = Url::parse(&oauth.token_url)
        .map_err(|e| Error::invalid(format!("oauth2: token_url is not a URL: {e}")))?;
    let needs = Needs {
        https: url.scheme() == "https",
        http2: true,
        proxy: oauth.proxy.clone(),
        tls: TlsOptions { server_name: None, ..oauth.tls.clone() },
        host: None,
    };
    let mut request = clients
        .get(&needs)?
        .post(url)
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form);
    if let Some(secret) = secret {
        // The RFC has both parts encoded like a form before they are joined.
        let encode =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        request = request.basic_auth(encode(&oauth.client_id), Some(encode(secret)));
    }
    let failed = |e: &reqwest::Error| {
        Error::new(ErrorKind::Io, format!("oauth2: cannot fetch a token: {}", innermost(e)))
    };
    let mut response = request.send().await.map_err(|e| failed(&e))?;
    let status = response.status();
    let content_type = response.headers().get(header::CONTENT_TYPE);
    let is_form = content_type
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.starts_with("application/x-www-form-urlencoded"));
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| failed(&e))? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(Error::new(
                ErrorKind::Limit,
                format!("oauth2: the answer has more bytes than the limit of {ANSWER_BYTES_MAX}"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    if !status.is_success() {
        return Err(Error::invalid(format!(
            "oauth2: the token's server returned HTTP status {status}{}",
            refusal(&body)
        )));
    }
    decode(&body, is_form).ok_or_else(|| {
        Error::new(
            ErrorKind::NotFound,
            "oauth2: the answer of the token's server has no access_token",
        )
    })
}

/// The token in an answer's body, JSON or a form.
fn decode(body: &[u8], is_form: bool) -> Option<Answer> {
    let answer = if is_form { from_form(body) } else { serde_json::from_slice(body).ok() };
    answer.filter(|answer| !answer.access_token.is_empty())
}

/// Reads `body` as each kind of answer, for the fuzzer.
///
/// # Panics
/// When a reader does, or makes more of it than it has bytes.
pub(crate) fn check_answer(body: &[u8]) {
    for is_form in [false, true] {
        if let Some(answer) = decode(body, is_form) {
            assert!(answer.access_token.len() <= 3 * body.len(), "{} bytes", body.len());
            answer.until_ns(i64::MAX / 2);
        }
    }
    // Both of its texts are cut to 200 characters.
    assert!(refusal(body).chars().count() <= 404, "{}", refusal(body));
}

/// The request's body: parameters of the configuration between others.
fn form(oauth: &OAuth2, before: &[(&str, &str)], after: &[(&str, &str)]) -> String {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(before).extend_pairs(&oauth.endpoint_params).extend_pairs(after);
    form.finish()
}

/// Why the server refused, in its own words (RFC 6749, 5.2) where it has any.
fn refusal(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Refusal {
        error: String,
        #[serde(default)]
        error_description: String,
    }
    match serde_json::from_slice(body) {
        Ok(Refusal { error, error_description }) if error_description.is_empty() => {
            format!(": {error:.200}")
        }
        Ok(Refusal { error, error_description }) => {
            format!(": {error:.200}: {error_description:.200}")
        }
        Err(_) => String::new(),
    }
}

fn from_form(body: &[u8]) -> Option<Answer> {
    let find = |wanted: &str| {
        form_urlencoded::parse(body).find(|(name, _)| name == wanted).map(|(_, v)| v.into_owned())
    };
    Some(Answer {
        access_token: find("access_token")?,
        token_type: find("token_type").unwrap_or_default(),
        expires_in: find("expires_in").map(Seconds::Text),
    })
}

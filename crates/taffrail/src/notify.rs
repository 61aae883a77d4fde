//! Sending notifications: requests and mails of [`alert::notify`], by the settings of their integration.
//!
//! Owns: reading secrets from their files when something is sent, HTTP and SMTP, bounds of time. Does not own: what is sent
//! and what answers mean (`alert::notify`), when it is tried again and what waits until then (`alert::outbox`).

mod login;
mod mime;
mod smtp;
pub mod trial;

use std::sync::Arc;
use std::time::Duration;

use alert::expand::alertmanager::Templates;
use alert::notify::{Answer, Exchange, Notice, Outcome, Request, Step, Surroundings};
use alert::receiver::{Integration, Kind};
use collect::request::{self, Client, Outgoing};
use model::http::Secret;
use model::{Clock, ErrorKind};

/// How long a request may take when the configuration does not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long a mail may take to be handed over: several exchanges with a server that may be slow on purpose.
const MAIL_TIMEOUT: Duration = Duration::from_secs(120);

/// Sends notifications. One is enough for all receivers.
#[derive(Debug)]
pub struct Sender {
    client: Client,
    host_name: String,
    clock: Arc<dyn Clock>,
}

impl Sender {
    /// A sender of the program's `version` on the host called `host_name`.
    pub fn new(version: &str, host_name: &str, clock: Arc<dyn Clock>) -> Self {
        let client = Client::new(version, Arc::clone(&clock));
        Self { client, host_name: host_name.to_owned(), clock }
    }

    /// Tells `integration` of `notice`, once. `templates` are the default ones and those of the configuration.
    pub async fn send(
        &self,
        integration: &Integration,
        notice: &Notice,
        templates: &Templates,
    ) -> Outcome {
        let integration = match revealed(integration).await {
            Ok(integration) => integration,
            Err(error) => return failed(&error),
        };
        let now_ns = self.clock.now_ns();
        let surroundings = Surroundings { templates, host_name: &self.host_name };
        let mut exchange = Exchange::new(&integration, notice, surroundings, now_ns);
        let mut step = exchange.next(None);
        loop {
            step = match step {
                Step::Done(outcome) => return outcome,
                Step::Mail(mail) => return self.mail(&integration, &mail).await,
                Step::Http(request) => match self.request(&integration, &request).await {
                    Ok(answer) => exchange.next(Some(&answer)),
                    Err(error) => return failed(&error),
                },
            };
        }
    }

    async fn request(&self, integration: &Integration, request: &Request) -> model::Result<Answer> {
        let outgoing = Outgoing {
            method: request.method,
            url: &request.url,
            headers: &request.headers,
            body: &request.body,
            timeout: integration.kind.timeout().unwrap_or(TIMEOUT),
        };
        let answer = self.client.send(&integration.http, outgoing).await?;
        Ok(Answer {
            status: answer.status,
            content_type: answer.content_type,
            retry_after_ms: answer.retry_after_ms,
            body: answer.body,
        })
    }

    async fn mail(&self, integration: &Integration, mail: &alert::notify::Mail) -> Outcome {
        let Kind::Email(email) = &integration.kind else {
            let name = integration.kind.name();
            return Outcome::Refused { reason: format!("BUG: {name} wants to send a mail") };
        };
        let letter = match mime::write(mail, self.clock.now_ms()) {
            Ok(letter) => letter,
            Err(reason) => return Outcome::Refused { reason },
        };
        match tokio::time::timeout(MAIL_TIMEOUT, smtp::deliver(email, &letter)).await {
            Ok(outcome) => outcome,
            Err(_) => Outcome::Retry {
                after_ms: None,
                reason: format!(
                    "{} took longer than {} s",
                    email.smarthost.host,
                    MAIL_TIMEOUT.as_secs()
                ),
            },
        }
    }
}

/// The integration with the texts of its secrets, files read now.
async fn revealed(integration: &Integration) -> model::Result<Integration> {
    let mut integration = integration.clone();
    for secret in integration.kind.secrets_mut() {
        if matches!(secret, Secret::File(_)) {
            *secret = Secret::Text(request::reveal(secret).await?);
        }
    }
    Ok(integration)
}

/// What is wrong with the request is wrong the next time, too; all else may be over then.
fn failed(error: &model::Error) -> Outcome {
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::Invalid => Outcome::Refused { reason },
        _ => Outcome::Retry { after_ms: None, reason },
    }
}

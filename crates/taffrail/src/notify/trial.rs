//! `taffrail notify test`: tells a receiver of an `alertmanager.yml` of an alert that there is not.

use std::io::Write;

use alert::expand::alertmanager::{Alert, Notification, Pairs};
use alert::notify::{Notice, Outcome};
use alert::receiver::Receiver;
use anyhow::{Context as _, Result, anyhow, bail};
use model::{Clock as _, SystemClock};

use super::Sender;
use crate::alertmanager_yml::{self, Loaded, Options};
use crate::cli::NotifyTestArgs;
use crate::prometheus_yml::Environment;
use crate::yaml;

/// What the alert is called.
const ALERT: &str = "TaffrailTest";

/// Tells each integration of the receiver once and prints what became of it. Whether all were reached.
///
/// # Errors
/// The file cannot be read or is wrong, or has no such receiver.
pub async fn test(
    args: &NotifyTestArgs,
    env: Environment<'_>,
    out: &mut impl Write,
) -> Result<bool> {
    let path = &args.config_file;
    let text = tokio::fs::read_to_string(path).await;
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    let said = |mistakes: Vec<yaml::ConfigError>| {
        let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        anyhow!(lines.join("\n"))
    };
    let loaded = alertmanager_yml::load(path, &text, Options::default(), env).map_err(said)?;
    let templates = alertmanager_yml::templates(&loaded.config).map_err(said)?;
    let receiver = receiver(&loaded, &args.receiver)?;
    let off = loaded.switched_off.iter().filter(|off| off.receiver == args.receiver);
    let mut all_reached = true;
    for off in off {
        all_reached = false;
        writeln!(out, "{}: switched off: {}", off.integration, off.reason)?;
    }
    let notice = notice(args)?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let sender = Sender::new(env!("CARGO_PKG_VERSION"), &host, std::sync::Arc::new(SystemClock));
    let integrations = receiver.map(Receiver::numbered).into_iter().flatten();
    let mut told = 0;
    for (number, integration) in integrations {
        let name = format!("{}[{number}]", integration.kind.name());
        if args.integration.as_ref().is_some_and(|wanted| *wanted != name) {
            continue;
        }
        told += 1;
        match sender.send(integration, &notice, &templates).await {
            Outcome::Delivered { .. } => writeln!(out, "{name}: delivered")?,
            Outcome::Retry { reason, .. } => {
                all_reached = false;
                writeln!(out, "{name}: not now, would be tried again: {reason}")?;
            }
            Outcome::Refused { reason } => {
                all_reached = false;
                writeln!(out, "{name}: refused: {reason}")?;
            }
        }
    }
    if told == 0 && all_reached {
        let wanted = args.integration.as_deref().unwrap_or("any integration");
        bail!("receiver {:?} of {} has not {wanted}", args.receiver, path.display());
    }
    Ok(all_reached)
}

/// The receiver called `name`; `None` when all of it is switched off.
fn receiver<'l>(loaded: &'l Loaded, name: &str) -> Result<Option<&'l Receiver>> {
    let found = loaded.config.receiver(name);
    if found.is_some() || loaded.switched_off.iter().any(|off| off.receiver == name) {
        return Ok(found);
    }
    let names = || loaded.config.receivers.iter().map(|receiver| receiver.name.as_str());
    let hint = match yaml::nearest(name, names()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    };
    Err(anyhow!("no receiver is called {name:?}; {hint}"))
}

fn notice(args: &NotifyTestArgs) -> Result<Notice> {
    let mut labels = Pairs::from([
        ("alertname".to_owned(), ALERT.to_owned()),
        ("severity".to_owned(), "info".to_owned()),
    ]);
    for label in &args.label {
        let (name, value) =
            label.split_once('=').ok_or_else(|| anyhow!("label {label:?} is not NAME=VALUE"))?;
        labels.insert(name.to_owned(), value.to_owned());
    }
    let summary = format!("This is a test of receiver {}. Nothing is wrong.", args.receiver);
    let now_ns = SystemClock.now_ns();
    let alert = Alert {
        resolved: args.resolved,
        labels,
        annotations: Pairs::from([("summary".to_owned(), summary)]),
        starts_at_ns: now_ns,
        ends_at_ns: args.resolved.then_some(now_ns),
        generator_url: args.external_url.clone(),
        fingerprint: "0000000000000000".to_owned(),
    };
    let group_labels = Pairs::from([("alertname".to_owned(), ALERT.to_owned())]);
    Ok(Notice {
        notification: Notification {
            receiver: args.receiver.clone(),
            alerts: vec![alert],
            group_labels,
            external_url: args.external_url.clone(),
            ..Notification::default()
        },
        // The same each time, so that `--resolved` ends what a test began.
        group_key: format!("{{}}:{{alertname=\"{ALERT}\"}}"),
        remembered: Pairs::new(),
        made_at_ns: now_ns,
    })
}

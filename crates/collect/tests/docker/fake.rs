//! A Docker Engine made of a table: the endpoints the collector uses, with logs and events that go on.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub(crate) struct Fake {
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
}

#[derive(Default)]
struct Table {
    containers: BTreeMap<String, Container>,
    /// What the list shows beside the containers.
    listed: Vec<Value>,
    events: Vec<(i64, Value)>,
}

struct Container {
    name: String,
    state: Value,
    /// Vanished for list and inspect; open log streams still end regularly.
    gone: bool,
    /// Bytes of a file of its log, as `max-size` has them.
    log_size: Option<&'static str>,
    log: Vec<Message>,
}

#[derive(Clone)]
struct Message {
    t_ns: i64,
    kind: u8,
    text: String,
    /// Streams that were open when it was written leave it out.
    is_skipped: bool,
}

fn now_ns() -> i64 {
    i64::try_from(Timestamp::now().as_nanosecond()).expect("a time of this century")
}

fn text(t_ns: i64) -> String {
    let time = Timestamp::from_nanosecond(i128::from(t_ns)).expect("a time of this century");
    format!("{time:.9}")
}

impl Fake {
    fn change<T>(&self, change: impl FnOnce(&mut Table) -> T) -> T {
        let result = change(&mut self.table.lock());
        self.changes.send_modify(|n| *n += 1);
        result
    }

    fn with(&self, id: &str, change: impl FnOnce(&mut Container)) {
        self.change(|table| change(table.containers.get_mut(id).expect("a known container")));
    }

    /// A running container.
    pub(crate) fn run(&self, id: &str, name: &str) {
        let state = json!({"Status": "running", "Running": true, "Pid": 4242, "ExitCode": 0,
            "StartedAt": text(now_ns()), "FinishedAt": "0001-01-01T00:00:00Z"});
        let container =
            Container { name: name.into(), state, gone: false, log_size: None, log: Vec::new() };
        self.change(|table| table.containers.insert(id.into(), container));
    }

    pub(crate) fn exit(&self, id: &str, code: i64, oom_killed: bool) {
        self.with(id, |container| {
            container.state["Status"] = "exited".into();
            container.state["Running"] = false.into();
            container.state["Pid"] = 0.into();
            container.state["ExitCode"] = code.into();
            container.state["OOMKilled"] = oom_killed.into();
            container.state["FinishedAt"] = text(now_ns()).into();
        });
    }

    pub(crate) fn set_state(&self, id: &str, word: &str) {
        self.with(id, |container| container.state["Status"] = word.into());
    }

    pub(crate) fn vanish(&self, id: &str) {
        self.with(id, |container| container.gone = true);
    }

    /// In the list, but not to be inspected.
    pub(crate) fn list_only(&self, id: &str) {
        self.change(|table| table.listed.push(json!({"Id": id, "State": "removing"})));
    }

    pub(crate) fn list_rubbish(&self) {
        self.change(|table| table.listed.push(json!({"Id": 7, "Names": "?"})));
    }

    /// A message; without a newline it is a piece of a line.
    pub(crate) fn log(&self, id: &str, kind: u8, message: &str) {
        self.write(id, kind, message, false);
    }

    /// A message that streams that are open now leave out.
    pub(crate) fn log_unseen(&self, id: &str, kind: u8, message: &str) {
        self.write(id, kind, message, true);
    }

    fn write(&self, id: &str, kind: u8, message: &str, is_skipped: bool) {
        // Two calls may fall into the same nanosecond; the runtime's times are its own business.
        let message = Message { t_ns: now_ns(), kind, text: message.into(), is_skipped };
        self.with(id, |container| container.log.push(message));
    }

    /// The container's log goes on in a new file after `size`.
    pub(crate) fn rotate_log_at(&self, id: &str, size: &'static str) {
        self.with(id, |container| container.log_size = Some(size));
    }

    /// The rest of the line that the last message began; pieces carry the time of the first.
    pub(crate) fn continue_last_line(&self, id: &str, message: &str) {
        self.with(id, |container| {
            let begun = container.log.last().cloned().expect("a message");
            container.log.push(Message { text: message.into(), ..begun });
        });
    }

    pub(crate) fn event(&self, action: &str, id: &str, name: &str, more: &[(&str, &str)]) {
        let mut attributes = json!({"name": name, "image": "img"});
        for (key, value) in more {
            attributes[*key] = (*value).into();
        }
        let t_ns = now_ns();
        let event = json!({"Type": "container", "Action": action, "timeNano": t_ns,
            "time": t_ns / 1_000_000_000, "Actor": {"ID": id, "Attributes": attributes}});
        self.change(|table| table.events.push((t_ns, event)));
    }
}

/// The fake daemon while it listens.
pub(crate) struct Server {
    task: tokio::task::JoinHandle<()>,
    stop: CancellationToken,
}

impl Server {
    #[expect(
        clippy::disallowed_methods,
        reason = "the socket of the fake daemon, not a store's file"
    )]
    pub(crate) fn start(fake: &Arc<Fake>, socket: &Path) -> Self {
        drop(std::fs::remove_file(socket));
        let listener = UnixListener::bind(socket).expect("bind the fake daemon");
        let stop = CancellationToken::new();
        let state = (Arc::clone(fake), stop.clone());
        let app = Router::new().fallback(answer).with_state(state);
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let served = axum::serve(listener, app)
                .with_graceful_shutdown(async move { stopped.cancelled().await });
            served.await.expect("serve");
        });
        Self { task, stop }
    }

    /// Ends all streams in the middle, as a killed daemon does.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("the fake daemon ends");
    }
}

type Shared = (Arc<Fake>, CancellationToken);

async fn answer(State(shared): State<Shared>, uri: Uri) -> Response {
    let path = uri.path().strip_prefix("/v1.41").unwrap_or(uri.path());
    let query: BTreeMap<&str, &str> =
        uri.query().unwrap_or("").split('&').filter_map(|pair| pair.split_once('=')).collect();
    let since_ns = query.get("since").map_or(0, |text| nanoseconds(text));
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "_ping"] => ([("api-version", "1.41")], "OK").into_response(),
        ["", "version"] => {
            json!({"Version": "fake", "ApiVersion": "1.41"}).to_string().into_response()
        }
        ["", "containers", "json"] => list(&shared.0),
        ["", "containers", id, "json"] => inspect(&shared.0, id),
        ["", "containers", id, "stats"] => stats(&shared.0, id),
        ["", "containers", id, "logs"] => {
            let follow = query.contains_key("follow");
            let tail = query.get("tail").map(|lines| lines.parse().expect("a number of lines"));
            logs(shared, id, since_ns, follow, tail)
        }
        ["", "networks"] => "[]".into_response(),
        ["", "events"] => events(shared, since_ns, query.get("until").map(|t| nanoseconds(t))),
        _ => (StatusCode::FORBIDDEN, "not an endpoint of the collector").into_response(),
    }
}

fn nanoseconds(text: &str) -> i64 {
    let (seconds, fraction) = text.split_once('.').expect("seconds with nine digits behind");
    seconds.parse::<i64>().expect("seconds") * 1_000_000_000
        + fraction.parse::<i64>().expect("digits")
}

fn missing(id: &str) -> Response {
    let message = json!({"message": format!("No such container: {id}")}).to_string();
    (StatusCode::NOT_FOUND, message).into_response()
}

fn list(fake: &Fake) -> Response {
    let table = fake.table.lock();
    let shown = table.containers.iter().filter(|(_, c)| !c.gone);
    let mut list: Vec<Value> = shown
        .map(|(id, c)| {
            json!({"Id": id, "State": c.state["Status"], "Labels": null, "Names": [format!("/{}", c.name)],
                "NetworkSettings": {"Networks": {"bridge": {"NetworkID": "n"}}}})
        })
        .collect();
    list.extend(table.listed.iter().cloned());
    Value::Array(list).to_string().into_response()
}

fn inspect(fake: &Fake, id: &str) -> Response {
    let table = fake.table.lock();
    match table.containers.get(id).filter(|c| !c.gone) {
        Some(c) => json!({"Id": id, "Name": format!("/{}", c.name), "State": c.state,
            "Created": "2026-01-01T00:00:00Z", "Config": {"Image": "img", "Env": ["SECRET=1"]},
            "HostConfig": {"LogConfig": {"Type": "json-file", "Config": c.log_size.map(|size| json!({"max-size": size}))}}})
        .to_string()
        .into_response(),
        None => missing(id),
    }
}

fn stats(fake: &Fake, id: &str) -> Response {
    let table = fake.table.lock();
    match table.containers.get(id).filter(|c| !c.gone) {
        Some(_) => json!({"cpu_stats": {"cpu_usage": {"total_usage": 1_500_000_000}},
            "memory_stats": {"usage": 4096}})
        .to_string()
        .into_response(),
        None => missing(id),
    }
}

fn frame(message: &Message) -> Vec<u8> {
    let payload = format!("{} {}", text(message.t_ns), message.text);
    let mut bytes = vec![message.kind, 0, 0, 0];
    bytes.extend(u32::try_from(payload.len()).expect("short").to_be_bytes());
    bytes.extend(payload.as_bytes());
    bytes
}

fn logs(shared: Shared, id: &str, since_ns: i64, follow: bool, tail: Option<usize>) -> Response {
    let table = shared.0.table.lock();
    let Some(container) = table.containers.get(id).filter(|c| !c.gone) else { return missing(id) };
    if let Some(lines) = tail {
        let from = container.log.len().saturating_sub(lines);
        let last = container.log.get(from..).unwrap_or_default();
        return last.iter().flat_map(frame).collect::<Vec<u8>>().into_response();
    }
    drop(table);
    let id = id.to_owned();
    stream_of(shared, follow, move |table, done: &mut usize| {
        let container = table.containers.get(&id)?;
        let new = container.log.get(*done..).unwrap_or_default();
        let is_open = *done > 0;
        *done = container.log.len();
        let wanted = new.iter().filter(|m| m.t_ns >= since_ns && !(is_open && m.is_skipped));
        let bytes: Vec<u8> = wanted.flat_map(frame).collect();
        let running = container.state["Running"] == json!(true);
        (running || !bytes.is_empty()).then_some(bytes)
    })
}

fn events(shared: Shared, since_ns: i64, until_ns: Option<i64>) -> Response {
    stream_of(shared, until_ns.is_none(), move |table, done: &mut usize| {
        let new = table.events.get(*done..).unwrap_or_default();
        *done = table.events.len();
        let until_ns = until_ns.unwrap_or(i64::MAX);
        let wanted = new.iter().filter(|(t, _)| (since_ns..=until_ns).contains(t));
        Some(wanted.flat_map(|(_, event)| format!("{event}\n").into_bytes()).collect())
    })
}

/// A body that gives what `next` finds at each change; `None` ends it regularly. It breaks off when the daemon stops.
fn stream_of(
    (fake, stop): Shared,
    follow: bool,
    next: impl Fn(&Table, &mut usize) -> Option<Vec<u8>> + Send + 'static,
) -> Response {
    let changes = fake.changes.subscribe();
    let state = (fake, stop, changes, 0_usize, false);
    let body = stream::unfold(state, move |(fake, stop, mut changes, mut done, asked)| {
        let bytes = if asked && !follow {
            None
        } else {
            changes.mark_unchanged();
            next(&fake.table.lock(), &mut done)
        };
        async move {
            let bytes = bytes?;
            if bytes.is_empty() && follow {
                tokio::select! {
                    () = stop.cancelled() => return Some((Err(std::io::Error::other("killed")), (fake, stop, changes, done, true))),
                    changed = changes.changed() => changed.ok()?,
                }
            }
            Some((
                Ok::<Bytes, std::io::Error>(Bytes::from(bytes)),
                (fake, stop, changes, done, true),
            ))
        }
    });
    Body::from_stream(body).into_response()
}

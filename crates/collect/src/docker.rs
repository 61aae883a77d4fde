//! A thin client of the Docker Engine API over its unix socket: HTTP/1.1, GET only, a closed list of endpoints.
//!
//! Owns: the connection, the API version, time and size limits, and errors that say what to do. Does not own: the
//! decoding of answers (`ingest::docker`), what is done with them (`container`). It never calls archive, exec, or
//! anything that changes state, and there is no way to make it do so.

mod engine_api;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use ingest::docker::{Usage, api};
use model::ErrorKind;
use parking_lot::RwLock;
use tokio::net::UnixStream;

pub use engine_api::engine_api;

/// Most bytes of an answer that is read as a whole.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Most bytes of one message in a stream of messages.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// How long the daemon may take to accept and to send the head of an answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the daemon may take for a whole answer that is not a stream.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// The newest API version this client knows; a newer daemon is asked for this one.
const API_VERSION_MAX: (u32, u32) = (1, 47);
/// From this API version on (engine 23) a followed log is whole however often it is rotated.
const FOLLOWS_ROTATION: (u32, u32) = (1, 42);
/// Read buffer of one connection.
const CONNECTION_BUFFER_BYTES: usize = 64 * 1024;

/// Why a call failed; callers branch on it.
#[derive(Debug)]
pub enum Error {
    /// No daemon answers at the socket; it may come later.
    Unavailable(String),
    /// The socket may not be opened; the message says what to do.
    Denied(String),
    /// The container is not (or no longer) there.
    NotFound(String),
    /// The daemon answered with an error.
    Api {
        /// HTTP status.
        status: u16,
        /// The daemon's message.
        message: String,
    },
    /// The answer is not what the API promises, or too large.
    Protocol(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(m) | Self::Denied(m) | Self::NotFound(m) | Self::Protocol(m) => {
                f.write_str(m)
            }
            Self::Api { status, message } => write!(f, "docker answered {status}: {message}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Error> for model::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Unavailable(_) => ErrorKind::Busy,
            Error::Denied(_) | Error::Api { .. } => ErrorKind::Io,
            Error::NotFound(_) => ErrorKind::NotFound,
            Error::Protocol(_) => ErrorKind::Invalid,
        };
        model::Error::new(kind, error.to_string())
    }
}

/// Shorthand for results of the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The client; cheap, opens a connection per call.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    version: RwLock<Option<(u32, u32)>>,
}

/// Which lines of a container's log are wanted.
#[derive(Debug, Clone, Copy)]
pub struct LogQuery {
    /// First time wanted (inside), Unix nanoseconds; 0 for all.
    pub since_ns: i64,
    /// Whether the stream goes on with new lines.
    pub follow: bool,
    /// Only the last so many lines.
    pub tail: Option<u32>,
}

impl Client {
    /// A client of `endpoint`: `unix:///path` or a plain absolute path, as in `DOCKER_HOST`.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for other schemes.
    pub fn new(endpoint: &str) -> model::Result<Self> {
        let path = match endpoint.split_once("://") {
            Some(("unix", path)) => path,
            None => endpoint,
            Some((scheme, _)) => {
                return Err(model::Error::invalid(format!(
                    "docker endpoint {endpoint}: {scheme} is not supported, only unix sockets are"
                )));
            }
        };
        if !path.starts_with('/') {
            return Err(model::Error::invalid(format!(
                "docker endpoint {endpoint}: the socket path is not absolute"
            )));
        }
        Ok(Self { socket: PathBuf::from(path), version: RwLock::new(None) })
    }

    /// The socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks whether the daemon lives and agrees on the API version for the calls that follow.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Denied`] and the others.
    pub async fn ping(&self) -> Result<String> {
        *self.version.write() = None;
        let response = self.send("/_ping").await?;
        let header = response.headers().get("api-version").and_then(|v| v.to_str().ok());
        let version = header.and_then(parse_version);
        let agreed = version.map(|v| v.min(API_VERSION_MAX));
        read_body(response.into_body()).await?;
        *self.version.write() = agreed;
        Ok(agreed.map_or_else(String::new, |(major, minor)| format!("{major}.{minor}")))
    }

    /// Whether the daemon's stream of a log that is rotated may leave out files or send them again. Engines before 23
    /// do when the stream lags behind the writer by a file, and at times when a file is rotated while it is opened.
    pub fn may_skip_rotated_files(&self) -> bool {
        self.version.read().is_none_or(|version| version < FOLLOWS_ROTATION)
    }

    /// `/version`.
    ///
    /// # Errors
    /// As every call.
    pub async fn version(&self) -> Result<api::Version> {
        api::decode_version(&self.get("/version").await?).map_err(protocol)
    }

    /// `/info`.
    ///
    /// # Errors
    /// As every call.
    pub async fn info(&self) -> Result<api::Info> {
        api::decode_info(&self.get("/info").await?).map_err(protocol)
    }

    /// All containers, running or not, and how many elements of the list could not be read.
    ///
    /// # Errors
    /// As every call.
    pub async fn list(&self) -> Result<(Vec<api::Listed>, u64)> {
        api::decode_list(&self.get("/containers/json?all=1").await?).map_err(protocol)
    }

    /// One container, without its environment.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, and as every call.
    pub async fn inspect(&self, id: &str) -> Result<api::Inspected> {
        let path = format!("/containers/{}/json", path_id(id)?);
        api::decode_inspect(&self.get(&path).await?).map_err(protocol)
    }

    /// One reading of what a container uses, as the daemon sees it.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, and as every call.
    pub async fn stats(&self, id: &str) -> Result<Usage> {
        let path = format!("/containers/{}/stats?stream=0&one-shot=1", path_id(id)?);
        api::decode_stats(&self.get(&path).await?).map_err(protocol)
    }

    /// Container events from `since_ns` (inside; the daemon keeps the last few hundred) up to `until_ns`, or without
    /// end. Health check commands (`exec_*`) are left out.
    ///
    /// # Errors
    /// As every call.
    pub async fn events(&self, since_ns: i64, until_ns: Option<i64>) -> Result<Events> {
        // {"type":["container"],"event":[…]}, percent-encoded: `/events` is busy with exec_* of health checks otherwise.
        let names = EVENT_NAMES.map(|name| format!("%22{name}%22")).join("%2C");
        let mut path = format!(
            "/events?since={}&filters=%7B%22type%22%3A%5B%22container%22%5D%2C%22event%22%3A%5B{names}%5D%7D",
            seconds(since_ns)
        );
        if let Some(until_ns) = until_ns {
            path.push_str(&format!("&until={}", seconds(until_ns)));
        }
        let response = self.send_checked(&path).await?;
        Ok(Events { body: response.into_body(), buffer: BytesMut::new() })
    }

    /// The log of a container, stdout and stderr with timestamps.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is gone, and as every call.
    pub async fn logs(&self, id: &str, query: LogQuery) -> Result<Logs> {
        let mut path = format!("/containers/{}/logs?stdout=1&stderr=1&timestamps=1", path_id(id)?);
        if query.follow {
            path.push_str("&follow=1");
        }
        if query.since_ns > 0 {
            path.push_str(&format!("&since={}", seconds(query.since_ns)));
        }
        if let Some(tail) = query.tail {
            path.push_str(&format!("&tail={tail}"));
        }
        let response = self.send_checked(&path).await?;
        Ok(Logs { body: response.into_body() })
    }

    async fn get(&self, path: &str) -> Result<Bytes> {
        let response = self.send_checked(path).await?;
        read_body(response.into_body()).await
    }

    async fn send_checked(&self, path: &str) -> Result<hyper::Response<Incoming>> {
        let response = self.send(path).await?;
        let status = response.status().as_u16();
        if status < 300 {
            return Ok(response);
        }
        let body = read_body(response.into_body()).await.unwrap_or_default();
        let message = api_message(&body);
        // 409: "can not get logs from container which is dead or marked for removal".
        let gone = status == 404 || (status == 409 && message.contains("marked for removal"));
        Err(if gone { Error::NotFound(message) } else { Error::Api { status, message } })
    }

    async fn send(&self, path: &str) -> Result<hyper::Response<Incoming>> {
        let version = *self.version.read();
        let target = match version {
            Some((major, minor)) => format!("/v{major}.{minor}{path}"),
            None => path.to_owned(),
        };
        let request = hyper::Request::get(target)
            .header("host", "docker")
            .header("user-agent", "taffrail")
            .body(Empty::<Bytes>::new())
            .map_err(|e| Error::Protocol(format!("cannot build request {path}: {e}")))?;
        let exchange = async {
            let stream =
                UnixStream::connect(&self.socket).await.map_err(|e| self.connect_error(&e))?;
            let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
                .max_buf_size(CONNECTION_BUFFER_BYTES)
                .handshake::<_, Empty<Bytes>>(TokioIo::new(stream))
                .await
                .map_err(|e| self.lost(&e))?;
            // Ends by itself when the answer has been read or its body is dropped.
            tokio::spawn(connection);
            sender.send_request(request).await.map_err(|e| self.lost(&e))
        };
        tokio::time::timeout(HEAD_TIMEOUT, exchange).await.unwrap_or_else(|_| {
            Err(Error::Unavailable(format!(
                "docker at {} did not answer within {} s",
                self.socket.display(),
                HEAD_TIMEOUT.as_secs()
            )))
        })
    }

    fn lost(&self, error: &hyper::Error) -> Error {
        Error::Unavailable(format!("docker at {} hung up: {error}", self.socket.display()))
    }

    fn connect_error(&self, error: &io::Error) -> Error {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::PermissionDenied => Error::Denied(denied_message(&self.socket)),
            io::ErrorKind::NotFound => Error::Unavailable(format!(
                "no docker socket at {socket}; is docker installed and running?"
            )),
            io::ErrorKind::ConnectionRefused => {
                Error::Unavailable(format!("docker at {socket} is not running"))
            }
            _ => Error::Unavailable(format!("cannot connect to docker at {socket}: {error}")),
        }
    }
}

/// The lifecycle events asked for.
const EVENT_NAMES: [&str; 14] = [
    "create",
    "start",
    "stop",
    "die",
    "oom",
    "health_status",
    "restart",
    "pause",
    "unpause",
    "kill",
    "destroy",
    "rename",
    "update",
    "remove",
];

/// A running `/events` answer.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
}

impl Events {
    /// The bytes of the next message; `None` at the end. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection broke, [`Error::Protocol`] for a message over 1 MiB.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(end) = memchr_newline(&self.buffer) {
                let message = self.buffer.split_to(end).freeze();
                self.buffer.advance(1);
                if message.iter().any(|b| !b.is_ascii_whitespace()) {
                    return Ok(Some(message));
                }
                continue;
            }
            if self.buffer.len() > MESSAGE_BYTES_MAX {
                return Err(Error::Protocol(format!(
                    "docker event has more than {MESSAGE_BYTES_MAX} bytes"
                )));
            }
            match next_data(&mut self.body).await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Ok(Some(self.buffer.split().freeze())),
            }
        }
    }
}

/// A running `/containers/{id}/logs` answer.
#[derive(Debug)]
pub struct Logs {
    body: Incoming,
}

impl Logs {
    /// The next bytes; `None` at the daemon's regular end. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the connection broke before that.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        next_data(&mut self.body).await
    }
}

async fn next_data(body: &mut Incoming) -> Result<Option<Bytes>> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(e)) => return Err(Error::Unavailable(format!("docker hung up: {e}"))),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

async fn read_body(mut body: Incoming) -> Result<Bytes> {
    let read = async {
        let mut whole = BytesMut::new();
        while let Some(data) = next_data(&mut body).await? {
            if whole.len() + data.len() > BODY_BYTES_MAX {
                return Err(Error::Protocol(format!(
                    "docker answer has more than {BODY_BYTES_MAX} bytes"
                )));
            }
            whole.extend_from_slice(&data);
        }
        Ok(whole.freeze())
    };
    tokio::time::timeout(BODY_TIMEOUT, read)
        .await
        .unwrap_or_else(|_| Err(Error::Unavailable("docker stopped in mid answer".to_owned())))
}

fn memchr_newline(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == b'\n')
}

fn protocol(error: model::Error) -> Error {
    Error::Protocol(error.message().to_owned())
}

fn api_message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    struct Message {
        message: String,
    }
    match serde_json::from_slice::<Message>(body) {
        Ok(m) => m.message,
        Err(_) => String::from_utf8_lossy(body.get(..200).unwrap_or(body)).trim().to_owned(),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Ids come from the daemon, but they end up in a path: only what ids and names are made of.
fn path_id(id: &str) -> Result<&str> {
    let fine = !id.is_empty()
        && id.len() <= 256
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b))
        && !id.starts_with('.');
    if fine { Ok(id) } else { Err(Error::Protocol(format!("container id {id:.64?} is unusable"))) }
}

fn seconds(t_ns: i64) -> String {
    let t_ns = t_ns.max(0);
    format!("{}.{:09}", t_ns / 1_000_000_000, t_ns % 1_000_000_000)
}

/// Names the socket, its group, and what to do.
fn denied_message(socket: &Path) -> String {
    let shown = socket.display();
    let group = rustix::fs::stat(socket).ok().map(|stat| {
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        group_name(&groups, stat.st_gid).unwrap_or_else(|| stat.st_gid.to_string())
    });
    match group {
        Some(group) => format!(
            "permission denied on {shown}: it belongs to group {group}; add the user to group {group} \
             (usermod -aG {group} USER) and start again"
        ),
        None => format!("permission denied on {shown}: its directory may not be entered"),
    }
}

fn group_name(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut parts = line.split(':');
        let (name, _, id) = (parts.next()?, parts.next()?, parts.next()?);
        (id.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unix_endpoints_are_taken() {
        let client = Client::new("unix:///run/docker.sock").unwrap();
        assert_eq!(client.socket(), Path::new("/run/docker.sock"));
        assert!(Client::new("/run/podman/podman.sock").is_ok());
        let error = Client::new("tcp://1.2.3.4:2375").unwrap_err();
        assert!(error.message().contains("tcp is not supported"), "{error}");
        assert!(Client::new("docker.sock").is_err());
    }

    #[test]
    fn a_denied_socket_names_itself_its_group_and_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let client = Client::new(&dir.path().display().to_string()).unwrap();
        let error = client.connect_error(&io::Error::from(io::ErrorKind::PermissionDenied));
        let Error::Denied(message) = error else { panic!("{error:?}") };
        assert!(message.contains(&dir.path().display().to_string()), "{message}");
        assert!(message.contains("add the user to group "), "{message}");
        let gone = client.connect_error(&io::Error::from(io::ErrorKind::NotFound));
        assert!(matches!(gone, Error::Unavailable(_)));
    }

    #[test]
    fn times_ids_and_groups() {
        assert_eq!(seconds(1_500_000_007), "1.500000007");
        assert!(path_id("../x").is_err() && path_id("a/b").is_err() && path_id("a1_b-c").is_ok());
        assert_eq!(group_name("root:x:0:\ndocker:x:998:me\n", 998).as_deref(), Some("docker"));
        assert_eq!(parse_version("1.41"), Some((1, 41)));
    }
}

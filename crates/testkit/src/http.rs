//! The smallest HTTP client that can ask one question.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines as they came.
    pub head: String,
    /// Body as text.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|e| panic!("not JSON ({e}): {} {}", self.status, self.body))
    }
}

/// `GET path?params`.
///
/// # Errors
/// When the connection fails, as it does while the server is down.
pub fn get(address: SocketAddr, path: &str, params: &[(&str, &str)]) -> std::io::Result<Answer> {
    let query: Vec<String> =
        params.iter().map(|(n, v)| format!("{}={}", url_encode(n), url_encode(v))).collect();
    let separator = if query.is_empty() { "" } else { "?" };
    send(address, &format!("GET {path}{separator}{}", query.join("&")), &[], &[])
}

/// `POST path` with an empty body.
///
/// # Errors
/// As [`get`].
pub fn post(address: SocketAddr, path: &str) -> std::io::Result<Answer> {
    send(address, &format!("POST {path}"), &[], &[])
}

/// Asks `what` (method and path) with further headers and a body.
///
/// # Errors
/// As [`get`].
pub fn send(
    address: SocketAddr,
    what: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    // HTTP/1.0: the answer ends with the connection, without chunks.
    let mut head = format!("{what} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        let _infallible = write!(head, "{name}: {value}\r\n");
    }
    let _infallible = write!(head, "Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// Percent-encodes everything but letters, digits and `-._~`.
pub fn url_encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

//! Handing a mail to a server by SMTP, with TLS from the start or by STARTTLS.
//!
//! Source: RFC 5321 (SMTP), 3207 (STARTTLS), 8314 (TLS from the start), 4954 (AUTH), 6531 (addresses beyond ASCII).

use std::sync::Arc;

use alert::notify::Outcome;
use alert::receiver::{Email, SmartHost};
use rustls::pki_types::ServerName;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::login::{self, Way};
use super::mime::Letter;

/// Bytes of a line of a reply, and lines of a reply. A server that says more is none.
const LINE_BYTES_MAX: u64 = 4096;
const LINES_MAX: usize = 200;
/// The port whose connections begin with TLS.
const IMPLICIT_TLS_PORT: u16 = 465;
/// Questions of a server that logs us in.
const QUESTIONS_MAX: usize = 4;

/// Hands `letter` over.
pub(super) async fn deliver(email: &Email, letter: &Letter) -> Outcome {
    match hand_over(email, letter).await {
        Ok(()) => Outcome::Delivered { remember: Default::default() },
        Err(Failure { is_final: true, reason }) => Outcome::Refused { reason },
        Err(Failure { is_final: false, reason }) => Outcome::Retry { after_ms: None, reason },
    }
}

/// Why it did not work.
struct Failure {
    /// Whether the server will never take this mail.
    is_final: bool,
    reason: String,
}

impl Failure {
    fn now(reason: impl Into<String>) -> Self {
        Self { is_final: false, reason: reason.into() }
    }
}

type Result<T> = std::result::Result<T, Failure>;

async fn hand_over(email: &Email, letter: &Letter) -> Result<()> {
    let mut server = Server::connect(email).await?;
    if !email.auth_username.is_empty() {
        server.log_in(email).await?;
    }
    let is_ascii = letter.from.is_ascii() && letter.to.iter().all(|to| to.is_ascii());
    let utf8 = match (is_ascii, server.extension("SMTPUTF8").is_some()) {
        (true, _) => "",
        (false, true) => " SMTPUTF8",
        (false, false) => {
            return Err(Failure {
                is_final: true,
                reason: "the server takes no addresses beyond ASCII".to_owned(),
            });
        }
    };
    server.step(&format!("MAIL FROM:<{}>{utf8}", letter.from), "MAIL", true).await?;
    let mut refusals = Vec::new();
    for to in &letter.to {
        if let Err(failure) = server.step(&format!("RCPT TO:<{to}>"), "RCPT", true).await {
            refusals.push(failure);
        }
    }
    if refusals.len() == letter.to.len() {
        // One that may work later is worth waiting for.
        refusals.sort_by_key(|failure| failure.is_final);
        return Err(refusals.swap_remove(0));
    }
    for refusal in refusals {
        tracing::warn!("mail goes to the others only: {}", refusal.reason);
    }
    server.say("DATA").await?;
    server.expect(354, "DATA", true).await?;
    server.write(&dotted(&letter.bytes)).await?;
    server.expect(250, "the mail", true).await?;
    // It has arrived, however the server takes its leave.
    let _farewell = server.say("QUIT").await;
    Ok(())
}

/// The data with the dots doubled that begin lines, and its end.
fn dotted(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    let mut starts_line = true;
    for byte in bytes {
        if starts_line && *byte == b'.' {
            out.push(b'.');
        }
        out.push(*byte);
        starts_line = *byte == b'\n';
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A server that has introduced itself.
struct Server {
    stream: BufReader<Box<dyn Stream>>,
    /// What it can do: a line each, as `AUTH PLAIN LOGIN`.
    extensions: Vec<String>,
    /// Whether nobody else can read what is said.
    is_private: bool,
}

/// The lines of a reply without their codes.
struct Reply {
    code: u16,
    lines: Vec<String>,
}

impl Reply {
    fn text(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }
}

impl Server {
    async fn connect(email: &Email) -> Result<Self> {
        let SmartHost { host, port } = &email.smarthost;
        let is_tls = email.force_implicit_tls.unwrap_or(*port == IMPLICIT_TLS_PORT);
        if email.hello.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Failure::now(format!("hello {:.200?} is no name of a host", email.hello)));
        }
        let stream = TcpStream::connect((host.as_str(), *port)).await;
        let stream = stream
            .map_err(|e| Failure::now(format!("establish connection to {host}:{port}: {e}")))?;
        let is_local = stream.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
        let stream: Box<dyn Stream> = match is_tls {
            true => encrypted(Box::new(stream), email).await?,
            false => Box::new(stream),
        };
        let mut server = Self {
            stream: BufReader::new(stream),
            extensions: Vec::new(),
            is_private: is_tls || is_local,
        };
        server.expect(220, "greeting", false).await?;
        server.introduce(&email.hello).await?;
        if email.require_tls && !is_tls {
            server = server.start_tls(email).await?;
        }
        Ok(server)
    }

    async fn introduce(&mut self, hello: &str) -> Result<()> {
        self.say(&format!("EHLO {hello}")).await?;
        let reply = self.read().await?;
        if reply.code == 250 {
            self.extensions = reply.lines.into_iter().skip(1).collect();
            return Ok(());
        }
        // A server of before 1995.
        self.extensions.clear();
        self.step(&format!("HELO {hello}"), "HELO", false).await
    }

    async fn start_tls(mut self, email: &Email) -> Result<Self> {
        let SmartHost { host, port } = &email.smarthost;
        if self.extension("STARTTLS").is_none() {
            return Err(Failure::now(format!(
                "'require_tls' is true (default) but \"{host}:{port}\" does not advertise the STARTTLS extension"
            )));
        }
        self.say("STARTTLS").await?;
        self.expect(220, "STARTTLS", false).await?;
        // What came before TLS could be anybody's, and must not count as said by the server behind it.
        if !self.stream.buffer().is_empty() {
            return Err(Failure::now("the server talks on before TLS begins"));
        }
        let stream = encrypted(self.stream.into_inner(), email).await?;
        let mut server =
            Self { stream: BufReader::new(stream), extensions: Vec::new(), is_private: true };
        server.introduce(&email.hello).await?;
        Ok(server)
    }

    /// What the server says behind the name of an extension.
    fn extension(&self, name: &str) -> Option<&str> {
        self.extensions.iter().find_map(|line| {
            let (word, rest) = line.split_once([' ', '=']).unwrap_or((line, ""));
            word.eq_ignore_ascii_case(name).then_some(rest)
        })
    }

    async fn log_in(&mut self, email: &Email) -> Result<()> {
        let Some(offered) = self.extension("AUTH").map(str::to_owned) else { return Ok(()) };
        let way = Way::choose(&offered, email, self.is_private).map_err(Failure::now)?;
        let opening = login::opening(way, email).map(|text| format!(" {text}"));
        self.say(&format!("AUTH {}{}", way.name(), opening.unwrap_or_default())).await?;
        for number in 0..=QUESTIONS_MAX {
            let reply = self.read().await?;
            match reply.code {
                235 => return Ok(()),
                334 => {
                    let question = reply.lines.first().map_or("", String::as_str);
                    let said = login::reply(way, email, question, number).map_err(Failure::now)?;
                    self.say(&said).await?;
                }
                _ => return Err(Failure::now(format!("AUTH {}: {}", way.name(), reply.text()))),
            }
        }
        Err(Failure::now(format!("AUTH {} asks too much", way.name())))
    }

    /// Says `line` and expects 250, or 251 where a mail is passed on.
    async fn step(&mut self, line: &str, what: &str, may_be_final: bool) -> Result<()> {
        self.say(line).await?;
        self.expect(250, what, may_be_final).await
    }

    async fn expect(&mut self, code: u16, what: &str, may_be_final: bool) -> Result<()> {
        let reply = self.read().await?;
        match reply.code {
            found if found == code || code == 250 && found == 251 => Ok(()),
            found => Err(Failure {
                is_final: may_be_final && (500..600).contains(&found),
                reason: format!("{what}: {}", reply.text()),
            }),
        }
    }

    async fn say(&mut self, line: &str) -> Result<()> {
        self.write(format!("{line}\r\n").as_bytes()).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let broken = |e: std::io::Error| Failure::now(format!("the connection is broken: {e}"));
        self.stream.write_all(bytes).await.map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn read(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            let mut bounded = (&mut self.stream).take(LINE_BYTES_MAX);
            let read = bounded.read_until(b'\n', &mut line).await;
            read.map_err(|e| Failure::now(format!("the connection is broken: {e}")))?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let whole = line.ends_with('\n') && lines.len() < LINES_MAX;
            let code = line.get(..3).and_then(|code| code.parse().ok());
            let (true, Some(code)) = (whole, code) else {
                return Err(Failure::now(match line.is_empty() {
                    true => "the server closed the connection".to_owned(),
                    false => format!("the server says {line:.100?}, which is no reply"),
                }));
            };
            lines.push(line.get(4..).unwrap_or("").trim_end().to_owned());
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(Reply { code, lines });
            }
        }
    }
}

/// The stream within TLS.
async fn encrypted(stream: Box<dyn Stream>, email: &Email) -> Result<Box<dyn Stream>> {
    let config =
        collect::request::tls_config(&email.tls).map_err(|e| Failure::now(e.to_string()))?;
    let name = email.tls.server_name.clone().unwrap_or_else(|| email.smarthost.host.clone());
    let name = ServerName::try_from(name)
        .map_err(|e| Failure::now(format!("the name of the server is none: {e}")))?;
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = stream.map_err(|e| Failure::now(format!("establish TLS: {e}")))?;
    Ok(Box::new(stream))
}

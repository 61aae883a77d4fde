//! Servers that write down what they are sent: HTTP and SMTP without TLS.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Such as `POST`.
    pub method: String,
    /// With its query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: String,
}

impl Recorded {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What a recorder answers: status, headers, body.
pub type Reply = (u16, Vec<(String, String)>, String);

/// An HTTP server on a free port of loopback. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct Recorder {
    /// Where it listens.
    pub address: SocketAddr,
    requests: Arc<Mutex<Vec<Recorded>>>,
}

impl Recorder {
    /// Starts one that answers as `reply` says.
    pub fn start(reply: impl Fn(&Recorded) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, reply) = (Arc::clone(&requests), Arc::new(reply));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (kept, reply) = (Arc::clone(&kept), Arc::clone(&reply));
                thread::spawn(move || {
                    let mut reader = BufReader::new(stream);
                    while let Some(request) = read_request(&mut reader) {
                        let (status, headers, body) = reply(&request);
                        kept.lock().unwrap().push(request);
                        let mut head = format!("HTTP/1.1 {status} X\r\n");
                        for (name, value) in headers {
                            head.push_str(&format!("{name}: {value}\r\n"));
                        }
                        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
                        if reader.get_mut().write_all(head.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Self { address, requests }
    }

    /// One that answers 200 and `body` to everything.
    pub fn ok(body: &'static str) -> Self {
        Self::start(move |_| (200, Vec::new(), body.to_owned()))
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.requests.lock().unwrap().clone()
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Recorded> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) => {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
            None => break,
        }
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Recorded { method, path, headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// A mail as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMail {
    /// The commands `MAIL` and `RCPT`, in their order.
    pub envelope: Vec<String>,
    /// The data, lines with `\r\n`.
    pub data: String,
}

/// An SMTP server without TLS and without logins, on a free port of loopback. Its threads end with the process.
#[derive(Debug, Clone)]
pub struct MailRecorder {
    /// Where it listens.
    pub address: SocketAddr,
    mails: Arc<Mutex<Vec<RecordedMail>>>,
}

impl MailRecorder {
    /// Starts one that takes every mail.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = Arc::clone(&kept);
                thread::spawn(move || take_mail(stream, &kept));
            }
        });
        Self { address, mails }
    }

    /// What came so far.
    pub fn mails(&self) -> Vec<RecordedMail> {
        self.mails.lock().unwrap().clone()
    }
}

/// One connection, until it ends.
fn take_mail(stream: TcpStream, kept: &Mutex<Vec<RecordedMail>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let say = |reader: &mut BufReader<TcpStream>, text: &str| {
        reader.get_mut().write_all(format!("{text}\r\n").as_bytes()).ok()
    };
    say(&mut reader, "220 box")?;
    let mut envelope = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
        let line = line.trim_end().to_owned();
        match line.get(..4).unwrap_or("").to_ascii_uppercase().as_str() {
            "DATA" => {
                say(&mut reader, "354 go")?;
                let mut data = String::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
                    if line == ".\r\n" {
                        break;
                    }
                    data.push_str(line.strip_prefix('.').unwrap_or(&line));
                }
                let envelope = std::mem::take(&mut envelope);
                kept.lock().unwrap().push(RecordedMail { envelope, data });
                say(&mut reader, "250 ok")?;
            }
            "QUIT" => return say(&mut reader, "221 bye"),
            "MAIL" | "RCPT" => {
                envelope.push(line);
                say(&mut reader, "250 ok")?;
            }
            _ => say(&mut reader, "250 ok")?,
        }
    }
}

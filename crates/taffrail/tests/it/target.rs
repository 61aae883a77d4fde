//! A scrape target whose page the test decides.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

/// An HTTP server that answers every request with the current page; ends with the test process.
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    page: Arc<Mutex<(u16, String)>>,
}

impl Target {
    pub(crate) fn start(page: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new((200, page.to_owned())));
        let page = shared.clone();
        let serve = move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut request = [0u8; 4096];
                let _read = stream.read(&mut request);
                let (status, body) = page.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _gone = stream
                    .write_all(head.as_bytes())
                    .and_then(|()| stream.write_all(body.as_bytes()));
            }
        };
        std::thread::Builder::new().name("target".into()).spawn(serve).unwrap();
        Self { address, page: shared }
    }

    pub(crate) fn answer(&self, status: u16, page: &str) {
        *self.page.lock().unwrap() = (status, page.to_owned());
    }
}

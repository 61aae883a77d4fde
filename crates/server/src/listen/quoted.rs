//! A connection whose first request may have `"`, `<` and `>` in its target, as `curl -g` sends the calls of Prometheus'
//! documentation: `…/delete_series?match[]=up{job="node"}`.
//!
//! Owns: percent-encoding these three in the first line of a connection, which is all that such clients send. Programs
//! that keep connections encode by themselves. Does not own HTTP, nor any bound on the line: hyper refuses what is too
//! long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read at a time while the first line lasts. Each byte becomes up to three.
const PIECE_BYTES: usize = 4 << 10;

#[derive(Debug)]
pub(super) struct Quoted<S> {
    stream: S,
    /// Encoded bytes that are not handed on yet, and how many of them are.
    ready: Vec<u8>,
    handed: usize,
    in_first_line: bool,
}

impl<S> Quoted<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, ready: Vec::new(), handed: 0, in_first_line: true }
    }

    /// Takes what came: the first line is encoded up to its end, what follows stays as it is.
    fn take_in(&mut self, bytes: &[u8]) {
        for (i, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => self.ready.extend_from_slice(b"%22"),
                b'<' => self.ready.extend_from_slice(b"%3C"),
                b'>' => self.ready.extend_from_slice(b"%3E"),
                b'\n' => {
                    self.in_first_line = false;
                    self.ready.extend_from_slice(&bytes[i..]);
                    return;
                }
                byte => self.ready.push(*byte),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Quoted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ready.is_empty() && self.in_first_line {
            let mut piece = [0; PIECE_BYTES];
            let mut read = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut read))?;
            self.take_in(read.filled());
        }
        if self.ready.is_empty() {
            // Past the first line; or the stream has ended, which it says again.
            return Pin::new(&mut self.stream).poll_read(context, out);
        }
        let rest = &self.ready[self.handed..];
        let count = rest.len().min(out.remaining());
        out.put_slice(&rest[..count]);
        self.handed += count;
        if self.handed == self.ready.len() {
            self.ready = Vec::new();
            self.handed = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Quoted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    /// Reads `sent`, which arrives in pieces of `step` bytes, through buffers of `room` bytes.
    async fn check(sent: &[u8], expected: &[u8], step: usize, room: usize) {
        let pieces = Pieces(sent.chunks(step).map(<[u8]>::to_vec).collect());
        let mut quoted = Quoted::new(pieces);
        let (mut all, mut buffer) = (Vec::new(), vec![0; room]);
        loop {
            match quoted.read(&mut buffer).await.unwrap() {
                0 => break,
                count => all.extend_from_slice(&buffer[..count]),
            }
        }
        assert_eq!(String::from_utf8_lossy(&all), String::from_utf8_lossy(expected));
    }

    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(out.remaining()));
                out.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn only_the_first_line_is_encoded() {
        let sent = b"GET /federate?match[]={a=\"<b>\"} HTTP/1.1\r\nX: \"<y>\"\r\n\r\n\"body\"\n";
        let expected =
            b"GET /federate?match[]={a=%22%3Cb%3E%22} HTTP/1.1\r\nX: \"<y>\"\r\n\r\n\"body\"\n";
        for (step, room) in [(1, 1), (1, 100), (7, 3), (40, 5), (1000, 1), (1000, 1000)] {
            check(sent, expected, step, room).await;
        }
        check(b"", b"", 1, 8).await;
        check(b"no line \"", b"no line %22", 3, 8).await;
        let long = vec![b'"'; 3 * PIECE_BYTES];
        check(&long, &b"%22".repeat(3 * PIECE_BYTES), 5000, 777).await;
    }
}

//! One closed vocabulary of errors, about what the reader can do next.

use std::error::Error as StdError;
use std::fmt;

/// What kind of failure it is; `server` maps it to a status and each API's error body in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input is wrong; the message names the thing, the place and the bound.
    Invalid,
    /// What was asked for does not exist.
    NotFound,
    /// A configured limit was reached; the message names the limit and the cost.
    Limit,
    /// Temporarily unable (full queue, disk full, shutting down); the same call may succeed later.
    Busy,
    /// Stored bytes are damaged.
    Corrupt,
    /// The operating system failed a call.
    Io,
    /// The caller cancelled or its deadline passed.
    Cancelled,
    /// A broken invariant of our own.
    Bug,
}

/// The error of every room: a kind to branch on, a public message, and the internal cause.
///
/// Messages are lowercase, without full stop, and name thing, value and bound. For errors that point into a text
/// (a query, a file), [`Error::span`] is the byte range `[start, end)` in that text.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    span: Option<(usize, usize)>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// Shorthand for results of this workspace's libraries.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` saying `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), span: None, source: None }
    }

    /// Shorthand for [`ErrorKind::Invalid`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Shorthand for [`ErrorKind::Corrupt`].
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// An I/O failure while doing `what` (present tense: `open wal segment x`).
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, what).with_source(source)
    }

    /// Attaches the internal cause; it is logged, never sent to clients.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Attaches the byte range `[start, end)` in the text the message talks about.
    #[must_use]
    pub fn with_span(mut self, start: usize, end: usize) -> Self {
        self.span = Some((start, end));
        self
    }

    /// Puts `context: ` before the message.
    #[must_use]
    pub fn context(mut self, context: impl fmt::Display) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// What the caller can branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The public text, without the internal cause.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Byte range `[start, end)` in the text in question, if the error points into one.
    pub fn span(&self) -> Option<(usize, usize)> {
        self.span
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // I/O causes are part of what an operator must read ("permission denied"), other causes are internal.
        if self.kind == ErrorKind::Io
            && let Some(source) = &self.source
        {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|s| s as &(dyn StdError + 'static))
    }
}

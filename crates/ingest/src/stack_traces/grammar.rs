//! Which lines begin a stack trace, and which continue one.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What kind of trace has begun, and what may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An exception of Java, .NET or Node, or an error chain of Rust: its name has come, and so many further lines of its
    /// message, if a frame follows.
    Named(u8),
    /// Among its frames.
    Frames,
    /// Behind an exception's line, within the list of modules that required the one that Node did not find.
    Required,
    /// Inside the properties that Node prints behind an error's frames.
    Properties,
    /// Behind an empty line, which only `Caused by:` or Node's version follows.
    BeforeCause,
    /// Where Node found an exception that nobody caught: file and line.
    Place,
    /// Behind the line of the source.
    Source,
    /// Behind the marks below it.
    Thrown,
    /// Behind an empty line, which the exception's name follows.
    BeforeName,
    /// The exception's name has come; so many lines of its message.
    Message(u8),
    /// A header of .NET's console, which indented lines follow.
    Console,
    /// Nothing follows.
    End,
    /// An error chain of Rust behind `Caused by:`.
    Causes,
    /// Behind an empty line in one.
    BeforeBacktrace,
    /// Python's frames, all indented; the exception's line ends them.
    Python,
    /// Inside of Python's exception group, a tree drawn with `|` and `+`.
    PythonGroup,
    /// Behind the exception's line; so many lines of its message, if the line that links it to another follows.
    PythonEnd(u8),
    /// Behind the line that links two exceptions.
    PythonNext,
    /// A panic of Go; no goroutine has come.
    Panic,
    /// Inside a goroutine.
    Goroutine,
    /// A panic of Rust whose message is in the next line.
    RustMessage,
    /// Behind the message.
    Rust,
}

/// Whether a line continues a trace, and what it is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes(Kind),
    /// If the next one does.
    Perhaps(Kind),
    No,
}

/// What first lines have somewhere. The order is that of [`Kind::begins`].
const SIGNS: [&str; 8] = [
    "Traceback (most recent call last):",
    " panicked at ",
    "panic: ",
    "panic serving ",
    "fatal error: ",
    "Exception",
    "Error",
    "Throwable",
];

static SIGN: LazyLock<AhoCorasick> =
    LazyLock::new(|| AhoCorasick::new(SIGNS).expect("BUG: fixed patterns"));

/// Lines of a message in front of the frames.
const MESSAGE_LINES_MAX: u8 = 64;

/// The same of Java, .NET and Node, whose names are told from other words less surely.
const NAMED_LINES_MAX: u8 = 16;

/// How .NET's console indents what belongs to a header.
const CONSOLE_INDENT: &str = "      ";

/// Bytes of a line in which a sign is looked for.
const SCAN_BYTES_MAX: usize = 4 << 10;

impl Kind {
    /// The kind of trace that `line` may be the first line of.
    pub(super) fn begins(line: &str) -> Option<Self> {
        let bytes = line.as_bytes();
        // JSON holds its trace in itself.
        if bytes.first() == Some(&b'{') {
            return None;
        }
        if is_goroutine(line) {
            return Some(Self::Goroutine);
        }
        match bytes.last() {
            Some(b'0'..=b'9') if is_place_in_script(line) => return Some(Self::Place),
            Some(b']') if is_console_header(line) => return Some(Self::Console),
            _ => {}
        }
        let scanned = bytes.get(..SCAN_BYTES_MAX).unwrap_or(bytes);
        let sign = SIGN.find(scanned)?.pattern().as_usize();
        Some(match sign {
            0 => Self::of_python(line),
            1 if line.ends_with(':') => Self::RustMessage,
            1 => Self::Rust,
            2..=4 => Self::Panic,
            _ if Self::of_python(line) == Self::PythonGroup => Self::PythonGroup,
            _ => Self::Named(0),
        })
    }

    /// What a line that announces Python's frames begins.
    fn of_python(line: &str) -> Self {
        let is_group = line.trim_start().starts_with("+ Exception Group Traceback");
        if is_group { Self::PythonGroup } else { Self::Python }
    }

    /// Whether `line` continues a trace of this kind.
    pub(super) fn continues(self, line: &str) -> Verdict {
        let text = line.trim_start();
        let indented = text.len() < line.len();
        let blank = text.is_empty();
        let next = match self {
            Self::Named(_) | Self::Frames if line == "Require stack:" => Some(Self::Required),
            Self::Named(count) => {
                if let Some(next) = self.frame(text, indented) {
                    return Verdict::Yes(next);
                }
                if blank && count == 0 {
                    return Verdict::Perhaps(Self::BeforeCause);
                }
                if !blank && count < NAMED_LINES_MAX && !begins_record(line) {
                    return Verdict::Perhaps(Self::Named(count + 1));
                }
                None
            }
            Self::Required if line.starts_with("- ") => Some(Self::Required),
            Self::Required => Self::Frames.frame(text, indented),
            Self::Frames | Self::Properties => {
                if let Some(next) = self.frame(text, indented) {
                    return Verdict::Yes(next);
                }
                if blank && self == Self::Frames {
                    return Verdict::Perhaps(Self::BeforeCause);
                }
                None
            }
            Self::BeforeCause if is_version_of_node(line) => Some(Self::End),
            Self::BeforeCause => (line == "Caused by:").then_some(Self::Causes),
            Self::Place if blank => None,
            Self::Place => return Verdict::Perhaps(Self::Source),
            Self::Source => {
                let is_marks = !blank && text.trim_end().bytes().all(|byte| byte == b'^');
                is_marks.then_some(Self::Thrown)
            }
            Self::Thrown if blank => return Verdict::Perhaps(Self::BeforeName),
            // What was thrown is no error.
            Self::Thrown => Some(Self::Frames),
            Self::BeforeName if is_version_of_node(line) => Some(Self::End),
            Self::BeforeName => {
                let name = line.split(" [").next().unwrap_or(line);
                is_exception_line(name).then_some(Self::Message(0))
            }
            Self::Message(_) if indented && text.starts_with("at ") => self.frame(text, indented),
            Self::Message(_) if is_version_of_node(line) => Some(Self::End),
            Self::Message(count) if count < MESSAGE_LINES_MAX => {
                return Verdict::Perhaps(Self::Message(count + 1));
            }
            Self::Console => line.starts_with(CONSOLE_INDENT).then_some(Self::Console),
            Self::Message(_) | Self::End => None,
            Self::Causes if blank => return Verdict::Perhaps(Self::BeforeBacktrace),
            Self::Causes => indented.then_some(Self::Causes),
            Self::BeforeBacktrace => (line == "Stack backtrace:").then_some(Self::Rust),
            Self::Python if indented && !blank => Some(Self::Python),
            Self::Python => is_exception_line(line).then_some(Self::PythonEnd(0)),
            Self::PythonGroup if indented && text.starts_with(['|', '+']) => {
                (Self::of_python(line) != self).then_some(self)
            }
            Self::PythonEnd(_) if is_link(line) => Some(Self::PythonNext),
            Self::PythonEnd(count) if count < MESSAGE_LINES_MAX && !begins_record(line) => {
                return Verdict::Perhaps(Self::PythonEnd(count + 1));
            }
            Self::PythonGroup if blank => return Verdict::Perhaps(Self::PythonEnd(0)),
            Self::PythonEnd(_) | Self::PythonGroup => None,
            Self::PythonNext if blank => return Verdict::Perhaps(Self::PythonNext),
            Self::PythonNext => line.ends_with(SIGNS[0]).then_some(Self::of_python(line)),
            // Goroutines have an empty line between them.
            Self::Panic | Self::Goroutine if blank => return Verdict::Perhaps(Self::Panic),
            Self::Panic if is_goroutine(line) => Some(Self::Goroutine),
            Self::Panic => {
                let more = line.starts_with("[signal ")
                    || line == "runtime stack:"
                    || (indented && text.starts_with("panic: "));
                more.then_some(if line == "runtime stack:" { Self::Goroutine } else { self })
            }
            Self::Goroutine => is_in_goroutine(line).then_some(self),
            Self::RustMessage => Some(Self::Rust),
            Self::Rust => is_in_backtrace(line, text, indented).then_some(self),
        };
        next.map_or(Verdict::No, Verdict::Yes)
    }

    /// Lines behind an exception of Java, .NET or Node.
    fn frame(self, text: &str, indented: bool) -> Option<Self> {
        let is_frame = indented && text.starts_with("at ");
        let is_cause = text.starts_with("Caused by: ");
        let inside = match self {
            Self::Properties => self,
            _ if is_cause => Self::Named(0),
            _ => Self::Frames,
        };
        if is_frame || is_cause {
            return Some(if text.ends_with('{') { Self::Properties } else { inside });
        }
        if self == Self::Properties && (indented || text.starts_with(['}', ']'])) {
            let is_end = !indented && text == "}";
            return Some(if is_end { Self::Frames } else { self });
        }
        let is_more = |text: &str| {
            let rest = text.strip_prefix("... ").unwrap_or("");
            let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            behind.len() < rest.len()
                && matches!(
                    behind,
                    " more" | " common frames omitted" | " lines matching cause stack trace ..."
                )
        };
        let inner = indented
            && (text.starts_with("Suppressed: ")
                || text.starts_with("---> ")
                || text.starts_with("--- End of ")
                || text.starts_with("[cause]: ")
                || is_more(text));
        let outer = text.starts_with("--- End of stack trace from previous location");
        (inner || outer).then_some(inside)
    }
}

/// `/app/index.js:3` or `node:internal/modules/run_main:123`
fn is_place_in_script(line: &str) -> bool {
    const ENDINGS: [&str; 8] = [".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".jsx", ".tsx"];
    let Some((path, number)) = line.rsplit_once(':') else { return false };
    let is_absolute = path.starts_with('/')
        || path.starts_with("file://")
        || path.get(1..3).is_some_and(|drive| matches!(drive, ":\\" | ":/"));
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (path.starts_with("node:")
            || matches!(path, "[eval]" | "[stdin]" | "undefined" | "<anonymous_script>")
            || (is_absolute && ENDINGS.iter().any(|ending| path.ends_with(ending))))
}

/// `Node.js v20.20.2`
fn is_version_of_node(line: &str) -> bool {
    line.strip_prefix("Node.js v")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// `fail: Shop.Carts[13]`, perhaps behind a time.
fn is_console_header(line: &str) -> bool {
    const LEVELS: [&str; 6] = ["trce", "dbug", "info", "warn", "fail", "crit"];
    let Some((front, category)) = line.split_once(": ") else { return false };
    let (time, level) = front.rsplit_once(' ').unwrap_or(("", front));
    let is_in_time = |c: char| c.is_ascii_digit() || " -:./TZ+".contains(c);
    let Some((name, event)) =
        category.strip_suffix(']').and_then(|category| category.split_once('['))
    else {
        return false;
    };
    LEVELS.contains(&level)
        && time.chars().all(is_in_time)
        && !name.is_empty()
        && !name.contains(char::is_whitespace)
        && event.strip_prefix('-').unwrap_or(event).bytes().all(|byte| byte.is_ascii_digit())
}

/// `goroutine 17 [chan receive, 3 minutes]:`
fn is_goroutine(line: &str) -> bool {
    line.starts_with("goroutine ") && line.ends_with("]:")
}

/// A function or a place of Go.
fn is_in_goroutine(line: &str) -> bool {
    if let Some(place) = line.strip_prefix('\t') {
        return place.contains(".go:") || place.contains(".s:");
    }
    if line.starts_with("created by ")
        || line.starts_with("exit status ")
        || line.starts_with("...additional frames elided...")
    {
        return true;
    }
    let (name, _) = line.split_once('(').unwrap_or(("", ""));
    !name.is_empty()
        && !name.contains(char::is_whitespace)
        && line.ends_with(')')
        && name.contains('.')
}

/// `ValueError: bad` or `package.Error`
fn is_exception_line(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or("");
    let is_name = |part: &str| {
        part.starts_with(|c: char| c.is_alphabetic() || c == '_')
            && part.chars().all(|c| c.is_alphanumeric() || c == '_')
    };
    !name.is_empty() && name.split('.').all(is_name)
}

/// What Python puts between an exception and the one that came of it.
fn is_link(line: &str) -> bool {
    line.starts_with("During handling of the above exception")
        || line.starts_with("The above exception was the direct cause")
}

/// Whether a line is no further one of a message: it begins a trace, or, as lines of logs do, with a time, a level, an
/// address, or a member of JSON or logfmt.
fn begins_record(line: &str) -> bool {
    const LEVELS: [&str; 11] = [
        "trace", "debug", "info", "notice", "warn", "warning", "error", "err", "critical", "crit",
        "fatal",
    ];
    let bare = line.trim_start_matches(['[', '(', '<', '"']);
    let word = bare.split([' ', ':', ']', '|', ',', '>', ')']).next().unwrap_or("");
    let is_digits = |part: &str| part.len() >= 2 && part.bytes().all(|b| b.is_ascii_digit());
    let is_level = LEVELS.iter().any(|level| word.eq_ignore_ascii_case(level));
    // `2026-01-31`, `10:00:00`, `10.0.0.7`, `31/Jan/2026`, `1769850000.5`
    let is_number = word.starts_with(|c: char| c.is_ascii_digit())
        && word.split(['-', '/', '.', 'T', '_']).any(is_digits);
    let is_logfmt = word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    });
    line.starts_with('{') || is_level || is_number || is_logfmt || Kind::begins(line).is_some()
}

/// Frames, notes and operands of a Rust panic.
fn is_in_backtrace(line: &str, text: &str, indented: bool) -> bool {
    let number = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let is_frame = number.len() < text.len() && number.starts_with(": ");
    line == "stack backtrace:"
        || line.starts_with("note: ")
        || (indented
            && (is_frame
                || text.starts_with("at ")
                || text.starts_with("left: ")
                || text.starts_with("right: ")))
}

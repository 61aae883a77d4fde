//! Fields of a span: intrinsics in all their spellings, and attributes by scope.
//!
//! Does not own: their values (`view`).

use model::{AttributeScope, Error, Result, SpanKind, SpanStatus};

use super::tokens::{Kind, Token, attribute_name, tokenize};
use super::value::Value;
use crate::syntax::nearest;

/// What every span has without an attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intrinsic {
    Duration,
    ChildCount,
    Name,
    Status,
    StatusMessage,
    Kind,
    SpanId,
    ParentId,
    RootName,
    RootService,
    TraceDuration,
    TraceId,
    NestedSetLeft,
    NestedSetRight,
    NestedSetParent,
    /// `nestedSetParent < 0`, which is how clients ask for roots, and needs no tree.
    IsRoot,
    EventName,
    EventTimeSinceStart,
    LinkTraceId,
    LinkSpanId,
    InstrumentationName,
    InstrumentationVersion,
}

/// All spellings.
const INTRINSICS: &[(&str, Intrinsic)] = &[
    ("duration", Intrinsic::Duration),
    ("span:duration", Intrinsic::Duration),
    ("childCount", Intrinsic::ChildCount),
    ("span:childCount", Intrinsic::ChildCount),
    ("name", Intrinsic::Name),
    ("span:name", Intrinsic::Name),
    ("status", Intrinsic::Status),
    ("span:status", Intrinsic::Status),
    ("statusMessage", Intrinsic::StatusMessage),
    ("span:statusMessage", Intrinsic::StatusMessage),
    ("kind", Intrinsic::Kind),
    ("span:kind", Intrinsic::Kind),
    ("span:id", Intrinsic::SpanId),
    ("span:parentID", Intrinsic::ParentId),
    ("rootName", Intrinsic::RootName),
    ("trace:rootName", Intrinsic::RootName),
    ("rootServiceName", Intrinsic::RootService),
    ("trace:rootService", Intrinsic::RootService),
    ("traceDuration", Intrinsic::TraceDuration),
    ("trace:duration", Intrinsic::TraceDuration),
    ("trace:id", Intrinsic::TraceId),
    ("nestedSetLeft", Intrinsic::NestedSetLeft),
    ("nestedSetRight", Intrinsic::NestedSetRight),
    ("nestedSetParent", Intrinsic::NestedSetParent),
    ("event:name", Intrinsic::EventName),
    ("event:timeSinceStart", Intrinsic::EventTimeSinceStart),
    ("link:traceID", Intrinsic::LinkTraceId),
    ("link:spanID", Intrinsic::LinkSpanId),
    ("instrumentation:name", Intrinsic::InstrumentationName),
    ("instrumentation:version", Intrinsic::InstrumentationVersion),
];

/// The spellings of all intrinsics, for those who list what can be asked for.
pub fn intrinsics() -> impl Iterator<Item = &'static str> {
    INTRINSICS.iter().map(|(name, _)| *name)
}

/// What kind of value an expression has, as far as its text tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Number,
    Bool,
    Text,
    Status,
    Kind,
    Nil,
    /// An attribute's: any.
    Any,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Number => "a number or duration",
            Self::Bool => "a truth value",
            Self::Text => "a text",
            Self::Status => "a status",
            Self::Kind => "a kind",
            Self::Nil => "nil",
            Self::Any => "an attribute",
        }
    }
}

impl Intrinsic {
    pub(super) fn value_type(self) -> Type {
        match self {
            Self::Duration
            | Self::ChildCount
            | Self::TraceDuration
            | Self::NestedSetLeft
            | Self::NestedSetRight
            | Self::NestedSetParent
            | Self::EventTimeSinceStart => Type::Number,
            Self::IsRoot => Type::Bool,
            Self::Status => Type::Status,
            Self::Kind => Type::Kind,
            Self::Name
            | Self::StatusMessage
            | Self::SpanId
            | Self::ParentId
            | Self::RootName
            | Self::RootService
            | Self::TraceId
            | Self::EventName
            | Self::LinkTraceId
            | Self::LinkSpanId
            | Self::InstrumentationName
            | Self::InstrumentationVersion => Type::Text,
        }
    }

    /// Whether its values are times, which metrics give in seconds.
    pub(super) fn is_duration(self) -> bool {
        matches!(self, Self::Duration | Self::TraceDuration | Self::EventTimeSinceStart)
    }

    /// Whether it takes the whole trace to say it.
    pub(super) fn is_of_trace(self) -> bool {
        matches!(
            self,
            Self::ChildCount
                | Self::RootName
                | Self::RootService
                | Self::TraceDuration
                | Self::NestedSetLeft
                | Self::NestedSetRight
                | Self::NestedSetParent
        )
    }

    /// Whether it is among what most spans do not have.
    pub(super) fn is_detail(self) -> bool {
        matches!(
            self,
            Self::StatusMessage
                | Self::EventName
                | Self::EventTimeSinceStart
                | Self::LinkTraceId
                | Self::LinkSpanId
        )
    }
}

/// Which of a span's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FieldKind {
    Intrinsic(Intrinsic),
    /// Without a scope, the span's or, where it has none, the resource's.
    Attribute(Option<AttributeScope>, String),
}

/// A field of a span, or of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) kind: FieldKind,
    pub(super) is_of_parent: bool,
    /// As it was written.
    pub(super) text: String,
}

impl Field {
    /// The field an attribute's token names.
    pub(super) fn of_attribute(token: Token<'_>) -> Self {
        let text = token.text;
        let (is_of_parent, rest) = match text.strip_prefix("parent.") {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('.').unwrap_or(text)),
        };
        let scoped = if text.starts_with('.') { None } else { scope_of(rest) };
        let kind = match scoped {
            Some((scope, name)) => FieldKind::Attribute(Some(scope), attribute_name(name)),
            None => match find_intrinsic(rest) {
                Some(intrinsic) if is_of_parent => FieldKind::Intrinsic(intrinsic),
                _ => FieldKind::Attribute(None, attribute_name(rest)),
            },
        };
        Self { kind, is_of_parent, text: text.to_owned() }
    }

    /// The intrinsic a word names.
    pub(super) fn of_word(word: &str) -> Option<Self> {
        let intrinsic = find_intrinsic(word)?;
        let kind = FieldKind::Intrinsic(intrinsic);
        Some(Self { kind, is_of_parent: false, text: word.to_owned() })
    }

    pub(super) fn value_type(&self) -> Type {
        match &self.kind {
            FieldKind::Intrinsic(intrinsic) => intrinsic.value_type(),
            FieldKind::Attribute(..) => Type::Any,
        }
    }

    /// Whether it is the parent's number in the nested set.
    pub(super) fn is_parent_number(&self) -> bool {
        self.kind == FieldKind::Intrinsic(Intrinsic::NestedSetParent)
    }

    /// What the field is compared with: of an id in fewer digits, or in capitals, the whole one.
    pub(super) fn whole_id(&self, value: Value<'static>) -> Value<'static> {
        let FieldKind::Intrinsic(intrinsic) = &self.kind else { return value };
        let digits = match intrinsic {
            Intrinsic::TraceId | Intrinsic::LinkTraceId => 32,
            Intrinsic::SpanId | Intrinsic::ParentId | Intrinsic::LinkSpanId => 16,
            _ => return value,
        };
        match value {
            Value::Text(id)
                if (1..=digits).contains(&id.len())
                    && id.bytes().all(|b| b.is_ascii_hexdigit()) =>
            {
                Value::Text(format!("{:0>digits$}", id.to_ascii_lowercase()).into())
            }
            other => other,
        }
    }

    /// Instead of that number: whether there is none, below 0.
    pub(super) fn into_is_root(self) -> Self {
        Self { kind: FieldKind::Intrinsic(Intrinsic::IsRoot), ..self }
    }

    /// Whether its values are times.
    pub(super) fn is_duration(&self) -> bool {
        matches!(&self.kind, FieldKind::Intrinsic(intrinsic) if intrinsic.is_duration())
    }

    /// Whether `= nil` is a question about it, as Tempo has it.
    pub(super) fn may_be_asked_for_nil(&self) -> bool {
        self.is_of_parent
            || match &self.kind {
                FieldKind::Intrinsic(_) => false,
                FieldKind::Attribute(scope, name) => {
                    *scope != Some(AttributeScope::Resource) || name != "service.name"
                }
            }
    }
}

fn scope_of(text: &str) -> Option<(AttributeScope, &str)> {
    let (scope, name) = text.split_once('.')?;
    let scope = match scope {
        "span" => AttributeScope::Span,
        "resource" => AttributeScope::Resource,
        "event" => AttributeScope::Event,
        "link" => AttributeScope::Link,
        "instrumentation" => AttributeScope::Instrumentation,
        _ => return None,
    };
    Some((scope, name))
}

fn find_intrinsic(word: &str) -> Option<Intrinsic> {
    INTRINSICS.iter().find(|(name, _)| *name == word).map(|(_, intrinsic)| *intrinsic)
}

/// The literal a word names.
pub(super) fn literal(word: &str) -> Option<Value<'static>> {
    Some(match word {
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "nil" => Value::Nil,
        "minInt" => Value::Int(i64::MIN),
        "maxInt" => Value::Int(i64::MAX),
        "ok" => Value::Status(SpanStatus::Ok),
        "error" => Value::Status(SpanStatus::Error),
        "unset" => Value::Status(SpanStatus::Unset),
        "unspecified" => Value::Kind(SpanKind::Unspecified),
        "internal" => Value::Kind(SpanKind::Internal),
        "server" => Value::Kind(SpanKind::Server),
        "client" => Value::Kind(SpanKind::Client),
        "producer" => Value::Kind(SpanKind::Producer),
        "consumer" => Value::Kind(SpanKind::Consumer),
        _ => return None,
    })
}

/// The field a client asks for by its name alone, such as `resource.service.name`, `.foo` or `name`.
///
/// # Errors
/// Invalid when it is none.
pub(super) fn parse_field(text: &str) -> Result<Field> {
    let tokens = tokenize(text)?;
    let field = match tokens.as_slice() {
        [token, _] if token.kind == Kind::Attribute => Some(Field::of_attribute(*token)),
        [token, _] => Field::of_word(token.text),
        _ => None,
    };
    field.ok_or_else(|| {
        Error::invalid(format!("{text:?} is not one field of a span")).with_span(0, text.len())
    })
}

/// The error for a word that is neither field nor literal.
pub(super) fn unknown_word(token: Token<'_>) -> Error {
    let near = nearest(token.text, INTRINSICS.iter().map(|(name, _)| *name));
    let hint = match near {
        Some(near) => format!("did you mean {near}?"),
        None => {
            format!("attributes begin with a dot or a scope, as in .{0} or span.{0}", token.text)
        }
    };
    Error::invalid(format!("unknown field {:?}; {hint}", token.text))
        .with_span(token.start, token.end)
}

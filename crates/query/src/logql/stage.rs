//! One step of a pipeline, compiled, and how it acts on a row.

use std::borrow::Cow;

use super::format::{self, LabelFormat, LabelSelection};
use super::json::{self, JsonExpressions};
use super::label_filter::LabelFilter;
use super::line_filter::LineCondition;
use super::logfmt::Logfmt;
use super::pattern::Pattern;
use super::regexes::RegexpParser;
use super::row::RowLabels;
use super::template::Template;

/// A compiled stage.
#[derive(Debug, Clone)]
pub(crate) enum Stage {
    LineFilter(LineCondition),
    LabelFilter(LabelFilter),
    Json,
    JsonExpressions(JsonExpressions),
    Logfmt(Logfmt),
    Regexp(RegexpParser),
    Pattern(Pattern),
    Unpack,
    LineFormat(Template),
    LabelFormat(LabelFormat),
    Decolorize,
    Drop(LabelSelection),
    Keep(LabelSelection),
    /// Leaves out rows whose values of these labels came before; see [`Split::apply`](super::pipeline::Split::apply).
    Distinct(Vec<String>),
}

impl Stage {
    /// Acts on one row; `false` drops it.
    pub(crate) fn apply(
        &self,
        t_ns: i64,
        line: &mut Cow<'_, str>,
        labels: &mut RowLabels<'_>,
    ) -> bool {
        match self {
            Self::LineFilter(condition) => return condition.matches(line),
            Self::LabelFilter(filter) => return filter.matches(labels),
            Self::Json => json::extract_all(line, labels),
            Self::JsonExpressions(expressions) => expressions.extract(line, labels),
            Self::Logfmt(logfmt) => logfmt.extract(line, labels),
            Self::Regexp(parser) => parser.extract(line, labels),
            Self::Pattern(pattern) => pattern.captures(line, |name, v| labels.extract(name, v)),
            Self::Unpack => replace(line, json::unpack(line, labels)),
            Self::LineFormat(template) => {
                replace(line, format::format_line(template, t_ns, line, labels));
            }
            Self::LabelFormat(labelled) => labelled.apply(t_ns, line, labels),
            Self::Decolorize => replace(line, format::decolorize(line)),
            Self::Drop(selection) => selection.drop_from(labels),
            Self::Keep(selection) => selection.keep_in(labels),
            Self::Distinct(_) => {}
        }
        true
    }

    /// Whether it leaves the line alone, so that line filters behind it see the stored one.
    pub(crate) fn keeps_line(&self) -> bool {
        !matches!(self, Self::Unpack | Self::LineFormat(_) | Self::Decolorize)
    }

    /// Whether labels behind it are those before it and such as are written in the line.
    pub(crate) fn only_extracts(&self) -> bool {
        matches!(
            self,
            Self::LineFilter(_)
                | Self::LabelFilter(_)
                | Self::Json
                | Self::JsonExpressions(_)
                | Self::Logfmt(_)
                | Self::Regexp(_)
                | Self::Pattern(_)
        )
    }

    /// Calls `visit` with the name of each label that matters to it, `*` when all may.
    pub(crate) fn for_each_label(&self, visit: &mut impl FnMut(&str)) {
        match self {
            Self::LabelFilter(filter) => filter.for_each_name(visit),
            Self::LineFormat(template) => template.for_each_label(visit),
            Self::LabelFormat(labelled) => labelled.for_each_label(visit),
            Self::Distinct(names) => names.iter().for_each(|name| visit(name)),
            Self::LineFilter(_)
            | Self::Json
            | Self::JsonExpressions(_)
            | Self::Logfmt(_)
            | Self::Regexp(_)
            | Self::Pattern(_)
            | Self::Unpack
            | Self::Decolorize
            | Self::Drop(_)
            | Self::Keep(_) => {}
        }
    }

    /// Whether it is a parser, which may extract more labels than are looked at.
    pub(crate) fn extracts(&self) -> bool {
        matches!(
            self,
            Self::Json | Self::Logfmt(_) | Self::Regexp(_) | Self::Pattern(_) | Self::Unpack
        )
    }

    /// Whether it reads the line.
    pub(crate) fn reads_line(&self) -> bool {
        match self {
            Self::LabelFilter(_) | Self::Drop(_) | Self::Keep(_) | Self::Distinct(_) => false,
            Self::LineFilter(_)
            | Self::Json
            | Self::JsonExpressions(_)
            | Self::Logfmt(_)
            | Self::Regexp(_)
            | Self::Pattern(_)
            | Self::Unpack
            | Self::LineFormat(_)
            | Self::LabelFormat(_)
            | Self::Decolorize => true,
        }
    }
}

fn replace(line: &mut Cow<'_, str>, by: Option<String>) {
    if let Some(text) = by {
        *line = Cow::Owned(text);
    }
}

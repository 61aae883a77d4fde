//! LogQL: log pipelines and metrics over logs.

mod format;
mod ip;
mod json;
mod label_filter;
mod line_filter;
mod logfmt;
mod pattern;
mod regexes;
mod row;
mod stage;
mod template;
mod units;

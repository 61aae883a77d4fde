//! Templates of rules and notifications: the functions and data Prometheus and Alertmanager give to Go's templates, whose
//! engine is [`query::template`].
//!
//! Does not own: when something is expanded, nor what becomes of an error's text.

pub mod alertmanager;
mod numbers;
pub mod prometheus;
mod texts;

//! Collectors: containers, host, scrape targets and their discovery, logs of containers and files. They produce batches for a
//! [`model::Sink`].
//!
//! Does not own: wire formats (`ingest`), storage, HTTP serving, configuration files (`taffrail` hands plain structs in).

pub mod container;
mod counters;
mod delivery;
pub mod docker;
pub mod file;
pub mod forward;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
pub mod journal;
pub mod lines;
pub mod metadata;
pub mod request;
pub mod scrape;
mod series;
mod ticks;

pub use counters::Counters;

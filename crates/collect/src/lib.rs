//! Collectors: containers, host, scrape targets and their discovery, container logs. They produce batches for a
//! [`model::Sink`].
//!
//! Does not own: wire formats (`ingest`), storage, HTTP serving, configuration files (`taffrail` hands plain structs in).

pub mod container;
pub mod docker;
pub mod host;
pub mod scrape;

//! The trace store: spans by trace, columnar and compressed, found again by id, service, name, attribute and time.
//!
//! Owns: what happens to spans between [`Store::append`] and [`model::TraceSource`]: the WAL record of a batch, the head,
//! parts of blocks and their merging, retention, and search. Does not own: WAL, part and manifest files as such
//! (`storage`), wire formats (`ingest`), query languages (`query`).
//!
//! ```text
//!  append: check, encode ─► writer thread: WAL record ─► what is not there yet ─► chunks ─flush─► part files
//!                                                                                    │               │ merge
//!  trace, find, services, operations, attributes ◄──── one consistent view ──────────┴───────────────┘
//! ```
//!
//! Formats: `docs/format/traces.md`.

mod assembly;
mod attributes;
mod block;
mod column;
mod edges;
mod engine;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod lists;
mod merge;
mod part;
mod record;
mod retention;
mod rows;
mod sampling;
mod scan;
mod screen;
mod store;
#[cfg(test)]
mod tests;
mod texts;
mod value;
mod values;
mod view;

pub use retention::RULES_MAX;
pub use store::{Config, OpenReport, Repeated, Stats, Store};

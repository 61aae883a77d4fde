//! The log store: lines by stream and time, columnar and compressed, found again by label, time and text.
//!
//! Owns: what happens to log rows between [`Store::append`] and [`Store::scan`](model::LogSource::scan): the WAL record
//! of a batch with its source's cursor, the head, parts of blocks and their merging, retention, and search. Does not own:
//! WAL, part and manifest files as such (`storage`), query languages (`query`), where lines come from (`collect`).
//!
//! ```text
//!  append ─► writer thread: check ─► WAL record (lines + cursor) ─► chunks ─seal─► blocks in memory ─flush─► part files
//!                                                                      │                │                      │ merge
//!  scan, aggregate, streams ◄──────────────── one consistent view ─────┴────────────────┴──────────────────────┘
//! ```
//!
//! Formats: `docs/format/logs.md`.

mod aggregate;
mod bits;
mod block;
mod column;
mod deletions;
mod engine;
mod fields;
mod filter;
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod hot;
pub mod inspect;
mod literals;
mod merge;
mod needle;
mod pack;
mod part;
mod patterns;
mod record;
mod repeats;
mod retention;
mod scan;
mod select;
mod split;
mod store;
#[cfg(test)]
mod tests;
mod texts;
mod typed;
mod view;
mod volume;

pub use retention::RULES_MAX;
pub use store::{Config, OpenReport, Stats, Store};

//! The metric store: series of samples, durable once acknowledged, in about half a byte per sample.
//!
//! Owns: the head (active series and recent samples), WAL records of metrics, metric parts and their index, merging,
//! retention, and [`model::MetricSource`]. Does not own: files, WAL, manifest and encodings (`storage`), query languages
//! (`query`), where samples come from. On disk: `docs/format/metrics.md`.
//!
//! A [`store`] is some [`shard`]s, each a single writer for the sources that fall to it. There, data flows from
//! [`Store::append`] through [`engine`] (what the one writer thread knows) into the WAL and the
//! [`head`], by [`flush`] into [`part`]s of one UTC day, and by [`merge`] into larger ones. [`select`] reads head and
//! parts. Decoders of bytes on disk are public, for fuzzing: [`row`], [`record`], [`page`], [`index`], [`part`].

mod bitmap;
pub mod buckets;
mod column;
pub mod cuts;
mod engine;
pub mod exemplars;
mod flush;
mod head;
pub mod histograms;
mod identity;
pub mod index;
mod inspect;
mod merge;
pub mod metadata;
pub mod page;
pub mod part;
mod postings;
pub mod record;
mod registry;
mod regroup;
pub mod rollup;
pub mod row;
mod runs;
mod scan;
mod seal;
mod select;
mod shard;
mod side;
mod snapshot;
mod store;
mod visit;

pub use bitmap::Bitmap;
pub use column::Column;
pub use inspect::{Memory, PartFigures};
pub use store::{Config, OpenReport, Removal, Stats, Store};

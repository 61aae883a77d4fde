//! The ways in for the fuzz targets of discovery and of token servers (`fuzz/`). Not part of the collectors' interface.

pub use crate::scrape::fuzzing::{discovery, token_answer};

//! The ways in for the fuzz targets of discovery, token servers and log files (`fuzz/`). Not part of the collectors' interface.

pub use crate::file::fuzzing::file_texts;
pub use crate::scrape::fuzzing::{discovery, token_answer};

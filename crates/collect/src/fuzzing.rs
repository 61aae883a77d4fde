//! The ways in for the fuzz targets of discovery (`fuzz/`). Not part of the collectors' interface.

pub use crate::scrape::fuzzing::discovery;

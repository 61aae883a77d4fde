//! Running `promqltest` scripts.

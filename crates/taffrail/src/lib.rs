//! The binary's own parts as a library: reading configuration and wiring the rooms together, so that tests and
//! examples reach them without starting a process. Does not own the command line itself (`main.rs`).

pub mod prometheus_yml;
pub mod yaml;

//! The binary's own parts as a library: reading configuration and wiring the rooms together, so that tests and
//! examples reach them without starting a process. Does not own the exit code (`main.rs`).

mod alerting;
pub mod alertmanager_yml;
mod archive;
pub mod check;
pub mod cli;
pub mod client;
pub mod config;
pub mod expand;
pub mod import;
pub mod ledger;
mod log_metrics;
pub mod memory;
pub mod notify;
mod operations;
pub mod process;
pub mod prometheus_yml;
mod promtail;
pub mod promtail_yml;
pub mod pushed;
mod redaction;
pub mod remote_write;
pub mod routes;
pub mod rule_yml;
mod rules;
pub mod run;
mod sampling;
pub mod span_forward;
pub mod stores;
pub mod test_rules;
pub mod yaml;

//! End to end: the real binary, a free port, a temporary directory. What needs a container engine is in [`engine`].

#![expect(clippy::disallowed_methods, reason = "tests work on files, clocks and threads directly")]
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod alertmanager;
mod bad_input;
mod cli;
mod clients;
mod differential;
mod dispatch;
mod engine;
mod files;
mod import;
mod lifecycle;
mod limits;
mod nezha;
mod notify;
mod promtail;
mod remote_write;
mod rules;
mod scrape;
mod shippers;
mod target;
mod tenants;
mod trace_bounds;
mod trace_forward;
mod tracers;
mod traces;
mod waterfall;

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_taffrail");

/// Milliseconds since 1970.
fn now_ns() -> i128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_nanos()
        .cast_signed()
}

/// A configuration that collects nothing by itself but what `more` adds.
fn quiet_config(more: &str) -> String {
    format!("containers:\n  enabled: false\n{more}")
}

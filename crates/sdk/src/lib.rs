//! The published SDK: logs, metrics, health and tracing for Rust services that run under Taffrail.
//!
//! Owns nothing yet. It depends on no other crate of this workspace, and never will, so that a service can use it
//! without pulling the server in.

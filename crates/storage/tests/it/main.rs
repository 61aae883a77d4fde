//! Tests of the crate from outside: random histories and random damage on the faulty file system, and the real file system.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod damage;
mod dice;
mod format;
mod model;
mod real;

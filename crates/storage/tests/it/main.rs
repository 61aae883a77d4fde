//! Tests of the crate from outside: random histories on the faulty file system, and the real file system.

mod model;
mod real;

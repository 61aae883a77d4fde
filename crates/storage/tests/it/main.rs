//! Tests of the crate from outside: random histories and random damage on the faulty file system, and the real file system.

mod damage;
mod dice;
mod model;
mod real;

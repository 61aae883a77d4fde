//! OpenMetrics text: never panics, every accepted series has labels, and a predicted series reads like an unpredicted one.

#![no_main]

use ingest::exposition::{Encoding, Format};
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::exposition::check;

fuzz_target!(|body: &[u8]| check(body, Encoding::Text(Format::OpenMetrics)));

//! Protobuf exposition: never panics, histograms are valid, every series has labels, and prediction changes nothing.

#![no_main]

use ingest::exposition::Encoding;
use libfuzzer_sys::fuzz_target;
use taffrail_fuzz::exposition::check;

fuzz_target!(|body: &[u8]| check(body, Encoding::Protobuf));

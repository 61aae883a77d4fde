//! The log store: lines by stream and time, columnar and compressed, found again by label, time and text.

mod bits;
mod column;
mod filter;
mod pack;
mod split;
mod texts;
mod typed;

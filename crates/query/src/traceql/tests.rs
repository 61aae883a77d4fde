//! What parses and what does not, and what queries find in traces written down by hand.

mod grammar;
mod metrics;
mod searches;
mod table;

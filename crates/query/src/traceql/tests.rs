//! What parses and what does not, with the place of the mistake; noise is refused.

mod grammar;

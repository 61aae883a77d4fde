//! logdb

//! Requests good and bad, built field by field.

//! Requests in both encodings, and what they become.

//! Pushes, groups and their files.

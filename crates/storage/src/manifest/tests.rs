//! Commits are atomic and durable, and damage never throws parts away.

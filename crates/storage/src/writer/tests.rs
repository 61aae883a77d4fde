//! Batches are answered once durable, in order, and every failure has its state.

//! Replay after every kind of ending. The random model test is in `tests/it`.

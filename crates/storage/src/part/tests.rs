//! Parts appear whole or not at all, and no damage passes.

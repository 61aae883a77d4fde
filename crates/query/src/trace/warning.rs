//! What of a span cannot be true, or is not all of it.

use std::fmt;

/// Something to know of a span before it is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warning {
    /// It ends so many nanoseconds before it starts, and counts as without a duration.
    EndsBeforeStart(u64),
    /// The span with this id, its parent, is not stored.
    ParentMissing(u64),
    /// Its parents form a circle; it counts as a root.
    ParentsInCircle,
    /// Another span has its id, and they are not the two sides of a call.
    IdRepeated,
    /// It starts so many nanoseconds before its parent: their clocks disagree, or one of them lies.
    StartsBeforeParent(u64),
    /// The sender left out so many attributes, events or links.
    LeftOut(u64),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |ns: u64| ns as f64 / 1e6;
        match self {
            Self::EndsBeforeStart(ns) => {
                write!(f, "ends {} ms before it starts; shown without a duration", ms(*ns))
            }
            Self::ParentMissing(id) => write!(f, "its parent {id:016x} is not stored"),
            Self::ParentsInCircle => f.write_str("its parents form a circle; shown as a root"),
            Self::IdRepeated => f.write_str("another span of the trace has its id"),
            Self::StartsBeforeParent(ns) => {
                write!(f, "starts {} ms before its parent; their clocks disagree", ms(*ns))
            }
            Self::LeftOut(count) => {
                write!(f, "its sender left out {count} attributes, events or links")
            }
        }
    }
}

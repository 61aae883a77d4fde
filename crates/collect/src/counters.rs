//! What collectors cut, dropped, refused or had to repeat, readable by the binary. Nothing is lost in silence.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters since start; all only ever increase.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        impl Counters {
            /// Name and value of each counter, in a fixed order.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.load(Ordering::Relaxed)),)*]
            }
        }
    };
}

counters! {
    /// Log lines the store has taken.
    log_lines_stored,
    /// Bytes of those lines.
    log_bytes_stored,
    /// Log lines the store refused (too old, limits).
    log_lines_rejected,
    /// Lines longer than the line limit.
    log_lines_truncated,
    /// Bytes cut from them.
    log_bytes_truncated,
    /// Lines read again after a reconnect and recognised as already stored.
    log_lines_skipped,
    /// Log streams opened again because they had stalled.
    log_stalls,
    /// Log streams opened again because the engine left lines out, or sent them again.
    log_streams_torn,
    /// Places where the last stored line was no longer found: what lay between was rotated away unread, if anything.
    log_gaps,
    /// Log files whose path came to name another file, or none.
    log_file_rotations,
    /// Log files that were emptied or overwritten.
    log_file_truncations,
    /// Log files that could not be read: permissions, links that lead outside.
    log_file_errors,
    /// Log files that match a pattern and are not read: compressed, or too many.
    log_files_skipped,
    /// Log streams that could not be read (driver without reading, broken stream).
    log_stream_errors,
    /// Lifecycle events stored.
    events_stored,
    /// Lifecycle events that came again after a reconnect and were known.
    events_repeated,
    /// Deaths found by inspection that no event told of.
    deaths_observed_late,
    /// Answers or elements of lists that could not be read.
    docker_unreadable,
    /// Connections to the daemon that ended.
    docker_disconnects,
    /// Metric samples the store has taken.
    samples_stored,
    /// Metric samples the store refused.
    samples_rejected,
    /// Metric samples given up because the store stayed busy for a whole interval.
    samples_dropped,
    /// Container readings that failed and were taken from the daemon instead.
    cgroup_fallbacks,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn add_len(counter: &AtomicU64, n: usize) {
        Self::add(counter, u64::try_from(n).unwrap_or(u64::MAX));
    }
}

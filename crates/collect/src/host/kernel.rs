//! Kernel identity and small counters: uname, file descriptors, entropy, connection tracking.

use super::Round;
use crate::metadata::{Described, GAUGE};

pub(super) const METRICS: &[Described] = &[
    ("up", GAUGE, "1 if the source could be read, 0 otherwise."),
    ("node_time_seconds", GAUGE, "System time in seconds since epoch (1970)."),
    ("node_uname_info", GAUGE, "Labeled system information as provided by the uname system call."),
    ("node_filefd_allocated", GAUGE, "File descriptor statistics: allocated."),
    ("node_filefd_maximum", GAUGE, "File descriptor statistics: maximum."),
    ("node_entropy_available_bits", GAUGE, "Bits of available entropy."),
    ("node_entropy_pool_size_bits", GAUGE, "Bits of entropy pool."),
    (
        "node_nf_conntrack_entries",
        GAUGE,
        "Number of currently allocated flow entries for connection tracking.",
    ),
    ("node_nf_conntrack_entries_limit", GAUGE, "Maximum size of connection tracking table."),
];

pub(super) fn read(round: &mut Round<'_>) {
    uname(round);
    round.file("sys/fs/file-nr", |round, text| {
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<f64>);
        if let (Some(Ok(allocated)), Some(Ok(maximum))) = (numbers.next(), numbers.nth(1)) {
            round.put("node_filefd_allocated", allocated);
            round.put("node_filefd_maximum", maximum);
        }
    });
    for (file, metric) in [
        ("sys/kernel/random/entropy_avail", "node_entropy_available_bits"),
        ("sys/kernel/random/poolsize", "node_entropy_pool_size_bits"),
        ("sys/net/netfilter/nf_conntrack_count", "node_nf_conntrack_entries"),
        ("sys/net/netfilter/nf_conntrack_max", "node_nf_conntrack_entries_limit"),
    ] {
        round.file(file, |round, text| {
            if let Some(value) = super::number(text) {
                round.put(metric, value);
            }
        });
    }
}

fn uname(round: &mut Round<'_>) {
    let uname = rustix::system::uname();
    let [machine, nodename, release, sysname, version, domainname] = [
        uname.machine(),
        uname.nodename(),
        uname.release(),
        uname.sysname(),
        uname.version(),
        uname.domainname(),
    ]
    .map(|text| text.to_string_lossy());
    let labels = [
        ("domainname", &*domainname),
        ("machine", &*machine),
        ("nodename", &*nodename),
        ("release", &*release),
        ("sysname", &*sysname),
        ("version", &*version),
    ];
    round.put_with("node_uname_info", &labels, 1.0);
}

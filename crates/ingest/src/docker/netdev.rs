//! `/proc/<pid>/net/dev`: counters per network interface.

use super::DEVICES_MAX;

/// Counters of one interface, since it was created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Name, e.g. `eth0`.
    pub name: String,
    /// The eight receive columns: bytes, packets, errs, drop, fifo, frame, compressed, multicast.
    pub receive: [u64; 8],
    /// The eight transmit columns: bytes, packets, errs, drop, fifo, colls, carrier, compressed.
    pub transmit: [u64; 8],
}

/// Decodes the table; unreadable lines are left out, at most [`DEVICES_MAX`] interfaces are kept.
pub fn decode(text: &str, out: &mut Vec<Interface>) {
    for line in text.lines().skip(2) {
        if out.len() >= DEVICES_MAX {
            return;
        }
        // The name may be glued to the first number (`eth0:123`), and alias names contain colons (`eth0:1:`).
        let Some((name, columns)) = line.rsplit_once(':') else { continue };
        let mut numbers = columns.split_ascii_whitespace().map(|n| n.parse::<u64>().unwrap_or(0));
        let mut interface = Interface { name: name.trim().to_owned(), ..Interface::default() };
        let mut complete = !interface.name.is_empty();
        for slot in interface.receive.iter_mut().chain(&mut interface.transmit) {
            match numbers.next() {
                Some(n) => *slot = n,
                None => complete = false,
            }
        }
        if complete {
            out.push(interface);
        }
    }
}

/// Whether cAdvisor leaves the interface out: loopback and the host's ends of container links.
pub fn is_ignored(name: &str) -> bool {
    ["lo", "veth", "docker"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_glued_to_numbers_and_skips_short_lines() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16\n\
                    eth0:99 2 0 1 0 0 0 0 7 8 0 0 0 0 0 0\n broken: 1 2\nnothing\n";
        let mut out = Vec::new();
        decode(text, &mut out);
        assert_eq!(out.iter().map(|i| i.name.as_str()).collect::<Vec<_>>(), ["lo", "eth0"]);
        assert_eq!((out[1].receive[0], out[1].receive[3], out[1].transmit[0]), (99, 1, 7));
        assert!(is_ignored("lo") && is_ignored("veth12") && !is_ignored("eth0"));
    }
}

//! Interfaces, protocol counters, sockets and neighbours: `/proc/net/{dev,snmp,netstat,snmp6,sockstat,sockstat6,arp}`.
//!
//! The host's ends of container links (`veth*`) are left out: their traffic is counted with the containers.

use std::collections::BTreeMap;

use ingest::docker::{DEVICES_MAX, netdev};

use super::Round;
use crate::metadata::{Described, GAUGE};

pub(super) const METRICS: &[Described] = &[
    ("node_network_up", GAUGE, "Value is 1 if operstate is 'up', 0 otherwise."),
    ("node_network_mtu_bytes", GAUGE, "Network device property: mtu_bytes"),
    ("node_network_speed_bytes", GAUGE, "Network device property: speed_bytes"),
    ("node_arp_entries", GAUGE, "ARP entries by device"),
    ("node_sockstat_sockets_used", GAUGE, "Number of IPv4 sockets in use."),
];

const RECEIVE: [&str; 8] = [
    "node_network_receive_bytes_total",
    "node_network_receive_packets_total",
    "node_network_receive_errs_total",
    "node_network_receive_drop_total",
    "node_network_receive_fifo_total",
    "node_network_receive_frame_total",
    "node_network_receive_compressed_total",
    "node_network_receive_multicast_total",
];

const TRANSMIT: [&str; 8] = [
    "node_network_transmit_bytes_total",
    "node_network_transmit_packets_total",
    "node_network_transmit_errs_total",
    "node_network_transmit_drop_total",
    "node_network_transmit_fifo_total",
    "node_network_transmit_colls_total",
    "node_network_transmit_carrier_total",
    "node_network_transmit_compressed_total",
];

pub(super) fn read(round: &mut Round<'_>) {
    // Inside a container the first process of the host's `/proc` is in the host's network, we are not.
    let base = if round.proc_root.join("1/net/dev").exists() { "1/net" } else { "net" };
    round.file(&format!("{base}/dev"), |round, text| {
        let mut interfaces = Vec::new();
        netdev::decode(text, &mut interfaces);
        for interface in interfaces.iter().filter(|i| !i.name.starts_with("veth")) {
            let labels = [("device", interface.name.as_str())];
            let columns = RECEIVE.into_iter().zip(interface.receive);
            for (metric, value) in columns.chain(TRANSMIT.into_iter().zip(interface.transmit)) {
                round.put_with(metric, &labels, value as f64);
            }
        }
    });
    class(round);
    for file in ["snmp", "netstat"] {
        round.file(&format!("{base}/{file}"), |round, text| tables(round, text));
    }
    round.file(&format!("{base}/snmp6"), snmp6);
    for file in ["sockstat", "sockstat6"] {
        round.file(&format!("{base}/{file}"), sockstat);
    }
    round.file(&format!("{base}/arp"), arp);
}

/// `/sys/class/net/<device>`: state, MTU and speed.
fn class(round: &mut Round<'_>) {
    let dir = round.sys_root.join("class/net");
    let Ok(entries) = std::fs::read_dir(&dir) else { return };
    let mut devices: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|device| !device.starts_with("veth"))
        .take(DEVICES_MAX)
        .collect();
    devices.sort_unstable();
    for device in devices {
        let labels = [("device", device.as_str())];
        let dir = dir.join(&device);
        round.path(&dir.join("operstate"), |round, text| {
            round.put_with("node_network_up", &labels, f64::from(u8::from(text.trim() == "up")));
        });
        // Links without a speed say -1 or fail to be read.
        for (file, metric, factor) in [
            ("mtu", "node_network_mtu_bytes", 1.0),
            ("speed", "node_network_speed_bytes", 1e6 / 8.0),
        ] {
            round.path(&dir.join(file), |round, text| {
                if let Some(value) = super::number(text).filter(|value| *value >= 0.0) {
                    round.put_with(metric, &labels, value * factor);
                }
            });
        }
    }
}

/// Pairs of lines, `Tcp: Name1 Name2` and `Tcp: 1 2`.
fn tables(round: &mut Round<'_>, text: &str) {
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let Some((protocol, names)) = names.split_once(':') else { continue };
        let Some((_, values)) = values.split_once(':') else { continue };
        let columns = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
        for (name, value) in columns {
            statistic(round, protocol, name, value);
        }
    }
}

/// `Ip6InOctets 123` lines: the protocol is the name's part up to the `6`.
fn snmp6(round: &mut Round<'_>, text: &str) {
    for line in text.lines() {
        let mut parts = line.split_ascii_whitespace();
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let Some(end) = name.find('6') {
            let (protocol, name) = name.split_at(end + 1);
            statistic(round, protocol, name, value);
        }
    }
}

fn statistic(round: &mut Round<'_>, protocol: &str, name: &str, value: &str) {
    if is_kept(protocol, name)
        && let Some(value) = super::number(value)
    {
        round.put(&format!("node_netstat_{protocol}_{name}"), value);
    }
}

/// node_exporter's default fields.
fn is_kept(protocol: &str, name: &str) -> bool {
    if matches!(name, "InErrors" | "InErrs") {
        return true;
    }
    match protocol {
        "Ip" => name == "Forwarding",
        "Ip6" | "IpExt" => matches!(name, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(name, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            name.starts_with("Listen")
                || name.starts_with("Syncookies")
                || matches!(name, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Tcp" => matches!(
            name,
            "ActiveOpens"
                | "InSegs"
                | "OutSegs"
                | "OutRsts"
                | "PassiveOpens"
                | "RetransSegs"
                | "CurrEstab"
        ),
        "Udp" | "Udp6" => matches!(
            name,
            "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors"
        ),
        _ => false,
    }
}

/// `TCP: inuse 4 orphan 0 …` lines; `mem` counts pages and is given in bytes too.
fn sockstat(round: &mut Round<'_>, text: &str) {
    for (protocol, rest) in text.lines().filter_map(|line| line.split_once(':')) {
        let mut parts = rest.split_ascii_whitespace();
        while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
            let Some(value) = super::number(value) else { continue };
            round.put(&format!("node_sockstat_{protocol}_{name}"), value);
            if name == "mem" {
                let bytes = value * round.page_bytes;
                round.put(&format!("node_sockstat_{protocol}_mem_bytes"), bytes);
            }
        }
    }
}

fn arp(round: &mut Round<'_>, text: &str) {
    let mut entries: BTreeMap<&str, u32> = BTreeMap::new();
    for line in text.lines().skip(1) {
        if let Some(device) = line.split_ascii_whitespace().nth(5) {
            *entries.entry(device).or_default() += 1;
        }
    }
    for (device, count) in entries {
        round.put_with("node_arp_entries", &[("device", device)], f64::from(count));
    }
}

//! `ip("…")`: finding addresses in text and comparing them with one address, a range or a network.

use std::net::IpAddr;

use model::{Error, Result};

/// What an address must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpMatcher {
    /// First address, as a number; IPv4 and IPv6 are never equal.
    first: u128,
    last: u128,
    is_v6: bool,
}

impl IpMatcher {
    /// Reads `192.168.0.1`, `10.0.0.1-10.0.0.9` or `2001:db8::/32`.
    ///
    /// # Errors
    /// Invalid when it is none of these.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let invalid = || Error::invalid(format!("ip: invalid pattern {text:?}"));
        let address = |t: &str| t.trim().parse::<IpAddr>().map_err(|_| invalid());
        if let Some((network, bits)) = text.split_once('/') {
            return Self::network(address(network)?, bits.parse().map_err(|_| invalid())?)
                .ok_or_else(invalid);
        }
        let (from, to) = match text.split_once('-') {
            Some((from, to)) => (address(from)?, address(to)?),
            None => (address(text)?, address(text)?),
        };
        if from.is_ipv6() != to.is_ipv6() || number(from) > number(to) {
            return Err(invalid());
        }
        Ok(Self { first: number(from), last: number(to), is_v6: from.is_ipv6() })
    }

    fn network(address: IpAddr, prefix_bits: u32) -> Option<Self> {
        let width_bits = if address.is_ipv6() { 128 } else { 32 };
        let host_bits = u32::checked_sub(width_bits, prefix_bits)?;
        let host_mask = 1u128.checked_shl(host_bits).map_or(u128::MAX, |n| n - 1);
        let first = number(address) & !host_mask;
        Some(Self { first, last: first | host_mask, is_v6: address.is_ipv6() })
    }

    fn matches(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_v6 && (self.first..=self.last).contains(&number(address))
    }

    /// Whether some address that stands in `text` matches.
    pub(crate) fn matches_any_in(&self, text: &str) -> bool {
        let is_part = |b: &u8| match self.is_v6 {
            true => b.is_ascii_hexdigit() || matches!(b, b':' | b'.'),
            false => b.is_ascii_digit() || *b == b'.',
        };
        let bytes = text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            let len = bytes[at..].iter().take_while(|b| is_part(b)).count();
            if len == 0 {
                at += 1;
                continue;
            }
            // A run of such bytes is ASCII, so the cuts are character boundaries.
            let run = text.get(at..at + len).unwrap_or("").trim_end_matches('.');
            let candidate = run.parse::<IpAddr>();
            if candidate.is_ok_and(|a| self.matches(a)) {
                return true;
            }
            at += len;
        }
        false
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_addresses_between_other_text() {
        let net = IpMatcher::parse("10.0.0.0/8").unwrap();
        assert!(net.matches_any_in("client 10.0.0.7:80."));
        assert!(net.matches_any_in("at 10.1.2.3. Then"));
        assert!(!net.matches_any_in("v 110.1.2.3 and 10.0.0"));
        let v6 = IpMatcher::parse("2001:db8::1-2001:db8::8").unwrap();
        assert!(v6.matches_any_in("peer [2001:db8::5]") && !v6.matches_any_in("2001:db8::9"));
        for bad in ["", "x", "1.2.3.4/33", "1.2.3.9-1.2.3.1", "1.2.3.4-::1"] {
            assert!(IpMatcher::parse(bad).is_err(), "{bad}");
        }
    }
}

//! Which kind of network an IP address belongs to. Pure arithmetic: no name is looked up
//! here, and nothing is allowed or refused; `endpoint` decides that.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The kinds of address that the egress policy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Reachable over the internet.
    Public,
    /// This machine.
    Loopback,
    /// The operator's own networks: RFC 1918, unique local, carrier-grade NAT, benchmarking
    /// and documentation ranges.
    Private,
    /// Never the address of a provider: unspecified, link-local, multicast, reserved, and
    /// the addresses under which clouds hand credentials to their machines.
    Forbidden,
}

/// Addresses of metadata services that lie outside the link-local range.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

/// Classes `ip`. An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4) is as
/// private as the address it carries.
pub fn classify(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(ip) => classify_v4(ip),
        IpAddr::V6(ip) => classify_v6(ip),
    }
}

fn classify_v4(ip: Ipv4Addr) -> Class {
    let [a, b, c, _] = ip.octets();
    if METADATA_V4.contains(&ip) {
        return Class::Forbidden;
    }
    match (a, b, c) {
        (0, ..) | (169, 254, _) | (224.., ..) => Class::Forbidden,
        (127, ..) => Class::Loopback,
        (10, ..) | (172, 16..=31, _) | (192, 168, _) | (100, 64..=127, _) => Class::Private,
        (192, 0, 0) | (198, 18..=19, _) => Class::Private,
        (192, 0, 2) | (198, 51, 100) | (203, 0, 113) => Class::Private,
        _ => Class::Public,
    }
}

fn classify_v6(ip: Ipv6Addr) -> Class {
    let s = ip.segments();
    if ip == Ipv6Addr::LOCALHOST {
        return Class::Loopback;
    }
    if ip == Ipv6Addr::UNSPECIFIED || METADATA_V6.contains(&ip) {
        return Class::Forbidden;
    }
    if let Some(inner) = carried_v4(s) {
        return classify_v4(inner);
    }
    match (s[0], s[1]) {
        (0xfe80..=0xfebf, _) | (0xff00.., _) => Class::Forbidden,
        // Teredo hides an arbitrary IPv4 address behind a relay.
        (0x2001, 0) => Class::Forbidden,
        (0xfc00..=0xfdff, _) | (0xfec0..=0xfeff, _) | (0x2001, 0xdb8) => Class::Private,
        _ => Class::Public,
    }
}

fn carried_v4(s: [u16; 8]) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(a, b, c, d))
    };
    match s {
        // IPv4-mapped (RFC 4291) and the deprecated IPv4-compatible form.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] => join(high, low),
        // SIIT (RFC 2765) and the two NAT64 prefixes (RFC 6052, RFC 8215).
        [0, 0, 0, 0, 0xffff, 0, high, low] => join(high, low),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x64, 0xff9b, 1, _, _, _, high, low] => join(high, low),
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => join(high, low),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_special_range_is_known_at_its_edges() {
        let table = [
            (Class::Public, "9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 192.167.255.255 192.169.0.0"),
            (Class::Public, "100.63.255.255 100.128.0.0 169.253.255.255 169.255.0.0 223.255.255.255 1.1.1.1"),
            (Class::Public, "2606:4700::1111 64:ff9b::808:808 ::ffff:8.8.8.8 2002:808:808::1 2a00:1450::1"),
            (Class::Loopback, "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 ::127.0.0.1"),
            (Class::Private, "10.0.0.0 10.255.255.255 172.16.0.0 172.31.255.255 192.168.0.0 192.168.255.255"),
            (Class::Private, "100.64.0.0 100.127.255.255 198.18.0.1 198.19.255.255 192.0.2.1 203.0.113.9"),
            (
                Class::Private,
                "fc00::1 fdff::1 fec0::1 ::ffff:10.0.0.1 2002:a00:1::1 2001:db8::1 64:ff9b:1::a00:1",
            ),
            (Class::Forbidden, "0.0.0.0 0.1.2.3 169.254.0.0 169.254.169.254 169.254.255.255 224.0.0.1"),
            (Class::Forbidden, "240.0.0.1 255.255.255.255 100.100.100.200 192.0.0.192 168.63.129.16"),
            (
                Class::Forbidden,
                ":: fe80::1 febf::1 ff02::1 fd00:ec2::254 ::ffff:169.254.169.254 ::ffff:0.0.0.0",
            ),
            (Class::Forbidden, "64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 2001::1"),
        ];
        for (class, addresses) in table {
            for text in addresses.split(' ') {
                assert_eq!(classify(text.parse().unwrap()), class, "{text}");
            }
        }
    }
}

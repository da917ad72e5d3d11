//! Services of the gateway's own machine, as text.

use vgw_sa::{HostService, Transport};

use super::Refusal;

/// What a service may look like.
const EXPECTED: &str =
    "\"all\", or a protocol and its port or ports: \"tcp/22\", \"udp/5000-5010\"";

/// Reads `tcp/22`, `udp/5000-5010` or `all`.
///
/// # Errors
/// If it is none of these, or a port is 0 or above 65535, or the last is below the first.
pub fn host_service(text: &str) -> Result<HostService, Refusal> {
    let refusal = || Refusal::new(format!("{text:?}"), EXPECTED);
    if text == "all" {
        return Ok(HostService::All);
    }
    let (protocol, ports) = text.split_once('/').ok_or_else(refusal)?;
    let protocol = match protocol {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => return Err(refusal()),
    };
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    match (port(first), port(last)) {
        (Some(first), Some(last)) if first <= last => Ok(HostService::Ports {
            protocol,
            first,
            last,
        }),
        _ => Err(refusal()),
    }
}

fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port != 0)
}

#[cfg(test)]
mod tests {
    use super::{HostService, Transport, host_service};

    #[test]
    fn a_service_is_a_protocol_and_its_ports_or_all() {
        let ports = |protocol, first, last| HostService::Ports {
            protocol,
            first,
            last,
        };
        for (text, service) in [
            ("all", HostService::All),
            ("tcp/22", ports(Transport::Tcp, 22, 22)),
            ("udp/1-65535", ports(Transport::Udp, 1, 65_535)),
        ] {
            assert_eq!(host_service(text), Ok(service));
        }
        for text in [
            "",
            "tcp",
            "tcp/",
            "tcp/0",
            "tcp/65536",
            "tcp/+22",
            "tcp/22-21",
            "tcp/22-",
            "icmp/8",
            "TCP/22",
            "tcp/ssh",
            "22/tcp",
            "All",
        ] {
            let refusal = host_service(text).unwrap_err();
            assert!(refusal.expected.contains("udp/5000-5010"), "{text}");
        }
    }
}

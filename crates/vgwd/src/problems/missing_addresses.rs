//! Outside addresses that this machine does not have, not yet or not any more. Sockets are
//! bound to them all the same (`vgw_dataplane`, `io/sockets`).

use std::collections::BTreeMap;
use std::net::IpAddr;

/// Those that are missing now.
#[derive(Debug, Default)]
pub struct MissingAddresses {
    lines: BTreeMap<IpAddr, String>,
}

impl MissingAddresses {
    /// Takes the addresses that are missing now, logs what is new, and gives those that are
    /// there again.
    pub fn update(&mut self, missing: &[IpAddr]) -> Vec<IpAddr> {
        let known = std::mem::take(&mut self.lines);
        for address in missing {
            let line = line(*address);
            if !known.contains_key(address) {
                tracing::warn!("{line}");
            }
            self.lines.insert(*address, line);
        }
        let back = known.into_keys();
        let back: Vec<IpAddr> = back.filter(|known| !missing.contains(known)).collect();
        for address in &back {
            tracing::info!("outside address {address} is there now");
        }
        back
    }

    /// A line for each, with what to do.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.lines.values()
    }
}

fn line(address: IpAddr) -> String {
    let whole = if address.is_ipv4() { 32 } else { 128 };
    format!(
        "outside address {address} is not an address of this machine: its tunnels wait until it \
         is. `ip address` shows those that are; `ip address add {address}/{whole} dev LINK` adds \
         it, or correct gateway.outside_addresses"
    )
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::MissingAddresses;

    #[test]
    fn an_address_is_told_of_while_it_is_missing_and_given_when_it_comes() {
        let [a, b]: [IpAddr; 2] = ["203.0.113.1", "2001:db8::1"].map(|a| a.parse().unwrap());
        let mut absent = MissingAddresses::default();
        assert!(absent.update(&[a, b]).is_empty());
        let lines: Vec<&String> = absent.lines().collect();
        assert!(lines[0].contains("ip address add 203.0.113.1/32 "));
        assert!(lines[1].contains("ip address add 2001:db8::1/128 "));
        assert_eq!(absent.update(&[b]), [a]);
        assert_eq!(absent.update(&[a]), [b]);
        assert_eq!(absent.update(&[]), [a]);
        assert_eq!(absent.lines().next(), None);
    }
}

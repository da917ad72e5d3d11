//! Packets that this machine's own kernel refuses to send: its firewall forbids them, or it
//! has no route.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::StandingProblems;

/// For so long a refusal is reported, unless something was sent since: longer than the pause
/// between two attempts to initiate.
const MEMORY: Duration = Duration::from_secs(60);
/// Peers whose refusals are remembered: strangers, whose requests are answered, can be many.
const PEERS: usize = 64;

/// What forbids it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// A chain of the firewall, nftables' or iptables'.
    Firewall,
    /// There is no route, or one that forbids.
    Routes,
}

impl Cause {
    /// What caused this error; None for one that is like a loss on the way.
    fn of(error: &io::Error) -> Option<Self> {
        match error.raw_os_error()? {
            libc::EPERM => Some(Self::Firewall),
            libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES => Some(Self::Routes),
            _ => None,
        }
    }
}

/// What was refused of late.
#[derive(Debug, Default)]
pub struct SendErrors {
    /// IKE messages, by our address and the peer's.
    ike: BTreeMap<(IpAddr, IpAddr), (Cause, Instant)>,
    esp: Option<(Cause, Instant)>,
    problems: StandingProblems,
}

impl SendErrors {
    /// An IKE message was sent, or not.
    pub fn note_ike(&mut self, now: Instant, local: IpAddr, remote: IpAddr, sent: &io::Result<()>) {
        let ends = (local, remote);
        match sent.as_ref().map_err(Cause::of) {
            Ok(()) => drop(self.ike.remove(&ends)),
            Err(Some(cause)) if self.ike.len() < PEERS || self.ike.contains_key(&ends) => {
                self.ike.insert(ends, (cause, now));
            }
            Err(_) => {}
        }
    }

    /// Takes the error of the last ESP packet that was not sent since the last call, forgets
    /// what is over, and logs what is new. `missing` addresses have no routes, which is reported
    /// already.
    pub fn update(&mut self, now: Instant, esp: Option<&io::Error>, missing: &[IpAddr]) {
        if let Some(cause) = esp.and_then(Cause::of) {
            self.esp = Some((cause, now));
        }
        let fresh = |at: Instant| now.saturating_duration_since(at) < MEMORY;
        self.ike
            .retain(|(local, _), (_, at)| fresh(*at) && !missing.contains(local));
        self.esp = self
            .esp
            .filter(|(cause, at)| fresh(*at) && (*cause == Cause::Firewall || missing.is_empty()));
        self.problems.update(self.now());
    }

    /// A line for each problem, with what to look at.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        self.problems.lines()
    }

    /// The problems that there are now. For each of our addresses one peer stands for all.
    fn now(&self) -> BTreeSet<String> {
        let mut told: BTreeMap<IpAddr, String> = BTreeMap::new();
        for ((local, remote), (cause, _)) in &self.ike {
            told.entry(*local).or_insert_with(|| match cause {
                Cause::Firewall => format!(
                    "this machine's firewall refuses to send IKE messages from {local} to \
                     {remote} (EPERM): see its output chain by `nft list ruleset`, and let UDP \
                     from ports 500 and 4500 pass"
                ),
                Cause::Routes => format!(
                    "this machine has no route for IKE messages from {local} to {remote}: \
                     `ip route get {remote} from {local}`"
                ),
            });
        }
        let esp = self.esp.map(|(cause, _)| match cause {
            Cause::Firewall => "this machine's firewall refuses to send ESP packets (EPERM): see \
                                its output chain by `nft list ruleset`, and let protocol 50 and \
                                UDP from port 4500 pass"
                .to_owned(),
            Cause::Routes => "this machine has no route for ESP packets to a peer: `ip route get \
                              PEER from OUTSIDE_ADDRESS`"
                .to_owned(),
        });
        told.into_values().chain(esp).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::{Duration, Instant};

    use super::{MEMORY, PEERS, SendErrors};

    fn refused(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    fn lines(unsent: &SendErrors) -> Vec<&str> {
        unsent.lines().map(String::as_str).collect()
    }

    #[test]
    fn what_the_firewall_or_the_routes_refuse_is_told_until_it_goes_out_or_is_long_ago() {
        let [local, peer]: [IpAddr; 2] = ["203.0.113.1", "192.0.2.1"].map(|a| a.parse().unwrap());
        let start = Instant::now();
        for (errno, words) in [
            (
                libc::EPERM,
                "firewall refuses to send IKE messages from 203.0.113.1 to 192.0.2.1",
            ),
            (
                libc::ENETUNREACH,
                "`ip route get 192.0.2.1 from 203.0.113.1`",
            ),
        ] {
            let mut unsent = SendErrors::default();
            let note = |unsent: &mut SendErrors, sent| {
                unsent.note_ike(start, local, peer, &sent);
                unsent.update(start, None, &[]);
            };
            note(&mut unsent, Err(refused(errno)));
            assert!(lines(&unsent)[0].contains(words), "{unsent:?}");
            note(&mut unsent, Ok(()));
            assert!(lines(&unsent).is_empty());
            note(&mut unsent, Err(refused(errno)));
            unsent.update(start + MEMORY, None, &[]);
            assert!(lines(&unsent).is_empty());
        }
    }

    #[test]
    fn esp_is_told_of_apart_and_losses_are_nobody_s_fault() {
        let now = Instant::now();
        let mut unsent = SendErrors::default();
        unsent.update(now, Some(&refused(libc::ENOBUFS)), &[]);
        assert!(lines(&unsent).is_empty());
        unsent.update(now, Some(&refused(libc::EPERM)), &[]);
        assert!(lines(&unsent)[0].contains("ESP packets (EPERM)"));
        unsent.update(now + Duration::from_secs(1), None, &[]);
        assert_eq!(lines(&unsent).len(), 1);
        unsent.update(now + MEMORY, None, &[]);
        assert!(lines(&unsent).is_empty());
    }

    #[test]
    fn an_address_that_is_missing_has_no_routes_and_that_is_said_elsewhere() {
        let [local, peer]: [IpAddr; 2] = ["203.0.113.1", "192.0.2.1"].map(|a| a.parse().unwrap());
        let now = Instant::now();
        let mut unsent = SendErrors::default();
        unsent.note_ike(now, local, peer, &Err(refused(libc::ENETUNREACH)));
        let esp = refused(libc::ENETUNREACH);
        unsent.update(now, Some(&esp), &[local]);
        assert!(lines(&unsent).is_empty(), "{unsent:?}");
    }

    #[test]
    fn many_strangers_take_no_more_room_than_a_few_and_one_line() {
        let local = Ipv4Addr::new(203, 0, 113, 1).into();
        let now = Instant::now();
        let mut unsent = SendErrors::default();
        for number in 0..1000 {
            let stranger = Ipv4Addr::from(0xC000_0200 + number).into();
            unsent.note_ike(now, local, stranger, &Err(refused(libc::EPERM)));
        }
        unsent.update(now, None, &[]);
        assert_eq!((unsent.ike.len(), lines(&unsent).len()), (PEERS, 1));
    }
}

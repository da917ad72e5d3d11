//! Whether the negotiated traffic selectors and the configured networks meet. A tunnel can
//! be up where they do not; nothing then says why packets vanish.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use vgw_ike::bounded_text::{NAMED, few};
use vgw_sa::{GatewayId, TrafficSelector, TunnelId};

use super::tunnel::Tunnel;
use super::{Change, ConnectionState, Supervisor};
use crate::domain::{Connection, Gateway, NetworkOptions};

/// A peer with several CHILD SAs has them up after so long.
const SETTLED: Duration = Duration::from_secs(5);

/// Where the networks behind one peer matter to other tunnels, all are compared, so many
/// at once with a pause between: there may be thousands.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(10);

/// All tunnels are compared, one after the other.
#[derive(Debug)]
pub(super) struct ComparisonRound {
    pub(super) due: Instant,
    next: TunnelId,
    /// Something has changed since it began.
    again: bool,
}

impl ComparisonRound {
    fn new(now: Instant) -> Self {
        Self {
            due: now + SETTLED,
            next: TunnelId::MIN,
            again: false,
        }
    }
}

impl Supervisor {
    /// Where the networks of a tunnel that is up do not meet. What was found last is still
    /// so, unless something has changed since.
    pub(super) fn mismatches_of(&self, pair: &ConnectionState, tunnel: &Tunnel) -> Vec<String> {
        if !tunnel.is_narrow() {
            return Vec::new();
        }
        if tunnel.compare_at.is_none() {
            return tunnel.mismatches.clone();
        }
        self.find_mismatches(pair, tunnel)
    }

    /// What is wrong between the traffic selectors of a tunnel that is up, our side's and the
    /// peer's, and the configuration: a sentence for each side, with both lists, what becomes
    /// of packets, and what to change. Selectors of everything are right with anything.
    fn find_mismatches(&self, pair: &ConnectionState, tunnel: &Tunnel) -> Vec<String> {
        let (local, remote) = tunnel.sas.selectors();
        let (gateway, connection) = (self.revision.own(), &pair.connection);
        let sides = [
            of_the_peer(gateway, connection, &remote),
            of_ours(gateway, connection, &local, |selected| {
                self.networks_of_others(gateway.id, pair, selected)
            }),
        ];
        sides.into_iter().flatten().collect()
    }

    /// The networks behind a gateway's other peers that have an address of these.
    fn networks_of_others(
        &self,
        gateway: GatewayId,
        pair: &ConnectionState,
        among: &[Span],
    ) -> Vec<Span> {
        let between = among.iter().flat_map(|span| {
            let (first, last) = span.ends();
            self.outbox.tables.between(gateway, first, last)
        });
        let others = between.filter(|(_, hop)| !pair.tunnels.contains(&hop.carrier));
        let nets: Vec<IpNet> = others.map(|(net, _)| net).collect();
        spans(&nets)
    }

    /// Warns of what does not meet, once, when it is time to.
    pub(super) fn compare(&mut self, now: Instant, id: TunnelId) {
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.compare_at.is_none_or(|at| now < at) {
            return;
        }
        tunnel.compare_at = None;
        let Some(tunnel) = self.tunnels.get(&id) else {
            return;
        };
        let pair = self.connections.get(&tunnel.name.connection);
        let pair = pair.filter(|_| tunnel.is_narrow());
        let found = pair.map(|pair| self.find_mismatches(pair, tunnel));
        let found = found.unwrap_or_default();
        let Some(tunnel) = self.tunnels.get_mut(&id) else {
            return;
        };
        if tunnel.mismatches == found || !tunnel.sas.usable() {
            return;
        }
        for text in &found {
            tunnel.warn(now, None, || text.clone());
        }
        tunnel.mismatches = found;
    }

    /// Whether what a tunnel of another connection is compared with may have changed.
    pub(super) fn concerns_others(&self, change: &Change) -> bool {
        let among = |fields: &[&str], those: &[&str]| fields.iter().any(|f| those.contains(f));
        match change {
            Change::Gateway(fields) => among(fields, &["side", "cidrs", "cloudhub"]),
            Change::ConnectionAdded(_) | Change::ConnectionRemoved(_) => {
                self.revision.own().cloudhub
            }
            Change::Connection { fields, .. } => {
                self.revision.own().cloudhub && among(fields, &["static_routes", "vpc_cidrs"])
            }
            Change::TunnelAdjusted { .. } | Change::TunnelRestarted { .. } => false,
        }
    }

    /// Has all tunnels compared. A round that is under way goes on, and another follows.
    pub(super) fn compare_all_soon(&mut self, now: Instant) {
        let round = self
            .comparison_round
            .get_or_insert_with(|| ComparisonRound::new(now));
        round.again = round.next != TunnelId::MIN;
    }

    /// Compares the next tunnels of a round, if it is time to.
    pub(super) fn continue_comparing(&mut self, now: Instant) {
        let Some(round) = self.comparison_round.take_if(|round| round.due <= now) else {
            return;
        };
        let mut rest = self
            .tunnels
            .range_mut(round.next..)
            .map(|(_, tunnel)| tunnel);
        let mut compared = Vec::new();
        for tunnel in rest.by_ref().take(AT_ONCE) {
            compared.push(tunnel.id);
            if tunnel.sas.usable() && tunnel.is_narrow() {
                tunnel.compare_at.get_or_insert(now);
                self.touched.insert(tunnel.id);
            }
        }
        self.comparison_round = match rest.next() {
            Some(tunnel) => Some(ComparisonRound {
                due: now + PAUSE,
                next: tunnel.id,
                ..round
            }),
            None => round.again.then(|| ComparisonRound::new(now)),
        };
        for id in compared {
            self.reword(now, id);
        }
    }
}

impl Tunnel {
    /// Whether it has selectors that are not right with everything.
    pub(super) fn is_narrow(&self) -> bool {
        let (local, remote) = self.sas.selectors();
        let is_none = local.is_empty();
        let fits_all = is_everything(&local) && is_everything(&remote);
        !is_none && !fits_all
    }

    /// Its selectors, or what they are compared with, have changed.
    pub(super) fn compare_soon(&mut self, now: Instant) {
        self.compare_at = Some(now + SETTLED);
    }
}

/// Whether all addresses are selected that there are.
fn is_everything(selectors: &[TrafficSelector]) -> bool {
    let everything = |selector: &TrafficSelector| Span::from(selector).is_everything();
    !selectors.is_empty() && selectors.iter().all(everything)
}

/// What is routed into the tunnel, and what the peer said that it has.
fn of_the_peer(
    gateway: &Gateway,
    connection: &Connection,
    selectors: &[TrafficSelector],
) -> Option<String> {
    let key = gateway.side.network_options().their_networks;
    let routes = gateway.remote_prefixes(connection);
    let (selected, known) = (spans_of(selectors), spans(routes));
    let lost = minus(&known, &selected);
    let strange = minus(&concrete(&selected), &with_inside(connection, &known));
    let lost = (!lost.is_empty()).then(|| {
        format!(
            "what is sent to {} is dropped (outside_selectors)",
            list(&lost)
        )
    });
    let strange = (!strange.is_empty()).then(|| {
        let strange = list(&strange);
        if connection.source_check {
            format!("what comes from {strange} is dropped (source_not_routed)")
        } else {
            format!("answers to {strange} do not enter the tunnel")
        }
    });
    let consequences = joined([lost, strange])?;
    let change = typed(&concrete(&selected)).map_or_else(String::new, |selected| {
        format!("{key} = [{selected}] here, or ")
    });
    let (routes, selected) = (list(&known), list(&selected));
    Some(format!(
        "the peer's networks are {selected} by its traffic selectors, and {routes} by {key}: \
         {consequences}; set {change}{routes} at the peer as its local networks"
    ))
}

/// What we have, and what of it the peer wants. `others` gives the networks behind other
/// peers that have an address of some.
fn of_ours(
    gateway: &Gateway,
    connection: &Connection,
    selectors: &[TrafficSelector],
    others: impl FnOnce(&[Span]) -> Vec<Span>,
) -> Option<String> {
    let NetworkOptions {
        our_networks: key,
        our_selectors,
        ..
    } = gateway.side.network_options();
    let (permitted, _) = gateway.selectors(connection);
    let (selected, known) = (spans_of(selectors), spans(&gateway.cidrs));
    // What we do not permit ourselves is not missed.
    let forbidden = minus(&known, &spans(permitted));
    let wanted = minus(&known, &forbidden);
    let lost = minus(&wanted, &selected);
    let mut there = with_inside(connection, &known);
    if gateway.cloudhub {
        there.extend(others(&concrete(&selected)));
    }
    let strange = minus(&concrete(&selected), &there);
    let lost = (!lost.is_empty())
        .then(|| format!("what {} sends is dropped (outside_selectors)", list(&lost)));
    let strange = (!strange.is_empty()).then(|| {
        format!(
            "what comes for {} is dropped (unknown_destination)",
            list(&strange)
        )
    });
    let concrete = concrete(&selected);
    let change = match (&strange, typed(&concrete)) {
        (None, Some(one)) if !one.contains(',') => {
            let option = our_selectors.of(concrete.iter().any(|span| span.v6));
            format!("; if it is to reach no more, {option} = {one} here")
        }
        (Some(_), Some(selected)) => format!(", or {key} = [{selected}] here"),
        _ => String::new(),
    };
    let consequences = joined([lost, strange])?;
    let (known, selected) = (list(&known), list(&selected));
    Some(format!(
        "our networks are {selected} by the peer's traffic selectors, and {known} by {key}: \
         {consequences}; set {known} at the peer as its remote networks{change}"
    ))
}

fn joined(consequences: [Option<String>; 2]) -> Option<String> {
    let said: Vec<String> = consequences.into_iter().flatten().collect();
    (!said.is_empty()).then(|| said.join(", "))
}

/// A range of addresses of one family, as numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Span {
    v6: bool,
    first: u128,
    last: u128,
}

impl Span {
    fn new(first: IpAddr, last: IpAddr) -> Self {
        let number = |address| match address {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        Self {
            v6: first.is_ipv6(),
            first: number(first),
            last: number(last),
        }
    }

    fn is_everything(self) -> bool {
        let last = if self.v6 { u128::MAX } else { u32::MAX.into() };
        (self.first, self.last) == (0, last)
    }

    /// Its first address and its last.
    fn ends(self) -> (IpAddr, IpAddr) {
        let address = |number: u128| match u32::try_from(number) {
            Ok(number) if !self.v6 => IpAddr::V4(number.into()),
            _ => IpAddr::V6(number.into()),
        };
        (address(self.first), address(self.last))
    }

    /// What is left of it without another.
    fn without(self, other: Self) -> impl Iterator<Item = Self> {
        let apart = self.v6 != other.v6 || other.last < self.first || self.last < other.first;
        let below = other.first.checked_sub(1).map(|last| Self { last, ..self });
        let above = other
            .last
            .checked_add(1)
            .map(|first| Self { first, ..self });
        let parts = if apart {
            [Some(self), None]
        } else {
            [below, above]
        };
        parts
            .into_iter()
            .flatten()
            .filter(|part| part.first <= part.last)
    }
}

/// As a prefix if it is one, else as first and last address.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ends();
        let range = TrafficSelector {
            first,
            last,
            ..TrafficSelector::from(IpNet::default())
        };
        range.fmt(f)
    }
}

impl From<&TrafficSelector> for Span {
    /// Whatever protocol and ports it is for.
    fn from(selector: &TrafficSelector) -> Self {
        Self::new(selector.first, selector.last)
    }
}

fn spans(nets: &[IpNet]) -> Vec<Span> {
    let each = nets
        .iter()
        .map(|net| Span::new(net.network(), net.broadcast()));
    merged(each.collect())
}

/// Several CHILD SAs, or several ports, may select the same addresses.
fn spans_of(selectors: &[TrafficSelector]) -> Vec<Span> {
    merged(selectors.iter().map(Span::from).collect())
}

/// In ascending order, with gaps between them.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable_by_key(|span| (span.v6, span.first));
    spans.dedup_by(|next, span| {
        let adjacent = span
            .last
            .checked_add(1)
            .is_none_or(|after| next.first <= after);
        let joins = next.v6 == span.v6 && adjacent;
        if joins {
            span.last = span.last.max(next.last);
        }
        joins
    });
    spans
}

/// What selects certain networks; everything is no claim to have it all.
fn concrete(spans: &[Span]) -> Vec<Span> {
    let spans = spans.iter().copied();
    spans.filter(|span| !span.is_everything()).collect()
}

/// With the tunnels' inside addresses, which need no route.
fn with_inside(connection: &Connection, known: &[Span]) -> Vec<Span> {
    let inside = connection
        .tunnels
        .each_ref()
        .map(|tunnel| IpNet::V4(tunnel.inside_cidr));
    let mut all = known.to_vec();
    all.extend(spans(&inside));
    all
}

/// What is in the one and not in the other.
fn minus(from: &[Span], what: &[Span]) -> Vec<Span> {
    let mut left = from.to_vec();
    for span in what {
        left = left
            .into_iter()
            .flat_map(|part| part.without(*span))
            .collect();
    }
    left
}

fn list(spans: &[Span]) -> String {
    few(spans, spans.len(), ", ", Span::to_string)
}

/// As a configuration has them; None if they are not prefixes, or too many for a line.
fn typed(spans: &[Span]) -> Option<String> {
    if spans.is_empty() || spans.len() > NAMED {
        return None;
    }
    let prefixes: Option<Vec<String>> = spans
        .iter()
        .map(|span| span.to_string().parse::<IpNet>().ok())
        .map(|net| net.map(|net| format!("\"{net}\"")))
        .collect();
    prefixes.map(|prefixes| prefixes.join(", "))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::collection::vec;
    use proptest::prelude::{Strategy, any, proptest};

    use super::{Span, list, merged, minus};

    /// A few addresses at either end of either family.
    fn address() -> impl Strategy<Value = (bool, bool, u8)> {
        (any::<bool>(), any::<bool>(), 0..24_u8)
    }

    fn number((v6, high, low): (bool, bool, u8)) -> u128 {
        let last = if v6 { u128::MAX } else { u32::MAX.into() };
        let low = u128::from(low);
        if high { last - low } else { low }
    }

    fn span() -> impl Strategy<Value = Span> {
        (address(), address()).prop_map(|(one, (_, high, low))| {
            let v6 = one.0;
            let (one, other) = (number(one), number((v6, high, low)));
            Span {
                v6,
                first: one.min(other),
                last: one.max(other),
            }
        })
    }

    fn contains(spans: &[Span], v6: bool, address: u128) -> bool {
        spans
            .iter()
            .any(|span| span.v6 == v6 && (span.first..=span.last).contains(&address))
    }

    proptest! {
        #[test]
        fn an_address_is_left_if_it_is_in_the_one_and_not_in_the_other(
            from in vec(span(), 0..4),
            what in vec(span(), 0..4),
            address in address(),
        ) {
            let (v6, at) = (address.0, number(address));
            let left = minus(&merged(from.clone()), &merged(what.clone()));
            let expected = contains(&from, v6, at) && !contains(&what, v6, at);
            assert_eq!(contains(&left, v6, at), expected);
        }

        #[test]
        fn merged_spans_hold_the_same_addresses_and_have_gaps_between_them(
            spans in vec(span(), 0..6),
            address in address(),
        ) {
            let (v6, at) = (address.0, number(address));
            let merged = merged(spans.clone());
            assert_eq!(contains(&merged, v6, at), contains(&spans, v6, at));
            for pair in merged.windows(2) {
                let apart = pair[0].v6 != pair[1].v6 || pair[0].last + 1 < pair[1].first;
                assert!(apart, "{merged:?}");
            }
        }
    }

    #[test]
    fn what_is_left_is_shown_as_prefixes_where_it_is_some() {
        let v4 = |text: &str| text.parse::<Ipv4Addr>().unwrap().into();
        let span = |first: &str, last: &str| Span::new(v4(first), v4(last));
        let whole = [span("10.0.0.0", "10.0.255.255")];
        let part = [span("10.0.0.0", "10.0.127.255")];
        assert_eq!(list(&minus(&whole, &part)), "10.0.128.0/17");
        let middle = [span("10.0.5.0", "10.0.5.255")];
        let around = "10.0.0.0-10.0.4.255, 10.0.6.0-10.0.255.255";
        assert_eq!(list(&minus(&whole, &middle)), around);
        let v6: IpAddr = Ipv6Addr::UNSPECIFIED.into();
        let everything = Span::new(v6, Ipv6Addr::from(u128::MAX).into());
        assert_eq!(list(&minus(&whole, &[everything])), "10.0.0.0/16");
        assert_eq!(list(&[everything]), "::/0");
    }
}

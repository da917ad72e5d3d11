//! Every metric of the gateway: its name, its help text, and its value in a sample, as
//! OpenMetrics text.

use std::fmt::Error;
use std::net::IpAddr;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, MetricEncoder,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use vgw_ike::event::PeerCounters;
use vgw_sa::TunnelTraffic;

use super::process::{NoExemplar, Process};
use crate::inbox::MessageCounts;
use crate::logging::LostLines;

/// Everything that is measured, at one moment.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Every configured tunnel.
    pub tunnels: Vec<TunnelSample>,
    /// Dropped packets by reason, every reason.
    pub drops: Vec<(&'static str, u64)>,
    /// Batches that the kernel refused, by where.
    pub refused_batches: [(&'static str, u64); 2],
    /// Log lines that were not written.
    pub log: LostLines,
    /// IKE messages that arrived.
    pub ike: MessageCounts,
    /// IKE SAs whose peer has not authenticated yet.
    pub half_open: usize,
    /// IKE messages that came to nothing, every reason.
    pub denied: Vec<(&'static str, u64)>,
    /// Key pairs made.
    pub key_pairs: u64,
    /// When the daemon started, seconds since 1970.
    pub started: f64,
    /// The last reload.
    pub reloaded: LastReload,
}

/// How the last reload went, or if there was none, the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct LastReload {
    /// Whether the configuration was put in force.
    pub succeeded: bool,
    /// When one was last put in force, seconds since 1970.
    pub succeeded_at: f64,
    /// What it took until then, or until it was refused, seconds.
    pub took: f64,
}

/// One tunnel.
#[derive(Debug, Clone)]
pub struct TunnelSample {
    /// The connection's name.
    pub connection: String,
    /// 1 or 2.
    pub number: u8,
    /// The virtual private gateway's outside address (AWS: TunnelIpAddress).
    pub tunnel_ip_address: IpAddr,
    /// AWS: TunnelState.
    pub up: bool,
    /// Whether it carries its connection's outbound traffic.
    pub active: bool,
    /// The largest packet inside that is not fragmented outside, octets; 0
    /// while there is no SA to send with.
    pub mtu: usize,
    /// What the data plane counted.
    pub traffic: TunnelTraffic,
    /// What the negotiator counted.
    pub counters: PeerCounters,
    /// SAs and paths that the data plane refused.
    pub changes_refused: u64,
    /// The peer seems not to be there.
    pub suspect: bool,
    /// How often its connection's traffic moved to it.
    pub takeovers: u64,
    /// Packets are sent and none comes back, though the peer answers IKE.
    pub one_way: bool,
    /// ESP is in UDP, because nothing came back by IP protocol 50.
    pub udp_fallback: bool,
}

/// A sample as text, in the format of `application/openmetrics-text`.
///
/// # Errors
/// When a value cannot be written as text.
pub fn text(sample: Sample, process: Process) -> Result<String, Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(process));
    let ours = registry.sub_registry_with_prefix("vgw");
    ours.register_collector(Box::new(sample));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let metric = &mut encoder;
        self.gauges(
            metric,
            "tunnel_state",
            "1 while the tunnel is up, 0 while it is down (AWS: TunnelState)",
            |t| i64::from(t.up),
        )?;
        self.gauges(
            metric,
            "tunnel_active",
            "1 while the tunnel carries its connection's outbound traffic",
            |t| i64::from(t.active),
        )?;
        self.gauges(
            metric,
            "tunnel_suspect",
            "1 while the peer seems not to be there: it is being asked, or does not answer",
            |t| i64::from(t.suspect),
        )?;
        self.gauges(
            metric,
            "tunnel_one_way",
            "1 while packets are sent through the tunnel and none comes back, though the peer answers IKE",
            |t| i64::from(t.one_way),
        )?;
        self.gauges(
            metric,
            "tunnel_udp_fallback",
            "1 while ESP goes in UDP because nothing came back by IP protocol 50",
            |t| i64::from(t.udp_fallback),
        )?;
        self.gauges(
            metric,
            "tunnel_mtu_bytes",
            "The largest packet inside that is not fragmented outside, 0 while the tunnel cannot send",
            |t| i64::try_from(t.mtu).unwrap_or(i64::MAX),
        )?;
        self.counters(
            metric,
            "tunnel_takeovers",
            "Times that the connection's outbound traffic moved to this tunnel",
            |t| t.takeovers,
        )?;
        self.counters(
            metric,
            "tunnel_data_in_bytes",
            "Octets received through the tunnel, after decryption (AWS: TunnelDataIn)",
            |t| t.traffic.bytes_in,
        )?;
        self.counters(
            metric,
            "tunnel_data_out_bytes",
            "Octets sent through the tunnel, before encryption (AWS: TunnelDataOut)",
            |t| t.traffic.bytes_out,
        )?;
        self.counters(
            metric,
            "tunnel_packets_in",
            "Packets received through the tunnel that passed authentication",
            |t| t.traffic.packets_in,
        )?;
        self.counters(
            metric,
            "tunnel_packets_out",
            "Packets sent through the tunnel",
            |t| t.traffic.packets_out,
        )?;
        self.counters(metric, "ike_established", "IKE SAs established", |t| {
            t.counters.ike_established
        })?;
        self.counters(
            metric,
            "ike_rekeys",
            "IKE SAs rekeyed, by either side",
            |t| t.counters.ike_rekeys,
        )?;
        self.counters(
            metric,
            "child_rekeys",
            "CHILD SAs rekeyed, by either side",
            |t| t.counters.child_rekeys,
        )?;
        self.counters(
            metric,
            "rekeys_refused",
            "Rekeys of IKE and CHILD SAs refused, by either side",
            |t| t.counters.rekeys_refused,
        )?;
        self.counters(
            metric,
            "tunnel_changes_refused",
            "SAs and paths that the data plane refused",
            |t| t.changes_refused,
        )?;
        self.counters(
            metric,
            "ike_retransmissions",
            "IKE requests sent again for want of an answer",
            |t| t.counters.retransmissions,
        )?;
        self.counters(
            metric,
            "ike_duplicates",
            "IKE requests of the peer seen again",
            |t| t.counters.duplicates,
        )?;
        self.counters(
            metric,
            "ike_messages_dropped",
            "IKE messages dropped: malformed, unauthentic or out of place",
            |t| t.counters.dropped.total(),
        )?;
        self.counters(
            metric,
            "path_changes",
            "Moves of the peer to another address or port, each proved",
            |t| t.counters.path_changes,
        )?;
        self.drops(metric)?;
        let help =
            "Batches that the kernel refused and whose packets then went one by one, by where";
        let refused = ("where", &self.refused_batches[..]);
        family(metric, "refused_batches", help, refused)?;
        self.ike_messages(metric)?;
        self.log_lines(metric)?;
        let help = "IKE messages that were refused, dropped or answered by a question, whoever sent them, by reason";
        family(metric, "ike_denied", help, ("reason", &self.denied))?;
        metric
            .encode_descriptor(
                "ike_key_pairs",
                "Key pairs made for key exchanges",
                None,
                MetricType::Counter,
            )?
            .encode_counter::<NoExemplar, _, u64>(&self.key_pairs, None)?;
        metric
            .encode_descriptor(
                "ike_half_open",
                "IKE SAs whose peer has not authenticated yet",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::try_from(self.half_open).unwrap_or(i64::MAX))?;
        self.daemon(metric)
    }
}

impl Sample {
    fn gauges(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&TunnelSample) -> i64,
    ) -> Result<(), Error> {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        self.tunnels
            .iter()
            .try_for_each(|tunnel| gauge(&mut metric, tunnel, &value(tunnel)))
    }

    fn counters(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&TunnelSample) -> u64,
    ) -> Result<(), Error> {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        self.tunnels
            .iter()
            .try_for_each(|tunnel| counter(&mut metric, tunnel, &value(tunnel)))
    }

    fn drops(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help =
            "Packets dropped by the data plane, by reason; with ESN, late ones are not_authentic";
        family(encoder, "dropped_packets", help, ("reason", &self.drops))
    }

    fn ike_messages(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let MessageCounts {
            received,
            dropped,
            begins,
            unknown_spi,
        } = &self.ike;
        family(
            encoder,
            "ike_messages_received",
            "Well-formed IKE messages that arrived, by whose they may be",
            ("class", received),
        )?;
        family(
            encoder,
            "ike_messages_unread",
            "IKE messages dropped before they were read, by reason",
            ("reason", dropped),
        )?;
        for (name, help, count) in [
            (
                "ike_sa_init_requests",
                "Requests for a new IKE SA that arrived, whoever sent them",
                begins,
            ),
            (
                "ike_messages_of_unknown_spi",
                "IKE messages that arrived and name no IKE SA",
                unknown_spi,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoExemplar, _, u64>(count, None)?;
        }
        Ok(())
    }

    /// What runs, and by which configuration.
    fn daemon(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let LastReload {
            succeeded,
            succeeded_at,
            took,
        } = self.reloaded;
        encoder
            .encode_descriptor(
                "config_last_reload_successful",
                "1 if the last reload, or else the start, put the configuration in force",
                None,
                MetricType::Gauge,
            )?
            .encode_gauge(&i64::from(succeeded))?;
        for (name, help, value) in [
            (
                "config_last_reload_success_timestamp_seconds",
                "When a configuration was last put in force, in seconds since 1970",
                succeeded_at,
            ),
            (
                "config_last_reload_duration_seconds",
                "What the last reload took, 0 if there was none",
                took,
            ),
        ] {
            encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&value)?;
        }
        encoder
            .encode_descriptor("build", "Which version runs", None, MetricType::Info)?
            .encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    }

    fn log_lines(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Log lines not written: lost to a slow reader, or held back as too many";
        let LostLines { lost, held_back } = self.log;
        let lines = [("lost", lost), ("held_back", held_back)];
        family(encoder, "missing_log_lines", help, ("reason", &lines))
    }
}

/// A counter with a label, which differs from one to the next.
fn family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    (label, counted): (&'static str, &[(&'static str, u64)]),
) -> Result<(), Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    counted.iter().try_for_each(|(value, count)| {
        metric
            .encode_family(&[(label, *value)])?
            .encode_counter::<NoExemplar, _, u64>(count, None)
    })
}

fn gauge(
    metric: &mut MetricEncoder<'_>,
    tunnel: &TunnelSample,
    value: &impl EncodeGaugeValue,
) -> Result<(), Error> {
    metric.encode_family(&labels(tunnel))?.encode_gauge(value)
}

fn counter(
    metric: &mut MetricEncoder<'_>,
    tunnel: &TunnelSample,
    value: &impl EncodeCounterValue,
) -> Result<(), Error> {
    metric
        .encode_family(&labels(tunnel))?
        .encode_counter::<NoExemplar, _, u64>(value, None)
}

fn labels(tunnel: &TunnelSample) -> [(&'static str, String); 3] {
    [
        ("vpn_connection", tunnel.connection.clone()),
        ("tunnel", tunnel.number.to_string()),
        ("tunnel_ip_address", tunnel.tunnel_ip_address.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vgw_ike::event::PeerCounters;

    use vgw_sa::TunnelTraffic;

    use super::{LastReload, Sample, TunnelSample, text};
    use crate::inbox::MessageCounts;
    use crate::metrics::{Process, plain};

    fn tunnel(number: u8) -> TunnelSample {
        TunnelSample {
            connection: "vpn-office".to_owned(),
            number,
            tunnel_ip_address: format!("203.0.113.{number}").parse().unwrap(),
            up: false,
            active: false,
            mtu: 0,
            traffic: TunnelTraffic::default(),
            counters: PeerCounters::default(),
            changes_refused: 0,
            suspect: false,
            takeovers: 0,
            one_way: false,
            udp_fallback: false,
        }
    }

    #[test]
    fn a_gateway_whose_tunnels_are_all_down_has_every_series() {
        let sample = Sample {
            tunnels: vec![tunnel(1), tunnel(2)],
            drops: vec![("no_sa", 0), ("replayed", 0)],
            refused_batches: [("send", 0), ("tun_write", 0)],
            ike: MessageCounts {
                received: vec![("established", 0), ("stranger", 0)],
                dropped: vec![("malformed", 0)],
                ..MessageCounts::default()
            },
            denied: vec![("cookie_asked", 0)],
            reloaded: LastReload {
                succeeded: true,
                ..LastReload::default()
            },
            ..Sample::default()
        };
        let process = Process {
            cpu: Some(0.0),
            resident: Some(0),
            virtual_memory: Some(0),
            open_files: Some(0),
            most_files: Some(0),
            started: 0.0,
        };
        let text = text(sample, process).unwrap();
        let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
        let golden = include_str!("every_series.txt").replace("version=\"\"", &version);
        assert_eq!(text, golden);
        obeys_the_rules_of_prometheus(&plain(&text));
    }

    /// What `promtool check metrics` finds fault with, as far as names and help texts go.
    fn obeys_the_rules_of_prometheus(text: &str) {
        let mut described = BTreeSet::new();
        let mut series = BTreeSet::new();
        let (mut name, mut kind) = ("", "");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (of, help) = help.split_once(' ').unwrap();
                assert!(!help.trim().is_empty(), "{of} has no help text");
                assert!(described.insert(of), "{of} is described twice");
                name = of;
            } else if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (of, is) = typed.split_once(' ').unwrap();
                assert_eq!(of, name);
                assert!(["counter", "gauge"].contains(&is), "{line}");
                assert_eq!(of.ends_with("_total"), is == "counter", "{line}");
                kind = is;
                let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
                assert!(of.chars().all(letters), "{of}");
                let bad = [
                    "_count", "_sum", "_bucket", "_gauge", "_counter", "_kb", "_ms", "_s",
                ];
                assert!(!bad.iter().any(|bad| of.ends_with(bad)), "{of}");
                let units = ["milli", "micro", "kilo", "mega", "minutes", "hours", "bits"];
                assert!(
                    !units.iter().any(|unit| of.contains(unit)),
                    "{of}: no base unit"
                );
            } else {
                let (which, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(which.split('{').next(), Some(name), "{kind}");
                assert!(series.insert(which), "{which} twice");
                value.parse::<f64>().unwrap();
            }
        }
        assert!(series.len() > 40);
    }

    #[test]
    fn a_tunnel_that_is_up_shows_awss_three_metrics() {
        let up = TunnelSample {
            up: true,
            active: true,
            traffic: TunnelTraffic {
                packets_in: 1,
                bytes_in: 84,
                packets_out: 2,
                bytes_out: 168,
            },
            ..tunnel(1)
        };
        let sample = Sample {
            tunnels: vec![up],
            ..Sample::default()
        };
        let text = text(sample, Process::default()).unwrap();
        let labels = r#"{vpn_connection="vpn-office",tunnel="1",tunnel_ip_address="203.0.113.1"}"#;
        for line in [
            format!("vgw_tunnel_state{labels} 1\n"),
            format!("vgw_tunnel_data_in_bytes_total{labels} 84\n"),
            format!("vgw_tunnel_data_out_bytes_total{labels} 168\n"),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
    }
}

//! What a peer that has authenticated can write into the log, and what nobody
//! can make us show.

use std::time::{Duration, Instant};

use tracing::Level;
use vgw_crypto::AeadKey;
use vgw_gateway::command::Command;
use vgw_gateway::line_limit::SAME;
use vgw_gateway::supervisor::Supervisor;
use vgw_ike::config::{KeyLog, Limits};
use vgw_ike::event::Content;
use vgw_ike::wire::{
    ExchangeType, Header, Notify, NotifyType, Payload, begin_sealed, encode_payloads,
};
use vgw_sim::dice::Dice;
use vgw_sim::error_log::ErrorLog;
use vgw_sim::setup;

/// A virtual private gateway, and its customer gateway which has its keys and
/// means no good.
struct Noisy {
    now: Instant,
    vgw: Supervisor,
    cgw: Supervisor,
    /// What the first one logged.
    log: ErrorLog,
    keys: Vec<Command>,
    /// Every command, printed.
    shown: Vec<String>,
}

impl Noisy {
    fn up() -> Self {
        let now = Instant::now();
        let mut gateway = setup::gateway(1);
        // One IKE SA for each tunnel: the customer gateway's.
        gateway.initiate_to_recover = false;
        gateway.connections.push(setup::connection(1, 1));
        let random = Dice::new(1).sources();
        let vgw = Supervisor::with_limits(
            now,
            setup::checked(gateway),
            Limits::default(),
            KeyLog::On,
            random,
        );
        let mut noisy = Self {
            now,
            vgw,
            cgw: customer(now, 2),
            log: ErrorLog::up_to(Level::INFO),
            keys: Vec::new(),
            shown: Vec::new(),
        };
        noisy.exchange();
        assert_eq!(noisy.keys.len(), 2, "both tunnels are up");
        noisy
    }

    /// Lets both talk until neither has more to say.
    fn exchange(&mut self) {
        let now = self.now;
        loop {
            let mut quiet = true;
            while let Some(command) = self.vgw.poll_command() {
                self.shown.push(format!("{command:?}"));
                if let Command::LogIkeKeys { .. } = command {
                    self.keys.push(command);
                }
            }
            while self.cgw.poll_command().is_some() {}
            while let Some(sent) = self.vgw.poll_transmit() {
                if let Content::Ike(message) = sent.content {
                    quiet = false;
                    let (local, remote) = (sent.remote, sent.local);
                    self.cgw.handle_datagram(now, local, remote, &message);
                }
            }
            while let Some(sent) = self.cgw.poll_transmit() {
                if let Content::Ike(message) = sent.content {
                    quiet = false;
                    let (local, remote) = (sent.remote, sent.local);
                    let vgw = &mut self.vgw;
                    self.log.watch(None, || {
                        vgw.handle_datagram(now, local, remote, &message);
                    });
                }
            }
            if quiet {
                return;
            }
        }
    }

    /// An INFORMATIONAL request of the customer gateway in its first IKE SA.
    fn report(&mut self, message_id: u32, errors: u16) {
        let Some(Command::LogIkeKeys {
            spi_i,
            spi_r,
            suite,
            keys,
        }) = self.keys.first()
        else {
            panic!("no IKE SA");
        };
        let header = Header {
            spi_i: *spi_i,
            spi_r: *spi_r,
            exchange: ExchangeType::INFORMATIONAL,
            initiator: true,
            response: false,
            message_id,
        };
        let error = |n| Payload::Notify(Notify::new(NotifyType(8192 + n), vec![0; 8]));
        let payloads: Vec<_> = (0..errors).map(error).collect();
        let key = AeadKey::new(suite.encryption, keys.sk_ei.expose()).unwrap();
        let (first, mut body) = encode_payloads(&payloads);
        body.push(0);
        let mut message = begin_sealed(&header, first, 8 + body.len() + 16);
        let iv = u64::MAX.to_be_bytes();
        let icv = key.seal_in_place(iv, &message, &mut body);
        message.extend_from_slice(&iv);
        message.extend_from_slice(&body);
        message.extend_from_slice(&icv);
        let local = (setup::outside(1, 1), 500).into();
        let remote = (setup::customer_address(1), 500).into();
        let (now, vgw) = (self.now, &mut self.vgw);
        self.log
            .watch(None, || vgw.handle_datagram(now, local, remote, &message));
        assert!(
            vgw.poll_transmit().is_some(),
            "it is authentic and answered"
        );
    }
}

/// A customer gateway that knows of no earlier SA.
fn customer(now: Instant, seed: u64) -> Supervisor {
    let mut customer = setup::customer(1);
    let connection = setup::initiating(setup::connection(1, 1));
    customer.connections.push(connection);
    Supervisor::new(now, setup::checked(customer), Dice::new(seed).sources())
}

#[test]
fn errors_that_a_peer_reports_without_end_are_a_few_lines_a_minute() {
    let mut noisy = Noisy::up();
    drop(noisy.log.take());
    for id in 2..1_002 {
        noisy.report(id, 60);
    }
    let lines = noisy.log.take();
    assert_eq!(lines.len(), 1);
    assert!(lines[0].message.len() < 300, "{}", lines[0]);
    noisy.now += SAME;
    noisy.report(1_002, 60);
    let lines = noisy.log.take();
    assert_eq!(lines.len(), 1);
    let told = "(999 other lines held back before)";
    assert!(lines[0].message.ends_with(told), "{}", lines[0]);
}

#[test]
fn a_peer_that_begins_anew_again_and_again_does_not_fill_the_log() {
    let mut noisy = Noisy::up();
    drop(noisy.log.take());
    for seed in 3..103 {
        noisy.now += Duration::from_millis(500);
        noisy.cgw = customer(noisy.now, seed);
        noisy.exchange();
    }
    assert_eq!(noisy.keys.len(), 202, "each time two IKE SAs came up");
    let lines = noisy.log.take();
    // For each of two tunnels, and for their connection.
    let most = 2 * (5 + 20 + 20) + 20;
    assert!(lines.len() <= most, "{} lines", lines.len());
}

#[test]
fn nothing_that_is_printed_shows_a_key() {
    let noisy = Noisy::up();
    let revision = noisy.vgw.revision();
    let mut shown = noisy.shown;
    shown.push(format!("{:?}", noisy.vgw));
    shown.push(format!("{revision:?}"));
    shown.push(format!("{:?}", noisy.vgw.status(noisy.now)));
    shown.extend(noisy.log.take().iter().map(ToString::to_string));
    let mut secrets: Vec<&[u8]> = Vec::new();
    for tunnel in &revision.connections()[0].tunnels {
        secrets.push(tunnel.psk.0.expose());
    }
    for command in &noisy.keys {
        let Command::LogIkeKeys { keys, .. } = command else {
            continue;
        };
        secrets.extend([keys.sk_ei.expose(), keys.sk_er.expose()]);
    }
    assert_eq!(secrets.len(), 6);
    for secret in secrets {
        let hex: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
        let text = String::from_utf8_lossy(secret).into_owned();
        for form in [hex, text, format!("{secret:?}")] {
            let found = shown.iter().find(|shown| shown.contains(&form));
            assert!(found.is_none(), "{form} in {found:?}");
        }
    }
}

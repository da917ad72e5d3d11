//! What the viewer sees.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use vgw_lab::topology::{CUSTOMER_OUTSIDE, GATEWAY_OUTSIDE, ON_PREMISES_HOST, Topology, VPC_HOST};

use super::Stage;
use super::gateway::GatewayProcess;
use super::report::Report;
use super::setup::{ON_PREMISES_CIDR, VPC_CIDR};

/// How often progress is shown where a line cannot be written over.
const EVERY: Duration = Duration::from_secs(5);

const CLEAR_LINE: &str = "\r\x1b[K";

#[derive(Debug)]
pub(super) struct Screen {
    step: u8,
    terminal: bool,
    shown: Duration,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            step: 0,
            terminal: std::io::stdout().is_terminal(),
            shown: Duration::ZERO,
        }
    }

    pub(super) fn opening(&self) {
        println!(
            "A company's network in the cloud (its VPC) and the network on its own premises are to\n\
             be one, over the internet, where nobody may read or change what they say. A gateway\n\
             at each end keeps two encrypted tunnels, so that one may fail. All of it runs on this\n\
             machine now, apart from its own network, and takes about two minutes. ^C ends it."
        );
    }

    /// Begins the next step.
    pub(super) fn step(&mut self, title: &str) {
        self.step = self.step.saturating_add(1);
        self.clear();
        println!("\n{}. {title}", self.step);
    }

    /// Says something, below the step's title.
    pub(super) fn say(&self, text: &str) {
        self.clear();
        for line in text.lines() {
            println!("   {line}");
        }
    }

    /// Shows how far something is, now and then.
    pub(super) fn progress(&mut self, elapsed: Duration, text: &str) {
        if self.terminal {
            print!("{CLEAR_LINE}   {:>3} s  {text}", elapsed.as_secs());
            let _ = std::io::stdout().flush();
            return;
        }
        if elapsed < self.shown {
            self.shown = Duration::ZERO;
        }
        if elapsed >= self.shown.saturating_add(EVERY) {
            self.shown = elapsed;
            println!("   {:>3} s  {text}", elapsed.as_secs());
        }
    }

    fn clear(&self) {
        if self.terminal {
            print!("{CLEAR_LINE}");
        }
    }

    pub(super) fn networks(&self, topology: &Topology) {
        let [a, b] = GATEWAY_OUTSIDE;
        self.say(&format!(
            "VPC       {VPC_CIDR}: a host {VPC_HOST} behind a gateway with two internet lines, {a}\n\
             {:10}and {b}\n\
             premises  {ON_PREMISES_CIDR}: a host {ON_PREMISES_HOST} behind a gateway with one \
             internet line,\n\
             {:10}{CUSTOMER_OUTSIDE}\n\
             internet  joins the three lines; a watcher there looks for packets of the two networks\n\
             Hosts, gateways and internet are a network namespace each: {}, …",
            "",
            "",
            topology.vpc.name()
        ));
    }

    pub(super) fn gateways(&self, stage: &Stage) {
        for (end, place) in [(&stage.cloud, "VPC"), (&stage.customer, "premises")] {
            self.say(&format!("{} ({place}): process {}", end.name(), end.id()));
        }
        self.say(
            "Each proves to the other that it knows a shared secret, and both agree on fresh keys.",
        );
    }

    pub(super) fn tunnels_up(&self, after: Duration) {
        self.say(&format!(
            "Both tunnels are up, {} ms after the first process was started.",
            after.as_millis()
        ));
    }

    pub(super) fn summary(&mut self, report: &Report) {
        self.step("In short");
        self.say(&format!(
            "both tunnels up after  {} ms\n\
             throughput             {:.2} Gbit/s, one TCP connection\n\
             line cut               {} ms outage, {} packets lost\n\
             {:<3} changes of keys    {} packets lost\n",
            report.tunnels_up_ms,
            report.throughput_gbps,
            report.failover.outage_ms,
            report.failover.lost,
            report.rekey.count,
            report.rekey.lost
        ));
    }

    pub(super) fn holding(&mut self, stage: &Stage) {
        self.step("Everything stays up until ^C; look around from another terminal");
        self.say(&format!(
            "a shell at the VPC's host   nsenter --net={}\n\
             a shell at the gateway      nsenter --net={}\n\
             a shell on the premises     nsenter --net={}\n\
             a shell at their gateway    nsenter --net={}\n\
             what a gateway says         vgw status --watch --socket {}\n\
             the other gateway           vgw status --watch --socket {}\n\
             from the VPC's host         ping {ON_PREMISES_HOST}",
            stage.topology.vpc_host.path().display(),
            stage.topology.vpc.path().display(),
            stage.topology.on_premises_host.path().display(),
            stage.topology.on_premises.path().display(),
            stage.cloud.socket().display(),
            stage.customer.socket().display(),
        ));
    }

    pub(super) fn logs(&self, stage: &Stage) {
        for end in [&stage.cloud, &stage.customer] {
            self.log(end);
        }
    }

    fn log(&self, end: &GatewayProcess) {
        self.say(&format!(
            "The {}'s last words:\n{}",
            end.name(),
            end.last_words()
        ));
    }
}

//! Who is measured, and how each is started at both ends of a path.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::ValueEnum;
use vgw_harness::our_pair::{AES_128_GCM, Pair, Setup};
use vgw_harness::stage::Stage;
use vgw_harness::strongswan::StrongSwan;
use vgw_lab::Process;

use crate::{machine, strongswan, wireguard};

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Subject {
    /// This gateway.
    Vgw,
    /// The same with ESP straight on IP, not in UDP.
    #[value(name = "vgw-native")]
    Native,
    /// The same with the cryptography left out.
    Floor,
    /// strongSwan's user-space ESP.
    #[value(name = "strongswan")]
    StrongSwan,
    /// A user-space WireGuard.
    #[value(name = "gotatun")]
    GotaTun,
    /// A user-space WireGuard.
    #[value(name = "boringtun")]
    BoringTun,
}

/// All of them, in the order of a round.
pub const ALL: [Subject; 6] = [
    Subject::Vgw,
    Subject::Native,
    Subject::Floor,
    Subject::StrongSwan,
    Subject::GotaTun,
    Subject::BoringTun,
];

/// How packets are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// AES-128-GCM with a 16-octet ICV.
    Aes128Gcm,
    /// AES-256-GCM with a 16-octet ICV.
    Aes256Gcm,
    /// AES-256-CBC with HMAC-SHA2-256-128.
    Aes256CbcSha256,
    /// The only one of WireGuard.
    ChaCha20Poly1305,
}

impl Suite {
    /// As it stands in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm => "AES-128-GCM",
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Aes256CbcSha256 => "AES-256-CBC+SHA2-256",
            Self::ChaCha20Poly1305 => "ChaCha20-Poly1305",
        }
    }

    /// The lines of a tunnel in our configuration.
    fn options(self) -> Result<&'static str> {
        match self {
            Self::Aes128Gcm => Ok(AES_128_GCM),
            Self::Aes256Gcm => Ok("phase2_encryption_algorithms = [\"AES256-GCM-16\"]\n"),
            Self::Aes256CbcSha256 => Ok("phase2_encryption_algorithms = [\"AES256\"]\n\
                phase2_integrity_algorithms = [\"SHA2-256\"]\n"),
            Self::ChaCha20Poly1305 => anyhow::bail!("not a suite of ours"),
        }
    }
}

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Our release binary.
    pub vgw: PathBuf,
    /// The same without cryptography.
    pub floor: PathBuf,
    /// Where peers were installed, with a folder `bin`.
    pub peers: PathBuf,
}

/// A subject at work at both ends; it ends when this is dropped.
#[derive(Debug)]
pub enum Running {
    Ours(Pair),
    StrongSwan([StrongSwan; 2]),
    WireGuard([Process; 2]),
}

impl Running {
    /// The processes that carry the packets, at both ends.
    pub fn processes(&self) -> Vec<u32> {
        match self {
            Self::Ours(pair) => vec![pair.cloud.id(), pair.customer.id()],
            Self::StrongSwan(ends) => ends.iter().map(StrongSwan::id).collect(),
            Self::WireGuard(ends) => ends.iter().map(Process::id).collect(),
        }
    }
}

impl Subject {
    /// As it stands in the results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vgw => "vgw",
            Self::Native => "vgw-native",
            Self::Floor => "floor",
            Self::StrongSwan => "strongswan",
            Self::GotaTun => "gotatun",
            Self::BoringTun => "boringtun",
        }
    }

    /// What it protects packets with where a case asks for no suite in particular.
    pub fn usual_suite(self) -> Suite {
        match self {
            Self::Vgw | Self::Native | Self::Floor | Self::StrongSwan => Suite::Aes128Gcm,
            Self::GotaTun | Self::BoringTun => Suite::ChaCha20Poly1305,
        }
    }

    /// What it is measured with.
    pub fn suites(self) -> &'static [Suite] {
        match self {
            Self::Vgw | Self::Floor => {
                &[Suite::Aes128Gcm, Suite::Aes256Gcm, Suite::Aes256CbcSha256]
            }
            Self::Native | Self::StrongSwan => &[Suite::Aes128Gcm],
            Self::GotaTun | Self::BoringTun => &[Suite::ChaCha20Poly1305],
        }
    }

    /// The program that carries its packets.
    fn program(self, programs: &Programs) -> PathBuf {
        match self {
            Self::Vgw | Self::Native => programs.vgw.clone(),
            Self::Floor => programs.floor.clone(),
            Self::StrongSwan => Path::new(strongswan::PROGRAM).to_owned(),
            Self::GotaTun => programs.peers.join("bin/gotatun"),
            Self::BoringTun => programs.peers.join("bin/boringtun-cli"),
        }
    }

    /// Fails if its program is not there, and says where it was looked for.
    pub fn find(self, programs: &Programs) -> Result<()> {
        let program = self.program(programs);
        anyhow::ensure!(
            program.is_file(),
            "{} is missing: there is no {}",
            self.name(),
            program.display()
        );
        Ok(())
    }

    /// What exactly is measured.
    pub fn version(self, programs: &Programs) -> String {
        match self {
            Self::StrongSwan => machine::package_version("strongswan-charon"),
            _ => machine::version(&self.program(programs)),
        }
    }

    /// Starts it at both ends and waits until the path is up.
    pub fn start(self, programs: &Programs, stage: &Stage, suite: Suite) -> Result<Running> {
        let program = self.program(programs);
        let running = match self {
            Self::Vgw | Self::Floor => ours(&program, stage, suite, "udp").map(Running::Ours),
            Self::Native => ours(&program, stage, suite, "native").map(Running::Ours),
            Self::StrongSwan => strongswan::start(stage).map(Running::StrongSwan),
            Self::GotaTun | Self::BoringTun => {
                wireguard::start(&program, stage).map(Running::WireGuard)
            }
        };
        running.with_context(|| format!("starting {} with {}", self.name(), suite.name()))
    }
}

fn ours(program: &Path, stage: &Stage, suite: Suite, encapsulation: &str) -> Result<Pair> {
    let setup = Setup {
        connections: 1,
        encapsulation,
        options: suite.options()?,
    };
    setup.start_as(program, stage)
}

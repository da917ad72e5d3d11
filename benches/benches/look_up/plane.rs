//! A data plane in a namespace of its own, with as many tunnels as wanted.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Secret};
use vgw_dataplane::{Config, ControlError, DataPlane, Features, OutsideSockets, Tun};
use vgw_lab::{Lab, Namespace};
use vgw_sa::{ChildSa, NATT_PORT, Path, SLOT_BITS};

use crate::traffic::{Selectors, everything};
use crate::{Failure, GATEWAY};

const SUITE: EspSuite = EspSuite {
    encryption: Encryption::AesGcm128,
    integrity: None,
    esn: true,
};
const OUTSIDE: Ipv4Addr = Ipv4Addr::LOCALHOST;

pub struct Plane {
    pub data: DataPlane,
    tunnels: u32,
    _namespace: Namespace,
}

/// The SPI that has this slot.
pub fn spi_of(slot: u32) -> u32 {
    (1 << SLOT_BITS) | slot
}

impl Plane {
    pub fn start() -> Result<Self, Failure> {
        let namespace = Lab::new("lookup")?.namespace("gateway")?;
        namespace.link_up("lo")?;
        let config = namespace.run(|| -> std::io::Result<Config> {
            let outside = OutsideSockets::bind(IpAddr::V4(OUTSIDE), 1, Features::ALL)?;
            Ok(Config {
                gateway: GATEWAY,
                tun: Tun::open("tun%d", 1, Features::ALL)?,
                outside: vec![outside],
                workers: 1,
            })
        })??;
        Ok(Self {
            data: DataPlane::start(config, Box::new(|_| true))?,
            tunnels: 0,
            _namespace: namespace,
        })
    }

    /// The tunnels up to this one, each with a CHILD SA in the slot of its
    /// number through which everything may travel.
    pub fn grow_to(&mut self, tunnels: u32) -> Result<(), ControlError> {
        for tunnel in self.tunnels..tunnels {
            self.install(tunnel, tunnel, everything())?;
        }
        self.tunnels = tunnels;
        Ok(())
    }

    /// Replaces a tunnel's SA by one with these selectors.
    pub fn send_with(&self, tunnel: u32, selectors: Selectors) -> Result<(), ControlError> {
        self.data.remove_child(spi_of(tunnel))?;
        self.install(tunnel, tunnel, selectors)
    }

    /// A tunnel beside those that are looked up.
    pub fn spare(&self, tunnel: u32) -> Spare<'_> {
        Spare {
            plane: self,
            tunnel,
            slot: None,
        }
    }

    fn install(&self, tunnel: u32, slot: u32, selectors: Selectors) -> Result<(), ControlError> {
        let spi = spi_of(slot);
        let keys = || DirectionKeys {
            encryption: Secret::new(vec![1; SUITE.encryption.keymat_len()]),
            integrity: Secret::default(),
        };
        let [local_selectors, remote_selectors] = selectors;
        let child = ChildSa {
            spi_in: spi,
            spi_out: spi,
            suite: SUITE,
            keys_in: keys(),
            keys_out: keys(),
            local_selectors,
            remote_selectors,
            path: Path {
                local: SocketAddr::from((OUTSIDE, NATT_PORT)),
                remote: SocketAddr::from(([192, 0, 2, 1], NATT_PORT)),
                udp_encapsulation: true,
            },
        };
        let tunnel = GATEWAY.tunnel(tunnel);
        self.data.install_child(tunnel, child, 1024)?;
        self.data.use_outbound(tunnel, spi)
    }
}

/// A tunnel that is rekeyed again and again.
pub struct Spare<'a> {
    plane: &'a Plane,
    tunnel: u32,
    /// That of its SA, once it has one.
    slot: Option<u32>,
}

impl Spare<'_> {
    /// What a rekey of a CHILD SA asks of the data plane: three changes.
    pub fn replace(&mut self) -> Result<(), ControlError> {
        let old = self.slot;
        // The first two slots behind those of the other tunnels, in turn.
        let slot = match old {
            Some(slot) if slot == self.tunnel => slot + 1,
            _ => self.tunnel,
        };
        self.plane.install(self.tunnel, slot, everything())?;
        self.slot = Some(slot);
        old.map_or(Ok(()), |old| self.plane.data.remove_child(spi_of(old)))
    }

    pub fn remove(self) -> Result<(), Failure> {
        if let Some(slot) = self.slot {
            self.plane.data.remove_child(spi_of(slot))?;
        }
        Ok(())
    }
}

//! What happens when the surroundings fail.

use vgw_dataplane::{Config, DataPlaneEvent, OutsideSockets, Tun};

use crate::rig::Rig;

#[test]
fn a_deleted_tun_device_is_reported_as_a_failure() {
    let rig = Rig::new("gone");
    let deleted = rig
        .left
        .namespace
        .command("ip")
        .args(["link", "delete", "tun0"])
        .status()
        .unwrap();
    assert!(deleted.success());
    assert_eq!(
        rig.left.event(),
        DataPlaneEvent::Failed {
            what: "TUN device tun0 is gone".to_owned()
        }
    );
}

#[test]
fn dropping_a_data_plane_gives_its_addresses_and_its_device_back() {
    let rig = Rig::new("again");
    let Rig { left, right } = rig;
    drop(left.plane);
    let config = left.namespace.run(|| Config {
        tun: Tun::open("tun0").unwrap(),
        outside: left
            .outside
            .map(|at| OutsideSockets::bind(at).unwrap())
            .into(),
    });
    assert_eq!(config.unwrap().tun.name(), "tun0");
    drop(right);
}

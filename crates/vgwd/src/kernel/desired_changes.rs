//! How the control loop tells the thread `vgw-kernel` what is to change: entry by entry, and of
//! each entry the latest, however many changes came since the thread looked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ipnet::IpNet;
use tokio::sync::mpsc;
use vgw_sa::Changes;

use super::DesiredByConfig;

/// What is to be there, and what is to be there no more.
pub(super) type Latest<K> = BTreeMap<K, bool>;

/// What is to change of [`Desired`](super::Desired). Keyed as that is.
#[derive(Debug, Default)]
pub(super) struct DesiredChanges {
    pub(super) routes: Latest<IpNet>,
    pub(super) addresses: Latest<(IpAddr, u8)>,
    pub(super) cidrs: Latest<IpNet>,
    pub(super) by_config: Option<DesiredByConfig>,
}

/// The control loop's end. It never waits. When it is dropped, everything stays as it is, and
/// the thread ends.
#[derive(Debug)]
pub struct DesiredSender {
    changes: Arc<Mutex<DesiredChanges>>,
    /// Wakes the thread; one wake-up is enough for all changes.
    wake: mpsc::Sender<()>,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct DesiredReceiver {
    changes: Arc<Mutex<DesiredChanges>>,
    woken: mpsc::Receiver<()>,
}

/// Both ends.
pub(super) fn channel() -> (DesiredSender, DesiredReceiver) {
    let changes = Arc::default();
    let (wake, woken) = mpsc::channel(1);
    let sender = DesiredSender {
        changes: Arc::clone(&changes),
        wake,
    };
    (sender, DesiredReceiver { changes, woken })
}

impl DesiredSender {
    /// Changes the prefixes that lead to the TUN device.
    pub fn change_routes(&self, changes: &Changes<IpNet, ()>) {
        self.change(|all| merge(&mut all.routes, changes));
    }

    /// Changes the addresses of the TUN device, each with its prefix length.
    pub fn change_addresses(&self, changes: &Changes<(IpAddr, u8), ()>) {
        self.change(|all| merge(&mut all.addresses, changes));
    }

    /// Changes the private networks behind us.
    pub fn change_cidrs(&self, changes: &Changes<IpNet, ()>) {
        self.change(|all| merge(&mut all.cidrs, changes));
    }

    /// Changes what follows from the configuration alone.
    pub fn set_by_config(&self, by_config: DesiredByConfig) {
        self.change(|all| all.by_config = Some(by_config));
    }

    fn change(&self, change: impl FnOnce(&mut DesiredChanges)) {
        change(&mut lock(&self.changes));
        // It is full if the thread is to be woken already; a thread that ended has told why.
        let _ = self.wake.try_send(());
    }
}

impl DesiredReceiver {
    /// Waits for changes, and takes all that there are; None when there will be no more.
    /// Nothing is lost if it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Option<DesiredChanges> {
        self.woken.recv().await?;
        Some(std::mem::take(&mut *lock(&self.changes)))
    }
}

fn lock(changes: &Mutex<DesiredChanges>) -> MutexGuard<'_, DesiredChanges> {
    changes.lock().unwrap_or_else(PoisonError::into_inner)
}

fn merge<K: Ord + Copy>(latest: &mut Latest<K>, changes: &Changes<K, ()>) {
    let changes = changes.iter();
    latest.extend(changes.map(|(entry, wanted)| (*entry, wanted.is_some())));
}

#[cfg(test)]
mod tests {
    use ipnet::{IpNet, Ipv4Net};
    use tokio::runtime::Builder;

    use super::channel;

    fn prefix(number: u32) -> IpNet {
        Ipv4Net::new((0x0A00_0000 + (number << 8)).into(), 24)
            .unwrap()
            .into()
    }

    #[test]
    fn of_a_burst_of_changes_the_last_of_each_entry_is_taken_and_nothing_waits() {
        let (sender, mut receiver) = channel();
        for number in 0..10_000 {
            sender.change_routes(&vec![(prefix(number % 3), (number < 9_998).then_some(()))]);
        }
        drop(sender);
        let runtime = Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let changes = receiver.next().await.unwrap();
            let latest = [(prefix(0), false), (prefix(1), true), (prefix(2), false)];
            assert_eq!(changes.routes.into_iter().collect::<Vec<_>>(), latest);
            assert!(receiver.next().await.is_none());
        });
    }
}

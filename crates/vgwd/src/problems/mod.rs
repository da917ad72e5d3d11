//! What the machine around the daemon has wrong outside, a line each: in `vgw status`
//! while it lasts, in the log when it comes and goes.

mod foreign_links;
mod missing_addresses;
mod send_errors;
mod small_mtu_links;
mod standing;

pub use foreign_links::ForeignLinks;
pub use missing_addresses::MissingAddresses;
pub use send_errors::SendErrors;
pub use small_mtu_links::{SmallMtuLink, SmallMtuLinks};
pub use standing::StandingProblems;

/// All that there is outside.
#[derive(Debug, Default)]
pub struct OutsideProblems {
    /// Outside addresses that are not this machine's.
    pub missing_addresses: MissingAddresses,
    /// Outside addresses whose packets leave by the link of another.
    pub foreign_links: ForeignLinks,
    /// What the kernel would not send.
    pub send_errors: SendErrors,
    /// Links and routes that carry less than configured.
    pub small_mtu_links: SmallMtuLinks,
}

impl OutsideProblems {
    /// A line for each, with what to do.
    pub fn lines(&self) -> impl Iterator<Item = &String> {
        let lines = self.missing_addresses.lines();
        lines
            .chain(self.foreign_links.lines())
            .chain(self.send_errors.lines())
            .chain(self.small_mtu_links.lines())
    }
}

//! Which tunnel an inside prefix is behind.

/// What leads to an inside prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextHop {
    /// The tunnel that packets to there leave by.
    pub carrier: u32,
    /// The other tunnel that packets from there may come by: the peer need not
    /// choose the one that we do.
    pub standby: Option<u32>,
}

impl From<u32> for NextHop {
    /// One tunnel and no other.
    fn from(carrier: u32) -> Self {
        Self {
            carrier,
            standby: None,
        }
    }
}

impl NextHop {
    pub(crate) const fn is_by(self, tunnel: u32) -> bool {
        if self.carrier == tunnel {
            return true;
        }
        matches!(self.standby, Some(standby) if standby == tunnel)
    }
}

//! A tunnel's life as a total table: every event has an answer in every state.

use std::fmt;

/// Where a tunnel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No SA, and no attempt under way; one may be due later.
    Down,
    /// We are asking the peer, or have an IKE SA without a CHILD SA.
    Connecting,
    /// At least one CHILD SA carries traffic.
    Up,
    /// Still up, but about to be taken down: traffic is moving elsewhere.
    Draining,
    /// Taken down by hand; the peer gets no answer until it is brought up again.
    AdminDown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Down,
        Self::Connecting,
        Self::Up,
        Self::Draining,
        Self::AdminDown,
    ];

    /// In words, as status and log say it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Draining => "draining",
            Self::AdminDown => "admin-down",
        }
    }

    /// Whether packets pass: what AWS's TunnelState and telemetry call UP.
    #[must_use]
    pub const fn carries(self) -> bool {
        match self {
            Self::Up | Self::Draining => true,
            Self::Down | Self::Connecting | Self::AdminDown => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What can happen to a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// We began to initiate.
    Initiate,
    /// An IKE SA is up, by whoever's doing.
    IkeUp,
    /// A CHILD SA can be sent with.
    ChildUp,
    /// No CHILD SA is left.
    LastChildDown,
    /// No IKE SA is left, and no attempt under way.
    LastIkeDown,
    /// The operator wants it down, or a changed configuration takes it away.
    TakeDown,
    /// Drained for the operator: the SAs are being deleted.
    Drained,
    /// Drained for a changed configuration: it restarts.
    Restarted,
    /// The operator wants it up again.
    BringUp,
}

impl Event {
    #[cfg(test)]
    const ALL: [Self; 9] = [
        Self::Initiate,
        Self::IkeUp,
        Self::ChildUp,
        Self::LastChildDown,
        Self::LastIkeDown,
        Self::TakeDown,
        Self::Drained,
        Self::Restarted,
        Self::BringUp,
    ];
}

/// The state after an event.
pub(super) const fn next(state: State, event: Event) -> State {
    use Event as E;
    use State as S;
    match (state, event) {
        (S::Down, E::Initiate | E::IkeUp) => S::Connecting,
        (S::Down, E::ChildUp) => S::Up,
        // With nothing to drain, down by hand comes at once.
        (S::Down, E::TakeDown | E::Drained) => S::AdminDown,
        (S::Down, E::LastChildDown | E::LastIkeDown | E::Restarted | E::BringUp) => S::Down,

        (S::Connecting, E::Initiate | E::IkeUp | E::LastChildDown | E::BringUp) => S::Connecting,
        (S::Connecting, E::ChildUp) => S::Up,
        (S::Connecting, E::LastIkeDown | E::Restarted) => S::Down,
        (S::Connecting, E::TakeDown | E::Drained) => S::AdminDown,

        (S::Up, E::Initiate | E::IkeUp | E::ChildUp | E::BringUp) => S::Up,
        (S::Up, E::LastChildDown | E::LastIkeDown | E::Restarted) => S::Down,
        (S::Up, E::TakeDown) => S::Draining,
        (S::Up, E::Drained) => S::AdminDown,

        (S::Draining, E::Initiate | E::IkeUp | E::ChildUp | E::TakeDown) => S::Draining,
        // The peer deleted its SAs first; the end of the drain decides what follows.
        (S::Draining, E::LastChildDown | E::LastIkeDown) => S::Draining,
        (S::Draining, E::Drained) => S::AdminDown,
        (S::Draining, E::Restarted) => S::Down,
        (S::Draining, E::BringUp) => S::Up,

        (S::AdminDown, E::BringUp) => S::Down,
        (
            S::AdminDown,
            E::Initiate
            | E::IkeUp
            | E::ChildUp
            | E::LastChildDown
            | E::LastIkeDown
            | E::TakeDown
            | E::Drained
            | E::Restarted,
        ) => S::AdminDown,
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::{Event, State, next};

    #[test]
    fn every_state_answers_every_event_as_written_here() {
        let mut table = String::new();
        for event in Event::ALL {
            write!(table, "{:<14}", format!("{event:?}")).unwrap();
            for state in State::ALL {
                write!(table, "{:<11}", next(state, event).name()).unwrap();
            }
            table = table.trim_end().to_owned();
            table.push('\n');
        }
        // Columns: down, connecting, up, draining, admin-down.
        let expected = "\
Initiate      connecting connecting up         draining   admin-down
IkeUp         connecting connecting up         draining   admin-down
ChildUp       up         up         up         draining   admin-down
LastChildDown down       connecting down       draining   admin-down
LastIkeDown   down       down       down       draining   admin-down
TakeDown      admin-down admin-down draining   draining   admin-down
Drained       admin-down admin-down admin-down admin-down admin-down
Restarted     down       down       down       down       admin-down
BringUp       down       connecting up         up         down
";
        assert_eq!(table, expected);
    }

    #[test]
    fn nothing_but_the_operator_ends_admin_down() {
        for event in Event::ALL {
            let ends = next(State::AdminDown, event) != State::AdminDown;
            assert_eq!(ends, event == Event::BringUp);
        }
    }
}

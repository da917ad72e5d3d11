//! Why something was refused, as a value: it becomes a sentence only where
//! somebody reads it, and then one of bounded length.

use std::fmt::{self, Write};
use std::net::IpAddr;

use crate::core::bounded_text::BoundedText;
use crate::core::drop_reason::DropReason;
use crate::peer::config::IkeAlgorithms;
use crate::v2::proposal::select_ike;
use crate::v2::wire::Proposal;

/// Why something was refused; `Display` says what was offered and what expected.
#[derive(Debug, Clone)]
pub enum RefusalReason {
    /// In words already.
    Text(String),
    /// The peer refused us or what we asked for, in words already.
    ByPeer(String),
    /// Always the same words.
    Fixed(&'static str),
    /// A message was dropped, which has its [sentence](DropReason::sentence).
    Dropped(DropReason),
    /// No peer is configured with the sender's address for this one of ours.
    NoPeer(IpAddr),
    /// Proposals for an IKE SA that no candidate accepts.
    NoProposal(Box<NoProposal>),
}

/// What was offered for an IKE SA, and what would have been accepted.
#[derive(Debug, Clone)]
pub struct NoProposal {
    /// The peer's proposals.
    pub offered: Vec<Proposal>,
    /// What the first candidate accepts.
    pub accepted: IkeAlgorithms,
    /// The first candidate's name.
    pub candidate: String,
    /// How many other candidates there are.
    pub others: usize,
}

impl RefusalReason {
    /// Who refused whom, before the address of the other end: `refused 198.51.100.7: …`.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::ByPeer(_) => "refused by",
            _ => "refused",
        }
    }
}

impl fmt::Display for RefusalReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bounded = BoundedText::new(f);
        match self {
            Self::Text(text) | Self::ByPeer(text) => bounded.write_str(text),
            Self::Fixed(text) => bounded.write_str(text),
            Self::Dropped(reason) => match reason.sentence() {
                Some(sentence) => {
                    write!(bounded, "message dropped ({}): {sentence}", reason.name())
                }
                None => write!(bounded, "message dropped ({})", reason.name()),
            },
            Self::NoPeer(local) => write!(
                bounded,
                "no peer with this address is configured at {local}; compare ip_address, and \
                 which of our addresses its tunnel ends on"
            ),
            Self::NoProposal(refused) => write!(bounded, "{refused}"),
        }
    }
}

impl fmt::Display for NoProposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Err(mismatch) = select_ike(&self.accepted, &self.offered) {
            write!(f, "{mismatch} ")?;
        }
        match self.others {
            0 => write!(f, "(phase 1 of {})", self.candidate),
            others => write!(f, "(phase 1 of {} and {others} more)", self.candidate),
        }
    }
}

impl From<String> for RefusalReason {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

#[cfg(test)]
mod tests {
    use super::RefusalReason;
    use crate::core::bounded_text::MAX_SENTENCE;

    #[test]
    fn a_sentence_is_cut_and_control_characters_do_not_pass() {
        let text = RefusalReason::from(format!("a\n\u{1b}[2J{}", "x".repeat(5_000))).to_string();
        assert_eq!(text.chars().count(), MAX_SENTENCE);
        assert!(text.starts_with("a??[2Jx") && text.ends_with('…'));
    }
}

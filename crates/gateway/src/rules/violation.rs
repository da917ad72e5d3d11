//! What is wrong with an object: which rule, where, what was found and what is expected.
//!
//! Where is said by the object's id and the option's name. A reader of a file turns
//! these into a place and a line, an API into an error of its own.

use std::fmt;

use crate::domain::TunnelName;

/// What kind of rule is broken, by AWS's error code where AWS has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The value alone is not allowed.
    InvalidParameterValue,
    /// The value is not allowed beside another one.
    InvalidParameterCombination,
    /// A value must be set and is not.
    MissingParameter,
    /// Another tunnel of the gateway has the inside CIDR.
    InvalidCidrInUse,
    /// The connection has the static route already.
    RouteAlreadyExists,
    /// The connection has more static routes than are allowed.
    RouteLimitExceeded,
    /// Ours: another object of this kind has the id.
    DuplicateId,
    /// Ours: two prefixes that must be apart share addresses.
    PrefixOverlap,
    /// Ours: IKE could not tell the peers of two tunnels apart.
    IndistinguishablePeers,
}

impl Code {
    /// Its name, which stays as it is.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidParameterValue => "InvalidParameterValue",
            Self::InvalidParameterCombination => "InvalidParameterCombination",
            Self::MissingParameter => "MissingParameter",
            Self::InvalidCidrInUse => "InvalidCidr.InUse",
            Self::RouteAlreadyExists => "RouteAlreadyExists",
            Self::RouteLimitExceeded => "RouteLimitExceeded",
            Self::DuplicateId => "DuplicateId",
            Self::PrefixOverlap => "PrefixOverlap",
            Self::IndistinguishablePeers => "IndistinguishablePeers",
        }
    }
}

/// The object that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The gateway itself.
    Gateway,
    /// The network behind the gateway: a VPC, or a customer gateway's premises.
    Vpc,
    /// A customer gateway, by its id.
    CustomerGateway(String),
    /// A VPN connection, by its id.
    VpnConnection(String),
    /// One of a connection's two tunnels.
    Tunnel(TunnelName),
}

/// An option of an object: its name in snake case, and which item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// AWS's name where AWS has the option, `phase1_lifetime_seconds`.
    pub name: &'static str,
    /// The item of the list, counted from 0; None: the option as a whole.
    pub index: Option<usize>,
}

impl Field {
    /// One item of a list.
    #[must_use]
    pub const fn item(name: &'static str, index: usize) -> Self {
        Self {
            name,
            index: Some(index),
        }
    }
}

impl From<&'static str> for Field {
    fn from(name: &'static str) -> Self {
        Self { name, index: None }
    }
}

/// Items count from 1, as tunnels do: `static_routes[2]`.
impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        match self.index {
            Some(index) => write!(f, "[{}]", index.saturating_add(1)),
            None => Ok(()),
        }
    }
}

/// One rule broken by one option of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The kind of rule.
    pub code: Code,
    /// The object.
    pub subject: Subject,
    /// Its option.
    pub field: Field,
    /// The other option that it clashes with, if there is one.
    pub clashes_with: Option<(Subject, Field)>,
    /// What was found; never a secret.
    pub found: String,
    /// What is allowed.
    pub expected: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "found {}, expected {}", self.found, self.expected)
    }
}

/// Why a single value is refused: what was found and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What was found; never a secret.
    pub found: String,
    /// What is allowed.
    pub expected: String,
}

impl Refusal {
    /// `found` and `expected` read as in "found X, expected Y".
    #[must_use]
    pub fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self {
            found: found.into(),
            expected: expected.into(),
        }
    }
}

/// Collects the violations of one object.
#[derive(Debug)]
pub(super) struct Findings {
    subject: Subject,
    pub(super) violations: Vec<Violation>,
}

impl Findings {
    pub(super) const fn about(subject: Subject) -> Self {
        Self {
            subject,
            violations: Vec::new(),
        }
    }

    /// Notes what is wrong with a single value.
    pub(super) fn check(&mut self, field: impl Into<Field>, verdict: Result<(), Refusal>) {
        if let Err(Refusal { found, expected }) = verdict {
            self.refuse(Code::InvalidParameterValue, field, found, expected);
        }
    }

    pub(super) fn refuse(
        &mut self,
        code: Code,
        field: impl Into<Field>,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) {
        self.push(code, field.into(), None, Refusal::new(found, expected));
    }

    /// Notes a value that is wrong because of another one.
    pub(super) fn clash(
        &mut self,
        code: Code,
        field: impl Into<Field>,
        (subject, other): (&Subject, impl Into<Field>),
        refusal: Refusal,
    ) {
        let with = (subject.clone(), other.into());
        self.push(code, field.into(), Some(with), refusal);
    }

    /// As [`Self::clash`], with another option of the same object.
    pub(super) fn clash_within(
        &mut self,
        code: Code,
        field: impl Into<Field>,
        other: impl Into<Field>,
        refusal: Refusal,
    ) {
        let with = (self.subject.clone(), other.into());
        self.push(code, field.into(), Some(with), refusal);
    }

    fn push(
        &mut self,
        code: Code,
        field: Field,
        clashes_with: Option<(Subject, Field)>,
        Refusal { found, expected }: Refusal,
    ) {
        self.violations.push(Violation {
            code,
            subject: self.subject.clone(),
            field,
            clashes_with,
            found,
            expected,
        });
    }
}

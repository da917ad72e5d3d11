//! Errors of the parsers, and the labelled fields that all parsers are built from.

use nom::bytes::complete::take;
use nom::error::{ErrorKind, ParseError};
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};
use nom::{IResult, Offset, Parser};

use crate::v2::wire::DecodeError;

/// The result of a parser of this module.
pub(super) type Parsed<'a, T> = IResult<&'a [u8], T, Fault<'a>>;

/// A [`DecodeError`] whose position is still a slice of the input.
#[derive(Debug)]
pub(super) struct Fault<'a> {
    at: &'a [u8],
    what: &'static str,
    found: String,
    expected: String,
}

impl<'a> Fault<'a> {
    /// The error, with its position counted from the start of `input`.
    pub(super) fn into_error(self, input: &[u8]) -> DecodeError {
        DecodeError::Malformed {
            what: self.what,
            offset: input.offset(self.at),
            found: self.found,
            expected: self.expected,
        }
    }
}

impl<'a> ParseError<&'a [u8]> for Fault<'a> {
    fn from_error_kind(at: &'a [u8], kind: ErrorKind) -> Self {
        Self {
            at,
            what: "message",
            found: octets_left(at),
            expected: kind.description().to_owned(),
        }
    }

    fn append(_: &'a [u8], _: ErrorKind, other: Self) -> Self {
        other
    }
}

fn octets_left(at: &[u8]) -> String {
    format!("{} octets", at.len())
}

/// A failure at the position `at`.
pub(super) fn fault<'a>(
    at: &'a [u8],
    what: &'static str,
    found: impl ToString,
    expected: impl ToString,
) -> nom::Err<Fault<'a>> {
    nom::Err::Error(Fault {
        at,
        what,
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// Adds to a parser's errors the name of the field and what is expected there.
fn field<'a, T>(
    what: &'static str,
    need: usize,
    mut parser: impl Parser<&'a [u8], Output = T, Error = Fault<'a>>,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, T> {
    move |input| {
        parser.parse(input).map_err(|_| {
            let expected = format!("at least {need} octets");
            fault(input, what, octets_left(input), expected)
        })
    }
}

pub(super) fn number8<'a>(what: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u8> {
    field(what, 1, be_u8)
}

pub(super) fn number16<'a>(what: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u16> {
    field(what, 2, be_u16)
}

pub(super) fn number32<'a>(what: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u32> {
    field(what, 4, be_u32)
}

pub(super) fn number64<'a>(what: &'static str) -> impl FnMut(&'a [u8]) -> Parsed<'a, u64> {
    field(what, 8, be_u64)
}

pub(super) fn octets<'a>(
    what: &'static str,
    count: usize,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    field(what, count, take(count))
}

/// The content of a structure whose length field counts its own `header` octets too.
pub(super) fn content<'a>(
    what: &'static str,
    length: u16,
    header: usize,
) -> impl FnMut(&'a [u8]) -> Parsed<'a, &'a [u8]> {
    move |input| match usize::from(length).checked_sub(header) {
        Some(count) => octets(what, count)(input),
        None => Err(fault(
            input,
            what,
            format!("length {length}"),
            format!("a length of at least {header}"),
        )),
    }
}

/// Refuses octets after the end of a structure.
pub(super) fn end<'a>(what: &'static str, rest: &'a [u8]) -> Result<(), nom::Err<Fault<'a>>> {
    if rest.is_empty() {
        return Ok(());
    }
    Err(fault(rest, what, octets_left(rest), "its end"))
}

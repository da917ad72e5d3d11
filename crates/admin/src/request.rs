//! From a line of JSON to something we may do.

use vgw_gateway::domain::TunnelName;

use crate::wire;

/// A request may not be longer, octets without its newline. The longest valid
/// one is a tunnel's name and a little around it.
pub const MAX_REQUEST: usize = 4096;

/// What a client may ask, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// How everything is.
    Status,
    /// Apply a changed configuration.
    Reload,
    /// Do something with a tunnel.
    Order(Order, TunnelName),
}

/// What may be done with a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Drain it and take it down.
    Down,
    /// Bring it back.
    Up,
    /// Rekey its IKE SA, or the CHILD SA that it sends with.
    Rekey(wire::RekeyTarget),
}

/// Why a line is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`MAX_REQUEST`].
    #[error("request of {0} octets, expected {MAX_REQUEST} at most")]
    TooLong(usize),
    /// Not JSON, or not a request.
    #[error("not a request: {0}")]
    Json(#[from] serde_json::Error),
    /// Not a tunnel's name.
    #[error("tunnel {0:?}, expected a connection and 1 or 2, as in \"vpn-office/1\"")]
    Tunnel(String),
}

/// Reads one line. Total: any octets give a request or an error.
///
/// # Errors
/// What was found instead of a request.
pub fn parse_request(line: &[u8]) -> Result<Request, RequestError> {
    if line.len() > MAX_REQUEST {
        return Err(RequestError::TooLong(line.len()));
    }
    Ok(match serde_json::from_slice(line)? {
        wire::Request::Status => Request::Status,
        wire::Request::Reload => Request::Reload,
        wire::Request::TunnelDown { tunnel } => order(Order::Down, &tunnel)?,
        wire::Request::TunnelUp { tunnel } => order(Order::Up, &tunnel)?,
        wire::Request::Rekey { tunnel, what } => order(Order::Rekey(what), &tunnel)?,
    })
}

fn order(order: Order, tunnel: &str) -> Result<Request, RequestError> {
    Ok(Request::Order(order, tunnel_name(tunnel)?))
}

fn tunnel_name(text: &str) -> Result<TunnelName, RequestError> {
    let wrong = || RequestError::Tunnel(text.to_owned());
    let (connection, number) = text.rsplit_once('/').ok_or_else(wrong)?;
    let number = match number {
        "1" => 1,
        "2" => 2,
        _ => return Err(wrong()),
    };
    if connection.is_empty() {
        return Err(wrong());
    }
    Ok(TunnelName {
        connection: connection.to_owned(),
        number,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vgw_gateway::domain::TunnelName;

    use super::{MAX_REQUEST, Order, Request, parse_request};
    use crate::wire;

    fn office(number: u8) -> TunnelName {
        TunnelName {
            connection: "vpn-office".to_owned(),
            number,
        }
    }

    #[test]
    fn every_request_is_read() {
        let read = |text: &str| parse_request(text.as_bytes()).unwrap();
        assert_eq!(read(r#"{"request":"status"}"#), Request::Status);
        assert_eq!(read(r#"{"request":"reload"}"#), Request::Reload);
        assert_eq!(
            read(r#"{"request":"tunnel_down","tunnel":"vpn-office/1"}"#),
            Request::Order(Order::Down, office(1))
        );
        assert_eq!(
            read(r#"{"request":"tunnel_up","tunnel":"vpn-office/2"}"#),
            Request::Order(Order::Up, office(2))
        );
        assert_eq!(
            read(r#"{"request":"rekey","tunnel":"vpn-office/2","what":"ike"}"#),
            Request::Order(Order::Rekey(wire::RekeyTarget::Ike), office(2))
        );
    }

    #[test]
    fn a_refused_request_is_told_what_was_found() {
        let refused = |text: &str| parse_request(text.as_bytes()).unwrap_err().to_string();
        let error = refused(r#"{"request":"tunnel_down","tunnel":"vpn-office/3"}"#);
        assert!(error.contains("vpn-office/3"), "{error}");
        let error = refused(r#"{"request":"explode"}"#);
        assert!(error.contains("explode"), "{error}");
        for text in ["", "{}", "[]", "\"status\"", r#"{"request":"tunnel_up"}"#] {
            refused(text);
        }
        refused(r#"{"request":"tunnel_up","tunnel":"/1"}"#);
    }

    #[test]
    fn a_request_that_is_too_long_is_not_parsed_at_all() {
        let long = vec![b'['; MAX_REQUEST + 1];
        let error = parse_request(&long).unwrap_err().to_string();
        assert!(error.contains("4097 octets"), "{error}");
    }

    proptest! {
        #[test]
        fn any_octets_give_a_request_or_an_error(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse_request(&line);
        }

        #[test]
        fn any_tunnel_name_gives_a_request_or_an_error(name in ".{0,40}") {
            let request = wire::Request::TunnelUp { tunnel: name.clone() };
            let line = serde_json::to_vec(&request).unwrap();
            if let Ok(Request::Order(Order::Up, tunnel)) = parse_request(&line) {
                prop_assert_eq!(tunnel.to_string(), name);
            }
        }
    }
}

//! Whole configurations, good and bad.

mod examples;
mod keys;
mod messages;
mod rules;
mod schema;
mod total;

use super::{Loaded, Problem, load_str};

/// A configuration with nothing in it that need not be.
const SMALLEST: &str = include_str!("../../../tests/smallest.toml");

/// The same connection as [`SMALLEST`]'s, at its other end.
const OTHER_END: &str = r#"
[gateway]
side = "customer-gateway"

[on_premises]
cidrs = ["192.168.0.0/24"]

[[customer_gateway]]
id = "cgw-office"
ip_address = "198.51.100.7"

[[vpn_connection]]
id = "vpn-office"
customer_gateway = "cgw-office"
static_routes = ["192.168.0.0/24"]
vpc_cidrs = ["10.0.0.0/16"]

[[vpn_connection.tunnel]]
outside_address = "203.0.113.1"
tunnel_inside_cidr = "169.254.10.0/30"
pre_shared_key = "abcdefgh.1"

[[vpn_connection.tunnel]]
outside_address = "203.0.113.2"
tunnel_inside_cidr = "169.254.10.4/30"
pre_shared_key = "abcdefgh.2"
"#;

/// A second site for [`SMALLEST`].
const SECOND_SITE: &str = r#"
[[customer_gateway]]
id = "cgw-branch"
identity = "fqdn:branch.example"

[[vpn_connection]]
id = "vpn-branch"
customer_gateway = "cgw-branch"
static_routes = ["192.168.1.0/24"]

[[vpn_connection.tunnel]]
tunnel_inside_cidr = "169.254.11.0/30"
pre_shared_key = "abcdefgh.3"

[[vpn_connection.tunnel]]
tunnel_inside_cidr = "169.254.11.4/30"
pre_shared_key = "abcdefgh.4"
"#;

/// `text` with its first `old` replaced, which must be there.
fn with(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "no {old:?} to replace");
    text.replacen(old, new, 1)
}

/// `text` with lines added to its first tunnel.
fn with_option(text: &str, line: &str) -> String {
    let head = "[[vpn_connection.tunnel]]\n";
    with(text, head, &format!("{head}{line}\n"))
}

fn accepted(text: &str) -> Loaded {
    load_str(text, "vgw.toml").unwrap_or_else(|problems| panic!("refused: {}", lines(&problems)))
}

/// The problems of a configuration, one a line.
fn refused(text: &str) -> String {
    match load_str(text, "vgw.toml") {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(problems) => lines(&problems),
    }
}

fn lines(problems: &[Problem]) -> String {
    let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
    lines.join("\n")
}

//! Rules of a customer gateway.

use vgw_ike::identity::Identity;

use super::options::{self, CUSTOMER_ASN};
use super::{Findings, Refusal, Subject, Violation, addresses};
use crate::domain::CustomerGateway;

/// Longest identity, in octets: what a DNS name may have.
const IDENTITY_LENGTH: usize = 255;

/// Names everything that is wrong with a customer gateway.
#[must_use]
pub fn customer_gateway(customer: &CustomerGateway) -> Vec<Violation> {
    let mut findings = Findings::about(Subject::CustomerGateway(customer.id.clone()));
    findings.check("id", options::id(&customer.id));
    if let Some(address) = customer.ip_address {
        findings.check("ip_address", addresses::outside_address(address));
    }
    findings.check("identity", identity(&customer.identity));
    findings.check("bgp_asn", CUSTOMER_ASN.check(u64::from(customer.asn)));
    findings.violations
}

/// Checks what an ID payload may carry.
pub(super) fn identity(identity: &Identity) -> Result<(), Refusal> {
    let (_, data) = identity.to_wire();
    let found = || format!("{identity}");
    if data.is_empty() || data.len() > IDENTITY_LENGTH {
        return Err(Refusal::new(
            format!("an identity of {} octets", data.len()),
            format!("1 to {IDENTITY_LENGTH} octets"),
        ));
    }
    let visible = data.iter().all(u8::is_ascii_graphic);
    match identity {
        Identity::Fqdn(_) | Identity::Email(_) if !visible => Err(Refusal::new(
            format!("{:?}", found()),
            "visible ASCII characters only",
        )),
        // A mistyped address would else pass for a name.
        Identity::Fqdn(name) if !is_host_name(name) => Err(Refusal::new(
            found(),
            "an address, or a host name, which has a letter and no : or @",
        )),
        Identity::Email(address) if !address.contains('@') => {
            Err(Refusal::new(found(), "an e-mail address, name@host"))
        }
        _ => Ok(()),
    }
}

fn is_host_name(name: &str) -> bool {
    name.chars().any(|c| c.is_ascii_alphabetic()) && !name.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use super::{Subject, customer_gateway, identity};
    use crate::domain::CustomerGateway;
    use vgw_ike::identity::Identity;

    fn office() -> CustomerGateway {
        CustomerGateway {
            id: "cgw-office".to_owned(),
            ip_address: Some("198.51.100.7".parse().unwrap()),
            identity: Identity::Fqdn("office.example".to_owned()),
            asn: 65_000,
        }
    }

    #[test]
    fn a_customer_gateway_may_have_any_asn_but_zero() {
        for (asn, good) in [(0, false), (1, true), (4_294_967_295, true)] {
            let customer = CustomerGateway { asn, ..office() };
            let violations = customer_gateway(&customer);
            assert_eq!(violations.is_empty(), good, "{violations:?}");
        }
    }

    #[test]
    fn a_violation_names_the_object_and_the_field() {
        let customer = CustomerGateway {
            id: "a b".to_owned(),
            asn: 0,
            ..office()
        };
        let violations = customer_gateway(&customer);
        let fields: Vec<&str> = violations.iter().map(|v| v.field.name).collect();
        assert_eq!(fields, ["id", "bgp_asn"]);
        let subject = Subject::CustomerGateway("a b".to_owned());
        assert!(violations.iter().all(|v| v.subject == subject));
    }

    #[test]
    fn identities_are_visible_and_of_a_length_that_fits() {
        for good in [
            Identity::Fqdn("gw.example".to_owned()),
            Identity::Email("gw@example".to_owned()),
            Identity::KeyId(vec![0; 255]),
        ] {
            assert_eq!(identity(&good), Ok(()));
        }
        for bad in [
            Identity::Fqdn(String::new()),
            Identity::Fqdn("a b".to_owned()),
            Identity::Fqdn("gw@example".to_owned()),
            Identity::Fqdn("198.51.100.256".to_owned()),
            Identity::Fqdn("2001:db8::g".to_owned()),
            Identity::Email("gw.example".to_owned()),
            Identity::KeyId(Vec::new()),
            Identity::KeyId(vec![0; 256]),
        ] {
            assert!(identity(&bad).is_err(), "{bad}");
        }
    }
}

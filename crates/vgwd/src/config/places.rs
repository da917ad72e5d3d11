//! Where the file has the objects and options that the rules name by id.

use std::collections::BTreeMap;

use vgw_gateway::domain::{CustomerGateway, Gateway, Side, TunnelName};
use vgw_gateway::rules::{Field, Subject};

/// The tables of the file, by the objects that they make.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The name of the table with the network behind us.
    network: &'static str,
    customer_gateways: BTreeMap<String, String>,
    vpn_connections: BTreeMap<String, String>,
}

impl Places {
    /// Of customer gateways alone, in the order of the file.
    pub(super) fn of_customers<'a>(
        customers: impl IntoIterator<Item = &'a CustomerGateway>,
    ) -> Self {
        let ids = customers.into_iter().map(|customer| &customer.id);
        Self {
            customer_gateways: numbered("customer_gateway", ids),
            ..Self::default()
        }
    }

    /// Of a gateway and its connections, in the order of the file.
    pub(super) fn of(gateway: &Gateway) -> Self {
        let ids = gateway.connections.iter().map(|connection| &connection.id);
        Self {
            network: match gateway.side {
                Side::VirtualPrivateGateway => "vpc",
                Side::CustomerGateway => "on_premises",
            },
            vpn_connections: numbered("vpn_connection", ids),
            ..Self::default()
        }
    }

    /// The name of an option in the file, `vpn_connection[1].tunnel[2].identity`.
    pub(super) fn field(&self, subject: &Subject, field: Field) -> String {
        format!("{}.{field}", self.subject(subject))
    }

    /// The name of the table that says most of this, `vpn_connection[1]`.
    pub(super) fn subject(&self, subject: &Subject) -> String {
        match subject {
            Subject::Gateway => "gateway".to_owned(),
            Subject::Vpc => self.network.to_owned(),
            Subject::CustomerGateway(id) => named(&self.customer_gateways, id),
            Subject::VpnConnection(id) => named(&self.vpn_connections, id),
            Subject::Tunnel(TunnelName { connection, number }) => {
                format!(
                    "{}.tunnel[{number}]",
                    named(&self.vpn_connections, connection)
                )
            }
        }
    }
}

fn numbered<'a>(table: &str, ids: impl Iterator<Item = &'a String>) -> BTreeMap<String, String> {
    let numbered = (1..).zip(ids);
    let places =
        numbered.map(|(number, id): (usize, _)| (id.clone(), format!("{table}[{number}]")));
    places.collect()
}

/// Every id in the file is there, as the reader has given each table one of its own.
fn named(places: &BTreeMap<String, String>, id: &str) -> String {
    places.get(id).cloned().unwrap_or_default()
}

//! The tunnel supervisor and the domain: connections, tunnels, failover, routes.

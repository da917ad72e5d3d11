//! Scenarios in network namespaces against real peers.

//! Network namespaces, veth pairs and probes for the demo, the scenarios and the benches.

//! The IKEv2 negotiator: codecs and state machines without I/O.

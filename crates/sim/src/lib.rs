//! A network in memory with virtual time, replayed from a seed.

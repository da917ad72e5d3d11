//! The ESP packet transform: sequence numbers, anti-replay, seal and open in place.

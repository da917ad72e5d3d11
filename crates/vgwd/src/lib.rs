//! The virtual private gateway daemon and its command line.

//! The command line; `vgw --help` tells what it does.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a command line reads the clock and does I/O; the bans are for the pure crates"
)]

mod cli;
mod demo;
mod status_table;

fn main() -> std::process::ExitCode {
    cli::main()
}

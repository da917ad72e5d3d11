//! The command line of `vgwd`, which `vgw run` has too.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser};

use crate::failure::{self, Failure};
use crate::{config, daemon, privileges};

/// Where the configuration is unless a command line says otherwise.
pub const CONFIG: &str = "/etc/vgw/vgw.toml";

/// What follows a help text.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; the message says why
  2  the command line is wrong
  3  the configuration is wrong
  4  no daemon answers at the control socket";

/// Options of the daemon.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// The configuration.
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

/// The daemon: everything a service manager starts.
#[derive(Debug, Parser)]
#[command(name = "vgwd", version, after_help = EXIT_CODES)]
struct CommandLine {
    #[command(flatten)]
    options: RunOptions,
}

/// What `vgwd` does.
#[must_use]
pub fn main() -> ExitCode {
    failure::exit("vgwd", run(&CommandLine::parse().options))
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// What is wrong with the machine, or the configuration.
pub fn run(options: &RunOptions) -> Result<(), Failure> {
    // Before anything is read: advice about files would be for the wrong user.
    privileges::check_start().map_err(|error| Failure::Other(error.into()))?;
    let loaded = config::load(&options.config).map_err(Failure::Configuration)?;
    daemon::run(&options.config, loaded).map_err(Failure::Other)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::CommandLine;

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        CommandLine::command().debug_assert();
    }
}

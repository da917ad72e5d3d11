//! The command lines of `vgw` and `vgwd`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::admin::wire::{Request, What};
use crate::{config, daemon, demo, privileges};

mod ask;
mod check;
mod failure;
mod guard;
mod print;

use failure::Failure;

const CONFIG: &str = "/etc/vgw/vgw.toml";
const SOCKET: &str = "/run/vgw/control.sock";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed; the message says why
  2  the command line is wrong
  3  the configuration is wrong
  4  no daemon answers at the control socket";

/// Site-to-site IPsec VPNs, from the cloud side or from the on-premises side.
///
/// `side` of the configuration says which: a virtual private gateway, or a customer gateway.
#[derive(Debug, Parser)]
#[command(name = "vgw", version, after_help = EXIT_CODES)]
struct CommandLine {
    /// The daemon's control socket.
    #[arg(long, global = true, default_value = SOCKET, value_name = "PATH")]
    socket: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the daemon, as vgwd does.
    Run(RunOptions),
    /// Says what is wrong with a configuration, and where.
    Check {
        /// The configuration.
        #[arg(default_value = CONFIG)]
        file: PathBuf,
        /// Who runs the daemon and must be able to read what the file names. By default vgw,
        /// if that is a user here and root checks, else whoever checks.
        #[arg(long, value_name = "NAME")]
        user: Option<String>,
    },
    /// Applies a changed configuration; connections that did not change lose no packet.
    Reload,
    /// Shows connections, tunnels, and what went wrong last.
    Status {
        /// For scripts.
        #[arg(long)]
        json: bool,
        /// Again and again, every second.
        #[arg(long)]
        watch: bool,
    },
    /// Takes a tunnel down, brings it back, rekeys it.
    Tunnel {
        #[command(subcommand)]
        command: TunnelCommand,
    },
    /// Keeps what is for tunnels from leaving in clear before there is a daemon: at boot.
    Guard {
        /// The configuration.
        #[arg(default_value = CONFIG)]
        file: PathBuf,
    },
    /// Removes the routes that a daemon left so that nothing leaves in clear.
    Flush {
        /// The configuration that it had.
        #[arg(default_value = CONFIG)]
        file: PathBuf,
        /// Also while a daemon answers.
        #[arg(long)]
        force: bool,
    },
    /// Shows all of it at work on this machine, between network namespaces.
    Demo(demo::Args),
}

/// Options of the daemon.
#[derive(Debug, Args)]
struct RunOptions {
    /// The configuration.
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum TunnelCommand {
    /// Moves traffic to the other tunnel, then takes this one down until `up`.
    Down(TunnelArgument),
    /// Brings a tunnel back that was taken down.
    Up(TunnelArgument),
    /// Replaces the keys now.
    Rekey {
        #[command(flatten)]
        tunnel: TunnelArgument,
        /// Of the IKE SA instead of its CHILD SAs.
        #[arg(long)]
        ike: bool,
    },
}

#[derive(Debug, Args)]
struct TunnelArgument {
    /// Connection and number, as in vpn-office/1.
    tunnel: String,
}

/// The daemon: everything a service manager starts.
#[derive(Debug, Parser)]
#[command(name = "vgwd", version, after_help = EXIT_CODES)]
struct DaemonCommandLine {
    #[command(flatten)]
    options: RunOptions,
}

/// What `vgw` does.
#[must_use]
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    let outcome = match line.command {
        Command::Run(options) => run(&options),
        Command::Check { file, user } => check::check(&file, user.as_deref()),
        Command::Guard { file } => guard::guard(&file),
        Command::Flush { file, force } => guard::flush(&file, force),
        Command::Reload => ask::act(&line.socket, &Request::Reload),
        Command::Status { json, watch } => ask::status(&line.socket, json, watch),
        Command::Tunnel { command } => ask::act(&line.socket, &request(command)),
        Command::Demo(args) => demo::run(&args).map_err(Failure::Other),
    };
    failure::exit("vgw", outcome)
}

/// What `vgwd` does.
#[must_use]
pub fn daemon_main() -> ExitCode {
    failure::exit("vgwd", run(&DaemonCommandLine::parse().options))
}

fn run(options: &RunOptions) -> Result<(), Failure> {
    // Before anything is read: advice about files would be for the wrong user.
    privileges::check_start().map_err(|error| Failure::Other(error.into()))?;
    let loaded = config::load(&options.config).map_err(Failure::Configuration)?;
    daemon::run(&options.config, loaded).map_err(Failure::Other)
}

fn request(command: TunnelCommand) -> Request {
    match command {
        TunnelCommand::Down(TunnelArgument { tunnel }) => Request::TunnelDown { tunnel },
        TunnelCommand::Up(TunnelArgument { tunnel }) => Request::TunnelUp { tunnel },
        TunnelCommand::Rekey {
            tunnel: TunnelArgument { tunnel },
            ike,
        } => Request::Rekey {
            tunnel,
            what: if ike { What::Ike } else { What::Child },
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::{CommandLine, DaemonCommandLine};

    #[test]
    fn help_names_both_ends() {
        let help = CommandLine::command().render_long_help().to_string();
        assert!(
            help.contains("a virtual private gateway, or a customer gateway"),
            "{help}"
        );
    }

    #[test]
    fn the_command_lines_do_not_contradict_themselves() {
        CommandLine::command().debug_assert();
        DaemonCommandLine::command().debug_assert();
    }
}

//! The command line of `vgw`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use vgw_admin::wire::{RekeyTarget, Request};
use vgwd::command_line::{CONFIG, EXIT_CODES, RunOptions, run};
use vgwd::failure::{self, Failure};

use crate::demo;

mod ask;
mod check;
mod guard;
mod print;

const SOCKET: &str = "/run/vgw/control.sock";

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
        /// Of the IKE SA instead of the CHILD SA that it sends with.
        #[arg(long)]
        ike: bool,
    },
}

#[derive(Debug, Args)]
struct TunnelArgument {
    /// Connection and number, as in vpn-office/1.
    tunnel: String,
}

/// What `vgw` does.
pub(crate) fn main() -> ExitCode {
    let line = CommandLine::parse();
    let outcome = match line.command {
        Command::Run(options) => run(&options),
        Command::Check { file, user } => check::check(&file, user.as_deref()),
        Command::Guard { file } => guard::guard(&file),
        Command::Flush { file, force } => guard::flush(&file, force),
        Command::Reload => ask::act(&line.socket, &Request::Reload),
        Command::Status { json, watch } => ask::status(&line.socket, json, watch),
        Command::Tunnel { command } => ask::operate(&line.socket, &request(command)),
        Command::Demo(args) => demo::run(&args).map_err(Failure::Other),
    };
    failure::exit("vgw", outcome)
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
            what: if ike {
                RekeyTarget::Ike
            } else {
                RekeyTarget::Child
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::CommandLine;

    #[test]
    fn help_names_both_ends() {
        let help = CommandLine::command().render_long_help().to_string();
        assert!(
            help.contains("a virtual private gateway, or a customer gateway"),
            "{help}"
        );
    }

    #[test]
    fn the_command_line_does_not_contradict_itself() {
        CommandLine::command().debug_assert();
    }
}

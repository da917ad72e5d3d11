//! Why a command failed, in words and as an exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::config::Problem;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong.
    Configuration(Vec<Problem>),
    /// Nobody answers at the control socket.
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The daemon says why not.
    Refused(Vec<String>),
    /// Anything else.
    Other(anyhow::Error),
}

/// Says why `program` failed, if it did, on standard error. Gives its exit code.
#[must_use]
pub fn exit(program: &str, outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    for line in failure.lines() {
        eprintln!("{program}: {line}");
    }
    ExitCode::from(failure.code())
}

impl Failure {
    const fn code(&self) -> u8 {
        match self {
            Self::Refused(_) | Self::Other(_) => 1,
            Self::Configuration(_) => 3,
            Self::Unreachable { .. } => 4,
        }
    }

    /// What to say, a line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::Configuration(problems) => problems.iter().map(ToString::to_string).collect(),
            Self::Unreachable { socket, error } => {
                let hint = match error.kind() {
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                        "is vgwd running? systemctl status vgwd; --socket names another place"
                    }
                    io::ErrorKind::PermissionDenied => "run this as root or in the socket's group",
                    _ => "see the daemon's log: journalctl -u vgwd",
                };
                vec![format!(
                    "no answer at {}: {error}; {hint}",
                    socket.display()
                )]
            }
            Self::Refused(lines) => lines.clone(),
            Self::Other(error) => vec![format!("{error:#}")],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::Failure;

    #[test]
    fn somebody_whose_daemon_is_not_running_is_told_so() {
        let failure = Failure::Unreachable {
            socket: "/run/vgw/control.sock".into(),
            error: io::Error::from(io::ErrorKind::NotFound),
        };
        assert_eq!(failure.code(), 4);
        let lines = failure.lines();
        assert!(lines[0].contains("/run/vgw/control.sock"), "{lines:?}");
        assert!(lines[0].contains("is vgwd running?"), "{lines:?}");
    }
}

//! CPU time of processes.

use std::time::Duration;

use anyhow::{Context, Result};
use nix::unistd::{SysconfVar, sysconf};

/// CPU time, user and system, that these processes have used since they began.
///
/// # Errors
/// When one has ended.
pub fn used(processes: &[u32]) -> Result<Duration> {
    let of = |process| time(&format!("/proc/{process}/stat"));
    processes.iter().map(of).sum()
}

/// The same of a process's first thread alone.
///
/// # Errors
/// When it has ended.
pub fn of_main_thread(process: u32) -> Result<Duration> {
    time(&format!("/proc/{process}/task/{process}/stat"))
}

fn time(path: &str) -> Result<Duration> {
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the system tells no clock tick")?;
    let stat = std::fs::read_to_string(path).with_context(|| format!("reading {path}"))?;
    let ticks = parse(&stat).with_context(|| format!("{path} says {stat}"))?;
    Ok(Duration::from_millis(
        ticks * 1000 / u64::try_from(per_second)?,
    ))
}

/// proc_pid_stat(5): fields 14 and 15; the name, in parentheses, is the second.
fn parse(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "77 (a ) b) S 1 77 77 0 -1 4194560 1 2 3 4 150 25 6 7 20 0 3 0 99 5 6";
        assert_eq!(parse(stat), Some(175));
        assert_eq!(parse("77 (short) S 1"), None);
    }

    #[test]
    fn this_process_has_its_own_time() {
        let before = used(&[std::process::id()]).unwrap();
        assert!(used(&[std::process::id()]).unwrap() >= before);
        assert!(
            of_main_thread(std::process::id()).unwrap() <= used(&[std::process::id()]).unwrap()
        );
    }
}

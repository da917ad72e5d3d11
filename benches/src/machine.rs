//! What the figures were measured on, and with which peers.

use std::path::Path;
use std::process::Command;

/// Lines that describe the machine and its load.
pub fn describe() -> Vec<String> {
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("an unknown CPU", |(_, model)| model);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load = load.split(' ').next().unwrap_or_default();
    vec![
        format!("{model}, {cores} cores, Linux {}", kernel.trim()),
        format!("load average at the start: {load} (expected: near 0)"),
        format!(
            "revision {}",
            first_line(Command::new("git").args(["describe", "--always", "--dirty"]))
        ),
    ]
}

/// What a program says of its version, or how that failed.
pub fn version(program: &Path) -> String {
    first_line(Command::new(program).arg("--version"))
}

/// The version of a Debian package.
pub fn package_version(name: &str) -> String {
    let version = first_line(Command::new("dpkg-query").args(["-W", "-f=${Version}", name]));
    format!("{name} {version}")
}

fn first_line(command: &mut Command) -> String {
    match command.output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            text.lines().next().unwrap_or("of no version").to_owned()
        }
        Err(error) => format!("does not start: {error}"),
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

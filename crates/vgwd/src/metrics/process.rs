//! What every Prometheus client says of its process, under the names that all use.

use std::fmt::Error;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;

/// Counters here carry no exemplars.
pub(super) type NoExemplar = [(&'static str, &'static str); 0];

/// In which proc(5) counts time, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// The process as proc(5) shows it; None for what it does not.
#[derive(Debug, Clone, Default)]
pub struct Process {
    /// When it started, seconds since 1970.
    pub started: f64,
    /// User and system time of all threads, seconds.
    pub cpu: Option<f64>,
    /// Resident memory, bytes.
    pub resident: Option<u64>,
    /// Virtual memory, bytes.
    pub virtual_memory: Option<u64>,
    /// Open file descriptors.
    pub open_files: Option<u64>,
    /// The most that there may be.
    pub most_files: Option<u64>,
}

impl Process {
    /// As it is now.
    #[must_use]
    pub fn now(started: f64) -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let status = text("status").unwrap_or_default();
        // One of them is that of the list itself.
        let files = fs::read_dir("/proc/self/fd").ok();
        Self {
            started,
            cpu: text("stat").as_deref().and_then(cpu),
            resident: kibibytes(&status, "VmRSS:"),
            virtual_memory: kibibytes(&status, "VmSize:"),
            open_files: files.map(|files| {
                let count = u64::try_from(files.count()).unwrap_or(u64::MAX);
                count.saturating_sub(1)
            }),
            most_files: text("limits").as_deref().and_then(most_files),
        }
    }
}

/// User and system time: the 14th and 15th field; the second one is a name in
/// parentheses, which may hold anything.
fn cpu(stat: &str) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<f64>().ok();
    Some((ticks()? + ticks()?) / TICKS_PER_SECOND)
}

fn kibibytes(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    number.checked_mul(1024)
}

fn most_files(limits: &str) -> Option<u64> {
    let mut lines = limits.lines();
    let value = lines.find_map(|line| line.strip_prefix("Max open files"))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        if let Some(cpu) = self.cpu {
            let help = "User and system time of all threads";
            encoder
                .encode_descriptor("process_cpu_seconds", help, None, MetricType::Counter)?
                .encode_counter::<NoExemplar, _, u64>(&cpu, None)?;
        }
        let mut gauge = |name: &str, help: &str, value: Option<u64>| match value {
            Some(value) => encoder
                .encode_descriptor(name, help, None, MetricType::Gauge)?
                .encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
            None => Ok(()),
        };
        gauge(
            "process_resident_memory_bytes",
            "Resident memory",
            self.resident,
        )?;
        gauge(
            "process_virtual_memory_bytes",
            "Virtual memory",
            self.virtual_memory,
        )?;
        gauge("process_open_fds", "Open file descriptors", self.open_files)?;
        let help = "The most file descriptors that may be open";
        gauge("process_max_fds", help, self.most_files)?;
        let help = "When the daemon started, in seconds since 1970";
        encoder
            .encode_descriptor("process_start_time_seconds", help, None, MetricType::Gauge)?
            .encode_gauge(&self.started)
    }
}

#[cfg(test)]
mod tests {
    use super::{Process, cpu, kibibytes, most_files};

    #[test]
    fn what_proc_shows_is_read_and_anything_else_is_nothing() {
        let stat = "7 (a) b) c) S 1 7 7 0 -1 4194304 1 0 0 0 150 50 0 0 20 0 9 0 1 2 3";
        assert_eq!(cpu(stat), Some(2.0));
        assert_eq!(cpu("7 (vgw"), None);
        assert_eq!(cpu("7 (vgw) S 1"), None);
        let status = "Name:\tvgw\nVmSize:\t  2048 kB\nVmRSS:\t   64 kB\n";
        assert_eq!(kibibytes(status, "VmRSS:"), Some(65_536));
        assert_eq!(kibibytes(status, "VmPeak:"), None);
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files  1024  4096  files\n";
        assert_eq!(most_files(limits), Some(1024));
        assert_eq!(most_files("Max open files unlimited unlimited"), None);
    }

    #[test]
    fn this_process_has_all_of_it() {
        let now = Process::now(1.0);
        let seen = [
            now.resident,
            now.virtual_memory,
            now.open_files,
            now.most_files,
        ];
        assert!(
            seen.iter().all(|seen| seen.is_some_and(|seen| seen > 0)),
            "{now:?}"
        );
        assert!(
            now.cpu.is_some() && now.open_files < now.most_files,
            "{now:?}"
        );
    }
}

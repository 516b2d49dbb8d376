//! The process's own numbers, under the names that every Prometheus client library uses.
//!
//! Source: proc(5). Elsewhere than on Linux nothing is given.

use std::fs;

use super::family::{self, Family, Sample};
use super::observed::Emit;

/// Ticks a second in /proc: `USER_HZ`, which is 100 on each architecture that Rust runs on.
const TICKS: f64 = 100.0;

/// Gives what can be read; what cannot is left out.
pub(super) fn sample(emit: Emit<'_>) {
    let mut give = |family: &'static Family, value: Option<f64>| {
        if let Some(value) = value {
            emit(Sample { family, labels: &[], value });
        }
    };
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    give(&family::PROCESS_CPU, cpu_seconds(&stat));
    give(&family::PROCESS_START, start_seconds(&stat, &fs::read_to_string("/proc/stat").unwrap_or_default()));
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    give(&family::PROCESS_RESIDENT, field(&status, "VmRSS:").map(|kibibytes| kibibytes * 1024.0));
    give(&family::PROCESS_VIRTUAL, field(&status, "VmSize:").map(|kibibytes| kibibytes * 1024.0));
    give(&family::PROCESS_THREADS, field(&status, "Threads:"));
    // The folder's own descriptor is one of those listed.
    let open = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count().saturating_sub(1) as f64);
    give(&family::PROCESS_OPEN_FDS, open);
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    give(&family::PROCESS_MAX_FDS, field(&limits, "Max open files"));
}

/// The first number after a name at a line's start.
fn field(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// Fields 14 and 15, `utime` and `stime`, counted after the command, which may hold spaces and parentheses.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let ticks = |n| after_command(stat)?.split_whitespace().nth(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// Field 22, `starttime`, in ticks since boot.
fn start_seconds(stat: &str, system: &str) -> Option<f64> {
    let ticks: f64 = after_command(stat)?.split_whitespace().nth(19)?.parse().ok()?;
    Some(field(system, "btime")? + ticks / TICKS)
}

fn after_command(stat: &str) -> Option<&str> {
    stat.rsplit_once(')').map(|(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a) b) S 1 42 42 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 4 0 1000 0 0";

    #[test]
    fn reads_times_behind_a_command_with_parentheses() {
        assert_eq!(cpu_seconds(STAT), Some(3.0));
        assert_eq!(start_seconds(STAT, "cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_010.0));
        assert_eq!((cpu_seconds(""), start_seconds("", "")), (None, None));
    }

    #[test]
    fn reads_fields_by_name() {
        assert_eq!(field("VmSize:\t  8 kB\nVmRSS:\t  4 kB\n", "VmRSS:"), Some(4.0));
        assert_eq!(field("Max open files            1024     4096     files", "Max open files"), Some(1024.0));
        assert_eq!(field("", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn gives_each_number_on_linux() {
        let mut given = Vec::new();
        sample(&mut |sample| given.push((sample.family.name(), sample.value)));
        assert_eq!(given.len(), 7, "{given:?}");
        assert!(given.iter().all(|(name, value)| *value > 0.0 || *name == "process_cpu_seconds_total"), "{given:?}");
    }
}

//! Samples how much memory the process has, and finds out how much it may have.
//!
//! Source: proc(5), cgroups(7), the kernel's `cgroup-v2.rst` and `cgroup-v1/memory.rst`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::pressure::{Change, Memory};
use crate::snapshot::Snapshot;

/// Time between two samples. A gigabyte a second is allocated at most, and the last tenth is there for that.
const EVERY: Duration = Duration::from_millis(100);
/// Samples after which the system's limit is looked up again: limits of Pods may be changed in place.
const LOOK_AGAIN: u32 = 100;
/// Samples after which the allocator is asked for what it can give back.
const GIVE_BACK: u32 = 10;
/// Bytes of a block that no other shares memory with.
const BLOCK: usize = 2 << 20;

/// Samples on a thread of its own, for as long as somebody holds the snapshot: serving threads may be busy.
pub(super) fn watch(memory: Arc<Memory>, snapshot: &Arc<ArcSwap<Snapshot>>) -> anyhow::Result<()> {
    let snapshot: Weak<ArcSwap<Snapshot>> = Arc::downgrade(snapshot);
    let mut of_system = system_limit(Path::new("/"));
    sample(&memory, snapshot.upgrade().and_then(|it| configured(&it)), of_system);
    let looks = move || {
        let mut samples = 0_u32;
        while let Some(configured) = snapshot.upgrade().map(|it| configured(&it)) {
            if samples.is_multiple_of(LOOK_AGAIN) {
                of_system = system_limit(Path::new("/"));
            }
            if samples.is_multiple_of(GIVE_BACK) {
                give_back();
            }
            samples = samples.wrapping_add(1);
            sample(&memory, configured, of_system);
            std::thread::sleep(EVERY);
        }
    };
    std::thread::Builder::new().name("memory".into()).spawn(looks).map(drop).context("no thread to watch memory")
}

/// Has the allocator return to the system what is free for some time: mimalloc looks for that where somebody frees a
/// page, which after a burst of connections nobody may do for hours. The block is not written to and costs no memory.
fn give_back() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(BLOCK)));
}

fn configured(snapshot: &ArcSwap<Snapshot>) -> Option<u64> {
    snapshot.load().edge.limits.memory.map(|size| size.0)
}

fn sample(memory: &Memory, configured: Option<u64>, of_system: Option<u64>) {
    let Some(used) = resident() else { return };
    let limit = configured.or(of_system).unwrap_or_default();
    match memory.sample(used, limit) {
        Some(Change::Full) => warn!(used, limit, "memory is nearly used up: new requests are refused"),
        Some(Change::Relieved) => info!(used, limit, "memory is free again: new requests are accepted"),
        None => {}
    }
}

/// Bytes of the process that are in memory.
fn resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

/// The least of the limits of the control groups that the process is in, and of the machine.
fn system_limit(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let of_groups = groups.lines().filter_map(|line| group_limit(root, line)).min();
    of_groups.into_iter().chain(machine(root)).min()
}

/// A line is `number:controllers:path`; of the unified hierarchy, `0::path`.
fn group_limit(root: &Path, line: &str) -> Option<u64> {
    let (_, rest) = line.split_once(':')?;
    let (controllers, path) = rest.split_once(':')?;
    let (top, file) = match controllers {
        "" => ("sys/fs/cgroup", "memory.max"),
        _ if controllers.split(',').any(|it| it == "memory") => ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        _ => return None,
    };
    let top = root.join(top);
    // In a container the path may be the host's, and not be there: then the top is the container's own.
    let own: PathBuf = top.join(path.trim_start_matches('/'));
    let folders = own.ancestors().take_while(|folder| folder.starts_with(&top));
    folders.filter_map(|folder| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()).min()
}

fn machine(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()?.saturating_mul(1024))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in files {
            let file = root.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        1000 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_least_limit_of_all_groups_above_holds() {
        let v2 = [
            MACHINE,
            ("proc/self/cgroup", "0::/pods/a/b\n"),
            ("sys/fs/cgroup/pods/a/b/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/a/memory.max", "5000\n"),
            ("sys/fs/cgroup/pods/memory.max", "9000\n"),
        ];
        assert_eq!(system_limit(system(&v2).path()), Some(5000));
        let own = [MACHINE, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "7000\n")];
        assert_eq!(system_limit(system(&own).path()), Some(7000));
        let v1 = [
            MACHINE,
            ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/of/the/host\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "6000\n"),
        ];
        assert_eq!(system_limit(system(&v1).path()), Some(6000));
    }

    #[test]
    fn without_a_limit_of_a_group_there_is_the_machine_s_memory() {
        let unlimited =
            [MACHINE, ("proc/self/cgroup", "0::/\n"), ("sys/fs/cgroup/memory.max", "9223372036854771712\n")];
        assert_eq!(system_limit(system(&unlimited).path()), Some(1_024_000));
        assert_eq!(system_limit(system(&[MACHINE]).path()), Some(1_024_000));
        assert_eq!(system_limit(system(&[]).path()), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_has_some_memory() {
        assert!(resident().unwrap() > 1 << 20);
        assert!(system_limit(Path::new("/")).unwrap() > 1 << 20);
    }
}

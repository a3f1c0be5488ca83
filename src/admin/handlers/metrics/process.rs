//! What the system says of this process, for the metrics that all programs have.
//!
//! What it does not say is left out: nothing here is worth an error.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, clock_gettime};

/// This process, as it is now.
pub(super) struct Process {
    pub(super) descriptors: Option<usize>,
    pub(super) descriptors_at_most: Option<usize>,
    /// Bytes, as the next one.
    pub(super) resident: Option<usize>,
    pub(super) virtual_memory: Option<usize>,
    pub(super) threads: Option<usize>,
    pub(super) cpu: Duration,
}

impl Process {
    pub(super) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bytes = |name| field(&status, name).map(|kilobytes| 1024 * kilobytes);
        let used = clock_gettime(ClockId::ProcessCPUTime);
        let limit = getrlimit(Resource::Nofile).current;
        Self {
            descriptors: descriptors(),
            descriptors_at_most: limit.and_then(|limit| usize::try_from(limit).ok()),
            resident: bytes("VmRSS:"),
            virtual_memory: bytes("VmSize:"),
            threads: field(&status, "Threads:"),
            cpu: Duration::try_from(used).unwrap_or_default(),
        }
    }
}

/// A number of `/proc/PID/status` (proc(5)).
fn field(status: &str, name: &str) -> Option<usize> {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name))?;
    value.split_ascii_whitespace().next()?.parse().ok()
}

/// How many descriptors are open, or set aside for a call that waits for a
/// connection: as many as count for the limit. Linux tells it as the size of their directory
/// since 6.2; before, each has to be counted, which takes a tenth of a second
/// with 100,000 sessions.
fn descriptors() -> Option<usize> {
    const PLACE: &str = "/proc/self/fd";
    match fs::metadata(PLACE).ok()?.len() {
        // The one by which they are counted is among them.
        0 => fs::read_dir(PLACE).ok().map(|all| all.count() - 1),
        count => usize::try_from(count).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let status = "Name:\tx\nVmSize:\t    2184 kB\nVmRSS:\t     12 kB\nThreads:\t3\n";
        assert_eq!(field(status, "VmRSS:"), Some(12));
        assert_eq!(field(status, "Threads:"), Some(3));
        assert_eq!(field(status, "VmSwap:"), None);
        assert_eq!(field("", "Threads:"), None);
    }

    #[test]
    fn this_process_has_descriptors_memory_and_threads() {
        let open = || fs::File::open("/dev/null").unwrap();
        let grows = |_| {
            let before = descriptors().unwrap();
            let _more: Vec<_> = (0..100).map(|_| open()).collect();
            descriptors().unwrap() >= before + 100
        };
        // Other tests close some meanwhile, but not each time.
        assert!((0..1000).any(grows));
        let process = Process::look();
        assert!(process.descriptors_at_most.unwrap() >= process.descriptors.unwrap());
        let (resident, virtual_memory) =
            (process.resident.unwrap(), process.virtual_memory.unwrap());
        assert!(resident > 100_000 && resident < virtual_memory);
        assert!(process.threads.unwrap() >= 1 && process.cpu > Duration::ZERO);
    }
}

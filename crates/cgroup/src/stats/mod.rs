//! What a container has used, in the shape that `events --stats` prints under `data`, the same as runc's.
//!
//! A controller that the container's cgroup has not leaves its part empty. What other callers want beyond that shape is
//! here too and not printed. Never samples or stores anything.

mod v1;
mod v2;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::file::{is_missing, read};
use crate::group::Cgroup;
use crate::{Error, Result};

/// Everything.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Stats {
    /// CPU time.
    pub cpu: Cpu,
    /// CPU placement (v1 only; all zero under v2, as engines expect).
    pub cpuset: CpuSet,
    /// Memory.
    pub memory: Memory,
    /// Tasks.
    pub pids: Pids,
    /// Block I/O.
    pub blkio: Blkio,
    /// Huge pages, by page size such as "2MB".
    pub hugetlb: BTreeMap<String, Hugetlb>,
    /// RDMA devices.
    #[serde(skip)]
    pub rdma: Vec<Rdma>,
    /// Network interfaces: a part that the shape has, and that is null in every runtime that makes none.
    pub network_interfaces: (),
}

/// CPU time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Time used.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: CpuUsage,
    /// Time withheld by a quota.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttling: Throttling,
    /// Periods in which the container used what earlier ones left of its quota (v2 only).
    #[serde(skip)]
    pub bursts: u64,
    /// Nanoseconds that it used so.
    #[serde(skip)]
    pub burst_time: u64,
    /// Time that tasks waited for a CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Nanoseconds of CPU time.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CpuUsage {
    /// All.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
    /// All, by CPU (v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu: Vec<u64>,
    /// In the kernel, by CPU (v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_kernel: Vec<u64>,
    /// In user space, by CPU (v1 only).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub percpu_user: Vec<u64>,
    /// In the kernel.
    pub kernel: u64,
    /// In user space.
    pub user: u64,
}

/// What a CPU quota did.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Throttling {
    /// Periods in which the container ran.
    #[serde(skip_serializing_if = "is_zero")]
    pub periods: u64,
    /// Periods in which it was stopped.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_periods: u64,
    /// Nanoseconds for which it was stopped.
    #[serde(skip_serializing_if = "is_zero")]
    pub throttled_time: u64,
}

/// Pressure stall information of one resource.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// Some task waited.
    #[serde(skip_serializing_if = "is_zero")]
    pub some: PressureLine,
    /// All tasks waited.
    #[serde(skip_serializing_if = "is_zero")]
    pub full: PressureLine,
}

/// Shares of time in percent over 10, 60 and 300 seconds, and the total in µs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the kernel's names")]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// The cpuset controller's files of v1, by their names.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[allow(missing_docs, reason = "the kernel's names")]
pub struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpus: Vec<u16>,
    pub cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mems: Vec<u16>,
    pub mem_hardwall: u64,
    pub mem_exclusive: u64,
    pub memory_migrate: u64,
    pub memory_spread_page: u64,
    pub memory_spread_slab: u64,
    pub memory_pressure: u64,
    pub sched_load_balance: u64,
    pub sched_relax_domain_level: i64,
}

/// Memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Memory {
    /// Bytes of page cache.
    #[serde(skip_serializing_if = "is_zero")]
    pub cache: u64,
    /// Memory.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: MemoryEntry,
    /// Memory and swap together, also under v2.
    #[serde(skip_serializing_if = "is_zero")]
    pub swap: MemoryEntry,
    /// The kernel's memory (v1 only).
    #[serde(skip_serializing_if = "is_zero")]
    pub kernel: MemoryEntry,
    /// TCP buffers (v1 only).
    #[serde(rename = "kernelTCP", skip_serializing_if = "is_zero")]
    pub kernel_tcp: MemoryEntry,
    /// Every line of `memory.stat`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub raw: BTreeMap<String, u64>,
    /// Swap alone (v2 only).
    #[serde(skip)]
    pub swap_alone: MemoryEntry,
    /// Every line of `memory.events` (v2), or of `memory.oom_control` (v1).
    #[serde(skip)]
    pub events: BTreeMap<String, u64>,
    /// Time that tasks waited for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// Bytes of one kind of memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct MemoryEntry {
    /// The limit; u64's greatest value where there is none under v2.
    pub limit: u64,
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Most ever in use.
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
}

/// Tasks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pids {
    /// Now.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// At most; 0 is without a limit.
    #[serde(skip_serializing_if = "is_zero")]
    pub limit: u64,
    /// Whether a controller counts them, and there is no limit.
    #[serde(skip)]
    pub unlimited: bool,
}

/// Block I/O.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the kernel's names")]
pub struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(rename = "ioQueueRecursive", skip_serializing_if = "Vec::is_empty")]
    pub io_queued_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sectors_recursive: Vec<BlkioEntry>,
    /// Time that tasks waited for I/O.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub psi: Option<Pressure>,
}

/// A number of one device and one operation.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct BlkioEntry {
    /// Device number.
    #[serde(skip_serializing_if = "is_zero")]
    pub major: u64,
    /// Device number.
    #[serde(skip_serializing_if = "is_zero")]
    pub minor: u64,
    /// Such as "Read".
    #[serde(skip_serializing_if = "String::is_empty")]
    pub op: String,
    /// The number.
    #[serde(skip_serializing_if = "is_zero")]
    pub value: u64,
}

/// Bytes of huge pages of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Hugetlb {
    /// In use.
    #[serde(skip_serializing_if = "is_zero")]
    pub usage: u64,
    /// Most ever in use (v1 only).
    #[serde(skip_serializing_if = "is_zero")]
    pub max: u64,
    /// How often the limit was hit.
    pub failcnt: u64,
    /// The limit; u64's greatest value where there is none (v2 only).
    #[serde(skip)]
    pub limit: u64,
}

/// What of one RDMA device is in use, and may be; u32's greatest value is without a limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdma {
    /// The device's name.
    pub device: String,
    /// Handles of the device in use.
    pub handles: u32,
    /// Objects of the device in use.
    pub objects: u32,
    /// At most so many handles.
    pub handles_limit: u32,
    /// At most so many objects.
    pub objects_limit: u32,
}

fn is_zero<T: Default + PartialEq>(v: &T) -> bool {
    *v == T::default()
}

impl Cgroup {
    /// Reads everything.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn stats(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        if let Some(dir) = self.v2_dir() {
            v2::read_all(dir, &mut stats)?;
        }
        // In the hybrid layout v1 has the controllers that v2 has not.
        v1::read_all(self, &mut stats)?;
        Ok(stats)
    }
}

/// The text of a file, `None` where the kernel has it not.
fn text(dir: &Path, name: &str) -> Result<Option<String>> {
    match read(dir, name) {
        Ok(text) => Ok(Some(text)),
        // Pressure files can be there and off.
        Err(e) if is_missing(&e) || e.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
        Err(e) => Err(Error::file("read", dir, name, &e)),
    }
}

/// The single number of a file; `max` is u64's greatest value.
fn number(dir: &Path, name: &str) -> Result<Option<u64>> {
    Ok(text(dir, name)?.map(|text| to_number(text.trim())))
}

/// A number; 0 for what the kernel reports below 0, as it does for a moment.
fn to_number(word: &str) -> u64 {
    if word == "max" { u64::MAX } else { word.parse().unwrap_or(0) }
}

/// The lines `key number` of a file.
fn table(dir: &Path, name: &str) -> Result<BTreeMap<String, u64>> {
    let text = text(dir, name)?.unwrap_or_default();
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    Ok(rows.map(|(key, value)| (key.to_string(), to_number(value.trim()))).collect())
}

/// The devices of `rdma.current` and `rdma.max`, which are the same files under v1 and v2.
fn rdma(dir: &Path) -> Result<Vec<Rdma>> {
    let Some(current) = text(dir, "rdma.current")? else { return Ok(Vec::new()) };
    let limits = text(dir, "rdma.max")?.unwrap_or_default();
    let limits: Vec<_> = limits.lines().filter_map(rdma_line).collect();
    let device = |(device, handles, objects): (&str, u32, u32)| {
        // A device that came in between is told of the next time.
        let (_, handles_limit, objects_limit) = *limits.iter().find(|limit| limit.0 == device)?;
        Some(Rdma { device: device.into(), handles, objects, handles_limit, objects_limit })
    };
    Ok(current.lines().filter_map(rdma_line).filter_map(device).collect())
}

/// A line `DEVICE hca_handle=NUMBER hca_object=NUMBER`.
fn rdma_line(line: &str) -> Option<(&str, u32, u32)> {
    let mut words = line.split_whitespace();
    let device = words.next()?;
    let of = |word: Option<&str>, key: &str| {
        let number = to_number(word?.strip_prefix(key)?.strip_prefix('=')?);
        Some(u32::try_from(number).unwrap_or(u32::MAX))
    };
    Some((device, of(words.next(), "hca_handle")?, of(words.next(), "hca_object")?))
}

/// The page sizes of this host, as cgroup files name them.
fn huge_page_sizes() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/kernel/mm/hugepages") else { return Vec::new() };
    let kilobytes = entries.flatten().filter_map(|entry| {
        entry.file_name().to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u64>().ok()
    });
    kilobytes.map(page_size).collect()
}

fn page_size(kilobytes: u64) -> String {
    match kilobytes {
        0..1024 => format!("{kilobytes}KB"),
        1024..0x10_0000 => format!("{}MB", kilobytes >> 10),
        _ => format!("{}GB", kilobytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::{Hugetlb, MemoryEntry, Pids, Rdma, Stats, page_size, rdma, rdma_line};

    #[test]
    fn rdma_devices_have_both_numbers() {
        assert_eq!(rdma_line("mlx4_0 hca_handle=2 hca_object=2000"), Some(("mlx4_0", 2, 2000)));
        assert_eq!(rdma_line("ocrdma1 hca_handle=3 hca_object=max"), Some(("ocrdma1", 3, u32::MAX)));
        assert_eq!(rdma_line("mlx4_0"), None);

        let dir = std::env::temp_dir().join(format!("hull-rdma-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        assert_eq!(rdma(&dir).unwrap(), []);
        std::fs::write(dir.join("rdma.current"), "a hca_handle=1 hca_object=2\nb hca_handle=3 hca_object=4\n").unwrap();
        std::fs::write(dir.join("rdma.max"), "b hca_handle=max hca_object=9\n").unwrap();
        let limits = (u32::MAX, 9);
        let b = Rdma { device: "b".into(), handles: 3, objects: 4, handles_limit: limits.0, objects_limit: limits.1 };
        assert_eq!(rdma(&dir).unwrap(), [b]);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_beyond_the_shape_is_not_printed() {
        let mut stats = Stats::default();
        stats.hugetlb.insert("2MB".into(), Hugetlb::default());
        let plain = serde_json::to_string(&stats).unwrap();
        stats.cpu.bursts = 1;
        stats.cpu.burst_time = 2;
        stats.pids = Pids { unlimited: true, ..Pids::default() };
        stats.rdma = vec![Rdma::default()];
        stats.hugetlb.insert("2MB".into(), Hugetlb { limit: 3, ..Hugetlb::default() });
        stats.memory.events = [("oom_kill".to_owned(), 1)].into();
        stats.memory.swap_alone = MemoryEntry { usage: 4, ..MemoryEntry::default() };
        assert_eq!(serde_json::to_string(&stats).unwrap(), plain);
    }

    #[test]
    fn page_sizes_are_named_as_the_kernel_does() {
        assert_eq!([64, 2048, 1_048_576].map(page_size), ["64KB", "2MB", "1GB"]);
    }
}

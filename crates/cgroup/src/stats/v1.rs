//! Statistics of cgroup v1.

use std::path::Path;

use super::{
    Blkio, BlkioEntry, CpuSet, Hugetlb, MemoryEntry, Pids, Stats, huge_page_sizes, number, rdma, table, text, to_number,
};
use crate::Result;
use crate::file::value_of;
use crate::group::Cgroup;

/// Nanoseconds of one tick of `cpuacct.stat`, whose rate is the same on every Linux.
const TICK: u64 = 10_000_000;

pub(super) fn read_all(cgroup: &Cgroup, stats: &mut Stats) -> Result<()> {
    if let Some(dir) = cgroup.v1_dir("cpu") {
        let throttling = table(dir, "cpu.stat")?;
        let of = |key: &str| throttling.get(key).copied().unwrap_or(0);
        stats.cpu.throttling.periods = of("nr_periods");
        stats.cpu.throttling.throttled_periods = of("nr_throttled");
        stats.cpu.throttling.throttled_time = of("throttled_time");
    }
    if let Some(dir) = cgroup.v1_dir("cpuacct") {
        cpu_usage(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_dir("cpuset") {
        stats.cpuset = cpuset(dir)?;
    }
    if let Some(dir) = cgroup.v1_dir("memory") {
        memory(dir, stats)?;
    }
    if let Some(dir) = cgroup.v1_dir("pids") {
        // The shape says 0 for no limit.
        let limit = number(dir, "pids.max")?;
        stats.pids = Pids {
            current: number(dir, "pids.current")?.unwrap_or(0),
            limit: limit.filter(|n| *n != u64::MAX).unwrap_or(0),
            unlimited: limit == Some(u64::MAX),
        };
    }
    if let Some(dir) = cgroup.v1_dir("blkio") {
        let psi = stats.blkio.psi;
        stats.blkio = Blkio { psi, ..blkio(dir)? };
    }
    if let Some(dir) = cgroup.v1_dir("hugetlb") {
        for size in huge_page_sizes() {
            let rsvd = format!("hugetlb.{size}.rsvd");
            let plain = format!("hugetlb.{size}");
            let prefix = if dir.join(format!("{rsvd}.usage_in_bytes")).exists() { rsvd } else { plain };
            let of = |name: &str| Ok(number(dir, &format!("{prefix}.{name}"))?.unwrap_or(0));
            let entry = Hugetlb {
                usage: of("usage_in_bytes")?,
                max: of("max_usage_in_bytes")?,
                failcnt: of("failcnt")?,
                limit: 0,
            };
            stats.hugetlb.insert(size, entry);
        }
    }
    if let Some(dir) = cgroup.v1_dir("rdma") {
        stats.rdma = rdma(dir)?;
    }
    Ok(())
}

fn cpu_usage(dir: &Path, stats: &mut Stats) -> Result<()> {
    let usage = &mut stats.cpu.usage;
    usage.total = number(dir, "cpuacct.usage")?.unwrap_or(0);
    let ticks = text(dir, "cpuacct.stat")?.unwrap_or_default();
    let nanoseconds = |key| value_of(&ticks, key).map_or(0, |v| to_number(v) * TICK);
    usage.user = nanoseconds("user");
    usage.kernel = nanoseconds("system");
    let percpu = text(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
    usage.percpu = percpu.split_whitespace().map(to_number).collect();
    // Lines of "cpu user system" below a header.
    let all = text(dir, "cpuacct.usage_all")?.unwrap_or_default();
    for line in all.lines().skip(1) {
        let mut words = line.split(' ').skip(1).map(to_number);
        if let (Some(user), Some(kernel)) = (words.next(), words.next()) {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

fn cpuset(dir: &Path) -> Result<CpuSet> {
    let of = |name: &str| Ok(number(dir, &format!("cpuset.{name}"))?.unwrap_or(0));
    let level = text(dir, "cpuset.sched_relax_domain_level")?.unwrap_or_default();
    Ok(CpuSet {
        cpus: numbers(&text(dir, "cpuset.cpus")?.unwrap_or_default()),
        cpu_exclusive: of("cpu_exclusive")?,
        mems: numbers(&text(dir, "cpuset.mems")?.unwrap_or_default()),
        mem_hardwall: of("mem_hardwall")?,
        mem_exclusive: of("mem_exclusive")?,
        memory_migrate: of("memory_migrate")?,
        memory_spread_page: of("memory_spread_page")?,
        memory_spread_slab: of("memory_spread_slab")?,
        memory_pressure: of("memory_pressure")?,
        sched_load_balance: of("sched_load_balance")?,
        sched_relax_domain_level: level.trim().parse().unwrap_or(0),
    })
}

/// The numbers of a list such as "0-3,7".
fn numbers(list: &str) -> Vec<u16> {
    let mut all = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        if let (Ok(first), Ok(last)) = (first.parse::<u16>(), last.parse::<u16>()) {
            all.extend(first..=last);
        }
    }
    all
}

fn memory(dir: &Path, stats: &mut Stats) -> Result<()> {
    let entry = |prefix: &str| -> Result<MemoryEntry> {
        let of = |name: &str| Ok(number(dir, &format!("{prefix}.{name}"))?.unwrap_or(0));
        Ok(MemoryEntry {
            limit: of("limit_in_bytes")?,
            usage: of("usage_in_bytes")?,
            max: of("max_usage_in_bytes")?,
            failcnt: of("failcnt")?,
        })
    };
    let memory = &mut stats.memory;
    memory.raw = table(dir, "memory.stat")?;
    memory.events = table(dir, "memory.oom_control")?;
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.usage = entry("memory")?;
    memory.swap = entry("memory.memsw")?;
    memory.kernel = entry("memory.kmem")?;
    memory.kernel_tcp = entry("memory.kmem.tcp")?;
    Ok(())
}

/// The first family of files that this kernel's I/O scheduler fills.
fn blkio(dir: &Path) -> Result<Blkio> {
    let of = |name: &str| -> Result<Vec<BlkioEntry>> {
        Ok(text(dir, &format!("blkio.{name}"))?.unwrap_or_default().lines().filter_map(blkio_entry).collect())
    };
    for family in ["bfq.", ""] {
        let of = |name: &str| of(&format!("{family}{name}_recursive"));
        let io_serviced_recursive = of("io_serviced")?;
        if !io_serviced_recursive.is_empty() {
            return Ok(Blkio {
                io_service_bytes_recursive: of("io_service_bytes")?,
                io_serviced_recursive,
                io_queued_recursive: of("io_queued")?,
                io_service_time_recursive: of("io_service_time")?,
                io_wait_time_recursive: of("io_wait_time")?,
                io_merged_recursive: of("io_merged")?,
                io_time_recursive: of("time")?,
                sectors_recursive: of("sectors")?,
                psi: None,
            });
        }
    }
    // Without a scheduler that counts, what the throttling layer saw.
    for suffix in ["_recursive", ""] {
        let io_serviced_recursive = of(&format!("throttle.io_serviced{suffix}"))?;
        if !io_serviced_recursive.is_empty() {
            let io_service_bytes_recursive = of(&format!("throttle.io_service_bytes{suffix}"))?;
            return Ok(Blkio { io_service_bytes_recursive, io_serviced_recursive, ..Blkio::default() });
        }
    }
    Ok(Blkio::default())
}

/// A line `MAJOR:MINOR [OPERATION] NUMBER`; the sum over all devices has no device and is none.
fn blkio_entry(line: &str) -> Option<BlkioEntry> {
    let mut words = line.split(' ');
    let (major, minor) = words.next()?.split_once(':')?;
    let (op, value) = match (words.next()?, words.next()) {
        (op, Some(value)) => (op, value),
        (value, None) => ("", value),
    };
    Some(BlkioEntry { major: to_number(major), minor: to_number(minor), op: op.into(), value: to_number(value) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers_are_spelt_out() {
        assert_eq!(numbers("0-2,7\n"), [0, 1, 2, 7]);
        assert!(numbers("\n").is_empty());
    }

    #[test]
    fn blkio_lines_have_a_device() {
        let entry = |major, minor, op: &str, value| BlkioEntry { major, minor, op: op.into(), value };
        assert_eq!(blkio_entry("8:0 Read 12"), Some(entry(8, 0, "Read", 12)));
        assert_eq!(blkio_entry("8:16 99"), Some(entry(8, 16, "", 99)));
        assert_eq!(blkio_entry("Total 12"), None);
    }
}

//! What a container has used, as the messages that containerd's clients read.
//!
//! Owns the words for it: one message for hosts with cgroup v1 (also beside v2), one for those with v2 alone, each with
//! the numbers and units that containerd's own shim gives. Measures nothing.

use std::collections::BTreeMap;

use containerd_shim_protos::cgroups::metrics as v1;
use containerd_shim_protos::cgroups_v2::metrics as v2;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use hull_cgroup::{BlkioEntry, Layout, MemoryEntry, Pressure, PressureLine, Stats};
use hull_runtime::{Error, Result};

/// The message of a container whose cgroup is on a host of this layout.
///
/// # Errors
/// Where it can't be a message.
pub(crate) fn message(stats: &Stats, layout: Layout) -> Result<Any> {
    match layout {
        Layout::V2 => any("io.containerd.cgroups.v2.Metrics", &of_v2(stats)),
        Layout::None | Layout::V1 | Layout::Hybrid => {
            // The kernel's table of devices; who has used none needs no names.
            let used = !stats.blkio.io_serviced_recursive.is_empty();
            let partitions =
                if used { std::fs::read_to_string("/proc/partitions").unwrap_or_default() } else { String::new() };
            any("io.containerd.cgroups.v1.Metrics", &of_v1(stats, &devices(&partitions)))
        }
    }
}

fn any(type_url: &str, message: &impl Message) -> Result<Any> {
    let value = message.write_to_bytes().map_err(|e| Error::new(format!("{type_url}: {e}")))?;
    Ok(Any { type_url: type_url.into(), value, ..Any::default() })
}

/// Device numbers and names from /proc/partitions.
fn devices(partitions: &str) -> BTreeMap<(u64, u64), String> {
    let device = |line: &str| {
        let words: Vec<_> = line.split_whitespace().collect();
        let [major, minor, _blocks, name] = words[..] else { return None };
        Some(((major.parse().ok()?, minor.parse().ok()?), format!("/dev/{name}")))
    };
    partitions.lines().filter_map(device).collect()
}

fn of_v1(stats: &Stats, devices: &BTreeMap<(u64, u64), String>) -> v1::Metrics {
    let mut metrics = v1::Metrics::new();
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    metrics.cpu = MessageField::some(v1::CPUStat {
        usage: MessageField::some(v1::CPUUsage {
            total: usage.total,
            kernel: usage.kernel,
            user: usage.user,
            per_cpu: usage.percpu.clone(),
            ..Default::default()
        }),
        throttling: MessageField::some(v1::Throttle {
            periods: throttling.periods,
            throttled_periods: throttling.throttled_periods,
            throttled_time: throttling.throttled_time,
            ..Default::default()
        }),
        ..Default::default()
    });
    // Here, no limit is 0.
    let (current, limit) = (stats.pids.current, stats.pids.limit);
    metrics.pids = MessageField::some(v1::PidsStat { current, limit, ..Default::default() });
    if !stats.memory.raw.is_empty() {
        metrics.memory = MessageField::some(memory_v1(stats));
        let of = |key: &str| stats.memory.events.get(key).copied().unwrap_or(0);
        metrics.memory_oom_control = MessageField::some(v1::MemoryOomControl {
            oom_kill_disable: of("oom_kill_disable"),
            under_oom: of("under_oom"),
            oom_kill: of("oom_kill"),
            ..Default::default()
        });
    }
    metrics.blkio = MessageField::some(blkio_v1(stats, devices));
    let hugetlb = stats.hugetlb.iter().map(|(size, entry)| v1::HugetlbStat {
        usage: entry.usage,
        max: entry.max,
        failcnt: entry.failcnt,
        pagesize: size.clone(),
        ..Default::default()
    });
    metrics.hugetlb = hugetlb.collect();
    if !stats.rdma.is_empty() {
        let entry = |device: &String, hca_handles, hca_objects| v1::RdmaEntry {
            device: device.clone(),
            hca_handles,
            hca_objects,
            ..Default::default()
        };
        metrics.rdma = MessageField::some(v1::RdmaStat {
            current: stats.rdma.iter().map(|d| entry(&d.device, d.handles, d.objects)).collect(),
            limit: stats.rdma.iter().map(|d| entry(&d.device, d.handles_limit, d.objects_limit)).collect(),
            ..Default::default()
        });
    }
    metrics
}

fn memory_v1(stats: &Stats) -> v1::MemoryStat {
    let of = |key: &str| stats.memory.raw.get(key).copied().unwrap_or(0);
    let entry = |entry: &MemoryEntry| {
        MessageField::some(v1::MemoryEntry {
            limit: entry.limit,
            usage: entry.usage,
            max: entry.max,
            failcnt: entry.failcnt,
            ..Default::default()
        })
    };
    v1::MemoryStat {
        cache: of("cache"),
        rss: of("rss"),
        rss_huge: of("rss_huge"),
        mapped_file: of("mapped_file"),
        dirty: of("dirty"),
        writeback: of("writeback"),
        pg_pg_in: of("pgpgin"),
        pg_pg_out: of("pgpgout"),
        pg_fault: of("pgfault"),
        pg_maj_fault: of("pgmajfault"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        hierarchical_memory_limit: of("hierarchical_memory_limit"),
        hierarchical_swap_limit: of("hierarchical_memsw_limit"),
        total_cache: of("total_cache"),
        total_rss: of("total_rss"),
        total_rss_huge: of("total_rss_huge"),
        total_mapped_file: of("total_mapped_file"),
        total_dirty: of("total_dirty"),
        total_writeback: of("total_writeback"),
        total_pg_pg_in: of("total_pgpgin"),
        total_pg_pg_out: of("total_pgpgout"),
        total_pg_fault: of("total_pgfault"),
        total_pg_maj_fault: of("total_pgmajfault"),
        total_inactive_anon: of("total_inactive_anon"),
        total_active_anon: of("total_active_anon"),
        total_inactive_file: of("total_inactive_file"),
        total_active_file: of("total_active_file"),
        total_unevictable: of("total_unevictable"),
        usage: entry(&stats.memory.usage),
        swap: entry(&stats.memory.swap),
        kernel: entry(&stats.memory.kernel),
        kernel_tcp: entry(&stats.memory.kernel_tcp),
        ..Default::default()
    }
}

fn blkio_v1(stats: &Stats, devices: &BTreeMap<(u64, u64), String>) -> v1::BlkIOStat {
    let table = |entries: &[BlkioEntry]| -> Vec<v1::BlkIOEntry> {
        let entry = |entry: &BlkioEntry| v1::BlkIOEntry {
            op: entry.op.clone(),
            device: devices.get(&(entry.major, entry.minor)).cloned().unwrap_or_default(),
            major: entry.major,
            minor: entry.minor,
            value: entry.value,
            ..Default::default()
        };
        entries.iter().map(entry).collect()
    };
    let blkio = &stats.blkio;
    v1::BlkIOStat {
        io_service_bytes_recursive: table(&blkio.io_service_bytes_recursive),
        io_serviced_recursive: table(&blkio.io_serviced_recursive),
        io_queued_recursive: table(&blkio.io_queued_recursive),
        io_service_time_recursive: table(&blkio.io_service_time_recursive),
        io_wait_time_recursive: table(&blkio.io_wait_time_recursive),
        io_merged_recursive: table(&blkio.io_merged_recursive),
        io_time_recursive: table(&blkio.io_time_recursive),
        sectors_recursive: table(&blkio.sectors_recursive),
        ..Default::default()
    }
}

fn of_v2(stats: &Stats) -> v2::Metrics {
    let mut metrics = v2::Metrics::new();
    let microseconds = |nanoseconds: u64| nanoseconds / 1000;
    let (usage, throttling) = (&stats.cpu.usage, &stats.cpu.throttling);
    metrics.cpu = MessageField::some(v2::CPUStat {
        usage_usec: microseconds(usage.total),
        user_usec: microseconds(usage.user),
        system_usec: microseconds(usage.kernel),
        nr_periods: throttling.periods,
        nr_throttled: throttling.throttled_periods,
        throttled_usec: microseconds(throttling.throttled_time),
        psi: pressure(stats.cpu.psi),
        nr_bursts: stats.cpu.bursts,
        burst_usec: microseconds(stats.cpu.burst_time),
        ..Default::default()
    });
    // Here, no limit is the greatest number.
    let limit = if stats.pids.unlimited { u64::MAX } else { stats.pids.limit };
    metrics.pids = MessageField::some(v2::PidsStat { current: stats.pids.current, limit, ..Default::default() });
    metrics.memory = MessageField::some(memory_v2(stats));
    let of = |key: &str| stats.memory.events.get(key).copied().unwrap_or(0);
    metrics.memory_events = MessageField::some(v2::MemoryEvents {
        low: of("low"),
        high: of("high"),
        max: of("max"),
        oom: of("oom"),
        oom_kill: of("oom_kill"),
        oom_group_kill: of("oom_group_kill"),
        ..Default::default()
    });
    metrics.io =
        MessageField::some(v2::IOStat { usage: io_v2(stats), psi: pressure(stats.blkio.psi), ..Default::default() });
    let hugetlb = stats.hugetlb.iter().map(|(size, entry)| v2::HugeTlbStat {
        current: entry.usage,
        max: entry.limit,
        pagesize: size.clone(),
        failcnt: entry.failcnt,
        ..Default::default()
    });
    metrics.hugetlb = hugetlb.collect();
    let entry = |device: &String, hca_handles, hca_objects| v2::RdmaEntry {
        device: device.clone(),
        hca_handles,
        hca_objects,
        ..Default::default()
    };
    metrics.rdma = MessageField::some(v2::RdmaStat {
        current: stats.rdma.iter().map(|d| entry(&d.device, d.handles, d.objects)).collect(),
        limit: stats.rdma.iter().map(|d| entry(&d.device, d.handles_limit, d.objects_limit)).collect(),
        ..Default::default()
    });
    metrics
}

fn memory_v2(stats: &Stats) -> v2::MemoryStat {
    let memory = &stats.memory;
    let of = |key: &str| memory.raw.get(key).copied().unwrap_or(0);
    // Kernels since 5.9 count anonymous memory and files apart.
    let both = |key: &str| {
        memory
            .raw
            .get(key)
            .copied()
            .unwrap_or_else(|| of(&format!("{key}_anon")).saturating_add(of(&format!("{key}_file"))))
    };
    v2::MemoryStat {
        anon: of("anon"),
        file: of("file"),
        kernel_stack: of("kernel_stack"),
        slab: of("slab"),
        sock: of("sock"),
        shmem: of("shmem"),
        file_mapped: of("file_mapped"),
        file_dirty: of("file_dirty"),
        file_writeback: of("file_writeback"),
        anon_thp: of("anon_thp"),
        inactive_anon: of("inactive_anon"),
        active_anon: of("active_anon"),
        inactive_file: of("inactive_file"),
        active_file: of("active_file"),
        unevictable: of("unevictable"),
        slab_reclaimable: of("slab_reclaimable"),
        slab_unreclaimable: of("slab_unreclaimable"),
        pgfault: of("pgfault"),
        pgmajfault: of("pgmajfault"),
        workingset_refault: both("workingset_refault"),
        workingset_activate: both("workingset_activate"),
        workingset_nodereclaim: of("workingset_nodereclaim"),
        pgrefill: of("pgrefill"),
        pgscan: of("pgscan"),
        pgsteal: of("pgsteal"),
        pgactivate: of("pgactivate"),
        pgdeactivate: of("pgdeactivate"),
        pglazyfree: of("pglazyfree"),
        pglazyfreed: of("pglazyfreed"),
        thp_fault_alloc: of("thp_fault_alloc"),
        thp_collapse_alloc: of("thp_collapse_alloc"),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        swap_usage: memory.swap_alone.usage,
        swap_limit: memory.swap_alone.limit,
        max_usage: memory.usage.max,
        swap_max_usage: memory.swap_alone.max,
        psi: pressure(memory.psi),
        ..Default::default()
    }
}

/// The tables of v1, a row a device again.
fn io_v2(stats: &Stats) -> Vec<v2::IOEntry> {
    let mut rows: Vec<v2::IOEntry> = Vec::new();
    let blkio = &stats.blkio;
    let tables = [(true, &blkio.io_service_bytes_recursive), (false, &blkio.io_serviced_recursive)];
    for (bytes, entry) in tables.iter().flat_map(|(bytes, table)| table.iter().map(move |entry| (*bytes, entry))) {
        let device = (entry.major, entry.minor);
        let index = rows.iter().position(|row| (row.major, row.minor) == device).unwrap_or_else(|| {
            rows.push(v2::IOEntry { major: device.0, minor: device.1, ..Default::default() });
            rows.len() - 1
        });
        let row = &mut rows[index];
        match (bytes, entry.op.as_str()) {
            (true, "Read") => row.rbytes = entry.value,
            (true, "Write") => row.wbytes = entry.value,
            (false, "Read") => row.rios = entry.value,
            (false, "Write") => row.wios = entry.value,
            _ => {}
        }
    }
    rows
}

fn pressure(psi: Option<Pressure>) -> MessageField<v2::PSIStats> {
    let line = |line: PressureLine| {
        MessageField::some(v2::PSIData {
            avg10: line.avg10,
            avg60: line.avg60,
            avg300: line.avg300,
            total: line.total,
            ..Default::default()
        })
    };
    let stats = |psi: Pressure| v2::PSIStats { some: line(psi.some), full: line(psi.full), ..Default::default() };
    MessageField::from_option(psi.map(stats))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_cgroup::{Hugetlb, Rdma};

    fn stats() -> Stats {
        let mut stats = Stats::default();
        stats.cpu.usage.total = 5_000_999;
        stats.cpu.usage.user = 3_000_000;
        stats.cpu.usage.kernel = 2_000_000;
        stats.cpu.usage.percpu = vec![4, 5];
        stats.cpu.throttling.throttled_time = 7_000;
        stats.cpu.burst_time = 8_000;
        stats.pids.current = 3;
        stats.pids.unlimited = true;
        let raw = [
            ("rss", 1),
            ("total_pgpgin", 2),
            ("anon", 3),
            ("workingset_refault_anon", 4),
            ("workingset_refault_file", 5),
        ];
        stats.memory.raw = raw.map(|(key, value)| (key.to_owned(), value)).into();
        stats.memory.usage = MemoryEntry { limit: 100, usage: 10, max: 11, failcnt: 1 };
        stats.memory.swap = MemoryEntry { limit: 200, usage: 30, max: 0, failcnt: 0 };
        stats.memory.swap_alone = MemoryEntry { limit: 100, usage: 20, max: 21, failcnt: 0 };
        stats.memory.events = [("oom".to_owned(), 6), ("oom_kill".to_owned(), 2)].into();
        let line = PressureLine { avg10: 1.5, total: 9, ..PressureLine::default() };
        stats.memory.psi = Some(Pressure { some: line, ..Pressure::default() });
        let entry = |minor, op: &str, value| BlkioEntry { major: 8, minor, op: op.into(), value };
        stats.blkio.io_service_bytes_recursive = vec![entry(0, "Read", 512), entry(16, "Write", 1024)];
        stats.blkio.io_serviced_recursive = vec![entry(0, "Read", 1), entry(0, "Total", 1), entry(16, "Write", 2)];
        stats.hugetlb.insert("2MB".into(), Hugetlb { usage: 1, max: 2, failcnt: 3, limit: 4 });
        stats.rdma =
            vec![Rdma { device: "mlx".into(), handles: 1, objects: 2, handles_limit: 3, objects_limit: u32::MAX }];
        stats
    }

    #[test]
    fn v1_is_told_as_containerd_does() {
        let any = message(&stats(), Layout::Hybrid).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let read = v1::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!((read.cpu.usage.total, read.cpu.usage.per_cpu.as_slice()), (5_000_999, &[4, 5][..]));
        assert_eq!((read.cpu.throttling.throttled_time, read.pids.current, read.pids.limit), (7_000, 3, 0));
        assert_eq!((read.memory.rss, read.memory.total_pg_pg_in, read.memory.usage.limit), (1, 2, 100));
        assert_eq!((read.memory.swap.usage, read.memory_oom_control.oom_kill), (30, 2));
        assert_eq!((read.hugetlb[0].pagesize.as_str(), read.hugetlb[0].max), ("2MB", 2));
        assert_eq!((read.rdma.current[0].hca_objects, read.rdma.limit[0].hca_objects), (2, u32::MAX));

        let names = devices("major minor  #blocks  name\n\n   8        0     131072 sda\n   8       16      10 sdb\n");
        let blkio = of_v1(&stats(), &names).blkio;
        let row = &blkio.io_service_bytes_recursive[1];
        assert_eq!((row.device.as_str(), row.minor, row.op.as_str(), row.value), ("/dev/sdb", 16, "Write", 1024));
    }

    #[test]
    fn v2_is_told_as_containerd_does() {
        let any = message(&stats(), Layout::V2).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let read = v2::Metrics::parse_from_bytes(&any.value).unwrap();
        assert_eq!((read.cpu.usage_usec, read.cpu.throttled_usec, read.cpu.burst_usec), (5_000, 7, 8));
        assert_eq!((read.pids.current, read.pids.limit), (3, u64::MAX));
        let memory = &read.memory;
        assert_eq!((memory.anon, memory.workingset_refault, memory.usage, memory.usage_limit), (3, 9, 10, 100));
        assert_eq!((memory.swap_usage, memory.swap_limit, memory.swap_max_usage, memory.max_usage), (20, 100, 21, 11));
        assert_eq!((memory.psi.some.avg10, memory.psi.some.total, memory.psi.full.total), (1.5, 9, 0));
        assert_eq!((read.memory_events.oom, read.memory_events.oom_kill), (6, 2));
        assert!(read.cpu.psi.is_none());
        let rows: Vec<_> = read.io.usage.iter().map(|r| (r.minor, r.rbytes, r.wbytes, r.rios, r.wios)).collect();
        assert_eq!(rows, [(0, 512, 0, 1, 0), (16, 0, 1024, 0, 2)]);
        assert_eq!((read.hugetlb[0].current, read.hugetlb[0].max, read.hugetlb[0].failcnt), (1, 4, 3));
        assert_eq!((read.rdma.current[0].hca_handles, read.rdma.limit[0].hca_handles), (1, 3));
    }

    #[test]
    fn without_controllers_there_is_little_to_tell() {
        let read = of_v1(&Stats::default(), &BTreeMap::new());
        assert!(read.memory.is_none() && read.memory_oom_control.is_none() && read.rdma.is_none());
        let read = of_v2(&Stats::default());
        assert_eq!((read.pids.limit, read.io.usage.len(), read.memory.usage), (0, 0, 0));
    }
}

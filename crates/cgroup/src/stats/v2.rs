//! Statistics of cgroup v2, told in v1's terms where the shape has them.

use std::path::Path;

use super::{
    Blkio, BlkioEntry, Hugetlb, MemoryEntry, Pids, Pressure, Stats, huge_page_sizes, number, rdma, table, text,
    to_number,
};
use crate::Result;

pub(super) fn read_all(dir: &Path, stats: &mut Stats) -> Result<()> {
    // This file counts time even where the controller is not enabled.
    let cpu = table(dir, "cpu.stat")?;
    let of = |key: &str| cpu.get(key).copied().unwrap_or(0);
    let nanoseconds = |key: &str| of(key).saturating_mul(1000);
    stats.cpu.usage.total = nanoseconds("usage_usec");
    stats.cpu.usage.user = nanoseconds("user_usec");
    stats.cpu.usage.kernel = nanoseconds("system_usec");
    stats.cpu.throttling.periods = of("nr_periods");
    stats.cpu.throttling.throttled_periods = of("nr_throttled");
    stats.cpu.throttling.throttled_time = nanoseconds("throttled_usec");
    stats.cpu.bursts = of("nr_bursts");
    stats.cpu.burst_time = nanoseconds("burst_usec");
    stats.cpu.psi = pressure(dir, "cpu.pressure")?;

    memory(dir, stats)?;
    stats.memory.psi = pressure(dir, "memory.pressure")?;
    stats.pids = pids(dir)?;
    stats.blkio = io(&text(dir, "io.stat")?.unwrap_or_default());
    stats.blkio.psi = pressure(dir, "io.pressure")?;
    stats.rdma = rdma(dir)?;

    for size in huge_page_sizes() {
        let prefix = format!("hugetlb.{size}");
        let usage = match number(dir, &format!("{prefix}.rsvd.current"))? {
            None => number(dir, &format!("{prefix}.current"))?,
            some => some,
        };
        if let Some(usage) = usage {
            let failcnt = table(dir, &format!("{prefix}.events"))?.get("max").copied().unwrap_or(0);
            let limit = number(dir, &format!("{prefix}.max"))?.unwrap_or(0);
            stats.hugetlb.insert(size, Hugetlb { usage, max: 0, failcnt, limit });
        }
    }
    Ok(())
}

fn memory(dir: &Path, stats: &mut Stats) -> Result<()> {
    let Some(usage) = number(dir, "memory.current")? else { return Ok(()) };
    let memory = &mut stats.memory;
    memory.raw = table(dir, "memory.stat")?;
    memory.events = table(dir, "memory.events")?;
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    let of = |name| Ok(number(dir, name)?.unwrap_or(0));
    memory.usage = MemoryEntry { limit: of("memory.max")?, usage, max: of("memory.peak")?, failcnt: 0 };
    // v1 counts memory and swap together; a peak of both is no sum of peaks.
    memory.swap = MemoryEntry { usage, limit: memory.usage.limit, max: 0, failcnt: 0 };
    if let Some(swap) = number(dir, "memory.swap.current")? {
        memory.swap_alone =
            MemoryEntry { limit: of("memory.swap.max")?, usage: swap, max: of("memory.swap.peak")?, failcnt: 0 };
        let limit = memory.swap_alone.limit.saturating_add(memory.usage.limit);
        memory.swap = MemoryEntry { usage: swap + usage, limit, max: 0, failcnt: 0 };
    }
    Ok(())
}

fn pids(dir: &Path) -> Result<Pids> {
    match number(dir, "pids.current")? {
        // The shape says 0 for no limit.
        Some(current) => {
            let limit = number(dir, "pids.max")?;
            let unlimited = limit == Some(u64::MAX);
            Ok(Pids { current, limit: limit.filter(|_| !unlimited).unwrap_or(0), unlimited })
        }
        // Without the controller, at least the processes can be counted.
        None => {
            let members = match text(dir, "cgroup.procs")? {
                None => text(dir, "cgroup.threads")?,
                some => some,
            };
            Ok(Pids { current: members.unwrap_or_default().lines().count() as u64, ..Pids::default() })
        }
    }
}

/// `io.stat` in v1's tables.
fn io(text: &str) -> Blkio {
    let mut io = Blkio::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some((major, minor)) = words.next().and_then(|w| w.split_once(':')) else { continue };
        let (major, minor) = (to_number(major), to_number(minor));
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let (list, op) = match key {
                "rbytes" => (&mut io.io_service_bytes_recursive, "Read"),
                "wbytes" => (&mut io.io_service_bytes_recursive, "Write"),
                "rios" => (&mut io.io_serviced_recursive, "Read"),
                "wios" => (&mut io.io_serviced_recursive, "Write"),
                _ => continue,
            };
            list.push(BlkioEntry { major, minor, op: op.into(), value: to_number(value) });
        }
    }
    io
}

fn pressure(dir: &Path, name: &str) -> Result<Option<Pressure>> {
    Ok(text(dir, name)?.map(|text| parse_pressure(&text)))
}

fn parse_pressure(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        let mut words = line.split(' ');
        let target = match words.next() {
            Some("some") => &mut pressure.some,
            Some("full") => &mut pressure.full,
            _ => continue,
        };
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            let percent = || value.parse().unwrap_or(0.0);
            match key {
                "avg10" => target.avg10 = percent(),
                "avg60" => target.avg60 = percent(),
                "avg300" => target.avg300 = percent(),
                "total" => target.total = to_number(value),
                _ => {}
            }
        }
    }
    pressure
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::PressureLine;

    #[test]
    fn io_lines_become_tables() {
        let io = io("8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n8:0 rbytes=7\n");
        let bytes: Vec<_> = io.io_service_bytes_recursive.iter().map(|e| (e.minor, e.op.as_str(), e.value)).collect();
        assert_eq!(bytes, [(16, "Read", 1), (16, "Write", 2), (0, "Read", 7)]);
        assert_eq!(io.io_serviced_recursive.len(), 2);
    }

    #[test]
    fn pressure_lines_are_read() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=3.00 total=7\n";
        let some = PressureLine { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 42 };
        let full = PressureLine { avg10: 0.0, avg60: 0.0, avg300: 3.0, total: 7 };
        assert_eq!(parse_pressure(text), Pressure { some, full });
    }
}

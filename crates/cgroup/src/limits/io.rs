//! Block I/O: weights and rates.

use std::collections::BTreeMap;
use std::path::Path;

use hull_spec::config::BlockIo;

use super::{Place, Setter, Want, v1_only};
use crate::file::read;
use crate::{Error, Result};

const WEIGHTS: std::ops::RangeInclusive<u16> = 10..=1000;

/// v2's weight, 1 to 10000, for v1's, 10 to 1000.
fn weight_v2(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

impl Setter<'_> {
    pub(super) fn block_io(&mut self, io: &BlockIo) -> Result<()> {
        let devices = io.weight_device.iter().flat_map(|d| {
            [("blockIO.weightDevice.weight", d.weight), ("blockIO.weightDevice.leafWeight", d.leaf_weight)]
        });
        for (field, weight) in
            [("blockIO.weight", io.weight), ("blockIO.leafWeight", io.leaf_weight)].into_iter().chain(devices)
        {
            if let Some(n) = weight.filter(|n| *n != 0 && !WEIGHTS.contains(n)) {
                return Err(Error::new(format!("linux.resources.{field}: {n} is not in the range 10-1000")));
            }
        }
        match self.place("blkio") {
            Place::V1(dir) => {
                // CFQ's name went with Linux 5.0; BFQ has its own.
                let bfq = !dir.join("blkio.weight").exists();
                self.settle(dir, weights_v1(io, bfq))?;
                self.settle(dir, rates_v1(io))
            }
            Place::V2(dir) => self.block_io_v2(dir, io),
            Place::Nowhere => {
                let mut wants = weights_v1(io, false);
                wants.extend(rates_v1(io));
                self.nowhere("blkio", &wants)
            }
        }
    }

    fn block_io_v2(&mut self, dir: &Path, io: &BlockIo) -> Result<()> {
        let leaf = io.weight_device.iter().filter_map(|d| d.leaf_weight).chain(io.leaf_weight).find(|n| *n != 0);
        if let Some(leaf) = leaf {
            return Err(v1_only("blockIO.leafWeight", leaf));
        }
        let set = |n: &u16| *n != 0;
        let mut wants = Vec::new();
        let devices: Vec<_> = io.weight_device.iter().filter_map(|d| Some((d, d.weight.filter(set)?))).collect();
        if io.weight.is_some_and(|n| n != 0) || !devices.is_empty() {
            // BFQ's file takes v1's range as it is. Kernels before 5.4 take no device in it, and show none of the
            // word "default".
            let bfq = read(dir, "io.bfq.weight").ok();
            if let Some(n) = io.weight.filter(set) {
                wants.push(match &bfq {
                    Some(_) => Want::limit("blockIO.weight", "io.bfq.weight", n),
                    None => Want::limit("blockIO.weight", "io.weight", weight_v2(n)),
                });
            }
            for (d, n) in devices {
                wants.push(match &bfq {
                    Some(text) if text.trim().parse::<u64>().is_err() => {
                        Want::limit("blockIO.weightDevice", "io.bfq.weight", format!("{}:{} {n}", d.major, d.minor))
                    }
                    _ => {
                        let line = format!("{}:{} {}", d.major, d.minor, weight_v2(n));
                        Want::limit("blockIO.weightDevice", "io.weight", line)
                    }
                });
            }
        }
        // One line per device: the kernel keeps what a line doesn't name.
        let mut lines: BTreeMap<(i64, i64), (String, bool)> = BTreeMap::new();
        for (key, list) in [
            ("rbps", &io.throttle_read_bps_device),
            ("wbps", &io.throttle_write_bps_device),
            ("riops", &io.throttle_read_iops_device),
            ("wiops", &io.throttle_write_iops_device),
        ] {
            for d in list {
                let (line, idle) =
                    lines.entry((d.major, d.minor)).or_insert_with(|| (format!("{}:{}", d.major, d.minor), true));
                let rate = if d.rate == 0 { "max".to_string() } else { d.rate.to_string() };
                *line += &format!(" {key}={rate}");
                *idle &= d.rate == 0;
            }
        }
        wants.extend(
            lines.into_values().map(|(line, idle)| Want::limit("blockIO.throttle", "io.max", line).or_default(idle)),
        );
        self.settle(dir, wants)
    }
}

fn weights_v1(io: &BlockIo, bfq: bool) -> Vec<Want> {
    let (all, device) =
        if bfq { ("blkio.bfq.weight", "blkio.bfq.weight_device") } else { ("blkio.weight", "blkio.weight_device") };
    let set = |n: &u16| *n != 0;
    let mut wants = Vec::new();
    wants.extend(io.weight.filter(set).map(|n| Want::limit("blockIO.weight", all, n)));
    wants.extend(io.leaf_weight.filter(set).map(|n| Want::limit("blockIO.leafWeight", "blkio.leaf_weight", n)));
    for d in &io.weight_device {
        let line = |n: u16| format!("{}:{} {n}", d.major, d.minor);
        wants.extend(d.weight.filter(set).map(|n| Want::limit("blockIO.weightDevice", device, line(n))));
        wants.extend(
            d.leaf_weight
                .filter(set)
                .map(|n| Want::limit("blockIO.weightDevice.leafWeight", "blkio.leaf_weight_device", line(n))),
        );
    }
    wants
}

fn rates_v1(io: &BlockIo) -> Vec<Want> {
    let mut wants = Vec::new();
    for (field, file, list) in [
        ("blockIO.throttleReadBpsDevice", "blkio.throttle.read_bps_device", &io.throttle_read_bps_device),
        ("blockIO.throttleWriteBpsDevice", "blkio.throttle.write_bps_device", &io.throttle_write_bps_device),
        ("blockIO.throttleReadIOPSDevice", "blkio.throttle.read_iops_device", &io.throttle_read_iops_device),
        ("blockIO.throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", &io.throttle_write_iops_device),
    ] {
        for d in list {
            let line = format!("{}:{} {}", d.major, d.minor, d.rate);
            wants.push(Want::limit(field, file, line).or_default(d.rate == 0));
        }
    }
    wants
}

#[cfg(test)]
mod tests {
    use super::weight_v2;

    #[test]
    fn weights_fill_the_range() {
        assert_eq!([10, 100, 500, 750, 1000].map(weight_v2), [1, 910, 4950, 7475, 10_000]);
    }
}

//! Limits: of config.json, and those that `update` is given.

use super::{Result, entry, refuse, refuse_value};
use crate::config::{BlockIo, Cpu, DeviceRule, Memory, Resources};
use crate::load::Error;

impl Resources {
    /// Checks limits; `at` is their path in the document, empty for a document of their own.
    ///
    /// # Errors
    /// By the first field that is not as the specification demands.
    pub fn check(&self, at: &str) -> std::result::Result<(), Error> {
        let at = if at.is_empty() { String::new() } else { format!("{at}.") };
        for (i, rule) in self.devices.iter().enumerate() {
            device(rule, &format!("{at}devices[{i}]"))?;
        }
        if let Some(m) = &self.memory {
            memory(m, &format!("{at}memory"))?;
        }
        if let Some(c) = &self.cpu {
            cpu(c, &format!("{at}cpu"))?;
        }
        if let Some(limit) = self.pids.as_ref().and_then(|p| p.limit).filter(|l| *l < -1) {
            return refuse_value(format!("{at}pids.limit"), limit, "must be a number of tasks, or -1 for no limit");
        }
        if let Some(io) = &self.block_io {
            block_io(io, &format!("{at}blockIO"))?;
        }
        for (i, h) in self.hugepage_limits.iter().enumerate() {
            if !is_page_size(&h.page_size) {
                let field = format!("{at}hugepageLimits[{i}].pageSize");
                return refuse_value(field, &h.page_size, "must be a size such as 64KB, 2MB or 1GB");
            }
        }
        if let Some((name, _)) = self.rdma.iter().find(|(_, r)| r.hca_handles.is_none() && r.hca_objects.is_none()) {
            return refuse(entry(&format!("{at}rdma"), name), "must have hcaHandles or hcaObjects");
        }
        for name in self.unified.keys() {
            if name.is_empty() || name.contains(['/', '\0']) || matches!(name.as_str(), "." | "..") {
                return refuse(entry(&format!("{at}unified"), name), "must be a file name without any slash");
            }
        }
        Ok(())
    }
}

/// Whether a letter says something about access to a device.
pub(super) fn is_access(letter: char) -> bool {
    matches!(letter, 'r' | 'w' | 'm')
}

fn device(rule: &DeviceRule, at: &str) -> Result {
    if !matches!(rule.kind.as_str(), "" | "a" | "b" | "c") {
        return refuse_value(format!("{at}.type"), &rule.kind, "invalid cgroup device type: expected one of a, b, c");
    }
    if rule.access.is_empty() {
        return refuse(format!("{at}.access"), "device access field cannot be empty");
    }
    if !rule.access.contains(is_access) {
        return refuse_value(format!("{at}.access"), &rule.access, "must be of r, w and m");
    }
    for (name, number) in [("major", rule.major), ("minor", rule.minor)] {
        if let Some(n) = number.filter(|n| *n != -1 && u32::try_from(*n).is_err()) {
            return refuse_value(format!("{at}.{name}"), n, "must be a device number, or -1 for any");
        }
    }
    Ok(())
}

fn memory(m: &Memory, at: &str) -> Result {
    for (name, bytes) in [("limit", m.limit), ("reservation", m.reservation), ("swap", m.swap)] {
        if let Some(n) = bytes.filter(|n| *n < -1) {
            return refuse_value(format!("{at}.{name}"), n, "must be bytes, or -1 for no limit");
        }
    }
    // Engines write -1, which is this number, for what is not given.
    match m.swappiness {
        Some(n) if n > 100 && n != u64::MAX => refuse_value(format!("{at}.swappiness"), n, "must be 0 to 100"),
        _ => Ok(()),
    }
}

fn cpu(c: &Cpu, at: &str) -> Result {
    if let (Some(quota @ 1..), Some(burst)) = (c.quota, c.burst)
        && burst > quota.unsigned_abs()
    {
        return refuse_value(format!("{at}.burst"), burst, format!("must not be above quota, which is {quota}"));
    }
    match c.idle {
        Some(n) if !matches!(n, 0 | 1) => refuse_value(format!("{at}.idle"), n, "must be 0 or 1"),
        _ => Ok(()),
    }
}

fn block_io(io: &BlockIo, at: &str) -> Result {
    for (i, d) in io.weight_device.iter().enumerate() {
        if d.weight.is_none() && d.leaf_weight.is_none() {
            return refuse(format!("{at}.weightDevice[{i}]"), "must have weight or leafWeight");
        }
    }
    let throttles = [
        ("throttleReadBpsDevice", &io.throttle_read_bps_device),
        ("throttleWriteBpsDevice", &io.throttle_write_bps_device),
        ("throttleReadIOPSDevice", &io.throttle_read_iops_device),
        ("throttleWriteIOPSDevice", &io.throttle_write_iops_device),
    ];
    let weights = io.weight_device.iter().map(|d| (d.major, d.minor)).enumerate().map(|(i, n)| ("weightDevice", i, n));
    let rates = throttles
        .into_iter()
        .flat_map(|(name, list)| list.iter().enumerate().map(move |(i, d)| (name, i, (d.major, d.minor))));
    for (name, i, (major, minor)) in weights.chain(rates) {
        for (part, n) in [("major", major), ("minor", minor)] {
            if u32::try_from(n).is_err() {
                return refuse_value(format!("{at}.{name}[{i}].{part}"), n, "must be a device number");
            }
        }
    }
    Ok(())
}

/// `^[1-9][0-9]*[KMG]B$` of the specification's schema.
fn is_page_size(text: &str) -> bool {
    let digits = ["KB", "MB", "GB"].iter().find_map(|unit| text.strip_suffix(unit));
    digits.is_some_and(|d| !d.is_empty() && !d.starts_with('0') && d.bytes().all(|b| b.is_ascii_digit()))
}

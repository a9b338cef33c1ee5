//! Memory and swap.

use std::path::Path;

use hull_spec::config::Memory;
use rustix::io::Errno;

use super::{Place, Setter, Want, v1_only};
use crate::create::State;
use crate::file::read;
use crate::{Error, Result};

/// The kernel's default of v1's `memory.swappiness`, which a new cgroup has unless its parent has another.
const DEFAULT_SWAPPINESS: u64 = 60;

impl Setter<'_> {
    pub(super) fn memory(&mut self, memory: &Memory) -> Result<()> {
        for (field, given) in [("kernel", memory.kernel), ("kernelTCP", memory.kernel_tcp)] {
            if given.is_some_and(|n| n != 0) {
                let text = format!("linux.resources.memory.{field}: ignored, as the kernel no longer has this limit");
                self.notes.warnings.push(text);
            }
        }
        if memory.use_hierarchy == Some(false) {
            let text = "linux.resources.memory.useHierarchy: false is ignored, as the kernel no longer has it";
            self.notes.warnings.push(text.into());
        }
        if let Some(n) = memory.swappiness.filter(|n| *n > 100) {
            let text = format!("linux.resources.memory.swappiness: {n} is not in the range 0-100");
            return Err(Error::new(text));
        }
        match self.place("memory") {
            Place::V1(dir) => self.memory_v1(dir, memory),
            Place::V2(dir) => self.memory_v2(dir, memory),
            Place::Nowhere => {
                let mut wants = sizes_v1(memory);
                wants.extend(extras_v1(memory));
                self.nowhere("memory", &wants)
            }
        }
    }

    fn memory_v1(&mut self, dir: &Path, memory: &Memory) -> Result<()> {
        self.check_use(dir, "memory.usage_in_bytes", memory)?;
        let result = self.settle(dir, sizes_v1(memory));
        if let Err(e) = &result
            && e.errno() == Some(Errno::BUSY.raw_os_error())
        {
            // Which numbers stand in the way helps more than "busy".
            let of = |name| read(dir, name).unwrap_or_default().trim().to_string();
            return Err(Error::new(format!(
                "linux.resources.memory: unable to set memory limit to {} (current usage: {}, peak usage: {})",
                memory.limit.unwrap_or_default(),
                of("memory.usage_in_bytes"),
                of("memory.max_usage_in_bytes"),
            )));
        }
        result?;
        for want in extras_v1(memory) {
            self.set(dir, want)?;
        }
        Ok(())
    }

    fn memory_v2(&mut self, dir: &Path, memory: &Memory) -> Result<()> {
        for want in extras_v1(memory).iter().filter(|w| w.field != "memory.reservation") {
            if !want.idle {
                return Err(v1_only(want.field, &want.value));
            }
            self.note(want);
        }
        self.check_use(dir, "memory.current", memory)?;
        let set = |n: &i64| *n != 0;
        let mut wants = Vec::new();
        if let Some(swap) = self.swap_v2(dir, memory)? {
            // A host without swap accounting has no file; it has nothing to forbid or to allow either.
            let nothing = swap == "max" || swap == "0";
            wants.push(Want::limit("memory.swap", "memory.swap.max", &swap).or_default(swap == "max").or_idle(nothing));
        }
        wants.extend(
            memory.limit.filter(set).map(|n| Want::limit("memory.limit", "memory.max", max(n)).or_default(n < 0)),
        );
        wants.extend(
            memory
                .reservation
                .filter(set)
                .map(|n| Want::limit("memory.reservation", "memory.low", max(n)).or_idle(n < 0)),
        );
        self.settle(dir, wants)
    }

    /// v2 counts swap by itself, config.json memory and swap together.
    fn swap_v2(&self, dir: &Path, memory: &Memory) -> Result<Option<String>> {
        let mut limit = memory.limit.unwrap_or(0);
        let swap = memory.swap.unwrap_or(0);
        if limit == 0 && swap > 0 && self.state == State::Used {
            // The limit in force, for an update of swap alone.
            let now = read(dir, "memory.max").unwrap_or_default();
            limit = if now.trim() == "max" { -1 } else { now.trim().parse().unwrap_or(0) };
        }
        Ok(match (limit, swap) {
            // Unlimited memory means unlimited swap, as it does under v1.
            (..0, 0) | (_, ..0) => Some("max".into()),
            (_, 0) => None,
            (..0, swap) => Some(swap.to_string()),
            (0, _) => {
                let text = "linux.resources.memory.swap: unable to set swap limit without memory limit";
                return Err(Error::new(text));
            }
            (limit, swap) if swap < limit => {
                let text =
                    format!("linux.resources.memory.swap: memory+swap limit {swap} should be >= memory limit {limit}");
                return Err(Error::new(text));
            }
            (limit, swap) => Some((swap - limit).to_string()),
        })
    }

    /// Refuses what would make the kernel kill at once, where config.json asks for the check.
    fn check_use(&self, dir: &Path, file: &str, memory: &Memory) -> Result<()> {
        if self.state == State::Fresh || memory.check_before_update != Some(true) {
            return Ok(());
        }
        let Some(used) = read(dir, file).ok().and_then(|text| text.trim().parse::<i64>().ok()) else { return Ok(()) };
        for (name, field, value) in [("memory+swap", "swap", memory.swap), ("memory", "limit", memory.limit)] {
            if let Some(value) = value.filter(|n| *n > 0 && *n <= used) {
                return Err(Error::new(format!(
                    "linux.resources.memory.{field}: rejecting {name} limit {value} <= usage {used}"
                )));
            }
        }
        Ok(())
    }
}

/// Memory, and memory with swap: each bounds the other.
fn sizes_v1(memory: &Memory) -> Vec<Want> {
    let limit = memory.limit.filter(|n| *n != 0);
    let mut wants = Vec::new();
    wants.extend(limit.map(|n| Want::limit("memory.limit", "memory.limit_in_bytes", n.max(-1)).or_default(n < 0)));
    let swap = match (limit, memory.swap.unwrap_or(0)) {
        // Unlimited memory must not stay within an older limit of both.
        (Some(..0), 0) => Some(-1),
        (_, 0) => None,
        (_, swap) => Some(swap.max(-1)),
    };
    wants.extend(swap.map(|n| Want::limit("memory.swap", "memory.memsw.limit_in_bytes", n).or_default(n < 0)));
    wants
}

fn extras_v1(memory: &Memory) -> Vec<Want> {
    let mut wants = Vec::new();
    wants.extend(
        memory
            .reservation
            .filter(|n| *n != 0)
            .map(|n| Want::limit("memory.reservation", "memory.soft_limit_in_bytes", n.max(-1)).or_default(n < 0)),
    );
    wants.extend(
        memory
            .swappiness
            .map(|n| Want::limit("memory.swappiness", "memory.swappiness", n).or_idle(n == DEFAULT_SWAPPINESS)),
    );
    wants.extend(
        memory
            .disable_oom_killer
            .map(|off| Want::limit("memory.disableOOMKiller", "memory.oom_control", u8::from(off)).or_default(!off)),
    );
    wants
}

/// v2's word for a size, where a negative one is unlimited.
fn max(n: i64) -> String {
    if n < 0 { "max".into() } else { n.to_string() }
}

//! The small controllers, and v2's files by name.

use std::collections::BTreeMap;

use hull_spec::config::{Cpu, HugepageLimit, Network, Pids, Rdma, Resources};

use super::{Place, Setter, Want, v1_only};
use crate::file::{is_denied, is_missing, read, write_each};
use crate::{Error, Result};

/// The v2 controllers that the resources need, so that they are handed down to the container.
pub(crate) fn asked_controllers(res: &Resources) -> Vec<&str> {
    let mut asked: Vec<&str> = Vec::new();
    if let Some(cpu) = &res.cpu {
        let placed = !cpu.cpus.is_empty() || !cpu.mems.is_empty();
        let placement = Cpu { cpus: cpu.cpus.clone(), mems: cpu.mems.clone(), ..Cpu::default() };
        asked.extend(placed.then_some("cpuset"));
        asked.extend((*cpu != placement).then_some("cpu"));
    }
    asked.extend(res.memory.as_ref().map(|_| "memory"));
    asked.extend(res.pids.as_ref().map(|_| "pids"));
    asked.extend(res.block_io.as_ref().map(|_| "io"));
    asked.extend((!res.hugepage_limits.is_empty()).then_some("hugetlb"));
    asked.extend((!res.rdma.is_empty()).then_some("rdma"));
    asked.extend(res.unified.keys().filter_map(|k| k.split('.').next()).filter(|c| *c != "cgroup"));
    asked.sort_unstable();
    asked.dedup();
    asked
}

impl Setter<'_> {
    pub(super) fn pids(&mut self, pids: &Pids) -> Result<()> {
        let Some(limit) = pids.limit else { return Ok(()) };
        let value = match limit {
            ..0 => "max".to_string(),
            // No process could start under 0; 1 is the tightest that one can.
            0 => "1".to_string(),
            n => n.to_string(),
        };
        let want = Want::limit("pids.limit", "pids.max", value).or_default(limit < 0).or_idle(limit <= 0);
        match self.place("pids") {
            Place::V1(dir) | Place::V2(dir) => self.set(dir, want),
            Place::Nowhere => self.nowhere("pids", &[want]),
        }
    }

    pub(super) fn hugetlb(&mut self, limits: &[HugepageLimit]) -> Result<()> {
        let place = self.place("hugetlb");
        let suffix = if matches!(place, Place::V2(_)) { "max" } else { "limit_in_bytes" };
        for limit in limits {
            let size = &limit.page_size;
            if size.contains('/') {
                let text = format!("linux.resources.hugepageLimits.pageSize: {size:?} is no page size");
                return Err(Error::new(text));
            }
            let want =
                |file: String| Want::limit("hugepageLimits", file, limit.limit).or_default(limit.limit == u64::MAX);
            let used = want(format!("hugetlb.{size}.{suffix}"));
            match place {
                Place::V1(dir) | Place::V2(dir) => {
                    self.set(dir, used)?;
                    // Reservations count since Linux 5.7; an older kernel counts at use.
                    self.set(dir, want(format!("hugetlb.{size}.rsvd.{suffix}")).or_idle(true))?;
                }
                Place::Nowhere => self.nowhere("hugetlb", &[used])?,
            }
        }
        Ok(())
    }

    pub(super) fn rdma(&mut self, devices: &BTreeMap<String, Rdma>) -> Result<()> {
        for (device, limits) in devices {
            let mut line = device.clone();
            for (key, value) in [("hca_handle", limits.hca_handles), ("hca_object", limits.hca_objects)] {
                if let Some(value) = value {
                    line += &format!(" {key}={value}");
                }
            }
            if line == *device {
                continue;
            }
            let want = Want::limit("rdma", "rdma.max", line);
            match self.place("rdma") {
                Place::V1(dir) | Place::V2(dir) => self.set(dir, want)?,
                Place::Nowhere => self.nowhere("rdma", &[want])?,
            }
        }
        Ok(())
    }

    pub(super) fn network(&mut self, network: &Network) -> Result<()> {
        let class = network.class_id.map(|n| Want::limit("network.classID", "net_cls.classid", n).or_default(n == 0));
        let priorities = network.priorities.iter().map(|p| {
            let line = format!("{} {}", p.name, p.priority);
            Want::limit("network.priorities", "net_prio.ifpriomap", line).or_default(p.priority == 0)
        });
        for (controller, want) in class.map(|w| ("net_cls", w)).into_iter().chain(priorities.map(|w| ("net_prio", w))) {
            match self.place(controller) {
                Place::V1(dir) => self.set(dir, want)?,
                Place::V2(_) if self.cgroup.v1.is_empty() && !want.idle => {
                    return Err(v1_only(want.field, &want.value));
                }
                // v2 never has these controllers.
                Place::V2(_) | Place::Nowhere => self.nowhere(controller, &[want])?,
            }
        }
        Ok(())
    }

    pub(super) fn unified(&mut self, files: &BTreeMap<String, String>) -> Result<()> {
        for (name, value) in files {
            let bad = |why: &str| Error::new(format!("linux.resources.unified {name:?}: {why}"));
            if name.contains('/') {
                return Err(bad("must be a file name (no slashes)"));
            }
            let Some((controller, _)) = name.split_once('.').filter(|(c, _)| !c.is_empty()) else {
                return Err(bad(&format!("the specified key has not the form CONTROLLER.VALUE `{name}`")));
            };
            let Some(dir) = self.cgroup.v2_dir() else {
                return Err(bad(
                    "invalid configuration: unified is cgroup v2 only, and the container has no v2 cgroup",
                ));
            };
            let lines = value.lines().filter(|line| !line.is_empty());
            if let Err(e) = write_each(dir, name, lines) {
                let list = read(dir, "cgroup.controllers").unwrap_or_default();
                if (is_missing(&e) || is_denied(&e))
                    && controller != "cgroup"
                    && !list.split_whitespace().any(|c| c == controller)
                {
                    let elsewhere = self.cgroup.v1_dir(controller).is_some();
                    let remedy = if elsewhere {
                        "cgroup v1 has it: use the fields of linux.resources that v1 knows"
                    } else {
                        "enable it in cgroup.subtree_control of the cgroups above, or remove the value"
                    };
                    return Err(bad(&format!(
                        "invalid configuration: the requested cgroup controller `{controller}` is not available in {dir:?}; {remedy}"
                    )));
                }
                if is_missing(&e) {
                    return Err(bad(&format!("the kernel has no file of this name in {dir:?}")));
                }
                let doing = format!("linux.resources.unified: cannot write {value:?} to {:?}", dir.join(name));
                return Err(Error::io(doing, &e));
            }
        }
        Ok(())
    }
}

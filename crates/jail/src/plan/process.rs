//! The process object of config.json, and what of `linux` holds for each of the container's processes.

use hull_spec::{Linux, Process};

use super::{cstring, named};
use crate::caps::Sets;
use crate::error::{Error, Result};
use crate::process::{Cpus, Filter, ProcessPlan};

const RLIMITS: [&str; 16] = [
    "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS", "RLIMIT_NPROC",
    "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS", "RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE",
    "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
];

pub(crate) fn rlimit_name(number: u32) -> &'static str {
    RLIMITS.get(number as usize).copied().unwrap_or("RLIMIT_?")
}

/// Reads a process object; used for exec too.
///
/// # Errors
/// For a value that can't be honoured, by its field.
pub fn process_plan(process: &Process, filter: Option<Filter>, warnings: &mut Vec<String>) -> Result<ProcessPlan> {
    // All ones is "no change" to setresuid(2): the process would keep root.
    for (field, id) in [("uid", process.user.uid), ("gid", process.user.gid)] {
        if id == u32::MAX {
            return Err(Error::new(format!("process.user.{field}: {id}: must be below {id}")));
        }
    }
    let mut unknown = Vec::new();
    let caps = process.capabilities.as_ref().map(|c| Sets::new(c, &mut unknown));
    if !unknown.is_empty() {
        warnings.push(format!("ignoring unknown or unavailable capabilities: [{}]", unknown.join(" ")));
    }
    let strings = |field: &str, list: &[String]| list.iter().map(|s| cstring(field, s)).collect::<Result<Vec<_>>>();
    let rlimits = process
        .rlimits
        .iter()
        .map(|r| match RLIMITS.iter().position(|n| *n == r.kind) {
            Some(n) => Ok((n as u32, r.soft, r.hard)),
            None => Err(Error::new(format!("process.rlimits: unknown type \"{}\"", r.kind))),
        })
        .collect::<Result<_>>()?;
    let cpus = match &process.exec_cpu_affinity {
        None => Cpus::All,
        Some(a) if a.r#final.is_empty() => Cpus::Kept,
        Some(a) => Cpus::These(bit_list("process.execCPUAffinity.final", &a.r#final)?),
    };
    Ok(ProcessPlan {
        engine: None,
        args: strings("process.args", &process.args)?,
        env: strings("process.env", &environment(&process.env))?,
        cwd: process.cwd.clone(),
        uid: process.user.uid,
        gid: process.user.gid,
        groups: Some(process.user.additional_gids.clone()),
        keep_groups: false,
        umask: process.user.umask,
        caps,
        rlimits,
        no_new_privs: process.no_new_privileges,
        apparmor: label(&process.apparmor_profile),
        selinux: label(&process.selinux_label),
        oom_score_adj: process.oom_score_adj,
        scheduler: process.scheduler.as_ref().map(scheduler).transpose()?,
        io_priority: process.io_priority.as_ref().map(io_priority).transpose()?,
        personality: None,
        mempolicy: None,
        cpus,
        terminal: process.terminal,
        console_size: process.console_size.map(|s| (s.height.min(65535) as u16, s.width.min(65535) as u16)),
        filter,
        keyring: None,
        preserve_fds: 0,
        debug: false,
        alone: false,
    })
}

/// Later entries of one name win, as in a shell; the first place is kept.
fn environment(env: &[String]) -> Vec<String> {
    let name = |entry: &str| entry.split('=').next().unwrap_or_default().to_owned();
    let mut kept: Vec<String> = Vec::with_capacity(env.len());
    for entry in env {
        match kept.iter_mut().find(|k| name(k) == name(entry)) {
            Some(slot) => slot.clone_from(entry),
            None => kept.push(entry.clone()),
        }
    }
    kept
}

/// Reads a list such as "0-3,7" into a bit mask.
///
/// # Errors
/// For a list that is none.
pub fn bit_list(field: &str, text: &str) -> Result<Vec<u64>> {
    let bad = || Error::new(format!("{field}: \"{text}\": must be a list of numbers and ranges such as 0-3,7"));
    let mut mask = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| bad())?;
        let last: usize = last.trim().parse().map_err(|_| bad())?;
        if first > last || last >= 8192 {
            return Err(bad());
        }
        for bit in first..=last {
            if mask.len() <= bit / 64 {
                mask.resize(bit / 64 + 1, 0);
            }
            mask[bit / 64] |= 1 << (bit % 64);
        }
    }
    if mask.is_empty() { Err(bad()) } else { Ok(mask) }
}

fn scheduler(s: &hull_spec::Scheduler) -> Result<hull_sys::sched::SchedAttr> {
    const POLICIES: [(&str, u64); 7] = [
        ("SCHED_OTHER", 0), ("SCHED_FIFO", 1), ("SCHED_RR", 2), ("SCHED_BATCH", 3), ("SCHED_ISO", 4),
        ("SCHED_IDLE", 5), ("SCHED_DEADLINE", 6),
    ];
    const FLAGS: [(&str, u64); 7] = [
        ("SCHED_FLAG_RESET_ON_FORK", 1), ("SCHED_FLAG_RECLAIM", 2), ("SCHED_FLAG_DL_OVERRUN", 4),
        ("SCHED_FLAG_KEEP_POLICY", 8), ("SCHED_FLAG_KEEP_PARAMS", 16), ("SCHED_FLAG_UTIL_CLAMP_MIN", 32),
        ("SCHED_FLAG_UTIL_CLAMP_MAX", 64),
    ];
    let mut bits = 0;
    for flag in &s.flags {
        bits |= named("process.scheduler.flags", &FLAGS, flag)?;
    }
    Ok(hull_sys::sched::SchedAttr {
        size: 0,
        policy: named("process.scheduler.policy", &POLICIES, &s.policy)? as u32,
        flags: bits,
        nice: s.nice,
        priority: s.priority as u32,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    })
}

fn io_priority(p: &hull_spec::IoPriority) -> Result<(u32, u32)> {
    const CLASSES: [(&str, u64); 3] = [("IOPRIO_CLASS_RT", 1), ("IOPRIO_CLASS_BE", 2), ("IOPRIO_CLASS_IDLE", 3)];
    Ok((named("process.ioPriority.class", &CLASSES, &p.class)? as u32, p.priority as u32))
}

fn personality(linux: &Linux) -> Result<Option<u64>> {
    const DOMAINS: [(&str, u64); 2] = [("LINUX", 0), ("LINUX32", 8)];
    linux.personality.as_ref().map(|p| named("linux.personality.domain", &DOMAINS, &p.domain)).transpose()
}

fn memory_policy(linux: &Linux) -> Result<Option<(i32, Vec<u64>)>> {
    const MODES: [(&str, u64); 7] = [
        ("MPOL_DEFAULT", 0), ("MPOL_PREFERRED", 1), ("MPOL_BIND", 2), ("MPOL_INTERLEAVE", 3), ("MPOL_LOCAL", 4),
        ("MPOL_PREFERRED_MANY", 5), ("MPOL_WEIGHTED_INTERLEAVE", 6),
    ];
    const FLAGS: [(&str, u64); 3] =
        [("MPOL_F_STATIC_NODES", 1 << 15), ("MPOL_F_RELATIVE_NODES", 1 << 14), ("MPOL_F_NUMA_BALANCING", 1 << 13)];
    let Some(policy) = &linux.memory_policy else { return Ok(None) };
    let mut mode = named("linux.memoryPolicy.mode", &MODES, &policy.mode)?;
    for flag in &policy.flags {
        mode |= named("linux.memoryPolicy.flags", &FLAGS, flag)?;
    }
    let nodes = if policy.nodes.is_empty() { vec![] } else { bit_list("linux.memoryPolicy.nodes", &policy.nodes)? };
    Ok(Some((mode as i32, nodes)))
}

impl ProcessPlan {
    /// Takes on what config.json says of the container and holds for each of its processes.
    ///
    /// # Errors
    /// For a value that can't be honoured, by its field.
    pub fn take_container(&mut self, linux: &Linux) -> Result<()> {
        self.personality = personality(linux)?;
        self.mempolicy = memory_policy(linux)?;
        Ok(())
    }

    /// Leaves a process that names no label of its own under that of the container.
    pub fn take_labels(&mut self, container: &Process) {
        let take = |own: &mut Option<String>, text: &str| *own = own.take().or_else(|| label(text));
        take(&mut self.apparmor, &container.apparmor_profile);
        take(&mut self.selinux, &container.selinux_label);
    }
}

fn label(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_variable_wins() {
        let env = ["A=1", "B=2", "A=3"].map(String::from);
        assert_eq!(environment(&env), ["A=3", "B=2"]);
    }
}

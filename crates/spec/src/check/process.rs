//! The process object, of config.json and of `exec --process`.

use super::names::{IO_CLASSES, RLIMITS, SCHEDULER_FLAGS, SCHEDULERS};
use super::{Result, refuse, refuse_value};
use crate::config::{IoPriority, Process, Rlimit, Scheduler};
use crate::load::Error;

impl Process {
    /// Checks a process object; `at` is its path in the document.
    ///
    /// # Errors
    /// By the first field that is not as the specification demands.
    pub fn check(&self, at: &str) -> std::result::Result<(), Error> {
        if self.cwd.as_os_str().is_empty() {
            return refuse(format!("{at}.cwd"), "Cwd property must not be empty");
        }
        if !self.cwd.is_absolute() {
            return refuse_value(format!("{at}.cwd"), &self.cwd, "Cwd must be an absolute path");
        }
        match self.args.first() {
            None => return refuse(format!("{at}.args"), "args must not be empty"),
            Some(program) if program.is_empty() => return refuse(format!("{at}.args[0]"), "must not be empty"),
            Some(_) => {}
        }
        if !self.command_line.is_empty() {
            return refuse_value(format!("{at}.commandLine"), &self.command_line, "is for platform \"windows\"");
        }
        texts(&self.args, at, "args")?;
        texts(&self.env, at, "env")?;
        for (i, variable) in self.env.iter().enumerate() {
            let problem = match variable.find('=') {
                None => "invalid environment variable: missing '='",
                Some(0) => "invalid environment variable: name cannot be empty",
                Some(_) => continue,
            };
            return refuse_value(format!("{at}.env[{i}]"), variable, problem);
        }
        rlimits(&self.rlimits, at)?;
        if let Some(score) = self.oom_score_adj.filter(|s| !(-1000..=1000).contains(s)) {
            return refuse_value(format!("{at}.oomScoreAdj"), score, "must be -1000 to 1000");
        }
        if let Some(s) = &self.scheduler {
            scheduler(s, &format!("{at}.scheduler"))?;
        }
        if let Some(p) = &self.io_priority {
            io_priority(p, &format!("{at}.ioPriority"))?;
        }
        if let Some(a) = &self.exec_cpu_affinity {
            for (name, text) in [("initial", &a.initial), ("final", &a.r#final)] {
                if !text.is_empty()
                    && let Err(e) = members(text)
                {
                    return refuse_value(
                        format!("{at}.execCPUAffinity.{name}"),
                        text,
                        format!("bad CPU affinity: {e}"),
                    );
                }
            }
        }
        Ok(())
    }
}

/// Documents that were read have no NUL bytes; a process object made of a command line may.
fn texts(list: &[String], at: &str, name: &str) -> Result {
    match list.iter().position(|t| t.contains('\0')) {
        Some(i) => refuse_value(format!("{at}.{name}[{i}]"), &list[i], "must not contain a NUL byte"),
        None => Ok(()),
    }
}

fn rlimits(list: &[Rlimit], at: &str) -> Result {
    for (i, r) in list.iter().enumerate() {
        let field = |name: &str| format!("{at}.rlimits[{i}].{name}");
        if !RLIMITS.contains(&r.kind.as_str()) {
            let allowed = format!("wrong rlimit value: expected one of {}", RLIMITS.join(", "));
            return refuse_value(field("type"), &r.kind, allowed);
        }
        if list[..i].iter().any(|other| other.kind == r.kind) {
            return refuse_value(field("type"), &r.kind, "given twice");
        }
        if r.soft > r.hard {
            return refuse_value(field("soft"), r.soft, format!("must not be above hard, which is {}", r.hard));
        }
    }
    Ok(())
}

fn scheduler(s: &Scheduler, at: &str) -> Result {
    if !SCHEDULERS.contains(&s.policy.as_str()) {
        let allowed = format!("scheduler policy is required to be one of {}", SCHEDULERS.join(", "));
        return refuse_value(format!("{at}.policy"), &s.policy, allowed);
    }
    if let Some(i) = s.flags.iter().position(|f| !SCHEDULER_FLAGS.contains(&f.as_str())) {
        let allowed = format!("expected one of {}", SCHEDULER_FLAGS.join(", "));
        return refuse_value(format!("{at}.flags[{i}]"), &s.flags[i], allowed);
    }
    if matches!(s.policy.as_str(), "SCHED_OTHER" | "SCHED_BATCH") && !(-20..=19).contains(&s.nice) {
        return refuse_value(format!("{at}.nice"), s.nice, format!("must be -20 to 19 with {}", s.policy));
    }
    if matches!(s.policy.as_str(), "SCHED_FIFO" | "SCHED_RR") {
        if !(1..=99).contains(&s.priority) {
            return refuse_value(format!("{at}.priority"), s.priority, format!("must be 1 to 99 with {}", s.policy));
        }
    } else if s.priority != 0 {
        let allowed = "scheduler.priority can only be specified for SCHED_FIFO or SCHED_RR policy";
        return refuse_value(format!("{at}.priority"), s.priority, allowed);
    }
    if s.policy == "SCHED_DEADLINE" {
        return deadline(s, at);
    }
    if (s.runtime, s.deadline, s.period) != (0, 0, 0) {
        return refuse(at, "scheduler runtime/deadline/period can only be specified for SCHED_DEADLINE policy");
    }
    Ok(())
}

/// What sched_setattr(2) would refuse with nothing but EINVAL, by the names that crun gives to it.
fn deadline(s: &Scheduler, at: &str) -> Result {
    const WHO: &str = "sched_setattr: `SCHED_DEADLINE`";
    for (name, n) in [("runtime", s.runtime), ("deadline", s.deadline)] {
        if n == 0 {
            let problem = format!("{WHO} requires `{name}`; {WHO} {name} must be greater than 0");
            return refuse_value(format!("{at}.{name}"), n, problem);
        }
    }
    for (name, n) in [("runtime", s.runtime), ("deadline", s.deadline), ("period", s.period)] {
        if n != 0 && !(1024..1 << 63).contains(&n) {
            let problem = format!("{WHO} {name} ({n}) must be between 1024 and {} ns", (1_u64 << 63) - 1);
            return refuse_value(format!("{at}.{name}"), n, problem);
        }
    }
    if s.runtime > s.deadline {
        let problem = format!("{WHO} runtime ({}) must be <= deadline ({})", s.runtime, s.deadline);
        return refuse_value(format!("{at}.runtime"), s.runtime, problem);
    }
    // No period is one as long as the deadline.
    if s.period != 0 && s.deadline > s.period {
        let problem = format!("{WHO} deadline ({}) must be <= period ({})", s.deadline, s.period);
        return refuse_value(format!("{at}.deadline"), s.deadline, problem);
    }
    Ok(())
}

fn io_priority(p: &IoPriority, at: &str) -> Result {
    if !IO_CLASSES.contains(&p.class.as_str()) {
        let allowed = format!("invalid ioPriority.Class: expected one of {}", IO_CLASSES.join(", "));
        return refuse_value(format!("{at}.class"), &p.class, allowed);
    }
    if !(0..=7).contains(&p.priority) {
        return refuse_value(format!("{at}.priority"), p.priority, "invalid ioPriority.Priority: must be 0 to 7");
    }
    Ok(())
}

/// Counts the members of a list such as "0-3,7" of CPUs or memory nodes.
pub(super) fn members(text: &str) -> std::result::Result<u32, String> {
    /// Far above any machine's; bounds the mask that the list becomes.
    const MOST: u32 = 65536;
    let number = |text: &str| match text.parse::<u64>() {
        Ok(n) if n <= MOST.into() && !text.starts_with('+') => Ok(n as u32),
        Ok(_) if !text.starts_with('+') => Err(format!("numbers above {MOST} are not supported")),
        _ => Err("must be a list of numbers and ranges such as 0-3,7".into()),
    };
    let mut ranges = Vec::new();
    for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(format!("invalid range: {part}"));
        }
        ranges.push((first, last));
    }
    if ranges.is_empty() {
        return Err("no members found".into());
    }
    ranges.sort_unstable();
    let (mut count, mut next) = (0, 0);
    for (first, last) in ranges {
        count += (last + 1).saturating_sub(first.max(next));
        next = next.max(last + 1);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::members;

    #[test]
    fn lists_are_counted() {
        for (text, count) in [("0", 1), ("0-7", 8), ("1, 3-4 ,", 3), ("0-5,2-3,5-6", 7), ("65536", 1)] {
            assert_eq!(members(text), Ok(count), "{text}");
        }
        for bad in ["", " , ", "a", "3-1", "-1", "1-", "1-2-3", "65537", "0-9876543210", "99999999999999999999", "+1"] {
            assert!(members(bad).is_err(), "{bad}");
        }
    }
}

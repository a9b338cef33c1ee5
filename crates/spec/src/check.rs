//! The specification's MUSTs that the text alone decides, refused before anything is made.

use crate::config::{Linux, NamespaceKind, Process, Spec};
use crate::load::Error;

/// What the checks need to know of the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckHost {
    /// hull runs without privileges.
    pub rootless: bool,
    /// A container is to be made, so that `process` and `root` are needed.
    pub for_start: bool,
}

type Result<T> = std::result::Result<T, Error>;

fn refuse<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T> {
    Err(Error::new(field, problem))
}

impl Spec {
    /// Checks the document; the result is what a user should be warned of.
    ///
    /// # Errors
    /// By the first field that is not as the specification demands.
    pub fn check(&self, host: &CheckHost) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        self.version()?;
        self.platform(&mut warnings)?;
        if host.for_start {
            match &self.root {
                None => return refuse("root", "must be given"),
                Some(r) if r.path.as_os_str().is_empty() => return refuse("root.path", "must not be empty"),
                Some(_) => {}
            }
            if self.process.is_none() {
                return refuse("process", "must be given to start a container");
            }
        }
        if let Some(process) = &self.process {
            process.check("process")?;
        }
        for (i, m) in self.mounts.iter().enumerate() {
            if m.destination.as_os_str().is_empty() {
                return refuse(format!("mounts[{i}].destination"), "must not be empty");
            }
            if !m.destination.is_absolute() {
                warnings.push(format!("mount destination \"{}\" is not absolute; taken from the root", m.destination.display()));
            }
            if m.uid_mappings.is_empty() != m.gid_mappings.is_empty() {
                return refuse(format!("mounts[{i}]"), "uidMappings and gidMappings must be given together");
            }
        }
        self.hooks()?;
        if self.annotations.contains_key("") {
            return refuse("annotations", "keys must not be empty");
        }
        let linux = self.linux();
        linux.check()?;
        let has = |kind| linux.namespace(kind).is_some();
        let own = |kind| linux.namespace(kind).is_some_and(|n| n.path.is_none());
        if !self.hostname.is_empty() && !has(NamespaceKind::Uts) {
            return refuse("hostname", format!("\"{}\": unable to set hostname without a private UTS namespace", self.hostname));
        }
        if !self.domainname.is_empty() && !has(NamespaceKind::Uts) {
            return refuse("domainname", format!("\"{}\": unable to set domainname without a private UTS namespace", self.domainname));
        }
        if !self.domainname.is_empty() && linux.sysctl.contains_key("kernel.domainname") {
            return refuse("linux.sysctl[\"kernel.domainname\"]", "conflicts with domainname");
        }
        if (!linux.masked_paths.is_empty() || !linux.readonly_paths.is_empty()) && !has(NamespaceKind::Mount) {
            return refuse("linux.maskedPaths", "unable to restrict sys entries without a private MNT namespace");
        }
        sysctls(&linux)?;
        if own(NamespaceKind::User) && (linux.uid_mappings.is_empty() || linux.gid_mappings.is_empty()) {
            return refuse("linux.uidMappings", "user namespaces enabled, but no user or group mappings found");
        }
        if !has(NamespaceKind::User) && (!linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty()) {
            return refuse("linux.uidMappings", "user namespace mappings specified, but user namespace isn't enabled in the config");
        }
        if host.rootless && !has(NamespaceKind::User) {
            return refuse("linux.namespaces", "rootless containers need a user namespace");
        }
        if !linux.time_offsets.is_empty() && !own(NamespaceKind::Time) {
            return refuse("linux.timeOffsets", "time namespace offsets specified, but a new time namespace isn't in the config");
        }
        Ok(warnings)
    }

    fn version(&self) -> Result<()> {
        let core = self.oci_version.split(['-', '+']).next().unwrap_or_default();
        let parts: Vec<_> = core.split('.').collect();
        let number = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
        if parts.len() != 3 || !parts.iter().all(number) {
            return refuse("ociVersion", format!("\"{}\": must be a version such as 1.3.0", self.oci_version));
        }
        if parts[0] != "1" {
            return refuse("ociVersion", format!("\"{}\": unsupported, must be 1.x", self.oci_version));
        }
        Ok(())
    }

    fn platform(&self, warnings: &mut Vec<String>) -> Result<()> {
        let sections =
            [("solaris", &self.solaris), ("windows", &self.windows), ("zos", &self.zos), ("freebsd", &self.freebsd)];
        for (name, section) in sections {
            if section.is_some() {
                return refuse(name, format!("config.json is for the platform \"{name}\"; this is linux"));
            }
        }
        if self.vm.is_some() {
            warnings.push("vm: ignored, as the isolation is not a virtual machine".into());
        }
        Ok(())
    }

    fn hooks(&self) -> Result<()> {
        let Some(h) = &self.hooks else { return Ok(()) };
        let points = [
            ("prestart", &h.prestart),
            ("createRuntime", &h.create_runtime),
            ("createContainer", &h.create_container),
            ("startContainer", &h.start_container),
            ("poststart", &h.poststart),
            ("poststop", &h.poststop),
        ];
        for (point, hooks) in points {
            for (i, hook) in hooks.iter().enumerate() {
                let field = format!("hooks.{point}[{i}]");
                if !hook.path.is_absolute() {
                    return refuse(format!("{field}.path"), format!("\"{}\": must be absolute", hook.path.display()));
                }
                if hook.timeout.is_some_and(|t| t < 1) {
                    return refuse(format!("{field}.timeout"), format!("{}: must be at least 1", hook.timeout.unwrap_or(0)));
                }
            }
        }
        Ok(())
    }
}

impl Process {
    /// Checks a process object; `at` is its path in the document.
    ///
    /// # Errors
    /// By the first field that is not as the specification demands.
    pub fn check(&self, at: &str) -> Result<()> {
        if !self.cwd.is_absolute() {
            return refuse(format!("{at}.cwd"), format!("\"{}\": must be an absolute path", self.cwd.display()));
        }
        if self.args.is_empty() {
            return refuse(format!("{at}.args"), "must not be empty");
        }
        if self.args[0].is_empty() {
            return refuse(format!("{at}.args[0]"), "must not be empty");
        }
        if !self.command_line.is_empty() {
            return refuse(format!("{at}.commandLine"), "is for windows");
        }
        for (i, e) in self.env.iter().enumerate() {
            if e.starts_with('=') || !e.contains('=') {
                return refuse(format!("{at}.env[{i}]"), format!("\"{e}\": must be NAME=value"));
            }
        }
        for text in self.args.iter().chain(&self.env) {
            if text.contains('\0') {
                return refuse(at, format!("{text:?}: must not contain a NUL byte"));
            }
        }
        let mut seen = Vec::new();
        for (i, r) in self.rlimits.iter().enumerate() {
            if seen.contains(&&r.kind) {
                return refuse(format!("{at}.rlimits[{i}].type"), format!("\"{}\": given twice", r.kind));
            }
            if r.soft > r.hard {
                return refuse(format!("{at}.rlimits[{i}].soft"), format!("{}: must not be above hard ({})", r.soft, r.hard));
            }
            seen.push(&r.kind);
        }
        if let Some(score) = self.oom_score_adj.filter(|s| !(-1000..=1000).contains(s)) {
            return refuse(format!("{at}.oomScoreAdj"), format!("{score}: must be -1000 to 1000"));
        }
        if let Some(s) = &self.scheduler {
            scheduler(s, at)?;
        }
        if let Some(p) = &self.io_priority
            && !(0..=7).contains(&p.priority)
        {
            return refuse(format!("{at}.ioPriority.priority"), format!("{}: must be 0 to 7", p.priority));
        }
        Ok(())
    }
}

fn scheduler(s: &crate::config::Scheduler, at: &str) -> Result<()> {
    let at = format!("{at}.scheduler");
    let realtime = matches!(s.policy.as_str(), "SCHED_FIFO" | "SCHED_RR");
    let deadline = s.policy == "SCHED_DEADLINE";
    if !(-20..=19).contains(&s.nice) {
        return refuse(format!("{at}.nice"), format!("{}: must be -20 to 19", s.nice));
    }
    if realtime && !(1..=99).contains(&s.priority) {
        return refuse(format!("{at}.priority"), format!("{}: must be 1 to 99 for {}", s.priority, s.policy));
    }
    if !realtime && s.priority != 0 {
        return refuse(format!("{at}.priority"), format!("{}: scheduler priority can only be specified for SchedFIFO or SchedRR policy", s.priority));
    }
    if !deadline && (s.runtime, s.deadline, s.period) != (0, 0, 0) {
        return refuse(at, "scheduler runtime/deadline/period can only be specified for SchedDeadline policy");
    }
    Ok(())
}

impl Linux {
    fn check(&self) -> Result<()> {
        for (i, ns) in self.namespaces.iter().enumerate() {
            if self.namespaces[..i].iter().any(|other| other.kind == ns.kind) {
                return refuse(format!("linux.namespaces[{i}].type"), format!("\"{}\": malformed spec file: duplicated ns", ns.kind.as_str()));
            }
            if ns.path.as_ref().is_some_and(|p| !p.is_absolute()) {
                return refuse(format!("linux.namespaces[{i}].path"), "must be absolute");
            }
        }
        for (i, d) in self.devices.iter().enumerate() {
            if !d.path.is_absolute() {
                return refuse(format!("linux.devices[{i}].path"), format!("\"{}\": must be absolute", d.path.display()));
            }
            if d.kind != "p" && (d.major.is_none() || d.minor.is_none()) {
                return refuse(format!("linux.devices[{i}]"), "major and minor must be given unless type is p");
            }
        }
        for (clock, offset) in &self.time_offsets {
            if !matches!(clock.as_str(), "monotonic" | "boottime") {
                return refuse(format!("linux.timeOffsets[\"{clock}\"]"), "must be monotonic or boottime");
            }
            if offset.nanosecs >= 1_000_000_000 {
                return refuse(format!("linux.timeOffsets.{clock}.nanosecs"), format!("{}: must be below 1000000000", offset.nanosecs));
            }
        }
        for (i, h) in self.resources.iter().flat_map(|r| &r.hugepage_limits).enumerate() {
            let digits = h.page_size.trim_end_matches("KB").trim_end_matches("MB").trim_end_matches("GB");
            let fits = digits.len() + 2 == h.page_size.len()
                && !digits.starts_with('0')
                && !digits.is_empty()
                && digits.bytes().all(|b| b.is_ascii_digit());
            if !fits {
                return refuse(
                    format!("linux.resources.hugepageLimits[{i}].pageSize"),
                    format!("\"{}\": must be a size such as 2MB", h.page_size),
                );
            }
        }
        if let Some(p) = &self.personality
            && !p.flags.is_empty()
        {
            return refuse("linux.personality.flags", format!("{:?}: no flag is supported", p.flags));
        }
        Ok(())
    }
}

/// Only parameters that belong to a namespace of the container may be set: any other would change the host.
fn sysctls(linux: &Linux) -> Result<()> {
    const IPC: [&str; 9] = [
        "kernel/msgmax", "kernel/msgmnb", "kernel/msgmni", "kernel/sem", "kernel/shmall", "kernel/shmmax",
        "kernel/shmmni", "kernel/shm_rmid_forced", "kernel/msg_next_id",
    ];
    for (key, value) in &linux.sysctl {
        let field = || format!("linux.sysctl[\"{key}\"]");
        let path = if key.contains('/') { key.clone() } else { key.replace('.', "/") };
        if path.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return refuse(field(), "is no name of a kernel parameter");
        }
        if value.contains(['\0', '\n']) {
            return refuse(field(), format!("{value:?}: must be one line"));
        }
        let needs = if IPC.contains(&path.as_str()) || path.starts_with("fs/mqueue/") {
            NamespaceKind::Ipc
        } else if path.starts_with("net/") {
            NamespaceKind::Network
        } else if path == "kernel/domainname" {
            NamespaceKind::Uts
        } else if path.starts_with("user/") {
            NamespaceKind::User
        } else if path == "kernel/hostname" {
            return refuse(field(), format!("\"{value}\": sysctl \"{key}\" is not allowed as it conflicts with the hostname field"));
        } else {
            return refuse(field(), format!("\"{value}\": sysctl \"{key}\" is not in a separate kernel namespace"));
        };
        if linux.namespace(needs).is_none() {
            return refuse(
                field(),
                format!("\"{value}\": sysctl \"{key}\" is not allowed in the hosts {} namespace", needs.as_str()),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str) -> std::result::Result<Vec<String>, String> {
        let spec = Spec::from_slice(json.as_bytes()).map_err(|e| e.to_string())?;
        spec.check(&CheckHost { rootless: false, for_start: true }).map_err(|e| e.to_string())
    }

    fn with(linux: &str) -> String {
        format!(r#"{{"ociVersion":"1.3.0","root":{{"path":"r"}},"process":{{"cwd":"/","args":["a"]}},"linux":{linux}}}"#)
    }

    #[test]
    fn bad_values_are_refused_by_field() {
        let cases = [
            (with(r#"{"namespaces":[{"type":"pid"},{"type":"pid"}]}"#), "linux.namespaces[1].type"),
            (with(r#"{"sysctl":{"kernel.panic":"1"}}"#), "kernel.panic"),
            (with(r#"{"sysctl":{"net.ipv4.ip_forward":"1"}}"#), "hosts network namespace"),
            (with(r#"{"sysctl":{"net/../kernel/panic":"1"}}"#), "is no name"),
            (with(r#"{"uidMappings":[{"containerID":0,"hostID":0,"size":1}]}"#), "linux.uidMappings"),
            (with(r#"{"resources":{"hugepageLimits":[{"pageSize":"64kB","limit":1}]}}"#), "pageSize"),
            (r#"{"ociVersion":"1.0"}"#.into(), "ociVersion"),
            (r#"{"ociVersion":"2.0.0"}"#.into(), "ociVersion"),
            (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"x","args":["a"]}}"#.into(), "process.cwd"),
            (r#"{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"/"}}"#.into(), "process.args"),
            (r#"{"ociVersion":"1.0.0","zos":{}}"#.into(), "zos"),
        ];
        for (json, expected) in cases {
            let e = check(&json).unwrap_err();
            assert!(e.contains(expected), "{json}: {e}");
        }
    }

    #[test]
    fn a_plain_config_passes() {
        assert_eq!(check(&with(r#"{"namespaces":[{"type":"pid"},{"type":"mount"}],"maskedPaths":["/x"]}"#)), Ok(vec![]));
    }
}

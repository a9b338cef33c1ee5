//! The Linux part of config.json.

use super::mounts::maps_to_host;
use super::names::{MEMORY_FLAGS, MEMORY_MODES, PROPAGATIONS};
use super::process::members;
use super::{CheckHost, Result, Warning, entry, refuse, refuse_value, sysctl};
use crate::config::{
    Device, IdMapping, IntelRdt, Linux, MemoryPolicy, Namespace, NamespaceKind, Personality, Seccomp, Spec,
};

pub(super) fn check(spec: &Spec, linux: &Linux, host: &CheckHost, warnings: &mut Vec<Warning>) -> Result {
    namespaces(&linux.namespaces)?;
    users(spec, linux, host, warnings)?;
    names_of_host(spec, linux)?;
    if linux.namespace(NamespaceKind::Mount).is_none() {
        for (field, list) in [("maskedPaths", &linux.masked_paths), ("readonlyPaths", &linux.readonly_paths)] {
            if !list.is_empty() {
                return refuse(
                    format!("linux.{field}"),
                    "unable to restrict sys entries without a private MNT namespace",
                );
            }
        }
    }
    absolute(&linux.masked_paths, "linux.maskedPaths")?;
    absolute(&linux.readonly_paths, "linux.readonlyPaths")?;
    times(linux)?;
    sysctl::check(spec, linux)?;
    for (i, device) in linux.devices.iter().enumerate() {
        node(device, &format!("linux.devices[{i}]"))?;
    }
    net_devices(linux, host)?;
    if linux.cgroups_path.contains('\n') {
        return refuse_value("linux.cgroupsPath", &linux.cgroups_path, "must be one line");
    }
    if let Some(resources) = &linux.resources {
        resources.check("linux.resources")?;
        for (i, rule) in resources.devices.iter().enumerate() {
            if !rule.access.chars().all(super::resources::is_access) {
                let field = format!("linux.resources.devices[{i}].access");
                warnings.push(Warning { field, text: "letters other than r, w and m have no effect".into() });
            }
        }
    }
    let propagation = linux.rootfs_propagation.as_str();
    if !propagation.is_empty() && !PROPAGATIONS.contains(&propagation) {
        let allowed = format!("rootfsPropagation is not supported: expected one of {}", PROPAGATIONS.join(", "));
        return refuse_value("linux.rootfsPropagation", propagation, allowed);
    }
    if let Some(s) = &linux.seccomp {
        seccomp(s)?;
    }
    if let Some(rdt) = &linux.intel_rdt {
        intel_rdt(rdt)?;
    }
    if let Some(policy) = &linux.memory_policy {
        memory_policy(policy)?;
    }
    if let Some(p) = &linux.personality {
        personality(p)?;
    }
    Ok(())
}

fn namespaces(list: &[Namespace]) -> Result {
    for (i, ns) in list.iter().enumerate() {
        if list[..i].iter().any(|other| other.kind == ns.kind) {
            let kind = ns.kind.as_str();
            return refuse_value(format!("linux.namespaces[{i}].type"), kind, "malformed spec file: duplicated ns");
        }
        if let Some(path) = ns.path.as_ref().filter(|p| !p.is_absolute()) {
            return refuse_value(format!("linux.namespaces[{i}].path"), path, "must be an absolute path");
        }
    }
    Ok(())
}

/// Mappings and the namespace that they are for.
fn users(spec: &Spec, linux: &Linux, host: &CheckHost, warnings: &mut Vec<Warning>) -> Result {
    let maps = [("uidMappings", &linux.uid_mappings), ("gidMappings", &linux.gid_mappings)];
    let given = maps.iter().find(|m| !m.1.is_empty()).map(|m| format!("linux.{}", m.0));
    let Some(namespace) = linux.namespace(NamespaceKind::User) else {
        return match given {
            Some(field) => {
                refuse(field, "user namespace mappings specified, but user namespace isn't enabled in the config")
            }
            None if host.rootless => refuse("linux.namespaces", "rootless container requires user namespaces"),
            None => Ok(()),
        };
    };
    for (name, list) in maps {
        mappings(list, &format!("linux.{name}"))?;
    }
    if namespace.path.is_some() {
        if let Some(field) = given {
            let text = "config.json has both a userns path to join and a userns mapping: the mapping must be the one \
                        that the namespace has";
            warnings.push(Warning { field, text: text.into() });
        }
        return Ok(());
    }
    if given.is_none() {
        let text = "a user namespace without mappings: the container's user is the one who made it";
        warnings.push(Warning { field: "linux.uidMappings".into(), text: text.into() });
        return Ok(());
    }
    let ids = spec.process.as_ref().map(|p| (p.user.uid, p.user.gid));
    for ((name, list), (what, id)) in maps.into_iter().zip([("uid", ids.map(|i| i.0)), ("gid", ids.map(|i| i.1))]) {
        if list.is_empty() {
            return refuse(format!("linux.{name}"), format!("user namespaces enabled, but no {what} mappings found"));
        }
        // An ordinary user may map itself alone, to itself: it then owns what the jail makes.
        if !host.rootless && !maps_to_host(list, 0) {
            return refuse(
                format!("linux.{name}"),
                "no mapping for the container's root: containerID 0 must be mapped",
            );
        }
        if let Some(id) = id.filter(|id| !maps_to_host(list, *id)) {
            let problem = format!("cannot set {what} to unmapped user in user namespace");
            return refuse_value(format!("process.user.{what}"), id, problem);
        }
    }
    Ok(())
}

/// What the kernel demands of every map, and says EINVAL to.
pub(super) fn mappings(list: &[IdMapping], at: &str) -> Result {
    /// user_namespaces(7).
    const MOST: usize = 340;
    if list.len() > MOST {
        return refuse(at, format!("the kernel takes at most {MOST} ranges"));
    }
    let end = |first: u32, m: &IdMapping| u64::from(first) + u64::from(m.size);
    for (i, m) in list.iter().enumerate() {
        if m.size == 0 {
            return refuse_value(format!("{at}[{i}].size"), 0, "must be at least 1");
        }
        for (name, first) in [("containerID", m.container_id), ("hostID", m.host_id)] {
            // The last id is no one's: -1 of setuid(2).
            if end(first, m) > u64::from(u32::MAX) {
                let problem = format!("with size {} goes beyond the last id, 4294967294", m.size);
                return refuse_value(format!("{at}[{i}].{name}"), first, problem);
            }
        }
    }
    for (name, inside) in [("containerID", true), ("hostID", false)] {
        let first = |m: &IdMapping| if inside { m.container_id } else { m.host_id };
        let mut order: Vec<usize> = (0..list.len()).collect();
        order.sort_unstable_by_key(|i| first(&list[*i]));
        for pair in order.windows(2) {
            let (low, high) = (&list[pair[0]], &list[pair[1]]);
            if end(first(low), low) > u64::from(first(high)) {
                return refuse_value(format!("{at}[{}].{name}", pair[1]), first(high), "overlaps with another range");
            }
        }
    }
    Ok(())
}

fn names_of_host(spec: &Spec, linux: &Linux) -> Result {
    /// Of the kernel's `struct new_utsname`.
    const LONGEST: usize = 64;
    for (field, name) in [("hostname", &spec.hostname), ("domainname", &spec.domainname)] {
        if !name.is_empty() && linux.namespace(NamespaceKind::Uts).is_none() {
            return refuse_value(field, name, format!("unable to set {field} without a private UTS namespace"));
        }
        if name.len() > LONGEST {
            return refuse_value(field, name, format!("must not be longer than {LONGEST} bytes"));
        }
    }
    Ok(())
}

fn absolute(list: &[String], at: &str) -> Result {
    match list.iter().position(|p| !p.starts_with('/')) {
        Some(i) => refuse_value(format!("{at}[{i}]"), &list[i], "must be an absolute path"),
        None => Ok(()),
    }
}

fn times(linux: &Linux) -> Result {
    if linux.time_offsets.is_empty() {
        return Ok(());
    }
    match linux.namespace(NamespaceKind::Time) {
        None => {
            let problem = "time namespace offsets specified, but time namespace isn't enabled in the config";
            return refuse("linux.timeOffsets", problem);
        }
        Some(ns) if ns.path.is_some() => {
            let problem = "time namespace enabled, but both namespace path and time offsets specified -- you may only \
                           provide one";
            return refuse("linux.timeOffsets", problem);
        }
        Some(_) => {}
    }
    for (clock, offset) in &linux.time_offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return refuse(entry("linux.timeOffsets", clock), "unknown clock: expected monotonic or boottime");
        }
        if offset.nanosecs >= 1_000_000_000 {
            let field = format!("linux.timeOffsets.{clock}.nanosecs");
            return refuse_value(field, offset.nanosecs, "must be below 1000000000");
        }
    }
    Ok(())
}

fn node(d: &Device, at: &str) -> Result {
    if !matches!(d.kind.as_str(), "c" | "b" | "u" | "p") {
        return refuse_value(format!("{at}.type"), &d.kind, "invalid device type: expected one of c, b, u, p");
    }
    if !d.path.is_absolute() {
        return refuse_value(format!("{at}.path"), &d.path, "must be an absolute path");
    }
    for (name, number) in [("major", d.major), ("minor", d.minor)] {
        match number {
            None if d.kind != "p" => return refuse(format!("{at}.{name}"), "must be given unless type is p"),
            Some(n) if u32::try_from(n).is_err() => {
                return refuse_value(format!("{at}.{name}"), n, "must be 0 to 4294967295");
            }
            _ => {}
        }
    }
    // Engines hand on st_mode, whose upper bits are the type again.
    const TYPE: u32 = 0o170_000;
    match d.file_mode {
        Some(mode) if mode & !TYPE > 0o777 => {
            refuse_value(format!("{at}.fileMode"), mode, "must be 0 to 511, permission bits alone")
        }
        _ => Ok(()),
    }
}

fn net_devices(linux: &Linux, host: &CheckHost) -> Result {
    if linux.net_devices.is_empty() {
        return Ok(());
    }
    if linux.namespace(NamespaceKind::Network).is_none() {
        return refuse("linux.netDevices", "unable to move network devices without a NET namespace");
    }
    if host.rootless {
        return refuse("linux.netDevices", "network devices are not supported for rootless containers");
    }
    // The kernel's dev_valid_name().
    let valid = |name: &str| {
        !matches!(name, "" | "." | "..")
            && name.len() < 16
            && !name.contains(|c: char| c == '/' || c == ':' || c.is_ascii_whitespace() || c == '\u{b}')
    };
    let mut taken: Vec<&str> = Vec::new();
    for (name, device) in &linux.net_devices {
        let field = entry("linux.netDevices", name);
        if !valid(name) {
            return refuse(field, "invalid network device name");
        }
        let inside = if device.name.is_empty() { name } else { &device.name };
        if !valid(inside) {
            return refuse_value(format!("{field}.name"), inside, "invalid network device name");
        }
        // "%d" makes the kernel choose a number.
        if taken.contains(&inside.as_str()) && !inside.contains('%') {
            return refuse_value(format!("{field}.name"), inside, "another network device is given that name");
        }
        taken.push(inside);
    }
    Ok(())
}

/// The shape alone: what the rules mean is judged when they are compiled.
fn seccomp(s: &Seccomp) -> Result {
    if !s.listener_metadata.is_empty() && s.listener_path.as_os_str().is_empty() {
        return refuse("linux.seccomp.listenerMetadata", "must not be set if listenerPath is not");
    }
    for (i, rule) in s.syscalls.iter().enumerate() {
        let at = format!("linux.seccomp.syscalls[{i}]");
        if rule.names.is_empty() {
            return refuse(format!("{at}.names"), "must have at least one entry");
        }
        if let Some(j) = rule.args.iter().position(|a| a.index > 5) {
            let index = rule.args[j].index;
            return refuse_value(format!("{at}.args[{j}].index"), index, "system calls have arguments 0 to 5");
        }
    }
    Ok(())
}

fn intel_rdt(rdt: &IntelRdt) -> Result {
    let id = rdt.clos_id.as_deref().unwrap_or_default();
    if matches!(id, "." | "..") || id.len() > 1 && id.contains('/') || id.contains('\n') {
        return refuse_value("linux.intelRdt.closID", id, "invalid intelRdt.ClosID: must be a plain name, or /");
    }
    if let Some(line) = rdt.mem_bw_schema.as_ref().filter(|l| !l.is_empty())
        && (!line.starts_with("MB:") || line.contains('\n'))
    {
        return refuse_value("linux.intelRdt.memBwSchema", line, "must start with MB: and be one line");
    }
    let lines = rdt.schemata.as_deref().unwrap_or_default();
    if let Some(i) = lines.iter().position(|l| l.contains('\n')) {
        return refuse_value(format!("linux.intelRdt.schemata[{i}]"), &lines[i], "must be one line");
    }
    Ok(())
}

fn memory_policy(policy: &MemoryPolicy) -> Result {
    const AT: &str = "linux.memoryPolicy";
    if !MEMORY_MODES.contains(&policy.mode.as_str()) {
        let allowed = format!("invalid memory policy mode: expected one of {}", MEMORY_MODES.join(", "));
        return refuse_value(format!("{AT}.mode"), &policy.mode, allowed);
    }
    if let Some(i) = policy.flags.iter().position(|f| !MEMORY_FLAGS.contains(&f.as_str())) {
        let allowed = format!("invalid memory policy flag: expected one of {}", MEMORY_FLAGS.join(", "));
        return refuse_value(format!("{AT}.flags[{i}]"), &policy.flags[i], allowed);
    }
    let has = |flag: &str| policy.flags.iter().any(|f| f == flag);
    if has("MPOL_F_STATIC_NODES") && has("MPOL_F_RELATIVE_NODES") {
        let problem = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other";
        return refuse_value(format!("{AT}.flags"), &policy.flags, problem);
    }
    let nodes = match policy.nodes.as_str() {
        "" => 0,
        text => match members(text) {
            Ok(count) => count,
            Err(e) => return refuse_value(format!("{AT}.nodes"), text, format!("invalid memory policy nodes: {e}")),
        },
    };
    let problem = match policy.mode.as_str() {
        "MPOL_DEFAULT" | "MPOL_LOCAL" if nodes > 0 => format!("memory policy mode requires 0 nodes but got {nodes}"),
        "MPOL_BIND" | "MPOL_INTERLEAVE" | "MPOL_PREFERRED_MANY" | "MPOL_WEIGHTED_INTERLEAVE" if nodes == 0 => {
            "memory policy mode requires at least one node but got 0".into()
        }
        _ => return Ok(()),
    };
    refuse_value(format!("{AT}.nodes"), &policy.nodes, format!("{}: {problem}", policy.mode))
}

fn personality(p: &Personality) -> Result {
    if !matches!(p.domain.as_str(), "LINUX" | "LINUX32") {
        let allowed = "invalid personality domain: expected LINUX or LINUX32";
        return refuse_value("linux.personality.domain", &p.domain, allowed);
    }
    if !p.flags.is_empty() {
        return refuse_value("linux.personality.flags", &p.flags, "no personality flag is supported");
    }
    Ok(())
}

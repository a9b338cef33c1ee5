//! User namespaces from outside: writing the maps, and making the namespaces that id-mapped mounts take theirs from.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::fs::{Mode, OFlags};

use hull_jail::plan::{IdMap, UserMaps};
use hull_spec::{IdMapping, NamespaceKind};
use hull_sys::clone::{self, Side, flags};

use crate::{Context as _, Error, Result};

/// Writes the maps of a process's new user namespace: directly where the rights suffice, else by the helpers that
/// a distribution ships for it.
pub(crate) fn write_maps(pid: i32, maps: &UserMaps) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let own = |map: &[IdMapping], id: u32| matches!(map, [one] if one.host_id == id && one.size == 1);
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if root || own(&maps.uids, uid) && own(&maps.gids, gid) {
        if !root {
            // Else an ordinary user could drop a group that denies it something.
            write(pid, "setgroups", "deny")?;
        }
        write(pid, "uid_map", &text(&maps.uids))?;
        return write(pid, "gid_map", &text(&maps.gids));
    }
    helper("newuidmap", "linux.uidMappings", pid, &maps.uids)?;
    helper("newgidmap", "linux.gidMappings", pid, &maps.gids)
}

/// Gives a new user namespace without mappings those that crun gives it: the process's user is the caller, the ids
/// around it are the caller's subordinate ones, if it has any.
pub(crate) fn fill(spec: &mut hull_spec::Spec) {
    let Some(linux) = &mut spec.linux else { return };
    let new = linux.namespace(NamespaceKind::User).is_some_and(|n| n.path.as_ref().is_none_or(|p| p.as_os_str().is_empty()));
    if !new || !linux.uid_mappings.is_empty() || !linux.gid_mappings.is_empty() {
        return;
    }
    let (uid, gid) = spec.process.as_ref().map_or((0, 0), |p| (p.user.uid, p.user.gid));
    let caller = rustix::process::geteuid().as_raw();
    linux.uid_mappings = around(uid, caller, subordinate("/etc/subuid", caller));
    linux.gid_mappings = around(gid, rustix::process::getegid().as_raw(), subordinate("/etc/subgid", caller));
}

/// Maps `inside` to `caller`, and what is below and above it to the range.
fn around(inside: u32, caller: u32, range: Option<(u32, u32)>) -> Vec<IdMapping> {
    let (first, size) = range.unwrap_or_default();
    let below = inside.min(size);
    let map = |container_id, host_id, size| IdMapping { container_id, host_id, size };
    // Nothing is above the last id.
    let above = inside.checked_add(1).map(|next| map(next, first.saturating_add(below), size - below));
    let parts = [Some(map(0, first, below)), Some(map(inside, caller, 1)), above];
    parts.into_iter().flatten().filter(|m| m.size > 0).collect()
}

/// The first range that subuid(5) gives a user, by name or number.
fn subordinate(file: &str, user: u32) -> Option<(u32, u32)> {
    let text = std::fs::read_to_string(file).ok()?;
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = user.to_string();
    let name = users.lines().map(|l| l.split(':').collect::<Vec<_>>()).find(|f| f.get(2) == Some(&number.as_str()));
    let name = name.map(|f| f[0]);
    text.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        let [who, first, count] = fields[..] else { return None };
        if who != number && Some(who) != name {
            return None;
        }
        Some((first.parse().ok()?, count.trim().parse().ok()?))
    })
}

fn text(map: &[IdMapping]) -> String {
    map.iter().map(|m| format!("{} {} {}\n", m.container_id, m.host_id, m.size)).collect()
}

fn write(pid: i32, file: &str, value: &str) -> Result<()> {
    let path = format!("/proc/{pid}/{file}");
    std::fs::write(&path, value).what(|| {
        let hint = if file == "setgroups" { "" } else { " (ids that this user may not map?)" };
        format!("cannot write {:?} to \"{path}\"{hint}", value.trim())
    })
}

fn helper(program: &str, field: &str, pid: i32, map: &[IdMapping]) -> Result<()> {
    let mut command = Command::new(program);
    command.arg(pid.to_string());
    for m in map {
        command.args([m.container_id.to_string(), m.host_id.to_string(), m.size.to_string()]);
    }
    let out = command
        .output()
        .map_err(|e| Error::new(format!("{field}: cannot run {program}: {e} (Debian has it in the package uidmap)")))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(Error::new(format!("{field}: {program} failed: {} (see /etc/subuid and /etc/subgid)", said.trim())))
}

/// The user namespace that an id-mapped mount refers to: one that has the maps and no process, or one that is joined.
pub(crate) fn namespace(map: &IdMap) -> Result<OwnedFd> {
    let maps = match map {
        IdMap::New(maps) => maps,
        IdMap::Joined(path) => {
            let shown = || format!("linux.namespaces: cannot open \"{}\"", path.display());
            return rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(shown);
        }
    };
    let doing = || "cannot make a user namespace for an id-mapped mount";
    let (parent, child_end) = hull_sys::socket::pair().what(doing)?;
    // SAFETY: Runtime::launch checked that this process has one thread.
    match unsafe { clone::clone3(flags::NEWUSER, None) }.what(doing)? {
        Side::Child => {
            drop(parent);
            // Waits for the parent to be done, or to die.
            let _ = hull_sys::socket::receive(std::os::fd::AsFd::as_fd(&child_end), &mut [0]);
            clone::exit_now(0)
        }
        Side::Parent(child) => {
            drop(child_end);
            let opened = write_maps(child.pid, maps).and_then(|()| {
                let path = format!("/proc/{}/ns/user", child.pid);
                rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(doing)
            });
            drop(parent);
            let reaped = hull_sys::pidfd::reap(std::os::fd::AsFd::as_fd(&child.pidfd)).what(doing);
            opened.and_then(|fd| reaped.map(|_| fd))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_container_user_is_the_caller() {
        let shown = |map: Vec<IdMapping>| map.iter().map(|m| (m.container_id, m.host_id, m.size)).collect::<Vec<_>>();
        assert_eq!(shown(around(0, 1000, None)), [(0, 1000, 1)]);
        assert_eq!(shown(around(0, 1000, Some((5000, 10)))), [(0, 1000, 1), (1, 5000, 10)]);
        assert_eq!(shown(around(3, 1000, Some((5000, 10)))), [(0, 5000, 3), (3, 1000, 1), (4, 5003, 7)]);
        assert_eq!(shown(around(30, 1000, Some((5000, 10)))), [(0, 5000, 10), (30, 1000, 1)]);
        assert_eq!(shown(around(u32::MAX, 1000, Some((5000, 10)))), [(0, 5000, 10), (u32::MAX, 1000, 1)]);
    }
}

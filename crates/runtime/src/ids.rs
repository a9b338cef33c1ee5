//! User namespaces from outside: writing the maps, and making the namespaces that id-mapped mounts take theirs from.

use std::os::fd::OwnedFd;
use std::process::Command;

use rustix::fs::{Mode, OFlags};

use hull_jail::plan::{IdMap, UserMaps};
use hull_spec::IdMapping;
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

//! The process in between: joins or makes the namespaces that only a later child enters, then makes that child.
//!
//! Needed where the container joins a PID, time or user namespace, has clock offsets, or combines a new user
//! namespace with namespaces that it may not join from inside. Otherwise one clone does it all.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags};

use hull_sys::clone::{self, Side, flags};

use crate::error::{Context as _, Error, Result};
use crate::plan::{Join, Plan};
use crate::process::HostProc;
use crate::sync::{Ask, Sync};

/// Opens the files of namespaces to join, before anything is made.
///
/// # Errors
/// Where one is missing or is no namespace of that kind.
pub fn open_joins(joins: &[Join]) -> Result<Vec<(u64, OwnedFd)>> {
    joins
        .iter()
        .map(|j| {
            let shown = || format!("linux.namespaces: cannot open \"{}\"", j.path.display());
            let fd = rustix::fs::open(&j.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(shown)?;
            Ok((j.flag, fd))
        })
        .collect()
}

/// Joins them: first those that the present rights allow, then the user namespace, then the rest; the mount
/// namespace last, since paths change with it. In a user namespace, [`become_root`] is still to be called.
pub(crate) fn join(joins: &[(u64, OwnedFd)]) -> Result<()> {
    let enter = |(flag, fd): &(u64, OwnedFd)| {
        clone::setns(fd.as_fd(), *flag).what(|| format!("linux.namespaces: cannot join the {} namespace", kind(*flag)))
    };
    let is = |flag: u64| move |j: &&(u64, OwnedFd)| j.0 == flag;
    let others = || joins.iter().filter(|j| j.0 & (flags::NEWUSER | flags::NEWNS) == 0);
    let mut later = Vec::new();
    let user = joins.iter().find(is(flags::NEWUSER));
    for join in others() {
        match enter(join) {
            Err(e) if user.is_some() && e.errno() == Some(libc::EPERM) => later.push(join),
            other => other?,
        }
    }
    if let Some(user) = user {
        enter(user)?;
    }
    for join in later.into_iter().chain(joins.iter().find(is(flags::NEWNS))) {
        enter(join)?;
    }
    Ok(())
}

fn kind(flag: u64) -> &'static str {
    match flag {
        flags::NEWNS => "mount",
        flags::NEWPID => "pid",
        flags::NEWNET => "network",
        flags::NEWUTS => "uts",
        flags::NEWIPC => "ipc",
        flags::NEWUSER => "user",
        flags::NEWCGROUP => "cgroup",
        _ => "time",
    }
}

/// Becomes the user namespace's root where it has one; capabilities there do not depend on it. `keep_groups` leaves
/// the caller's supplementary groups.
pub(crate) fn become_root(keep_groups: bool) -> Result<()> {
    // EINVAL: 0 is not mapped; EPERM: setgroups is denied to this namespace. Both leave a process that works.
    if !keep_groups {
        let _ = hull_sys::creds::setgroups(&[]);
    }
    for done in [hull_sys::creds::setgid(0), hull_sys::creds::setuid(0)] {
        match done {
            Err(e) if e.raw_os_error() != Some(libc::EINVAL) => return Err(e).what(|| "cannot become root of the user namespace"),
            _ => {}
        }
    }
    // The kernel takes this back with a change of user.
    hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")
}

/// Keeps processes that share a namespace with this one from tracing it and from looking at its root and descriptors,
/// which are the host's still; not those with CAP_SYS_PTRACE in the initial user namespace.
pub(crate) fn hide() -> Result<()> {
    hull_sys::prctl::set_dumpable(false).what(|| "cannot make the process undumpable")
}

/// The way of the process in between. Returns in the container's first process only.
pub(crate) fn pass(plan: &Plan, joins: &[(u64, OwnedFd)], sync: &Sync) -> Result<()> {
    // Opened before a mount namespace is joined, whose /proc may be anything.
    let proc = if plan.time_offsets.is_empty() { None } else { Some(HostProc::open()?) };
    join(joins)?;
    let mut new = plan.new;
    if new & flags::NEWUSER != 0 {
        clone::unshare(flags::NEWUSER).what(|| "cannot make a user namespace")?;
        ask_maps(sync)?;
        new &= !flags::NEWUSER;
    }
    // The change of user makes this process's files in /proc the host root's: what is written there comes before it.
    if new & flags::NEWTIME != 0 {
        clone::unshare(flags::NEWTIME).what(|| "cannot make a time namespace")?;
        new &= !flags::NEWTIME;
        for (proc, line) in proc.iter().flat_map(|p| plan.time_offsets.iter().map(move |line| (p, line))) {
            proc.write("self/timens_offsets", line).map_err(|e| e.during("linux.timeOffsets"))?;
        }
    }
    if plan.in_userns {
        become_root(plan.process.keep_groups)?;
    }
    hide()?;
    // SAFETY: this process came from a clone of a process with one thread, and has one itself.
    match unsafe { clone::clone3(new | flags::PARENT, None) }.what(|| "cannot make the container's process")? {
        Side::Child => Ok(()),
        Side::Parent(child) => {
            sync.ask(&Ask::Staged(child.pidfd))?;
            clone::exit_now(0)
        }
    }
}

/// Has the parent write the maps of the user namespace just made; [`become_root`] is to follow.
pub(crate) fn ask_maps(sync: &Sync) -> Result<()> {
    sync.ask(&Ask::Map)?;
    if sync.answer()?.is_none() {
        return Err(Error::new("the runtime is gone"));
    }
    Ok(())
}

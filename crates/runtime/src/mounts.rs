//! Mounts added to and removed from a container that runs.
//!
//! Owns what may be added, and the record of it. Does nothing in the container: that is [`hull_jail::live`]'s.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use hull_jail::live::{Doomed, LONGEST_OPTION, Live, Order};
use hull_jail::plan::{MountPlan, Options, Plan, clean};
use hull_jail::sync::{Ask, Sync};
use hull_spec::{Mount, NamespaceKind, Spec};
use hull_sys::clone::{self, Child, Side, flags};

use crate::create::one_thread;
use crate::state::{Added, Dir, State, Status};
use crate::{Context as _, Error, Result, Runtime};

/// How long a container can hold up the process that visits it, and this one with it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The inode that names a namespace of a process.
pub(crate) fn namespace_number(pid: i32, kind: &str) -> std::io::Result<u64> {
    Ok(rustix::fs::stat(format!("/proc/{pid}/ns/{kind}"))?.st_ino)
}

impl Runtime {
    /// Makes mounts in a container that runs, all or none of them, unless the container hangs what makes them: binds, whose
    /// sources are the host's, and tmpfs. They last as long as the container.
    ///
    /// # Errors
    /// Where the container does not run, has no mount namespace of its own or has left it, and by the field of a mount
    /// that can't be honoured.
    pub fn add_mounts(&self, id: &str, mounts: Vec<Mount>) -> Result<()> {
        let (dir, mut state, spec) = self.to_visit(id)?;
        if let Some(i) = mounts.iter().position(|m| !m.uid_mappings.is_empty() || !m.gid_mappings.is_empty()) {
            return Err(refused(i, "uidMappings", "ids can't be mapped on what is added to a running container"));
        }
        let host = hull_spec::CheckHost { rootless: self.rootless, for_start: false };
        let (spec, warnings) = spec.with_mounts(mounts, &host).map_err(|e| Error::new(e.to_string()))?;
        warnings.iter().for_each(|w| self.warn(&w.to_string()));
        let process = spec.process.as_ref().ok_or_else(|| Error::new("config.json of the container has no process"))?;
        let options = Options { id: id.to_owned(), rootfs: state.rootfs.clone(), rootless: self.rootless, ..Options::default() };
        let mut plan = Plan::new(&spec, process, None, options, &mut Vec::new())?;
        for (index, mount) in plan.mounts.iter_mut().enumerate() {
            check(index, mount)?;
            if mount.options.bind && Path::new(&mount.source).is_relative() {
                mount.source = state.bundle.join(&mount.source).to_string_lossy().into_owned();
            }
        }
        let before = state.added.len();
        let child = self.visit(&state, Order::Add(&plan))?;
        record(&child, &plan, &dir, &mut state).map_err(|e| match &state.added[before..] {
            [] => e,
            made => {
                let made: Vec<_> = made.iter().map(|a| format!("\"{}\"", a.destination.display())).collect();
                Error::new(format!("{e}; what was made of the list before that stays, and can be removed: {}", made.join(", ")))
            }
        })
    }

    /// Removes mounts that [`Runtime::add_mounts`] made at these paths, the last first, wherever the container has moved
    /// them by renaming a directory above; what was added below them goes along.
    ///
    /// # Errors
    /// Where the container does not run or has left its namespaces, and for a path at which nothing was added, or that
    /// has something else on top of it.
    pub fn remove_mounts(&self, id: &str, paths: &[PathBuf]) -> Result<()> {
        let (dir, mut state, _) = self.to_visit(id)?;
        let mut list = Vec::with_capacity(paths.len());
        for path in paths.iter().rev().map(|path| clean(path)) {
            let numbers: Vec<u64> = state.added.iter().filter(|a| a.destination == path).map(|a| a.mount).collect();
            if numbers.is_empty() {
                return Err(Error::new(format!("cannot remove \"{}\": nothing was added there", path.display())));
            }
            list.push(Doomed { path, numbers, along: false });
        }
        // What was added below later is forgotten along with it. It is sent for, too: the container may have put another
        // directory in the place of the mount, so that what was added there is not on it and would stay.
        let named = |path: &Path| list.iter().any(|d| d.path == path);
        let mut along = Vec::new();
        for (index, a) in state.added.iter().enumerate().rev().filter(|(_, a)| !named(&a.destination)) {
            let since = |d: &&Doomed| a.destination.starts_with(&d.path) && d.numbers.iter().any(|n| position(&state, *n) < Some(index));
            if list.iter().any(|d| since(&d)) {
                along.push(Doomed { path: a.destination.clone(), numbers: vec![a.mount], along: true });
            }
        }
        list.extend(along);
        // What is below goes first: it would go along and be missed afterwards.
        list.sort_by_key(|d| std::cmp::Reverse(d.path.components().count()));
        let child = self.visit(&state, Order::Remove(&list))?;
        let end = Instant::now() + PATIENCE;
        let mut asked: Option<u64> = None;
        loop {
            let ask = child.hear(end)?;
            if matches!(ask, Ask::Mount(..) | Ask::Ready)
                && let Some(gone) = asked.take().and_then(|mount| state.added.iter().position(|a| a.mount == mount))
            {
                // What was added below it later went along.
                let at = state.added.remove(gone).destination;
                let mut index = 0;
                state.added.retain(|a| {
                    index += 1;
                    index <= gone || a.destination == at || !a.destination.starts_with(&at)
                });
                dir.save(&state)?;
            }
            match ask {
                Ask::Mount(_, mount) => {
                    asked = Some(mount);
                    child.sync.go()?;
                }
                Ask::Ready => return Ok(()),
                other => return Err(failure(other)),
            }
        }
    }

    fn to_visit(&self, id: &str) -> Result<(Dir, State, Spec)> {
        one_thread()?;
        let dir = Dir::open(self, id)?;
        let state = dir.state()?;
        match state.status(&dir.path) {
            Status::Running => {}
            Status::Paused => return Err(Error::new("container is paused: its mounts can't be changed before it is resumed")),
            Status::Created => return Err(Error::new("container not started: its mounts are those of its config.json")),
            Status::Creating | Status::Stopped => return Err(Error::new("container not running: its mounts can't be changed")),
        }
        let guest = hull_guest::find(&state.isolation).map_err(|e| Error::new(e.to_string()))?;
        if !guest.claims().emulated_mounts.is_empty() {
            // A bind could bring one with it.
            let text = format!("isolation \"{}\" keeps mounts of some types out: none can be added or removed", state.isolation);
            return Err(Error::new(text));
        }
        let spec = dir.spec()?;
        match spec.linux().namespace(NamespaceKind::Mount) {
            None => return Err(Error::new("container has no mount namespace of its own: its mounts are the host's")),
            Some(ns) if ns.path.as_ref().is_some_and(|p| !p.as_os_str().is_empty()) => {
                return Err(Error::new("container has joined another's mount namespace: its mounts are that one's"));
            }
            Some(_) => {}
        }
        Ok((dir, state, spec))
    }

    fn visit(&self, state: &State, order: Order<'_>) -> Result<Visitor> {
        let (user_ns, mount_ns) = namespaces(state)?;
        let (ours, theirs) = hull_sys::socket::pair().what(|| "cannot make a socket pair")?;
        // SAFETY: one_thread() in to_visit(); nothing since has begun another.
        match unsafe { clone::clone3(0, None) }.what(|| "cannot make a process")? {
            Side::Child => {
                drop(ours);
                Live { order, sync: Sync::new(theirs), user_ns, mount_ns }.run()
            }
            Side::Parent(child) => Ok(Visitor { child, sync: Sync::new(ours) }),
        }
    }
}

/// Hears of each mount before it is made, and puts it on record. Where one fails, the process undoes those before it,
/// and the record has none of them; where the process itself comes to an end, nothing is undone.
fn record(child: &Visitor, plan: &Plan, dir: &Dir, state: &mut State) -> Result<()> {
    let before = state.added.clone();
    let end = Instant::now() + PATIENCE;
    loop {
        match child.hear(end)? {
            Ask::Mount(index, mount) => {
                let target = plan.mounts.get(index).ok_or_else(|| Error::new("a mount that is not in the plan"))?.target.clone();
                state.added.push(Added { destination: target, mount });
                dir.save(state)?;
                child.sync.go()?;
            }
            Ask::Source(index) => child.open_source(plan, index, end)?,
            Ask::Ready => return Ok(()),
            failed @ Ask::Failed(_) if state.added != before => {
                state.added = before;
                dir.save(state)?;
                return Err(failure(failed));
            }
            other => return Err(failure(other)),
        }
    }
}

/// The namespaces that the container was made with, or an error where its first process is in others by now: those would
/// be its own to rule, and what is mounted read-only there would not stay so.
fn namespaces(state: &State) -> Result<(Option<OwnedFd>, OwnedFd)> {
    let open = |kind: &str| {
        let path = format!("/proc/{}/ns/{kind}", state.pid);
        let fd = rustix::fs::open(&path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(|| format!("cannot open \"{path}\""))?;
        let number = rustix::fs::fstat(&fd).what(|| format!("cannot examine \"{path}\""))?.st_ino;
        Ok::<_, Error>((fd, number))
    };
    let ((user, user_number), (mount, mount_number)) = (open("user")?, open("mnt")?);
    if !state.alive() {
        return Err(Error::new("container not running"));
    }
    let own_user = state.namespaces & flags::NEWUSER != 0;
    let expected = match own_user {
        true => state.user_ns,
        false => namespace_number(std::process::id() as i32, "user").what(|| "cannot examine \"/proc/self/ns/user\"")?,
    };
    if state.mount_ns == 0 || expected == 0 {
        return Err(Error::new("the container's namespaces are not on record: its mounts can't be changed"));
    }
    // The number of a namespace that is gone may become another's. The user namespace's can't, since all that its
    // processes make are below it and keep it; so it vouches for the mount namespace, which its rights alone leave.
    for (kind, number, expected) in [("user", user_number, expected), ("mount", mount_number, state.mount_ns)] {
        if number != expected {
            return Err(Error::new(format!("the container's first process has left the {kind} namespace that was made for it")));
        }
    }
    Ok((own_user.then_some(user), mount))
}

/// When a mount was added, among those on record.
fn position(state: &State, mount: u64) -> Option<usize> {
    state.added.iter().position(|a| a.mount == mount)
}

fn refused(index: usize, field: &str, why: &str) -> Error {
    Error::new(format!("mounts[{index}].{field}: {why}"))
}

/// Refuses what a container's beginning alone can have.
fn check(index: usize, m: &MountPlan) -> Result<()> {
    let options = &m.options;
    if m.target == Path::new("/") || m.target == Path::new("/dev") {
        let why = format!("\"{}\" of a running container stays as it is", m.target.display());
        return Err(refused(index, "destination", &why));
    }
    if !options.bind && m.kind != "tmpfs" {
        let why = format!("\"{}\": binds and tmpfs alone can be added to a running container", m.kind);
        return Err(refused(index, "type", &why));
    }
    let denied = [
        ("remount", options.remount), ("tmpcopyup", options.tmpcopyup), ("copy-symlink", options.copy_symlink),
        ("dest-nofollow", options.dest_nofollow), ("idmap", options.idmap || options.ridmap || m.idmap.is_some()),
    ];
    if let Some((name, _)) = denied.iter().find(|(_, given)| *given) {
        return Err(refused(index, "options", &format!("\"{name}\" can't be had on what is added to a running container")));
    }
    if options.propagation.iter().any(|(flag, _)| *flag != libc::MS_PRIVATE) {
        return Err(refused(index, "options", "what is added to a running container is private"));
    }
    let long = |text: &str| text.len() > LONGEST_OPTION;
    if let Some((key, _)) = options.data.iter().find(|(k, v)| long(k) || v.as_deref().is_some_and(long)) {
        let key = key.chars().take(40).collect::<String>();
        return Err(refused(index, "options", &format!("\"{key}\": longer than {LONGEST_OPTION} bytes")));
    }
    if !options.bind && long(&m.source) {
        return Err(refused(index, "source", &format!("longer than {LONGEST_OPTION} bytes")));
    }
    Ok(())
}

fn failure(said: Ask) -> Error {
    match said {
        Ask::Failed(text) => Error::new(text),
        _ => Error::new("the process in the container's namespaces was killed"),
    }
}

/// The process in the container's namespaces; dropping it ends it.
struct Visitor {
    child: Child,
    sync: Sync,
}

impl Visitor {
    fn hear(&self, end: Instant) -> Result<Ask> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            match poll(&mut [PollFd::new(&self.sync, PollFlags::IN)], Some(&left)) {
                Err(rustix::io::Errno::INTR) => {}
                Ok(0) => return Err(late()),
                Ok(_) => return self.sync.asked(),
                Err(e) => return Err(e).what(|| "cannot wait for a process"),
            }
        }
    }

    /// Opens a source with hull's own rights.
    fn open_source(&self, plan: &Plan, index: usize, end: Instant) -> Result<()> {
        let opener = crate::child::source_opener(&self.child, &self.sync, plan, index, &[])?;
        let opener = Visitor { child: opener, sync: Sync::new(rustix::io::dup(&self.sync).what(|| "dup")?) };
        let left = end.saturating_duration_since(Instant::now());
        match hull_sys::pidfd::wait_end(opener.child.pidfd.as_fd(), Some(left)).what(|| "cannot wait for a process")? {
            true => Ok(()),
            false => Err(late()),
        }
    }
}

impl Drop for Visitor {
    fn drop(&mut self) {
        /// Death is a matter of moments, or of whatever the kernel waits for in there, which may be for ever.
        const MOMENT: Duration = Duration::from_millis(500);
        let process = self.child.pidfd.as_fd();
        let _ = hull_sys::pidfd::send_signal(process, libc::SIGKILL);
        if hull_sys::pidfd::wait_end(process, Some(MOMENT)).unwrap_or(false) {
            let _ = hull_sys::pidfd::reap(process);
        }
    }
}

fn late() -> Error {
    let seconds = PATIENCE.as_secs();
    Error::new(format!("the process in the container's namespaces was not done after {seconds} s: it hangs in a file system there, or was stopped"))
}

//! Removing a container and all that it holds.

use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hull_cgroup::Cgroup;
use hull_jail::hooks::Surroundings;
use hull_sys::mountinfo::Mount;

use crate::documents::hook_text;
use crate::state::{Dir, State, Status, check_id, missing};
use crate::{Context as _, Error, Result, Runtime, cgroup_error};

/// How long a killed process takes to disappear, mostly.
const FIRST_LOOK: Duration = Duration::from_millis(200);
/// How long a killed process may take to disappear, and with `force` another command to let go of the container.
const PATIENCE: Duration = Duration::from_secs(10);

impl Runtime {
    /// Removes a stopped container; with `force` kills it first, and an unknown id is no error.
    ///
    /// Works on whatever a crash left: each thing is removed if it is there.
    ///
    /// # Errors
    /// Where it runs and `force` is not given, and where something can't be removed.
    pub fn delete(&self, id: &str, force: bool) -> Result<()> {
        check_id(id)?;
        let dir = match Dir::open_within(self, id, force.then_some(PATIENCE)) {
            Err(_) if force && !self.root.join(id).exists() => return Ok(()),
            other => other?,
        };
        let state = match dir.state() {
            Ok(state) => state,
            // A crash before the first write: nothing else can exist.
            Err(_) if force || !dir.path.join("state.json").exists() => {
                dir.remove()?;
                return if force { Ok(()) } else { Err(missing(id)) };
            }
            Err(e) => return Err(e),
        };
        match state.status(&dir.path) {
            // One whose program never ran is nothing to be asked twice about, as peers see it.
            Status::Stopped | Status::Creating | Status::Created => {}
            _ if force => {}
            status => {
                return Err(Error::new(format!("cannot delete container {id} that is not stopped: {status}")));
            }
        }
        self.destroy(dir, &state)
    }

    /// Undoes all that a container is, whatever of it there is.
    pub(crate) fn destroy(&self, dir: Dir, state: &State) -> Result<()> {
        self.end(state)?;
        // One that was removed and made anew under the same name is another's, with processes of its own.
        if let Some(cgroup) = state.cgroup.as_ref().filter(|c| c.is_same()) {
            if !state.cgroup_planned {
                cgroup.kill_all().map_err(cgroup_error)?;
            }
            // A crash left no word of one that is only planned: if it was made, its only process ends with hull.
            if !state.cgroup_planned || emptied(cgroup) {
                cgroup.delete().map_err(cgroup_error)?;
            }
        }
        let spec = dir.spec();
        unmount(state)?;
        dir.remove()?;
        if let Ok(spec) = spec {
            self.poststop(state, &spec);
        }
        Ok(())
    }

    /// Runs the hooks of the end. The container is gone whatever they say (runtime.md, "Lifecycle", 13).
    pub(crate) fn poststop(&self, state: &State, spec: &hull_spec::Spec) {
        let hooks = spec.hooks.as_ref().map(|h| h.poststop.as_slice()).unwrap_or_default();
        let around = Surroundings::of_host(&state.annotations);
        for hook in hooks {
            let text = hook_text(state, 0, "stopped");
            if let Err(e) = hull_jail::hooks::run_all("poststop", std::slice::from_ref(hook), text.as_bytes(), &around) {
                self.warn(&match e.exit_code() {
                    Some(code) => format!("poststop hook failed with exit code {code}: {e}"),
                    None => e.to_string(),
                });
            }
        }
    }

    /// Kills the first process and waits until it is gone; in its own PID namespace all others go with it.
    fn end(&self, state: &State) -> Result<()> {
        let Ok(process) = state.process() else { return Ok(()) };
        match hull_sys::pidfd::send_signal(process.as_fd(), libc::SIGKILL) {
            Err(e) if e.raw_os_error() != Some(libc::ESRCH) => return Err(e).what(|| "cannot kill the container's process"),
            _ => {}
        }
        if let Some(cgroup) = &state.cgroup
            && cgroup.is_frozen().unwrap_or(false)
        {
            cgroup.thaw().map_err(cgroup_error)?;
        }
        let wait = |time| {
            hull_sys::pidfd::wait_end(process.as_fd(), Some(time)).what(|| "cannot wait for the container's process")
        };
        let ended = wait(FIRST_LOOK)? || {
            // Somebody moved it to a frozen group of v1, where signals wait: back home it thaws.
            if let Some(cgroup) = &state.cgroup {
                cgroup.bring_back(state.pid);
            }
            wait(PATIENCE)?
        };
        if ended {
            // Where it is our child, as for run, nobody else reaps it.
            let _ = hull_sys::pidfd::reap(process.as_fd());
            Ok(())
        } else {
            Err(Error::new(format!("process {} does not end though it was killed", state.pid)))
        }
    }
}

/// Whether no process is in a cgroup and below, now or in a moment.
fn emptied(cgroup: &Cgroup) -> bool {
    let end = Instant::now() + FIRST_LOOK;
    loop {
        match cgroup.pids(true) {
            Ok(pids) if pids.is_empty() => return true,
            Ok(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
            _ => return false,
        }
    }
}

/// Numbers of the mounts at a directory and below.
pub(crate) fn mounts_at(rootfs: &Path) -> Result<Vec<u64>> {
    Ok(table()?.iter().filter(|m| m.point.starts_with(rootfs)).map(|m| m.id).collect())
}

/// A container without a mount namespace of its own left its mounts on the host, at its root and below; those that were
/// there before it stay.
pub(crate) fn unmount(state: &State) -> Result<()> {
    let Some(before) = &state.mounts_before else { return Ok(()) };
    // The last first, so that what is mounted below goes before what it is mounted on.
    for mount in table()?.iter().rev().filter(|m| m.point.starts_with(&state.rootfs) && !before.contains(&m.id)) {
        let shown = || format!("cannot unmount \"{}\"", mount.point.display());
        let path = std::ffi::CString::new(mount.point.as_os_str().as_bytes()).map_err(|_| Error::new(shown()))?;
        hull_sys::mount::unmount(&path, libc::MNT_DETACH | libc::UMOUNT_NOFOLLOW).what(shown)?;
    }
    Ok(())
}

fn table() -> Result<Vec<Mount>> {
    hull_sys::mountinfo::own().what(|| "cannot read \"/proc/self/mountinfo\"")
}

//! Copies of the shim, each of which does one thing that may take long, or that only a process with one thread and nobody
//! to wait for it may do: making containers and adding processes to them, and whatever takes a container's lock.
//!
//! A copy ends when it is done. The processes that it made become the shim's then, which is their subreaper.

use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};

use hull_sys::clone::{self, Side};
use rustix::pipe::{PipeFlags, pipe_with};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::children::Children;

/// What a worker says at most: all of it fits in a pipe, since nobody reads before its end.
const LONGEST: usize = 60_000;

/// A worker's standard descriptors: those of the program that it makes. None is /dev/null.
#[derive(Default)]
pub(crate) struct Stdio(pub(crate) [Option<OwnedFd>; 3]);

impl Stdio {
    /// Gives the pipes to a user and a group.
    ///
    /// # Errors
    /// Those of chown(2).
    pub(crate) fn give(&self, uid: u32, gid: u32) -> std::io::Result<()> {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        self.0.iter().flatten().try_for_each(|fd| Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?))
    }
}

/// Has a copy of this process do `job`, which may not touch anything of the runtime that runs this future. `keep` are the
/// descriptors that it needs; all others are closed in it. Who wants to hear of the end of a process that the job makes
/// holds [`Children::at_work`] until it has asked for that.
///
/// # Errors
/// What the job failed with, or that it didn't end as it should.
pub(crate) async fn work<T: Serialize + DeserializeOwned>(
    children: &Children,
    stdio: Stdio,
    keep: &[RawFd],
    job: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    let fail = |e: &dyn std::fmt::Display| format!("cannot make a process to do it: {e}");
    let (answer, told) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(&e))?;
    let mut keep: Vec<_> = keep.iter().copied().chain([told.as_raw_fd()]).collect();
    let (at_work, shim) = (children.at_work(), rustix::process::getpid());
    // SAFETY: the shim has one thread (main.rs).
    let child = match unsafe { clone::clone3(0, None) }.map_err(|e| fail(&e))? {
        Side::Parent(child) => child,
        Side::Child => {
            let said = match begin(&stdio, &mut keep, told.as_raw_fd(), shim).and_then(|()| job()) {
                Ok(done) => serde_json::to_vec(&Ok::<T, String>(done)),
                Err(e) => serde_json::to_vec(&Err::<(), String>(e.chars().take(LONGEST / 8).collect())),
            };
            let whole = said.is_ok_and(|said| said.len() <= LONGEST && rustix::io::write(&told, &said) == Ok(said.len()));
            clone::exit_now(i32::from(!whole))
        }
    };
    drop(told);
    drop(stdio);
    let end = children.end_of(child.pid);
    let exit = end.await.map_err(|e| fail(&e))?;
    let mut said = Vec::new();
    // A container that waits for its start may hold the other end.
    rustix::io::ioctl_fionbio(&answer, true).map_err(|e| fail(&e))?;
    let _ = std::fs::File::from(answer).take(LONGEST as u64).read_to_end(&mut said);
    let done = serde_json::from_slice(&said).unwrap_or_else(|_| Err(format!("the process that did it ended with {}", exit.code)));
    drop(at_work);
    done
}

/// In the copy: what is not its own is closed.
fn begin(stdio: &Stdio, keep: &mut [RawFd], told: RawFd, shim: rustix::process::Pid) -> Result<(), String> {
    let fail = |e: &dyn std::fmt::Display| format!("cannot begin: {e}");
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").map_err(|e| fail(&e))?;
    for (number, fd) in stdio.0.iter().enumerate() {
        let fd = fd.as_ref().map_or(null.as_fd(), AsFd::as_fd);
        hull_sys::fs::dup_to(fd, number as RawFd).map_err(|e| fail(&e))?;
    }
    debug_assert!(keep.contains(&told));
    // The copies of all else, of other containers' streams above all, would keep their readers waiting for ever.
    // SAFETY: nothing of what they belong to is used in this process any more, nor dropped.
    unsafe { hull_sys::fs::close_all_but(3, keep) }.map_err(|e| fail(&e))?;
    hull_sys::signal::reset();
    // Without the shim, nobody would know of what it makes; what it has made by then is found by its state.
    hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).map_err(|e| fail(&e))?;
    if rustix::process::getppid() != Some(shim) {
        return Err(fail(&"the shim is gone"));
    }
    Ok(())
}

//! The processes whose parent the shim is, or becomes when theirs ends: reaped in one place, and each one's end told to
//! whoever waits for it.
//!
//! A program may end before the shim has heard of its process id. While a worker is at work the ends of unknown processes
//! are kept, so that none is lost.

use std::collections::HashMap;
use std::os::fd::AsFd as _;
use std::sync::Mutex;
use std::time::SystemTime;

use hull_sys::pidfd::{self, Ended};
use tokio::sync::oneshot;

/// How a process ended, and when the shim saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    pub(crate) code: u32,
    pub(crate) at: SystemTime,
}

impl Exit {
    pub(crate) fn new(code: u32) -> Exit {
        Exit { code, at: SystemTime::now() }
    }
}

/// All of them.
#[derive(Default)]
pub(crate) struct Children(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    waited: HashMap<i32, oneshot::Sender<Exit>>,
    unknown: HashMap<i32, Exit>,
    workers: usize,
}

/// For as long as one is held, the ends of unknown processes are kept.
pub(crate) struct AtWork<'a>(&'a Children);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        inner.workers -= 1;
        if inner.workers == 0 {
            inner.unknown.clear();
        }
    }
}

impl Children {
    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn at_work(&self) -> AtWork<'_> {
        self.lock().workers += 1;
        AtWork(self)
    }

    /// Reaps all that have ended; to be called on SIGCHLD.
    pub(crate) fn reap(&self) {
        let mut inner = self.lock();
        while let Some((pid, ended)) = pidfd::reap_any() {
            let code = match ended {
                Ended::Code(code) => code,
                Ended::Signal(signal) => 128 + signal,
            };
            let exit = Exit::new(code as u32);
            match inner.waited.remove(&pid) {
                // Nobody waits any more where that fails.
                Some(told) => drop(told.send(exit)),
                None if inner.workers > 0 => drop(inner.unknown.insert(pid, exit)),
                None => {}
            }
        }
    }

    /// Sends a signal to a child that was not reaped yet: its number is its own until then.
    ///
    /// # Errors
    /// ESRCH or ECHILD where it was.
    pub(crate) fn kill(&self, pid: i32, signal: i32) -> std::io::Result<()> {
        let process = pidfd::open(pid)?;
        pidfd::peek(process.as_fd())?;
        pidfd::send_signal(process.as_fd(), signal)
    }

    /// The end of a child, when it comes. Of one that is no child, and was none whose end is known, that is now.
    pub(crate) fn end_of(&self, pid: i32) -> oneshot::Receiver<Exit> {
        let (tell, told) = oneshot::channel();
        // By this name it may be another process already, where its end was seen: that one is no child.
        let ours = pidfd::open(pid).is_ok_and(|process| pidfd::peek(process.as_fd()).is_ok());
        let mut inner = self.lock();
        let known = inner.unknown.remove(&pid);
        if ours {
            inner.waited.insert(pid, tell);
        } else {
            let _ = tell.send(known.unwrap_or_else(|| Exit::new(255)));
        }
        told
    }
}

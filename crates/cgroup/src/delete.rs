//! Removing a container's cgroup, with the cgroups that the container made below it.
//!
//! A cgroup stays busy for a moment after its last process was killed, so a busy one is tried again for a while.
//! Leaves parents alone and kills nothing.

use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, unlinkat};
use rustix::io::Errno;

use crate::file::is_missing;
use crate::group::Cgroup;
use crate::members::children;
use crate::{Error, Result};

const FIRST_PAUSE: Duration = Duration::from_micros(100);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(3);

impl Cgroup {
    /// Removes the directories from every hierarchy; those that are gone already are fine.
    ///
    /// # Errors
    /// The first failure, after every hierarchy was tried: a process that won't die keeps a cgroup.
    pub fn delete(&self) -> Result<()> {
        let mut first = Ok(());
        for h in self.all() {
            if let Err(e) = remove(&h.dir)
                && first.is_ok()
                && !h.is_named()
            {
                first = Err(Error::io(format_args!("cannot remove cgroup {:?}", h.dir), &e));
            }
        }
        first
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    if rmdir(dir).is_ok() {
        return Ok(());
    }
    // A read-only mount says so of a directory that isn't there, too.
    if !dir.exists() {
        return Ok(());
    }
    for child in children(dir)? {
        remove(&child)?;
    }
    let mut pause = FIRST_PAUSE;
    let mut waited = Duration::ZERO;
    loop {
        match rmdir(dir) {
            Err(Errno::BUSY) if waited < PATIENCE => {
                sleep(pause);
                waited += pause;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other.map_err(io::Error::from),
        }
    }
}

fn rmdir(dir: &Path) -> std::result::Result<(), Errno> {
    match rustix::io::retry_on_intr(|| unlinkat(CWD, dir, AtFlags::REMOVEDIR)) {
        Err(e) if is_missing(&e.into()) => Ok(()),
        other => other,
    }
}

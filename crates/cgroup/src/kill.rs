//! Killing every process of a container.
//!
//! Sends SIGKILL and returns; that the cgroup is empty shows when it can be removed.

use hull_sys::pidfd;
use rustix::io::Errno;
use rustix::process::Signal;

use crate::file::{is_missing, write};
use crate::group::Cgroup;
use crate::{Error, Result};

/// Rounds for a container that can't be frozen and forks while it is being killed.
const ROUNDS: usize = 100;

impl Cgroup {
    /// Kills all processes in the container's cgroup and below; a frozen one is thawed, where it must be to die.
    ///
    /// # Errors
    /// When the cgroup cannot be read, or a process may not be killed.
    pub fn kill_all(&self) -> Result<()> {
        let killed = self.kill_by_kernel()?;
        if killed && self.v1.is_empty() {
            return Ok(());
        }
        if !killed {
            self.kill_by_signal()?;
        }
        // v1's freezer keeps a killed process until it is thawed.
        if self.is_frozen()? { self.thaw() } else { Ok(()) }
    }

    /// v2's own way (Linux 5.14): one write, and no fork can get away. False where the kernel has it not.
    fn kill_by_kernel(&self) -> Result<bool> {
        let Some(dir) = self.v2_dir() else { return Ok(false) };
        match write(dir, "cgroup.kill", "1") {
            Ok(()) => Ok(true),
            Err(e) if is_missing(&e) => Ok(false),
            // Threaded cgroups refuse it.
            Err(e) if Errno::from_io_error(&e) == Some(Errno::OPNOTSUPP) => Ok(false),
            Err(e) => Err(Error::file("write \"1\" to", dir, "cgroup.kill", &e)),
        }
    }

    fn kill_by_signal(&self) -> Result<()> {
        // In a frozen container one round gets all, as nothing can fork.
        let frozen = self.freeze().is_ok();
        let mut result = Ok(());
        for _ in 0..if frozen { 1 } else { ROUNDS } {
            match self.pids(true) {
                Ok(pids) if !pids.is_empty() => {}
                other => {
                    result = other.map(drop).and(result);
                    break;
                }
            }
            let each = self.for_each_process(|pid, process| match pidfd::send_signal(process, Signal::KILL.as_raw()) {
                Err(e) if Errno::from_io_error(&e) != Some(Errno::SRCH) => {
                    result = Err(Error::io(format_args!("cannot kill process {pid}"), &e));
                }
                _ => {}
            });
            // The thaw below is due all the same.
            result = each.and(result);
            if !frozen {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        if frozen {
            self.thaw()?;
        }
        result
    }
}

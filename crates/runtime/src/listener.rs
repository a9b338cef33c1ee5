//! Handing a seccomp listener to its agent (config-linux.md, "The Container Process State").

use std::io::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::{Context as _, Error, Result};

/// How long a container's process may take from announcing the listener to loading the filter.
const PATIENCE: Duration = Duration::from_secs(10);

/// Copies the listener out of the process: the descriptor `number` there, as soon as it is one.
pub(crate) fn take(process: BorrowedFd<'_>, number: i32) -> Result<OwnedFd> {
    let begun = Instant::now();
    loop {
        match hull_sys::pidfd::get_fd(process, number) {
            Ok(fd) if hull_sys::seccomp::is_listener(fd.as_fd()) => return Ok(fd),
            // No waiting helps. The process is shown to an ordinary user only where nobody else could look at it.
            Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
                return Err(e).what(|| {
                    "linux.seccomp.listenerPath: cannot take the listener out of the container's process (an ordinary \
                     user can for a new container with user and PID namespaces of its own and no startContainer hooks)"
                });
            }
            _ => {}
        }
        let ended = hull_sys::pidfd::wait_end(process, Some(Duration::from_micros(20)));
        if ended.what(|| "cannot watch the container's process")? || begun.elapsed() > PATIENCE {
            return Err(Error::new("linux.seccomp: the container's process made no listener"));
        }
    }
}

/// Sends the listener and the state to the agent.
pub(crate) fn send(path: &Path, listener: &OwnedFd, state: &str) -> Result<()> {
    let shown = || format!("linux.seccomp.listenerPath: failed to connect with seccomp agent at \"{}\"", path.display());
    let mut agent = UnixStream::connect(path).what(shown)?;
    let sent = hull_sys::socket::send(agent.as_fd(), state.as_bytes(), &[listener.as_fd()]).what(shown)?;
    // A stream may take less than all; the descriptor went with the first byte.
    agent.write_all(&state.as_bytes()[sent..]).what(shown)
}

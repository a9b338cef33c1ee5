//! Readiness for a service manager (sd_notify(3)): a socket in the container, from which READY=1 is passed on.
//!
//! Of all that a program could tell its manager this alone goes through, as with runc: the rest would let a container
//! name any process of the host as the service's, or have it restarted.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::time::Duration;

use hull_spec::{Mount, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{Context as _, Result};

/// The socket's directory in the container, and below the state directory.
const INSIDE: &str = "/run/notify";
const DIRECTORY: &str = "notify";
const SOCKET: &str = "notify.sock";

/// Most messages that are read at once. More than a queue holds by default, so that nothing is missed of a program that
/// ended; a program that goes on sending keeps nobody from what else there is to do.
const MOST: usize = 1024;

/// How long the manager may take to say that it has read all.
const PATIENCE: Duration = Duration::from_secs(5);

/// The container's socket, and the manager's address.
pub(crate) struct Notify {
    socket: UnixDatagram,
    manager: SocketAddr,
}

/// Shows the socket to the container. It lies in a mount of its directory, so that a later process can bind it anew.
pub(crate) fn show(spec: &mut Spec, dir: &Path) {
    spec.mounts.push(Mount {
        destination: INSIDE.into(),
        source: dir.join(DIRECTORY).to_string_lossy().into_owned(),
        options: ["bind", "nosuid", "noexec", "nodev", "ro"].map(String::from).to_vec(),
        ..Mount::default()
    });
    if let Some(process) = &mut spec.process {
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

/// Makes the directory that [`show`] shows.
pub(crate) fn make_directory(dir: &Path) -> Result<()> {
    let path = dir.join(DIRECTORY);
    let shown = || format!("NOTIFY_SOCKET: cannot make \"{}\"", path.display());
    std::fs::create_dir(&path).what(shown)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).what(shown)
}

impl Notify {
    /// Listens for the container, which must have been made with the socket's directory; `None` where it was not.
    pub(crate) fn listen(dir: &Path, manager: &Path) -> Result<Option<Notify>> {
        let path = dir.join(DIRECTORY).join(SOCKET);
        if !dir.join(DIRECTORY).is_dir() {
            return Ok(None);
        }
        let shown = || format!("NOTIFY_SOCKET: cannot listen at \"{}\"", path.display());
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).what(shown),
            _ => {}
        }
        // By way of a descriptor: a socket's address takes 107 bytes, and engines' state directories are deep.
        let opened = std::fs::File::open(dir.join(DIRECTORY)).what(shown)?;
        let socket = UnixDatagram::bind(format!("/proc/self/fd/{}/{SOCKET}", opened.as_raw_fd())).what(shown)?;
        socket.set_nonblocking(true).what(shown)?;
        // The program may be any user.
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).what(shown)?;
        let bytes = manager.as_os_str().as_encoded_bytes();
        let manager = match bytes.split_first() {
            Some((b'@', name)) => SocketAddr::from_abstract_name(name),
            _ => SocketAddr::from_pathname(manager),
        };
        Ok(Some(Notify { socket, manager: manager.what(|| "NOTIFY_SOCKET: not the address of a unix socket")? }))
    }

    /// Reads what has come; whether the program said that it is ready. What is left is there at the next call.
    pub(crate) fn heard_ready(&self) -> bool {
        let mut buf = [0; 4096];
        let mut ready = false;
        for _ in 0..MOST {
            let Ok(n) = self.socket.recv(&mut buf) else { break };
            ready |= buf[..n].split(|b| *b == b'\n').any(|line| line == b"READY=1");
        }
        ready
    }

    /// Tells the manager that the service is ready and which process it is, and waits until it has taken note.
    pub(crate) fn tell(&self, pid: i32) -> Result<()> {
        let doing = || "NOTIFY_SOCKET: cannot tell the service manager";
        let client = UnixDatagram::unbound().what(doing)?;
        client.connect_addr(&self.manager).what(doing)?;
        client.send(b"READY=1\n").what(doing)?;
        client.send(format!("MAINPID={pid}\n").as_bytes()).what(doing)?;
        // It closes the pipe when it has come to this message.
        let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).what(doing)?;
        // One that is gone by now has heard what mattered.
        if hull_sys::socket::send(client.as_fd(), b"BARRIER=1", &[write.as_fd()]).is_err() {
            return Ok(());
        }
        drop(write);
        let timeout = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let _ = poll(&mut [PollFd::new(&read, PollFlags::IN)], Some(&timeout));
        Ok(())
    }

    /// Waits until the program is ready, or ends.
    pub(crate) fn wait(&self, process: &OwnedFd, pid: i32) -> Result<()> {
        loop {
            let mut fds = [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(process, PollFlags::IN)];
            if poll(&mut fds, None).is_err() {
                continue;
            }
            let ended = !fds[1].revents().is_empty();
            if self.heard_ready() {
                return self.tell(pid);
            }
            if ended {
                return Ok(());
            }
        }
    }
}

impl AsFd for Notify {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_without_end_are_not_read_to_the_end() {
        let (sender, socket) = UnixDatagram::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let notify = Notify { socket, manager: SocketAddr::from_abstract_name(b"nobody").unwrap() };
        sender.send(b"STATUS=up\nREADY=1\n").unwrap();
        assert!(notify.heard_ready());
        // Sends until it is told that its peer is gone.
        let flood = std::thread::spawn(move || while sender.send(b"STATUS=on and on\n").is_ok() {});
        for _ in 0..10 {
            assert!(!notify.heard_ready());
        }
        drop(notify);
        flood.join().unwrap();
    }
}

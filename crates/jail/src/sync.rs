//! What parent and child say to each other while the container is being made.
//!
//! One message each way at a time on a socket that keeps message boundaries; the child asks, the parent answers.
//! The end of the socket means the other side is gone: the child then ends itself.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Context as _, Error, Result};

/// Longest message; an error text is cut to fit.
const MAX: usize = 8192;

/// What the child says.
#[derive(Debug)]
pub enum Ask {
    /// The user namespace exists: write its maps.
    Map,
    /// The pidfd of the last child, by the stage in between.
    Staged(OwnedFd),
    /// This mount, of this number, is about to be attached or detached.
    Mount(usize, u64),
    /// Open the source of this mount in my mount namespace, with the parent's privileges.
    Source(usize),
    /// Make this device for me: the host has none at its path.
    Device(usize),
    /// The mounts stand: run the prestart and createRuntime hooks, move network devices.
    Hooks,
    /// The console's master.
    Console(OwnedFd),
    /// Turn this module (a sealed copy), its name and the function that is to be called, into what the engine takes.
    Module(OwnedFd, String, String),
    /// All is made; wait for the order to go on.
    Ready,
    /// A seccomp listener will appear at this descriptor of mine; write a byte to this address when it is taken.
    Listener(i32, u64),
    /// Something to tell the operator.
    Warning(String),
    /// A step, for an operator who wants to hear of each.
    Debug(String),
    /// It failed; the child ends.
    Failed(String),
    /// All was made, but the program could not be executed; the child ends.
    NotExecuted(String),
    /// The socket was closed: by exec, or by the child's end.
    End,
}

/// One end.
#[derive(Debug)]
pub struct Sync(OwnedFd);

impl Sync {
    /// Takes an end of [`hull_sys::socket::pair`].
    pub fn new(socket: OwnedFd) -> Sync {
        Sync(socket)
    }

    /// Sends what the child asks. The descriptor inside, if any, is duplicated.
    ///
    /// # Errors
    /// EPIPE where the parent is gone.
    pub fn ask(&self, ask: &Ask) -> Result<()> {
        let (tag, payload, fd): (u8, Vec<u8>, Option<BorrowedFd<'_>>) = match ask {
            Ask::Map => (b'U', vec![], None),
            Ask::Staged(fd) => (b'S', vec![], Some(fd.as_fd())),
            Ask::Source(index) => (b'M', index.to_ne_bytes().to_vec(), None),
            Ask::Mount(index, number) => (b'A', [(*index as u64).to_ne_bytes(), number.to_ne_bytes()].concat(), None),
            Ask::Device(index) => (b'N', index.to_ne_bytes().to_vec(), None),
            Ask::Hooks => (b'H', vec![], None),
            Ask::Console(fd) => (b'C', vec![], Some(fd.as_fd())),
            Ask::Module(fd, name, function) => (b'O', format!("{name}\0{function}").into_bytes(), Some(fd.as_fd())),
            Ask::Ready => (b'R', vec![], None),
            Ask::Listener(number, address) => (b'L', [&number.to_ne_bytes()[..], &address.to_ne_bytes()].concat(), None),
            Ask::Warning(text) => (b'W', text.as_bytes().to_vec(), None),
            Ask::Debug(text) => (b'D', text.as_bytes().to_vec(), None),
            Ask::Failed(text) => (b'E', text.as_bytes().to_vec(), None),
            Ask::NotExecuted(text) => (b'X', text.as_bytes().to_vec(), None),
            Ask::End => return Ok(()),
        };
        let mut message = vec![tag];
        message.extend(&payload[..payload.len().min(MAX - 1)]);
        self.send(&message, fd.as_slice())
    }

    /// Receives what the child asks.
    ///
    /// # Errors
    /// A message that is none of [`Ask`].
    pub fn asked(&self) -> Result<Ask> {
        let (bytes, mut fds) = match self.receive() {
            // A child that ended with our answer unread resets the connection. What it said before comes after that.
            Err(e) if e.errno() == Some(libc::ECONNRESET) => self.receive()?,
            other => other?,
        };
        let Some((tag, payload)) = bytes.split_first() else { return Ok(Ask::End) };
        let text = || String::from_utf8_lossy(payload).into_owned();
        let ask = match (tag, fds.pop()) {
            (b'U', _) => Ask::Map,
            (b'S', Some(fd)) => Ask::Staged(fd),
            (b'M', _) => Ask::Source(payload.try_into().map(usize::from_ne_bytes).map_err(|_| garbled())?),
            (b'N', _) => Ask::Device(payload.try_into().map(usize::from_ne_bytes).map_err(|_| garbled())?),
            (b'A', _) if payload.len() == 2 * size_of::<u64>() => {
                let number = |half: &[u8]| half.try_into().map(u64::from_ne_bytes).map_err(|_| garbled());
                let (index, mount) = payload.split_at(size_of::<u64>());
                Ask::Mount(number(index)? as usize, number(mount)?)
            }
            (b'H', _) => Ask::Hooks,
            (b'C', Some(fd)) => Ask::Console(fd),
            (b'O', Some(fd)) => {
                let text = text();
                let (name, function) = text.split_once('\0').ok_or_else(garbled)?;
                Ask::Module(fd, name.to_owned(), function.to_owned())
            }
            (b'R', _) => Ask::Ready,
            (b'L', _) if payload.len() == 12 => {
                let (number, address) = payload.split_at(4);
                let number = i32::from_ne_bytes(number.try_into().map_err(|_| garbled())?);
                Ask::Listener(number, u64::from_ne_bytes(address.try_into().map_err(|_| garbled())?))
            }
            (b'W', _) => Ask::Warning(text()),
            (b'D', _) => Ask::Debug(text()),
            (b'E', _) => Ask::Failed(text()),
            (b'X', _) => Ask::NotExecuted(text()),
            _ => return Err(garbled()),
        };
        Ok(ask)
    }

    /// Answers: go on.
    ///
    /// # Errors
    /// EPIPE where the child is gone.
    pub fn go(&self) -> Result<()> {
        self.send(b"g", &[])
    }

    /// Answers with a descriptor.
    ///
    /// # Errors
    /// EPIPE where the child is gone.
    pub fn give(&self, fd: BorrowedFd<'_>) -> Result<()> {
        self.give_all(&[fd])
    }

    /// Answers with descriptors.
    ///
    /// # Errors
    /// EPIPE where the child is gone.
    pub fn give_all(&self, fds: &[BorrowedFd<'_>]) -> Result<()> {
        self.send(b"g", fds)
    }

    /// Answers that the child should give up, since the parent's part failed.
    ///
    /// # Errors
    /// EPIPE where the child is gone.
    pub fn refuse(&self, why: &str) -> Result<()> {
        let mut message = b"x".to_vec();
        message.extend(&why.as_bytes()[..why.len().min(MAX - 1)]);
        self.send(&message, &[])
    }

    /// Waits for the answer; `None` where the parent is gone.
    ///
    /// # Errors
    /// What [`Sync::refuse`] said.
    pub fn answer(&self) -> Result<Option<Vec<OwnedFd>>> {
        let (bytes, fds) = self.receive()?;
        match bytes.split_first() {
            Some((b'g', _)) => Ok(Some(fds)),
            Some((_, why)) => Err(Error::new(String::from_utf8_lossy(why))),
            None => Ok(None),
        }
    }

    /// Whether the other side is gone and nothing of it is left to be read.
    ///
    /// # Errors
    /// Those of recv(2).
    pub(crate) fn is_closed(&self) -> Result<bool> {
        use rustix::net::RecvFlags;
        match rustix::net::recv(&self.0, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((n, _)) => Ok(n == 0),
            Err(rustix::io::Errno::AGAIN) => Ok(false),
            Err(rustix::io::Errno::CONNRESET) => Ok(true),
            Err(e) => Err(e).what(|| "cannot hear the other process"),
        }
    }

    fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
        hull_sys::socket::send(self.0.as_fd(), bytes, fds).map(drop).what(|| "cannot speak to the other process")
    }

    fn receive(&self) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
        let mut buf = vec![0; MAX];
        let received: io::Result<_> = hull_sys::socket::receive(self.0.as_fd(), &mut buf);
        let (n, fds) = received.what(|| "cannot hear the other process")?;
        buf.truncate(n);
        Ok((buf, fds))
    }
}

impl AsFd for Sync {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn garbled() -> Error {
    Error::new("the container's process sent a message that makes no sense")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_the_other_side_comes_after_its_words() {
        let (ours, theirs) = hull_sys::socket::pair().unwrap();
        let (ours, theirs) = (Sync::new(ours), Sync::new(theirs));
        assert!(!ours.is_closed().unwrap());
        theirs.go().unwrap();
        drop(theirs);
        assert!(!ours.is_closed().unwrap(), "a word is left");
        assert!(ours.answer().unwrap().is_some());
        assert!(ours.is_closed().unwrap());
    }
}

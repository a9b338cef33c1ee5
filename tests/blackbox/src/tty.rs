//! Terminals and sockets that pass descriptors: the other end of `terminal`, of the console socket, of seccomp's
//! listener.

use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::call::{Call, Output};
use crate::case::Stop;

/// A pseudoterminal, held by its master.
pub(crate) struct Pty {
    pub(crate) master: OwnedFd,
    pub(crate) slave: PathBuf,
}

impl Pty {
    pub(crate) fn new() -> Result<Pty, Stop> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let slave = ptsname(&master, Vec::new())?.to_string_lossy().into_owned().into();
        tcsetwinsize(&master, Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 })?;
        Ok(Pty { master, slave })
    }

    /// Opens the slave end.
    pub(crate) fn open_slave(&self) -> Result<OwnedFd, Stop> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        Ok(rustix::fs::open(&self.slave, flags, Mode::empty())?)
    }

    /// Runs `call` on this terminal, types `input` once `after` was printed, and returns what was shown as `out`.
    pub(crate) fn run(&self, call: Call, after: &str, input: &[u8]) -> Result<Output, Stop> {
        let mut screen = Screen::new(self.master.try_clone()?);
        let mut running = call.tty(self.open_slave()?).spawn()?;
        if !input.is_empty() {
            screen.wait(after, 10)?;
            rustix::io::write(&self.master, input)?;
        }
        let status = running.child.wait()?;
        screen.drain();
        Ok(Output { code: crate::call::code_of(status), out: screen.text, err: String::new() })
    }
}

/// What a terminal's master has shown so far, read on a thread of its own.
pub(crate) struct Screen {
    incoming: mpsc::Receiver<Vec<u8>>,
    pub(crate) text: String,
}

impl Screen {
    pub(crate) fn new(master: OwnedFd) -> Screen {
        let (send, incoming) = mpsc::channel();
        std::thread::spawn(move || {
            let mut file = File::from(master);
            let mut buffer = [0u8; 4096];
            loop {
                match file.read(&mut buffer) {
                    Ok(n) if n > 0 => {
                        if send.send(buffer[..n].to_vec()).is_err() {
                            return;
                        }
                    }
                    // EIO: no slave is open now; another may be opened soon.
                    _ => std::thread::sleep(Duration::from_millis(5)),
                }
            }
        });
        Screen { incoming, text: String::new() }
    }

    /// Takes in what comes until `text` was shown.
    #[track_caller]
    pub(crate) fn wait(&mut self, text: &str, seconds: u64) -> Result<(), Stop> {
        let end = Instant::now() + Duration::from_secs(2 * seconds);
        while !self.text.contains(text) {
            match self.incoming.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(bytes) => self.text.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => return Err(format!("the terminal never showed {text:?}, but {:?}", self.text).into()),
            }
        }
        Ok(())
    }

    /// Takes in what is there already.
    pub(crate) fn drain(&mut self) {
        while let Ok(bytes) = self.incoming.recv_timeout(Duration::from_millis(60)) {
            self.text.push_str(&String::from_utf8_lossy(&bytes));
        }
    }
}

/// A socket in the file system on which descriptors arrive.
pub(crate) struct Inbox {
    listener: UnixListener,
    pub(crate) path: PathBuf,
}

impl Inbox {
    pub(crate) fn new(dir: &Path) -> Result<Inbox, Stop> {
        let path = dir.join("sock");
        Ok(Inbox { listener: UnixListener::bind(&path)?, path })
    }

    pub(crate) fn text(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }

    /// Waits for a connection, and for one message on it.
    pub(crate) fn receive(&self, seconds: u64) -> Result<(Vec<u8>, Vec<OwnedFd>), Stop> {
        self.listener.set_nonblocking(true)?;
        let end = Instant::now() + Duration::from_secs(seconds);
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return receive(&stream),
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(5)),
                Err(e) => return Err(format!("nobody connected to {}: {e}", self.path.display()).into()),
            }
        }
    }
}

/// One message with its descriptors.
fn receive(stream: &UnixStream) -> Result<(Vec<u8>, Vec<OwnedFd>), Stop> {
    stream.set_nonblocking(false)?;
    let mut data = vec![0u8; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let got = rustix::net::recvmsg(
        stream,
        &mut [std::io::IoSliceMut::new(&mut data)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(list) = message {
            fds.extend(list);
        }
    }
    data.truncate(got.bytes);
    Ok((data, fds))
}

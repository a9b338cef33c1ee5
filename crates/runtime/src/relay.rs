//! The bytes between the caller's standard descriptors and the master of a container's terminal.
//!
//! Never waits in read(2) or write(2): each direction holds a bounded number of bytes, and reads no more until they are
//! gone, so whoever does not read stops the other side and nobody else. Signals are the caller's to look after.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::SendFlags;

use hull_sys::signal::SignalFd;

/// Most bytes that one direction holds.
const HELD: usize = 8192;

/// Most that is read after the program ended: more than the kernel keeps for a terminal. What is printed beyond that
/// comes from others, who may never end.
const REST: usize = 256 * 1024;

/// How long a reader may stand still at the end, once hull was asked to end.
const PATIENCE: Duration = Duration::from_secs(1);

/// One of the standard descriptors, to be used without waiting.
struct Std {
    /// An open file of our own, without waiting; `None` where that can't be had.
    own: Option<OwnedFd>,
    shared: BorrowedFd<'static>,
    /// Whether it is a socket, which can be told with each message not to wait.
    socket: bool,
    /// Most bytes to write at once, so that a write that poll(2) called for does not wait.
    most: usize,
}

impl Std {
    /// The open file behind a standard descriptor is shared with other processes, which may not expect it to turn
    /// non-blocking: so terminals and pipes are opened anew, where the caller may do that.
    fn new(shared: BorrowedFd<'static>, mode: OFlags) -> Std {
        let plain = |most| Std { own: None, shared, socket: false, most };
        let Ok(st) = rustix::fs::fstat(shared) else { return plain(HELD) };
        let kind = FileType::from_raw_mode(st.st_mode);
        let terminal = rustix::termios::isatty(shared);
        // Opening a pty's master makes another pty.
        let master = kind == FileType::CharacterDevice && st.st_rdev == rustix::fs::makedev(5, 2);
        if kind == FileType::Socket {
            return Std { socket: true, ..plain(HELD) };
        }
        if kind != FileType::Fifo && !terminal {
            return plain(HELD);
        }
        // What poll(2) calls writable takes a pipe's page, and a quarter of a page of a terminal, even where each byte
        // becomes two.
        let most = if terminal { 128 } else { rustix::pipe::PIPE_BUF };
        if master {
            return plain(most);
        }
        let path = format!("/proc/self/fd/{}", shared.as_raw_fd());
        let flags = mode | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(own) => Std { own: Some(own), ..plain(HELD) },
            Err(_) => plain(most),
        }
    }

    fn read(&self, buf: &mut [u8]) -> rustix::io::Result<usize> {
        match &self.own {
            Some(own) => rustix::io::read(own, buf),
            None => rustix::io::read(self.shared, buf),
        }
    }

    fn write(&self, bytes: &[u8]) -> rustix::io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(self.most)];
        match &self.own {
            Some(own) => rustix::io::write(own, bytes),
            None if self.socket => rustix::net::send(self.shared, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL),
            None => rustix::io::write(self.shared, bytes),
        }
    }
}

impl AsFd for Std {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.own.as_ref().map_or(self.shared, AsFd::as_fd)
    }
}

/// Bytes on their way.
#[derive(Default)]
struct Held {
    bytes: Vec<u8>,
    written: usize,
}

impl Held {
    fn is_empty(&self) -> bool {
        self.written == self.bytes.len()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }

    /// Writes a part of what is held. What a reader that is gone will not take is dropped: the program learns of it as
    /// its own terminal would tell.
    fn give(&mut self, write: impl Fn(&[u8]) -> rustix::io::Result<usize>) {
        match write(&self.bytes[self.written..]) {
            Ok(n) => self.written += n,
            Err(Errno::INTR | Errno::AGAIN) => return,
            Err(_) => self.clear(),
        }
        if self.is_empty() {
            self.clear();
        }
    }

    /// Reads what comes next; the number of bytes, 0 at the end.
    fn take(&mut self, read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>) -> rustix::io::Result<usize> {
        self.bytes.resize(HELD, 0);
        let n = read(&mut self.bytes);
        self.bytes.truncate(*n.as_ref().unwrap_or(&0));
        n
    }
}

/// One of the descriptors watched.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Master,
    Stdin,
    Stdout,
}

/// What is moved between the three.
pub(crate) struct Relay {
    master: OwnedFd,
    stdin: Option<Std>,
    stdout: Std,
    /// To the terminal.
    input: Held,
    /// From it.
    output: Held,
}

impl Relay {
    pub(crate) fn new(master: OwnedFd) -> Relay {
        // Nobody else has this one.
        let _ = rustix::io::ioctl_fionbio(&master, true);
        Relay {
            master,
            stdin: Some(Std::new(rustix::stdio::stdin(), OFlags::RDONLY)),
            stdout: Std::new(rustix::stdio::stdout(), OFlags::WRONLY),
            input: Held::default(),
            output: Held::default(),
        }
    }

    pub(crate) fn master(&self) -> &OwnedFd {
        &self.master
    }

    /// Adds what to wait for; the result goes to [`Relay::move_on`].
    pub(crate) fn watch<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) -> Vec<End> {
        let mut ends = Vec::with_capacity(3);
        let mut add = |end: End, fd: BorrowedFd<'a>, wanted: PollFlags| {
            // A descriptor of which nothing is wanted would still report that its other end is gone.
            if !wanted.is_empty() {
                fds.push(PollFd::from_borrowed_fd(fd, wanted));
                ends.push(end);
            }
        };
        let when = |condition, flag| if condition { flag } else { PollFlags::empty() };
        let master = when(self.output.is_empty(), PollFlags::IN) | when(!self.input.is_empty(), PollFlags::OUT);
        add(End::Master, self.master.as_fd(), master);
        add(End::Stdout, self.stdout.as_fd(), when(!self.output.is_empty(), PollFlags::OUT));
        if let Some(stdin) = &self.stdin {
            add(End::Stdin, stdin.as_fd(), when(self.input.is_empty(), PollFlags::IN));
        }
        ends
    }

    /// Moves what can be moved; `false` once the terminal has no user and nothing is left to show.
    pub(crate) fn move_on(&mut self, ends: &[End], happened: &[PollFlags]) -> bool {
        for (end, happened) in ends.iter().zip(happened).filter(|(_, h)| !h.is_empty()) {
            match end {
                End::Master => {
                    if happened.contains(PollFlags::HUP) {
                        // Nobody is there to read it.
                        self.input.clear();
                    } else if happened.contains(PollFlags::OUT) {
                        self.input.give(|bytes| rustix::io::write(&self.master, bytes));
                    }
                    if self.output.is_empty() && happened.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                        match self.output.take(|buf| rustix::io::read(&self.master, buf)) {
                            Err(Errno::INTR | Errno::AGAIN) => {}
                            // EIO: no process has the terminal open any more.
                            Ok(0) | Err(_) => return false,
                            Ok(_) => {}
                        }
                    }
                }
                End::Stdout => self.output.give(|bytes| self.stdout.write(bytes)),
                End::Stdin => {
                    let Some(stdin) = &self.stdin else { continue };
                    match self.input.take(|buf| stdin.read(buf)) {
                        Err(Errno::INTR | Errno::AGAIN) => {}
                        Ok(n) if n > 0 => {}
                        _ => {
                            self.stdin = None;
                            // End of input is a character to a terminal.
                            self.input.bytes.push(4);
                        }
                    }
                }
            }
        }
        true
    }

    /// Shows what was printed before the end, for as long as there is somebody to read it. A signal that asks to end
    /// is heeded; once there was one, a reader that stands still is not waited for.
    pub(crate) fn drain(mut self, signals: &SignalFd, asked_to_end: bool) {
        self.stdin = None;
        self.input.clear();
        let mut read = 0;
        let mut moved = Instant::now();
        while !self.output.is_empty() || read < REST {
            let timeout = if self.output.is_empty() {
                // All that was printed is here to be read.
                Some(Duration::ZERO)
            } else {
                asked_to_end.then(|| PATIENCE.saturating_sub(moved.elapsed()))
            };
            let mut fds = vec![PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN)];
            let ends = self.watch(&mut fds);
            let timeout = timeout.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: d.subsec_nanos().into() });
            match poll(&mut fds, timeout.as_ref()) {
                Err(Errno::INTR | Errno::AGAIN) => continue,
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
            let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
            drop(fds);
            while let Some(signal) = signals.next() {
                if crate::console::asks_to_end(signal) {
                    return;
                }
            }
            if happened[1..].iter().all(|h| h.is_empty()) {
                if self.output.is_empty() {
                    return;
                }
                continue;
            }
            moved = Instant::now();
            let empty = self.output.is_empty();
            if !self.move_on(&ends, &happened[1..]) {
                return;
            }
            if empty {
                read += self.output.bytes.len();
            }
        }
    }
}

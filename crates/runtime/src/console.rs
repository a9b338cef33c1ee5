//! Waiting for a process in the foreground: its terminal relayed, signals passed on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use hull_sys::clone::Child;
use hull_sys::pidfd::Ended;
use hull_sys::signal::SignalFd;

use crate::notify::Notify;
use crate::{Context as _, Result};

/// The caller's terminal in raw mode, put back when dropped.
struct Raw(Option<Termios>);

impl Raw {
    fn new() -> Raw {
        let stdin = rustix::stdio::stdin();
        if !isatty(stdin) {
            return Raw(None);
        }
        let Ok(before) = tcgetattr(stdin) else { return Raw(None) };
        let mut raw = before.clone();
        raw.make_raw();
        // What the container's terminal prints is ready for display but for the newline.
        raw.output_modes |= rustix::termios::OutputModes::OPOST | rustix::termios::OutputModes::ONLCR;
        match tcsetattr(stdin, OptionalActions::Now, &raw) {
            Ok(()) => Raw(Some(before)),
            Err(_) => Raw(None),
        }
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, before);
        }
    }
}

/// Gives the program's terminal the size of the caller's; to be called before the program runs, which would else be
/// told of a change.
pub(crate) fn begin(master: Option<&OwnedFd>) {
    if let Some(master) = master {
        copy_size(master);
    }
}

/// Waits for the end of a child, and meanwhile for its word that it is ready.
pub(crate) fn wait(child: &Child, master: Option<OwnedFd>, mut notify: Option<Notify>) -> Result<Ended> {
    let signals = SignalFd::all().what(|| "cannot read signals")?;
    let _raw = master.as_ref().map(|_| Raw::new());
    let mut relay = Relay { master, input_open: true };
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(child.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        let listens = usize::from(notify.is_some());
        fds.extend(notify.as_ref().map(|n| PollFd::from_borrowed_fd(n.as_fd(), PollFlags::IN)));
        if let Some(master) = &relay.master {
            fds.push(PollFd::from_borrowed_fd(master.as_fd(), PollFlags::IN));
            if relay.input_open {
                fds.push(PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::IN));
            }
        }
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let ready: Vec<bool> = fds.iter().map(|f| !f.revents().is_empty()).collect();
        drop(fds);
        if ready.get(2 + listens) == Some(&true) {
            relay.output();
        }
        if ready.get(3 + listens) == Some(&true) {
            relay.input();
        }
        if let Some(n) = notify.take_if(|n| ready[2] && n.heard_ready()) {
            // This process stays for as long as the program does, and hands signals on to it: it is the service's. A
            // manager that went away is no reason to end the program.
            let _ = n.tell(std::process::id() as i32);
        }
        if ready[1] {
            pass_on(&signals, child, relay.master.as_ref());
        }
        if ready[0] {
            relay.drain();
            return crate::child::reap(child);
        }
    }
}

fn pass_on(signals: &SignalFd, child: &Child, master: Option<&OwnedFd>) {
    while let Some(signal) = signals.next() {
        match signal {
            // Orphans that became ours; the container's process is waited for by descriptor.
            libc::SIGCHLD => reap_others(child),
            libc::SIGWINCH => {
                if let Some(master) = master {
                    copy_size(master);
                }
            }
            // The Go world's runtime signal, and ours to ignore: a pipe of ours that closed.
            libc::SIGURG | libc::SIGPIPE => {}
            // It may have ended just now.
            other => drop(hull_sys::pidfd::send_signal(child.pidfd.as_fd(), other)),
        }
    }
}

/// Reaps adopted children, but not the one whose status is wanted.
fn reap_others(child: &Child) {
    let Ok(list) = std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())) else { return };
    for pid in list.split_ascii_whitespace().filter_map(|p| p.parse::<i32>().ok()).filter(|p| *p != child.pid) {
        if crate::state::start_time(pid).is_none()
            && let Ok(fd) = hull_sys::pidfd::open(pid)
        {
            let _ = hull_sys::pidfd::reap(fd.as_fd());
        }
    }
}

fn copy_size(master: &OwnedFd) {
    if let Ok(size) = tcgetwinsize(rustix::stdio::stdin()) {
        let _ = hull_sys::tty::set_size(master, size.ws_row, size.ws_col);
    }
}

struct Relay {
    master: Option<OwnedFd>,
    input_open: bool,
}

impl Relay {
    /// Copies from the container; at its end there is nothing more to relay.
    fn output(&mut self) -> bool {
        let Some(master) = &self.master else { return false };
        let mut buf = [0; 8192];
        match rustix::io::read(master, &mut buf) {
            Ok(n) if n > 0 => {
                write_all(rustix::stdio::stdout(), &buf[..n]);
                true
            }
            // EIO: no process has the terminal open any more.
            _ => {
                self.master = None;
                false
            }
        }
    }

    fn input(&mut self) {
        let Some(master) = &self.master else { return };
        let mut buf = [0; 8192];
        match rustix::io::read(rustix::stdio::stdin(), &mut buf) {
            Ok(n) if n > 0 => write_all(master.as_fd(), &buf[..n]),
            _ => {
                self.input_open = false;
                // End of input is a character to a terminal.
                write_all(master.as_fd(), &[4]);
            }
        }
    }

    /// What was printed before the end must not be lost.
    fn drain(&mut self) {
        while let Some(master) = &self.master {
            let mut fds = [PollFd::from_borrowed_fd(master.as_fd(), PollFlags::IN)];
            let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
            if !matches!(poll(&mut fds, Some(&now)), Ok(n) if n > 0) || !self.output() {
                return;
            }
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            // The reader is gone; the program will learn of it as its own terminal fills.
            Err(_) => return,
        }
    }
}

//! Waiting for a process in the foreground: signals passed on, and its terminal relayed (by [`crate::relay`]).

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::{OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr};

use hull_sys::clone::Child;
use hull_sys::pidfd::Ended;
use hull_sys::signal::SignalFd;

use crate::notify::Notify;
use crate::relay::Relay;
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
    let mut relay = master.map(Relay::new);
    let mut asked_to_end = false;
    loop {
        let mut fds = vec![
            PollFd::from_borrowed_fd(child.pidfd.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(signals.as_fd(), PollFlags::IN),
        ];
        fds.extend(notify.as_ref().map(|n| PollFd::from_borrowed_fd(n.as_fd(), PollFlags::IN)));
        let own = fds.len();
        let wanted = relay.as_ref().map(|r| r.watch(&mut fds)).unwrap_or_default();
        if poll(&mut fds, None).is_err() {
            continue;
        }
        let happened: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        drop(fds);
        if relay.as_mut().is_some_and(|r| !r.move_on(&wanted, &happened[own..])) {
            relay = None;
        }
        if let Some(n) = notify.take_if(|n| !happened[2].is_empty() && n.heard_ready()) {
            // This process stays for as long as the program does, and hands signals on to it: it is the service's. A
            // manager that went away is no reason to end the program.
            let _ = n.tell(std::process::id() as i32);
        }
        if !happened[1].is_empty() {
            asked_to_end |= pass_on(&signals, child, relay.as_ref().map(Relay::master));
        }
        if !happened[0].is_empty() {
            if let Some(relay) = relay {
                relay.drain(&signals, asked_to_end);
            }
            return crate::child::reap(child);
        }
    }
}

/// Whether a signal is one by which a process is asked to end.
pub(crate) fn asks_to_end(signal: i32) -> bool {
    matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT)
}

/// Hands signals on to the child; whether one of them asks to end.
fn pass_on(signals: &SignalFd, child: &Child, master: Option<&OwnedFd>) -> bool {
    let mut asked = false;
    while let Some(signal) = signals.next() {
        asked |= asks_to_end(signal);
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
    asked
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

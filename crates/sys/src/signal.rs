//! Signal masks and signals read from a descriptor.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::check;

fn set_of(fill: bool) -> libc::sigset_t {
    // SAFETY: sigset_t is plain data, and either call initialises it whole.
    unsafe {
        let mut set = std::mem::zeroed();
        if fill { libc::sigfillset(&raw mut set) } else { libc::sigemptyset(&raw mut set) };
        set
    }
}

/// Lets every signal through and puts every disposition back to default, as a program expects to find them.
pub fn reset() {
    let empty = set_of(false);
    // SAFETY: the set is initialised; the kernel refuses KILL, STOP and the C library's two, which is as it should
    // be; SIG_DFL runs no code of ours.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// Lets the signals that ask a process to end do so even to the first process of a PID namespace, which the kernel
/// guards against those that it has no handler for. exec(2) undoes it.
pub fn end_on_request() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2] {
        // SAFETY: the handler does nothing but end the process.
        unsafe { libc::signal(signal, end as extern "C" fn(libc::c_int) as libc::sighandler_t) };
    }
}

extern "C" fn end(signal: libc::c_int) {
    // SAFETY: _exit(2) may be called from a signal handler.
    unsafe { libc::_exit(128 + signal) }
}

/// While it lives, a signal is ignored: what would have brought it is an error and no more. For a process with one
/// thread.
#[derive(Debug)]
pub struct Ignored(i32, libc::sighandler_t);

impl Ignored {
    /// SIGPIPE: writing to a pipe that nobody reads.
    pub fn pipe() -> Ignored {
        Ignored::new(libc::SIGPIPE)
    }

    /// SIGXFSZ: writing more than RLIMIT_FSIZE.
    pub fn file_size() -> Ignored {
        Ignored::new(libc::SIGXFSZ)
    }

    fn new(signal: i32) -> Ignored {
        // SAFETY: SIG_IGN runs no code of ours.
        Ignored(signal, unsafe { libc::signal(signal, libc::SIG_IGN) })
    }
}

impl Drop for Ignored {
    fn drop(&mut self) {
        if self.1 != libc::SIG_ERR {
            // SAFETY: this is what was in force before.
            unsafe { libc::signal(self.0, self.1) };
        }
    }
}

/// Blocks all signals, so that they wait to be read.
pub fn block_all() {
    let full = set_of(true);
    // SAFETY: the set is initialised.
    unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const full, std::ptr::null_mut()) };
}

/// The signals by which others ask a process to end, and the kernel at the end of its CPU time (which would not end the
/// first process of a PID namespace), kept from ending it and waited for.
#[derive(Debug)]
pub struct Waiter(());

impl Waiter {
    const SIGNALS: [i32; 7] =
        [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM, libc::SIGUSR1, libc::SIGUSR2, libc::SIGXCPU];

    fn set() -> libc::sigset_t {
        let mut set = set_of(false);
        for signal in Waiter::SIGNALS {
            // SAFETY: the set is initialised and the number valid.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        set
    }

    /// Blocks them in this thread and those that it makes. Being blocked, they wait even for the first process of a PID
    /// namespace, for which the kernel drops them otherwise.
    #[expect(clippy::new_without_default, reason = "it changes how the process takes signals")]
    pub fn new() -> Waiter {
        let set = Waiter::set();
        // SAFETY: the set is initialised.
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        Waiter(())
    }

    /// Lets each end the process from now on, with 128 and its number: one that came before does at once.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn end(self) -> io::Result<()> {
        for signal in Waiter::SIGNALS {
            // SAFETY: sigaction is plain data for which zeroes are valid.
            let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
            action.sa_sigaction = end as extern "C" fn(libc::c_int) as libc::sighandler_t;
            // Not on a stack that may be another program's, and a small one.
            action.sa_flags = libc::SA_ONSTACK;
            // SAFETY: the structure is whole, and the handler does nothing but end the process.
            check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }.into())?;
        }
        let set = Waiter::set();
        // SAFETY: the set is initialised.
        check(unsafe { libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut()) }.into()).map(drop)
    }

    /// Waits for one, and takes it.
    pub fn wait(&self) -> i32 {
        let (set, mut signal) = (Waiter::set(), 0);
        // SAFETY: the set is initialised; the call writes one number. It fails for bad sets alone.
        unsafe { libc::sigwait(&raw const set, &raw mut signal) };
        signal
    }

    /// Waits for one for some time; `None` where none comes.
    pub fn wait_for(&self, most: std::time::Duration) -> Option<i32> {
        let end = std::time::Instant::now() + most;
        let set = Waiter::set();
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let left = libc::timespec { tv_sec: left.as_secs() as libc::time_t, tv_nsec: i64::from(left.subsec_nanos()) };
            // SAFETY: both structures are initialised.
            let signal = unsafe { libc::sigtimedwait(&raw const set, std::ptr::null_mut(), &raw const left) };
            match io::Error::last_os_error().raw_os_error() {
                _ if signal > 0 => return Some(signal),
                Some(libc::EINTR) => {}
                _ => return None,
            }
        }
    }
}

/// Blocked signals, read from a descriptor (signalfd(2)).
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// Blocks all signals and opens them for reading.
    ///
    /// # Errors
    /// EMFILE and the like.
    pub fn all() -> io::Result<SignalFd> {
        block_all();
        let full = set_of(true);
        // SAFETY: the set is initialised.
        let fd = check(unsafe { libc::signalfd(-1, &raw const full, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }.into())?;
        // SAFETY: the kernel just made this descriptor.
        Ok(SignalFd(unsafe { OwnedFd::from_raw_fd(fd as i32) }))
    }

    /// The next signal that waits, if any.
    pub fn next(&self) -> Option<i32> {
        let mut buf = [0u8; size_of::<libc::signalfd_siginfo>()];
        let n = rustix::io::read(&self.0, &mut buf).ok()?;
        // ssi_signo is the structure's first field, four bytes long.
        (n == buf.len()).then(|| i32::from_ne_bytes([buf[0], buf[1], buf[2], buf[3]]))
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for SignalFd {
    fn as_raw_fd(&self) -> i32 {
        self.0.as_raw_fd()
    }
}

//! Runs a command under ptrace(2) and kills one of its processes at one of its system calls.
//!
//! The tracer is a process of its own: when it ends, the kernel lets go of whatever it traced, which then goes on
//! as if nobody had watched.

use std::collections::HashMap;
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::AsRawFd;

/// Whom to kill, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Victim {
    /// 0 is the command itself, 1 its first child, and so on; with [`Trace::attached`], 1 is that process.
    pub(crate) role: usize,
    /// Before which of its own system calls, counted from 1.
    pub(crate) at: u64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Killed when it was about to make the system call of this number.
    Killed(i64),
    /// The command ended before it came to that.
    Finished,
    /// Neither, in the time that there is.
    Hung,
}

/// A command to trace.
pub(crate) struct Trace<'a> {
    /// Program and arguments.
    pub(crate) command: &'a [String],
    /// Another process to watch.
    pub(crate) attached: Option<i32>,
    /// Seconds that it may take.
    pub(crate) limit: u32,
}

struct Traced {
    role: usize,
    calls: u64,
    /// It executed its program: what comes is not hull's doing.
    done: bool,
}

const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

fn ptrace(request: libc::c_uint, pid: i32, data: usize) -> io::Result<i64> {
    // SAFETY: no request used here makes the kernel write to this process's memory but through `data`, which then is
    // the address of a live value.
    match unsafe { libc::ptrace(request, pid, 0usize, data) } {
        -1 => Err(io::Error::last_os_error()),
        n => Ok(n),
    }
}

/// The number of the system call that a process is about to make; `None` when it comes out of one.
fn entered(pid: i32) -> Option<i64> {
    // SAFETY: all zero bytes are a valid value of this structure of numbers.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = std::mem::size_of_val(&info);
    // SAFETY: the kernel writes at most `size` bytes to a structure of that size.
    let n = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) };
    if n <= 0 || info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return None;
    }
    // SAFETY: the kernel filled this member of the union, as `op` says.
    Some(unsafe { info.u.entry.nr } as i64)
}

impl Trace<'_> {
    /// Runs it in a tracer of its own, its output dropped.
    pub(crate) fn run(&self, victim: Victim) -> io::Result<Outcome> {
        // SAFETY: this program has one thread.
        let tracer = match unsafe { libc::fork() } {
            -1 => return Err(io::Error::last_os_error()),
            0 => {
                // SAFETY: plain system call; the alarm ends this process if the command hangs.
                unsafe { libc::alarm(self.limit) };
                let code = match self.watch(victim) {
                    Ok(Some(call)) => return_code(call),
                    Ok(None) => FINISHED,
                    Err(e) => {
                        eprintln!("tracer: {e}");
                        BROKEN
                    }
                };
                // SAFETY: ends this copy of the process without running what belongs to the other.
                unsafe { libc::_exit(code) }
            }
            pid => pid,
        };
        let mut status = 0;
        // SAFETY: the status is written to a live integer.
        if unsafe { libc::waitpid(tracer, &raw mut status, 0) } < 0 {
            return Err(io::Error::last_os_error());
        }
        if libc::WIFSIGNALED(status) {
            return Ok(Outcome::Hung);
        }
        match libc::WEXITSTATUS(status) {
            FINISHED => Ok(Outcome::Finished),
            BROKEN => Err(io::Error::other("the tracer failed")),
            call => Ok(Outcome::Killed(call.into())),
        }
    }

    /// The tracer: the system call before which the victim was killed, if it came to that.
    fn watch(&self, victim: Victim) -> io::Result<Option<i64>> {
        let options = libc::PTRACE_O_TRACESYSGOOD
            | libc::PTRACE_O_TRACEFORK
            | libc::PTRACE_O_TRACEVFORK
            | libc::PTRACE_O_TRACECLONE
            | libc::PTRACE_O_TRACEEXEC;
        let mut known: HashMap<i32, Traced> = HashMap::new();
        if let Some(pid) = self.attached {
            ptrace(libc::PTRACE_SEIZE, pid, options as usize)?;
            ptrace(libc::PTRACE_INTERRUPT, pid, 0)?;
            known.insert(pid, Traced { role: 1, calls: 0, done: false });
        }
        let (main, mut gate) = self.begin()?;
        // Seized, and not stopped by a signal, so that none is left to stop a process for good when the tracer ends.
        ptrace(libc::PTRACE_SEIZE, main, options as usize)?;
        ptrace(libc::PTRACE_INTERRUPT, main, 0)?;
        known.insert(main, Traced { role: 0, calls: 0, done: false });
        let mut executed = false;
        let mut killed = None;
        loop {
            let mut status = 0;
            // SAFETY: the status is written to a live integer.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
            if pid < 0 {
                return Err(io::Error::last_os_error());
            }
            if libc::WIFEXITED(status) || libc::WIFSIGNALED(status) {
                if pid == main {
                    return Ok(killed);
                }
                continue;
            }
            let next = known.len();
            let traced = known.entry(pid).or_insert(Traced { role: next, calls: 0, done: false });
            let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
            let mut deliver = 0;
            if signal == SYSCALL_STOP {
                if let Some(call) = entered(pid).filter(|_| executed) {
                    traced.calls += 1;
                    if killed.is_none() && !traced.done && traced.role == victim.role && traced.calls == victim.at {
                        // SAFETY: plain system call.
                        unsafe { libc::kill(pid, libc::SIGKILL) };
                        killed = Some(call);
                        continue;
                    }
                }
            } else if event == libc::PTRACE_EVENT_EXEC {
                traced.done = traced.role > 0;
                executed = true;
            } else if event == libc::PTRACE_EVENT_STOP && pid == main && !executed {
                gate.write_all(b"x")?;
            } else if event == 0 {
                deliver = signal;
            }
            let request = if killed.is_some() || traced.done { libc::PTRACE_CONT } else { libc::PTRACE_SYSCALL };
            // It may have been killed in the meantime.
            let _ = ptrace(request, pid, deliver as usize);
        }
    }

    /// Starts the command, which waits for a byte on the pipe before it executes.
    fn begin(&self) -> io::Result<(i32, io::PipeWriter)> {
        let strings: Vec<CString> = self.command.iter().map(|s| CString::new(s.as_str())).collect::<Result<_, _>>()?;
        let mut argv: Vec<_> = strings.iter().map(|s| s.as_ptr()).collect();
        argv.push(std::ptr::null());
        let (gate, opener) = io::pipe()?;
        // SAFETY: the tracer has one thread; the child makes plain system calls with C strings that were laid out
        // before, and then executes.
        unsafe {
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => {
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                    for fd in 0..3 {
                        libc::dup2(null, fd);
                    }
                    libc::close(null);
                    let mut byte = 0u8;
                    libc::read(gate.as_raw_fd(), (&raw mut byte).cast(), 1);
                    libc::execv(argv[0], argv.as_ptr());
                    libc::_exit(127)
                }
                pid => Ok((pid, opener)),
            }
        }
    }
}

const FINISHED: i32 = 254;
const BROKEN: i32 = 255;

/// System calls are told by the tracer's exit code, which has eight bits: it is for people to read.
fn return_code(call: i64) -> i32 {
    (call & 0xff).min(253) as i32
}

//! Running one hook: its own environment, the state on its input, its time limit.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use hull_spec::Hook;
use hull_spec::annotations::Annotations;

use crate::error::{Context as _, Error, Result};

/// What a hook finds around it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment of hooks that have none of their own; `None` is the runtime's.
    pub env: Option<Vec<(String, String)>>,
    /// File to append what they print to.
    pub stdout: Option<PathBuf>,
    /// File to append what they print to standard error to.
    pub stderr: Option<PathBuf>,
}

impl Surroundings {
    /// What annotations say, for hooks that see the host's files.
    pub fn of_host(annotations: &BTreeMap<String, String>) -> Surroundings {
        let known = Annotations(annotations);
        let owned = |path: Option<&Path>| path.map(Path::to_owned);
        Surroundings { env: None, stdout: owned(known.hooks_stdout()), stderr: owned(known.hooks_stderr()) }
    }
}

/// Runs the hooks of one point in order; the first failure ends it.
///
/// # Errors
/// A hook that can't be started, fails, or runs out of time.
pub fn run_all(point: &str, hooks: &[Hook], state: &[u8], around: &Surroundings) -> Result<()> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state, around).map_err(|e| e.during(&format!("error running {point} hook #{index}")))?;
    }
    Ok(())
}

fn output(file: Option<&Path>) -> Result<Stdio> {
    let Some(path) = file else { return Ok(Stdio::piped()) };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    Ok(file.what(|| format!("cannot open \"{}\" for its output", path.display()))?.into())
}

fn run(hook: &Hook, state: &[u8], around: &Surroundings) -> Result<()> {
    let shown = hook.path.display();
    let mut command = Command::new(&hook.path);
    if let Some((first, rest)) = hook.args.split_first() {
        command.arg0(first).args(rest);
    }
    // A program of the host never gets the image's environment: CVE-2024-0132 and its kin came that way.
    if let Some(env) = &hook.env {
        command.env_clear();
        command.envs(env.iter().map(|entry| entry.split_once('=').unwrap_or((entry, ""))));
    } else if let Some(env) = &around.env {
        command.env_clear();
        command.envs(env.iter().map(|(k, v)| (k, v)));
    }
    let (stdout, stderr) = (output(around.stdout.as_deref())?, output(around.stderr.as_deref())?);
    command.stdin(Stdio::piped()).stdout(stdout).stderr(stderr);
    // The hook may be gone before it has read the state, and the container's process takes signals as its program will.
    let _quiet = hull_sys::signal::Ignored::pipe();
    let mut child = command.spawn().map_err(|e| {
        Error::new(format!("cannot start \"{shown}\": {}", hull_sys::errno::describe(e.raw_os_error().unwrap_or(0))))
    })?;
    let limit = hook.timeout.map(|s| Duration::from_secs(s.max(0) as u64));
    let begun = Instant::now();
    // A filter that is in force already may know nothing of pidfd_open(2).
    let pidfd = hull_sys::pidfd::open(child.id() as i32).ok();
    let (out, err) = match talk(&mut child, state, pidfd.as_ref(), limit, begun) {
        Some(text) => text,
        None => {
            // The hook may have ended between the time-out and the kill: either way it is reaped.
            let _ = child.kill();
            let _ = child.wait();
            let secs = limit.unwrap_or_default().as_secs();
            return Err(Error::new(format!("\"{shown}\": still running after {secs} s, killed: timeout")));
        }
    };
    let status = child.wait().what(|| format!("cannot wait for \"{shown}\""))?;
    if status.success() {
        return Ok(());
    }
    let how = match status.signal() {
        Some(n) => format!("signal {n} ({})", signal_words(n)),
        None => format!("exit status {}", status.code().unwrap_or(-1)),
    };
    let text = format!("\"{shown}\": {how}, stdout: {}, stderr: {}", out.trim(), err.trim());
    Err(Error::new(text).with_exit_code(status.code()))
}

/// What a signal that ends a process means.
fn signal_words(signal: i32) -> &'static str {
    match signal {
        libc::SIGHUP => "hangup",
        libc::SIGINT => "interrupt",
        libc::SIGQUIT => "quit",
        libc::SIGILL => "illegal instruction",
        libc::SIGTRAP => "trace/breakpoint trap",
        libc::SIGABRT => "aborted",
        libc::SIGBUS => "bus error",
        libc::SIGFPE => "floating point exception",
        libc::SIGKILL => "killed",
        libc::SIGSEGV => "segmentation fault",
        libc::SIGPIPE => "broken pipe",
        libc::SIGALRM => "alarm clock",
        libc::SIGTERM => "terminated",
        libc::SIGSYS => "bad system call",
        _ => "ended by it",
    }
}

/// Writes the state and reads both outputs until the hook ends; `None` when the time is over. A hook need not read its
/// input, and a grandchild that keeps the outputs open does not hold the start up.
fn talk(
    child: &mut Child,
    mut state: &[u8],
    pidfd: Option<&OwnedFd>,
    limit: Option<Duration>,
    begun: Instant,
) -> Option<(String, String)> {
    const KEPT: usize = 4096;
    /// Between two looks at a hook that can't be waited for by a descriptor.
    const LOOK: Duration = Duration::from_millis(10);
    let (mut input, mut out, mut err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(pipe) = &input {
        // A pipe of this process's own. Were this refused, a hook that does not read could hold up a large state.
        let _ = rustix::io::ioctl_fionbio(pipe, true);
    }
    let mut texts = [Vec::new(), Vec::new()];
    let mut buf = [0; 4096];
    loop {
        let left = match limit {
            Some(l) => Some(l.checked_sub(begun.elapsed())?),
            None => None,
        };
        let left = if pidfd.is_none() { Some(left.map_or(LOOK, |l| l.min(LOOK))) } else { left };
        let timeout = left.map(|d| Timespec { tv_sec: d.as_secs() as i64, tv_nsec: d.subsec_nanos().into() });
        let mut fds = Vec::with_capacity(4);
        fds.extend(input.as_ref().map(|i| PollFd::new(i, PollFlags::OUT)));
        fds.extend(out.as_ref().map(|o| PollFd::new(o, PollFlags::IN)));
        fds.extend(err.as_ref().map(|e| PollFd::new(e, PollFlags::IN)));
        fds.extend(pidfd.map(|p| PollFd::new(p, PollFlags::IN)));
        if poll(&mut fds, timeout.as_ref()).is_err() {
            continue;
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |wanted: bool| wanted && ready.next().unwrap_or(false);
        let (input_ready, out_ready, err_ready) = (next(input.is_some()), next(out.is_some()), next(err.is_some()));
        let ended = match pidfd {
            Some(_) => next(true),
            None => !matches!(child.try_wait(), Ok(None)),
        };
        if input_ready && !give(input.as_mut(), &mut state) {
            input = None;
        }
        if out_ready && !take(out.as_mut(), &mut buf, &mut texts[0], KEPT) {
            out = None;
        }
        if err_ready && !take(err.as_mut(), &mut buf, &mut texts[1], KEPT) {
            err = None;
        }
        if ended && !out_ready && !err_ready {
            let text = |t: &[u8]| String::from_utf8_lossy(t).into_owned();
            return Some((text(&texts[0]), text(&texts[1])));
        }
    }
}

/// Writes what the pipe takes of the rest; whether there is more to write, to somebody who may read it.
fn give(to: Option<&mut ChildStdin>, rest: &mut &[u8]) -> bool {
    use std::io::ErrorKind::{Interrupted, WouldBlock};
    let Some(to) = to else { return false };
    match to.write(rest) {
        Ok(n) => {
            *rest = &rest[n..];
            !rest.is_empty()
        }
        Err(e) => matches!(e.kind(), Interrupted | WouldBlock),
    }
}

fn take(from: Option<&mut impl Read>, buf: &mut [u8], to: &mut Vec<u8>, kept: usize) -> bool {
    let n = from.and_then(|f| f.read(buf).ok()).unwrap_or(0);
    let room = kept.saturating_sub(to.len());
    to.extend(&buf[..n.min(room)]);
    n > 0
}

//! The parent's answers while a container's process prepares itself.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};

use hull_jail::plan::Plan;
use hull_jail::sync::{Ask, Sync};
use hull_spec::Spec;
use hull_sys::clone::{self, Child, Side, flags};
use hull_sys::pidfd::Ended;

use crate::engine::Booted;
use crate::{Context as _, Error, Result, Runtime};

/// What the parent holds of a process being made.
#[derive(Debug)]
pub(crate) struct Conversation {
    pub(crate) child: Child,
    pub(crate) sync: Sync,
    /// The terminal's master, once it came.
    pub(crate) console: Option<OwnedFd>,
    /// Whether the child is one in between, which may die with its own child, of which nothing is known yet, still
    /// holding the socket's other end.
    between: bool,
}

/// What the answers need.
pub(crate) struct Answers<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) booted: Booted<'a>,
    /// The plan of a new container; none for a process that joins one.
    pub(crate) plan: Option<&'a Plan>,
    pub(crate) idmaps: &'a [OwnedFd],
    /// Runs the hooks that belong between mounts and pivot_root.
    pub(crate) hooks: &'a dyn Fn(i32) -> Result<()>,
}

impl Conversation {
    pub(crate) fn new(child: Child, sync: Sync, between: bool) -> Conversation {
        Conversation { child, sync, console: None, between }
    }

    /// Hears the child, or that there is none any more.
    fn hear(&self) -> Result<Ask> {
        if self.between {
            let mut fds = [PollFd::new(&self.sync, PollFlags::IN), PollFd::new(&self.child.pidfd, PollFlags::IN)];
            while let Err(e) = poll(&mut fds, None) {
                if e != rustix::io::Errno::INTR {
                    return Err(e).what(|| "cannot wait for the container's process");
                }
            }
            // What it said before its end is heard first: both are ready then, or were, one after the other.
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            let mut said = [PollFd::new(&self.sync, PollFlags::IN)];
            if !fds[1].revents().is_empty() && !matches!(poll(&mut said, Some(&now)), Ok(n) if n > 0) {
                return Ok(Ask::End);
            }
        }
        self.sync.asked()
    }

    /// Answers until the process is ready for its last step.
    pub(crate) fn until_ready(&mut self, answers: &Answers<'_>) -> Result<()> {
        loop {
            let ask = self.hear()?;
            let done = match ask {
                Ask::Ready => return Ok(()),
                Ask::Failed(text) => {
                    // Runc's words, which scripts and people search for.
                    let doing = "unable to start container process";
                    let inside = if answers.plan.is_some() { ": error during container init" } else { "" };
                    return Err(Error::new(text).during(&format!("{doing}{inside}")));
                }
                Ask::End => return Err(self.vanished()),
                Ask::Warning(text) => {
                    answers.runtime.warn(&text);
                    continue;
                }
                Ask::Debug(text) => {
                    answers.runtime.debug(&text);
                    continue;
                }
                Ask::Map => self.map(answers),
                Ask::Staged(pidfd) if self.between => {
                    // The one in between has done its part; the new process is a child of ours too. Which process it
                    // is tells the kernel: who speaks here may be one that the container's processes can trace.
                    let pid = hull_sys::pidfd::number(pidfd.as_fd()).what(|| "the container's process is gone")?;
                    let between = std::mem::replace(&mut self.child, Child { pid, pidfd });
                    self.between = false;
                    // It goes on while the other's memory is being torn down.
                    self.sync.go()?;
                    hull_sys::pidfd::reap(between.pidfd.as_fd()).what(|| "cannot wait for a process")?;
                    continue;
                }
                Ask::Source(index) => {
                    match self.open_source(answers, index) {
                        // The process in between has answered already.
                        Ok(()) => continue,
                        Err(e) => Err(e),
                    }
                }
                Ask::Device(index) => match self.device(answers, index) {
                    Ok(device) => {
                        self.sync.give(device.as_fd())?;
                        continue;
                    }
                    Err(e) => Err(e),
                },
                Ask::Module(file, name, function) => {
                    match answers.runtime.boot(&answers.booted, file, &name, &function) {
                        Ok(given) => {
                            self.sync.give_all(&crate::engine::both(&given))?;
                            continue;
                        }
                        Err(e) => Err(e),
                    }
                }
                Ask::Hooks => self.hooks(answers),
                Ask::Console(master) => {
                    self.console = Some(master);
                    Ok(())
                }
                Ask::NotExecuted(text) => return Err(Error::not_executed(text)),
                Ask::Staged(_) => Err(Error::new("a process in between came too late")),
                Ask::Listener(..) => Err(Error::new("a seccomp listener came too early")),
                Ask::Mount(..) => Err(Error::new("a process that should not told of a mount")),
            };
            match done {
                Ok(()) => self.sync.go()?,
                Err(e) => {
                    // It may be gone already; the cause is what counts.
                    let _ = self.sync.refuse(&e.to_string());
                    return Err(e);
                }
            }
        }
    }

    fn map(&self, answers: &Answers<'_>) -> Result<()> {
        let maps = answers.plan.and_then(|p| p.maps.as_ref());
        let maps = maps.ok_or_else(|| Error::new("a process that should not asked for id maps"))?;
        crate::ids::write_maps(self.child.pid, maps)
    }

    fn hooks(&self, answers: &Answers<'_>) -> Result<()> {
        if let Some(plan) = answers.plan {
            crate::netdev::move_all(&plan.net_devices, self.child.pid)?;
        }
        (answers.hooks)(self.child.pid)
    }

    fn device(&self, answers: &Answers<'_>, index: usize) -> Result<OwnedFd> {
        let plan = answers.plan.ok_or_else(|| Error::new("a process that should not asked for a device"))?;
        let device = plan.devices.as_ref().and_then(|d| d.get(index));
        hull_jail::device_for(device.ok_or_else(|| Error::new("a device that is not in the plan"))?, plan)
    }

    fn open_source(&self, answers: &Answers<'_>, index: usize) -> Result<()> {
        let plan = answers.plan.ok_or_else(|| Error::new("a process that should not asked for a mount"))?;
        let opener = source_opener(&self.child, &self.sync, plan, index, answers.idmaps)?;
        hull_sys::pidfd::reap(opener.pidfd.as_fd()).what(|| "cannot wait for a process").map(drop)
    }

    /// Listens after the last word was given: until exec closed the socket, or failed.
    pub(crate) fn until_exec(&self, runtime: &Runtime, spec: &Spec, deliver: &Deliver<'_>) -> Result<()> {
        until_exec(runtime, &self.sync, &self.child.pidfd, spec, deliver)
    }

    /// The process ended without a word: killed, mostly.
    fn vanished(&self) -> Error {
        match hull_sys::pidfd::reap(self.child.pidfd.as_fd()) {
            Ok(Ended::Signal(n)) => killed(n),
            Ok(Ended::Code(c)) => {
                Error::new(format!("the container's process ended with status {c} while it was being made"))
            }
            Err(_) => Error::new("the container's process ended while it was being made"),
        }
    }

    /// Makes sure, where nobody waits for the process, that its silence means that its program runs.
    pub(crate) fn check_executed(&self) -> Result<()> {
        if crate::state::never_executed(self.child.pid) { Err(self.vanished()) } else { Ok(()) }
    }

    /// Ends the process and reaps it.
    pub(crate) fn abandon(&self) {
        let _ = hull_sys::pidfd::send_signal(self.child.pidfd.as_fd(), libc::SIGKILL);
        let _ = hull_sys::pidfd::reap(self.child.pidfd.as_fd());
    }
}

fn killed(signal: i32) -> Error {
    let hint = if signal == libc::SIGKILL { " (out of memory, if its limit is small?)" } else { "" };
    Error::new(format!("the container's process was killed by signal {signal} while it was being made{hint}"))
}

/// Reaps a process whose program was to run. That it was killed before is no exit code of the program.
pub(crate) fn reap(child: &Child) -> Result<Ended> {
    let early = matches!(hull_sys::pidfd::peek(child.pidfd.as_fd()), Ok(Some(Ended::Signal(_))))
        && crate::state::never_executed(child.pid);
    match hull_sys::pidfd::reap(child.pidfd.as_fd()).what(|| "cannot wait for the container's process")? {
        Ended::Signal(n) if early => Err(killed(n)),
        ended => Ok(ended),
    }
}

/// A mount namespace and a root to return to.
struct Here {
    namespace: OwnedFd,
    root: OwnedFd,
}

impl Here {
    fn new() -> Result<Here> {
        let open = |path: &str, flags: OFlags| {
            rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty()).what(|| format!("cannot open \"{path}\""))
        };
        Ok(Here { namespace: open("/proc/self/ns/mnt", OFlags::RDONLY)?, root: open("/", OFlags::PATH | OFlags::DIRECTORY)? })
    }

    fn back(self) -> Result<()> {
        let doing = || "cannot return to the host's mount namespace";
        clone::setns(self.namespace.as_fd(), flags::NEWNS).what(doing)?;
        rustix::process::fchdir(&self.root).what(doing)?;
        rustix::process::chroot(".").what(doing)
    }
}

/// Makes a process that opens a mount's source in the mount namespace of `child` with hull's own rights, and answers
/// `sync` in hull's place.
pub(crate) fn source_opener(child: &Child, sync: &Sync, plan: &Plan, index: usize, idmaps: &[OwnedFd]) -> Result<Child> {
    let mount = plan.mounts.get(index).ok_or_else(|| Error::new("a mount that is not in the plan"))?;
    // SAFETY: who asked for a container or a visit to one checked that this process has one thread.
    match unsafe { clone::clone3(0, None) }.what(|| "cannot make a process")? {
        Side::Child => {
            let here = Here::new();
            let is_new = plan.new & flags::NEWNS != 0;
            let opened = clone::setns(child.pidfd.as_fd(), flags::NEWNS)
                .what(|| "cannot enter the container's mount namespace")
                .and_then(|()| hull_jail::source_for(mount, idmaps));
            let opened = match opened {
                // What is mounted below it can't be left out there, since the container has no right to look
                // behind it; on the host it can. Not for a namespace that is joined: whoever owns it may have
                // put there what fails, and another file has that name on the host.
                Err(e) if is_new && e.errno() == Some(libc::EINVAL) => {
                    here.and_then(Here::back).and_then(|()| hull_jail::source_for(mount, idmaps))
                }
                other => other,
            };
            let said = match opened {
                Ok(tree) => sync.give(tree.as_fd()),
                Err(e) => sync.refuse(&e.to_string()),
            };
            clone::exit_now(i32::from(said.is_err()))
        }
        Side::Parent(opener) => Ok(opener),
    }
}

/// Hands a seccomp listener to its agent.
pub(crate) type Deliver<'a> = dyn Fn(&OwnedFd) -> Result<()> + 'a;

/// See [`Conversation::until_exec`]; for a process that is not a child too.
pub(crate) fn until_exec(
    runtime: &Runtime,
    sync: &Sync,
    process: &OwnedFd,
    spec: &Spec,
    deliver: &Deliver<'_>,
) -> Result<()> {
    // Once, and where config.json asks for it: it makes this process write to the memory of the other.
    let mut expected = spec.linux().seccomp.as_ref().is_some_and(|s| !s.listener_path.as_os_str().is_empty());
    loop {
        match sync.asked()? {
            Ask::End => return Ok(()),
            Ask::Failed(text) => return Err(Error::new(text).during("unable to start container process")),
            Ask::NotExecuted(text) => return Err(Error::not_executed(text)),
            Ask::Warning(text) => runtime.warn(&text),
            Ask::Debug(text) => runtime.debug(&text),
            Ask::Listener(number, address) if expected => {
                expected = false;
                let fd = crate::listener::take(process.as_fd(), number)?;
                let answered = hull_sys::pidfd::number(process.as_fd()).and_then(|pid| hull_sys::pidfd::poke(pid, address, 1));
                answered.what(|| "linux.seccomp: cannot answer the container's process")?;
                deliver(&fd)?;
            }
            other => return Err(Error::new(format!("an unexpected message of the container's process: {other:?}"))),
        }
    }
}

/// Sends a descriptor to a socket that an engine listens on.
pub(crate) fn send_to(path: &Path, what: &str, fd: &OwnedFd, payload: &str) -> Result<()> {
    let shown = || format!("cannot send {what} to \"{}\"", path.display());
    let socket = std::os::unix::net::UnixStream::connect(path).what(shown)?;
    hull_sys::socket::send(socket.as_fd(), payload.as_bytes(), &[fd.as_fd()]).map(drop).what(shown)
}

/// Writes a process id file, whole or not at all.
pub(crate) fn write_pid(path: &Path, pid: i32) -> Result<()> {
    let shown = || format!("cannot write the pid file \"{}\"", path.display());
    let name = path.file_name().ok_or_else(|| Error::new(format!("\"{}\" is no file name", path.display())))?;
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    let temporary = path.with_file_name(temporary);
    // What lies there may be another's link, to be replaced and not followed.
    match std::fs::remove_file(&temporary) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).what(shown),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o644);
    let mut file = options.open(&temporary).what(shown)?;
    std::io::Write::write_all(&mut file, pid.to_string().as_bytes()).what(shown)?;
    std::fs::rename(&temporary, path).what(shown)
}

//! Adding a process to a running container.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags};

use hull_jail::join::Join;
use hull_jail::sync::Sync;
use hull_spec::{Process, Spec};
use hull_sys::clone::{self, Side, flags};

use crate::child::{Answers, Conversation};
use crate::engine::Booted;
use crate::create::one_thread;
use crate::documents::deliver;
use crate::state::{Dir, State, Status};
use crate::{Context as _, Error, Result, Runtime, cgroup_error};

/// What the caller wants of the new process.
#[derive(Debug, Default)]
pub struct ExecOptions {
    /// Return when the program runs.
    pub detach: bool,
    /// Socket for the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket for a pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// File for the process id.
    pub pid_file: Option<PathBuf>,
    /// Descriptors after 2 that it inherits.
    pub preserve_fds: u32,
    /// Sub-groups of the container's cgroup.
    pub cgroup: Vec<String>,
    /// Go on in a paused container.
    pub ignore_paused: bool,
}

impl Runtime {
    /// config.json of a container, as it was when it was made.
    ///
    /// # Errors
    /// Where there is no such container.
    pub fn spec_of(&self, id: &str) -> Result<Spec> {
        Dir::open(self, id)?.spec()
    }

    /// Runs a process in a container; the result is its exit code, 0 when detached.
    ///
    /// # Errors
    /// Where the container does not run, and where the program can't be executed.
    pub fn exec(&self, id: &str, process: &Process, options: &ExecOptions) -> Result<i32> {
        let mut talk = self.execute(id, process, options)?;
        if options.detach {
            return talk.check_executed().map(|()| 0);
        }
        Ok(crate::console::wait(&talk.child, talk.console.take(), None)?.code())
    }

    /// Runs a process in a container and returns its process id when it runs; [`ExecOptions::detach`] has to be set. The
    /// process is the caller's child.
    ///
    /// # Errors
    /// As [`Runtime::exec`].
    pub fn exec_detached(&self, id: &str, process: &Process, options: &ExecOptions) -> Result<i32> {
        let talk = self.execute(id, process, options)?;
        talk.check_executed().map(|()| talk.child.pid)
    }

    /// Up to the moment that the program runs.
    fn execute(&self, id: &str, process: &Process, options: &ExecOptions) -> Result<Conversation> {
        one_thread()?;
        let dir = Dir::open(self, id)?;
        let state = dir.state()?;
        match state.status(&dir.path) {
            Status::Running | Status::Created => {}
            Status::Paused if options.ignore_paused => {}
            Status::Paused => return Err(Error::new("cannot exec in a paused container (use --ignore-paused to override)")),
            Status::Stopped => return Err(Error::new("cannot exec in a stopped container: container not running")),
            Status::Creating => return Err(Error::new("cannot exec in a container that is being created")),
        }
        let detached = options.detach;
        match (process.terminal, &options.console_socket) {
            (true, None) if detached => {
                return Err(Error::new("cannot allocate tty if hull will detach without setting console socket: use --console-socket"));
            }
            (_, Some(_)) if !detached || !process.terminal => {
                return Err(Error::new("cannot use console socket if hull will not detach or allocate tty"));
            }
            _ => {}
        }
        let spec = dir.spec()?;
        let linux = spec.linux();
        let filter = linux.seccomp.as_ref().map(|s| self.compile(&spec, s)).transpose()?;
        let mut warnings = Vec::new();
        let mut plan = hull_jail::plan::process_plan(process, filter, &mut warnings)?;
        warnings.iter().for_each(|w| self.warn(w));
        plan.take_container(&linux)?;
        if let Some(container) = &spec.process {
            plan.take_labels(container);
        }
        let (preserve, extra) = self.inherited_fds(options.preserve_fds)?;
        plan.preserve_fds = preserve;
        plan.keyring = (!state.no_new_keyring)
            .then(|| std::ffi::CString::new(format!("_ses.{id}")))
            .transpose()
            .map_err(|_| Error::new("container id: has a NUL byte"))?;
        plan.debug = self.verbose;
        let guest = hull_guest::find(&state.isolation).map_err(|e| Error::new(e.to_string()))?;
        self.engage(guest, &spec, &mut plan, None)?;
        for entry in extra {
            plan.env.push(std::ffi::CString::new(entry).map_err(|_| Error::new("LISTEN_FDNAMES has a NUL byte"))?);
        }
        plan.keep_groups = spec.known_annotations().keep_original_groups();
        if plan.keep_groups || self.rootless && process.user.additional_gids.is_empty() {
            plan.groups = None;
        }
        if let Some(initial) = process.exec_cpu_affinity.as_ref().map(|a| a.initial.as_str()).filter(|t| !t.is_empty()) {
            let mask = hull_jail::plan::bit_list("process.execCPUAffinity.initial", initial)?;
            hull_sys::sched::set_affinity(0, &mask).what(|| "process.execCPUAffinity.initial: cannot bind to these CPUs")?;
        }
        let target = state.process()?;
        let cgroup = match state.cgroup.as_ref().filter(|c| !c.is_empty()) {
            Some(c) if options.cgroup.is_empty() => Some(c.clone()),
            Some(c) => Some(c.subgroup(&options.cgroup).map_err(cgroup_error)?),
            None if options.cgroup.is_empty() => None,
            None => return Err(Error::new("--cgroup: the container has no cgroup")),
        };
        // Where the container's first process is, should its own cgroup take no process any more.
        let beside = || match &state.cgroup {
            Some(c) if options.cgroup.is_empty() => {
                // What was found by the number is that process's only if it has not ended meanwhile.
                c.enter_fd_beside(state.pid).ok().flatten().filter(|_| state.alive())
            }
            _ => None,
        };
        let mut entry = match cgroup.as_ref().map(|c| c.enter_fd().map_err(cgroup_error)).transpose() {
            Ok(entry) => entry.flatten(),
            Err(e) => Some(beside().ok_or(e)?),
        };
        let task_files = cgroup.as_ref().map(|c| c.task_files().map_err(cgroup_error)).transpose()?.unwrap_or_default();
        let chroot = if state.namespaces & flags::NEWNS == 0 { Some(root_of(&state)?) } else { None };
        let ahead = state.namespaces & flags::NEWPID == 0 && !process.terminal && plan.engine.is_none();
        // The directory is needed no more, and nobody else may hold its lock: a process cloned into a frozen cgroup
        // would keep it, and so keep away whoever wants to thaw.
        drop(dir);
        let (ours, theirs) = hull_sys::socket::pair().what(|| "cannot make a socket pair")?;
        // A process in between hands its group on to its child.
        // SAFETY: one_thread() above; nothing here has begun another.
        let mut made = unsafe { clone::clone3(0, entry.as_ref().map(AsFd::as_fd)) };
        if let Err(e) = &made
            && matches!(e.raw_os_error(), Some(libc::EBUSY | libc::ENODEV))
            && let Some(fd) = beside()
        {
            entry = Some(fd);
            // SAFETY: as above.
            made = unsafe { clone::clone3(0, entry.as_ref().map(AsFd::as_fd)) };
        }
        let doing = if entry.is_some() { "error adding pid of the new process to cgroups" } else { "cannot make the process" };
        let child = match made.what(|| doing)? {
            Side::Child => {
                drop(ours);
                let (process, sync, target) = (&plan, Sync::new(theirs), target.as_fd());
                Join { process, sync, target, namespaces: state.namespaces, chroot, ahead, task_files }.run()
            }
            Side::Parent(child) => child,
        };
        drop(theirs);
        let mut talk = Conversation::new(child, Sync::new(ours), state.namespaces & flags::NEWPID != 0);
        let ready = self.make_ready(&mut talk, options, ahead, Booted { guest, spec: &spec }, &|pid, fd| {
            deliver(&state, &spec, pid, "running", fd)
        });
        if let Err(e) = ready {
            talk.abandon();
            if let Some(file) = &options.pid_file {
                // Written early, perhaps; nobody is to look for a process that never was.
                let _ = std::fs::remove_file(file);
            }
            return Err(e);
        }
        Ok(talk)
    }

    fn make_ready(
        &self,
        talk: &mut Conversation,
        options: &ExecOptions,
        ahead: bool,
        booted: Booted<'_>,
        deliver: &dyn Fn(i32, &OwnedFd) -> Result<()>,
    ) -> Result<()> {
        let hooks = |_| Ok(());
        if !ahead {
            talk.until_ready(&Answers { runtime: self, booted, plan: None, idmaps: &[], hooks: &hooks })?;
        }
        let pid = talk.child.pid;
        if let Some(socket) = &options.console_socket
            && let Some(master) = talk.console.take()
        {
            let name = format!("/dev/pts/{}", hull_sys::tty::number_of(master.as_fd()).unwrap_or(0));
            crate::child::send_to(socket, "the terminal", &master, &name)?;
        }
        if let Some(socket) = &options.pidfd_socket {
            crate::child::send_to(socket, "the pidfd", &talk.child.pidfd, "pidfd")?;
        }
        if let Some(file) = &options.pid_file {
            crate::child::write_pid(file, pid)?;
        }
        if !options.detach {
            // From here on a signal may be meant for the program; it waits until it can be passed on.
            hull_sys::signal::block_all();
            crate::console::begin(talk.console.as_ref());
        }
        match talk.sync.go() {
            // A child that failed is heard of below.
            Err(_) if ahead => {}
            other => other?,
        }
        talk.until_exec(self, booted.spec, &|fd| deliver(pid, fd))
    }
}

/// The root directory of a process that has no mount namespace of its own.
fn root_of(state: &State) -> Result<OwnedFd> {
    let path = format!("/proc/{}/root", state.pid);
    let root = rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .what(|| format!("cannot open \"{path}\""))?;
    // The number may have become another's: then this is some directory of the host's.
    if state.alive() { Ok(root) } else { Err(Error::new("container not running")) }
}

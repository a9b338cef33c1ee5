//! The way of a process that exec adds: join the container's namespaces, become the user, execute.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use hull_sys::clone::{self, Side, flags};

use crate::error::{Context as _, Error, Result};
use crate::caps::SYS_NICE;
use crate::process::{HostProc, ProcessPlan, Strings};
use crate::program::{Engine, Program};
use crate::root::Root;
use crate::sync::{Ask, Sync};

/// What an added process is given.
#[derive(Debug)]
pub struct Join<'a> {
    /// Identity, limits, program.
    pub process: &'a ProcessPlan,
    /// Its end of the socket to the parent.
    pub sync: Sync,
    /// The container's first process.
    pub target: BorrowedFd<'a>,
    /// CLONE_NEW* of the namespaces that differ from hull's.
    pub namespaces: u64,
    /// The container's root where it has no mount namespace of its own.
    pub chroot: Option<OwnedFd>,
    /// Whether the order to go on is sent ahead, as there is nothing that the parent has to answer before.
    pub ahead: bool,
    /// The `tasks` file of each v1 group, for this process to enter by itself.
    pub task_files: Vec<OwnedFd>,
}

impl Join<'_> {
    /// Becomes the workload. Never returns.
    pub fn run(mut self) -> ! {
        let ready = self.prepare().and_then(|ready| self.process.finish(&ready.0, &self.sync).map(|()| ready));
        let error = match ready {
            Ok((program, strings)) => self.process.exec(&program, &strings, &self.sync),
            Err(e) => e,
        };
        let _ = self.sync.ask(&Ask::Failed(error.to_string()));
        clone::exit_now(255)
    }

    fn prepare(&mut self) -> Result<(Program, Strings)> {
        let kept = self.task_files.iter().map(AsRawFd::as_raw_fd).chain(self.chroot.iter().map(AsRawFd::as_raw_fd));
        let kept = kept.chain(self.process.engine.iter().flat_map(Engine::descriptors));
        let kept = kept.chain([self.sync.as_fd().as_raw_fd(), self.target.as_raw_fd()]);
        let kept = kept.chain(hull_sys::fs::passed(self.process.preserve_fds));
        // SAFETY: this process is a copy of its parent and never returns from run().
        unsafe { hull_sys::fs::close_all_but(3, &mut kept.collect::<Vec<_>>()) }
            .what(|| "cannot close inherited descriptors")?;
        hull_sys::signal::reset();
        hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
        self.process.debug_begin(&self.sync)?;
        let proc = HostProc::open()?;
        let scheduler = self.process.apply_limits(&proc)?;
        self.process.label_keys(&proc)?;
        drop(proc);
        // The container's processes must not be able to trace this one, nor to look at its descriptors
        // (CVE-2016-9962).
        hull_sys::prctl::set_dumpable(false).what(|| "cannot make the process undumpable")?;
        if self.namespaces != 0 {
            clone::setns(self.target, self.namespaces).what(|| "cannot join the container's namespaces")?;
        }
        if self.namespaces & flags::NEWUSER != 0 {
            crate::stage::become_root(self.process.keep_groups)?;
        }
        if let Some(root) = self.chroot.take() {
            rustix::process::fchdir(&root).what(|| "cannot enter the container's root")?;
            rustix::process::chroot(".").what(|| "cannot enter the container's root")?;
        }
        self.process.join_keyring()?;
        let terminal = self.make_terminal()?;
        // No descriptor of the host's may serve as a working directory (CVE-2024-21626).
        rustix::process::chdir(Path::new("/")).what(|| "cannot enter \"/\"")?;
        let program = self.process.become_user()?.boot(self.process, &self.sync)?;
        let more = if scheduler.is_some() { 1 << SYS_NICE } else { 0 };
        let strings = self.process.confine(&program, more, &self.sync)?;
        // Only now a process comes to be that the container's processes can see. Even one that may trace it all the same
        // (with CAP_SYS_PTRACE) finds no directory of the host in it, as root or by a descriptor, and no more rights
        // than the program is to have, but for SYS_ADMIN where a filter without noNewPrivileges is still to be loaded.
        if self.namespaces & flags::NEWPID != 0 {
            // SAFETY: this process came from a clone of a process with one thread, and has one itself.
            match unsafe { clone::clone3(flags::PARENT, None) }.what(|| "cannot make the process")? {
                Side::Parent(child) => {
                    self.sync.ask(&Ask::Staged(child.pidfd))?;
                    clone::exit_now(0)
                }
                Side::Child => {
                    hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
                    self.wait()?;
                }
            }
        }
        // Here, and not before: the process in between would count against the container's limit.
        crate::init::enter_groups(&mut self.task_files)?;
        self.process.set_cpus(&self.sync)?;
        self.process.debug(&self.sync, || "child process in init(): in the container's namespaces".into())?;
        if let Some(attr) = scheduler {
            self.process.set_scheduler(attr)?;
        }
        if self.process.wants_label() {
            // Opened by the process that writes it: the kernel takes a label from no other.
            self.process.label(&self.process.attributes(&HostProc::private()?)?)?;
        }
        rustix::process::setsid().what(|| "cannot begin a session")?;
        if let Some(slave) = terminal {
            crate::terminal::adopt(&slave)?;
        }
        hull_sys::prctl::set_parent_death_signal(0).what(|| "prctl")?;
        self.process.debug(&self.sync, || {
            let program = self.process.args.first().map(|a| a.to_string_lossy().into_owned());
            format!("setns_init: about to exec {}", program.unwrap_or_default())
        })?;
        if !self.ahead {
            self.sync.ask(&Ask::Ready)?;
        }
        self.wait()?;
        Ok((program, strings))
    }

    fn make_terminal(&self) -> Result<Option<OwnedFd>> {
        if !self.process.terminal {
            return Ok(None);
        }
        let here = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let root = Root::new(here.what(|| "cannot open the container's root")?);
        crate::terminal::make(&root, self.process, &self.sync, false).map(Some)
    }

    fn wait(&self) -> Result<Vec<OwnedFd>> {
        self.sync.answer()?.ok_or_else(|| Error::new("the runtime is gone"))
    }
}

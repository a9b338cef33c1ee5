//! The way of the container's first process, from clone to exec.
//!
//! Walks the plan in one order; every failure goes to the parent as text, and the process ends.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Mode, OFlags};

use hull_spec::state::State;
use hull_sys::clone::{self, flags};
use hull_sys::mount::{self, Change, attr};

use crate::error::{Context as _, Error, Result};
use crate::hooks::Surroundings;
use crate::mounts::Mounter;
use crate::plan::{About, Plan, RootSource};
use crate::process::HostProc;
use crate::program::Engine;
use crate::root::Root;
use crate::sync::{Ask, Sync};

/// What the child is given beside the plan.
#[derive(Debug)]
pub struct Init<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Its end of the socket to the parent.
    pub sync: Sync,
    /// Namespaces to join, opened.
    pub joins: Vec<(u64, OwnedFd)>,
    /// User namespaces of id-mapped mounts.
    pub idmaps: Vec<OwnedFd>,
    /// Where `start` will connect; `None` when the program is to run at once.
    pub gate: Option<OwnedFd>,
    /// The `tasks` file of each v1 group, for this process to enter by itself.
    pub task_files: Vec<OwnedFd>,
}

/// What the last steps need.
struct Ready {
    program: crate::program::Program,
    strings: crate::process::Strings,
    /// Process id as the host sees it.
    pid: i32,
}

impl Init<'_> {
    /// Becomes the workload. Never returns.
    pub fn run(mut self) -> ! {
        let process = &self.plan.process;
        let ready = self.prepare().and_then(|ready| {
            self.wait_for_start()?;
            // The hooks run in the container, with no more rights than its program.
            process.finish(&ready.program, &self.sync)?;
            self.start_hooks(ready.pid)?;
            Ok((ready.program, ready.strings))
        });
        let error = match ready {
            Ok((program, strings)) => process.exec(&program, &strings, &self.sync),
            Err(e) => e,
        };
        // Where the parent is gone there is nobody left to tell.
        let _ = self.sync.ask(&Ask::Failed(error.to_string()));
        clone::exit_now(1)
    }

    fn prepare(&mut self) -> Result<Ready> {
        let plan = self.plan;
        let kept = self.joins.iter().map(|j| j.1.as_raw_fd()).chain(self.idmaps.iter().map(AsRawFd::as_raw_fd));
        let kept = kept.chain(self.task_files.iter().map(AsRawFd::as_raw_fd));
        let kept = kept.chain(self.gate.iter().map(AsRawFd::as_raw_fd));
        let kept = kept.chain(plan.process.engine.iter().flat_map(Engine::descriptors));
        let kept = kept.chain([self.sync.as_fd().as_raw_fd()]).chain(hull_sys::fs::passed(plan.process.preserve_fds));
        // The parent's locks, logs and the like are not this process's to hold open until it executes.
        // SAFETY: this process is a copy of its parent and never returns from run().
        unsafe { hull_sys::fs::close_all_but(3, &mut kept.collect::<Vec<_>>()) }
            .what(|| "cannot close inherited descriptors")?;
        hull_sys::signal::reset();
        hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
        plan.process.debug_begin(&self.sync)?;
        if plan.needs_stage() {
            crate::stage::pass(plan, &self.joins, &self.sync)?;
            hull_sys::signal::reset();
            hull_sys::prctl::set_parent_death_signal(libc::SIGKILL).what(|| "prctl")?;
            // The parent learns of this process by the message before; it answers when it has taken charge.
            self.wait()?;
        } else {
            if plan.maps.is_some() {
                crate::stage::ask_maps(&self.sync)?;
                crate::stage::become_root(plan.process.keep_groups)?;
            }
            crate::stage::join(&self.joins)?;
            crate::stage::hide()?;
            if plan.made_as_root() != 0 {
                clone::unshare(plan.made_as_root()).what(|| "cannot make an IPC namespace")?;
            }
        }
        self.joins.clear();
        enter_groups(&mut self.task_files)?;
        plan.process.set_cpus(&self.sync)?;
        plan.process.debug(&self.sync, || "child process in init(): in its namespaces".into())?;
        rustix::process::setsid().what(|| "cannot begin a session")?;
        hull_sys::prctl::umask(0);
        self.set_names()?;
        if plan.new & flags::NEWNET != 0 {
            hull_sys::net::loopback_up().what(|| "cannot bring the loopback device up")?;
        }
        if plan.new_cgroup_ns {
            clone::unshare(flags::NEWCGROUP).what(|| "cannot make a cgroup namespace")?;
        }
        let proc = HostProc::open()?;
        plan.process.label_keys(&proc)?;
        plan.process.join_keyring()?;
        if plan.mount_label.is_some() {
            proc.need_selinux("linux.mountLabel")?;
        }
        let attributes = plan.process.attributes(&proc)?;
        let own_ns = self.isolate_mounts()?;
        let mut root = self.open_root()?;
        let mut mounter = Mounter::new(plan, &mut root, &self.sync, &self.idmaps);
        mounter.mount_all()?;
        if let Some(devices) = &plan.devices {
            crate::devices::make(mounter.root, devices, plan.in_userns, &self.sync)?;
        }
        if plan.parent_hooks {
            self.sync.ask(&Ask::Hooks)?;
            self.wait()?;
        }
        if !plan.create_container.is_empty() {
            // Hooks written for runc find the container's root where they begin.
            rustix::process::fchdir(&*mounter.root).what(|| "cannot enter the root")?;
        }
        run_hooks(plan, "createContainer", &plan.create_container, proc.own_pid().unwrap_or(0), "creating", &plan.hook_output)?;
        if plan.process.terminal {
            crate::terminal::adopt(&crate::terminal::make(mounter.root, &plan.process, &self.sync, true)?)?;
        } else {
            crate::devices::reopen_null(mounter.root);
        }
        // A missing working directory is made, as engines rely on it; never through a link out of the root.
        if let Err(e) = mounter.root.make_directory(&plan.process.cwd) {
            return Err(e).what(|| format!("process.cwd: cannot make or enter \"{}\"", plan.process.cwd.display()));
        }
        if plan.process.engine.is_some() {
            // Nor may one come to be there later, when the host mounts it where a bind's source is.
            let private = Change { propagation: libc::MS_PRIVATE, recursive: true, ..Change::default() };
            mount::set_attributes(mounter.root.as_fd(), private).what(|| "cannot cut the container's mounts off from the host's")?;
            crate::protect::no_procfs(&path_of(mounter.root)?, &proc)?;
        }
        let places = mounter.finish()?;
        for (path, value) in &plan.sysctls {
            proc.write(path, value).map_err(|e| e.during("linux.sysctl"))?;
        }
        crate::protect::read_only(&places, &plan.readonly)?;
        crate::protect::mask(&places, &plan.masked, plan.mount_label.as_ref())?;
        drop(places);
        if plan.root_readonly {
            let change = Change { set: attr::RDONLY, ..Change::default() };
            mount::set_attributes(root.as_fd(), change).what(|| "root.readonly: cannot make the root read-only")?;
        }
        let own_pid = proc.own_pid();
        if let Some(attr) = plan.process.apply_limits(&proc)? {
            plan.process.set_scheduler(attr)?;
        }
        drop(proc);
        self.enter_root(root, own_ns)?;
        let program = plan.process.become_user()?.boot(&plan.process, &self.sync)?;
        plan.process.label(&attributes)?;
        let strings = plan.process.confine(&program, 0, &self.sync)?;
        plan.process.debug(&self.sync, || "init: closing the pipe to signal completion".into())?;
        if self.gate.is_some() {
            // A container that waits can be ended by a signal, as one whose program runs. It must be so before the
            // caller of `create` hears that it waits.
            hull_sys::signal::end_on_request();
        }
        if plan.asks_nothing() {
            // The parent's word was sent ahead: this process is on record, and its limits are in force.
            self.wait()?;
            self.settle_parent()?;
            if self.gate.is_some() {
                self.sync.ask(&Ask::Ready)?;
            }
        } else {
            // From here on the parent may end without this process ending: it waits for `start`.
            self.settle_parent()?;
            self.sync.ask(&Ask::Ready)?;
            self.wait()?;
        }
        Ok(Ready { program, strings, pid: own_pid.unwrap_or(0) })
    }

    /// Lets the parent end without this process, or binds it to the parent for good.
    fn settle_parent(&self) -> Result<()> {
        let signal = if self.plan.ends_with_parent { libc::SIGKILL } else { 0 };
        // The change of user has undone what was set before.
        hull_sys::prctl::set_parent_death_signal(signal).what(|| "prctl")?;
        match self.plan.ends_with_parent && self.sync.is_closed()? {
            true => Err(Error::new("the runtime is gone")),
            false => Ok(()),
        }
    }

    /// Waits for the parent's word.
    fn wait(&self) -> Result<Vec<OwnedFd>> {
        self.sync.answer()?.ok_or_else(|| Error::new("the runtime is gone"))
    }

    fn set_names(&self) -> Result<()> {
        let plan = self.plan;
        if !plan.hostname.is_empty() {
            rustix::system::sethostname(plan.hostname.as_bytes()).what(|| "hostname: cannot set it")?;
        }
        if !plan.domainname.is_empty() {
            rustix::system::setdomainname(plan.domainname.as_bytes()).what(|| "domainname: cannot set it")?;
        }
        Ok(())
    }

    /// Cuts the new mount namespace off from the host's, so that nothing made here appears there. Returns that
    /// namespace where its root isn't this process's.
    fn isolate_mounts(&self) -> Result<Option<OwnedFd>> {
        if !self.plan.has_mount_ns() {
            return Ok(None);
        }
        let change = || mount::mount_classic(None, c"/", None, self.plan.isolation(), None);
        match change() {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {}
            other => return other.what(|| "cannot set the propagation of \"/\"").map(|()| None),
        }
        // hull runs in a chroot whose "/" is no mount point. Joining one's own mount namespace leads to its true
        // root, which is one; then back, to resolve host paths as the caller sees them. pivot_root will need it again.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let old = rustix::fs::open("/", flags, Mode::empty()).what(|| "cannot open \"/\"")?;
        let cwd = rustix::fs::open(".", flags, Mode::empty()).what(|| "cannot open \".\"")?;
        let own = rustix::fs::open("/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .what(|| "cannot open \"/proc/self/ns/mnt\"")?;
        clone::setns(own.as_fd(), flags::NEWNS).what(|| "cannot enter the root of the mount namespace")?;
        change().what(|| "cannot set the propagation of \"/\"")?;
        rustix::process::fchdir(&old).what(|| "cannot return to the old root")?;
        rustix::process::chroot(".").what(|| "cannot return to the old root")?;
        rustix::process::fchdir(&cwd).what(|| "cannot return to the working directory")?;
        Ok(Some(own))
    }

    /// Makes the root a mount of its own and opens it.
    fn open_root(&self) -> Result<Root> {
        let path = match &self.plan.root {
            RootSource::Host(overlay) => return crate::overlay::build(overlay, &self.sync, self.plan.in_userns).map(Root::new),
            RootSource::Directory(path) => path,
        };
        let doing = || format!("root.path: cannot open \"{}\"", path.display());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).what(doing)?;
        let own = self.plan.has_mount_ns();
        if !own && !self.plan.root_readonly {
            return Ok(Root::new(fd));
        }
        if own && self.plan.propagation & (libc::MS_SHARED | libc::MS_UNBINDABLE) != 0 {
            make_parent_private(&fd).map_err(|e| e.during(&doing()))?;
        }
        let tree = mount::open_tree_clone(fd.as_fd(), c"", true, false).what(doing)?;
        // pivot_root wants a root that is not shared.
        let private = Change { propagation: libc::MS_PRIVATE, ..Change::default() };
        mount::set_attributes(tree.as_fd(), private).what(doing)?;
        mount::move_mount(tree.as_fd(), fd.as_fd()).what(doing)?;
        Ok(Root::new(tree))
    }

    /// Makes the container's root the root of this process, and lets go of the old one.
    fn enter_root(&self, root: Root, own_ns: Option<OwnedFd>) -> Result<()> {
        let plan = self.plan;
        if let Some(ns) = own_ns {
            clone::setns(ns.as_fd(), flags::NEWNS).what(|| "cannot enter the root of the mount namespace")?;
        }
        rustix::process::fchdir(&root).what(|| "cannot enter the root")?;
        if !plan.has_mount_ns() {
            rustix::process::chroot(".").what(|| "cannot chroot")?;
        } else if plan.no_pivot {
            hide_host_views(&root)?;
            mount::mount_classic(Some(c"."), c"/", None, libc::MS_MOVE, None).what(|| "cannot move the root to \"/\"")?;
            rustix::process::chroot(".").what(|| "cannot chroot")?;
        } else {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let old = rustix::fs::open("/", flags, Mode::empty()).what(|| "cannot open \"/\"")?;
            mount::pivot_root_here()
                .what(|| "cannot pivot_root (a root on the initial ramfs needs --no-pivot)")?;
            // "." is still the new root for all but umount(2): the old one, on top of it, must be entered by name.
            rustix::process::fchdir(&old).what(|| "cannot enter the old root")?;
            // Its unmounting must not reach the host.
            mount::mount_classic(None, c".", None, libc::MS_SLAVE | libc::MS_REC, None)
                .what(|| "cannot detach the old root from the host")?;
            mount::unmount(c".", libc::MNT_DETACH).what(|| "cannot unmount the old root")?;
        }
        rustix::process::chdir("/").what(|| "cannot enter \"/\"")?;
        let late = plan.propagation & (libc::MS_SHARED | libc::MS_UNBINDABLE) != 0 && plan.has_mount_ns();
        if late {
            mount::mount_classic(None, c"/", None, plan.propagation, None)
                .what(|| "linux.rootfsPropagation: cannot set it")?;
        }
        Ok(())
    }

    /// Waits at the gate; from then on the one who opened it hears of errors.
    fn wait_for_start(&mut self) -> Result<()> {
        let Some(gate) = self.gate.take() else { return Ok(()) };
        loop {
            let connection = hull_sys::socket::accept(gate.as_fd()).what(|| "cannot wait for start")?;
            let caller = Sync::new(connection);
            // A caller that goes away without a word did not start anything.
            if caller.answer()?.is_some() {
                self.sync = caller;
                return Ok(());
            }
        }
    }

    fn start_hooks(&self, pid: i32) -> Result<()> {
        let plan = self.plan;
        if plan.start_container.is_empty() {
            return Ok(());
        }
        let env = plan
            .process
            .environment()
            .iter()
            .filter_map(|e| e.to_str().ok()?.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned())))
            .collect();
        let around = Surroundings { env: Some(env), ..Surroundings::default() };
        run_hooks(plan, "startContainer", &plan.start_container, pid, "created", &around)
    }
}

/// Enters the v1 groups. A lone thread that moves itself by `tasks` spares the kernel the wait for all others that
/// a move of a process by its parent costs: microseconds in place of milliseconds.
pub(crate) fn enter_groups(files: &mut Vec<OwnedFd>) -> Result<()> {
    for file in files.drain(..) {
        rustix::io::write(&file, b"0").what(|| "cannot enter the container's cgroup")?;
    }
    Ok(())
}

fn run_hooks(
    plan: &Plan,
    point: &str,
    hooks: &[hull_spec::Hook],
    pid: i32,
    status: &str,
    around: &Surroundings,
) -> Result<()> {
    if hooks.is_empty() {
        return Ok(());
    }
    let About { id, bundle, annotations } = &plan.about;
    let state = State { oci_version: hull_spec::VERSION, id, status, pid, bundle, annotations };
    let text = serde_json::to_string(&state).map_err(|e| Error::new(format!("cannot tell hooks of the container: {e}")))?;
    crate::hooks::run_all(point, hooks, text.as_bytes(), around)
}

/// Where a root is that has yet to be entered.
fn path_of(root: &Root) -> Result<std::path::PathBuf> {
    let link = rustix::fs::readlink(format!("/proc/self/fd/{}", root.as_fd().as_raw_fd()), Vec::new());
    let link = link.what(|| "cannot tell where the root is")?;
    Ok(std::ffi::OsStr::from_bytes(link.as_bytes()).into())
}

/// Takes the host's own procfs and sysfs out of this mount namespace: without pivot_root they stay in it, out of
/// reach, and the kernel lets a user namespace mount either anew wherever one is there in full.
fn hide_host_views(root: &Root) -> Result<()> {
    let doing = "cannot hide the host's procfs and sysfs";
    let table = hull_sys::mountinfo::own().what(|| doing)?;
    let inside = path_of(root).map_err(|e| e.during(doing))?;
    let views = table.iter().filter(|m| matches!(m.kind.as_str(), "proc" | "sysfs") && !m.point.starts_with(&inside));
    // The last first, so that what is mounted below goes before what it is mounted on.
    for view in views.rev() {
        let shown = || format!("{doing}: \"{}\"", view.point.display());
        let path = std::ffi::CString::new(view.point.as_os_str().as_bytes()).map_err(|_| Error::new(doing))?;
        // Not to unmount it on the host too.
        mount::mount_classic(None, &path, None, libc::MS_SLAVE | libc::MS_REC, None).what(shown)?;
        match mount::unmount(&path, libc::MNT_DETACH) {
            // Locked to the mount below it by a user namespace: covered instead.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EPERM)) => {
                mount::mount_classic(Some(c"tmpfs"), &path, Some(c"tmpfs"), 0, None).what(shown)?;
            }
            other => other.what(shown)?,
        }
    }
    Ok(())
}

/// Keeps what is mounted on the root from appearing on the host where the whole tree is shared: the mount that
/// holds the root's directory is made private.
fn make_parent_private(root: &OwnedFd) -> Result<()> {
    /// STATX_ATTR_MOUNT_ROOT, Linux 5.8.
    const MOUNT_ROOT: u64 = 0x2000;
    let mut dir = rustix::io::dup(root).what(|| "dup")?;
    loop {
        let st = rustix::fs::statx(&dir, "", AtFlags::EMPTY_PATH, rustix::fs::StatxFlags::empty()).what(|| "statx")?;
        if st.stx_attributes.bits() & MOUNT_ROOT != 0 {
            let change = Change { propagation: libc::MS_PRIVATE, ..Change::default() };
            return mount::set_attributes(dir.as_fd(), change).what(|| "cannot make the mount below it private");
        }
        dir = rustix::fs::openat(&dir, "..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .what(|| "cannot open the directory above")?;
    }
}

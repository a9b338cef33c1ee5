//! Making a container: from the bundle to a process that waits at the gate, or runs.
//!
//! Owns the order of things, and undoing them in reverse where a later one fails. All that can be refused is refused
//! by [`Runtime::draft`], before anything was made.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_cgroup::Cgroup;
use hull_jail::init::Init;
use hull_jail::overlay::HostOverlay;
use hull_jail::plan::{Hierarchy, Options, Plan, RootSource, flag_of};
use hull_jail::process::Filter;
use hull_jail::sync::Sync;
use hull_spec::{Hooks, NamespaceKind, Resources, Seccomp, Spec};
use hull_sys::clone::{self, Side};

use crate::bundle::{Bundle, check_console};
use crate::child::{Answers, Conversation};
use crate::documents::hook_text;
use crate::engine::Booted;
use crate::notify::Notify;
use crate::state::{CLOSED_GATE, Dir, GATE, State, check_id, start_time};
use crate::{Context as _, Error, Result, Runtime, cgroup_error};

/// A container thought through, of which nothing exists yet.
struct Draft {
    /// The bundle's directory.
    path: PathBuf,
    spec: Spec,
    plan: Plan,
    state: State,
    host: hull_cgroup::Host,
}

/// The ways into the container's cgroup, for the process to be made.
#[derive(Default)]
struct Entry {
    v2: Option<OwnedFd>,
    v1: Vec<OwnedFd>,
    /// Limits to be set once the process exists.
    later: Option<(Resources, hull_cgroup::State)>,
}

/// A container made and not yet let go; dropping it undoes everything.
pub(crate) struct Launched<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) state: State,
    pub(crate) spec: Spec,
    pub(crate) dir: Option<Dir>,
    pub(crate) talk: Option<Conversation>,
    /// Where the program says that it is ready, if anybody is to hear and it runs at once.
    pub(crate) notify: Option<Notify>,
    /// Whether hooks ran, so that those of the end have to.
    hooks_began: Cell<bool>,
}

impl Drop for Launched<'_> {
    /// Undoes in reverse order: process, cgroup, directory.
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        if let Some(talk) = self.talk.take() {
            talk.abandon();
        }
        if let Some(cgroup) = self.state.own_cgroup()
            && let Err(e) = cgroup.kill_all().and_then(|()| cgroup.delete())
        {
            self.runtime.warn(&format!("cannot clean up: {e}"));
        }
        if let Err(e) = crate::delete::unmount(&self.state).and_then(|()| dir.remove()) {
            self.runtime.warn(&format!("cannot clean up: {e}"));
        }
        if self.hooks_began.get() {
            self.runtime.poststop(&self.state, &self.spec);
        }
    }
}

impl Runtime {
    /// Makes a container; its program waits for [`Runtime::start`].
    ///
    /// # Errors
    /// For a config.json that can't be honoured, and for whatever fails on the way; nothing is left behind then.
    pub fn create(&self, id: &str, bundle: &Bundle) -> Result<State> {
        let launched = self.launch(id, bundle, true)?;
        let (state, _) = launched.keep();
        Ok(state)
    }

    /// Makes all of a container and leaves its process at its last step: at the gate, or with `gate` false before exec.
    pub(crate) fn launch(&self, id: &str, bundle: &Bundle, gate: bool) -> Result<Launched<'_>> {
        check_id(id)?;
        one_thread()?;
        let Draft { path, spec, mut plan, state, host } = self.draft(id, bundle, gate)?;
        // From here on things are made. The directory comes first and says what may exist beside it.
        let mut launched = Launched::begin(self, spec, state)?;
        if !gate {
            launched.notify = self.listen_ready(&launched.dir()?.path)?;
        }
        if let Some(overlay) = &bundle.overlay {
            plan.root = RootSource::Host(launched.overlay(overlay)?);
        }
        let entry = launched.make_cgroup()?;
        // Where the child asks nothing, it hears the order to go on as soon as it is on record and under its limits.
        let ahead = plan.asks_nothing();
        if !ahead {
            // Much may happen before the process is on record, hooks for one; until then the cgroup tells of it.
            launched.dir()?.save(&launched.state)?;
        }
        if plan.mounts.iter().any(|m| m.kind.starts_with("cgroup")) {
            let cgroup = launched.state.cgroup.clone().unwrap_or_default();
            plan.hierarchies = hierarchies(&cgroup.places(&host).map_err(cgroup_error)?);
        }
        let idmaps = launched.make_process(&plan, &path, entry.v2, entry.v1, gate)?;
        launched.record()?;
        launched.save_config()?;
        if let Some((resources, fresh)) = entry.later {
            launched.set_limits(&resources, fresh)?;
        }
        let runs_at_once = ahead && !gate;
        if runs_at_once {
            // What the caller asked for is there before the program is, and fails before it began.
            launched.hand_out(bundle)?;
        }
        if ahead {
            if bundle.foreground {
                // From here on a signal may be meant for the program; it waits until it can be passed on.
                hull_sys::signal::block_all();
            }
            // A child that failed is heard of below.
            let _ = launched.talk()?.sync.go();
        }
        if gate || !ahead {
            launched.answer(&plan, &idmaps)?;
        }
        if launched.talk()?.child.pid != launched.state.pid {
            // Only now is the container's first process known, as there was one in between.
            launched.record()?;
        }
        if !runs_at_once {
            launched.hand_out(bundle)?;
        }
        if !ahead {
            let talk = launched.talk()?;
            if bundle.foreground {
                hull_sys::signal::block_all();
                crate::console::begin(talk.console.as_ref());
            }
            talk.sync.go()?;
        }
        if gate {
            launched.dir()?.rename(CLOSED_GATE, GATE)?;
        }
        Ok(launched)
    }

    /// Reads, checks and plans.
    fn draft(&self, id: &str, bundle: &Bundle, gate: bool) -> Result<Draft> {
        let (path, mut spec) = self.load(bundle)?;
        if self.notify_socket.is_some() {
            crate::notify::show(&mut spec, &self.root.join(id));
        }
        let root = spec.root.as_ref().map(|r| path.join(&r.path)).unwrap_or_default();
        let is_module = || spec.process.as_ref().is_some_and(|p| hull_jail::program::is_module(&root, p));
        let wanted = hull_guest::choose(bundle.isolation.as_deref(), &spec, is_module);
        let guest = hull_guest::find_for(wanted, &spec).map_err(|e| Error::new(e.to_string()))?;
        let process = spec.process.as_ref().ok_or_else(|| Error::new("process: must be given to create a container"))?;
        check_console(process, bundle, gate)?;
        let linux = spec.linux();
        let filter = linux.seccomp.as_ref().map(|s| self.compile(&spec, s)).transpose()?;
        let rootfs = match &bundle.overlay {
            Some(overlay) => overlay.base.clone(),
            None => root.canonicalize().what(|| format!("root.path: cannot open \"{}\"", root.display()))?,
        };
        let host = hull_cgroup::Host::detect().map_err(cgroup_error)?;
        let cgroup = match self.no_cgroups {
            true => None,
            false => Some(Cgroup::plan(&host, &linux.cgroups_path, id, self.rootless).map_err(cgroup_error)?),
        };
        if let Some(cgroup) = &cgroup {
            cgroup.check_free().map_err(cgroup_error)?;
        }
        let own_mounts = linux.namespace(NamespaceKind::Mount).is_some();
        let state = State {
            version: 1,
            oci_version: spec.oci_version.clone(),
            id: id.into(),
            bundle: path.clone(),
            rootfs: rootfs.clone(),
            created: hull_spec::state::now(),
            owner: rustix::process::geteuid().as_raw(),
            isolation: guest.name().to_owned(),
            no_new_keyring: bundle.no_new_keyring,
            namespaces: linux.namespaces.iter().map(|n| flag_of(n.kind)).fold(0, |a, b| a | b),
            in_userns: linux.namespace(NamespaceKind::User).is_some(),
            cgroup,
            mounts_before: (!own_mounts).then(|| crate::delete::mounts_at(&rootfs)).transpose()?,
            annotations: spec.annotations.clone(),
            ..State::default()
        };
        let mut warnings = Vec::new();
        let (preserve_fds, extra_env) = self.inherited_fds(bundle.preserve_fds)?;
        let options = Options {
            rootfs,
            id: id.to_owned(),
            bundle: path.clone(),
            no_pivot: bundle.no_pivot,
            keyring: (!bundle.no_new_keyring).then(|| format!("_ses.{id}")),
            preserve_fds,
            extra_env,
            rootless: self.rootless,
            debug: self.verbose,
            ends_with_parent: bundle.ends_with_caller,
        };
        let mut plan = Plan::new(&spec, process, filter, options, &mut warnings)?;
        warnings.iter().for_each(|w| self.warn(w));
        self.engage(guest, &spec, &mut plan.process, bundle.module.as_ref())?;
        plan.mounts.retain(|m| !guest.claims().emulated_mounts.contains(&m.kind.as_str()));
        for mount in plan.mounts.iter_mut().filter(|m| m.options.bind && Path::new(&m.source).is_relative()) {
            mount.source = path.join(&mount.source).to_string_lossy().into_owned();
        }
        drop(linux);
        Ok(Draft { path, spec, plan, state, host })
    }

    /// Compiles a filter.
    pub(crate) fn compile(&self, spec: &Spec, profile: &Seccomp) -> Result<Filter> {
        let compiled = hull_seccomp::compile(profile, hull_seccomp::native_arch()).map_err(|e| Error::new(e.to_string()))?;
        compiled.warnings.iter().for_each(|w| self.debug(w));
        self.debug(&format!("seccomp filter flags: {}", compiled.flags));
        if spec.known_annotations().fail_unknown_syscall()
            && let Some(name) = compiled.unknown.first()
        {
            return Err(Error::new(format!("linux.seccomp.syscalls: unknown system call \"{name}\"")));
        }
        let instruction = |i: &hull_seccomp::Insn| hull_sys::seccomp::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
        Ok(Filter {
            program: compiled.program.iter().map(instruction).collect(),
            flags: compiled.flags.into(),
            listener: compiled.listener,
        })
    }
}

impl<'a> Launched<'a> {
    /// Makes the state directory and writes into it what may come to exist.
    fn begin(runtime: &'a Runtime, spec: Spec, state: State) -> Result<Launched<'a>> {
        let dir = Dir::create(runtime, &state.id)?;
        let mut launched = Launched { runtime, state, spec, dir: Some(dir), talk: None, notify: None, hooks_began: Cell::new(false) };
        if runtime.notify_socket.is_some() {
            crate::notify::make_directory(&launched.dir()?.path)?;
        }
        launched.state.cgroup_planned = launched.state.cgroup.is_some();
        launched.dir()?.save(&launched.state)?;
        Ok(launched)
    }

    /// The host's tree as the container is to see it, with a place for its own changes.
    fn overlay(&self, wanted: &HostOverlay) -> Result<HostOverlay> {
        let scratch = self.dir()?.path.join("scratch");
        std::fs::create_dir(&scratch).what(|| "cannot make a directory for the sandbox")?;
        Ok(HostOverlay { base: wanted.base.clone(), scratch, fresh: wanted.fresh.clone() })
    }

    /// Makes the cgroup.
    fn make_cgroup(&mut self) -> Result<Entry> {
        // It is this container's, to be killed and removed, only once it is made.
        let Some(mut cgroup) = self.state.cgroup.take() else { return Ok(Entry::default()) };
        let resources = self.spec.linux().resources.clone().unwrap_or_default();
        let fresh = cgroup.create(&resources).map_err(cgroup_error)?;
        self.state.cgroup_planned = false;
        let entry = |later| -> hull_cgroup::Result<Entry> {
            Ok(Entry { v2: cgroup.enter_fd()?, v1: cgroup.task_files()?, later })
        };
        // A v1 cpuset takes no process before it has its CPUs; v2 takes limits while the child is at work.
        let at_once = !cgroup.v1.is_empty();
        let entry = entry((!at_once).then(|| (resources.clone(), fresh)));
        self.state.cgroup = Some(cgroup);
        if at_once {
            self.set_limits(&resources, fresh)?;
        }
        entry.map_err(cgroup_error)
    }

    fn set_limits(&self, resources: &Resources, fresh: hull_cgroup::State) -> Result<()> {
        let Some(cgroup) = &self.state.cgroup else { return Ok(()) };
        let notes = cgroup.apply(resources, fresh).map_err(cgroup_error)?;
        self.runtime.note(&notes);
        Ok(())
    }

    /// Clones the container's process. Returns the user namespaces of its id-mapped mounts.
    fn make_process(
        &mut self,
        plan: &Plan,
        bundle: &Path,
        group: Option<OwnedFd>,
        task_files: Vec<OwnedFd>,
        gate: bool,
    ) -> Result<Vec<OwnedFd>> {
        let joins = hull_jail::stage::open_joins(&plan.joins)?;
        let idmaps = plan.idmaps.iter().map(crate::ids::namespace).collect::<Result<Vec<_>>>()?;
        let gate = match gate {
            true => Some(hull_sys::socket::listen_at(self.dir()?, CLOSED_GATE).what(|| "cannot make the start socket")?),
            false => None,
        };
        rustix::process::chdir(bundle).what(|| format!("cannot enter the bundle \"{}\"", bundle.display()))?;
        let (ours, theirs) = hull_sys::socket::pair().what(|| "cannot make a socket pair")?;
        // A process in between hands its group on to its child.
        let (flags, group) = (if plan.needs_stage() { 0 } else { plan.new & !plan.made_as_root() }, group.as_ref().map(AsFd::as_fd));
        // SAFETY: one_thread() in launch(); nothing since has begun another.
        let child = match unsafe { clone::clone3(flags, group) }.what(|| clone_hint(flags))? {
            Side::Child => {
                drop(ours);
                Init { plan, sync: Sync::new(theirs), joins, idmaps, gate, task_files }.run()
            }
            Side::Parent(child) => child,
        };
        self.talk = Some(Conversation::new(child, Sync::new(ours), plan.needs_stage()));
        Ok(idmaps)
    }

    /// Puts the container's process on record.
    fn record(&mut self) -> Result<()> {
        self.state.pid = self.talk()?.child.pid;
        // One that is dead already has left word of the cause where the parent listens next.
        self.state.start_time = start_time(self.state.pid).unwrap_or_default();
        // The program does not run yet, so these are the namespaces that were made for it. A kernel that won't tell an
        // ordinary user of them leaves no number, and mounts can't be added then.
        let number = |flag: u64, kind: &str| match self.state.namespaces & flag {
            0 => 0,
            _ => crate::mounts::namespace_number(self.state.pid, kind).unwrap_or_default(),
        };
        let numbers = (number(clone::flags::NEWNS, "mnt"), number(clone::flags::NEWUSER, "user"));
        (self.state.mount_ns, self.state.user_ns) = numbers;
        self.dir()?.save(&self.state)
    }

    /// Keeps config.json for exec, start and the hooks of the end; the lock keeps them away until it is there.
    fn save_config(&self) -> Result<()> {
        let text = serde_json::to_vec(&self.spec).map_err(|e| Error::new(format!("cannot write config.json: {e}")))?;
        self.dir()?.write("config.json", &text)
    }

    /// Answers the process until it is ready for its last step.
    fn answer(&mut self, plan: &Plan, idmaps: &[OwnedFd]) -> Result<()> {
        let none = Hooks::default();
        let hooks = self.spec.hooks.as_ref().unwrap_or(&none);
        let (state, began) = (&self.state, &self.hooks_began);
        let run_hooks = |pid: i32| {
            began.set(true);
            let text = hook_text(state, pid, "creating");
            hull_jail::hooks::run_all("prestart", &hooks.prestart, text.as_bytes(), &plan.hook_output)?;
            hull_jail::hooks::run_all("createRuntime", &hooks.create_runtime, text.as_bytes(), &plan.hook_output)
        };
        let talk = self.talk.as_mut().ok_or_else(|| Error::new("no process"))?;
        let guest = hull_guest::find(&state.isolation).map_err(|e| Error::new(e.to_string()))?;
        let booted = Booted { guest, spec: &self.spec };
        talk.until_ready(&Answers { runtime: self.runtime, booted, plan: Some(plan), idmaps, hooks: &run_hooks })
    }

    /// Gives the caller what it asked for of the process: terminal, pidfd, process id.
    fn hand_out(&mut self, bundle: &Bundle) -> Result<()> {
        let pid = self.state.pid;
        let talk = self.talk.as_mut().ok_or_else(|| Error::new("no process"))?;
        if let Some(socket) = &bundle.console_socket
            && let Some(master) = talk.console.take()
        {
            let name = format!("/dev/pts/{}", hull_sys::tty::number_of(master.as_fd()).unwrap_or(0));
            crate::child::send_to(socket, "the terminal", &master, &name)?;
        }
        let annotated = self.spec.known_annotations().pidfd_receiver();
        for socket in bundle.pidfd_socket.as_deref().into_iter().chain(annotated) {
            crate::child::send_to(socket, "the pidfd", &talk.child.pidfd, "pidfd")?;
        }
        match &bundle.pid_file {
            Some(file) => crate::child::write_pid(file, pid),
            None => Ok(()),
        }
    }

    /// Keeps what was made.
    pub(crate) fn keep(mut self) -> (State, Option<Conversation>) {
        self.dir = None;
        (std::mem::take(&mut self.state), self.talk.take())
    }

    fn dir(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Error::new("no state directory"))
    }

    fn talk(&self) -> Result<&Conversation> {
        self.talk.as_ref().ok_or_else(|| Error::new("no process"))
    }
}

/// The container's process is a copy of this one; a lock held by another thread would stay held in it.
pub(crate) fn one_thread() -> Result<()> {
    match clone::thread_count().what(|| "cannot count threads in \"/proc/self/task\" (is /proc mounted?)")? {
        1 => Ok(()),
        n => Err(Error::new(format!("the calling process has {n} threads: containers are made by a process with one"))),
    }
}

fn clone_hint(flags: u64) -> String {
    let mut text = "cannot make the container's process".to_owned();
    if flags & clone::flags::NEWUSER != 0 && !rustix::process::geteuid().is_root() {
        for sysctl in ["kernel.unprivileged_userns_clone", "kernel.apparmor_restrict_unprivileged_userns", "user.max_user_namespaces"] {
            let path = format!("/proc/sys/{}", sysctl.replace('.', "/"));
            if let Ok(value) = std::fs::read_to_string(path) {
                let forbids = if sysctl.contains("restrict") { value.trim() == "1" } else { value.trim() == "0" };
                if forbids {
                    text.push_str(&format!(" (user namespaces are forbidden by sysctl {sysctl} = {})", value.trim()));
                }
            }
        }
    }
    text
}

fn hierarchies(places: &[hull_cgroup::Hierarchy]) -> Vec<Hierarchy> {
    let many = places.iter().any(|h| !h.controllers.is_empty());
    places
        .iter()
        .map(|h| Hierarchy {
            name: if many { h.mount.file_name().unwrap_or_default().to_string_lossy().into_owned() } else { String::new() },
            selector: h.controllers.join(","),
            mountpoint: h.mount.clone(),
            group: Path::new("/").join(h.dir.strip_prefix(&h.mount).unwrap_or(&h.dir)),
        })
        .collect()
}

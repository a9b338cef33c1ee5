//! Making a container: from the bundle to a process that waits at the gate, or runs.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_jail::init::Init;
use hull_jail::overlay::HostOverlay;
use hull_jail::plan::{Hierarchy, Options, Plan, RootSource, flag_of};
use hull_jail::process::Filter;
use hull_jail::sync::Sync;
use hull_spec::{NamespaceKind, Seccomp, Spec};
use hull_sys::clone::{self, Side};

use crate::child::{Answers, Conversation};
use crate::state::{CLOSED_GATE, Dir, GATE, State, check_id, start_time};
use crate::{Context as _, Error, Result, Runtime, cgroup_error};

/// Where config.json comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file of the bundle.
    File(PathBuf),
    /// Made by the caller.
    Given(Box<Spec>),
}

/// A bundle, and what the caller wants of the container made from it.
#[derive(Debug)]
pub struct Bundle {
    /// Directory.
    pub path: PathBuf,
    /// config.json.
    pub config: Source,
    /// Socket for the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket for a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// File for the process id.
    pub pid_file: Option<PathBuf>,
    /// Descriptors after 2 that the workload inherits.
    pub preserve_fds: u32,
    /// Move the root mount instead of pivot_root.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Isolation; `None` leaves it to annotations.
    pub isolation: Option<String>,
    /// Show the host's tree in place of `root.path`.
    pub overlay: Option<HostOverlay>,
    /// The caller relays the terminal itself.
    pub foreground: bool,
}

impl Bundle {
    /// A bundle with config.json and no wishes.
    pub fn new(path: impl Into<PathBuf>) -> Bundle {
        Bundle {
            path: path.into(),
            config: Source::File("config.json".into()),
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            isolation: None,
            overlay: None,
            foreground: false,
        }
    }
}

/// A container made and not yet let go; dropping it undoes everything.
pub(crate) struct Launched<'a> {
    pub(crate) runtime: &'a Runtime,
    pub(crate) state: State,
    pub(crate) spec: Spec,
    pub(crate) dir: Option<Dir>,
    pub(crate) talk: Option<Conversation>,
    /// Whether hooks ran, so that those of the end have to.
    hooks_began: Cell<bool>,
}

impl Launched<'_> {
    /// Keeps what was made.
    pub(crate) fn keep(mut self) -> (State, Option<Conversation>) {
        self.dir = None;
        (std::mem::take(&mut self.state), self.talk.take())
    }
}

impl Launched<'_> {
    /// Puts the container's process on record.
    fn record(&mut self) -> Result<()> {
        let talk = self.talk.as_ref().ok_or_else(|| Error::new("no process"))?;
        self.state.pid = talk.child.pid;
        // One that is dead already has left word of the cause where the parent listens next.
        self.state.start_time = start_time(self.state.pid).unwrap_or_default();
        self.dir()?.save(&self.state)
    }

    fn dir(&self) -> Result<&Dir> {
        self.dir.as_ref().ok_or_else(|| Error::new("no state directory"))
    }
}

impl Drop for Launched<'_> {
    /// Undoes in reverse order: process, cgroup, directory.
    fn drop(&mut self) {
        let Some(dir) = self.dir.take() else { return };
        if let Some(talk) = self.talk.take() {
            talk.abandon();
        }
        if let Some(cgroup) = &self.state.cgroup
            && let Err(e) = cgroup.kill_all().and_then(|()| cgroup.delete())
        {
            self.runtime.warn(&format!("cannot clean up: {e}"));
        }
        if let Err(e) = crate::delete::unmount(&self.state, &self.spec).and_then(|()| dir.remove()) {
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

    /// Makes all of a container and leaves its process at its last step.
    pub(crate) fn launch(&self, id: &str, bundle: &Bundle, gate: bool) -> Result<Launched<'_>> {
        check_id(id)?;
        one_thread()?;
        let (path, spec) = self.load(bundle)?;
        let isolation = hull_guest::choose(bundle.isolation.as_deref(), &spec).to_owned();
        let guest = hull_guest::find(&isolation).map_err(|e| Error::new(e.to_string()))?;
        let hull_guest::Boot::Workload = guest.boot(&spec).map_err(|e| Error::new(e.to_string()))?;
        let process = spec.process.clone().ok_or_else(|| Error::new("process: must be given to create a container"))?;
        check_console(&process, bundle, gate)?;
        let linux = spec.linux().into_owned();
        let filter = linux.seccomp.as_ref().map(|s| self.compile(&spec, s)).transpose()?;
        let root = spec.root.as_ref().map(|r| path.join(&r.path)).unwrap_or_default();
        let rootfs = match &bundle.overlay {
            Some(overlay) => overlay.base.clone(),
            None => root.canonicalize().what(|| format!("root.path: cannot open \"{}\"", root.display()))?,
        };
        let host = hull_cgroup::Host::detect().map_err(cgroup_error)?;
        let mut cgroup = if self.no_cgroups {
            None
        } else {
            Some(hull_cgroup::Cgroup::plan(&host, &linux.cgroups_path, id, self.rootless).map_err(cgroup_error)?)
        };
        let state = State {
            version: 1,
            oci_version: spec.oci_version.clone(),
            id: id.into(),
            bundle: path.clone(),
            rootfs: rootfs.clone(),
            created: hull_spec::state::now(),
            owner: rustix::process::geteuid().as_raw(),
            isolation,
            namespaces: linux.namespaces.iter().map(|n| flag_of(n.kind)).fold(0, |a, b| a | b),
            in_userns: linux.namespace(NamespaceKind::User).is_some(),
            cgroup: cgroup.clone(),
            annotations: spec.annotations.clone(),
            ..State::default()
        };
        let mut warnings = Vec::new();
        let (preserve_fds, extra_env) = listen_fds(bundle.preserve_fds);
        let mut plan = Plan::new(
            &spec,
            &process,
            filter,
            Options {
                rootfs,
                no_pivot: bundle.no_pivot,
                keyring: (!bundle.no_new_keyring).then(|| format!("_ses.{id}")),
                preserve_fds,
                extra_env,
                hook_state: hook_state(&state),
                rootless: self.rootless,
                debug: self.verbose,
            },
            &mut warnings,
        )?;
        warnings.iter().for_each(|w| self.warn(w));
        for mount in plan.mounts.iter_mut().filter(|m| m.options.bind && Path::new(&m.source).is_relative()) {
            mount.source = path.join(&mount.source).to_string_lossy().into_owned();
        }

        if let Some(cgroup) = &cgroup {
            cgroup.check_free().map_err(cgroup_error)?;
        }
        // From here on things are made. The directory comes first and says what may exist beside it.
        let dir = Dir::create(self, id)?;
        if let Some(mut overlay) = bundle.overlay.as_ref().map(clone_overlay) {
            overlay.scratch = dir.path.join("scratch");
            std::fs::create_dir(&overlay.scratch).what(|| "cannot make a directory for the sandbox")?;
            plan.root = RootSource::Host(overlay);
        }
        dir.save(&state)?;
        // The cgroup is this container's, to be killed and removed, only once it is made.
        let begun = State { cgroup: None, ..state.clone() };
        let mut launched = Launched { runtime: self, state: begun, spec, dir: Some(dir), talk: None, hooks_began: Cell::new(false) };
        let mut entry = None;
        let mut task_files = Vec::new();
        let mut limits = None;
        if let Some(cgroup) = &mut cgroup {
            let resources = linux.resources.clone().unwrap_or_default();
            let fresh = cgroup.create(&resources).map_err(cgroup_error)?;
            launched.state.cgroup = Some(cgroup.clone());
            entry = cgroup.enter_fd().map_err(cgroup_error)?;
            task_files = cgroup.task_files().map_err(cgroup_error)?;
            let apply = {
                let cgroup = cgroup.clone();
                move || cgroup.apply(&resources, fresh).map(|notes| self.note(&notes)).map_err(cgroup_error)
            };
            // A v1 cpuset takes no process before it has its CPUs; v2 takes limits while the child is at work.
            if cgroup.v1.is_empty() { limits = Some(apply) } else { apply()? }
        }
        if plan.mounts.iter().any(|m| m.kind.starts_with("cgroup")) {
            let places = cgroup.clone().unwrap_or_default().places(&host).map_err(cgroup_error)?;
            plan.hierarchies = hierarchies(&places);
        }
        let joins = hull_jail::stage::open_joins(&plan.joins)?;
        let idmaps = plan.idmaps.iter().map(crate::ids::namespace).collect::<Result<Vec<_>>>()?;
        let with_gate = gate;
        let gate = if gate { Some(hull_sys::socket::listen_at(launched.dir()?, CLOSED_GATE).what(|| "cannot make the start socket")?) } else { None };
        rustix::process::chdir(&path).what(|| format!("cannot enter the bundle \"{}\"", path.display()))?;

        let (ours, theirs) = hull_sys::socket::pair().what(|| "cannot make a socket pair")?;
        // A process in between hands its group on to its child.
        let (flags, group) = (if plan.needs_stage() { 0 } else { plan.new }, entry.as_ref().map(AsFd::as_fd));
        // SAFETY: one_thread() above; nothing here has begun another.
        let child = match unsafe { clone::clone3(flags, group) }.what(|| clone_hint(flags))? {
            Side::Child => {
                drop(ours);
                Init { plan: &plan, sync: Sync::new(theirs), joins, idmaps, gate, task_files }.run()
            }
            Side::Parent(child) => child,
        };
        drop(theirs);
        drop(gate);
        launched.talk = Some(Conversation::new(child, Sync::new(ours)));
        let ahead = plan.asks_nothing();
        if ahead {
            launched.record()?;
        }
        // Serves exec, start and the hooks of the end; the lock keeps them away until it is there.
        launched.dir()?.write("config.json", &serde_json::to_vec(&launched.spec).map_err(|e| Error::new(e.to_string()))?)?;
        if let Some(apply) = limits {
            apply()?;
        }
        let hook_spec = launched.spec.hooks.clone().unwrap_or_default();
        let base = launched.state.clone();
        let began = &launched.hooks_began;
        let run_hooks = |pid: i32| {
            began.set(true);
            let text = hook_text(&base, pid, "creating");
            let around = &plan.hook_output;
            hull_jail::hooks::run_all("prestart", &hook_spec.prestart, text.as_bytes(), around)?;
            hull_jail::hooks::run_all("createRuntime", &hook_spec.create_runtime, text.as_bytes(), around)
        };
        let talk = launched.talk.as_mut().ok_or_else(|| Error::new("no process"))?;
        if ahead {
            if bundle.foreground {
                // From here on a signal may be meant for the program; it waits until it can be passed on.
                hull_sys::signal::block_all();
            }
            // A child that failed is heard of below.
            let _ = talk.sync.go();
        }
        if with_gate || !ahead {
            talk.until_ready(&Answers { runtime: self, plan: Some(&plan), idmaps: &idmaps, hooks: &run_hooks })?;
        }
        if !ahead {
            // Only now is the container's first process known, if there was one in between.
            launched.record()?;
        }
        let state = &launched.state;
        let talk = launched.talk.as_mut().ok_or_else(|| Error::new("no process"))?;
        if let Some(socket) = &bundle.console_socket
            && let Some(master) = talk.console.take()
        {
            let name = format!("/dev/pts/{}", hull_sys::tty::number_of(master.as_fd()).unwrap_or(0));
            crate::child::send_to(socket, "the terminal", &master, &name)?;
        }
        let annotated = launched.spec.known_annotations().pidfd_receiver();
        for socket in bundle.pidfd_socket.as_deref().into_iter().chain(annotated) {
            crate::child::send_to(socket, "the pidfd", &talk.child.pidfd, "pidfd")?;
        }
        if let Some(file) = &bundle.pid_file {
            crate::child::write_pid(file, state.pid)?;
        }
        if !ahead {
            if bundle.foreground {
                hull_sys::signal::block_all();
                crate::console::begin(talk.console.as_ref());
            }
            talk.sync.go()?;
        }
        if with_gate {
            launched.dir()?.rename(CLOSED_GATE, GATE)?;
        }
        Ok(launched)
    }

    fn load(&self, bundle: &Bundle) -> Result<(PathBuf, Spec)> {
        let path = bundle.path.canonicalize().what(|| format!("cannot open the bundle \"{}\"", bundle.path.display()))?;
        let mut spec = match &bundle.config {
            Source::Given(spec) => (**spec).clone(),
            Source::File(name) => {
                let file = path.join(name);
                let bytes = std::fs::read(&file).map_err(|e| {
                    // Not in the words that make an engine think a program was not found.
                    let why = if e.kind() == std::io::ErrorKind::NotFound { "it does not exist".into() } else { e.to_string() };
                    Error::new(format!("JSON specification file {} not found or unreadable: {why}", file.display()))
                })?;
                Spec::from_slice(&bytes).map_err(|e| Error::new(e.to_string()))?
            }
        };
        let warnings = spec.check(&hull_spec::CheckHost { rootless: self.rootless, for_start: true });
        for warning in warnings.map_err(|e| Error::new(e.to_string()))? {
            self.warn(&warning.to_string());
        }
        crate::ids::fill(&mut spec);
        name_listener(&mut spec);
        Ok((path, spec))
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

/// Takes the agent of seccomp notifications from crun's annotation or variable where linux.seccomp names none.
fn name_listener(spec: &mut Spec) {
    let annotated = spec.known_annotations().seccomp_receiver().map(Path::to_owned);
    let agent = annotated.or_else(|| std::env::var_os("RUN_OCI_SECCOMP_RECEIVER").map(PathBuf::from));
    let seccomp = spec.linux.as_mut().and_then(|l| l.seccomp.as_mut());
    if let (Some(agent), Some(seccomp)) = (agent, seccomp)
        && seccomp.listener_path.as_os_str().is_empty()
    {
        seccomp.listener_path = agent;
    }
}

/// The container's process is a copy of this one; a lock held by another thread would stay held in it.
pub(crate) fn one_thread() -> Result<()> {
    match clone::thread_count().what(|| "cannot count threads in \"/proc/self/task\" (is /proc mounted?)")? {
        1 => Ok(()),
        n => Err(Error::new(format!("the calling process has {n} threads: containers are made by a process with one"))),
    }
}

fn clone_overlay(o: &HostOverlay) -> HostOverlay {
    HostOverlay { base: o.base.clone(), scratch: o.scratch.clone(), fresh: o.fresh.clone() }
}

fn check_console(process: &hull_spec::Process, bundle: &Bundle, detached: bool) -> Result<()> {
    let detached = detached || !bundle.foreground;
    match (process.terminal, &bundle.console_socket) {
        (true, None) if detached => {
            Err(Error::new("cannot allocate tty if hull will detach without setting console socket: use --console-socket"))
        }
        (false, Some(_)) => Err(Error::new("cannot use console socket if hull will not detach or allocate tty")),
        (true, Some(_)) if !detached => Err(Error::new("cannot use console socket if hull will not detach or allocate tty")),
        _ => Ok(()),
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

/// The state document that hooks read (runtime.md, "State").
pub(crate) fn hook_state(state: &State) -> serde_json::Value {
    serde_json::json!({
        "ociVersion": hull_spec::VERSION,
        "id": state.id,
        "status": "creating",
        "pid": state.pid,
        "bundle": state.bundle,
        "annotations": state.annotations,
    })
}

pub(crate) fn hook_text(state: &State, pid: i32, status: &str) -> String {
    let mut document = hook_state(state);
    document["status"] = status.into();
    if pid > 0 {
        document["pid"] = pid.into();
    } else if let Some(map) = document.as_object_mut() {
        map.remove("pid");
    }
    document.to_string()
}

/// Socket activation: descriptors that were passed to hull are passed on (sd_listen_fds(3)).
pub(crate) fn listen_fds(preserve: u32) -> (u32, Vec<String>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    let for_us = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    let Some(count) = number("LISTEN_FDS").filter(|n| *n > 0 && for_us) else { return (preserve, Vec::new()) };
    let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".into()];
    if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
        env.push(format!("LISTEN_FDNAMES={names}"));
    }
    (preserve + count, env)
}

/// What a listener's agent is told.
pub(crate) fn listener_state(state: &State, seccomp: &Seccomp, pid: i32, status: &str) -> serde_json::Value {
    let mut inner = hook_state(state);
    inner["pid"] = state.pid.into();
    inner["status"] = status.into();
    serde_json::json!({
        "ociVersion": hull_spec::VERSION,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": seccomp.listener_metadata,
        "state": inner,
    })
}

/// Sends the listener to the agent that config.json names.
pub(crate) fn deliver(state: &State, spec: &Spec, pid: i32, status: &str, listener: &OwnedFd) -> Result<()> {
    let seccomp = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let seccomp = seccomp.ok_or_else(|| Error::new("a seccomp listener without a profile"))?;
    let sent = crate::listener::send(&seccomp.listener_path, listener, &listener_state(state, seccomp, pid, status));
    // An agent that no rule asks may be away.
    let asked = seccomp.syscalls.iter().any(|s| s.action == hull_spec::SeccompAction::Notify);
    if asked { sent } else { Ok(()) }
}

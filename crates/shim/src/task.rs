//! The Task service: containerd's calls, and what is done for each.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use containerd_shim_protos::api::*;
use containerd_shim_protos::events::task::*;
use containerd_shim_protos::protobuf::MessageField;
use containerd_shim_protos::shim::oci::ProcessDetails;
use containerd_shim_protos::shim_async::Task;
use containerd_shim_protos::ttrpc::{self, Code, get_status, r#async::TtrpcContext};
use hull_runtime::{Bundle, ExecOptions, Runtime, Source};
use rustix::fs::{Mode, OFlags};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::children::{Children, Exit};
use crate::container::{Container, Process, Stage};
use crate::events::{Events, any, timestamp};
use crate::oom::Watched;
use crate::options::Options;
use crate::stdio::{Names, Streams, drain};
use crate::worker::{Stdio, work};
use crate::{log, logger, metrics, options, rootfs};

type Answer<T> = ttrpc::Result<T>;

fn status(code: Code, text: impl ToString) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(get_status(code, text))
}

fn failed(text: impl ToString) -> ttrpc::Error {
    status(Code::UNKNOWN, text)
}

/// A container that is being made, until this is dropped.
struct Making {
    shim: Arc<Shim>,
    id: String,
}

impl Drop for Making {
    fn drop(&mut self) {
        self.shim.making().remove(&self.id);
    }
}

/// All that the shim has.
pub(crate) struct Shim {
    pub(crate) namespace: String,
    /// What the shim itself was started with.
    pub(crate) options: Options,
    /// Whether a container whose program is a Wasm module runs as one, unless something says otherwise.
    for_wasm: bool,
    pub(crate) children: Children,
    pub(crate) events: Arc<Events>,
    containers: Mutex<HashMap<String, Arc<Container>>>,
    /// Those that are being made.
    making: Mutex<HashSet<String>>,
    /// Whether it is to end.
    pub(crate) over: watch::Sender<bool>,
}

impl Shim {
    pub(crate) fn new(namespace: &str, options: Options, for_wasm: bool, events: Events) -> Shim {
        Shim {
            namespace: namespace.to_owned(),
            options,
            for_wasm,
            children: Children::default(),
            events: Arc::new(events),
            containers: Mutex::default(),
            making: Mutex::default(),
            over: watch::Sender::new(false),
        }
    }

    fn containers(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Container>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn making(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a name for a container that is to be made.
    fn reserve(self: &Arc<Shim>, id: &str) -> Answer<Making> {
        if *self.over.borrow() {
            return Err(status(Code::UNAVAILABLE, "the shim ends"));
        }
        if self.containers().contains_key(id) || !self.making().insert(id.to_owned()) {
            return Err(status(Code::ALREADY_EXISTS, format!("container \"{id}\" exists")));
        }
        Ok(Making { shim: Arc::clone(self), id: id.to_owned() })
    }

    /// Whether there is no container, and none is being made.
    pub(crate) fn is_idle(&self) -> bool {
        self.containers().is_empty() && self.making().is_empty()
    }

    fn container(&self, id: &str) -> Answer<Arc<Container>> {
        self.containers().get(id).cloned().ok_or_else(|| status(Code::NOT_FOUND, format!("container \"{id}\" does not exist")))
    }

    fn process(&self, id: &str, process: &str) -> Answer<(Arc<Container>, Arc<Process>)> {
        let container = self.container(id)?;
        let found = container.process(process);
        let found = found.ok_or_else(|| status(Code::NOT_FOUND, format!("process \"{process}\" of container \"{id}\" does not exist")))?;
        Ok((container, found))
    }

    /// Has a worker do something by hull's library.
    async fn do_by<T: Serialize + DeserializeOwned>(
        &self,
        root: &Path,
        stdio: Stdio,
        keep: &[RawFd],
        job: impl FnOnce(&Runtime) -> Result<T, String>,
    ) -> Result<T, String> {
        let keep: Vec<_> = keep.iter().copied().chain(log::descriptor()).collect();
        let job = || job(&runtime(root));
        work(&self.children, stdio, &keep, job).await
    }

    /// Waits for a process's end, in the background, and tells it.
    fn watch(self: &Arc<Shim>, container: &Arc<Container>, process: &Arc<Process>, pid: i32) {
        let end = self.children.end_of(pid);
        let (shim, container, process) = (Arc::clone(self), Arc::clone(container), Arc::clone(process));
        tokio::spawn(async move {
            let exit = end.await.unwrap_or_else(|_| Exit::new(255));
            if process.id.is_empty()
                && let Some(oom) = container.oom.lock().unwrap_or_else(PoisonError::into_inner).take()
            {
                oom.look(&container.id, &shim.events);
            }
            if process.id.is_empty() && container.shares_pids {
                // As runc's shim has it: nobody is left to look after the others.
                let id = container.id.clone();
                let killed = shim.do_by(&container.root, Stdio::default(), &[], |r| r.kill(&id, libc::SIGKILL, true).map_err(text));
                if let Err(e) = killed.await {
                    log::debug(format_args!("the other processes of {}: {e}", container.id));
                }
            }
            if process.end(exit) {
                shim.tell_end(&container, &process, exit);
            }
        });
    }

    fn tell_end(&self, container: &Container, process: &Process, exit: Exit) {
        let id = if process.id.is_empty() { &container.id } else { &process.id };
        let event = TaskExit {
            container_id: container.id.clone(),
            id: id.clone(),
            pid: process.pid(),
            exit_status: exit.code,
            exited_at: timestamp(exit.at),
            ..TaskExit::default()
        };
        self.events.tell("/tasks/exit", &event);
    }

    async fn make(self: Arc<Shim>, req: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        if !req.checkpoint.is_empty() {
            return Err(status(Code::UNIMPLEMENTED, "checkpoint: containers can't be restored yet"));
        }
        let _making = self.reserve(&req.id)?;
        let options = match req.options.as_ref().filter(|o| !o.type_url.is_empty()) {
            given @ Some(_) => options::read(given).map_err(|e| status(Code::INVALID_ARGUMENT, e))?,
            None => self.options.clone(),
        };
        let bundle = PathBuf::from(&req.bundle);
        let root = state_root(&options, &self.namespace);
        let names = Names { stdin: req.stdin.clone(), stdout: req.stdout.clone(), stderr: req.stderr.clone(), terminal: req.terminal };
        let spec = fs::read(bundle.join("config.json")).map_err(|e| failed(format!("cannot read config.json: {e}")))?;
        let mut spec = hull_spec::Spec::from_slice(&spec).map_err(failed)?;
        let own_pids = spec.linux().namespace(hull_spec::NamespaceKind::Pid).is_some_and(|ns| ns.path.as_ref().is_none_or(|path| path.as_os_str().is_empty()));
        // For the action "delete", should this process be gone by then.
        fs::write(bundle.join(STATE_ROOT), root.as_os_str().as_encoded_bytes()).map_err(|e| failed(format!("cannot write to the bundle: {e}")))?;
        let (mut streams, stdio) = self.streams(&req.id, &names, &options).await.map_err(failed)?;
        let dir = open_dir(&bundle).map_err(failed)?;
        let console = names.terminal.then(|| streams.await_terminal(&dir)).transpose().map_err(|e| failed(format!("cannot take a terminal: {e}")))?;
        let mut wanted = Bundle::new(&bundle);
        wanted.console_socket.clone_from(&console);
        (wanted.no_pivot, wanted.no_new_keyring, wanted.isolation) = (options.no_pivot, options.no_new_keyring, options.isolation.clone());
        if self.for_wasm {
            spec.annotations.entry("module.wasm.image/variant".into()).or_insert_with(|| "compat-smart".into());
            wanted.config = Source::Given(Box::new(spec));
        }
        let (mounts, rootfs) = (req.rootfs.clone(), bundle.join("rootfs"));
        let kept = self.children.at_work();
        let keep = [dir.as_raw_fd()];
        let made = self.do_by(&root, stdio, &keep, |runtime| {
            let made = rootfs::make(&mounts, &rootfs).and_then(|()| runtime.create(&req.id, &wanted).map_err(text));
            if made.is_err() && !mounts.is_empty() {
                rootfs::remove(&rootfs);
            }
            made.map(|state| state.pid)
        });
        let pid = made.await.map_err(failed)?;
        let container = Arc::new(Container::new(&req.id, bundle, root, !own_pids, options, Process::new("", names, Vec::new())));
        if let Some(path) = &console
            && let Err(e) = streams.take_terminal(path)
        {
            self.do_by(&container.root, Stdio::default(), &[], |runtime| {
                let done = runtime.delete(&req.id, true).map_err(text);
                rootfs::remove(&rootfs);
                done
            })
            .await
            .map_err(failed)?;
            return Err(failed(e));
        }
        let mut state = container.first.state();
        (state.pid, state.streams) = (pid as u32, streams);
        drop(state);
        self.containers().insert(req.id.clone(), Arc::clone(&container));
        let event = TaskCreate {
            container_id: req.id,
            bundle: req.bundle,
            rootfs: req.rootfs,
            io: MessageField::some(TaskIO { stdin: req.stdin, stdout: req.stdout, stderr: req.stderr, terminal: req.terminal, ..TaskIO::default() }),
            checkpoint: req.checkpoint,
            pid: pid as u32,
            ..TaskCreate::default()
        };
        self.events.tell("/tasks/create", &event);
        if let Ok((state, _)) = runtime(&container.root).status(&container.id)
            && let Some(cgroup) = &state.cgroup
        {
            let watched = Watched::begin(&container.id, cgroup, &self.events);
            *container.oom.lock().unwrap_or_else(PoisonError::into_inner) = watched;
        }
        self.watch(&container, &container.first, pid);
        drop(kept);
        Ok(CreateTaskResponse { pid: pid as u32, ..CreateTaskResponse::default() })
    }

    async fn streams(&self, id: &str, names: &Names, options: &Options) -> Result<(Streams, Stdio), String> {
        let (streams, stdio) = Streams::open(names, &logger::Context { id, namespace: &self.namespace }).await?;
        if (options.io_uid, options.io_gid) != (0, 0) {
            stdio.give(options.io_uid, options.io_gid).map_err(|e| format!("IoUid, IoGid: {e}"))?;
        }
        Ok((streams, stdio))
    }

    async fn begin(self: Arc<Shim>, req: StartRequest) -> Answer<StartResponse> {
        let (container, process) = self.process(&req.id, &req.exec_id)?;
        let _turn = process.turn.lock().await;
        let stage = process.state().stage;
        if stage != Stage::Created || process.exit().is_some() {
            return Err(status(Code::FAILED_PRECONDITION, format!("process of container \"{}\" is not one that waits to be started", req.id)));
        }
        process.state().stage = Stage::Starting;
        let began = if process.id.is_empty() { self.begin_first(&container).await } else { self.begin_added(&container, &process).await };
        let pid = process.pid();
        match &began {
            Ok(()) if process.id.is_empty() => {
                let event = TaskStart { container_id: req.id.clone(), pid, ..TaskStart::default() };
                self.events.tell("/tasks/start", &event);
            }
            Ok(()) => {
                let event = TaskExecStarted { container_id: req.id.clone(), exec_id: req.exec_id.clone(), pid, ..TaskExecStarted::default() };
                self.events.tell("/tasks/exec-started", &event);
            }
            // It never was: there will be no end of it to wait for.
            Err(_) if !process.id.is_empty() => drop(process.end(Exit::new(255))),
            Err(_) => {}
        }
        let told = began.is_ok() || process.id.is_empty();
        if let Some(exit) = process.started(began.is_ok()).filter(|_| told) {
            self.tell_end(&container, &process, exit);
        }
        began.map_err(failed)?;
        Ok(StartResponse { pid, ..StartResponse::default() })
    }

    async fn begin_first(&self, container: &Container) -> Result<(), String> {
        self.do_by(&container.root, Stdio::default(), &[], |runtime| runtime.start(&container.id).map_err(text)).await
    }

    async fn begin_added(self: &Arc<Shim>, container: &Arc<Container>, process: &Arc<Process>) -> Result<(), String> {
        let mut wanted = hull_spec::Process::from_slice(&process.spec).map_err(text)?;
        wanted.terminal = process.names.terminal;
        let (mut streams, stdio) = self.streams(&container.id, &process.names, &container.options).await?;
        let dir = open_dir(&container.bundle)?;
        let console = process.names.terminal.then(|| streams.await_terminal(&dir)).transpose().map_err(text)?;
        let options = ExecOptions { detach: true, console_socket: console.clone(), ..ExecOptions::default() };
        let _kept = self.children.at_work();
        let job = |runtime: &Runtime| runtime.exec_detached(&container.id, &wanted, &options).map_err(text);
        let pid = self.do_by(&container.root, stdio, &[dir.as_raw_fd()], job).await?;
        process.state().pid = pid as u32;
        self.watch(container, process, pid);
        if let Some(path) = &console
            && let Err(e) = streams.take_terminal(path)
        {
            let _ = self.children.kill(pid, libc::SIGKILL);
            return Err(e);
        }
        process.state().streams = streams;
        Ok(())
    }

    async fn remove(self: Arc<Shim>, req: DeleteRequest) -> Answer<DeleteResponse> {
        let (container, process) = self.process(&req.id, &req.exec_id)?;
        let _turn = process.turn.lock().await;
        // Another may have done it meanwhile.
        if !self.process(&req.id, &req.exec_id).is_ok_and(|(_, known)| Arc::ptr_eq(&known, &process)) {
            return Err(status(Code::NOT_FOUND, format!("process \"{}\" of container \"{}\" was removed", req.exec_id, req.id)));
        }
        let first = process.id.is_empty();
        if process.exit().is_none() && (process.state().stage != Stage::Created) {
            return Err(status(Code::FAILED_PRECONDITION, format!("container \"{}\": its process runs, and must be stopped first", req.id)));
        }
        let outputs = process.state().streams.outputs();
        if first {
            let (mounted, id) = (container.bundle.join("rootfs"), container.id.clone());
            let removed = self.do_by(&container.root, Stdio::default(), &[], |runtime| {
                // One that was never started is ended by that.
                let done = match runtime.delete(&id, true) {
                    Err(e) if runtime.status(&id).is_ok() => Err(e.to_string()),
                    _ => Ok(()),
                };
                rootfs::remove(&mounted);
                done
            });
            removed.await.map_err(failed)?;
        } else if process.exit().is_none() {
            process.end(Exit::new(255));
        }
        let exit = if process.pid() == 0 { process.exit().unwrap_or_else(|| Exit::new(0)) } else { process.ended().await };
        drain(outputs).await;
        process.state().streams = Streams::default();
        let answer = DeleteResponse { pid: process.pid(), exit_status: exit.code, exited_at: timestamp(exit.at), ..DeleteResponse::default() };
        if first {
            self.containers().remove(&req.id);
            let event = TaskDelete {
                container_id: req.id,
                pid: answer.pid,
                exit_status: answer.exit_status,
                exited_at: answer.exited_at.clone(),
                ..TaskDelete::default()
            };
            self.events.tell("/tasks/delete", &event);
        } else {
            container.forget(&req.exec_id);
        }
        Ok(answer)
    }

    async fn signal(self: Arc<Shim>, req: KillRequest) -> Answer<Empty> {
        let (container, process) = self.process(&req.id, &req.exec_id)?;
        let signal = req.signal as i32;
        if process.exit().is_some() && !req.all {
            return Err(status(Code::NOT_FOUND, "os: process already finished"));
        }
        if !process.id.is_empty() {
            let pid = process.pid();
            if pid == 0 {
                return Err(status(Code::FAILED_PRECONDITION, "process not created"));
            }
            return self.children.kill(pid as i32, signal).map(|()| Empty::default()).map_err(|e| match e.raw_os_error() {
                Some(libc::ESRCH | libc::ECHILD) => status(Code::NOT_FOUND, "os: process already finished"),
                _ => failed(format!("cannot send signal {signal}: {e}")),
            });
        }
        let job = |runtime: &Runtime| runtime.kill(&container.id, signal, req.all).map_err(text);
        match self.do_by(&container.root, Stdio::default(), &[], job).await {
            Ok(()) => Ok(Empty::default()),
            Err(e) if e.contains("not running") || e.contains("no such process") => Err(status(Code::NOT_FOUND, format!("os: process already finished: {e}"))),
            Err(e) => Err(failed(e)),
        }
    }

    async fn freeze(self: Arc<Shim>, id: String, frozen: bool) -> Answer<Empty> {
        let container = self.container(&id)?;
        let _turn = container.first.turn.lock().await;
        let done = self.do_by(&container.root, Stdio::default(), &[], |runtime| runtime.freeze(&container.id, frozen).map_err(text));
        done.await.map_err(failed)?;
        container.set_paused(frozen);
        if frozen {
            self.events.tell("/tasks/paused", &TaskPaused { container_id: id, ..TaskPaused::default() });
        } else {
            self.events.tell("/tasks/resumed", &TaskResumed { container_id: id, ..TaskResumed::default() });
        }
        Ok(Empty::default())
    }

    async fn change(self: Arc<Shim>, req: UpdateTaskRequest) -> Answer<Empty> {
        let container = self.container(&req.id)?;
        let resources: hull_spec::Resources = serde_json::from_slice(&req.resources.value)
            .map_err(|e| status(Code::INVALID_ARGUMENT, format!("resources: {e}")))?;
        let _turn = container.first.turn.lock().await;
        let done = self.do_by(&container.root, Stdio::default(), &[], |runtime| runtime.update(&container.id, &resources).map_err(text));
        done.await.map(|()| Empty::default()).map_err(failed)
    }
}

/// Where hull's state is, in a directory for each namespace of containerd's.
fn state_root(options: &Options, namespace: &str) -> PathBuf {
    options.root.as_deref().unwrap_or(Path::new("/run/containerd/hull")).join(namespace)
}

/// A file of the bundle that names the directory of hull's state.
pub(crate) const STATE_ROOT: &str = "hull-root";

fn open_dir(path: &Path) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| format!("cannot open \"{}\": {e}", path.display()))
}

/// Containers below that directory, reports in the log.
pub(crate) fn runtime(root: &Path) -> Runtime {
    let mut runtime = Runtime::new(root);
    runtime.report = Box::new(|severity, text| match severity {
        hull_runtime::Severity::Warning => log::warn(format_args!("{text}")),
        hull_runtime::Severity::Debug => log::debug(format_args!("{text}")),
    });
    runtime
}

fn text(e: impl std::fmt::Display) -> String {
    e.to_string()
}

/// In a task of its own, so that it goes on where the caller goes away.
async fn on_its_own<T: Send + 'static>(done: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T> {
    tokio::spawn(done).await.map_err(failed)?
}

/// The service.
pub(crate) struct Service(pub(crate) Arc<Shim>);

#[async_trait]
impl Task for Service {
    async fn state(&self, _: &TtrpcContext, req: StateRequest) -> Answer<StateResponse> {
        let (container, process) = self.0.process(&req.id, &req.exec_id)?;
        let exit = process.exit();
        Ok(StateResponse {
            id: req.id,
            bundle: container.bundle.display().to_string(),
            pid: process.pid(),
            status: process.status(container.is_paused()).into(),
            stdin: process.names.stdin.clone(),
            stdout: process.names.stdout.clone(),
            stderr: process.names.stderr.clone(),
            terminal: process.names.terminal,
            exit_status: exit.map_or(0, |exit| exit.code),
            exited_at: exit.map_or(MessageField::none(), |exit| timestamp(exit.at)),
            exec_id: req.exec_id,
            ..StateResponse::default()
        })
    }

    async fn create(&self, _: &TtrpcContext, req: CreateTaskRequest) -> Answer<CreateTaskResponse> {
        on_its_own(Arc::clone(&self.0).make(req)).await
    }

    async fn start(&self, _: &TtrpcContext, req: StartRequest) -> Answer<StartResponse> {
        on_its_own(Arc::clone(&self.0).begin(req)).await
    }

    async fn delete(&self, _: &TtrpcContext, req: DeleteRequest) -> Answer<DeleteResponse> {
        on_its_own(Arc::clone(&self.0).remove(req)).await
    }

    async fn pids(&self, _: &TtrpcContext, req: PidsRequest) -> Answer<PidsResponse> {
        let container = self.0.container(&req.id)?;
        let pids = runtime(&container.root).processes(&container.id).map_err(failed)?;
        let of_exec = |pid| container.added_as(pid).map(|exec_id| any(&ProcessDetails { exec_id, ..ProcessDetails::default() }));
        let of = |pid| ProcessInfo { pid, info: of_exec(pid).into(), ..ProcessInfo::default() };
        let processes = pids.into_iter().map(|pid| of(pid as u32)).collect();
        Ok(PidsResponse { processes, ..PidsResponse::default() })
    }

    async fn pause(&self, _: &TtrpcContext, req: PauseRequest) -> Answer<Empty> {
        on_its_own(Arc::clone(&self.0).freeze(req.id, true)).await
    }

    async fn resume(&self, _: &TtrpcContext, req: ResumeRequest) -> Answer<Empty> {
        on_its_own(Arc::clone(&self.0).freeze(req.id, false)).await
    }

    async fn checkpoint(&self, _: &TtrpcContext, _: CheckpointTaskRequest) -> Answer<Empty> {
        Err(status(Code::UNIMPLEMENTED, "checkpoint: not implemented yet"))
    }

    async fn kill(&self, _: &TtrpcContext, req: KillRequest) -> Answer<Empty> {
        on_its_own(Arc::clone(&self.0).signal(req)).await
    }

    async fn exec(&self, _: &TtrpcContext, req: ExecProcessRequest) -> Answer<Empty> {
        let container = self.0.container(&req.id)?;
        let names = Names { stdin: req.stdin, stdout: req.stdout, stderr: req.stderr, terminal: req.terminal };
        let process = Process::new(&req.exec_id, names, req.spec.value.clone());
        if req.exec_id.is_empty() || !container.add(process) {
            return Err(status(Code::ALREADY_EXISTS, format!("process \"{}\" of container \"{}\" exists", req.exec_id, req.id)));
        }
        let event = TaskExecAdded { container_id: req.id, exec_id: req.exec_id, ..TaskExecAdded::default() };
        self.0.events.tell("/tasks/exec-added", &event);
        Ok(Empty::default())
    }

    async fn resize_pty(&self, _: &TtrpcContext, req: ResizePtyRequest) -> Answer<Empty> {
        let (_, process) = self.0.process(&req.id, &req.exec_id)?;
        let size = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let resized = process.state().streams.resize(size(req.width), size(req.height));
        resized.map(|()| Empty::default()).map_err(|e| failed(format!("cannot resize the terminal: {e}")))
    }

    async fn close_io(&self, _: &TtrpcContext, req: CloseIORequest) -> Answer<Empty> {
        let (_, process) = self.0.process(&req.id, &req.exec_id)?;
        if req.stdin {
            process.state().streams.close_input();
        }
        Ok(Empty::default())
    }

    async fn update(&self, _: &TtrpcContext, req: UpdateTaskRequest) -> Answer<Empty> {
        on_its_own(Arc::clone(&self.0).change(req)).await
    }

    async fn wait(&self, _: &TtrpcContext, req: WaitRequest) -> Answer<WaitResponse> {
        let (_, process) = self.0.process(&req.id, &req.exec_id)?;
        let exit = process.ended().await;
        Ok(WaitResponse { exit_status: exit.code, exited_at: timestamp(exit.at), ..WaitResponse::default() })
    }

    async fn stats(&self, _: &TtrpcContext, req: StatsRequest) -> Answer<StatsResponse> {
        let container = self.0.container(&req.id)?;
        let stats = runtime(&container.root).stats(&container.id).map_err(failed)?;
        let layout = hull_cgroup::Host::detect().map_err(failed)?.layout();
        let stats = metrics::message(&stats, layout).map_err(failed)?;
        Ok(StatsResponse { stats: MessageField::some(stats), ..StatsResponse::default() })
    }

    async fn connect(&self, _: &TtrpcContext, req: ConnectRequest) -> Answer<ConnectResponse> {
        let task_pid = self.0.container(&req.id).map_or(0, |c| c.first.pid());
        Ok(ConnectResponse { shim_pid: std::process::id(), task_pid, version: env!("CARGO_PKG_VERSION").to_owned(), ..ConnectResponse::default() })
    }

    async fn shutdown(&self, _: &TtrpcContext, _: ShutdownRequest) -> Answer<Empty> {
        // Others of the pod may still be there, or come meanwhile.
        if self.0.is_idle() {
            self.0.events.all_told(Duration::from_secs(2)).await;
            self.0.over.send_if_modified(|over| !*over && { *over = self.0.is_idle(); *over });
        }
        Ok(Empty::default())
    }
}

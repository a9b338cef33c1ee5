//! What the program does when it is called, and the process that serves: how it comes to be, and its one loop.

use std::fs;
use std::io::Write as _;
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use containerd_shim_protos::api::DeleteResponse;
use containerd_shim_protos::protobuf::Message as _;
use containerd_shim_protos::shim_async::create_task;
use containerd_shim_protos::ttrpc::asynchronous::Server;
use hull_runtime::{Context as _, Error, Result, Runtime};
use hull_sys::clone::{self, Side};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;

use crate::address::{self, Place, Socket};
use crate::bootstrap::{self, Action, Call};
use crate::events::{Events, timestamp};
use crate::task::{STATE_ROOT, Service, Shim, runtime};
use crate::{info, log, options, rootfs};

/// The program. The result is its exit code; containerd reads standard error where that is not 0.
pub(crate) fn main() -> i32 {
    let answer = Call::read(std::env::args_os().skip(1), |name| std::env::var(name).ok(), std::io::stdin()).and_then(|call| match call.action {
        Action::Start => start(&call),
        Action::Delete => delete(&call),
        Action::Info => info::message(&Runtime::new(""), call.options.clone()),
        Action::Features => info::features(&Runtime::new("")),
        Action::Version => Ok(info::version().into_bytes()),
    });
    match answer.and_then(|answer| std::io::stdout().write_all(&answer).what(|| "cannot answer")) {
        Ok(()) => 0,
        Err(e) => {
            eprintln!("{}: {e}", info::PROGRAM);
            1
        }
    }
}

/// Whether the program was called by a name of runwasi's shims, whose containers are Wasm where their program is.
fn is_for_wasm() -> bool {
    const NAMES: [&str; 4] = ["wasmtime", "wasmedge", "wasmer", "wamr"];
    let called = std::env::args_os().next().map(PathBuf::from);
    let name = called.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let engine = name.and_then(|name| name.strip_prefix("containerd-shim-")?.strip_suffix("-v1"));
    engine.is_some_and(|engine| NAMES.contains(&engine))
}

fn bundle(call: &Call) -> Result<PathBuf> {
    call.bundle.clone().map_or_else(|| std::env::current_dir().what(|| "cannot tell the bundle"), Ok)
}

/// Has a shim serve the container's pod, this one or one that does already.
fn start(call: &Call) -> Result<Vec<u8>> {
    let bundle = bundle(call)?;
    let group = address::group(&bundle, &call.id)?;
    let path = address::path(call.socket_dir.as_deref(), &call.address, &call.namespace, &group);
    let url = address::url(&path);
    // Whoever is told of the address may ask for it at once.
    let place = address::listen(&path)?;
    address::record(&bundle, &url)?;
    if let Place::Ours(socket) = place {
        // Read before there is a shim that could not honour them.
        let options = options::read(call.options.as_ref()).inspect_err(|_| drop(socket.remove()))?;
        let doing = || "cannot make the process that serves";
        let (said, says) = std::io::pipe().what(doing)?;
        // SAFETY: this program has begun no thread.
        match unsafe { clone::clone3(0, None) }.what(doing)? {
            // As long as the socket has this process's name, it may not end: who looks then would take it for a dead one's.
            Side::Parent(_) => {
                drop(says);
                let _ = std::io::copy(&mut &said, &mut std::io::sink());
            }
            Side::Child => {
                let is_known = socket.serve();
                drop((said, says));
                let served = is_known.and_then(|()| detach(call, &options)).and_then(|()| serve(call, options, socket));
                if let Err(e) = &served {
                    log::warn(format_args!("{e}"));
                }
                clone::exit_now(i32::from(served.is_err()));
            }
        }
    }
    bootstrap::reply(call, &url)
}

/// Cuts this process off from who started it.
fn detach(call: &Call, options: &options::Options) -> Result<()> {
    let doing = || "cannot detach";
    log::open(Path::new("log"), call.debug, &call.id);
    rustix::process::setsid().what(doing)?;
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null").what(doing)?;
    (0..3).try_for_each(|number| hull_sys::fs::dup_to(null.as_fd(), number)).what(doing)?;
    // Whose parent ends becomes this one's child, containers above all.
    hull_sys::prctl::set_child_subreaper(true).what(doing)?;
    // Sooner than containerd, and later than containers, where the host has no memory left.
    let score = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    if let Ok(score) = score.trim().parse::<i32>() {
        let _ = fs::write("/proc/self/oom_score_adj", (score + 1).min(1000).to_string());
    }
    match &options.shim_cgroup {
        Some(path) => enter(path).map_err(|e| Error::new(format!("ShimCgroup: {e}"))),
        None => Ok(()),
    }
}

/// Goes to a cgroup, which is made where it is missing.
fn enter(path: &Path) -> std::result::Result<(), hull_cgroup::Error> {
    let host = hull_cgroup::Host::detect()?;
    let mut cgroup = hull_cgroup::Cgroup::plan(&host, &path.to_string_lossy(), info::PROGRAM, false)?;
    if !cgroup.exists() {
        cgroup.create(&hull_spec::Resources::default())?;
    }
    cgroup.add(std::process::id() as i32)
}

/// How long a shim may be without a container. Its first is asked for at once, and after its last containerd says that it is
/// over; but for a containerd that was killed in between, and begins anew without knowing of it.
const UNUSED: Duration = Duration::from_secs(30);

/// Serves until containerd says that it is over, or has left it.
fn serve(call: &Call, options: options::Options, socket: Socket) -> Result<()> {
    let doing = || "cannot serve";
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().what(doing)?;
    runtime.block_on(async {
        let mut ended = signal(SignalKind::child()).what(doing)?;
        let events = Events::new(call.ttrpc_address.as_deref(), &call.namespace);
        let shim = Arc::new(Shim::new(&call.namespace, options, is_for_wasm(), events));
        let mut tasks = create_task(Arc::new(Service(Arc::clone(&shim))));
        // The same by the name that it has for containerd 1.
        let former = create_task(Arc::new(Service(Arc::clone(&shim)))).into_values();
        tasks.extend(former.map(|service| ("containerd.task.v2.Task".to_owned(), service)));
        let listener = socket.listener.try_clone().what(doing)?;
        // SAFETY: the descriptor is nobody else's.
        let server = unsafe { Server::new().add_unix_listener(listener.into_raw_fd()) };
        let mut server = server.map_err(|e| Error::new(format!("cannot serve: {e}")))?.register_service(tasks);
        server.start().await.map_err(|e| Error::new(format!("cannot serve: {e}")))?;
        let mut over = shim.over.subscribe();
        let (mut look, mut unused) = (tokio::time::interval(UNUSED / 2), 0);
        // A process that was stopped for long hears first of what came meanwhile.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ended.recv() => shim.children.reap(),
                _ = over.wait_for(|over| *over) => break,
                _ = look.tick() => {
                    unused = if shim.is_idle() { unused + 1 } else { 0 };
                    if unused > 2 {
                        shim.over.send_replace(true);
                    }
                }
            }
        }
        let removed = socket.remove();
        // Answers that are on their way arrive; who waits for what will not happen any more is not waited for.
        const PATIENCE: Duration = Duration::from_millis(100);
        // While it listens, that part of it would never be over.
        let _ = tokio::time::timeout(PATIENCE, server.shutdown()).await;
        removed
    })
}

/// What containerd calls once the shim is gone, whether it went in order or not.
fn delete(call: &Call) -> Result<Vec<u8>> {
    let bundle = bundle(call)?;
    let mut answer = DeleteResponse { exit_status: 137, exited_at: timestamp(SystemTime::now()), ..DeleteResponse::default() };
    if let Ok(root) = fs::read_to_string(bundle.join(STATE_ROOT)) {
        let runtime = runtime(Path::new(&root));
        if let Ok((state, _)) = runtime.status(&call.id) {
            answer.pid = state.pid as u32;
        }
        // One that is not there, or no more, is none to complain of.
        runtime.delete(&call.id, true)?;
    }
    rootfs::remove(&bundle.join("rootfs"));
    // In the bundle is what the shim served at, whatever the group's name is by now.
    if let Some(path) = fs::read_to_string(bundle.join("address")).ok().as_deref().and_then(|url| url.strip_prefix("unix://")) {
        address::forget(Path::new(path))?;
    }
    answer.write_to_bytes().map_err(|e| Error::new(format!("cannot answer: {e}")))
}

//! containerd's shims: what a task costs from the shim's start to the call that removes what is left, and what a shim
//! takes while its container runs. This program is in containerd's place, so that none of its own time counts.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use containerd_shim_protos::api::*;
use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message, MessageField};
use containerd_shim_protos::shim::oci::Options;
use containerd_shim_protos::shim_sync::{Client, Events, create_events};
use containerd_shim_protos::ttrpc::{self, TtrpcContext};

use crate::measure::{Cost, Once, interleaved};
use crate::{Result, bundle, report};

/// Somebody to tell of events.
struct Listener;

impl Events for Listener {
    fn forward(&self, _: &TtrpcContext, _: ForwardRequest) -> ttrpc::Result<Empty> {
        Ok(Empty::default())
    }
}

/// A shim, and the runtime that it calls if it calls one.
struct Shim {
    name: String,
    program: PathBuf,
    runtime: Option<PathBuf>,
}

impl Shim {
    fn command(&self, dir: &Path, id: &str, action: &str, events: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(dir).args(["-namespace", "bench", "-address", events, "-id", id, "-bundle"]).arg(dir);
        command.arg(action).env("TTRPC_ADDRESS", events).stdin(Stdio::null());
        command
    }

    fn options(&self) -> MessageField<Any> {
        let Some(runtime) = &self.runtime else { return MessageField::none() };
        let options = Options { binary_name: runtime.display().to_string(), root: "/run/bench-shim".into(), ..Options::default() };
        let value = options.write_to_bytes().unwrap_or_default();
        MessageField::some(Any { type_url: "containerd.runc.v1.Options".into(), value, ..Any::default() })
    }

    /// Starts the shim; its client.
    fn start(&self, dir: &Path, id: &str, events: &str) -> Result<Tasks> {
        let out = self.command(dir, id, "start", events).output()?;
        let address = String::from_utf8(out.stdout)?;
        if !out.status.success() {
            return Err(format!("{}: start: {address} {}", self.name, String::from_utf8_lossy(&out.stderr)).into());
        }
        // The address alone, or beside the version of the service.
        let said: serde_json::Value = serde_json::from_str(&address).unwrap_or_default();
        let version = said["version"].as_u64().unwrap_or(2);
        let client = Client::connect(said["address"].as_str().unwrap_or(address.trim()))?;
        Ok(Tasks { client, service: format!("containerd.task.v{version}.Task") })
    }

    fn create(&self, client: &Tasks, dir: &Path, id: &str) -> Result {
        let bundle = dir.display().to_string();
        let create = CreateTaskRequest { id: id.into(), bundle, options: self.options(), ..CreateTaskRequest::default() };
        call::<_, CreateTaskResponse>(client, "Create", &create)?;
        call::<_, StartResponse>(client, "Start", &StartRequest { id: id.into(), ..StartRequest::default() }).map(drop)
    }

    fn remove(&self, client: &Tasks, dir: &Path, id: &str, events: &str) -> Result {
        call::<_, WaitResponse>(client, "Wait", &WaitRequest { id: id.into(), ..WaitRequest::default() })?;
        call::<_, DeleteResponse>(client, "Delete", &DeleteRequest { id: id.into(), ..DeleteRequest::default() })?;
        // It may be gone before it has answered.
        let _ = call::<_, Empty>(client, "Shutdown", &ShutdownRequest { id: id.into(), ..ShutdownRequest::default() });
        let done = self.command(dir, id, "delete", events).output()?;
        if done.status.success() { Ok(()) } else { Err(format!("{}: delete: {}", self.name, String::from_utf8_lossy(&done.stderr)).into()) }
    }
}

/// A shim's service, whose name is another for containerd 1 and 2.
struct Tasks {
    client: Client,
    service: String,
}

fn call<M: Message, R: Message>(tasks: &Tasks, method: &str, message: &M) -> Result<R> {
    let request = ttrpc::Request {
        service: tasks.service.clone(),
        method: method.into(),
        payload: message.write_to_bytes()?,
        timeout_nano: Duration::from_secs(20).as_nanos() as i64,
        ..ttrpc::Request::default()
    };
    let answer = tasks.client.request(request).map_err(|e| format!("{method}: {e}"))?;
    Ok(R::parse_from_bytes(&answer.payload)?)
}

/// Measures hull's shim, beside each hull, and containerd's own with each other runtime.
pub(crate) fn shims(runtimes: &[(String, PathBuf)], runs: usize, scratch: &Path) -> Result<String> {
    let events = format!("{}/events.sock", scratch.display());
    let mut server = ttrpc::Server::new().bind(&format!("unix://{events}"))?.register_service(create_events(Arc::new(Listener)));
    server.start()?;
    let usual = ["/usr/bin", "/usr/local/bin"].map(|dir| Path::new(dir).join("containerd-shim-runc-v2"));
    let usual = usual.into_iter().find(|p| p.exists());
    let mut shims = Vec::new();
    for (name, path) in runtimes {
        let beside = path.with_file_name("containerd-shim-hull-v1");
        if name.starts_with("hull") && beside.exists() {
            shims.push(Shim { name: format!("{name}'s shim"), program: beside, runtime: None });
        }
        if let Some(program) = &usual {
            shims.push(Shim { name: format!("containerd's, {name}"), program: program.clone(), runtime: Some(path.clone()) });
        }
    }
    // Shims log to a named pipe, and wait for its reader.
    let mut logs = Vec::new();
    // containerd's finds a container's bundle by its id.
    let mut bundle = |id: &str, args: &[&str]| -> Result<PathBuf> {
        let dir = bundle::bundle(scratch, id, args)?;
        logs.push(log(&dir.join("log"))?);
        Ok(dir)
    };
    let mut ways: Vec<Once<'_>> = Vec::new();
    for (n, shim) in shims.iter().enumerate() {
        let id = format!("bench{n}-{}", std::process::id());
        let (dir, events) = (bundle(&id, &["/bin/true"])?, &events);
        let once = move || {
            let begun = Instant::now();
            let client = shim.start(&dir, &id, events)?;
            shim.create(&client, &dir, &id)?;
            shim.remove(&client, &dir, &id, events)?;
            Ok(Cost { wall: begun.elapsed(), ..Cost::default() })
        };
        ways.push((shim.name.clone(), Box::new(once)));
    }
    let rows = interleaved(&ways, runs)?;
    let mut text = format!("\n### shim: start, create, start, wait, delete, shutdown, delete ({runs} runs each, medians)\n\n");
    text.push_str("| | wall ms | fastest ms | idle: own KiB | its share (PSS) | threads |\n| --- | ---: | ---: | ---: | ---: | ---: |\n");
    for (n, (shim, row)) in shims.iter().zip(&rows).enumerate() {
        let id = format!("idle{n}-{}", std::process::id());
        let long = bundle(&id, &["/bin/sleep", "1000"])?;
        let client = shim.start(&long, &id, &events)?;
        shim.create(&client, &long, &id)?;
        let connect = call::<_, ConnectResponse>(&client, "Connect", &ConnectRequest { id: id.clone(), ..ConnectRequest::default() })?;
        std::thread::sleep(Duration::from_secs(1));
        let of_shim = format!("/proc/{}", connect.shim_pid);
        let (dirty, share) = memory(&fs::read_to_string(format!("{of_shim}/smaps_rollup"))?);
        let threads = fs::read_dir(format!("{of_shim}/task"))?.count();
        call::<_, Empty>(&client, "Kill", &KillRequest { id: id.clone(), signal: 9, ..KillRequest::default() })?;
        shim.remove(&client, &long, &id, &events)?;
        let wall = report::median(row.costs.iter().map(|c| c.wall.as_secs_f64() * 1e3).collect());
        let fastest = row.costs.iter().map(|c| c.wall).min().unwrap_or_default().as_secs_f64() * 1e3;
        let _ = writeln!(text, "| {} | {wall:.1} | {fastest:.1} | {dirty} | {share} | {threads} |", row.name);
    }
    server.shutdown();
    Ok(text)
}

fn log(path: &Path) -> Result<fs::File> {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR, 0)?;
    Ok(fs::OpenOptions::new().read(true).write(true).open(path)?)
}

/// What is no file's, and the share, in KiB.
fn memory(rollup: &str) -> (u64, u64) {
    let of = |name: &str| rollup.lines().find_map(|l| l.strip_prefix(name)?.split_whitespace().next()?.parse().ok()).unwrap_or(0);
    (of("Anonymous:"), of("Pss:"))
}

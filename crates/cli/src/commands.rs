//! One function per command: options in, library calls, output.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use hull_runtime::{Bundle, Context as _, Error, Result, Runtime, Source, State, Status};
use hull_spec::state::Output;
use hull_spec::{Resources, Spec};

use crate::args::{self, Cli, Command, OutputFormat};
use crate::log::Logger;
use crate::table;

/// Runs the command; the result is the exit code.
pub(crate) fn execute(runtime: &Runtime, logger: &Rc<Logger>, cli: Cli) -> Result<i32> {
    match cli.command {
        Command::Create(c) => runtime.create(&c.launch.id, &bundle(&c.launch, false)).map(|_| 0),
        Command::Start(c) => runtime.start(&c.id).map(|()| 0),
        Command::Run(c) => run(runtime, &c),
        Command::Exec(c) => crate::exec::exec(runtime, &c),
        Command::State(c) => state(runtime, &c.id),
        Command::List(c) => list(runtime, &c, cli.global.root.is_some()),
        Command::Ps(c) => ps(runtime, &c),
        Command::Kill(c) => kill(runtime, &c),
        Command::Delete(c) => delete(runtime, &c),
        Command::Pause(c) => runtime.freeze(&c.id, true).map(|()| 0),
        Command::Resume(c) => runtime.freeze(&c.id, false).map(|()| 0),
        Command::Update(c) => runtime.update(&c.id, &resources(&c)?).map(|()| 0),
        Command::Events(c) => events(runtime, &c),
        Command::Mounts(c) => mounts(runtime, &c),
        Command::Spec(c) => spec(&c),
        Command::Features(_) => print(&hull_spec::default::to_pretty(&runtime.features()).map_err(json)?),
        Command::Do(c) => crate::sandbox::run(runtime, &c),
        Command::Doctor(c) => doctor(runtime, &c),
        Command::Completion(c) => {
            let mut out = Vec::new();
            crate::completion::completion(c.shell, &mut out).what(|| "cannot write the completion script")?;
            print(&out)
        }
        Command::Man(c) => {
            let mut out = Vec::new();
            crate::completion::man(c.dir.as_deref(), &mut out).what(|| "cannot write the manual pages")?;
            let _ = logger;
            print(&out)
        }
    }
}

fn json(e: serde_json::Error) -> Error {
    Error::new(format!("cannot write JSON: {e}"))
}

/// Writes to standard output; a reader that went away is no failure.
fn print(bytes: &[u8]) -> Result<i32> {
    match std::io::stdout().write_all(bytes) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(e).what(|| "cannot write to standard output"),
        _ => Ok(0),
    }
}

fn bundle(launch: &args::Launch, foreground: bool) -> Bundle {
    let mut bundle = Bundle::new(&launch.bundle);
    if let Some(config) = &launch.config {
        bundle.config = Source::File(config.clone());
    }
    // Names are the caller's; the runtime works from the bundle's directory.
    bundle.console_socket = launch.console_socket.as_deref().map(absolute);
    bundle.pidfd_socket = launch.setup.pidfd_socket.as_deref().map(absolute);
    bundle.pid_file = launch.pid_file.as_deref().map(absolute);
    bundle.preserve_fds = launch.setup.preserve_fds;
    bundle.no_pivot = launch.setup.no_pivot;
    bundle.no_new_keyring = launch.setup.no_new_keyring;
    bundle.isolation.clone_from(&launch.setup.isolation);
    bundle.foreground = foreground;
    bundle
}

/// A path that holds whatever the working directory becomes.
pub(crate) fn absolute(path: &Path) -> std::path::PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn run(runtime: &Runtime, c: &args::Run) -> Result<i32> {
    if !c.detach && !c.launch.no_subreaper {
        hull_sys::prctl::set_child_subreaper(true).what(|| "cannot become a subreaper")?;
    }
    runtime.run(&c.launch.id, &bundle(&c.launch, !c.detach), c.detach, c.keep)
}

/// The state document of a container whose owner's name is `owner`.
fn document<'a>(state: &'a State, status: Status, owner: &'a str) -> Output<'a> {
    Output {
        oci_version: &state.oci_version,
        id: &state.id,
        pid: if status == Status::Stopped { 0 } else { state.pid },
        status: status.as_str(),
        bundle: &state.bundle,
        rootfs: &state.rootfs,
        created: &state.created,
        annotations: &state.annotations,
        owner,
    }
}

fn state(runtime: &Runtime, id: &str) -> Result<i32> {
    let (state, status) = runtime.status(id)?;
    let mut bytes = serde_json::to_vec_pretty(&document(&state, status, "")).map_err(json)?;
    bytes.push(b'\n');
    print(&bytes)
}

fn list(runtime: &Runtime, c: &args::List, root_given: bool) -> Result<i32> {
    if root_given {
        // The default one is made when it is needed; one that was named and isn't there is a mistake.
        std::fs::read_dir(&runtime.root).what(|| format!("cannot read the state directory \"{}\"", runtime.root.display()))?;
    }
    let containers = runtime.list()?;
    if c.quiet {
        let ids: String = containers.iter().map(|(s, _)| format!("{}\n", s.id)).collect();
        return print(ids.as_bytes());
    }
    let owner = |uid: u32| user_name(uid).unwrap_or_else(|| format!("#{uid}"));
    if c.format == OutputFormat::Json {
        let owners: Vec<String> = containers.iter().map(|(s, _)| owner(s.owner)).collect();
        let all: Vec<_> =
            containers.iter().zip(&owners).map(|((s, status), owner)| document(s, *status, owner)).collect();
        // Go writes an empty list as null, and scripts have learned to read that.
        let text = if all.is_empty() { "null".to_owned() } else { serde_json::to_string(&all).map_err(json)? };
        return print(format!("{text}\n").as_bytes());
    }
    let rows: Vec<_> = containers
        .into_iter()
        .map(|(s, status)| table::ContainerRow {
            pid: if status == Status::Stopped { 0 } else { s.pid },
            status: status.to_string(),
            bundle: s.bundle.to_string_lossy().into_owned(),
            created: s.created,
            owner: owner(s.owner),
            id: s.id,
        })
        .collect();
    print(table::containers(&rows).as_bytes())
}

/// The name of a user by /etc/passwd.
pub(crate) fn user_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut rows = text.lines().map(|l| l.split(':').collect::<Vec<_>>());
    rows.find(|f| f.get(2).and_then(|u| u.parse().ok()) == Some(uid)).map(|f| f[0].to_owned())
}

fn ps(runtime: &Runtime, c: &args::Ps) -> Result<i32> {
    let pids = runtime.processes(&c.id)?;
    if c.format == OutputFormat::Json {
        return print(format!("{}\n", serde_json::to_string(&pids).map_err(json)?).as_bytes());
    }
    let mut command = std::process::Command::new("ps");
    if c.args.is_empty() {
        command.arg("-ef");
    } else {
        command.args(&c.args);
    }
    let out = command.output().what(|| "cannot run ps (Debian has it in the package procps)")?;
    if !out.status.success() {
        return Err(Error::new(format!("ps failed: {}", String::from_utf8_lossy(&out.stderr).trim())));
    }
    let text = table::ps_lines(&String::from_utf8_lossy(&out.stdout), &pids).map_err(Error::new)?;
    print(text.as_bytes())
}

/// A signal by number or name, with or without SIG.
fn signal(text: &str) -> Result<i32> {
    const NAMES: &[(&str, i32)] = &[
        ("HUP", 1), ("INT", 2), ("QUIT", 3), ("ILL", 4), ("TRAP", 5), ("ABRT", 6), ("IOT", 6), ("BUS", 7), ("FPE", 8),
        ("KILL", 9), ("USR1", 10), ("SEGV", 11), ("USR2", 12), ("PIPE", 13), ("ALRM", 14), ("TERM", 15),
        ("STKFLT", 16), ("CHLD", 17), ("CLD", 17), ("CONT", 18), ("STOP", 19), ("TSTP", 20), ("TTIN", 21),
        ("TTOU", 22), ("URG", 23), ("XCPU", 24), ("XFSZ", 25), ("VTALRM", 26), ("PROF", 27), ("WINCH", 28),
        ("IO", 29), ("POLL", 29), ("PWR", 30), ("SYS", 31),
    ];
    let unknown = || Error::new(format!("unknown signal \"{text}\""));
    if let Ok(number) = text.parse::<i32>() {
        return if (0..=64).contains(&number) { Ok(number) } else { Err(unknown()) };
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == name) {
        return Ok(*number);
    }
    // Real-time signals count from both ends; the C library keeps 32 and 33 for itself.
    let offset = |rest: &str| if rest.is_empty() { Some(0) } else { rest[1..].parse::<i32>().ok() };
    let number = if let Some(rest) = name.strip_prefix("RTMIN") {
        offset(rest).map(|n| 34 + n)
    } else if let Some(rest) = name.strip_prefix("RTMAX") {
        offset(rest).map(|n| 64 - n)
    } else {
        None
    };
    number.filter(|n| (34..=64).contains(n)).ok_or_else(unknown)
}

fn kill(runtime: &Runtime, c: &args::Kill) -> Result<i32> {
    let signal = signal(&c.signal)?;
    for id in ids(runtime, &c.id, c.regex)? {
        runtime.kill(&id, signal, c.all)?;
    }
    Ok(0)
}

fn delete(runtime: &Runtime, c: &args::Delete) -> Result<i32> {
    for id in ids(runtime, &c.id, c.regex)? {
        runtime.delete(&id, c.force)?;
    }
    Ok(0)
}

fn ids(runtime: &Runtime, id: &str, regex: bool) -> Result<Vec<String>> {
    if !regex {
        return Ok(vec![id.to_owned()]);
    }
    let pattern = regex_lite::Regex::new(id).map_err(|e| Error::new(format!("\"{id}\" is no regular expression: {e}")))?;
    Ok(runtime.list()?.into_iter().map(|(s, _)| s.id).filter(|id| pattern.is_match(id)).collect())
}

/// The bytes of a file, or with "-" of standard input.
fn read(file: &Path) -> Result<Vec<u8>> {
    if file != Path::new("-") {
        return std::fs::read(file).what(|| format!("cannot read \"{}\"", file.display()));
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::stdin(), &mut bytes).what(|| "cannot read standard input")?;
    Ok(bytes)
}

fn mounts(runtime: &Runtime, c: &args::Mounts) -> Result<i32> {
    let mounts = hull_spec::Mount::list_from_slice(&read(&c.file)?);
    let mounts = mounts.map_err(|e| Error::new(format!("\"{}\": {e}", c.file.display())))?;
    match c.action {
        args::MountsAction::Add => runtime.add_mounts(&c.id, mounts)?,
        args::MountsAction::Remove => {
            let paths: Vec<_> = mounts.into_iter().map(|m| m.destination).collect();
            runtime.remove_mounts(&c.id, &paths)?;
        }
    }
    Ok(0)
}

fn resources(c: &args::Update) -> Result<Resources> {
    if let Some(file) = &c.resources {
        let bytes = read(file)?;
        return Resources::from_slice(&bytes).map_err(|e| Error::new(format!("--resources: {e}")));
    }
    for (option, value) in [("--l3-cache-schema", &c.l3_cache_schema), ("--mem-bw-schema", &c.mem_bw_schema)] {
        if value.is_some() {
            return Err(Error::new(format!("{option}: Intel RDT is not supported")));
        }
    }
    Ok(Resources {
        memory: Some(hull_spec::Memory {
            limit: c.memory,
            reservation: c.memory_reservation,
            swap: c.memory_swap,
            ..Default::default()
        }),
        cpu: Some(hull_spec::Cpu {
            shares: c.cpu_share,
            quota: c.cpu_quota,
            burst: c.cpu_burst,
            period: c.cpu_period,
            realtime_runtime: c.cpu_rt_runtime,
            realtime_period: c.cpu_rt_period,
            cpus: c.cpuset_cpus.clone().unwrap_or_default(),
            mems: c.cpuset_mems.clone().unwrap_or_default(),
            idle: c.cpu_idle,
        }),
        pids: c.pids_limit.map(|limit| hull_spec::Pids { limit: Some(limit) }),
        block_io: c.blkio_weight.map(|weight| hull_spec::BlockIo { weight: Some(weight), ..Default::default() }),
        ..Resources::default()
    })
}

fn events(runtime: &Runtime, c: &args::Events) -> Result<i32> {
    /// A line of output; scripts look for the first fields in this order.
    #[derive(serde::Serialize)]
    struct Event<'a> {
        r#type: &'static str,
        id: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<hull_cgroup::Stats>,
    }
    let say = |kind, data| -> Result<()> {
        let event = serde_json::to_string(&Event { r#type: kind, id: &c.id, data }).map_err(json)?;
        print(format!("{event}\n").as_bytes()).map(drop)
    };
    let stats = || say("stats", Some(runtime.stats(&c.id)?));
    if c.stats {
        return stats().map(|()| 0);
    }
    if c.interval.is_zero() {
        return Err(Error::new("--interval: must be above 0"));
    }
    let (state, status) = runtime.status(&c.id)?;
    if status == Status::Stopped {
        return Err(Error::new(format!("container with id {} is not running", c.id)));
    }
    let mut watch = state.cgroup.as_ref().and_then(|g| g.oom_watch().ok());
    let process = state.process()?;
    let mut next = std::time::Instant::now() + c.interval;
    loop {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let left: Duration = next.saturating_duration_since(std::time::Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let mut fds = vec![PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)];
        if let Some(watch) = &watch {
            fds.push(PollFd::from_borrowed_fd(watch.as_fd(), PollFlags::IN));
        }
        let count = poll(&mut fds, Some(&timeout)).unwrap_or(0);
        let ended = !fds[0].revents().is_empty();
        let woken = fds.get(1).is_some_and(|f| !f.revents().is_empty());
        drop(fds);
        if woken && let Some(w) = &mut watch {
            match w.take() {
                Ok(hull_cgroup::OomEvent::Oom) => {
                    say("oom", None)?;
                }
                Ok(hull_cgroup::OomEvent::Other) => {}
                Ok(hull_cgroup::OomEvent::End) | Err(_) => watch = None,
            }
        }
        if ended {
            return Ok(0);
        }
        if count == 0 {
            stats()?;
            next += c.interval;
        }
    }
}

fn spec(c: &args::Spec) -> Result<i32> {
    let name = c.file.clone().unwrap_or_else(|| "config.json".into());
    let path = c.bundle.join(name);
    let user = c.rootless.then(|| (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    let host = hull_cgroup::Host::detect().map_err(|e| Error::new(e.to_string()))?;
    let spec = Spec::example(user, host.layout() == hull_cgroup::Layout::V2);
    let bytes = hull_spec::default::to_pretty(&spec).map_err(json)?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).open(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(format!("file {} exists. Remove it first", path.display()))
        }
        _ => Error::new(format!("cannot write \"{}\": {e}", path.display())),
    });
    file?.write_all(&bytes).what(|| format!("cannot write \"{}\"", path.display()))?;
    Ok(0)
}

fn doctor(runtime: &Runtime, c: &args::Doctor) -> Result<i32> {
    let report = crate::doctor::Report::examine(&runtime.root);
    let text = if c.json { report.json().map_err(json)? } else { report.text() };
    print(format!("{}\n", text.trim_end()).as_bytes())?;
    Ok(i32::from(!report.can_run()))
}

#[cfg(test)]
mod tests {
    use super::signal;

    #[test]
    fn signals() {
        let cases = [("9", 9), ("KILL", 9), ("SIGKILL", 9), ("sigterm", 15), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)];
        for (text, number) in cases {
            assert_eq!(signal(text).map_err(|e| e.to_string()), Ok(number), "{text}");
        }
        for bad in ["", "NOPE", "65", "-1", "RTMIN+99", "RTMIN+"] {
            assert!(signal(bad).is_err(), "{bad}");
        }
    }
}

//! `hull do`: a container made up from the command line, around the host's own files.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use hull_runtime::{Bundle, Context as _, Error, HostOverlay, Result, Runtime, Source};
use hull_spec::{
    Capabilities, Cpu, IdMapping, Linux, Memory, Mount, Namespace, NamespaceKind, Pids, Process, Resources, Root, Spec, User,
};
use rustix::termios::isatty;

use crate::args::{self, Net, Tty};

/// Directories that the sandbox gets empty or made anew: what runs on the host is reached through them.
const FRESH: [&str; 4] = ["/proc", "/sys", "/dev", "/run"];

pub(crate) fn run(runtime: &Runtime, c: &args::Do) -> Result<i32> {
    let id = id();
    let mut bundle = Bundle::new("/");
    bundle.foreground = true;
    bundle.ends_with_caller = true;
    bundle.isolation.clone_from(&c.setup.isolation);
    bundle.preserve_fds = c.setup.preserve_fds;
    bundle.no_pivot = c.setup.no_pivot;
    bundle.no_new_keyring = c.setup.no_new_keyring;
    bundle.pidfd_socket = c.setup.pidfd_socket.as_deref().map(crate::commands::absolute);
    bundle.overlay = Some(HostOverlay {
        base: base(c)?,
        scratch: PathBuf::new(),
        fresh: FRESH.iter().map(PathBuf::from).collect(),
    });
    let args = c.command.iter().map(|a| text("argument", a)).collect::<Result<Vec<_>>>()?;
    let artifact = match (c.setup.isolation.as_deref(), c.command.split_first()) {
        (Some("wasm"), Some((program, _))) => crate::oci::load(program, &args[1..]).transpose()?,
        _ => None,
    };
    let (args, env) = match artifact {
        Some(loaded) => {
            loaded.warning.iter().for_each(|w| eprintln!("hull: {}: {w}", args[0]));
            bundle.module = Some(loaded.module);
            (loaded.args, Some(loaded.env))
        }
        None => (args, None),
    };
    let spec = spec(c, args, env)?;
    let mut inner = Runtime::new(runtime.root.clone());
    inner.no_cgroups = runtime.no_cgroups;
    inner.rootless = runtime.rootless;
    inner.guests.clone_from(&runtime.guests);
    inner.report = Box::new(|severity, text| {
        if severity == hull_runtime::Severity::Warning {
            eprintln!("hull: {text}");
        }
    });
    let mut runtime = inner;
    // A sandbox without limits needs no cgroup, and starts the sooner.
    runtime.no_cgroups |= spec.linux.as_ref().is_none_or(|l| l.resources.is_none());
    bundle.config = Source::Given(Box::new(spec));
    runtime.run(&id, &bundle, false, false)
}

/// A name that no other sandbox has: one of this process's number may be left of a hull that was killed.
fn id() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    format!("do-{}-{:x}", std::process::id(), now.as_nanos())
}

fn base(c: &args::Do) -> Result<PathBuf> {
    let base = c.rootfs.as_deref().unwrap_or(Path::new("/"));
    base.canonicalize().what(|| format!("--rootfs: cannot open \"{}\"", base.display()))
}

fn spec(c: &args::Do, args: Vec<String>, env: Option<Vec<String>>) -> Result<Spec> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let user = match &c.user {
        Some(text) => self::user(text)?,
        None => (uid, gid),
    };
    let mut kinds = vec![NamespaceKind::Mount, NamespaceKind::Pid, NamespaceKind::Ipc, NamespaceKind::Uts];
    if c.net == Net::None {
        kinds.push(NamespaceKind::Network);
    }
    let mut linux = Linux {
        seccomp: Some(hull_seccomp::default_profile(&capabilities())),
        masked_paths: strings(&hull_spec::default::MASKED),
        readonly_paths: strings(&hull_spec::default::READONLY),
        resources: resources(c),
        ..Linux::default()
    };
    if uid != 0 {
        kinds.push(NamespaceKind::User);
        linux.uid_mappings = vec![IdMapping { container_id: user.0, host_id: uid, size: 1 }];
        linux.gid_mappings = vec![IdMapping { container_id: user.1, host_id: gid, size: 1 }];
    }
    linux.namespaces = kinds.into_iter().map(|kind| Namespace { kind, path: None }).collect();
    let caps = strings(&capabilities());
    let terminal = match c.tty {
        Tty::Always => true,
        Tty::Never => false,
        Tty::Auto => isatty(rustix::stdio::stdin()) && isatty(rustix::stdio::stdout()),
    };
    let groups = if uid == 0 { own_groups() } else { vec![] };
    Ok(Spec {
        oci_version: hull_spec::VERSION.into(),
        root: Some(Root { path: "/".into(), readonly: false }),
        hostname: c.hostname.clone().unwrap_or_else(|| "hull".into()),
        process: Some(Process {
            terminal,
            user: User { uid: user.0, gid: user.1, additional_gids: groups, ..User::default() },
            args,
            env: environment(c, env)?,
            cwd: cwd(c)?,
            capabilities: Some(Capabilities {
                bounding: caps.clone(),
                effective: caps.clone(),
                permitted: caps,
                ..Capabilities::default()
            }),
            no_new_privileges: uid != 0,
            ..Process::default()
        }),
        mounts: mounts(c)?,
        linux: Some(linux),
        ..Spec::default()
    })
}

/// The usual set of containers without CAP_MKNOD: a sandbox without limits has no cgroup that would keep it from opening
/// a node of the host's disk.
fn capabilities() -> Vec<&'static str> {
    hull_jail::caps::DEFAULT.into_iter().filter(|name| *name != "CAP_MKNOD").collect()
}

fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

fn text(what: &str, value: &std::ffi::OsStr) -> Result<String> {
    value.to_owned().into_string().map_err(|v: OsString| Error::new(format!("{what} {v:?} is not UTF-8")))
}

/// The caller's supplementary groups, so that a sandboxed root sees files as root does.
fn own_groups() -> Vec<u32> {
    rustix::process::getgroups().map(|g| g.iter().map(|g| g.as_raw()).collect()).unwrap_or_default()
}

/// `--user`: numbers, or names of the host.
fn user(asked: &str) -> Result<(u32, u32)> {
    let (user, group) = asked.split_once(':').map_or((asked, None), |(u, g)| (u, Some(g)));
    let lookup = |file: &str, name: &str| -> Option<Vec<String>> {
        let text = std::fs::read_to_string(file).ok()?;
        let mut rows = text.lines().map(|l| l.split(':').map(String::from).collect::<Vec<_>>());
        rows.find(|f| f.first().is_some_and(|n| n == name) || f.get(2).is_some_and(|n| n == name))
    };
    let row = lookup("/etc/passwd", user);
    let number = |f: &Option<Vec<String>>, i: usize| f.as_ref().and_then(|f| f.get(i)?.parse().ok());
    let uid = user.parse().ok().or_else(|| number(&row, 2));
    let uid = uid.ok_or_else(|| Error::new(format!("--user: no user \"{user}\" on this host")))?;
    let gid = match group {
        Some(g) => g.parse().ok().or_else(|| number(&lookup("/etc/group", g), 2)),
        None => number(&row, 3).or(Some(uid)),
    };
    let gid = gid.ok_or_else(|| Error::new(format!("--user: no group \"{}\" on this host", group.unwrap_or(""))))?;
    Ok((uid, gid))
}

fn resources(c: &args::Do) -> Option<Resources> {
    if c.memory.is_none() && c.cpus.is_none() && c.pids.is_none() {
        return None;
    }
    Some(Resources {
        memory: c.memory.map(|limit| Memory { limit: Some(limit), ..Memory::default() }),
        cpu: c.cpus.map(|s| Cpu { quota: Some(s.quota), period: Some(s.period), ..Cpu::default() }),
        pids: c.pids.map(|limit| Pids { limit: Some(limit) }),
        ..Resources::default()
    })
}

/// The caller's environment, with what the options add. A program that comes in an image has that image's in its place,
/// as with engines: the caller's is not for what was fetched from somewhere.
fn environment(c: &args::Do, image: Option<Vec<String>>) -> Result<Vec<String>> {
    let callers = || {
        let all = std::env::vars_os().filter_map(|(k, v)| Some(format!("{}={}", k.into_string().ok()?, v.into_string().ok()?)));
        // Meant for this process, not for the program in the sandbox.
        all.filter(|e| !e.starts_with("LISTEN_") && !e.starts_with("NOTIFY_SOCKET=")).collect()
    };
    let mut env = image.unwrap_or_else(callers);
    for entry in &c.env {
        let entry = text("--env", entry)?;
        if entry.contains('=') {
            env.push(entry);
        } else if let Ok(value) = std::env::var(&entry) {
            env.push(format!("{entry}={value}"));
        }
    }
    if !env.iter().any(|e| e.starts_with("PATH=")) {
        env.push("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into());
    }
    Ok(env)
}

fn cwd(c: &args::Do) -> Result<PathBuf> {
    // Another tree need not have the caller's directory.
    if c.rootfs.is_some() {
        return Ok("/".into());
    }
    std::env::current_dir().what(|| "cannot find the current directory")
}

fn mounts(c: &args::Do) -> Result<Vec<Mount>> {
    let mount = |destination: &str, kind: &str, options: &str| Mount {
        destination: destination.into(),
        kind: kind.into(),
        source: kind.into(),
        options: options.split(',').map(String::from).collect(),
        ..Mount::default()
    };
    let mut mounts = vec![
        mount("/proc", "proc", "nosuid,noexec,nodev"),
        mount("/dev", "tmpfs", "nosuid,strictatime,mode=755,size=65536k"),
        mount("/dev/pts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
        mount("/dev/shm", "tmpfs", "nosuid,noexec,nodev,mode=1777"),
        mount("/dev/mqueue", "mqueue", "nosuid,noexec,nodev"),
        mount("/sys", "sysfs", "nosuid,noexec,nodev,ro"),
        mount("/run", "tmpfs", "nosuid,nodev,mode=755"),
    ];
    let resolver = Path::new("/run/systemd/resolve");
    if c.net == Net::Host && c.rootfs.is_none() && resolver.is_dir() {
        // /etc/resolv.conf is often a link into it.
        mounts.push(bind(resolver, false)?);
    }
    for path in &c.ro {
        mounts.push(bind(path, false)?);
    }
    for path in &c.rw {
        mounts.push(bind(path, true)?);
    }
    Ok(mounts)
}

fn bind(path: &Path, writable: bool) -> Result<Mount> {
    let option = if writable { "--rw" } else { "--ro" };
    let full = path.canonicalize().what(|| format!("{option}: cannot open \"{}\"", path.display()))?;
    if full == Path::new("/") {
        return Err(Error::new(format!(
            "{option}: \"/\" would take the place of all that the sandbox has of its own, /proc, /dev and /run too: name what \
             the program needs below it"
        )));
    }
    let source = text(option, full.as_os_str())?;
    let options = strings(if writable { &["rbind", "rnodev"] } else { &["rbind", "rro", "rnodev"] });
    Ok(Mount { destination: full, kind: "bind".into(), source, options, ..Mount::default() })
}

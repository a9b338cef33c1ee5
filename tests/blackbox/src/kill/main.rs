//! Kills hull at each of its system calls, and the container's process at each of its own before it executes the
//! program: `hull-kill-anywhere [--view host|v1|v2] [--every N] [COMMAND...]`, RUNTIME as for hull-blackbox.
//!
//! After each kill `delete --force` has to succeed and to leave nothing: no process, no cgroup in any hierarchy, no
//! mount on the host, no directory. Where it was killed before it made the cgroup that it had planned, another's process
//! takes that cgroup first, and has to survive. The commands: create, create-staged (with a process in between), start, run,
//! delete, delete-running.

mod trace;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio, exit};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use trace::{Outcome, Trace, Victim};

type Result<T> = std::result::Result<T, String>;

const COMMANDS: [&str; 6] = ["create", "create-staged", "start", "run", "delete", "delete-running"];

/// The worst that a command may take, in seconds.
const LIMIT: u32 = 15;

struct Sweep {
    runtime: String,
    dir: PathBuf,
    id: String,
    every: u64,
    mounts: Vec<String>,
    /// How often another's process took a cgroup that was only planned.
    taken: Cell<u32>,
}

fn main() {
    match sweep_all() {
        Ok(0) => {}
        Ok(n) => {
            println!("{n} failures");
            exit(1)
        }
        Err(e) => {
            eprintln!("hull-kill-anywhere: {e}");
            exit(2)
        }
    }
}

fn sweep_all() -> Result<usize> {
    let (mut view, mut every, mut commands) = ("host".to_owned(), 1, Vec::new());
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--view" => view = value()?,
            "--every" => every = value()?.parse().map_err(|e| format!("--every: {e}"))?,
            name if COMMANDS.contains(&name) => commands.push(arg),
            _ => return Err(format!("unknown argument {arg}; the commands are {}", COMMANDS.join(", "))),
        }
    }
    if commands.is_empty() {
        commands = COMMANDS.map(str::to_owned).to_vec();
    }
    show(&view)?;
    // What loses its parent becomes ours, and shows in the table of processes below us.
    // SAFETY: plain system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    let sweep = Sweep::new(every.max(1))?;
    let mut failures = 0;
    for command in &commands {
        failures += sweep.command(command)?;
    }
    fs::remove_dir_all(&sweep.dir).map_err(|e| format!("{}: {e}", sweep.dir.display()))?;
    Ok(failures)
}

/// Takes a mount namespace of its own, with the hierarchies that the view names.
fn show(view: &str) -> Result<()> {
    use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};
    // SAFETY: plain system call without pointers; this program has one thread.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(format!("unshare: {}", std::io::Error::last_os_error()));
    }
    let failed = |e| format!("cannot set up the view {view}: {e}");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(failed)?;
    match view {
        "host" => Ok(()),
        "v1" => unmount("/sys/fs/cgroup/unified", UnmountFlags::DETACH).map_err(failed),
        "v2" => {
            unmount("/sys/fs/cgroup", UnmountFlags::DETACH).map_err(failed)?;
            mount("none", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None).map_err(failed)
        }
        _ => Err(format!("--view {view}: want host, v1 or v2")),
    }
}

impl Sweep {
    fn new(every: u64) -> Result<Sweep> {
        let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/x86_64-unknown-linux-gnu/release/hull");
        let runtime = std::env::var("RUNTIME").unwrap_or_else(|_| default.into());
        let id = format!("hka{}", std::process::id());
        let dir = std::env::temp_dir().join(&id);
        let mut sweep = Sweep { runtime, dir, id, every, mounts: Vec::new(), taken: Cell::new(0) };
        for (name, change) in [("plain", plain as fn(&mut Value)), ("staged", staged)] {
            sweep.bundle(name, change).map_err(|e| format!("bundle {name}: {e}"))?;
        }
        sweep.mounts = mounts()?;
        Ok(sweep)
    }

    fn bundle(&self, name: &str, change: fn(&mut Value)) -> std::result::Result<(), Box<dyn std::error::Error>> {
        let bundle = self.dir.join(name);
        fs::create_dir_all(bundle.join("rootfs/bin"))?;
        let busybox = std::env::var("BUSYBOX").unwrap_or_else(|_| "/bin/busybox".into());
        fs::copy(busybox, bundle.join("rootfs/bin/busybox"))?;
        fs::set_permissions(&self.dir, fs::Permissions::from_mode(0o755))?;
        let made = Command::new(&self.runtime).args(["spec", "--bundle"]).arg(&bundle).status()?;
        if !made.success() {
            return Err("hull spec failed".into());
        }
        let mut config: Value = serde_json::from_slice(&fs::read(bundle.join("config.json"))?)?;
        change(&mut config);
        fs::write(bundle.join("config.json"), config.to_string())?;
        Ok(())
    }

    fn arguments(&self, words: &[&str]) -> Vec<String> {
        let root = self.dir.join("state").to_string_lossy().into_owned();
        [&self.runtime, "--root", &root].into_iter().chain(words.iter().copied()).map(str::to_owned).collect()
    }

    /// Runs hull to its end; its output on failure.
    fn hull(&self, words: &[&str]) -> Result<()> {
        let all = self.arguments(words);
        let mut command = Command::new(&all[0]);
        command.args(&all[1..]).stdin(Stdio::null()).stdout(Stdio::null());
        // A container's process keeps the standard descriptors: they are files, not pipes to wait for.
        let log = self.dir.join("log");
        let file = fs::File::create(&log).map_err(|e| e.to_string())?;
        let status = command.stderr(file).status().map_err(|e| e.to_string())?;
        match status.success() {
            true => Ok(()),
            false => Err(format!("{}: {status}: {}", words.join(" "), fs::read_to_string(log).unwrap_or_default().trim())),
        }
    }

    /// Sweeps one command: each process of it, each of its system calls.
    fn command(&self, name: &str) -> Result<usize> {
        let begun = Instant::now();
        let (mut points, mut failures) = (Vec::new(), 0);
        self.taken.set(0);
        for role in 0.. {
            let mut at = 1;
            let mut killed = 0;
            loop {
                let victim = Victim { role, at };
                let outcome = self.once(name, victim);
                match &outcome {
                    Ok(Outcome::Finished) => break,
                    Ok(_) => {}
                    Err(e) => {
                        failures += 1;
                        println!("FAILED {name}, process {role} killed before its system call {at}: {e}");
                        if failures > 20 {
                            return Ok(failures);
                        }
                        // What is left would spoil the next turn.
                        let _ = self.hull(&["delete", "--force", &self.id]);
                    }
                }
                killed += 1;
                at += self.every;
            }
            if killed == 0 {
                break;
            }
            points.push(killed.to_string());
        }
        if name == "create" && self.every == 1 && self.taken.get() == 0 {
            failures += 1;
            println!("FAILED {name}: never killed with a cgroup only planned");
        }
        let seconds = begun.elapsed().as_secs_f32();
        println!("{name}: killed at {} system calls (by process), {failures} failures, {seconds:.1} s", points.join(" + "));
        Ok(failures)
    }

    fn once(&self, name: &str, victim: Victim) -> Result<Outcome> {
        let bundle = |name: &str| self.dir.join(name).to_string_lossy().into_owned();
        let (plain, staged) = (bundle("plain"), bundle("staged"));
        let create = ["create", "--bundle", &plain, &self.id];
        let run = ["run", "--detach", "--bundle", &plain, &self.id];
        let (before, words): (&[&[&str]], &[&str]) = match name {
            "create" => (&[], &create),
            "create-staged" => (&[], &["create", "--bundle", &staged, &self.id]),
            "run" => (&[], &run),
            "start" => (&[&create], &["start", &self.id]),
            "delete" => (&[&run, &["kill", &self.id, "KILL"]], &["delete", &self.id]),
            _ => (&[&run], &["delete", "--force", &self.id]),
        };
        for step in before {
            self.hull(step)?;
        }
        if name == "delete" {
            let pid = self.pid()?;
            until(|| (!alive(pid)).then_some(()), || "the container's process does not end".into())?;
        }
        let attached = if name == "start" { Some(self.pid()?) } else { None };
        let command = self.arguments(words);
        let outcome = Trace { command: &command, attached, limit: LIMIT }.run(victim).map_err(|e| e.to_string())?;
        if outcome == Outcome::Hung {
            return Err(format!("still running after {LIMIT} s"));
        }
        let another = self.take_planned_cgroup()?;
        let deleted = self.hull(&["delete", "--force", &self.id]).map_err(|e| format!("at call {outcome:?}: {e}"));
        if let Some(mut another) = another {
            let lives = another.try_wait().map_err(|e| e.to_string())?.is_none();
            let _ = another.kill();
            let _ = another.wait();
            let gone = || cgroups(&self.id).iter().all(|dir| fs::remove_dir(dir).is_ok()).then_some(());
            until(gone, || "another's cgroup can't be removed".into())?;
            if !lives {
                return Err(format!("at call {outcome:?}: delete --force killed another's process"));
            }
        }
        deleted?;
        self.nothing_left().map_err(|e| format!("at call {outcome:?}: {e}"))?;
        Ok(outcome)
    }

    /// Makes the cgroup that state.json tells of and that is not there, with a process in it, where a container has no
    /// process of its own yet.
    fn take_planned_cgroup(&self) -> Result<Option<Child>> {
        let text = fs::read(self.dir.join("state").join(&self.id).join("state.json")).unwrap_or_default();
        let Ok(state) = serde_json::from_slice::<Value>(&text) else { return Ok(None) };
        if state["pid"] != 0 || !cgroups(&self.id).is_empty() {
            return Ok(None);
        }
        let cgroup = &state["cgroup"];
        let places = cgroup["v1"].as_array().into_iter().flatten().chain(Some(&cgroup["unified"]));
        let dirs: Vec<PathBuf> = places.filter_map(|place| Some(place["dir"].as_str()?.into())).collect();
        let child = Command::new("/bin/sleep").arg("100").stdin(Stdio::null()).spawn().map_err(|e| e.to_string())?;
        let mut joined = 0;
        for dir in dirs {
            fs::create_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            // A cpuset takes nobody before it has CPUs.
            joined += u32::from(fs::write(dir.join("cgroup.procs"), child.id().to_string()).is_ok());
        }
        if joined == 0 {
            return Err("no planned cgroup takes a process".into());
        }
        self.taken.set(self.taken.get() + 1);
        Ok(Some(child))
    }

    /// The container's first process, by state.json.
    fn pid(&self) -> Result<i32> {
        let text = fs::read(self.dir.join("state").join(&self.id).join("state.json")).map_err(|e| e.to_string())?;
        let state: Value = serde_json::from_slice(&text).map_err(|e| e.to_string())?;
        state["pid"].as_i64().map(|n| n as i32).ok_or_else(|| "no pid in state.json".into())
    }

    fn nothing_left(&self) -> Result<()> {
        let left = fs::read_dir(self.dir.join("state")).into_iter().flatten().flatten().next();
        if let Some(entry) = left {
            return Err(format!("left in the state directory: {}", entry.path().display()));
        }
        let groups = cgroups(&self.id);
        if let Some(dir) = groups.first() {
            return Err(format!("cgroup left: {}", dir.display()));
        }
        until(
            || stray().is_none().then_some(()),
            || format!("process left: {}", stray().unwrap_or_default()),
        )?;
        let now = mounts()?;
        match now.iter().find(|m| !self.mounts.contains(m)) {
            Some(mount) => Err(format!("mount left: {mount}")),
            None => Ok(()),
        }
    }
}

/// A container that does no harm and stays.
fn plain(config: &mut Value) {
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = json!(["/bin/busybox", "sleep", "1000"]);
}

/// One that needs a process in between, maps of users, and hooks of each kind.
fn staged(config: &mut Value) {
    plain(config);
    let list = config["linux"]["namespaces"].as_array_mut();
    list.into_iter().for_each(|l| l.extend([json!({ "type": "user" }), json!({ "type": "time" })]));
    let map = json!([{ "containerID": 0, "hostID": 0, "size": 65536 }]);
    config["linux"]["uidMappings"] = map.clone();
    config["linux"]["gidMappings"] = map;
    config["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 100, "nanosecs": 0 } });
    for kind in ["createRuntime", "createContainer", "poststop"] {
        config["hooks"][kind] = json!([{ "path": "/bin/true" }]);
    }
}

fn until(mut done: impl FnMut() -> Option<()>, what: impl Fn() -> String) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(5);
    while done().is_none() {
        if Instant::now() > end {
            return Err(what());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Parent, state letter and name of every process.
fn processes() -> BTreeMap<i32, (i32, char, String)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((head, tail)) = stat.rsplit_once(") ") else { continue };
        let mut fields = tail.split(' ');
        let state = fields.next().and_then(|s| s.chars().next()).unwrap_or('?');
        let parent = fields.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        all.insert(pid, (parent, state, head.split_once('(').map_or("", |h| h.1).to_owned()));
    }
    all
}

fn alive(pid: i32) -> bool {
    reap();
    processes().get(&pid).is_some_and(|p| p.1 != 'Z')
}

/// Reaps those that became ours.
fn reap() {
    // SAFETY: plain system call; a null status is allowed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG | libc::__WALL) } > 0 {}
}

/// A process below this one.
fn stray() -> Option<String> {
    reap();
    let all = processes();
    let own = std::process::id() as i32;
    let below = |mut pid: i32| {
        while let Some((parent, ..)) = all.get(&pid) {
            if *parent == own {
                return true;
            }
            pid = *parent;
        }
        false
    };
    let (pid, (_, state, name)) = all.iter().find(|(pid, _)| below(**pid))?;
    Some(format!("{pid} ({name}, {state})"))
}

/// Directories of every hierarchy with the id in their names.
fn cgroups(id: &str) -> Vec<PathBuf> {
    fn walk(dir: &Path, id: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                walk(&entry.path(), id, found);
                if entry.file_name().to_string_lossy().contains(id) {
                    found.push(entry.path());
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), id, &mut found);
    found
}

/// What is mounted where, as the host sees it.
fn mounts() -> Result<Vec<String>> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(|e| format!("/proc/self/mountinfo: {e}"))?;
    Ok(text.lines().map(|l| l.split(' ').skip(3).take(2).collect::<Vec<_>>().join(" at ")).collect())
}

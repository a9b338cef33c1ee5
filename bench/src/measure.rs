//! The cases: what is called, and what a call cost.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Result;
use crate::bundle;

/// One OCI runtime, with bundles and a state directory of its own.
pub(crate) struct Runtime {
    pub(crate) name: String,
    path: PathBuf,
    state: PathBuf,
    /// A bundle whose program ends at once.
    pub(crate) short: PathBuf,
    /// A bundle whose program sleeps.
    long: PathBuf,
}

/// What one call cost: from the start of the command to its end, with all children that it waited for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Cost {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    /// The largest resident set of any one process, in KiB.
    pub(crate) memory: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, other: Cost) {
        self.wall += other.wall;
        self.cpu += other.cpu;
        self.memory = self.memory.max(other.memory);
    }
}

/// The costs of one runtime, one per round.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) costs: Vec<Cost>,
}

impl Runtime {
    pub(crate) fn new(name: &str, path: &Path, scratch: &Path) -> Result<Runtime> {
        Ok(Runtime {
            name: name.to_owned(),
            path: path.to_owned(),
            state: scratch.join(format!("state-{name}")),
            short: bundle::bundle(scratch, &format!("short-{name}"), &["/bin/true"])?,
            long: bundle::bundle(scratch, &format!("long-{name}"), &["/bin/sleep", "1000"])?,
        })
    }

    pub(crate) fn version(&self) -> String {
        let out = Command::new(&self.path).arg("--version").output();
        let text = out.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.lines().next().unwrap_or("?").to_owned()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.state).args(args);
        command
    }

    pub(crate) fn id(&self) -> String {
        format!("bench-{}-{}", self.name, std::process::id())
    }
}

/// Runs a command and accounts for it; its failure is an error.
pub(crate) fn cost(mut command: Command) -> Result<Cost> {
    // No pipes: a container that lives on would hold them open.
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let shown = format!("{command:?}");
    let begun = Instant::now();
    let child = command.spawn().map_err(|e| format!("{shown}: {e}"))?;
    let mut status = 0;
    // SAFETY: plain data; the call fills it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals of the right type.
    let pid = unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
    let wall = begun.elapsed();
    if pid < 0 || status != 0 {
        return Err(format!("{shown}: wait status {status}").into());
    }
    let time = |t: libc::timeval| Duration::new(t.tv_sec as u64, t.tv_usec as u32 * 1000);
    Ok(Cost { wall, cpu: time(usage.ru_utime) + time(usage.ru_stime), memory: usage.ru_maxrss as u64 })
}

/// Reaps containers that became this program's children.
pub(crate) fn reap() {
    // SAFETY: no pointer is followed.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// A way to be measured once.
pub(crate) type Once<'a> = (String, Box<dyn Fn() -> Result<Cost> + 'a>);

/// Every round calls each once, beginning with another one each time, so that noise falls on all alike.
pub(crate) fn interleaved(ways: &[Once<'_>], runs: usize) -> Result<Vec<Row>> {
    let mut rows: Vec<Row> = ways.iter().map(|(name, _)| Row { name: name.clone(), costs: vec![] }).collect();
    // The first round warms caches and is not counted.
    for round in 0..=runs {
        for turn in 0..ways.len() {
            let i = (round + turn) % ways.len();
            let cost = ways[i].1()?;
            reap();
            if round > 0 {
                rows[i].costs.push(cost);
            }
        }
    }
    Ok(rows)
}

/// `run` of a program that ends at once.
pub(crate) fn run(runtimes: &[Runtime], floor: Option<&Path>, runs: usize, scratch: &Path) -> Result<Vec<Row>> {
    let mut ways: Vec<Once<'_>> = Vec::new();
    for r in runtimes {
        let once = || cost(r.command(&["run", "--bundle", &r.short.to_string_lossy(), &r.id()]));
        ways.push((r.name.clone(), Box::new(once)));
    }
    let rootfs = bundle::rootfs(scratch)?;
    for (name, group) in [("floor", "/sys/fs/cgroup/hull-bench-floor"), ("floor without a cgroup", "-")] {
        let Some(floor) = floor else { continue };
        let rootfs = rootfs.clone();
        let once = move || {
            let mut command = Command::new(floor);
            command.arg(&rootfs).args([group, "/bin/true"]);
            cost(command)
        };
        ways.push((name.to_owned(), Box::new(once)));
    }
    interleaved(&ways, runs)
}

/// `create`, `start` and `delete --force` of a program that sleeps, added up.
pub(crate) fn lifecycle(runtimes: &[Runtime], runs: usize) -> Result<Vec<Row>> {
    let mut ways: Vec<Once<'_>> = Vec::new();
    for r in runtimes {
        let once = || {
            let mut sum = cost(r.command(&["create", "--bundle", &r.long.to_string_lossy(), &r.id()]))?;
            sum += cost(r.command(&["start", &r.id()]))?;
            sum += cost(r.command(&["delete", "--force", &r.id()]))?;
            Ok(sum)
        };
        ways.push((r.name.clone(), Box::new(once)));
    }
    interleaved(&ways, runs)
}

/// `exec` of a program that ends at once, in a container that is there already.
pub(crate) fn exec(runtimes: &[Runtime], runs: usize) -> Result<Vec<Row>> {
    for r in runtimes {
        cost(r.command(&["run", "--detach", "--bundle", &r.long.to_string_lossy(), &r.id()]))?;
    }
    let mut ways: Vec<Once<'_>> = Vec::new();
    for r in runtimes {
        let once = || cost(r.command(&["exec", &r.id(), "/bin/true"]));
        ways.push((r.name.clone(), Box::new(once)));
    }
    let rows = interleaved(&ways, runs);
    for r in runtimes {
        cost(r.command(&["delete", "--force", &r.id()]))?;
        reap();
    }
    rows
}

//! Chooses, runs, counts and reports cases.
//!
//! Each case runs in a process of its own which adopts whatever the runtime orphans, ends itself when its time is up,
//! and cleans up behind itself; so one case can't hold up or dirty another.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount};

use crate::Options;
use crate::call::LAST;
use crate::case::{Case, Stop};
use crate::cases;
use crate::ctx::{Ctx, chmod, remove_cgroups};
use crate::host;

const PASSED: i32 = 0;
const FAILED: i32 = 1;
const SKIPPED: i32 = 2;

/// What became of one case.
struct Verdict {
    name: String,
    case: &'static Case,
    code: i32,
    text: String,
}

/// Runs the chosen cases; true if none failed unexpectedly.
pub(crate) fn suite(options: &Options, runtime: PathBuf) -> Result<bool, String> {
    adopt_orphans();
    show_cgroups_as(&options.view).map_err(|e| format!("cannot make the view {}: {e}", options.view))?;
    let version = Command::new(&runtime).arg("--version").output().map_err(|e| format!("{runtime:?}: {e}"))?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let peer = version.split_whitespace().next().unwrap_or("unknown").trim_end_matches(':').to_owned();
    println!("runtime {} ({}), view {}", runtime.display(), version.lines().next().unwrap_or(""), options.view);

    let run = format!("hbb{}", std::process::id());
    let dir = std::env::temp_dir().join(&run);
    fs::create_dir_all(&dir).map_err(|e| format!("{dir:?}: {e}"))?;
    chmod(&dir, 0o755);
    let runtime = for_all_users(runtime, &dir).map_err(|e| e.to_string())?;
    let busybox = std::env::var("BUSYBOX").unwrap_or_else(|_| "/bin/busybox".into());
    let base = dir.join("base");
    crate::rootfs::build(&base, Path::new(&busybox)).map_err(|e| e.to_string())?;

    let chosen: Vec<_> = cases::ALL
        .iter()
        .flat_map(|(subject, list)| list.iter().map(move |c| (format!("{subject}::{}", c.name), c)))
        .filter(|(name, _)| options.filters.is_empty() || options.filters.iter().any(|f| name.contains(f.as_str())))
        .collect();
    if chosen.is_empty() {
        return Err(format!("no case matches {:?}", options.filters));
    }
    let (alone, beside): (Vec<_>, Vec<_>) = chosen.into_iter().partition(|(_, c)| c.alone);
    let job = Job { runtime, peer: peer.clone(), dir: dir.clone(), base, run: run.clone(), keep: options.keep };
    let job = Arc::new(job);
    let mut verdicts = all_of(&job, beside, options.jobs.max(1));
    verdicts.extend(all_of(&job, alone, 1));
    let good = report(&peer, verdicts, leftovers(&run));
    if !options.keep {
        let _ = fs::remove_dir_all(&dir);
    }
    Ok(good)
}

/// The runtime where ordinary users can execute it: a checkout may lie in a directory that is closed to them.
fn for_all_users(runtime: PathBuf, dir: &Path) -> io::Result<PathBuf> {
    if runtime.starts_with("/usr") {
        return Ok(runtime);
    }
    let copy = dir.join("runtime").join(runtime.file_name().unwrap_or_default());
    fs::create_dir_all(dir.join("runtime"))?;
    chmod(&dir.join("runtime"), 0o755);
    fs::copy(&runtime, &copy)?;
    chmod(&copy, 0o755);
    for guest in ["hull-wasm", "hull-wasmc"] {
        let (program, copy) = (runtime.with_file_name(guest), copy.with_file_name(guest));
        if program.exists() {
            fs::copy(&program, &copy)?;
            chmod(&copy, 0o755);
        }
    }
    Ok(copy)
}

/// What every worker needs.
struct Job {
    runtime: PathBuf,
    peer: String,
    dir: PathBuf,
    base: PathBuf,
    run: String,
    keep: bool,
}

/// Runs `list` on `jobs` threads.
fn all_of(job: &Arc<Job>, list: Vec<(String, &'static Case)>, jobs: usize) -> Vec<Verdict> {
    let queue: VecDeque<_> = list.into_iter().enumerate().collect();
    let queue = Arc::new(Mutex::new(queue));
    let done = Arc::new(Mutex::new(Vec::new()));
    let workers: Vec<_> = (0..jobs)
        .map(|_| {
            let (job, queue, done) = (job.clone(), queue.clone(), done.clone());
            std::thread::spawn(move || {
                while let Some((n, (name, case))) = { queue.lock().unwrap().pop_front() } {
                    let tag = format!("{}{}{n}", job.run, if case.alone { "y" } else { "x" });
                    let verdict = one_process(&job, name, case, &tag);
                    done.lock().unwrap().push(verdict);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("a worker panicked");
    }
    Arc::into_inner(done).expect("workers have ended").into_inner().unwrap()
}

/// Runs one case in a process of its own and prints a line about it.
fn one_process(job: &Job, name: String, case: &'static Case, tag: &str) -> Verdict {
    let begun = Instant::now();
    let dir = job.dir.join(tag);
    let (code, text) = match try_one_process(job, &name, case, tag, &dir) {
        Ok(pair) => pair,
        Err(e) => (FAILED, format!("harness: {e}")),
    };
    if !(job.keep && code == FAILED) {
        let _ = fs::remove_dir_all(&dir);
    }
    let mark = case.mark(&job.peer);
    let word = match (code, mark) {
        (PASSED, None) => "ok",
        (PASSED, Some(_)) => "ok, though marked",
        (SKIPPED, _) => "skip",
        (_, Some(_)) => "theirs",
        (_, None) => "FAIL",
    };
    let detail = if code == PASSED { String::new() } else { format!(": {}", text.trim()) };
    println!("{word:6} {name} ({:.2} s){detail}", begun.elapsed().as_secs_f32());
    Verdict { name, case, code, text: text.trim().to_owned() }
}

/// Seconds that a case may take; HULL_TEST_PATIENCE multiplies them where the machine is slow.
fn limit_of(case: &Case) -> u64 {
    let patience = std::env::var("HULL_TEST_PATIENCE").ok().and_then(|v| v.parse::<u64>().ok());
    case.limit * patience.unwrap_or(1).max(1)
}

fn try_one_process(job: &Job, name: &str, case: &Case, tag: &str, dir: &Path) -> io::Result<(i32, String)> {
    fs::create_dir_all(dir)?;
    chmod(dir, 0o755);
    let said = dir.join("verdict");
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--one", name])
        .arg(dir)
        .arg(&job.base)
        .args([tag, &job.peer])
        .env("RUNTIME", &job.runtime)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(File::create(&said)?)
        .stderr(File::options().append(true).create(true).open(&said)?)
        .spawn()?;
    // The case watches its own time; this is for a case process that can't.
    let end = Instant::now() + Duration::from_secs(limit_of(case) + 25);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end {
            let _ = child.kill();
            child.wait()?;
            remove_cgroups(tag);
            return Ok((FAILED, "the process of the case hung and was killed".into()));
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let text: String = String::from_utf8_lossy(&fs::read(&said)?).trim().chars().take(1200).collect();
    if status.code().is_none() {
        remove_cgroups(tag);
        return Ok((FAILED, format!("the process of the case ended by {status}, killed from outside; {text}")));
    }
    Ok((status.code().unwrap_or(FAILED), text))
}

/// The process of one case: runs it, cleans up, says what came of it, exits.
pub(crate) fn one_case(runtime: PathBuf, one: &[String; 5]) -> ! {
    let [name, dir, base, tag, peer] = one;
    adopt_orphans();
    close_on_exec();
    let found = cases::ALL
        .iter()
        .flat_map(|(subject, list)| list.iter().map(move |c| (format!("{subject}::{}", c.name), c)))
        .find(|(n, _)| n == name);
    let (_, case) = found.expect("the runner names cases that exist");
    let make = {
        let (dir, base) = (PathBuf::from(dir), PathBuf::from(base));
        let (tag, peer) = (tag.clone(), peer.clone());
        move || Ctx::new(runtime.clone(), peer.clone(), dir.clone(), base.clone(), tag.clone())
    };
    let make = Arc::new(make);
    {
        let make = make.clone();
        std::panic::set_hook(Box::new(move |info| {
            println!("panic: {info}");
            make().clean();
            exit(FAILED);
        }));
    }
    {
        let (make, limit) = (make.clone(), limit_of(case));
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(limit));
            println!("no end after {limit} s; last command: {}", LAST.lock().unwrap());
            make().clean();
            exit(FAILED);
        });
    }
    std::thread::spawn(|| crate::call::reap_adopted());
    let ctx = make();
    fs::create_dir_all(&ctx.root).expect("cannot make the state directory");
    let result = (case.run)(&ctx);
    let left = ctx.clean();
    let code = match result {
        Err(Stop::Skip(why)) => {
            println!("{why}");
            SKIPPED
        }
        Err(Stop::Fail(why)) => {
            println!("{why}");
            FAILED
        }
        Ok(()) if !left.is_empty() => {
            println!("left behind after `delete --force`: {}", left.join("; "));
            FAILED
        }
        Ok(()) => PASSED,
    };
    exit(code)
}

/// Prints the lists and the summary; true if nothing failed.
fn report(peer: &str, mut verdicts: Vec<Verdict>, leftovers: Vec<String>) -> bool {
    verdicts.sort_by(|a, b| a.name.cmp(&b.name));
    let part = |f: &dyn Fn(&Verdict) -> bool| verdicts.iter().filter(|v| f(v)).collect::<Vec<_>>();
    let marked = |v: &Verdict| v.case.mark(peer).is_some();
    let skipped = part(&|v| v.code == SKIPPED);
    let theirs = part(&|v| v.code != PASSED && v.code != SKIPPED && marked(v));
    let surprises = part(&|v| v.code == PASSED && marked(v));
    let failed = part(&|v| v.code != PASSED && v.code != SKIPPED && !marked(v));
    let passed = verdicts.iter().filter(|v| v.code == PASSED).count();
    println!();
    for v in &skipped {
        println!("skipped {}: {}", v.name, v.text);
    }
    for v in &theirs {
        let reason = v.case.mark(peer).map_or("", |m| m.reason);
        println!("expected failure of {peer} {}: {reason}", v.name);
    }
    for v in &surprises {
        println!("passed, though marked as a failure of {peer}: {}", v.name);
    }
    for v in &failed {
        println!("FAILED {} ({}): {}", v.name, v.case.point, v.text);
    }
    for l in &leftovers {
        println!("LEFT BEHIND by the suite: {l}");
    }
    if !theirs.is_empty() {
        println!("{} expected failures of {peer}", theirs.len());
    }
    println!("{passed} passed, {} failed, {} skipped", failed.len(), skipped.len());
    failed.is_empty() && leftovers.is_empty()
}

/// What the whole run left on the host: cgroups, mounts, processes.
fn leftovers(run: &str) -> Vec<String> {
    let mut left: Vec<String> =
        host::cgroups_named_like(run).iter().map(|p| format!("cgroup {}", p.display())).collect();
    left.extend(host::mounts("self").iter().filter(|m| m.target.contains(run)).map(|m| format!("mount {}", m.target)));
    for (pid, state) in host::descendants(std::process::id() as i32) {
        if state != 'Z' {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            left.push(format!("process {pid} {}", String::from_utf8_lossy(&line).replace('\0', " ")));
        }
    }
    left
}

/// Makes this process the parent of whatever its descendants orphan.
fn adopt_orphans() {
    // SAFETY: plain system call without pointers.
    unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
}

/// Descriptors that whoever started the suite left open are no business of the runtime.
fn close_on_exec() {
    // SAFETY: plain system call without pointers; only flags of descriptors change.
    unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// Hides the cgroup hierarchies that are not part of the view, in a mount namespace of the suite's own.
fn show_cgroups_as(view: &str) -> io::Result<()> {
    if view == "host" {
        return Ok(());
    }
    // SAFETY: plain system call without pointers, before any thread was started.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    if view == "v1" {
        for h in host::hierarchies().iter().filter(|h| h.v2) {
            unmount(&h.at, UnmountFlags::empty())?;
        }
        return Ok(());
    }
    if host::hierarchies().iter().any(|h| h.v2 && h.at == Path::new("/sys/fs/cgroup")) {
        return Ok(());
    }
    for h in host::hierarchies().iter().rev() {
        unmount(&h.at, UnmountFlags::empty())?;
    }
    unmount("/sys/fs/cgroup", UnmountFlags::empty())?;
    mount("none", "/sys/fs/cgroup", "cgroup2", MountFlags::empty(), None)?;
    Ok(())
}

//! What a case and the clean-up look up on the host: processes, cgroups, mounts, other people's namespaces.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::case::Stop;

/// One line of mountinfo.
#[derive(Debug, Clone)]
pub(crate) struct Mount {
    pub(crate) target: String,
    /// Per-mount options, such as `rw,nosuid`.
    pub(crate) options: String,
    /// `shared:1 master:2` and so on.
    pub(crate) tags: String,
    pub(crate) kind: String,
    /// Options of the file system.
    pub(crate) data: String,
}

impl Mount {
    /// Whether the mount or its file system has this option.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.split(',').chain(self.data.split(',')).any(|o| o == option)
    }
}

/// Reads the text of a mountinfo file.
pub(crate) fn parse_mounts(text: &str) -> Vec<Mount> {
    text.lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            Some(Mount {
                target: left.get(4)?.replace("\\040", " "),
                options: left.get(5)?.to_string(),
                tags: left[6..].join(" "),
                kind: right.first()?.to_string(),
                data: right.get(2).unwrap_or(&"").to_string(),
            })
        })
        .collect()
}

/// The mounts that `pid` (or "self") sees.
pub(crate) fn mounts(pid: &str) -> Vec<Mount> {
    parse_mounts(&fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap_or_default())
}

/// The topmost mount at `target`.
pub(crate) fn mount_at(list: &[Mount], target: &str) -> Result<Mount, Stop> {
    let found = list.iter().rev().find(|m| m.target == target).cloned();
    found.ok_or_else(|| format!("nothing is mounted at {target}").into())
}

/// One cgroup hierarchy as mounted in this view.
#[derive(Debug, Clone)]
pub(crate) struct Hierarchy {
    pub(crate) at: PathBuf,
    /// Controllers (`memory`, `name=systemd`), none for version 2.
    pub(crate) controllers: Vec<String>,
    pub(crate) v2: bool,
}

/// Every cgroup hierarchy that is mounted.
pub(crate) fn hierarchies() -> Vec<Hierarchy> {
    mounts("self")
        .into_iter()
        .filter(|m| m.kind == "cgroup" || m.kind == "cgroup2")
        .map(|m| Hierarchy {
            at: m.target.clone().into(),
            controllers: m.data.split(',').filter(|o| !["rw", "ro", "xattr"].contains(o)).map(str::to_owned).collect(),
            v2: m.kind == "cgroup2",
        })
        .collect()
}

/// The directory of `pid`'s cgroup in the hierarchy of version 1 with `controller`; None where it isn't mounted.
pub(crate) fn cgroup_dir(pid: i32, controller: &str) -> Option<PathBuf> {
    let h = hierarchies().into_iter().find(|h| !h.v2 && h.controllers.iter().any(|c| c == controller))?;
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let names = parts.nth(1)?;
        names.split(',').any(|n| n == controller).then(|| parts.next())?
    })?;
    Some(h.at.join(path.trim_start_matches('/')))
}

/// Whether containers can be limited by this controller here, in either version.
pub(crate) fn has_controller(name: &str) -> bool {
    hierarchies().iter().any(|h| {
        let list = fs::read_to_string(h.at.join("cgroup.controllers")).unwrap_or_default();
        h.controllers.iter().any(|c| c == name) || h.v2 && list.split_whitespace().any(|c| c == name)
    })
}

/// Every cgroup directory with `tag` in its name, deepest first.
pub(crate) fn cgroups_named(tag: &str) -> Vec<PathBuf> {
    cgroups_under(&|name| holds(name, tag))
}

/// Every cgroup directory whose own name, or that of one above it, is `ours`; deepest first.
fn cgroups_under(ours: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    fn walk(dir: &Path, ours: &dyn Fn(&str) -> bool, inside: bool, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|t| t.is_dir()) {
                let path = entry.path();
                let inside = inside || ours(&entry.file_name().to_string_lossy());
                walk(&path, ours, inside, found);
                if inside {
                    found.push(path);
                }
            }
        }
    }
    let mut found = Vec::new();
    for h in hierarchies() {
        walk(&h.at, ours, false, &mut found);
    }
    found
}

/// Every cgroup directory whose name begins with `run`.
pub(crate) fn cgroups_named_like(run: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for tag in [format!("{run}x"), format!("{run}y")] {
        found.extend(cgroups_under(&|name| name.contains(&tag)));
    }
    found
}

/// Whether `name` holds `tag`, and not as the start of a longer number.
fn holds(name: &str, tag: &str) -> bool {
    name.match_indices(tag).any(|(at, _)| !name[at + tag.len()..].starts_with(|c: char| c.is_ascii_digit()))
}

/// (pid, parent, state letter) of every process.
pub(crate) fn processes() -> Vec<(i32, i32, char)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| {
            let pid: i32 = e.file_name().to_str()?.parse().ok()?;
            let (parent, state) = parent_and_state(pid)?;
            Some((pid, parent, state))
        })
        .collect()
}

fn parent_and_state(pid: i32) -> Option<(i32, char)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut rest = stat.rsplit_once(") ")?.1.split(' ');
    let state = rest.next()?.chars().next()?;
    Some((rest.next()?.parse().ok()?, state))
}

/// Whether `pid` is there and not a zombie.
pub(crate) fn alive(pid: i32) -> bool {
    parent_and_state(pid).is_some_and(|(_, state)| state != 'Z' && state != 'X')
}

/// Every process below `root` in the tree of parents.
pub(crate) fn descendants(root: i32) -> Vec<(i32, char)> {
    let all = processes();
    let mut found: Vec<(i32, char)> = Vec::new();
    let mut front = vec![root];
    while let Some(parent) = front.pop() {
        for &(pid, p, state) in &all {
            if p == parent && pid != root {
                found.push((pid, state));
                front.push(pid);
            }
        }
    }
    found
}

/// Waits until `done` holds; fails the case after `seconds` on an idle machine, twice that on this one.
#[track_caller]
pub(crate) fn wait_for(what: &str, seconds: u64, mut done: impl FnMut() -> bool) -> Result<(), Stop> {
    let end = Instant::now() + Duration::from_secs(2 * seconds);
    while !done() {
        if Instant::now() > end {
            return Err(format!("waited {} s in vain: {what}", 2 * seconds).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// The link of a namespace of `pid`, such as `net:[4026531840]`.
pub(crate) fn ns(pid: i32, kind: &str) -> Result<String, Stop> {
    Ok(fs::read_link(format!("/proc/{pid}/ns/{kind}"))?.to_string_lossy().into_owned())
}

/// The link of a namespace of this process.
pub(crate) fn own_ns(kind: &str) -> Result<String, Stop> {
    ns(std::process::id() as i32, kind)
}

/// Gives this case a mount namespace of its own, so that what it mounts is nobody else's.
pub(crate) fn private_mounts() -> Result<(), Stop> {
    // SAFETY: plain system call without pointers; this process runs one case on one thread that uses files.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    use rustix::mount::{MountPropagationFlags, mount_change};
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    Ok(())
}

/// Sends a signal.
pub(crate) fn signal(pid: i32, number: i32) {
    // SAFETY: plain system call without pointers.
    unsafe { libc::kill(pid, number) };
}

//! The state directory: one directory per container, written atomically, locked by the directory itself.
//!
//! state.json comes first and goes last, so that whatever a crash leaves behind can be found from it.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use hull_spec::Spec;

use crate::{Context as _, Error, Result, Runtime};

/// Name of the socket at which the created container waits.
pub(crate) const GATE: &str = "start";

/// Its name as long as the container is being made.
pub(crate) const CLOSED_GATE: &str = "starting";

/// What is known of a container, as state.json holds it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Version of this document.
    pub version: u32,
    /// Version of the specification of the bundle.
    pub oci_version: String,
    /// Name.
    pub id: String,
    /// Bundle directory.
    pub bundle: PathBuf,
    /// Root file system.
    pub rootfs: PathBuf,
    /// First process; 0 while there is none.
    pub pid: i32,
    /// When that process began, in clock ticks since boot: tells it from a later one of the same number.
    pub start_time: u64,
    /// When the container was made, RFC 3339.
    pub created: String,
    /// Whose it is.
    pub owner: u32,
    /// Isolation.
    pub isolation: String,
    /// CLONE_NEW* flags of namespaces that are not hull's.
    pub namespaces: u64,
    /// Whether its processes keep the session keyring of who makes them.
    #[serde(default)]
    pub no_new_keyring: bool,
    /// Whether it is in another user namespace.
    pub in_userns: bool,
    /// Its cgroup.
    #[serde(default)]
    pub cgroup: Option<hull_cgroup::Cgroup>,
    /// Whether that cgroup is only meant to be made: what lives in it by then is another's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cgroup_planned: bool,
    /// Where it has no mount namespace of its own, the numbers of the mounts at and below its root that were there
    /// before it, and are not its to undo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mounts_before: Option<Vec<u64>>,
    /// The inode of its mount namespace, read before its program could leave it; 0 where it has none of its own.
    #[serde(default)]
    pub mount_ns: u64,
    /// The same of its user namespace.
    #[serde(default)]
    pub user_ns: u64,
    /// Mounts that were added while it ran: those, and no others, can be removed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub added: Vec<Added>,
    /// Annotations of config.json.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A mount that was added while its container ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Added {
    /// Where, as it was called.
    pub destination: PathBuf,
    /// The kernel's number of it.
    pub mount: u64,
}

/// Where a container is in its life (runtime.md, "State").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Being made.
    Creating,
    /// Made, waiting for start.
    Created,
    /// Running.
    Running,
    /// Frozen.
    Paused,
    /// Ended.
    Stopped,
}

impl Status {
    /// The word of the specification, or `paused`.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A container's directory, locked until this is dropped.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) path: PathBuf,
    fd: OwnedFd,
}

impl Drop for Dir {
    /// Unlocks, and does not leave it to the descriptor's end: a child cloned into a frozen group still has a copy.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.fd, FlockOperation::Unlock);
    }
}

/// Refuses ids that are no plain file name, as peers do.
pub(crate) fn check_id(id: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_alphanumeric() || "_+.-".contains(c);
    let hint = "use letters, digits and _ + . -, and no dot first";
    match id.chars().find(|c| !good(*c)) {
        Some(c) => Err(Error::new(format!("invalid character {c:?} in the container ID \"{id}\": {hint}"))),
        None if id.is_empty() || id.starts_with('.') || id.len() > 1024 => {
            Err(Error::new(format!("invalid container ID \"{id}\": {hint}")))
        }
        None => Ok(()),
    }
}

impl Dir {
    /// Makes the directory of a new container. Of two callers, one gets it.
    pub(crate) fn create(runtime: &Runtime, id: &str) -> Result<Dir> {
        check_id(id)?;
        let path = runtime.root.join(id);
        let mut builder = fs::DirBuilder::new();
        builder.mode(0o700);
        let mut make = || match builder.recursive(false).create(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                let root = builder.recursive(true).create(&runtime.root);
                root.what(|| format!("cannot make the state directory \"{}\"", runtime.root.display()))?;
                builder.recursive(false).create(&path).what(|| format!("cannot make \"{}\"", path.display()))
            }
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(Error::new(format!("container with given ID already exists: \"{id}\"")))
            }
            other => other.what(|| format!("cannot make \"{}\"", path.display())),
        };
        loop {
            make()?;
            // A `delete` may take the new directory, which has no state yet, before it is locked.
            if let Some(dir) = Dir::lock(&path, None)? {
                return Ok(dir);
            }
        }
    }

    /// Opens and locks the directory of an existing container, however long another command holds it.
    pub(crate) fn open(runtime: &Runtime, id: &str) -> Result<Dir> {
        Dir::open_within(runtime, id, None)
    }

    /// The same, with an end to the wait for another command.
    pub(crate) fn open_within(runtime: &Runtime, id: &str, patience: Option<Duration>) -> Result<Dir> {
        check_id(id)?;
        let path = runtime.root.join(id);
        loop {
            if let Some(dir) = Dir::lock(&path, patience)? {
                return Ok(dir);
            }
            if !path.is_dir() {
                return Err(missing(id));
            }
        }
    }

    /// Locks a directory; `None` where it is not there, or no longer once it is locked: whoever held the lock before
    /// may have deleted it, and another of the same name may be there by now.
    fn lock(path: &Path, patience: Option<Duration>) -> Result<Option<Dir>> {
        let shown = || format!("cannot lock \"{}\"", path.display());
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = match rustix::fs::open(path, flags, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other.what(shown)?,
        };
        match patience {
            None => rustix::fs::flock(&fd, FlockOperation::LockExclusive).what(shown)?,
            Some(patience) => lock_within(&fd, patience).map_err(|e| e.during(&shown()))?,
        }
        let held = rustix::fs::fstat(&fd).what(shown)?;
        match rustix::fs::stat(path) {
            Ok(there) if (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino) => {
                Ok(Some(Dir { path: path.to_owned(), fd }))
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(e) => Err(e).what(shown),
        }
    }

    /// Writes a file whole or not at all.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let shown = || format!("cannot write \"{}\"", self.path.join(name).display());
        let temporary = self.path.join(format!(".{name}"));
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary).what(shown)?;
        file.write_all(bytes).what(shown)?;
        fs::rename(&temporary, self.path.join(name)).what(shown)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<()> {
        let shown = || format!("cannot rename \"{}\"", self.path.join(from).display());
        rustix::fs::renameat(&self.fd, from, &self.fd, to).what(shown)
    }

    pub(crate) fn save(&self, state: &State) -> Result<()> {
        let bytes = serde_json::to_vec(state).map_err(|e| Error::new(format!("cannot write state.json: {e}")))?;
        self.write("state.json", &bytes)
    }

    /// The container's own copy of config.json, which later changes of the bundle don't touch.
    pub(crate) fn spec(&self) -> Result<Spec> {
        let path = self.path.join("config.json");
        let bytes = fs::read(&path).what(|| format!("cannot read \"{}\"", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|e| Error::new(format!("cannot read \"{}\": {e}", path.display())))
    }

    pub(crate) fn state(&self) -> Result<State> {
        read_state(&self.path)
    }

    /// Removes everything; state.json last, so that a crash in between leaves what `delete` needs.
    pub(crate) fn remove(self) -> Result<()> {
        let shown = || format!("cannot remove \"{}\"", self.path.display());
        for entry in fs::read_dir(&self.path).what(shown)? {
            let entry = entry.what(shown)?;
            if entry.file_name() == "state.json" {
                continue;
            }
            let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
            let removed = if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed.what(shown)?;
        }
        match fs::remove_file(self.path.join("state.json")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e).what(shown),
            _ => {}
        }
        fs::remove_dir(&self.path).what(shown)
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Waits for a lock for so long, and tells who holds it where that was in vain.
fn lock_within(fd: &OwnedFd, patience: Duration) -> Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    let end = Instant::now() + patience;
    loop {
        match rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < end => std::thread::sleep(PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let holder = rustix::fs::fstat(fd).ok().and_then(|st| holder(st.st_ino));
                let holder = holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"));
                return Err(Error::new(format!("{holder} has held the lock for {} s", patience.as_secs())));
            }
            other => return other.what(|| "flock"),
        }
    }
}

/// Who holds a lock on the file of this number, as /proc/locks tells:
/// `1: FLOCK  ADVISORY  WRITE 1234 00:1c:5678 0 EOF`, where a process that waits has `->` after the first field.
fn holder(inode: u64) -> Option<u32> {
    let table = fs::read_to_string("/proc/locks").ok()?;
    let mut rows = table.lines().map(|l| l.split_ascii_whitespace().skip(1).collect::<Vec<_>>());
    let row = rows.find(|f| f.first() == Some(&"FLOCK") && f.get(4).is_some_and(|n| ends_in(n, inode)))?;
    row.get(3)?.parse().ok()
}

/// The device in "00:1c:5678" is not compared: for some file systems it isn't what stat(2) tells.
fn ends_in(number: &str, inode: u64) -> bool {
    number.rsplit(':').next().and_then(|n| n.parse().ok()) == Some(inode)
}

/// Engines look for these words.
pub(crate) fn missing(id: &str) -> Error {
    Error::new(format!("container \"{id}\" does not exist"))
}

/// Reads state.json of a container's directory.
pub(crate) fn read_state(dir: &Path) -> Result<State> {
    let path = dir.join("state.json");
    let bytes = match fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let id = dir.file_name().unwrap_or_default().to_string_lossy();
            return Err(missing(&id));
        }
        other => other.what(|| format!("cannot read \"{}\"", path.display()))?,
    };
    State::from_slice(&bytes).map_err(|e| Error::new(format!("cannot read \"{}\": {e}", path.display())))
}

/// When a process began, in clock ticks since boot; `None` where it is gone or dead.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = stat_of(pid)?;
    let mut fields = stat.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Whether a process, dead perhaps but not reaped, is still as fork(2) made it.
pub(crate) fn never_executed(pid: i32) -> bool {
    /// PF_FORKNOEXEC of the kernel's process flags.
    const FORKED_ONLY: u32 = 0x40;
    let flags = stat_of(pid).and_then(|stat| stat.split_ascii_whitespace().nth(6)?.parse::<u32>().ok());
    flags.is_some_and(|f| f & FORKED_ONLY != 0)
}

/// /proc/PID/stat from its third field, the state, on.
fn stat_of(pid: i32) -> Option<String> {
    let mut stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, brackets too; the fields after it are plain.
    Some(stat.split_off(stat.rfind(')')? + 1))
}

impl State {
    /// Reads state.json.
    ///
    /// # Errors
    /// For text that is not a state of this version.
    pub fn from_slice(bytes: &[u8]) -> std::result::Result<State, String> {
        let state: State = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if state.version != 1 {
            return Err(format!("version {} is not one that this hull reads (1)", state.version));
        }
        Ok(state)
    }

    /// Whether the first process is alive.
    pub(crate) fn alive(&self) -> bool {
        self.pid > 0 && start_time(self.pid) == Some(self.start_time)
    }

    /// The cgroup, if it has one and it was made; not one of another's that has its name by now.
    pub(crate) fn own_cgroup(&self) -> Option<&hull_cgroup::Cgroup> {
        self.cgroup.as_ref().filter(|c| !self.cgroup_planned && !c.is_empty() && c.is_same())
    }

    /// A descriptor of the first process, surely that one.
    ///
    /// # Errors
    /// Where it has ended.
    pub fn process(&self) -> Result<OwnedFd> {
        let gone = || Error::new("container not running");
        if self.pid <= 0 {
            return Err(gone());
        }
        let pidfd = hull_sys::pidfd::open(self.pid).map_err(|_| gone())?;
        // The number was looked up after the descriptor was opened, so both mean one process.
        if self.alive() { Ok(pidfd) } else { Err(gone()) }
    }

    pub(crate) fn status(&self, dir: &Path) -> Status {
        if !self.alive() {
            return if self.pid == 0 { Status::Creating } else { Status::Stopped };
        }
        if dir.join(GATE).exists() {
            return Status::Created;
        }
        if dir.join(CLOSED_GATE).exists() {
            return Status::Creating;
        }
        match &self.cgroup {
            Some(cgroup) if cgroup.is_frozen().unwrap_or(false) => Status::Paused,
            _ => Status::Running,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids() {
        for good in ["a", "A-b_c.d+1", "a..."] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".a", "a/b", "a b", "\u{e9}", "a\n"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn one_of_two_creators_wins() {
        let root = std::env::temp_dir().join(format!("hull-state-{}", std::process::id()));
        let runtime = Runtime::new(&root);
        let first = Dir::create(&runtime, "x").unwrap();
        assert!(Dir::create(&runtime, "x").unwrap_err().to_string().contains("already exists"));
        first.save(&State { version: 1, id: "x".into(), ..State::default() }).unwrap();
        assert_eq!(runtime.status("x").unwrap().1, Status::Creating);
        first.remove().unwrap();
        assert!(runtime.status("x").unwrap_err().to_string().contains("does not exist"));
        fs::remove_dir(root).unwrap();
    }

    #[test]
    fn a_directory_deleted_while_another_waits_is_not_taken() {
        let root = std::env::temp_dir().join(format!("hull-waits-{}", std::process::id()));
        let runtime = Runtime::new(&root);
        let first = Dir::create(&runtime, "x").unwrap();
        let old = rustix::fs::fstat(&first).unwrap().st_ino;
        let waits = |root: PathBuf| std::thread::spawn(move || {
            let dir = Dir::open(&Runtime::new(root), "x")?;
            Ok::<_, Error>(rustix::fs::fstat(&dir).unwrap().st_ino)
        });
        let one = waits(root.clone());
        // Until it waits for the lock.
        let inode = format!(":{old} ");
        while !fs::read_to_string("/proc/locks").unwrap().lines().any(|l| l.contains("->") && l.contains(&inode)) {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Another of the same name takes the place, by a rename so that the number is not the old one's.
        fs::create_dir(root.join("other")).unwrap();
        let new = rustix::fs::stat(root.join("other")).unwrap().st_ino;
        fs::remove_dir(root.join("x")).unwrap();
        fs::rename(root.join("other"), root.join("x")).unwrap();
        drop(first);
        assert_eq!(one.join().unwrap().unwrap(), new);
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_lock_that_is_not_given_up_has_a_holder() {
        let root = std::env::temp_dir().join(format!("hull-held-{}", std::process::id()));
        let runtime = Runtime::new(&root);
        let held = Dir::create(&runtime, "x").unwrap();
        let error = Dir::open_within(&runtime, "x", Some(Duration::from_millis(20))).unwrap_err().to_string();
        assert!(error.contains("cannot lock") && error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        Dir::open_within(&runtime, "x", Some(Duration::ZERO)).unwrap();
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn own_start_time_is_known() {
        assert!(start_time(std::process::id() as i32).is_some());
        assert!(start_time(i32::MAX).is_none());
    }
}

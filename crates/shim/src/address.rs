//! Where a shim serves: which containers share one, the name of its socket, and who has it.
//!
//! Owns the sockets' directory as far as hull's own sockets go. That a second shim for the same pod finds the first is
//! here: making a socket, finding out whether somebody serves it and taking a dead one away are one step, under a lock
//! on the directory. Nothing here speaks over a socket, and none is ever taken from a shim that listens.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use hull_runtime::{Context as _, Error, Result};
use rustix::fs::{FlockOperation, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use sha2::{Digest as _, Sha256};

/// The directory for sockets where the engine names none: containerd's own, whose path is short.
const DIR: &str = "/run/containerd/s";

/// Annotations whose value containers share that share a shim, in order of precedence.
const GROUPS: [&str; 3] =
    ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id", "io.kubernetes.cri-o.SandboxID"];

/// The longest path that a socket's address takes, its last byte being zero.
const LONGEST: usize = 107;

/// Containers of a pod may all be connected to at once.
const BACKLOG: i32 = 128;

/// A name under which a shim could serve.
#[derive(Debug)]
pub(crate) enum Place {
    /// Nobody did; now this process does.
    Ours(Socket),
    /// Another shim does, and takes connections.
    Served,
}

/// A listening socket with a name.
#[derive(Debug)]
pub(crate) struct Socket {
    /// The socket; it blocks nobody (O_NONBLOCK), and no program inherits it.
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and number of the inode that is the name: a later socket of the same name has another.
    inode: (u64, u64),
}

/// The group of a container: one shim serves all containers of a group. Without an annotation it is the container's id.
///
/// # Errors
/// Where config.json of the bundle can't be read.
pub(crate) fn group(bundle: &Path, id: &str) -> Result<String> {
    /// Of config.json, what is needed here: the rest may not even be valid.
    #[derive(serde::Deserialize)]
    struct Config {
        annotations: Option<BTreeMap<String, String>>,
    }
    let path = bundle.join("config.json");
    let bytes = std::fs::read(&path).what(|| format!("cannot read \"{}\"", path.display()))?;
    let config: Config =
        serde_json::from_slice(&bytes).map_err(|e| Error::new(format!("\"{}\": {e}", path.display())))?;
    let mut annotations = config.annotations.unwrap_or_default();
    let named = GROUPS.iter().find_map(|key| annotations.remove(*key).filter(|group| !group.is_empty()));
    Ok(named.unwrap_or_else(|| id.to_owned()))
}

/// The path of a group's socket. It is another one than that of containerd's own shim for the same group, which could
/// not run this one's containers.
pub(crate) fn path(dir: Option<&Path>, address: &str, namespace: &str, group: &str) -> PathBuf {
    let mut hash = Sha256::new();
    for part in ["hull", address, namespace, group] {
        hash.update(part);
        // No part has one, so no two lists of parts are the same.
        hash.update([0]);
    }
    let mut name = String::with_capacity(64);
    for byte in hash.finalize() {
        let _ = write!(name, "{byte:02x}");
    }
    dir.unwrap_or(Path::new(DIR)).join(name)
}

/// A socket's path as engines write addresses.
pub(crate) fn url(path: &Path) -> String {
    format!("unix://{}", path.display())
}

/// Takes the name of a shim away that is gone and could not do it itself; one that somebody serves stays.
///
/// # Errors
/// Where it can't be told, or removed.
pub(crate) fn forget(path: &Path) -> Result<()> {
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).what(|| format!("\"{}\"", path.display()))?;
    if !path.exists() {
        return Ok(());
    }
    let _lock = lock(path)?;
    if is_served(path, &address)? {
        return Ok(());
    }
    unlink(path).what(|| format!("cannot remove the socket \"{}\", which nobody serves", path.display()))
}

/// Leaves the address in the bundle, where containerd up to 1.7 looks for it after a restart of its own.
///
/// # Errors
/// Where it can't be written.
pub(crate) fn record(bundle: &Path, url: &str) -> Result<()> {
    let (path, new) = (bundle.join("address"), bundle.join(".address"));
    let shown = || format!("cannot write \"{}\"", path.display());
    std::fs::write(&new, url).and_then(|()| std::fs::rename(&new, &path)).what(shown)
}

/// Listens at a path, unless somebody does. Only the owner can connect.
///
/// # Errors
/// Where the path is too long or can't be had, where something is there that is no socket, and where another user's
/// process serves it.
pub(crate) fn listen(path: &Path) -> Result<Place> {
    let length = path.as_os_str().len();
    if length > LONGEST {
        let problem = format!("has {length} bytes, and that of a socket can have {LONGEST}");
        return Err(Error::new(format!("the path \"{}\" {problem}", path.display())));
    }
    let shown = || format!("cannot listen at \"{}\"", path.display());
    let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).what(shown)?;
    // Others may have to get through it; to see what is there, they don't.
    if let Some(dir) = path.parent() {
        let made = DirBuilder::new().recursive(true).mode(0o711).create(dir);
        made.what(|| format!("cannot make the directory \"{}\"", dir.display()))?;
    }
    let _lock = lock(path)?;
    for _ in 0..2 {
        let socket = socket().what(shown)?;
        // The name gets the socket's mode with it: there is no moment at which it has another.
        rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).what(shown)?;
        match rustix::net::bind(&socket, &address) {
            Ok(()) => {
                rustix::net::listen(&socket, BACKLOG).what(shown)?;
                let inode = inode(path).what(shown)?;
                return Ok(Place::Ours(Socket { listener: socket.into(), path: path.to_owned(), inode }));
            }
            Err(Errno::ADDRINUSE) => {}
            Err(e) => return Err(e).what(shown),
        }
        if is_served(path, &address)? {
            return Ok(Place::Served);
        }
        unlink(path).what(|| format!("cannot remove the socket \"{}\", which nobody serves", path.display()))?;
    }
    Err(Error::new(format!("cannot listen at \"{}\": somebody else does at times", path.display())))
}

impl Socket {
    /// Says that this process is the one that serves: until then it is the one that called [`listen`].
    ///
    /// # Errors
    /// Those of listen(2).
    pub(crate) fn serve(&self) -> Result<()> {
        // The kernel takes the credentials again (unix(7), SO_PEERCRED).
        rustix::net::listen(&self.listener, BACKLOG).what(|| format!("cannot listen at \"{}\"", self.path.display()))
    }

    /// Takes the name away, if it is still this socket's. To be called before the socket is closed: then who looks for
    /// this shim either reaches it or begins one anew, and never takes the name of a new one for a dead one's.
    ///
    /// # Errors
    /// Where it can't be removed.
    pub(crate) fn remove(&self) -> Result<()> {
        let shown = || format!("cannot remove the socket \"{}\"", self.path.display());
        let _lock = lock(&self.path)?;
        match inode(&self.path) {
            Ok(inode) if inode == self.inode => unlink(&self.path).what(shown),
            Ok(_) => Ok(()),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e).what(shown),
        }
    }
}

fn socket() -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

/// Locks the directory of a socket, as long as the result lives. Each holder has it for a few system calls.
fn lock(path: &Path) -> Result<File> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    let shown = || format!("cannot lock the directory \"{}\"", dir.display());
    let file = File::open(dir).what(shown)?;
    rustix::fs::flock(&file, FlockOperation::LockExclusive).what(shown)?;
    Ok(file)
}

/// Whether a shim takes connections at a name that is in use.
fn is_served(path: &Path, address: &SocketAddrUnix) -> Result<bool> {
    let shown = || format!("cannot look at \"{}\"", path.display());
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => {
            return Err(Error::new(format!("cannot listen at \"{}\": it is there, and no socket", path.display())));
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e).what(shown),
    }
    let socket = socket().what(shown)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => {
            // An engine would give it orders, and believe it.
            let credentials = sockopt::socket_peercred(&socket).what(shown)?;
            let (peer, own) = (credentials.uid, rustix::process::geteuid());
            if peer == own {
                return Ok(!is_ending(credentials.pid.as_raw_nonzero().get()));
            }
            Err(Error::new(format!(
                "the socket \"{}\" is served by a process of user {}",
                path.display(),
                peer.as_raw()
            )))
        }
        // It listens, and has more callers than it has answered yet.
        Err(Errno::AGAIN) => Ok(true),
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        Err(e) => Err(e).what(shown),
    }
}

/// Whether a process is being taken down, which closes one descriptor after the other: containerd may see it gone while its
/// name still takes connections. One that is no more says nothing: whoever serves may not have said so yet.
fn is_ending(pid: i32) -> bool {
    /// PF_EXITING of the kernel's linux/sched.h, field 9 of proc_pid_stat(5).
    const EXITING: u32 = 0x4;
    let Ok(text) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The name before it may have anything in it.
    let mut fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let state = fields.next();
    let flags = fields.nth(5).and_then(|flags| flags.parse::<u32>().ok()).unwrap_or(0);
    matches!(state, Some("Z" | "X")) || flags & EXITING != 0
}

fn inode(path: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}

/// Removes a name, if it is there.
fn unlink(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// An empty directory, removed at the end.
    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Dir {
            let path = std::env::temp_dir().join(format!("hull-shim-{name}-{}", std::process::id()));
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir(&path).unwrap();
            Dir(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn ours(path: &Path) -> Socket {
        match listen(path).unwrap() {
            Place::Ours(socket) => socket,
            Place::Served => panic!("{} is served", path.display()),
        }
    }

    #[test]
    fn a_process_that_ends_is_told_from_one_that_runs() {
        assert!(!is_ending(std::process::id() as i32));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        // Nobody reaps it before the end of this.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        while !state().contains(") Z ") {
            std::thread::yield_now();
        }
        assert!(is_ending(child.id() as i32));
        child.wait().unwrap();
    }

    #[test]
    fn the_group_is_the_first_annotation_that_says_one() {
        let dir = Dir::new("group");
        let group_of = |config: &str| {
            std::fs::write(dir.0.join("config.json"), config).unwrap();
            group(&dir.0, "id").map_err(|e| e.to_string())
        };
        assert_eq!(group_of("{}").unwrap(), "id");
        assert_eq!(group_of(r#"{"annotations": null}"#).unwrap(), "id");
        assert_eq!(group_of(r#"{"annotations": {"a": "b", "io.kubernetes.cri-o.SandboxID": "p"}}"#).unwrap(), "p");
        let two = r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": ""}}"#;
        assert_eq!(group_of(two).unwrap(), "pod");
        let two = r#"{"annotations": {"io.kubernetes.cri.sandbox-id": "pod", "io.containerd.runc.v2.group": "g"}}"#;
        assert_eq!(group_of(two).unwrap(), "g");
        assert!(group_of("[").unwrap_err().contains("config.json\": "));
        std::fs::remove_file(dir.0.join("config.json")).unwrap();
        assert!(group(&dir.0, "id").unwrap_err().to_string().starts_with("cannot read \""));
    }

    #[test]
    fn paths_differ_by_each_part() {
        let all =
            [("a", "n", "g"), ("b", "n", "g"), ("a", "m", "g"), ("a", "n", "h"), ("an", "", "g"), ("", "an", "g")];
        let paths: std::collections::BTreeSet<_> = all.iter().map(|(a, n, g)| path(None, a, n, g)).collect();
        assert_eq!(paths.len(), all.len());
        let one = path(None, "a", "n", "g");
        assert_eq!(one, path(None, "a", "n", "g"));
        assert!(url(&one).starts_with("unix:///run/containerd/s/") && one.file_name().unwrap().len() == 64);
        assert_eq!(path(Some(Path::new("/x")), "a", "n", "g").parent(), Some(Path::new("/x")));
    }

    #[test]
    fn the_second_finds_the_first() {
        let dir = Dir::new("served");
        let path = dir.0.join("sub/s");
        let first = ours(&path);
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&path), mode(&dir.0.join("sub"))), (0o600, 0o711));
        assert!(matches!(listen(&path).unwrap(), Place::Served));
        // Also where nobody answers, and the queue is full.
        let waiting: Vec<_> = (0..BACKLOG + 8).map(|_| socket().unwrap()).collect();
        let address = SocketAddrUnix::new(path.as_os_str().as_bytes()).unwrap();
        let full = waiting.iter().any(|s| rustix::net::connect(s, &address) == Err(Errno::AGAIN));
        assert!(full, "{BACKLOG} connections wait, and more can");
        assert!(matches!(listen(&path).unwrap(), Place::Served));
        drop(first);
    }

    #[test]
    fn a_dead_socket_is_replaced() {
        let dir = Dir::new("dead");
        let path = dir.0.join("s");
        let first = ours(&path);
        let Socket { listener, .. } = first;
        drop(listener);
        assert!(UnixStream::connect(&path).is_err());
        let second = ours(&path);
        UnixStream::connect(&path).unwrap();
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn only_a_dead_one_is_forgotten() {
        let dir = Dir::new("forget");
        let path = dir.0.join("s");
        forget(&path).unwrap();
        let Socket { listener, .. } = ours(&path);
        forget(&path).unwrap();
        assert!(path.exists(), "a socket that is served was removed");
        drop(listener);
        forget(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_socket_removes_its_own_name_only() {
        let dir = Dir::new("remove");
        let path = dir.0.join("s");
        let first = ours(&path);
        std::fs::rename(&path, dir.0.join("old")).unwrap();
        first.remove().unwrap();
        let second = ours(&path);
        first.remove().unwrap();
        assert!(path.exists());
        second.remove().unwrap();
        second.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = Dir::new("file");
        let path = dir.0.join("s");
        std::fs::write(&path, "kept").unwrap();
        assert!(listen(&path).unwrap_err().to_string().ends_with("it is there, and no socket"));
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn long_paths_are_named() {
        let dir = Dir::new("long");
        let path = dir.0.join("x".repeat(LONGEST));
        let text = listen(&path).unwrap_err().to_string();
        assert!(text.contains(path.to_str().unwrap()) && text.contains("can have 107"), "{text}");
        let most = dir.0.join("x".repeat(LONGEST - dir.0.as_os_str().len() - 1));
        ours(&most);
    }

    #[test]
    fn the_address_is_left_in_the_bundle() {
        let dir = Dir::new("record");
        record(&dir.0, "unix:///old").unwrap();
        record(&dir.0, "unix:///s").unwrap();
        assert_eq!(std::fs::read_to_string(dir.0.join("address")).unwrap(), "unix:///s");
        assert_eq!(std::fs::read_dir(&dir.0).unwrap().count(), 1);
    }

    #[test]
    fn one_of_many_gets_it() {
        let dir = Dir::new("many");
        let path = dir.0.join("s");
        for _ in 0..20 {
            let places: Vec<_> = std::thread::scope(|scope| {
                let all: Vec<_> = (0..4).map(|_| scope.spawn(|| listen(&path).unwrap())).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            let ours = places.iter().filter(|p| matches!(p, Place::Ours(_))).count();
            // The name stays behind, and is dead: what the next round begins with.
            assert_eq!(ours, 1);
        }
    }
}

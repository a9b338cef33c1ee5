//! What a case is given: the runtime under test, a directory of its own, a state directory, names nobody else uses.
//!
//! Owns the clean-up after a case. Knows nothing of how cases are chosen or counted.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::bundle::Bundle;
use crate::call::{Call, Output};
use crate::case::Stop;
use crate::host;

/// Everything a case may use.
pub(crate) struct Ctx {
    /// The runtime under test.
    pub(crate) runtime: PathBuf,
    /// First word of its `--version`.
    pub(crate) peer: String,
    /// A directory of this case alone; gone afterwards.
    pub(crate) dir: PathBuf,
    /// State directory of this case alone.
    pub(crate) root: PathBuf,
    /// The root file system that bundles are made from; never written to.
    pub(crate) base: PathBuf,
    /// Part of every container id and cgroup of this case, and of no other's.
    pub(crate) tag: String,
    count: Cell<u32>,
}

impl Ctx {
    pub(crate) fn new(runtime: PathBuf, peer: String, dir: PathBuf, base: PathBuf, tag: String) -> Ctx {
        let root = dir.join("state");
        Ctx { runtime, peer, dir, root, base, tag, count: Cell::new(0) }
    }

    /// A number no one else in this case has had.
    pub(crate) fn next(&self) -> u32 {
        self.count.set(self.count.get() + 1);
        self.count.get()
    }

    /// A fresh bundle with the default configuration.
    pub(crate) fn bundle(&self) -> Bundle<'_> {
        Bundle::new(self)
    }

    /// A fresh empty directory outside of every bundle, for everyone to write to.
    pub(crate) fn host_dir(&self, name: &str) -> PathBuf {
        let dir = self.dir.join(format!("{name}-{}", self.next()));
        fs::create_dir_all(&dir).expect("cannot make a directory");
        chmod(&dir, 0o777);
        dir
    }

    /// A fresh file outside of every bundle.
    pub(crate) fn host_file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.host_dir(name).join(name);
        fs::write(&path, text).expect("cannot write a file");
        path
    }

    /// Any program, with its output in files of this case.
    pub(crate) fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Call {
        Call::new(program, &self.dir.join(format!("call-{}", self.next())))
    }

    /// The runtime with `--root` already given.
    pub(crate) fn call<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Call {
        self.program(&self.runtime).arg("--root").arg(&self.root).args(args)
    }

    /// The runtime, run to its end.
    #[track_caller]
    pub(crate) fn rt<S: AsRef<std::ffi::OsStr>>(&self, args: &[S]) -> Result<Output, Stop> {
        self.call(args).run()
    }

    /// Skips the case where an ordinary user may not make a user namespace.
    #[track_caller]
    pub(crate) fn need_userns(&self) -> Result<(), Stop> {
        let out = self.program("/usr/bin/unshare").args(&["--user", "--map-root-user", "/bin/true"]).user(1000).run()?;
        if out.code == 0 {
            return Ok(());
        }
        Err(Stop::Skip(format!("an ordinary user may not make a user namespace here: {}", out.err.trim())))
    }

    /// Whether the runtime under test is hull.
    pub(crate) fn is_hull(&self) -> bool {
        self.peer == "hull"
    }

    /// Ends what the case left: containers, frozen cgroups, processes, mounts, cgroups, files. Tells what had to be
    /// removed although every container had been deleted.
    pub(crate) fn clean(&self) -> Vec<String> {
        let mut left = Vec::new();
        for root in [self.root.clone(), self.dir.join("rootless")] {
            for entry in fs::read_dir(&root).into_iter().flatten().flatten() {
                let id = entry.file_name();
                if self.has_deadline_delete(&root, &id.to_string_lossy()).is_none() {
                    left.push(format!("delete --force of {id:?} hung"));
                }
            }
        }
        // Processes of a deleted container may be on their way out, and cgroups with them.
        let patience = Instant::now() + Duration::from_secs(1);
        while !host::cgroups_named(&self.tag).is_empty() && Instant::now() < patience {
            std::thread::sleep(Duration::from_millis(20));
        }
        let cgroups = host::cgroups_named(&self.tag);
        if let Some(first) = cgroups.first() {
            left.push(format!("{} cgroups such as {}", cgroups.len(), first.display()));
        }
        remove_cgroups(&self.tag);
        kill_descendants();
        remove_cgroups(&self.tag);
        let below = format!("{}/", self.dir.display());
        let stuck: Vec<_> = host::mounts("self").into_iter().filter(|m| m.target.starts_with(&below)).collect();
        for m in stuck.iter().rev() {
            left.push(format!("a mount at {}", m.target));
            let _ = rustix::mount::unmount(&m.target, rustix::mount::UnmountFlags::DETACH);
        }
        left
    }

    /// `delete --force`, killed after five seconds (then None).
    fn has_deadline_delete(&self, root: &Path, id: &str) -> Option<()> {
        let call = self.program(&self.runtime).arg("--root").arg(root).args(&["delete", "--force", id]);
        let mut running = call.spawn().ok()?;
        let end = Instant::now() + Duration::from_secs(5);
        loop {
            match running.child.try_wait() {
                Ok(Some(_)) => return Some(()),
                _ if Instant::now() > end => {
                    let _ = running.child.kill();
                    return None;
                }
                _ => std::thread::sleep(Duration::from_millis(2)),
            }
        }
    }
}

/// Kills and reaps every process below this one.
fn kill_descendants() {
    let me = std::process::id() as i32;
    for _ in 0..100 {
        let list = host::descendants(me);
        for &(pid, _) in &list {
            host::signal(pid, libc::SIGKILL);
        }
        // SAFETY: waitpid with no status pointer.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
        if host::descendants(me).is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Thaws, empties and removes every cgroup with `tag` in its name.
pub(crate) fn remove_cgroups(tag: &str) {
    for _ in 0..50 {
        let list = host::cgroups_named(tag);
        if list.is_empty() {
            return;
        }
        for dir in &list {
            if dir.join("freezer.state").exists() {
                let _ = fs::write(dir.join("freezer.state"), "THAWED");
            }
            if dir.join("cgroup.freeze").exists() {
                let _ = fs::write(dir.join("cgroup.freeze"), "0");
            }
            for pid in fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Ok(pid) = pid.parse::<i32>()
                    && pid > 1
                {
                    host::signal(pid, libc::SIGKILL);
                }
            }
            let _ = fs::remove_dir(dir);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sets the mode of a file, which must exist.
pub(crate) fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("cannot chmod");
}

/// Changes owner and group of a file, symbolic links not followed.
pub(crate) fn chown(path: &Path, id: u32) {
    std::os::unix::fs::lchown(path, Some(id), Some(id)).expect("cannot chown");
}

//! The state directory where the caller names none.
//!
//! Owns which one that is, and that one in a directory of everybody's is the caller's own.

use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_runtime::{Context as _, Error, Result};

/// As runc decides it: users have a directory of their own, and so has root in a user namespace, unless $USER says
/// that it means to be root.
pub(crate) fn usual() -> PathBuf {
    let all_ids = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    let real_root = || std::fs::read_to_string("/proc/self/uid_map").map_or(true, all_ids);
    let is_root =
        rustix::process::geteuid().is_root() && (real_root() || std::env::var_os("USER").is_some_and(|u| u == "root"));
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|dir| !is_root && !dir.is_empty());
    match own {
        Some(dir) => PathBuf::from(dir).join("hull"),
        None if rustix::process::geteuid().is_root() => "/run/hull".into(),
        None => of_user(),
    }
}

/// Where a user without $XDG_RUNTIME_DIR (su, cron, ssh without a session) has its state.
fn of_user() -> PathBuf {
    let uid = rustix::process::geteuid().as_raw();
    let session = PathBuf::from(format!("/run/user/{uid}"));
    if session.is_dir() { session.join("hull") } else { format!("/tmp/hull-{uid}").into() }
}

/// Makes a state directory in /tmp, where others could have made it before: it must be the caller's alone.
///
/// # Errors
/// Where it is not.
pub(crate) fn claim(root: &Path) -> Result<()> {
    if root.parent() != Some(Path::new("/tmp")) {
        return Ok(());
    }
    let shown = || format!("cannot make the state directory \"{}\"", root.display());
    match std::fs::DirBuilder::new().mode(0o700).create(root) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        other => other.what(shown)?,
    }
    let meta = std::fs::symlink_metadata(root).what(shown)?;
    if meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0 {
        return Ok(());
    }
    let problem = "is not a directory of this user alone: remove it, or set XDG_RUNTIME_DIR or --root";
    Err(Error::new(format!("the state directory \"{}\" {problem}", root.display())))
}

//! The shim's log: JSON lines, a line an entry, in the named pipe that containerd reads.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::OnceLock;

struct Log {
    file: File,
    debug: bool,
    id: String,
}

static LOG: OnceLock<Log> = OnceLock::new();

/// Logs to the pipe of that name from now on, if there is one.
pub(crate) fn open(path: &Path, debug: bool, id: &str) {
    // For both, lest it wait for a reader or end with one.
    if let Ok(file) = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path) {
        let _ = LOG.set(Log { file, debug, id: id.to_owned() });
    }
}

/// Its descriptor, for a worker to keep.
pub(crate) fn descriptor() -> Option<i32> {
    LOG.get().map(|log| std::os::fd::AsRawFd::as_raw_fd(&log.file))
}

fn write(level: &str, text: fmt::Arguments<'_>) {
    let Some(log) = LOG.get() else { return };
    let line = serde_json::json!({
        "level": level,
        "msg": text.to_string(),
        "id": log.id,
        "time": hull_spec::state::now(),
    });
    // Whole or not at all, where the pipe is full: nobody is to wait for a reader.
    let _ = (&log.file).write(format!("{line}\n").as_bytes());
}

/// What somebody should look at.
pub(crate) fn warn(text: fmt::Arguments<'_>) {
    write("warning", text);
}

/// What is done, where containerd wants to know (`-debug`).
pub(crate) fn debug(text: fmt::Arguments<'_>) {
    if LOG.get().is_some_and(|log| log.debug) {
        write("debug", text);
    }
}

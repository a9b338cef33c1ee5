//! Containers as a library: the parent's side of create, start, exec, kill and delete.
//!
//! Owns the state directory, its locks, the order of the life cycle, and undoing what was made when a later step
//! fails. Does nothing inside the container: that is the jail's. Prints nothing; what a user should know goes to
//! [`Runtime::report`].
//!
//! The process that calls [`Runtime::create`], [`Runtime::run`] or [`Runtime::exec`] must have one thread: the
//! container's process begins as a copy of it. The first two leave it in the bundle's directory, as hooks are run from
//! there; the last two, where they wait for the program, block its signals to pass them on, and `exec` binds it to
//! the CPUs of `execCPUAffinity.initial`.
//!
//! ```no_run
//! use hull_runtime::{Bundle, Runtime};
//!
//! # fn main() -> hull_runtime::Result<()> {
//! // State lives in a directory; another process that names it sees the same containers.
//! let runtime = Runtime::new("/run/my-containers");
//!
//! // A bundle is a directory with config.json and, mostly, the root file system.
//! let bundle = Bundle::new("/var/lib/bundles/web");
//!
//! // Everything is made, and the program waits.
//! let web = runtime.create("web", &bundle)?;
//! println!("web is process {}", web.pid);
//!
//! // Now it runs.
//! runtime.start("web")?;
//!
//! // Later: ask, signal, remove.
//! println!("{}", runtime.status("web")?.1);
//! runtime.kill("web", 15, false)?;
//! runtime.delete("web", true)?;
//! # Ok(())
//! # }
//! ```

mod bundle;
mod child;
mod compiled;
mod console;
mod control;
mod create;
mod delete;
mod documents;
mod engine;
mod exec;
mod features;
mod ids;
mod listener;
mod mounts;
mod netdev;
mod notify;
mod relay;
mod start;
mod state;

use std::path::PathBuf;

pub use bundle::{Bundle, Source};
pub use engine::Module;
pub use exec::ExecOptions;
pub use hull_jail::error::Context;
pub use hull_jail::overlay::HostOverlay;
pub use hull_jail::{Error, Result};
pub use state::{Added, State, Status};

/// How grave a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something was done in another way than asked, or left out.
    Warning,
    /// What is being done.
    Debug,
}

/// Containers below one state directory.
pub struct Runtime {
    /// The state directory; made with mode 0700 where missing.
    pub root: PathBuf,
    /// Make no cgroup at all.
    pub no_cgroups: bool,
    /// Whether cgroups that may not be changed are left alone; by default so for everybody but root.
    pub rootless: bool,
    /// Directories in which the engines of guests are looked for; where there are none, beside the running program and
    /// in /usr/local/libexec/hull and /usr/libexec/hull.
    pub guests: Vec<PathBuf>,
    /// The name that this program was called by.
    called: Option<PathBuf>,
    /// Where a service manager wants to hear that the program is ready (`$NOTIFY_SOCKET`).
    pub notify_socket: Option<PathBuf>,
    /// Whether debug lines are wanted, those of the container's process among them.
    pub verbose: bool,
    /// Receives warnings and debug lines.
    pub report: Report,
}

/// Receives what a user should know.
pub type Report = Box<dyn Fn(Severity, &str)>;

impl Runtime {
    /// Containers below `root`, reports dropped.
    pub fn new(root: impl Into<PathBuf>) -> Runtime {
        Runtime {
            root: root.into(),
            no_cgroups: false,
            rootless: !rustix::process::geteuid().is_root(),
            guests: Vec::new(),
            called: engine::called(),
            notify_socket: None,
            verbose: false,
            report: Box::new(|_, _| {}),
        }
    }

    fn warn(&self, text: &str) {
        (self.report)(Severity::Warning, text);
    }

    fn debug(&self, text: &str) {
        (self.report)(Severity::Debug, text);
    }
}

/// Turns a cgroup error into the runtime's.
fn cgroup_error(e: hull_cgroup::Error) -> Error {
    Error::new(e.to_string())
}

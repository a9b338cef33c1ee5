//! The bundle: what the caller wants of a container, and config.json, read and checked.
//!
//! Makes nothing: whatever is refused here leaves nothing behind.

use std::path::{Path, PathBuf};

use hull_jail::overlay::HostOverlay;
use hull_spec::Spec;

use crate::{Context as _, Error, Module, Result, Runtime};

/// Where config.json comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file of the bundle.
    File(PathBuf),
    /// Made by the caller.
    Given(Box<Spec>),
}

/// A bundle, and what the caller wants of the container made from it.
#[derive(Debug)]
pub struct Bundle {
    /// Directory.
    pub path: PathBuf,
    /// config.json.
    pub config: Source,
    /// Socket for the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// Socket for a pidfd of the first process.
    pub pidfd_socket: Option<PathBuf>,
    /// File for the process id.
    pub pid_file: Option<PathBuf>,
    /// Descriptors after 2 that the workload inherits.
    pub preserve_fds: u32,
    /// Move the root mount instead of pivot_root.
    pub no_pivot: bool,
    /// Keep the caller's session keyring.
    pub no_new_keyring: bool,
    /// Isolation; `None` leaves it to annotations.
    pub isolation: Option<String>,
    /// The module that a guest's engine runs, where it is no file of the container.
    pub module: Option<Module>,
    /// Show the host's tree in place of `root.path`.
    pub overlay: Option<HostOverlay>,
    /// The caller relays the terminal itself.
    pub foreground: bool,
    /// The container is killed where the caller ends without a word.
    pub ends_with_caller: bool,
}

impl Bundle {
    /// A bundle with config.json and no wishes.
    pub fn new(path: impl Into<PathBuf>) -> Bundle {
        Bundle {
            path: path.into(),
            config: Source::File("config.json".into()),
            console_socket: None,
            pidfd_socket: None,
            pid_file: None,
            preserve_fds: 0,
            no_pivot: false,
            no_new_keyring: false,
            isolation: None,
            module: None,
            overlay: None,
            foreground: false,
            ends_with_caller: false,
        }
    }
}

impl Runtime {
    /// The bundle's absolute path and its config.json, checked.
    pub(crate) fn load(&self, bundle: &Bundle) -> Result<(PathBuf, Spec)> {
        let path = bundle.path.canonicalize().what(|| format!("cannot open the bundle \"{}\"", bundle.path.display()))?;
        let mut spec = match &bundle.config {
            Source::Given(spec) => (**spec).clone(),
            Source::File(name) => {
                let file = path.join(name);
                let bytes = std::fs::read(&file).map_err(|e| {
                    // Not in the words that make an engine think a program was not found.
                    let why = if e.kind() == std::io::ErrorKind::NotFound { "it does not exist".into() } else { e.to_string() };
                    Error::new(format!("JSON specification file {} not found or unreadable: {why}", file.display()))
                })?;
                Spec::from_slice(&bytes).map_err(|e| Error::new(e.to_string()))?
            }
        };
        let warnings = spec.check(&hull_spec::CheckHost { rootless: self.rootless, for_start: true });
        for warning in warnings.map_err(|e| Error::new(e.to_string()))? {
            self.warn(&warning.to_string());
        }
        crate::ids::fill(&mut spec);
        name_listener(&mut spec);
        Ok((path, spec))
    }
}

/// Takes the agent of seccomp notifications from crun's annotation or variable where linux.seccomp names none.
fn name_listener(spec: &mut Spec) {
    let annotated = spec.known_annotations().seccomp_receiver().map(Path::to_owned);
    let agent = annotated.or_else(|| std::env::var_os("RUN_OCI_SECCOMP_RECEIVER").map(PathBuf::from));
    let seccomp = spec.linux.as_mut().and_then(|l| l.seccomp.as_mut());
    if let (Some(agent), Some(seccomp)) = (agent, seccomp)
        && seccomp.listener_path.as_os_str().is_empty()
    {
        seccomp.listener_path = agent;
    }
}

/// Refuses a terminal that nobody would take.
pub(crate) fn check_console(process: &hull_spec::Process, bundle: &Bundle, detached: bool) -> Result<()> {
    let detached = detached || !bundle.foreground;
    match (process.terminal, &bundle.console_socket) {
        (true, None) if detached => {
            Err(Error::new("cannot allocate tty if hull will detach without setting console socket: use --console-socket"))
        }
        (false, Some(_)) => Err(Error::new("cannot use console socket if hull will not detach or allocate tty")),
        (true, Some(_)) if !detached => Err(Error::new("cannot use console socket if hull will not detach or allocate tty")),
        _ => Ok(()),
    }
}

impl Runtime {
    /// How many descriptors from 3 up the program inherits, and what its environment says of them: those of socket
    /// activation (sd_listen_fds(3)), then `preserve` more. One that is not open is none, which the user should know.
    ///
    /// # Errors
    /// Where there are more than a process can have.
    pub(crate) fn inherited_fds(&self, preserve: u32) -> Result<(u32, Vec<String>)> {
        let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
        let for_us = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
        let listen = number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
        let all = sum(listen, preserve)?;
        let mut closed = (3..3 + all as i32).filter(|fd| !hull_sys::fs::is_inherited(*fd));
        if let Some(first) = closed.next() {
            let more = closed.count();
            self.warn(&format!("descriptor {first} and {more} more of those to be inherited are not open"));
        }
        if listen == 0 {
            return Ok((all, Vec::new()));
        }
        let mut env = vec![format!("LISTEN_FDS={listen}"), "LISTEN_PID=1".into()];
        if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
            env.push(format!("LISTEN_FDNAMES={names}"));
        }
        Ok((all, env))
    }
}

/// Both numbers together.
fn sum(listen: u32, preserve: u32) -> Result<u32> {
    /// Far more than anybody passes, and than hosts mostly let a process have.
    const MOST: u32 = 4096;
    for (whose, count) in [("LISTEN_FDS", listen), ("--preserve-fds", preserve)] {
        if count > MOST {
            return Err(Error::new(format!("{whose}: {count}: must be at most {MOST}")));
        }
    }
    Ok(listen + preserve)
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn numbers_of_descriptors_are_bounded() {
        assert_eq!(sum(3, 1).unwrap(), 4);
        assert!(sum(u32::MAX - 5, 0).unwrap_err().to_string().starts_with("LISTEN_FDS: 4294967290: "));
        assert!(sum(0, u32::MAX).unwrap_err().to_string().starts_with("--preserve-fds: "));
    }
}

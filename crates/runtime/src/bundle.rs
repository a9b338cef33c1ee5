//! The bundle: what the caller wants of a container, and config.json, read and checked.
//!
//! Makes nothing: whatever is refused here leaves nothing behind.

use std::path::{Path, PathBuf};

use hull_jail::overlay::HostOverlay;
use hull_spec::Spec;

use crate::{Context as _, Error, Result, Runtime};

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

/// How many descriptors from 3 up the program inherits, and what its environment says of them: those of socket
/// activation (sd_listen_fds(3)), then `preserve` more.
///
/// # Errors
/// Where one of them was not passed to hull.
pub(crate) fn listen_fds(preserve: u32) -> Result<(u32, Vec<String>)> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u32>().ok());
    let for_us = number("LISTEN_PID").is_none_or(|pid| pid == std::process::id());
    let count = number("LISTEN_FDS").filter(|_| for_us).unwrap_or(0);
    let all = inherited(count, preserve, hull_sys::fs::is_inherited)?;
    if count == 0 {
        return Ok((all, Vec::new()));
    }
    let mut env = vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".into()];
    if let Ok(names) = std::env::var("LISTEN_FDNAMES") {
        env.push(format!("LISTEN_FDNAMES={names}"));
    }
    Ok((all, env))
}

/// The sum of both, each of which must be there: a number that is free would come to be one of hull's own files.
fn inherited(listen: u32, preserve: u32, open: impl Fn(i32) -> bool) -> Result<u32> {
    let all = u64::from(listen) + u64::from(preserve);
    // As each has to be open, this ends at the limit of open files, far below where the numbers do.
    for fd in 3..3 + all {
        if !i32::try_from(fd).is_ok_and(&open) {
            let whose = if fd - 3 < listen.into() { format!("LISTEN_FDS={listen}") } else { format!("--preserve-fds {preserve}") };
            return Err(Error::new(format!("{whose}: unable to preserve descriptor {fd}: it is not open")));
        }
    }
    Ok(all as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_to_inherit_must_be_there() {
        let count = |listen, preserve| inherited(listen, preserve, |fd| fd < 7);
        assert_eq!(count(0, 0).unwrap(), 0);
        assert_eq!(count(3, 1).unwrap(), 4);
        let said = |listen, preserve| count(listen, preserve).unwrap_err().to_string();
        assert_eq!(said(1, 4), "--preserve-fds 4: unable to preserve descriptor 7: it is not open");
        assert_eq!(said(u32::MAX - 5, 0), "LISTEN_FDS=4294967290: unable to preserve descriptor 7: it is not open");
        assert!(count(u32::MAX, u32::MAX).is_err());
    }
}

//! Programs that take a container's output (`binary://`): containerd's protocol for them.
//!
//! Such a program gets output and errors as descriptors 3 and 4, and closes 5 (or writes to it) once it is ready. The
//! name's query becomes its arguments.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use hull_sys::clone::{self, Side};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::stdio::asynchronous;

/// Whose output it is.
pub(crate) struct Context<'a> {
    pub(crate) id: &'a str,
    pub(crate) namespace: &'a str,
}

/// A program, by its name.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Binary {
    path: String,
    args: Vec<String>,
}

impl Binary {
    /// The program of a stream's name, if it names one.
    pub(crate) fn named(name: &str) -> Option<Result<Binary, String>> {
        let rest = name.strip_prefix("binary://")?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut args = Vec::new();
        for pair in query.split('&').filter(|p| !p.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            for part in [key, value].into_iter().filter(|p| !p.is_empty()) {
                match decoded(part) {
                    Some(part) => args.push(part),
                    None => return Some(Err(format!("\"{name}\": \"{part}\" is no part of an address"))),
                }
            }
        }
        match decoded(path) {
            Some(path) if path.starts_with('/') => Some(Ok(Binary { path, args })),
            _ => Some(Err(format!("\"{name}\": must be the absolute path of a program"))),
        }
    }

    /// Starts it, and waits until it is ready; what a process may write to, output and errors.
    ///
    /// # Errors
    /// Where it can't be executed, or isn't ready in time.
    pub(crate) async fn begin(&self, context: &Context<'_>) -> Result<(OwnedFd, OwnedFd), String> {
        const PATIENCE: Duration = Duration::from_secs(10);
        let fail = |e: &dyn std::fmt::Display| format!("cannot start the logger \"{}\": {e}", self.path);
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(&e));
        let ((out, to_out), (err, to_err), (ready, to_ready)) = (pipe()?, pipe()?, pipe()?);
        let (failed, to_failed) = pipe()?;
        let mut command = Command::new(&self.path);
        command.args(&self.args).env("CONTAINER_ID", context.id).env("CONTAINER_NAMESPACE", context.namespace);
        // SAFETY: the shim has one thread (main.rs).
        let program = match unsafe { clone::clone3(0, None) }.map_err(|e| fail(&e))? {
            Side::Parent(program) => program,
            Side::Child => {
                hull_sys::signal::reset();
                // Above the numbers that it is to have, lest one be overwritten by another.
                let high = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 10);
                let fds = [high(&out), high(&err), high(&to_ready)];
                let said = high(&to_failed);
                for (number, fd) in (3..).zip(&fds) {
                    let _ = fd.as_ref().map(|fd| hull_sys::fs::dup_to(fd.as_fd(), number));
                }
                let e = command.exec();
                let _ = said.map(|said| rustix::io::write(&said, e.to_string().as_bytes()));
                clone::exit_now(1);
            }
        };
        drop((out, err, to_ready, to_failed));
        let ready = asynchronous(ready).map_err(|e| fail(&e))?;
        if tokio::time::timeout(PATIENCE, ready.readable()).await.is_err() {
            let _ = hull_sys::pidfd::send_signal(program.pidfd.as_fd(), libc::SIGKILL);
            return Err(fail(&"it was not ready in time"));
        }
        let mut why = [0; 256];
        match rustix::io::read(&failed, &mut why) {
            Ok(n) if n > 0 => Err(fail(&String::from_utf8_lossy(&why[..n]))),
            _ => Ok((to_out, to_err)),
        }
    }
}

/// A part of an address, with %XX and + as what they stand for.
fn decoded(part: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = part.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        bytes.push(match first {
            b'%' => {
                let digits = rest.get(..2)?;
                rest = &rest[2..];
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            other => *other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_programs() {
        let of = |name: &str| Binary::named(name).map(|b| b.map(|b| (b.path, b.args)).ok());
        let is = |path: &str, args: &[&str]| Some(Some((path.to_owned(), args.iter().map(|a| (*a).to_owned()).collect())));
        assert_eq!(of("/run/fifo"), None);
        assert_eq!(of("file:///x"), None);
        assert_eq!(of("binary:///bin/log"), is("/bin/log", &[]));
        assert_eq!(of("binary:///bin/log?--dir=%2Fa%20b&x=1+2&flag"), is("/bin/log", &["--dir", "/a b", "x", "1 2", "flag"]));
        for bad in ["binary://log", "binary://", "binary:///bin/log?%2", "binary:///bin/log?%zz"] {
            assert_eq!(of(bad), Some(None), "{bad}");
        }
    }
}

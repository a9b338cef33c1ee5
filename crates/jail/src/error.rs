//! The one error of the jail and the runtime: what failed, on which object, and why.

use std::fmt;
use std::io;

/// An error as a person should read it.
#[derive(Debug, Clone)]
pub struct Error {
    text: String,
    errno: Option<i32>,
    program: bool,
    exit_code: Option<i32>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that no system call reported.
    pub fn new(text: impl Into<String>) -> Error {
        Error { text: text.into(), errno: None, program: false, exit_code: None }
    }

    /// The error of a system call, with the action and the object before it.
    pub fn of(e: impl Into<io::Error>, what: impl Into<String>) -> Error {
        let e: io::Error = e.into();
        Error { text: format!("{}: {}", what.into(), explain(&e)), errno: e.raw_os_error(), program: false, exit_code: None }
    }

    /// The kernel's refusal to execute the container's program, of which all else was well.
    pub fn not_executed(text: impl Into<String>) -> Error {
        Error { program: true, ..Error::new(text) }
    }

    /// Whether it is one of [`Error::not_executed`].
    pub fn is_not_executed(&self) -> bool {
        self.program
    }

    /// The error number behind it, where a system call failed.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// The exit code behind it, where a program failed.
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    pub(crate) fn with_exit_code(mut self, code: Option<i32>) -> Error {
        self.exit_code = code;
        self
    }

    /// Puts what was being done before the text.
    #[must_use]
    pub fn during(mut self, doing: &str) -> Error {
        self.text = format!("{doing}: {}", self.text);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

/// An error number with what it usually means to somebody who runs containers.
fn explain(e: &io::Error) -> String {
    match e.raw_os_error() {
        Some(n) => format!("{} ({})", hull_sys::errno::name(n), hull_sys::errno::describe(n)),
        None => e.to_string(),
    }
}

/// Adds the failing object to the error of a system call.
pub trait Context<T> {
    /// `what` names the action and the object: `cannot mount "proc" at "/proc"`.
    ///
    /// # Errors
    /// The error with `what` before it.
    fn what<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn what<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|e| Error::of(e, what()))
    }
}

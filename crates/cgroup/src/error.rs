//! The crate's error: one sentence that names the object and the cause, with the kernel's number where there is one.

use std::path::Path;
use std::{fmt, io};

/// What went wrong, ready to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    text: String,
    errno: Option<i32>,
}

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error that the kernel did not report.
    pub(crate) fn new(text: impl Into<String>) -> Error {
        Error { text: text.into(), errno: None }
    }

    /// What hull was doing, and what the kernel said.
    pub(crate) fn io(doing: impl fmt::Display, cause: &io::Error) -> Error {
        let errno = cause.raw_os_error();
        let cause = match errno {
            Some(n) => format!("{} ({})", hull_sys::errno::describe(n), hull_sys::errno::name(n)),
            None => cause.to_string(),
        };
        Error { text: format!("{doing}: {cause}"), errno }
    }

    /// As [`Error::io`] for a file of a cgroup.
    pub(crate) fn file(verb: &str, dir: &Path, name: &str, cause: &io::Error) -> Error {
        Error::io(format_args!("cannot {verb} {:?}", dir.join(name)), cause)
    }

    /// The kernel's error number, where the kernel refused.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}

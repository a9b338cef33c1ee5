//! Wasm modules as OCI registries hold them: which image of an index is meant, what form it has, which of its blobs is
//! the module and how that is called.
//!
//! Owns the reading of index, manifest and configuration, and the proof that each blob is the one that was named. Where
//! blobs lie is [`Content`]'s: a [`Layout`] is one such place. Unpacks no layers, writes no file and runs nothing.
//!
//! Three forms are known: the CNCF's Wasm OCI Artifact; runwasi's images, which have a usual image's configuration and
//! modules for layers; and what wasm-to-oci made. A usual image, whose module is a file in a layer, is told apart.
//!
//! All of it is other people's: documents and modules have a largest size, indexes a greatest depth and number, and a
//! digest is checked before it becomes a file's name.

mod choose;
mod document;
mod layout;
mod manifest;
mod verify;

use std::fmt;
use std::io::Read;

pub use choose::choose;
pub use document::{Descriptor, Digest, Index, Platform};
pub use layout::Layout;
pub use manifest::{Artifact, Form, Kind, read};
pub use verify::{LARGEST_MODULE, Verified};

/// Where blobs are had by their digest. What comes out is believed only once it was verified.
pub trait Content {
    /// Opens a blob.
    ///
    /// # Errors
    /// Where there is none, or what is there is no file.
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>>;
}

/// What is wrong, and with which object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(String);

/// Result with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Error {
        Error(text.into())
    }

    fn of(what: impl fmt::Display, problem: impl fmt::Display) -> Error {
        Error(format!("{what}: {problem}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// Other people's text in an error: in quotes, without control characters, and no longer than a line.
pub fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    let cut: String = text.chars().take(LONGEST).collect();
    format!("{cut:?}{}", if cut.len() < text.len() { "..." } else { "" })
}

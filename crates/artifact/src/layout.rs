//! An OCI image layout: a directory with `oci-layout`, `index.json` and the blobs, which may be anybody's.
//!
//! Every path in it is resolved below the directory. What is opened for reading is known to be a file first: a fifo
//! would wait, and a device would do something.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, statat};
use rustix::io::Errno;
use serde::Deserialize;

use crate::document::parse;
use crate::verify::LARGEST_DOCUMENT;
use crate::{Content, Digest, Error, Index, Result, quote};

/// A layout's directory.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    dir: OwnedFd,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

impl Layout {
    /// Opens a layout.
    ///
    /// # Errors
    /// For a directory that is none, or of another version.
    pub fn open(path: &Path) -> Result<Layout> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, path, flags, Mode::empty());
        let dir = dir.map_err(|e| Error::of(path.display(), cause(&e.into())))?;
        let layout = Layout { path: path.to_owned(), dir };
        let marker: Marker = parse(&layout.document("oci-layout")?, &layout.path.join("oci-layout").display())?;
        if marker.image_layout_version.split('.').next() != Some("1") {
            let version = quote(&marker.image_layout_version);
            let what = layout.path.join("oci-layout");
            return Err(Error::of(what.display(), format!("imageLayoutVersion: {version}: must be 1.0.0")));
        }
        Ok(layout)
    }

    /// The list of its images.
    ///
    /// # Errors
    /// Where there is none.
    pub fn index(&self) -> Result<Index> {
        let name = "index.json";
        Index::parse(&self.document(name)?, &self.path.join(name).to_string_lossy())
    }

    /// A file that has no digest.
    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let what = self.path.join(name);
        let mut bytes = Vec::new();
        let file = self.file(Path::new(name))?;
        let read = file.take(LARGEST_DOCUMENT + 1).read_to_end(&mut bytes);
        read.map_err(|e| Error::of(what.display(), cause(&e)))?;
        if bytes.len() as u64 > LARGEST_DOCUMENT {
            return Err(Error::of(what.display(), format!("has more than {LARGEST_DOCUMENT} bytes")));
        }
        Ok(bytes)
    }

    fn file(&self, name: &Path) -> Result<File> {
        let what = self.path.join(name);
        let fail = |problem: &str| Error::of(what.display(), problem);
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let found = match openat2(&self.dir, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // The kernel can't vouch for a path while something is renamed above it.
            Err(Errno::XDEV | Errno::AGAIN) => return Err(fail("a link leads out of the layout")),
            other => other.map_err(|e| fail(&cause(&e.into())))?,
        };
        let kind = statat(&found, "", AtFlags::EMPTY_PATH).map(|st| FileType::from_raw_mode(st.st_mode));
        if kind != Ok(FileType::RegularFile) {
            return Err(fail("is no regular file"));
        }
        File::open(format!("/proc/self/fd/{}", found.as_raw_fd())).map_err(|e| fail(&cause(&e)))
    }
}

/// The kernel's error in words alone.
fn cause(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

impl Content for Layout {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>> {
        let file = self.file(&Path::new("blobs").join(digest.algorithm()).join(digest.hex()))?;
        Ok(Box::new(file))
    }
}

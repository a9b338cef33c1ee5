//! Blobs that are what their descriptor says, or an error.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256, Sha512};

use crate::{Content, Descriptor, Error, Result};

/// The largest index, manifest or configuration (registries take no larger ones).
pub(crate) const LARGEST_DOCUMENT: u64 = 4 << 20;

/// The largest module.
pub const LARGEST_MODULE: u64 = 256 << 20;

enum Hash {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hash {
    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hash::Sha256(hash) => hash.update(bytes),
            Hash::Sha512(hash) => hash.update(bytes),
        }
    }

    fn hex(&self) -> String {
        let text = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
        match self {
            Hash::Sha256(hash) => text(&hash.clone().finalize()),
            Hash::Sha512(hash) => text(&hash.clone().finalize()),
        }
    }
}

/// The bytes of a blob. Reading ends well only where these were as many as the descriptor says, and of its digest: who
/// has read to the end has the blob, and who stopped before has nothing.
pub struct Verified<'a> {
    from: Box<dyn Read + 'a>,
    descriptor: Descriptor,
    left: u64,
    hash: Hash,
}

impl<'a> Verified<'a> {
    /// Opens a blob of at most `largest` bytes.
    ///
    /// # Errors
    /// Where it is said to be larger, or can't be opened.
    pub fn open(content: &'a dyn Content, descriptor: &Descriptor, largest: u64) -> Result<Verified<'a>> {
        let Descriptor { digest, size, .. } = descriptor;
        if *size > largest {
            return Err(Error::of(shown(descriptor), format!("has {size} bytes, and may have {largest}")));
        }
        let hash = match digest.algorithm() {
            "sha256" => Hash::Sha256(Sha256::new()),
            _ => Hash::Sha512(Box::default()),
        };
        Ok(Verified { from: content.open(digest)?, descriptor: descriptor.clone(), left: *size, hash })
    }

    fn wrong(&self, problem: &str) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, format!("{}: {problem}", shown(&self.descriptor)))
    }

    fn end(&mut self) -> io::Result<usize> {
        if self.from.read(&mut [0])? != 0 {
            return Err(self.wrong(&format!("has more than the {} bytes that it is said to have", self.descriptor.size)));
        }
        if self.hash.hex() != self.descriptor.digest.hex() {
            return Err(self.wrong(&format!("its bytes have another digest, {}", self.hash.hex())));
        }
        Ok(0)
    }
}

impl Read for Verified<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            return self.end();
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.from.read(&mut buffer[..most])?;
        if n == 0 {
            let size = self.descriptor.size;
            return Err(self.wrong(&format!("ends after {} of {size} bytes", size - self.left)));
        }
        self.hash.update(&buffer[..n]);
        self.left -= n as u64;
        Ok(n)
    }
}

/// A blob as errors name it.
pub(crate) fn shown(descriptor: &Descriptor) -> String {
    format!("blob {}", descriptor.digest)
}

/// A document, whole.
pub(crate) fn document(content: &dyn Content, descriptor: &Descriptor) -> Result<Vec<u8>> {
    let mut blob = Verified::open(content, descriptor, LARGEST_DOCUMENT)?;
    let mut bytes = Vec::new();
    match blob.read_to_end(&mut bytes) {
        Ok(_) => Ok(bytes),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => Err(Error::new(e.to_string())),
        Err(e) => Err(Error::of(shown(descriptor), e)),
    }
}

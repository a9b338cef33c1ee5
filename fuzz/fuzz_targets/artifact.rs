//! Wasm artifacts: no documents make the reader panic or go on without end, and what it finds is what was named.
//!
//! The input is a list of blobs, one a line, the index first. In each, `@N` stands for the digest and `#N` for the
//! length of the N-th after it, so that the input can lead from one to the other.

#![no_main]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Read;

use hull_artifact::{Content, Digest, Error, Index, Kind, choose, read};
use libfuzzer_sys::fuzz_target;
use sha2::Digest as _;

#[derive(Default)]
struct Store {
    blobs: BTreeMap<String, Vec<u8>>,
    opened: Cell<usize>,
}

impl Content for Store {
    fn open(&self, digest: &Digest) -> Result<Box<dyn Read + '_>, Error> {
        self.opened.set(self.opened.get() + 1);
        let blob = self.blobs.get(&digest.to_string()).ok_or_else(|| Error::new("not there"))?;
        Ok(Box::new(blob.as_slice()))
    }
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>())
}

/// A line with its references to those after it, which are done already, the last of all first.
fn fill(line: &[u8], after: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = line.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let number = rest.peek().filter(|b| b.is_ascii_digit()).map(|b| usize::from(b - b'0'));
        let blob = number.and_then(|n| after.get(after.len().checked_sub(n.max(1))?));
        match (byte, blob) {
            (b'@', Some(blob)) => out.extend(digest(blob).bytes()),
            (b'#', Some(blob)) => out.extend(blob.len().to_string().bytes()),
            _ => {
                out.push(byte);
                continue;
            }
        }
        rest.next();
    }
    out
}

fuzz_target!(|bytes: &[u8]| {
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    for line in bytes.split(|b| *b == b'\n').take(32).collect::<Vec<_>>().into_iter().rev() {
        let blob = fill(line, &blobs);
        if blob.len() > 1 << 16 {
            return;
        }
        blobs.push(blob);
    }
    let Ok(index) = Index::parse(blobs.last().map_or(b"", Vec::as_slice), "index.json") else { return };
    let store = Store { blobs: blobs.into_iter().map(|b| (digest(&b), b)).collect(), opened: Cell::new(0) };
    for name in [None, Some("a")] {
        store.opened.set(0);
        let Ok(manifest) = choose(&store, &index, name) else { continue };
        let kind = read(&store, &manifest);
        // Indexes have a greatest number; then manifest and configuration.
        assert!(store.opened.get() <= 66);
        let Ok(Kind::Artifact(artifact)) = kind else { continue };
        let mut module = Vec::new();
        if artifact.open(&store).is_ok_and(|mut m| m.read_to_end(&mut module).is_ok()) {
            assert_eq!(module.len() as u64, artifact.module.size);
            if artifact.module.digest.algorithm() == "sha256" {
                assert_eq!(digest(&module), artifact.module.digest.to_string());
            }
        }
        let arguments = artifact.arguments(&["x".to_owned()]);
        assert!(!arguments[0].is_empty() && arguments.iter().all(|a| !a.contains('\0')));
    }
});

//! Which image of an index is meant: by its name, then by what it is for.

use std::collections::BTreeSet;

use crate::document::{Descriptor, Document, Index, Platform};
use crate::verify::{self, shown};
use crate::{Content, Error, Result, quote};

const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

pub(crate) const MANIFESTS: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// Indexes within indexes; one is usual.
const DEEPEST: usize = 4;

/// Indexes read before one image was found.
const MOST: usize = 64;

/// The manifest of the image that is meant. Of several of one name, the one for the latest WASI is taken; of several
/// names, one must be given.
///
/// # Errors
/// Where there is none, or no telling which, or what lies on the way is not as it should be.
pub fn choose(content: &dyn Content, index: &Index, name: Option<&str>) -> Result<Descriptor> {
    let mut search = Search { content, read: BTreeSet::new(), others: BTreeSet::new() };
    let mut found: Vec<(Rank, Option<&str>, Descriptor)> = Vec::new();
    let named = |d: &&Descriptor| name.is_none_or(|name| d.name() == Some(name));
    let mut any = false;
    for descriptor in index.0.iter().filter(named) {
        any = true;
        if let Some((rank, manifest)) = search.best(descriptor, 0)? {
            found.push((rank, descriptor.name(), manifest));
        }
    }
    match name {
        Some(name) if !any => {
            return Err(Error::of(format_args!("no image is called {}", quote(name)), names(index.0.iter().map(Descriptor::name))));
        }
        _ if !any => return Err(Error::new("index.json: manifests: has no image")),
        _ => {}
    }
    // One that says that it is Wasm comes before those that would have to be read.
    let declared = found.iter().any(|f| f.0 != Rank::Unsaid);
    found.retain(|f| !declared || f.0 != Rank::Unsaid);
    let Some((rank, called, manifest)) = found.iter().min_by_key(|f| f.0) else {
        return Err(Error::of("index.json: there is no image for wasm", search.others()));
    };
    let another = |f: &&(Rank, Option<&str>, Descriptor)| f.2.digest != manifest.digest && (f.1 != *called || f.0 == *rank);
    if name.is_none() && found.iter().any(|f| another(&f)) {
        return Err(Error::of("index.json: has several images, name one", names(found.iter().map(|f| f.1))));
    }
    Ok(manifest.clone())
}

/// How good an image is, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Wasip2,
    Wasip1,
    Wasi,
    /// It doesn't say what it is for; its configuration does.
    Unsaid,
}

impl Rank {
    fn of(platform: Option<&Platform>) -> Option<Rank> {
        let Some(platform) = platform else { return Some(Rank::Unsaid) };
        match (platform.architecture.as_str(), platform.os.as_str()) {
            ("wasm", "wasip2") => Some(Rank::Wasip2),
            ("wasm", "wasip1") => Some(Rank::Wasip1),
            ("wasm", "wasi") => Some(Rank::Wasi),
            _ => None,
        }
    }
}

struct Search<'a> {
    content: &'a dyn Content,
    /// Digests of indexes that were read; none is read again.
    read: BTreeSet<String>,
    /// What images that don't fit are for.
    others: BTreeSet<String>,
}

impl Search<'_> {
    /// The best manifest that a descriptor leads to; of equal ones the first.
    fn best(&mut self, descriptor: &Descriptor, depth: usize) -> Result<Option<(Rank, Descriptor)>> {
        if MANIFESTS.contains(&descriptor.media_type.as_str()) {
            let rank = Rank::of(descriptor.platform.as_ref());
            if let (None, Some(platform)) = (rank, &descriptor.platform) {
                self.other(platform.to_string());
            }
            return Ok(rank.map(|rank| (rank, descriptor.clone())));
        }
        if !INDEXES.contains(&descriptor.media_type.as_str()) {
            self.other(format!("something of type {}", quote(&descriptor.media_type)));
            return Ok(None);
        }
        let what = shown(descriptor);
        if depth == DEEPEST {
            return Err(Error::of(what, format!("is an index within {DEEPEST} others")));
        }
        if !self.read.insert(descriptor.digest.to_string()) {
            return Ok(None);
        }
        if self.read.len() > MOST {
            return Err(Error::of(what, format!("is one index more than the {MOST} that are read")));
        }
        let bytes = verify::document(self.content, descriptor)?;
        let index = Document::parse(&bytes, &what, Some(&descriptor.media_type))?.index(&what)?;
        let mut best: Option<(Rank, Descriptor)> = None;
        for inner in &index.0 {
            let found = self.best(inner, depth + 1)?;
            best = match (best, found) {
                (Some(best), Some(found)) if found.0 >= best.0 => Some(best),
                (best, found) => found.or(best),
            };
        }
        Ok(best)
    }

    fn other(&mut self, what: String) {
        // For a message; more are not read.
        if self.others.len() < 16 {
            self.others.insert(what);
        }
    }

    fn others(&self) -> String {
        let list: Vec<_> = self.others.iter().map(String::as_str).collect();
        format!("there are: {}", if list.is_empty() { "none".to_owned() } else { list.join(", ") })
    }
}

fn names<'a>(all: impl Iterator<Item = Option<&'a str>>) -> String {
    const MOST: usize = 10;
    let all: BTreeSet<_> = all.map(|name| name.map_or("one without a name".to_owned(), quote)).collect();
    let mut list: Vec<_> = all.iter().take(MOST).cloned().collect();
    match all.len() {
        0 => list.push("none".into()),
        n if n > MOST => list.push(format!("{} more", n - MOST)),
        _ => {}
    }
    format!("there are: {}", list.join(", "))
}

//! The documents as they are written: descriptors, digests, and the one shape that index and manifest share.
//!
//! Go's libraries write `null` for lists that are empty; both are read.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use crate::{Error, Result, quote};

/// The annotation that names an image of a layout.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation that names a layer's file.
const TITLE: &str = "org.opencontainers.image.title";

/// A blob's name: an algorithm and a number in hexadecimal, and nothing else that could come to be part of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Digest {
    hex: String,
}

impl Digest {
    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &'static str {
        if self.hex.len() == 64 { "sha256" } else { "sha512" }
    }

    /// The number, in small letters.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Digest> {
        let bad = |why: &str| Err(Error::of(format_args!("digest {}", quote(&text)), why));
        let Some((algorithm, hex)) = text.split_once(':') else { return bad("must be an algorithm, a colon and a number") };
        let length = match algorithm {
            "sha256" => 64,
            "sha512" => 128,
            _ => return bad("the algorithm must be sha256 or sha512"),
        };
        if hex.len() != length || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return bad(&format!("must have {length} hexadecimal digits in small letters"));
        }
        Ok(Digest { hex: hex.to_owned() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm(), self.hex)
    }
}

/// What a blob is, and how it is found.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Descriptor {
    /// What its bytes mean.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its length.
    pub size: u64,
    /// What an image of an index is for.
    #[serde(default)]
    pub platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Descriptor {
    /// A descriptor without platform and annotations.
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.into(), digest, size, platform: None, annotations: None }
    }

    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// The name of an image of a layout.
    pub fn name(&self) -> Option<&str> {
        self.annotation(REF_NAME)
    }

    /// The name of a layer's file.
    pub fn title(&self) -> Option<&str> {
        self.annotation(TITLE)
    }
}

/// What an image is for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Platform {
    /// `wasip1`, `wasip2` or `wasi`, of Wasm.
    pub os: String,
    /// `wasm`.
    pub architecture: String,
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", quote(&self.os).trim_matches('"'), quote(&self.architecture).trim_matches('"'))
    }
}

/// An index, or a manifest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Document {
    schema_version: u64,
    #[serde(default)]
    media_type: Option<String>,
    #[serde(default)]
    manifests: Option<Vec<Descriptor>>,
    #[serde(default)]
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Option<Vec<Descriptor>>,
}

impl Document {
    /// Reads one that is said to be of a type. One that could be taken for an index as well as a manifest is neither
    /// (CVE-2021-41190).
    pub(crate) fn parse(bytes: &[u8], what: &dyn fmt::Display, media_type: Option<&str>) -> Result<Document> {
        let document: Document = parse(bytes, what)?;
        if document.schema_version != 2 {
            return Err(Error::of(what, format!("schemaVersion: {}: must be 2", document.schema_version)));
        }
        if let (Some(said), Some(own)) = (media_type, &document.media_type)
            && said != own
        {
            return Err(Error::of(what, format!("mediaType: {}: it was said to be {}", quote(own), quote(said))));
        }
        if document.manifests.is_some() && (document.config.is_some() || document.layers.is_some()) {
            return Err(Error::of(what, "has manifests as an index does, and config or layers as a manifest does"));
        }
        Ok(document)
    }
}

/// A list of images.
#[derive(Debug)]
pub struct Index(pub(crate) Vec<Descriptor>);

impl Index {
    /// Reads an index, such as a layout's index.json; `what` names it in errors.
    ///
    /// # Errors
    /// For what is no index.
    pub fn parse(bytes: &[u8], what: &str) -> Result<Index> {
        Document::parse(bytes, &what, None)?.index(&what)
    }
}

impl Document {
    pub(crate) fn index(self, what: &dyn fmt::Display) -> Result<Index> {
        self.manifests.map(Index).ok_or_else(|| Error::of(what, "manifests: must be given"))
    }

    /// Configuration and layers.
    pub(crate) fn manifest(self, what: &dyn fmt::Display) -> Result<(Descriptor, Vec<Descriptor>)> {
        let config = self.config.ok_or_else(|| Error::of(what, "config: must be given"))?;
        Ok((config, self.layers.unwrap_or_default()))
    }
}

/// The configuration of an image, or of an artifact.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) architecture: Option<String>,
    #[serde(default)]
    pub(crate) os: Option<String>,
    /// The artifact's own list of its layers.
    #[serde(default)]
    pub(crate) layer_digests: Option<Vec<Digest>>,
    #[serde(default)]
    pub(crate) config: Option<Execution>,
}

/// How an image's program is started.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Execution {
    #[serde(default)]
    pub(crate) entrypoint: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) cmd: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) env: Option<Vec<String>>,
}

/// Reads JSON.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &dyn fmt::Display) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| {
        // A name of a field or a value may be as long as the document.
        let text: String = e.to_string().chars().filter(|c| !c.is_control()).collect();
        let (start, end) = (text.char_indices().nth(200), text.rfind(" at line "));
        let text = match (start, end) {
            (Some((start, _)), Some(end)) if start < end => format!("{}...{}", &text[..start], &text[end..]),
            _ => text,
        };
        Error::of(what, text)
    })
}

//! What an image is: an artifact with a module for a layer, or a usual image.

use crate::choose::MANIFESTS;
use crate::document::{Config, Descriptor, Digest, Document, Execution, parse};
use crate::verify::{self, LARGEST_MODULE, Verified, shown};
use crate::{Content, Error, Result, quote};

/// The configuration of the CNCF's Wasm OCI Artifact.
const ARTIFACT_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// The one type of layer that it has.
const ARTIFACT_LAYER: &str = "application/wasm";

/// The configuration of what wasm-to-oci made; it says nothing.
const OLD_CONFIG: &str = "application/vnd.wasm.config.v1+json";

/// Its layer.
const OLD_LAYER: &str = "application/vnd.wasm.content.layer.v1+wasm";

/// The configuration of usual images.
const IMAGE_CONFIGS: [&str; 2] = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];

/// Layers that are modules, in an image that has a usual configuration.
const IMAGE_LAYERS: [&str; 3] = ["application/vnd.bytecodealliance.wasm.component.layer.v0+wasm", ARTIFACT_LAYER, OLD_LAYER];

/// A module's name where nothing else says it.
const UNNAMED: &str = "module.wasm";

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A module, to be run from its blob.
    Artifact(Artifact),
    /// A usual image of this platform: its program, a module or not, is a file in one of its layers.
    Image(String),
}

/// How an artifact is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The CNCF's Wasm OCI Artifact.
    Artifact,
    /// runwasi's: a usual configuration, and modules for layers.
    Layers,
    /// wasm-to-oci's.
    Old,
}

/// A module, and how it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// How it is put together.
    pub form: Form,
    /// The module's blob.
    pub module: Descriptor,
    /// The first argument, without a function.
    pub name: String,
    /// The function to call in place of the usual entry point; empty for that.
    pub function: String,
    /// Further variables of the environment.
    pub env: Vec<String>,
    /// Types of the layers that are no modules; their files are not the module's to see here.
    pub others: Vec<String>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
}

impl Artifact {
    /// The arguments of its process where the user gives these: its own are only for want of them.
    pub fn arguments(&self, given: &[String]) -> Vec<String> {
        let own = if self.entrypoint.is_empty() { self.cmd.get(1..).unwrap_or_default() } else { &self.cmd };
        let first = self.entrypoint.first().or(self.cmd.first()).filter(|first| !first.is_empty()).unwrap_or(&self.name);
        let rest = if given.is_empty() { own } else { given };
        std::iter::once(first).chain(self.entrypoint.iter().skip(1)).chain(rest).cloned().collect()
    }

    /// The module's bytes.
    ///
    /// # Errors
    /// Where there is no such blob.
    pub fn open<'a>(&self, content: &'a dyn Content) -> Result<Verified<'a>> {
        Verified::open(content, &self.module, LARGEST_MODULE)
    }
}

/// Reads a manifest and its configuration.
///
/// # Errors
/// For what is neither an image nor a Wasm artifact, and for one that contradicts itself.
pub fn read(content: &dyn Content, descriptor: &Descriptor) -> Result<Kind> {
    let what = shown(descriptor);
    if !MANIFESTS.contains(&descriptor.media_type.as_str()) {
        return Err(Error::of(what, format!("type {}: is no manifest", quote(&descriptor.media_type))));
    }
    let bytes = verify::document(content, descriptor)?;
    let (config, layers) = Document::parse(&bytes, &what, Some(&descriptor.media_type))?.manifest(&what)?;
    match config.media_type.as_str() {
        ARTIFACT_CONFIG => artifact(&what, &load(content, &config)?, layers).map(Kind::Artifact),
        OLD_CONFIG => {
            let module = only(&what, layers, OLD_LAYER)?;
            named(&what, Form::Old, module, Execution::default(), Vec::new()).map(Kind::Artifact)
        }
        kind if IMAGE_CONFIGS.contains(&kind) => image(&what, load(content, &config)?, layers),
        kind => Err(Error::of(what, format!("config.mediaType: {}: neither an image nor a Wasm artifact", quote(kind)))),
    }
}

fn load(content: &dyn Content, descriptor: &Descriptor) -> Result<Config> {
    parse(&verify::document(content, descriptor)?, &shown(descriptor))
}

fn artifact(what: &str, config: &Config, layers: Vec<Descriptor>) -> Result<Artifact> {
    let field = |name: &str, value: &Option<String>, allowed: &[&str]| match value {
        Some(value) if allowed.contains(&value.as_str()) => Ok(()),
        value => {
            let value = quote(value.as_deref().unwrap_or_default());
            Err(Error::of(what, format!("config: {name}: {value}: must be {}", allowed.join(" or "))))
        }
    };
    field("architecture", &config.architecture, &["wasm"])?;
    field("os", &config.os, &["wasip1", "wasip2"])?;
    if let Some(list) = &config.layer_digests {
        let own: Vec<&Digest> = layers.iter().map(|l| &l.digest).collect();
        if list.iter().ne(own) {
            return Err(Error::of(what, "config: layerDigests: other layers than the manifest has"));
        }
    }
    let module = only(what, layers, ARTIFACT_LAYER)?;
    named(what, Form::Artifact, module, Execution::default(), Vec::new())
}

/// The one layer: what several would mean was never said.
fn only(what: &str, layers: Vec<Descriptor>, kind: &str) -> Result<Descriptor> {
    match <[Descriptor; 1]>::try_from(layers) {
        Ok([layer]) if layer.media_type == kind => Ok(layer),
        Ok([layer]) => Err(Error::of(what, format!("layers[0].mediaType: {}: must be {kind}", quote(&layer.media_type)))),
        Err(layers) => Err(Error::of(what, format!("layers: there are {}, and must be one", layers.len()))),
    }
}

fn image(what: &str, config: Config, layers: Vec<Descriptor>) -> Result<Kind> {
    let (os, architecture) = (config.os.unwrap_or_default(), config.architecture.unwrap_or_default());
    let is_module = |layer: &Descriptor| IMAGE_LAYERS.contains(&layer.media_type.as_str());
    let (modules, others): (Vec<_>, Vec<_>) = layers.into_iter().partition(is_module);
    if architecture != "wasm" || modules.is_empty() {
        return Ok(Kind::Image(crate::Platform { os, architecture }.to_string()));
    }
    if !["wasi", "wasip1", "wasip2"].contains(&os.as_str()) {
        return Err(Error::of(what, format!("config: os: {}: must be wasi, wasip1 or wasip2", quote(&os))));
    }
    let execution = config.config.unwrap_or_default();
    let first = execution.entrypoint.iter().flatten().chain(execution.cmd.iter().flatten()).next();
    let entry = file_of(first.map_or("", |first| split(first).0)).to_owned();
    let count = modules.len();
    let mut titled = modules.iter().filter(|m| m.title().is_some_and(|t| file_of(t) == entry));
    let module = match (count, titled.next(), titled.next()) {
        (1, ..) => modules.into_iter().next(),
        (_, Some(module), None) => Some(module.clone()),
        _ => None,
    };
    let module = module.ok_or_else(|| {
        Error::of(what, format!("layers: {count} are modules, and not just one has the title {}, as the entry point is", quote(&entry)))
    })?;
    named(what, Form::Layers, module, execution, others.into_iter().map(|l| l.media_type).collect()).map(Kind::Artifact)
}

/// A path as both entry points and titles may have it, from the image's root.
fn file_of(path: &str) -> &str {
    path.strip_prefix("./").unwrap_or(path).trim_start_matches('/')
}

/// A file and a function in it.
fn split(entry: &str) -> (&str, &str) {
    entry.split_once('#').unwrap_or((entry, ""))
}

fn named(what: &str, form: Form, module: Descriptor, execution: Execution, others: Vec<String>) -> Result<Artifact> {
    let Execution { entrypoint, cmd, env } = execution;
    let (entrypoint, cmd, env) = (entrypoint.unwrap_or_default(), cmd.unwrap_or_default(), env.unwrap_or_default());
    for (field, list) in [("Entrypoint", &entrypoint), ("Cmd", &cmd), ("Env", &env)] {
        if let Some(index) = list.iter().position(|text| text.contains('\0')) {
            return Err(Error::of(what, format!("config: config.{field}[{index}]: has a NUL byte")));
        }
    }
    if let Some(index) = env.iter().position(|entry| entry.split_once('=').is_none_or(|(key, _)| key.is_empty())) {
        return Err(Error::of(what, format!("config: config.Env[{index}]: {}: must be a name, =, and a value", quote(&env[index]))));
    }
    let entry = entrypoint.first().or(cmd.first()).map(|first| split(first));
    let title = module.title().filter(|t| !t.is_empty() && !t.contains('\0')).unwrap_or(UNNAMED);
    let (name, function) = entry.filter(|(name, _)| !name.is_empty()).unwrap_or((title, entry.map_or("", |e| e.1)));
    let (name, function) = (name.to_owned(), function.to_owned());
    Ok(Artifact { form, module, name, function, env, others, entrypoint, cmd })
}

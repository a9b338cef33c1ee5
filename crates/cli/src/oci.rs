//! `oci:DIR[:NAME]` in place of a program: the Wasm artifact of an OCI image layout.

use std::ffi::OsStr;
use std::path::Path;

use hull_artifact::{Kind, Layout};
use hull_runtime::{Error, Module, Result};

/// A module of an artifact, and what its image says of how to run it.
pub(crate) struct Loaded {
    pub(crate) module: Module,
    /// Arguments, the module's name first.
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    /// What of the image is not shown.
    pub(crate) warning: Option<String>,
}

/// Loads what the first argument of a command names, if it is of that notation.
pub(crate) fn load(program: &OsStr, args: &[String]) -> Option<Result<Loaded>> {
    let place = program.to_str()?.strip_prefix("oci:")?;
    // As skopeo has it: a directory's name has no colon.
    let (dir, name) = place.split_once(':').map_or((place, None), |(dir, name)| (dir, Some(name)));
    let shown = |problem: &dyn std::fmt::Display| Error::new(format!("{}: {problem}", program.display()));
    Some(found(Path::new(dir), name.filter(|n| !n.is_empty()), args).map_err(|e| shown(&e)))
}

fn found(dir: &Path, name: Option<&str>, args: &[String]) -> Result<Loaded> {
    let plain = |e: hull_artifact::Error| Error::new(e.to_string());
    let layout = Layout::open(dir).map_err(plain)?;
    let manifest = hull_artifact::choose(&layout, &layout.index().map_err(plain)?, name).map_err(plain)?;
    let artifact = match hull_artifact::read(&layout, &manifest).map_err(plain)? {
        Kind::Artifact(artifact) => artifact,
        Kind::Image(platform) => {
            return Err(Error::new(format!(
                "is a usual image ({platform}), whose program is a file in its layers: unpack it and name the file, or have an \
                 engine such as Podman run it"
            )));
        }
    };
    Ok(Loaded {
        module: Module::new(artifact.open(&layout).map_err(plain)?, artifact.function.as_str())?,
        args: artifact.arguments(args),
        env: artifact.env,
        warning: left_out(&artifact.others),
    })
}

/// A word on all layers that are of no use: there may be thousands.
fn left_out(kinds: &[String]) -> Option<String> {
    let first = hull_artifact::quote(kinds.first()?);
    Some(match kinds.len() - 1 {
        0 => format!("a layer of type {first} is not shown to the module"),
        more => format!("a layer of type {first} and {more} more are not shown to the module"),
    })
}

//! The specification's MUSTs that the text alone decides, refused before anything is made.
//!
//! Accepts and refuses as runc does, where the specification leaves it open, and in words like its. What needs the
//! host to judge (does the path exist, is the kernel able) is for those who act on it.

mod linux;
mod mounts;
pub mod names;
mod platform;
mod process;
mod resources;
mod sysctl;

use std::fmt;

pub use sysctl::path as sysctl_path;

use crate::config::{Hooks, Mount, Spec};
use crate::load::Error;
use crate::locate::push_key;

/// What the checks need to know of the caller.
#[derive(Debug, Clone, Copy, Default)]
pub struct CheckHost {
    /// hull runs without privileges.
    pub rootless: bool,
    /// A container is to be made, so that `process` and `root` are needed.
    pub for_start: bool,
}

/// Something a user should know of a document that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// Path of the field.
    pub field: String,
    /// What about it.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.text)
    }
}

type Result<T = ()> = std::result::Result<T, Error>;

/// Refuses a field whatever its value.
fn refuse<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T> {
    Err(Error::new(field, problem))
}

/// Refuses a field's value.
fn refuse_value<T>(field: impl Into<String>, value: impl fmt::Debug, allowed: impl Into<String>) -> Result<T> {
    Err(Error::value(field, value, allowed))
}

/// The path of one entry of a map.
fn entry(map: &str, key: &str) -> String {
    let mut path = map.to_owned();
    push_key(&mut path, key);
    path
}

impl Spec {
    /// Checks the document; the result is what a user should be warned of.
    ///
    /// # Errors
    /// By the first field that is not as the specification demands.
    pub fn check(&self, host: &CheckHost) -> std::result::Result<Vec<Warning>, Error> {
        let mut warnings = Vec::new();
        self.parts(host, &mut warnings).map_err(|e| e.within("config.json"))?;
        Ok(warnings)
    }

    /// The document with other mounts, for a container that exists; and what a user should be warned of.
    ///
    /// # Errors
    /// By the first field of the mounts that is not as the specification demands.
    pub fn with_mounts(mut self, mounts: Vec<Mount>, host: &CheckHost) -> std::result::Result<(Spec, Vec<Warning>), Error> {
        self.mounts = mounts;
        crate::mountopts::take_mappings(&mut self)?;
        let mut warnings = Vec::new();
        mounts::check(&self, &self.linux(), host, &mut warnings)?;
        Ok((self, warnings))
    }

    fn parts(&self, host: &CheckHost, warnings: &mut Vec<Warning>) -> Result {
        version(&self.oci_version)?;
        platform::check(self, warnings)?;
        if host.for_start {
            if self.root.is_none() {
                return refuse("root", "must be specified");
            }
            if self.process.is_none() {
                return refuse("process", "property must not be empty, as the container is to be started");
            }
        }
        if self.root.as_ref().is_some_and(|r| r.path.as_os_str().is_empty()) {
            return refuse("root.path", "must not be empty");
        }
        if let Some(process) = &self.process {
            process.check("process")?;
        }
        let linux = self.linux();
        linux::check(self, &linux, host, warnings)?;
        mounts::check(self, &linux, host, warnings)?;
        if let Some(hooks) = &self.hooks {
            check_hooks(hooks)?;
        }
        if self.annotations.contains_key("") {
            return refuse("annotations", "keys must not be empty");
        }
        crate::annotations::check(&self.annotations)
    }
}

/// A version as semver.org 2.0 has it, of the major version that hull knows.
fn version(text: &str) -> Result {
    let bad = || refuse_value("ociVersion", text, "must be a semantic version such as 1.3.0");
    let numeric = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit());
    let number = |p: &str| numeric(p) && (p == "0" || !p.starts_with('0'));
    let identifier = |p: &str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (rest, build) = text.split_once('+').map_or((text, None), |(v, b)| (v, Some(b)));
    let (core, pre) = rest.split_once('-').map_or((rest, None), |(v, p)| (v, Some(p)));
    let core: Vec<&str> = core.split('.').collect();
    let good = core.len() == 3
        && core.iter().all(|p| number(p))
        && pre.is_none_or(|p| p.split('.').all(|p| identifier(p) && (!numeric(p) || number(p))))
        && build.is_none_or(|b| b.split('.').all(identifier));
    if !good {
        return bad();
    }
    if core[0] != "1" {
        return refuse_value("ociVersion", text, "unsupported version: must be 1.x");
    }
    Ok(())
}

fn check_hooks(h: &Hooks) -> Result {
    let points = [
        ("prestart", &h.prestart),
        ("createRuntime", &h.create_runtime),
        ("createContainer", &h.create_container),
        ("startContainer", &h.start_container),
        ("poststart", &h.poststart),
        ("poststop", &h.poststop),
    ];
    for (point, hooks) in points {
        for (i, hook) in hooks.iter().enumerate() {
            let at = format!("hooks.{point}[{i}]");
            if !hook.path.is_absolute() {
                return refuse_value(format!("{at}.path"), &hook.path, "must be an absolute path");
            }
            if let Some(seconds) = hook.timeout.filter(|t| *t < 1) {
                return refuse_value(format!("{at}.timeout"), seconds, "must be at least 1");
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

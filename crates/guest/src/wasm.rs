//! What hull tells `hull-wasm` and its compiler.

mod http;
mod limits;

use serde::{Deserialize, Serialize};

use hull_spec::{NamespaceKind, Spec};

pub use http::Http;
pub use limits::Limits;

use crate::{Bearer, Claims, Guest, Refusal};

/// What the names of our annotations begin with.
const PREFIX: &str = "dev.hull.wasm.";

/// Has the compiler make code that counts its instructions ([`Limits::fuel`]).
pub const COUNTED: &str = "counted";

/// The boot message: JSON in a file that the engine gets by descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootMessage {
    /// The function to call in place of the entry point that WASI has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The container's memory limit in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Limits that annotations set.
    #[serde(default)]
    pub limits: Limits,
    /// The files that it can reach.
    #[serde(default)]
    pub files: Files,
    /// How it is served, where it answers requests.
    #[serde(default, skip_serializing_if = "Http::is_usual")]
    pub http: Http,
}

/// The files that a module can reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Files {
    /// The container's root, as descriptor 3.
    #[default]
    Root,
    /// None at all: no descriptor but the standard ones.
    None,
}

impl Files {
    /// Its annotation's name, after the prefix.
    const NAME: &'static str = "files";

    /// # Errors
    /// For a word that is none of its own.
    fn of(spec: &Spec) -> Result<Files, Refusal> {
        match annotation(spec, Files::NAME) {
            None | Some("root") => Ok(Files::Root),
            Some("none") => Ok(Files::None),
            Some(other) => Err(bad_annotation(Files::NAME, other, "must be root or none")),
        }
    }
}

/// What an annotation of ours says, if it is there.
fn annotation<'a>(spec: &'a Spec, name: &str) -> Option<&'a str> {
    spec.annotations.get(&format!("{PREFIX}{name}")).map(String::as_str)
}

/// That it can't be what it says.
fn bad_annotation(name: &str, value: &str, problem: &str) -> Refusal {
    Refusal(format!("annotations[\"{PREFIX}{name}\"]: \"{value}\" {problem}"))
}

/// WebAssembly, in an engine in the jail.
pub(crate) struct Wasm;

impl Guest for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn claims(&self) -> Claims {
        Claims { emulated_mounts: &["proc"], identity: Bearer::Process, seccomp: Bearer::Process }
    }

    fn engine(&self) -> Option<&'static str> {
        Some("hull-wasm")
    }

    fn compiler(&self) -> Option<&'static str> {
        Some("hull-wasmc")
    }

    fn holds_pods(&self) -> bool {
        false
    }

    /// A module must never see a procfs (docs/wasm.md): so none may come from elsewhere while it runs.
    fn check(&self, spec: &Spec) -> Result<(), Refusal> {
        let refuse = |field: &str, problem: &str| Err(Refusal(format!("{field}: {problem} with isolation wasm")));
        let linux = spec.linux();
        if !linux.namespace(NamespaceKind::Mount).is_some_and(|ns| ns.path.as_ref().is_none_or(|p| p.as_os_str().is_empty())) {
            return refuse("linux.namespaces", "there must be a new mount namespace");
        }
        let leaks = |option: &str| matches!(option.trim_start_matches('r'), "shared" | "slave");
        if leaks(&linux.rootfs_propagation) {
            return refuse("linux.rootfsPropagation", "must be private");
        }
        if let Some(index) = spec.mounts.iter().position(|m| m.options.iter().any(|o| leaks(o))) {
            return refuse(&format!("mounts[{index}].options"), "must not be shared or slave");
        }
        let names = [&[Files::NAME], limits::NAMES, http::NAMES].concat();
        let ours = |key: &'_ String| key.strip_prefix(PREFIX).is_some_and(|name| !names.contains(&name));
        if let Some(key) = spec.annotations.keys().find(|key| ours(key)) {
            let names = names.join(", ");
            return Err(Refusal(format!("annotations[\"{key}\"]: unknown; after \"{PREFIX}\" there may be: {names}")));
        }
        Http::of(spec)?;
        Files::of(spec)?;
        Limits::of(spec).map(drop)
    }

    fn settings(&self, spec: &Spec) -> Vec<&'static str> {
        Limits::of(spec).ok().and_then(|l| l.fuel).map(|_| COUNTED).into_iter().collect()
    }

    fn message(&self, spec: &Spec, function: &str) -> String {
        let limit = spec.linux().resources.as_ref().and_then(|r| r.memory.as_ref()?.limit);
        let message = BootMessage {
            function: Some(function.to_owned()).filter(|f| !f.is_empty()),
            memory: limit.and_then(|l| u64::try_from(l).ok()).filter(|l| *l > 0),
            limits: Limits::of(spec).unwrap_or_default(),
            files: Files::of(spec).unwrap_or_default(),
            http: Http::of(spec).unwrap_or_default(),
        };
        serde_json::to_string(&message).unwrap_or_default()
    }
}

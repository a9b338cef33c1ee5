//! What hull tells `hull-wasm`.

use serde::{Deserialize, Serialize};

use hull_spec::Spec;

use crate::{Bearer, Boot, Claims, Guest, Refusal};

/// The boot message: JSON in a file that the engine gets by descriptor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootMessage {
    /// The function to call in place of the entry point that WASI has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// Largest linear memory in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
}

/// WebAssembly, in an engine in the jail.
pub(crate) struct Wasm;

impl Guest for Wasm {
    fn name(&self) -> &'static str {
        "wasm"
    }

    fn claims(&self) -> Claims {
        Claims { emulated_mounts: &[], identity: Bearer::Process, seccomp: Bearer::Process }
    }

    fn boot(&self, _spec: &Spec) -> Result<Boot, Refusal> {
        Ok(Boot::Engine("hull-wasm"))
    }

    fn message(&self, spec: &Spec, function: &str) -> String {
        let limit = spec.linux().resources.as_ref().and_then(|r| r.memory.as_ref()?.limit);
        let message = BootMessage {
            function: Some(function.to_owned()).filter(|f| !f.is_empty()),
            memory: limit.and_then(|l| u64::try_from(l).ok()).filter(|l| *l > 0),
        };
        serde_json::to_string(&message).unwrap_or_default()
    }
}

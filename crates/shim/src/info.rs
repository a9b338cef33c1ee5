//! What this shim is, for those that ask its program: `-info`, `features` and `-v`.
//!
//! Owns the words and the message; what the runtime can do is the runtime's to say.

use containerd_shim_protos::protobuf::well_known_types::any::Any;
use containerd_shim_protos::protobuf::{Message as _, MessageField};
use containerd_shim_protos::types::introspection::{RuntimeInfo, RuntimeVersion};
use hull_runtime::{Error, Result, Runtime};

/// The runtime's name in containerd's configuration, of which the program's name is made.
pub(crate) const NAME: &str = "io.containerd.hull.v1";

/// The program's name.
pub(crate) const PROGRAM: &str = "containerd-shim-hull-v1";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The type of the features document, whose value is JSON: containerd has it of a type that is no message.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";

/// The answer to `-info`. The options come back as they were given: whether a container can have them is said when it
/// is made.
///
/// # Errors
/// Where it can't be a message.
pub(crate) fn message(runtime: &Runtime, options: Option<Any>) -> Result<Vec<u8>> {
    let features = serde_json::to_vec(&runtime.features()).map_err(|e| failed("features", &e))?;
    let info = RuntimeInfo {
        name: NAME.into(),
        version: MessageField::some(RuntimeVersion { version: VERSION.into(), ..RuntimeVersion::default() }),
        options: MessageField::from_option(options),
        features: MessageField::some(Any { type_url: FEATURES.into(), value: features, ..Any::default() }),
        ..RuntimeInfo::default()
    };
    info.write_to_bytes().map_err(|e| failed("-info", &e))
}

/// The answer to `features`, which is that of `hull features`.
///
/// # Errors
/// Where it can't be JSON.
pub(crate) fn features(runtime: &Runtime) -> Result<Vec<u8>> {
    hull_spec::default::to_pretty(&runtime.features()).map_err(|e| failed("features", &e))
}

/// The answer to `-v`, in the form of containerd's shims.
pub(crate) fn version() -> String {
    format!("{PROGRAM}:\n  Version:  {VERSION}\n")
}

fn failed(what: &str, e: &dyn std::fmt::Display) -> Error {
    Error::new(format!("cannot answer to {what}: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::tests::{any, message as toml};

    #[test]
    fn the_message_has_features_and_options() {
        let runtime = Runtime::new("/nowhere");
        let options = any("runtimeoptions.v1.Options", toml("", "isolation = \"wasm\""));
        let info = RuntimeInfo::parse_from_bytes(&message(&runtime, Some(options.clone())).unwrap()).unwrap();
        assert_eq!((info.name.as_str(), info.version.version.as_str()), ("io.containerd.hull.v1", VERSION));
        assert_eq!(info.options.into_option(), Some(options));
        assert_eq!(info.features.type_url, FEATURES);
        let document: serde_json::Value = serde_json::from_slice(&info.features.value).unwrap();
        // What containerd looks at.
        assert_eq!(document["linux"]["mountExtensions"]["idmap"]["enabled"], true);
        assert!(document["mountOptions"].as_array().unwrap().iter().any(|option| option == "rro"));
        let printed: serde_json::Value = serde_json::from_slice(&features(&runtime).unwrap()).unwrap();
        assert_eq!(printed, document);

        let info = RuntimeInfo::parse_from_bytes(&message(&runtime, None).unwrap()).unwrap();
        assert!(info.options.is_none());
    }

    #[test]
    fn the_program_is_named_after_the_runtime() {
        // As containerd makes a program's name of a runtime's.
        let mut words = NAME.rsplit('.');
        let (release, name) = (words.next().unwrap(), words.next().unwrap());
        assert_eq!(PROGRAM, format!("containerd-shim-{name}-{release}"));
        assert_eq!(PROGRAM, env!("CARGO_BIN_NAME"));
        assert!(version().lines().nth(1).unwrap().ends_with(VERSION));
    }
}

//! What the parts of this build can do, for the document of `hull_spec::features`.

use hull_spec::features::{Features, Parts, Seccomp};

use crate::Runtime;

impl Runtime {
    /// The document that `hull features` prints, and engines ask for: what this build can do.
    pub fn features(&self) -> Features {
        let annotation = |key: &str, value: String| (format!("dev.hull.{key}"), value);
        Features::new(Parts {
            capabilities: hull_jail::caps::NAMES.to_vec(),
            seccomp: Seccomp {
                enabled: true,
                actions: hull_seccomp::actions(),
                operators: hull_seccomp::operators(),
                archs: hull_seccomp::archs(),
                known_flags: hull_seccomp::flags(),
                supported_flags: supported_flags(),
            },
            annotations: [
                annotation("version", env!("CARGO_PKG_VERSION").into()),
                annotation("isolations", self.isolations().join(",")),
            ]
            .into(),
        })
    }
}

/// Of the flags that hull knows, those that the running kernel does.
fn supported_flags() -> Vec<&'static str> {
    const BITS: [(&str, u64); 4] = [
        ("SECCOMP_FILTER_FLAG_TSYNC", 1),
        ("SECCOMP_FILTER_FLAG_LOG", 1 << 1),
        ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", 1 << 2),
        ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", 1 << 5),
    ];
    let known = hull_sys::seccomp::known_flags(BITS.iter().map(|(_, bit)| bit).sum());
    let mut flags = hull_seccomp::flags();
    flags.retain(|name| BITS.iter().any(|(n, bit)| n == name && known & bit != 0));
    flags
}

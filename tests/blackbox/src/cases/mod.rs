//! The table of subjects.

use crate::case::Case;

macro_rules! subjects {
    ($($name:ident),* $(,)?) => {
        $(mod $name;)*
        /// Every case by subject.
        pub(crate) const ALL: &[(&str, &[Case])] = &[$((stringify!($name), $name::CASES)),*];
    };
}

subjects!(
    every,
    lifecycle, state, signals, process, users, caps, exec, mounts, namespaces, seccomp, cgroups, devices, hooks, terminal, errors,
    hostile, cve, rootless, cli, hull_only, live, do_, cgroup2, wasm, wasm_limits, wasm_cve, wasm_http, wasm_artifact, lsm, selinux, notify,
);

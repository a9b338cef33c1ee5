//! The contract between the core and a guest: what runs inside the jail, and what it takes over from it.
//!
//! Owns the choice of a guest by name and the questions that the core asks it. Starts nothing itself.

pub mod wasm;

use std::fmt;

use hull_spec::Spec;
use hull_spec::annotations::Pod;

/// What executes inside the jail.
pub trait Guest: Sync {
    /// Its name, as `--isolation` takes it.
    fn name(&self) -> &'static str;

    /// What it takes over from the jail.
    fn claims(&self) -> Claims;

    /// The executable of its engine. Without one, the jail's last step is `process.args`, found in the container's own
    /// file system; with one, the engine, which is given a boot message and what the module that `process.args` begins
    /// with was turned into.
    fn engine(&self) -> Option<&'static str>;

    /// Whether it runs a pod's own container too, which does nothing but hold the pod's namespaces. Otherwise that one is
    /// a process.
    fn holds_pods(&self) -> bool;

    /// Looks at a checked config.json for what the guest can't honour.
    ///
    /// # Errors
    /// By the name of such a field.
    fn check(&self, spec: &Spec) -> Result<(), Refusal>;

    /// The executable that turns modules into what the engine loads, outside of any container. Without one, the
    /// engine's processes have no module.
    fn compiler(&self) -> Option<&'static str>;

    /// Arguments for the compiler; code that was made by others is not used. Asked after [`Guest::check`], and not of a
    /// guest without a compiler.
    fn settings(&self, spec: &Spec) -> Vec<&'static str>;

    /// What its engine is told of a container, and of the function in a module that is to be called (empty for the
    /// usual one). Not asked of a guest without an engine.
    fn message(&self, spec: &Spec, function: &str) -> String;
}

/// Whose a property of `process` is: the jailed process's own, or the workload's that a guest engine runs inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bearer {
    /// The jailed process.
    Process,
    /// The workload inside the engine.
    Workload,
}

/// What a guest takes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claims {
    /// Types of mounts that the guest emulates or must not see, so that the jail leaves them out.
    pub emulated_mounts: &'static [&'static str],
    /// To whom `process.user` and `process.capabilities` apply.
    pub identity: Bearer,
    /// To whom `linux.seccomp` applies.
    pub seccomp: Bearer,
}

/// Why a guest won't run a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}

/// A host process in the jail and nothing around it.
struct Process;

impl Guest for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    fn claims(&self) -> Claims {
        Claims { emulated_mounts: &[], identity: Bearer::Process, seccomp: Bearer::Process }
    }

    fn engine(&self) -> Option<&'static str> {
        None
    }

    fn compiler(&self) -> Option<&'static str> {
        None
    }

    fn holds_pods(&self) -> bool {
        true
    }

    fn check(&self, _spec: &Spec) -> Result<(), Refusal> {
        Ok(())
    }

    fn settings(&self, _spec: &Spec) -> Vec<&'static str> {
        Vec::new()
    }

    fn message(&self, _spec: &Spec, _function: &str) -> String {
        String::new()
    }
}

/// Guests that this build knows how to start; one with an engine needs that too.
const BUILT: &[&dyn Guest] = &[&Process, &wasm::Wasm];

/// Names that mean a guest hull knows of, installed or not.
const KNOWN: &[&str] = &["process", "wasm", "kernel", "vm"];

/// The guests of this build.
pub fn built() -> impl Iterator<Item = &'static dyn Guest> {
    BUILT.iter().copied()
}

/// The guest of that name.
///
/// # Errors
/// For a name that is unknown or that this build does not have; the message lists what there is.
pub fn find(name: &str) -> Result<&'static dyn Guest, Refusal> {
    if let Some(guest) = built().find(|g| g.name() == name) {
        return Ok(guest);
    }
    let have: Vec<_> = built().map(|g| g.name()).collect();
    let problem = if KNOWN.contains(&name) { "is not installed" } else { "is unknown" };
    Err(Refusal(format!("isolation \"{name}\" {problem}; there are: {}", have.join(", "))))
}

/// The guest of that name, or the one that holds pods for it where the container is a pod's own.
///
/// # Errors
/// As [`find`].
pub fn find_for(name: &str, spec: &Spec) -> Result<&'static dyn Guest, Refusal> {
    let guest = find(name)?;
    let holds = guest.holds_pods() || spec.known_annotations().pod() != Some(Pod::Sandbox);
    Ok(if holds { guest } else { &Process })
}

/// The name of the isolation that a container asks for: the option, then annotations, hull's own first. `is_module` says
/// whether the program is a Wasm module, for the one that leaves it to that.
pub fn choose<'a>(option: Option<&'a str>, spec: &'a Spec, is_module: impl FnOnce() -> bool) -> &'a str {
    let annotation = |key: &str| spec.annotations.get(key).map(String::as_str);
    if let Some(name) = option.or_else(|| annotation("dev.hull.isolation")) {
        return name;
    }
    match annotation("run.oci.handler") {
        Some("krun") => return "vm",
        Some("wasm" | "wasmtime" | "wasmer" | "wasmedge" | "wamr" | "spin") => return "wasm",
        Some(other) => return other,
        None => {}
    }
    match annotation("module.wasm.image/variant") {
        Some("compat") => "wasm",
        Some("compat-smart") if is_module() => "wasm",
        _ => "process",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(annotations: &[(&str, &str)]) -> Spec {
        let annotations = annotations.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Spec { annotations, ..Spec::default() }
    }

    #[test]
    fn the_option_wins_over_annotations() {
        let s = spec(&[("dev.hull.isolation", "vm"), ("run.oci.handler", "wasm")]);
        assert_eq!(choose(Some("process"), &s, || true), "process");
        assert_eq!(choose(None, &s, || true), "vm");
        assert_eq!(choose(None, &spec(&[("run.oci.handler", "krun")]), || true), "vm");
        assert_eq!(choose(None, &spec(&[("module.wasm.image/variant", "compat")]), || true), "wasm");
        assert_eq!(choose(None, &spec(&[]), || true), "process");
        let smart = spec(&[("module.wasm.image/variant", "compat-smart")]);
        assert_eq!((choose(None, &smart, || true), choose(None, &smart, || false)), ("wasm", "process"));
    }

    #[test]
    fn a_pods_own_container_is_a_process_where_the_guest_holds_none() {
        let name = |kind| find_for("wasm", &spec(&[("io.kubernetes.cri.container-type", kind)])).map(|g| g.name());
        assert_eq!((name("sandbox"), name("container")), (Ok("process"), Ok("wasm")));
        assert!(find_for("x", &spec(&[("io.kubernetes.cri.container-type", "sandbox")])).is_err());
    }

    #[test]
    fn missing_guests_are_refused_by_name() {
        assert_eq!(find("process").map(|g| g.name()), Ok("process"));
        let text = |name| find(name).map(|_| ()).unwrap_err().to_string();
        assert_eq!(text("vm"), "isolation \"vm\" is not installed; there are: process, wasm");
        assert_eq!(text("x"), "isolation \"x\" is unknown; there are: process, wasm");
    }
}

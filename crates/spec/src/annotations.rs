//! Every annotation that means something to hull or to a peer, in one table, and their values as types.
//!
//! Annotations that are not in the table are anyone's, and ignored as the specification says. One that asks for what
//! hull can't do is refused: peers' users rely on it.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Spec;
use crate::load::Error;
use crate::locate::push_key;

/// What hull does with an annotation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// As it says.
    Honoured,
    /// Not yet possible, so a container that asks for it is refused.
    Refused,
    /// Of no effect here: it is about something that hull does without, or has another way for.
    Ignored,
}

/// One annotation.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    /// Its key; with a dot at the end, the beginning of keys.
    pub key: &'static str,
    /// What hull does with it.
    pub support: Support,
    /// What it is for.
    pub about: &'static str,
}

const fn row(key: &'static str, support: Support, about: &'static str) -> Known {
    Known { key, support, about }
}

/// Key of the isolation that a container asks for.
pub const ISOLATION: &str = "dev.hull.isolation";
/// crun's key of the program that runs the container instead of the kernel.
pub const HANDLER: &str = "run.oci.handler";
/// Key that says that an image is a WebAssembly module.
pub const WASM_VARIANT: &str = "module.wasm.image/variant";
/// crun's key that keeps the caller's supplementary groups.
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// crun's key that makes an unknown system call in a filter an error.
pub const FAIL_UNKNOWN_SYSCALL: &str = "run.oci.seccomp_fail_unknown_syscall";
/// crun's key of the file that takes what hooks print.
pub const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// crun's key of the file that takes what hooks print to standard error.
pub const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// crun's key of the option that carries the SELinux label of mounts.
pub const MOUNT_CONTEXT: &str = "run.oci.mount_context_type";
/// crun's key of the socket that takes a descriptor of the container's process.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// crun's key of the socket that takes the seccomp listener.
pub const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";
/// Beginning of the keys that set properties of the container's systemd unit.
pub const SYSTEMD_PROPERTY: &str = "org.systemd.property.";
/// Key of the file that configures CRIU for this container.
pub const CRIU_CONFIG: &str = "org.criu.config";

/// Keys of Kubernetes' two runtimes: what kind of container it is, and the pod that it is in.
const PODS: [(&str, &str); 2] = [
    ("io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"),
    ("io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"),
];

use Support::{Honoured, Ignored, Refused};

/// The table.
pub const KNOWN: [Known; 26] = [
    row(ISOLATION, Honoured, "isolation: process, wasm, kernel or vm"),
    row(HANDLER, Honoured, "crun's handler: krun is the isolation vm; wasm and engines' names are wasm"),
    row(WASM_VARIANT, Honoured, "compat: the isolation wasm; compat-smart: if the program is a module"),
    row(KEEP_GROUPS, Honoured, "keep the caller's supplementary groups"),
    row(FAIL_UNKNOWN_SYSCALL, Honoured, "refuse filters with system calls that are unknown"),
    row(HOOKS_STDOUT, Honoured, "file to append what hooks on the host print to"),
    row(HOOKS_STDERR, Honoured, "file to append what hooks on the host print to standard error to"),
    row(MOUNT_CONTEXT, Honoured, "mount option for linux.mountLabel: context, fscontext, defcontext or rootcontext"),
    row(PIDFD_RECEIVER, Honoured, "socket that takes a descriptor of the container's process; see --pidfd-socket"),
    row(SECCOMP_RECEIVER, Honoured, "socket that takes the seccomp listener; see linux.seccomp.listenerPath"),
    row("run.oci.seccomp.plugins", Refused, "shared objects that answer seccomp notifications"),
    row("run.oci.seccomp_bpf_data", Refused, "the seccomp program itself, in base64"),
    row("run.oci.delegate-cgroup", Refused, "cgroup below the container's for its process"),
    row("run.oci.systemd.force_cgroup_v1", Refused, "a mount of the hierarchy of cgroup v1 that systemd once had"),
    row("run.oci.systemd.subgroup", Ignored, "cgroup below the container's systemd scope"),
    row(SYSTEMD_PROPERTY, Ignored, "property of the container's systemd unit: there is none without --systemd-cgroup"),
    row(CRIU_CONFIG, Ignored, "file that configures CRIU for this container: nothing is checkpointed"),
    row("krun.cpus", Ignored, "CPUs of crun's virtual machine"),
    row("krun.ram_mib", Ignored, "memory of crun's virtual machine"),
    row("krun.variant", Ignored, "kind of crun's virtual machine"),
    row("krun.use_passt", Ignored, "network of crun's virtual machine"),
    row("krun.gpu_flags", Ignored, "graphics of crun's virtual machine"),
    row("krun.nested_virt", Ignored, "virtual machines in crun's virtual machine"),
    row(PODS[0].0, Ignored, "containerd: whether a pod's first container or a further one"),
    row(PODS[1].0, Ignored, "CRI-O: whether a pod's first container or a further one"),
    row("bundle", Ignored, "reserved by runc for the path of the bundle"),
];

/// Keys that can change what hull does, for `features`: an engine may want to bar users from setting them.
pub fn potentially_unsafe() -> impl Iterator<Item = &'static str> {
    KNOWN.iter().filter(|k| k.support == Honoured).map(|k| k.key)
}

/// Refuses what can't be honoured.
pub(crate) fn check(annotations: &BTreeMap<String, String>) -> Result<(), Error> {
    for known in KNOWN.iter().filter(|k| k.support == Refused) {
        if let Some(value) = annotations.get(known.key) {
            let mut field = "annotations".to_owned();
            push_key(&mut field, known.key);
            return Err(Error::value(field, value, format!("not supported ({})", known.about)));
        }
    }
    let set = Annotations(annotations);
    set.mount_context()?;
    match (set.0.get(WASM_VARIANT), set.wasm_variant()) {
        (Some(value), None) => {
            let field = format!("annotations[\"{WASM_VARIANT}\"]");
            Err(Error::value(field, value, "expected compat or compat-smart"))
        }
        _ => Ok(()),
    }
}

/// A container's annotations, by meaning.
#[derive(Debug, Clone, Copy)]
pub struct Annotations<'a>(pub &'a BTreeMap<String, String>);

/// How an image says that it is a WebAssembly module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmVariant {
    /// It is one.
    Compat,
    /// The first argument's file tells.
    CompatSmart,
}

/// The part of a container in a Kubernetes pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pod<'a> {
    /// The pod's first container, which holds its namespaces.
    Sandbox,
    /// A further container of the pod whose first one has this id.
    Container(&'a str),
}

/// Mount option that carries an SELinux label (mount(8)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MountContext {
    /// Of every file.
    Context,
    /// Of the file system.
    Fs,
    /// Of files without one.
    Def,
    /// Of the root directory.
    Root,
}

impl MountContext {
    /// The option's name.
    pub fn as_str(self) -> &'static str {
        match self {
            MountContext::Context => "context",
            MountContext::Fs => "fscontext",
            MountContext::Def => "defcontext",
            MountContext::Root => "rootcontext",
        }
    }
}

impl Spec {
    /// The annotations, by meaning.
    pub fn known_annotations(&self) -> Annotations<'_> {
        Annotations(&self.annotations)
    }
}

impl<'a> Annotations<'a> {
    fn text(self, key: &str) -> Option<&'a str> {
        self.0.get(key).map(String::as_str)
    }

    /// Name of the isolation asked for.
    pub fn isolation(self) -> Option<&'a str> {
        self.text(ISOLATION)
    }

    /// Name of crun's handler.
    pub fn handler(self) -> Option<&'a str> {
        self.text(HANDLER)
    }

    /// Whether the image is a WebAssembly module; none for an unknown value too.
    pub fn wasm_variant(self) -> Option<WasmVariant> {
        match self.text(WASM_VARIANT)? {
            "compat" => Some(WasmVariant::Compat),
            "compat-smart" => Some(WasmVariant::CompatSmart),
            _ => None,
        }
    }

    /// Whether the caller's supplementary groups are kept. As with crun, any value says so.
    pub fn keep_original_groups(self) -> bool {
        self.0.contains_key(KEEP_GROUPS)
    }

    /// Whether an unknown system call in the filter is an error. As with crun, any value but "0" says so.
    pub fn fail_unknown_syscall(self) -> bool {
        self.text(FAIL_UNKNOWN_SYSCALL).is_some_and(|v| v != "0")
    }

    /// File to append hooks' output to.
    pub fn hooks_stdout(self) -> Option<&'a Path> {
        self.text(HOOKS_STDOUT).map(Path::new)
    }

    /// File to append hooks' errors to.
    pub fn hooks_stderr(self) -> Option<&'a Path> {
        self.text(HOOKS_STDERR).map(Path::new)
    }

    /// Mount option for the label of mounts.
    ///
    /// # Errors
    /// For an unknown one.
    pub fn mount_context(self) -> Result<MountContext, Error> {
        match self.text(MOUNT_CONTEXT) {
            None | Some("context") => Ok(MountContext::Context),
            Some("fscontext") => Ok(MountContext::Fs),
            Some("defcontext") => Ok(MountContext::Def),
            Some("rootcontext") => Ok(MountContext::Root),
            Some(other) => {
                let field = format!("annotations[\"{MOUNT_CONTEXT}\"]");
                Err(Error::value(field, other, "expected one of context, fscontext, defcontext, rootcontext"))
            }
        }
    }

    /// Socket that takes a descriptor of the container's process.
    pub fn pidfd_receiver(self) -> Option<&'a Path> {
        self.text(PIDFD_RECEIVER).map(Path::new)
    }

    /// Socket that takes the seccomp listener.
    pub fn seccomp_receiver(self) -> Option<&'a Path> {
        self.text(SECCOMP_RECEIVER).map(Path::new)
    }

    /// Properties of the systemd unit: name, and value as text of a GVariant.
    ///
    /// # Errors
    /// For what can be no property's name.
    pub fn systemd_properties(self) -> Result<Vec<(&'a str, &'a str)>, Error> {
        let properties = self.0.iter().filter_map(|(k, v)| Some((k.strip_prefix(SYSTEMD_PROPERTY)?, v.as_str())));
        properties
            .map(|(name, value)| match name.len() >= 3 && name.bytes().all(|b| b.is_ascii_alphabetic()) {
                true => Ok((name, value)),
                false => {
                    let field = format!("annotations[\"{SYSTEMD_PROPERTY}{name}\"]");
                    Err(Error::new(field, "name incorrect: must be at least three letters"))
                }
            })
            .collect()
    }

    /// File that configures CRIU.
    pub fn criu_config(self) -> Option<&'a Path> {
        self.text(CRIU_CONFIG).map(Path::new)
    }

    /// The container's part in a pod, if it is in one.
    pub fn pod(self) -> Option<Pod<'a>> {
        let (kind, id) = PODS.iter().find(|(kind, _)| self.0.contains_key(*kind))?;
        match self.text(kind)? {
            "sandbox" => Some(Pod::Sandbox),
            "container" => self.text(id).map(Pod::Container),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &[(&str, &str)]) -> BTreeMap<String, String> {
        list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_its_key() {
        for known in KNOWN.iter().filter(|k| k.support == Refused) {
            let e = check(&map(&[(known.key, "1")])).unwrap_err().to_string();
            assert!(e.starts_with(&format!("annotations[\"{}\"]: \"1\": not supported", known.key)), "{e}");
        }
        let fine = map(&[("com.example", "x"), ("org.systemd.property.CollectMode", "'a'"), (ISOLATION, "vm")]);
        assert_eq!(check(&fine), Ok(()));
        assert!(check(&map(&[(WASM_VARIANT, "compact")])).unwrap_err().to_string().contains("compat-smart"));
    }

    #[test]
    fn values_have_types() {
        let m = map(&[
            (HANDLER, "krun"),
            (WASM_VARIANT, "compat-smart"),
            (KEEP_GROUPS, ""),
            (FAIL_UNKNOWN_SYSCALL, "0"),
            (HOOKS_STDOUT, "/o"),
            (MOUNT_CONTEXT, "fscontext"),
            ("org.systemd.property.TimeoutStopUSec", "uint64 1"),
            ("io.kubernetes.cri.container-type", "container"),
            ("io.kubernetes.cri.sandbox-id", "abc"),
        ]);
        let a = Annotations(&m);
        assert_eq!((a.isolation(), a.handler()), (None, Some("krun")));
        assert_eq!(a.wasm_variant(), Some(WasmVariant::CompatSmart));
        assert!(a.keep_original_groups() && !a.fail_unknown_syscall());
        assert_eq!((a.hooks_stdout(), a.hooks_stderr()), (Some(Path::new("/o")), None));
        assert_eq!(a.mount_context(), Ok(MountContext::Fs));
        assert_eq!(a.systemd_properties(), Ok(vec![("TimeoutStopUSec", "uint64 1")]));
        assert_eq!(a.pod(), Some(Pod::Container("abc")));
        let m = map(&[("io.kubernetes.cri-o.ContainerType", "sandbox"), ("org.systemd.property.X1", "1")]);
        assert_eq!(Annotations(&m).pod(), Some(Pod::Sandbox));
        assert!(Annotations(&m).systemd_properties().is_err());
    }

    #[test]
    fn keys_are_once_in_the_table() {
        for (i, known) in KNOWN.iter().enumerate() {
            assert!(KNOWN[..i].iter().all(|k| k.key != known.key), "{}", known.key);
        }
        let unsafe_ones: Vec<_> = potentially_unsafe().collect();
        assert!(unsafe_ones.contains(&ISOLATION) && unsafe_ones.contains(&HOOKS_STDOUT));
    }
}

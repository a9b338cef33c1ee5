//! What the kernel has built in: system calls, filters, security modules, file systems, KVM.

use std::io;
use std::path::Path;

use hull_sys::{errno, probe};

use super::access::Caller;
use super::{Finding, line_of};

/// A system call, when it came, and what hull does with it.
struct Call {
    name: &'static str,
    since: &'static str,
    needed_for: &'static str,
    answer: io::Result<()>,
    required: bool,
}

pub(super) fn findings(who: &Caller) -> Vec<Finding> {
    let mut found = vec![release()];
    found.extend(calls(who).into_iter().map(Call::finding));
    found.extend([seccomp(), landlock(), apparmor(), selinux(), overlay(), resctrl()]);
    found
}

fn calls(who: &Caller) -> Vec<Call> {
    let call = |name, since, needed_for, answer, required| Call { name, since, needed_for, answer, required };
    let mut calls = vec![
        call("clone3", "5.3", "making the container's first process", probe::clone3(), true),
        call("openat2", "5.6", "opening paths without leaving the root file system", probe::openat2(), true),
        call("pidfd", "5.6", "signals and waiting without mistaking processes", probe::pidfd(), true),
        call("mount API", "5.2", "mounting on descriptors instead of paths", probe::mount_api(), true),
        call("mount_setattr", "5.12", "read-only and other mount options", probe::mount_setattr(), true),
        call("close_range", "5.11", "keeping the host's descriptors out of containers", probe::close_range(), true),
        call(
            "clone into cgroup",
            "5.7",
            "starting in a cgroup (v2) at once, which is faster",
            probe::clone_into_cgroup(),
            false,
        ),
        call("bpf", "4.15", "linux.resources.devices on cgroup v2", probe::bpf(), false),
        call("keyctl", "2.6", "a session keyring of the container's own", probe::keyctl(), false),
    ];
    // Without the capability the kernel answers the same whether it has them or not.
    if who.admin() {
        calls.push(call("id-mapped mounts", "5.12", "uidMappings of mounts", probe::idmapped_mounts(), false));
    }
    calls
}

impl Call {
    fn finding(self) -> Finding {
        let finding = match &self.answer {
            Ok(()) => Finding::ok(self.name, self.needed_for, "the kernel has it"),
            Err(e) => {
                let errno = e.raw_os_error().unwrap_or(0);
                let (name, why) = (errno::name(errno), errno::describe(errno));
                Finding::missing(self.name, self.needed_for, format!("the kernel refuses it: {name} ({why})")).advise(
                    format!(
                        "use Linux {} or later; inside another container, let its seccomp profile permit the call",
                        self.since
                    ),
                )
            }
        };
        if self.required { finding.required() } else { finding }
    }
}

fn release() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    Finding::ok(
        "kernel",
        "everything; the lines below say what it has",
        format!("Linux {release} {}", name.machine().to_string_lossy()),
    )
}

fn seccomp() -> Finding {
    const FOR: &str = "linux.seccomp, which every engine asks for by default";
    let (have, lack): (Vec<_>, Vec<_>) =
        SECCOMP_ACTIONS.into_iter().partition(|(_, action)| probe::seccomp_action(*action).is_ok());
    let names = |actions: &[(&str, u32)]| actions.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" ");
    match (have.is_empty(), lack.is_empty()) {
        (false, true) => Finding::ok("seccomp", FOR, format!("actions {}", names(&have))),
        (false, false) => Finding::limited("seccomp", FOR, format!("without the actions {}", names(&lack)))
            .advise("use Linux 5.0 or later, if profiles name them"),
        (true, _) => Finding::missing("seccomp", FOR, "the kernel has no action")
            .advise("use a kernel with CONFIG_SECCOMP_FILTER; until then, engines need an unconfined profile"),
    }
}

/// The actions of seccomp(2), by their numbers in linux/seccomp.h.
const SECCOMP_ACTIONS: [(&str, u32); 8] = [
    ("kill_process", 0x8000_0000),
    ("kill_thread", 0),
    ("trap", 0x0003_0000),
    ("errno", 0x0005_0000),
    ("notify", 0x7fc0_0000),
    ("trace", 0x7ff0_0000),
    ("log", 0x7ffc_0000),
    ("allow", 0x7fff_0000),
];

fn landlock() -> Finding {
    const FOR: &str = "an additional fence around a container's files";
    match probe::landlock() {
        Ok(version) => Finding::ok("landlock", FOR, format!("version {version}")),
        Err(e) if e.raw_os_error() == Some(rustix::io::Errno::OPNOTSUPP.raw_os_error()) => {
            Finding::missing("landlock", FOR, "switched off").advise("add landlock to the kernel's parameter lsm=")
        }
        Err(_) => Finding::missing("landlock", FOR, "the kernel has none")
            .advise("nothing, unless you want it: a kernel from 5.13 with CONFIG_SECURITY_LANDLOCK"),
    }
}

fn apparmor() -> Finding {
    const FOR: &str = "process.apparmorProfile";
    match line_of("/sys/module/apparmor/parameters/enabled").as_deref() {
        Some("Y") => Finding::ok("apparmor", FOR, "enabled"),
        Some(_) => Finding::missing("apparmor", FOR, "built in, but not enabled")
            .advise("nothing, unless you want it: boot with apparmor=1 security=apparmor"),
        None => Finding::missing("apparmor", FOR, "the kernel has none, or /sys is not mounted")
            .advise("nothing, unless containers name a profile"),
    }
}

fn selinux() -> Finding {
    const FOR: &str = "process.selinuxLabel and linux.mountLabel";
    match line_of("/sys/fs/selinux/enforce").as_deref() {
        Some("1") => Finding::ok("selinux", FOR, "enforcing"),
        Some(_) => Finding::limited("selinux", FOR, "permissive: labels are set but stop nothing")
            .advise("setenforce 1, if that is not meant"),
        None => Finding::missing("selinux", FOR, "not enabled").advise("nothing, unless containers name a label"),
    }
}

fn overlay() -> Finding {
    const FOR: &str = "layered images of engines, and mounts of type overlay";
    if has_filesystem("overlay") {
        Finding::ok("overlayfs", FOR, "the kernel has it")
    } else {
        Finding::limited("overlayfs", FOR, "not loaded").advise("modprobe overlay (engines mostly do it themselves)")
    }
}

/// Whether the kernel has a type of file system at hand, without loading a module.
pub(super) fn has_filesystem(kind: &str) -> bool {
    let all = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    all.lines().any(|line| line.split_whitespace().last() == Some(kind))
}

fn resctrl() -> Finding {
    const FOR: &str = "linux.intelRdt";
    if Path::new("/sys/fs/resctrl/schemata").exists() {
        Finding::ok("resctrl", FOR, "mounted at /sys/fs/resctrl")
    } else {
        Finding::missing("resctrl", FOR, "not mounted")
            .advise("nothing, unless containers name a cache schema: mount -t resctrl resctrl /sys/fs/resctrl")
    }
}

/// What can stand between a workload and the host.
pub(super) fn isolations() -> Vec<Finding> {
    vec![Finding::ok("isolation process", "running containers", "installed, the default"), kvm()]
}

fn kvm() -> Finding {
    const FOR: &str = "isolation in a virtual machine, which this version of hull does not have";
    let path = "/dev/kvm";
    let device = match std::fs::OpenOptions::new().read(true).write(true).open(path) {
        Ok(device) => device,
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            return Finding::missing("kvm", FOR, format!("{path} may not be opened"))
                .advise("add the user to the group kvm");
        }
        Err(_) => {
            return Finding::missing("kvm", FOR, format!("{path} is not there")).advise(
                "nothing for containers; for virtual machines, load kvm_intel or kvm_amd, or use nested virtualisation",
            );
        }
    };
    match probe::kvm_version(&device) {
        // kvm_pvm and its like answer as KVM does, and run only kernels that were made for them.
        Ok(12) if !has_flag(&["vmx", "svm"]) && cfg!(target_arch = "x86_64") => Finding::limited(
            "kvm",
            FOR,
            format!("{path} opens, but the processor offers no virtualisation: KVM in software, on which ordinary kernels may hang"),
        )
        .advise("nothing for containers; for virtual machines, enable (nested) virtualisation where this host is configured"),
        Ok(12) if has_flag(&["hypervisor"]) => {
            Finding::ok("kvm", FOR, "usable; this host is a virtual machine itself, so nested and slower")
        }
        Ok(12) => Finding::ok("kvm", FOR, "usable"),
        Ok(version) => Finding::limited("kvm", FOR, format!("version {version} of the interface, not 12"))
            .advise("use another kernel"),
        Err(e) => Finding::missing("kvm", FOR, format!("{path} is no KVM: {e}")).advise("nothing for containers"),
    }
}

/// Whether the processor says that it has one of these.
fn has_flag(names: &[&str]) -> bool {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = cpus.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    flags.split_whitespace().any(|flag| names.contains(&flag))
}

//! What the caller may do: capabilities, namespaces, subordinate ids, the state directory.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hull_sys::clone::flags;
use hull_sys::{creds, errno, probe};
use rustix::fs::{Access, AtFlags, CWD};

use super::kernel::has_filesystem;
use super::{Finding, line_of};

/// Capabilities that hull itself uses, and what it can't do without each; then those that containers are given by
/// default, which a caller can hand on only if it has them.
const CAPABILITIES: [(&str, u32, &str); 17] = [
    ("SYS_ADMIN", 21, "namespaces and mounts without a user namespace"),
    ("SYS_RESOURCE", 24, "raising rlimits, and a lower oomScoreAdj"),
    ("NET_ADMIN", 12, "moving network devices, setting up loopback"),
    ("MKNOD", 27, "linux.devices; the host's devices are bound instead"),
    ("SYS_CHROOT", 18, "joining mount namespaces"),
    ("SETUID", 7, "process.user"),
    ("SETGID", 6, "process.user"),
    ("SETPCAP", 8, "process.capabilities"),
    ("CHOWN", 0, "owners of files that are made"),
    ("DAC_OVERRIDE", 1, "root file systems that other users own"),
    ("FOWNER", 3, "modes of files that other users own"),
    ("KILL", 5, "signals to processes of other users"),
    ("SYS_PTRACE", 19, "exec into containers with other privileges"),
    ("NET_RAW", 13, "handing it on to containers"),
    ("NET_BIND_SERVICE", 10, "handing it on to containers"),
    ("SETFCAP", 31, "handing it on to containers"),
    ("AUDIT_WRITE", 29, "handing it on to containers"),
];

/// Who calls.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    /// Effective user id.
    pub(super) uid: u32,
    /// Effective capabilities, a bit each.
    capabilities: u64,
}

impl Caller {
    pub(super) fn look() -> Caller {
        let capabilities = creds::capget().map_or(0, |sets| sets.effective);
        Caller { uid: rustix::process::geteuid().as_raw(), capabilities }
    }

    fn can(&self, capability: u32) -> bool {
        self.capabilities & 1 << capability != 0
    }

    /// Whether namespaces and mounts are open to the caller without a user namespace.
    pub(super) fn admin(&self) -> bool {
        self.can(21)
    }
}

pub(super) fn findings(who: &Caller, root: &Path) -> Vec<Finding> {
    let mut found = capabilities(who);
    found.push(namespace_kinds());
    found.extend(limits_of_namespaces());
    found.extend(new_namespaces(who));
    if who.uid != 0 {
        found.extend(subordinate_ids(who.uid));
    }
    found.extend([state_directory(root), ps()]);
    found
}

fn capabilities(who: &Caller) -> Vec<Finding> {
    const FOR: &str = "all that config.json can ask for";
    if who.uid != 0 && who.capabilities == 0 {
        return vec![
            Finding::limited("capabilities", FOR, format!("none, as user {}", who.uid))
                .advise("nothing, for containers in a user namespace; else call hull as root"),
        ];
    }
    let lacking: Vec<_> = CAPABILITIES.iter().filter(|(_, number, _)| !who.can(*number)).collect();
    if lacking.is_empty() {
        return vec![Finding::ok("capabilities", FOR, "all that hull uses")];
    }
    lacking
        .into_iter()
        .map(|(name, _, needed_for)| {
            Finding::limited("capabilities", needed_for, format!("without CAP_{name}"))
                .advise(format!("call hull with CAP_{name}; inside another container, let its engine add it"))
        })
        .collect()
}

fn namespace_kinds() -> Finding {
    const FOR: &str = "linux.namespaces";
    let all = ["mnt", "pid", "ipc", "uts", "net", "user", "cgroup", "time"];
    let (have, lack): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|kind| Path::new("/proc/self/ns").join(kind).exists());
    if lack.is_empty() {
        return Finding::ok("namespaces", FOR, have.join(" "));
    }
    let essential = lack.contains(&"mnt") || lack.contains(&"pid");
    let detail = format!("the kernel has none of kind {}", lack.join(" "));
    let finding = if essential { Finding::missing } else { Finding::limited };
    finding("namespaces", FOR, detail)
        .advise("use a kernel with CONFIG_NAMESPACES and its kinds, and mount /proc")
        .required()
}

/// Settings that keep namespaces from being made.
fn limits_of_namespaces() -> Vec<Finding> {
    const FOR: &str = "containers of users without privileges";
    let mut found = Vec::new();
    for kind in ["user", "mnt", "pid", "ipc", "uts", "net", "cgroup", "time"] {
        if line_of(format!("/proc/sys/user/max_{kind}_namespaces")).as_deref() == Some("0") {
            found.push(
                Finding::missing("namespace limit", "linux.namespaces", format!("user.max_{kind}_namespaces is 0"))
                    .advise(format!("sysctl -w user.max_{kind}_namespaces=10000")),
            );
        }
    }
    if line_of("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        found.push(
            Finding::missing("namespace limit", FOR, "kernel.unprivileged_userns_clone is 0")
                .advise("sysctl -w kernel.unprivileged_userns_clone=1"),
        );
    }
    if line_of("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        found.push(
            Finding::limited("namespace limit", FOR, "kernel.apparmor_restrict_unprivileged_userns is 1")
                .advise("give hull an AppArmor profile with \"userns,\", or set the sysctl to 0"),
        );
    }
    found
}

/// Makes namespaces as a container would, and looks what is allowed inside.
fn new_namespaces(who: &Caller) -> Vec<Finding> {
    let kinds = flags::NEWNS | flags::NEWPID | flags::NEWIPC | flags::NEWUTS | flags::NEWNET | flags::NEWCGROUP;
    let overlay = has_filesystem("overlay");
    let with_user = probe::namespaces(kinds | flags::NEWUSER, overlay);
    let plain = who.admin().then(|| probe::namespaces(kinds, false));

    let mut found = Vec::new();
    if let Some(plain) = &plain {
        let finding = made("new namespaces", "containers", plain);
        found.push(
            finding.advise("inside another container, run that one privileged, or nest in a user namespace").required(),
        );
    }
    let finding = made("user namespaces", "containers of users without privileges, and linux.uidMappings", &with_user)
        .advise(
            "see the limits above, if any; inside another container, let its seccomp profile permit clone and mount",
        );
    // For one without privileges it is the only way.
    found.push(if plain.is_none() { finding.required() } else { finding });

    // What mounting finds is best seen where the containers will run.
    const PROC: &str = "mounting /proc in containers with a PID namespace of their own";
    let inside = plain.as_ref().unwrap_or(&with_user).as_ref().ok();
    if let Some(inside) = inside {
        found.push(if inside.procfs {
            Finding::ok("mounting procfs", PROC, "allowed")
        } else {
            Finding::limited("mounting procfs", PROC, "refused, as where something is mounted over parts of /proc")
                .advise("inside another container, have its engine unmask /proc (podman: unmask=ALL), or bind /proc")
        });
    }
    if let Ok(inside) = &with_user {
        const OVERLAY: &str = "layered images for users without privileges";
        found.push(if inside.overlay {
            Finding::ok("overlayfs for users", OVERLAY, "allowed in a user namespace")
        } else {
            Finding::limited("overlayfs for users", OVERLAY, "not in a user namespace")
                .advise("use Linux 5.11 or later with overlay loaded, or let the engine use fuse-overlayfs")
        });
    }
    found
}

fn made(name: &'static str, needed_for: &'static str, answer: &std::io::Result<probe::Inside>) -> Finding {
    match answer {
        Ok(inside) if inside.mounts => Finding::ok(name, needed_for, "made one of each, and changed a mount inside"),
        Ok(_) => Finding::missing(name, needed_for, "can be made, but mounts may not be changed inside"),
        Err(e) => {
            let number = e.raw_os_error().unwrap_or(0);
            let (short, long) = (errno::name(number), errno::describe(number));
            Finding::missing(name, needed_for, format!("can't be made: {short} ({long})"))
        }
    }
}

/// More than one id in a user namespace takes a helper with privileges and a range that belongs to the user.
fn subordinate_ids(uid: u32) -> Vec<Finding> {
    const FOR: &str = "more than one user id in containers of users without privileges";
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let user = user_name(&passwd, uid).unwrap_or_else(|| uid.to_string());
    let helpers = [("newuidmap", "/etc/subuid"), ("newgidmap", "/etc/subgid")];
    helpers
        .into_iter()
        .flat_map(|(helper, table)| {
            let program = match find_program(helper) {
                Some(path) if has_privileges(&path) => Finding::ok(helper, FOR, path.display().to_string()),
                Some(path) => Finding::limited(
                    helper,
                    FOR,
                    format!("{} is neither set-user-id nor has capabilities", path.display()),
                )
                .advise(format!("chmod u+s {}, or install the package uidmap again", path.display())),
                None => {
                    Finding::limited(helper, FOR, "not installed").advise("install the package uidmap or shadow-utils")
                }
            };
            let text = std::fs::read_to_string(table).unwrap_or_default();
            let range = match subordinate_count(&text, &user, uid) {
                0 => Finding::limited(table, FOR, format!("no range for {user}"))
                    .advise(format!("usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {user}")),
                count => Finding::ok(table, FOR, format!("{count} ids for {user}")),
            };
            [program, range]
        })
        .collect()
}

/// The name of a user in the text of /etc/passwd.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// How many ids a user has in the text of /etc/subuid or /etc/subgid.
fn subordinate_count(table: &str, user: &str, uid: u32) -> u64 {
    let counts = table.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let owner = fields.next()?;
        let count = fields.nth(1)?.trim().parse::<u64>().ok()?;
        (owner == user || owner.parse() == Ok(uid)).then_some(count)
    });
    counts.sum()
}

fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether a program runs with more than its caller has.
fn has_privileges(program: &Path) -> bool {
    let set_user_id = std::fs::metadata(program).is_ok_and(|meta| meta.mode() & 0o4000 != 0 && meta.uid() == 0);
    set_user_id || rustix::fs::getxattr(program, "security.capability", &mut [0u8; 64][..]).is_ok()
}

fn state_directory(root: &Path) -> Finding {
    const FOR: &str = "the state of containers";
    const NAME: &str = "state directory";
    // What isn't there is made below what is.
    let existing = root.ancestors().find(|dir| dir.exists()).unwrap_or(root);
    if existing.is_dir() && may_write(existing) {
        return Finding::ok(NAME, FOR, root.display().to_string());
    }
    Finding::missing(NAME, FOR, format!("{} may not be written to", existing.display()))
        .advise("name another directory with --root, best on a tmpfs; for users, set XDG_RUNTIME_DIR")
        .required()
}

/// Whether the caller may make files in a directory, a read-only mount considered.
pub(super) fn may_write(dir: &Path) -> bool {
    rustix::fs::accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
}

fn ps() -> Finding {
    const FOR: &str = "hull ps, but for its form json";
    match find_program("ps") {
        Some(path) => Finding::ok("ps", FOR, path.display().to_string()),
        None => Finding::limited("ps", FOR, "not installed").advise("install the package procps"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_of_a_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(user_name(passwd, 7), None);
    }

    #[test]
    fn ranges_by_name_and_by_number_add_up() {
        let table = "ann:100000:65536\n1000:300000:10\nbob:1:5\nann:x\n";
        assert_eq!(subordinate_count(table, "ann", 1000), 65_546);
        assert_eq!(subordinate_count(table, "eve", 1002), 0);
    }

    #[test]
    fn each_lacking_capability_is_named() {
        let found = capabilities(&Caller { uid: 0, capabilities: !(1 << 24) });
        assert_eq!(found.len(), 1);
        assert!(found[0].detail.contains("CAP_SYS_RESOURCE"));
        assert_eq!(capabilities(&Caller { uid: 0, capabilities: !0 })[0].detail, "all that hull uses");
    }
}

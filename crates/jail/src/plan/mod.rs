//! The plan: all that the child must do, in order, as plain data.
//!
//! Made from a checked config.json before anything exists on the host. Whatever can be refused is refused here; the
//! child that walks the plan decides nothing.

mod mounts;
mod process;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};

use hull_spec::mountopts::MountOptions;
use hull_spec::{Linux, NamespaceKind, Process, Spec};
use hull_sys::clone::flags;

pub use mounts::clean;
pub(crate) use process::rlimit_name;
pub use process::{bit_list, process_plan};

use crate::error::{Error, Result};
use crate::hooks::Surroundings;
use crate::label::MountLabel;
use crate::overlay::HostOverlay;
use crate::process::{Cpus, Filter, ProcessPlan};
use mounts::{mount_plan, propagation};

/// A namespace to join.
#[derive(Debug, Clone)]
pub struct Join {
    /// Its CLONE_NEW* flag.
    pub flag: u64,
    /// Its file.
    pub path: PathBuf,
}

/// Where the root file system comes from.
#[derive(Debug)]
pub enum RootSource {
    /// A directory of the host.
    Directory(PathBuf),
    /// The host's own tree, every write of which goes to memory (`hull do`).
    Host(HostOverlay),
}

/// One mount.
#[derive(Debug)]
pub struct MountPlan {
    /// From the container's root, cleaned of "." and "..".
    pub target: PathBuf,
    /// File system type; empty for binds.
    pub kind: String,
    /// Source.
    pub source: String,
    /// Options, read.
    pub options: MountOptions,
    /// Index into the id-mapping user namespaces that the parent made.
    pub idmap: Option<usize>,
}

/// One device node.
#[derive(Debug, Clone)]
pub struct DevicePlan {
    /// From the container's root.
    pub path: PathBuf,
    /// File type bits: S_IFCHR, S_IFBLK, S_IFIFO.
    pub kind: u32,
    /// Device number.
    pub number: (u32, u32),
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub owner: (u32, u32),
}

/// A hierarchy of control groups, as a mount of type "cgroup" shows it.
#[derive(Debug, Clone)]
pub struct Hierarchy {
    /// Directory name below the mount, such as "cpu,cpuacct"; empty for a pure v2 host.
    pub name: String,
    /// Mount options that select it: "cpu,cpuacct" or "name=systemd"; empty for v2.
    pub selector: String,
    /// The host's mount point.
    pub mountpoint: PathBuf,
    /// The container's group, below the mount point.
    pub group: PathBuf,
}

/// The user namespace whose maps an id-mapped mount takes.
#[derive(Debug, Clone)]
pub enum IdMap {
    /// One made for it.
    New(UserMaps),
    /// One that the container joins.
    Joined(PathBuf),
}

/// How a new user namespace is mapped.
#[derive(Debug, Clone, Default)]
pub struct UserMaps {
    /// Users.
    pub uids: Vec<hull_spec::IdMapping>,
    /// Groups.
    pub gids: Vec<hull_spec::IdMapping>,
}

/// What hooks are told of a container.
#[derive(Debug, Default, Clone)]
pub struct About {
    /// Its id.
    pub id: String,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Annotations of config.json.
    pub annotations: BTreeMap<String, String>,
}

/// All that the child does.
#[derive(Debug)]
pub struct Plan {
    /// CLONE_NEW* flags of new namespaces, without the cgroup namespace.
    pub new: u64,
    /// A new cgroup namespace, made when the process is in its group.
    pub new_cgroup_ns: bool,
    /// Namespaces to join.
    pub joins: Vec<Join>,
    /// Maps of a new user namespace.
    pub maps: Option<UserMaps>,
    /// Whether the container is in a user namespace other than hull's, new or joined.
    pub in_userns: bool,
    /// Lines for timens_offsets.
    pub time_offsets: Vec<String>,
    /// The root.
    pub root: RootSource,
    /// Read-only root.
    pub root_readonly: bool,
    /// MS_* of linux.rootfsPropagation; 0 is the default.
    pub propagation: u64,
    /// Move the mount and chroot instead of pivot_root.
    pub no_pivot: bool,
    /// Mounts.
    pub mounts: Vec<MountPlan>,
    /// Mappings of id-mapped mounts.
    pub idmaps: Vec<IdMap>,
    /// Hierarchies shown by a mount of type "cgroup"; known once the container's cgroup was made.
    pub hierarchies: Vec<Hierarchy>,
    /// Devices; none where /dev is the host's own.
    pub devices: Option<Vec<DevicePlan>>,
    /// Masked paths.
    pub masked: Vec<PathBuf>,
    /// Read-only paths.
    pub readonly: Vec<PathBuf>,
    /// Host name.
    pub hostname: String,
    /// Domain name.
    pub domainname: String,
    /// Sysctls: path below /proc/sys, value.
    pub sysctls: Vec<(String, String)>,
    /// Whether the parent has hooks or devices to place between mounts and pivot.
    pub parent_hooks: bool,
    /// Hooks in the container's namespaces, before pivot_root.
    pub create_container: Vec<hull_spec::Hook>,
    /// What is around the former.
    pub hook_output: Surroundings,
    /// Hooks in the container's namespaces, before the program.
    pub start_container: Vec<hull_spec::Hook>,
    /// What hooks are told of the container.
    pub about: About,
    /// Network devices that the parent moves in: host name, name inside.
    pub net_devices: Vec<(String, String)>,
    /// SELinux label of mounts.
    pub mount_label: Option<MountLabel>,
    /// Whether the container is to be killed when the parent ends.
    pub ends_with_parent: bool,
    /// The process.
    pub process: ProcessPlan,
}

/// What the plan needs to know beside config.json.
#[derive(Debug, Default)]
pub struct Options {
    /// The container's id.
    pub id: String,
    /// The bundle's directory, absolute.
    pub bundle: PathBuf,
    /// Root path, absolute.
    pub rootfs: PathBuf,
    /// `--no-pivot`.
    pub no_pivot: bool,
    /// Name of the session keyring; `None` by `--no-new-keyring`.
    pub keyring: Option<String>,
    /// Descriptors after 2 that the workload inherits.
    pub preserve_fds: u32,
    /// More environment: LISTEN_FDS and the like.
    pub extra_env: Vec<String>,
    /// Whether hull itself runs without privileges.
    pub rootless: bool,
    /// Whether the child is to tell of its steps.
    pub debug: bool,
    /// Whether the container is to be killed when the parent ends.
    pub ends_with_parent: bool,
}

/// The CLONE_NEW* flag of a kind of namespace.
pub fn flag_of(kind: NamespaceKind) -> u64 {
    match kind {
        NamespaceKind::Mount => flags::NEWNS,
        NamespaceKind::Pid => flags::NEWPID,
        NamespaceKind::Network => flags::NEWNET,
        NamespaceKind::Uts => flags::NEWUTS,
        NamespaceKind::Ipc => flags::NEWIPC,
        NamespaceKind::User => flags::NEWUSER,
        NamespaceKind::Cgroup => flags::NEWCGROUP,
        NamespaceKind::Time => flags::NEWTIME,
    }
}

fn cstring(field: &str, text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::new(format!("{field}: \"{text}\": must not contain a NUL byte")))
}

impl Plan {
    /// Lays the plan out. `filter` is the compiled linux.seccomp; `warnings` receives what runc warns of too.
    ///
    /// # Errors
    /// For a value that can't be honoured, by its field.
    pub fn new(spec: &Spec, process: &Process, filter: Option<Filter>, options: Options, warnings: &mut Vec<String>) -> Result<Plan> {
        let linux = spec.linux();
        let linux = linux.as_ref();
        if linux.intel_rdt.is_some() {
            return Err(Error::new(
                "linux.intelRdt: Intel RDT is not supported: remove it, or run the container by a runtime that has it",
            ));
        }
        let mut new = 0;
        let mut joins = Vec::new();
        for ns in &linux.namespaces {
            let flag = flag_of(ns.kind);
            match &ns.path {
                Some(path) if !path.as_os_str().is_empty() => joins.push(Join { flag, path: path.clone() }),
                _ => new |= flag,
            }
        }
        let own_mounts = new & flags::NEWNS != 0 || joins.iter().any(|j| j.flag == flags::NEWNS);
        if options.rootfs == Path::new("/") && !own_mounts {
            return Err(Error::new(
                "root.path: must not be \"/\" without a mount namespace: the container's mounts would cover the host's own",
            ));
        }
        let new_cgroup_ns = new & flags::NEWCGROUP != 0;
        new &= !flags::NEWCGROUP;
        let new_user = new & flags::NEWUSER != 0;
        let in_userns = new_user || joins.iter().any(|j| j.flag == flags::NEWUSER);
        let maps = new_user.then(|| UserMaps { uids: linux.uid_mappings.clone(), gids: linux.gid_mappings.clone() });
        let mut idmaps = Vec::new();
        let mut mounts = Vec::with_capacity(spec.mounts.len());
        for (index, mount) in spec.mounts.iter().enumerate() {
            mounts.push(mount_plan(index, mount, linux, &options.rootfs, &mut idmaps)?);
        }
        // A bind of the host's /dev is complete already, and must not be written to.
        let own_dev = !mounts.iter().any(|m| m.target == Path::new("/dev") && m.options.bind);
        let hooks = spec.hooks.clone().unwrap_or_default();
        let mut plan_process = process_plan(process, filter, warnings)?;
        for extra in &options.extra_env {
            plan_process.env.push(cstring("environment", extra)?);
        }
        plan_process.keyring = options.keyring.as_deref().map(|k| cstring("container id", k)).transpose()?;
        plan_process.preserve_fds = options.preserve_fds;
        plan_process.debug = options.debug;
        let own = new & (flags::NEWUSER | flags::NEWPID) == flags::NEWUSER | flags::NEWPID;
        plan_process.alone = options.rootless && own && hooks.start_container.is_empty();
        // execCPUAffinity is for processes that are added later (config.md).
        plan_process.cpus = Cpus::All;
        plan_process.take_container(linux)?;
        let known = spec.known_annotations();
        let option = known.mount_context().map_err(|e| Error::new(e.to_string()))?.as_str();
        let mount_label = match linux.mount_label.as_str() {
            "" => None,
            text => Some(MountLabel::new(cstring("annotations", option)?, cstring("linux.mountLabel", text)?)),
        };
        plan_process.keep_groups = known.keep_original_groups();
        if plan_process.keep_groups {
            plan_process.groups = None;
        }
        if options.rootless && plan_process.groups.as_ref().is_some_and(Vec::is_empty) {
            // setgroups is denied to an ordinary user's namespace, and there is nothing to set.
            plan_process.groups = None;
        }
        Ok(Plan {
            new,
            new_cgroup_ns,
            joins,
            maps,
            in_userns,
            time_offsets: time_offsets(linux),
            root: RootSource::Directory(options.rootfs),
            root_readonly: spec.root.as_ref().is_some_and(|r| r.readonly),
            propagation: propagation(&linux.rootfs_propagation)?,
            no_pivot: options.no_pivot,
            mounts,
            idmaps,
            hierarchies: Vec::new(),
            devices: own_dev.then(|| devices(linux)).transpose()?,
            masked: unique(&linux.masked_paths),
            readonly: linux.readonly_paths.iter().map(PathBuf::from).collect(),
            hostname: spec.hostname.clone(),
            domainname: spec.domainname.clone(),
            sysctls: sysctls(linux),
            parent_hooks: !hooks.prestart.is_empty() || !hooks.create_runtime.is_empty() || !linux.net_devices.is_empty(),
            create_container: hooks.create_container,
            hook_output: Surroundings::of_host(&spec.annotations),
            start_container: hooks.start_container,
            about: About { id: options.id, bundle: options.bundle, annotations: spec.annotations.clone() },
            net_devices: linux
                .net_devices
                .iter()
                .map(|(host, d)| (host.clone(), if d.name.is_empty() { host.clone() } else { d.name.clone() }))
                .collect(),
            mount_label,
            ends_with_parent: options.ends_with_parent,
            process: plan_process,
        })
    }

    /// Whether the container gets a mount namespace that is not hull's.
    pub fn has_mount_ns(&self) -> bool {
        self.new & flags::NEWNS != 0 || self.joins.iter().any(|j| j.flag == flags::NEWNS)
    }

    /// MS_* that cut mounts off from the host's. What can't be bound comes to be so at the end: until then there is
    /// much to bind.
    pub fn isolation(&self) -> u64 {
        match self.propagation {
            0 => libc::MS_SLAVE | libc::MS_REC,
            p if p & libc::MS_UNBINDABLE != 0 => libc::MS_PRIVATE | libc::MS_REC,
            p => p,
        }
    }

    /// CLONE_NEW* of the namespaces that the container's process makes itself, as root of its user namespace: whoever
    /// makes an IPC namespace owns its message queues, and outside of that user namespace it is nobody in there.
    pub fn made_as_root(&self) -> u64 {
        if self.new & flags::NEWUSER != 0 { self.new & flags::NEWIPC } else { 0 }
    }

    /// Whether a process in between must join or set up namespaces before the last clone.
    pub fn needs_stage(&self) -> bool {
        let joins_pid_or_time = self.joins.iter().any(|j| j.flag & (flags::NEWPID | flags::NEWTIME | flags::NEWUSER) != 0);
        joins_pid_or_time || !self.time_offsets.is_empty() || (self.new & flags::NEWUSER != 0 && !self.joins.is_empty())
    }

    /// Whether the child can walk the whole plan without an answer from the parent. Then the order to go on is sent
    /// ahead, and neither has to wake the other, which on a busy host costs more than all system calls together.
    pub fn asks_nothing(&self) -> bool {
        let asks = self.maps.is_some() || self.needs_stage() || self.parent_hooks || self.in_userns;
        !asks && !self.process.terminal && self.process.engine.is_none()
    }
}

fn named(field: &str, table: &[(&str, u64)], name: &str) -> Result<u64> {
    table.iter().find(|(n, _)| *n == name).map(|(_, v)| *v).ok_or_else(|| {
        let all: Vec<_> = table.iter().map(|(n, _)| *n).collect();
        Error::new(format!("{field}: \"{name}\": must be one of {}", all.join(", ")))
    })
}

/// Paths in order, each once.
fn unique(paths: &[String]) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths.iter().map(Path::new) {
        if !all.iter().any(|known| known == path) {
            all.push(path.to_owned());
        }
    }
    all
}

fn time_offsets(linux: &Linux) -> Vec<String> {
    linux.time_offsets.iter().map(|(clock, o)| format!("{clock} {} {}\n", o.secs, o.nanosecs)).collect()
}

/// Files below /proc, by the names that were checked, and their values.
fn sysctls(linux: &Linux) -> Vec<(String, String)> {
    linux.sysctl.iter().map(|(key, value)| (format!("sys/{}", hull_spec::check::sysctl_path(key)), value.clone())).collect()
}

/// The nodes that every container has (config-linux.md, "Default Devices").
const DEFAULT_DEVICES: [(&str, (u32, u32)); 6] =
    [("null", (1, 3)), ("zero", (1, 5)), ("full", (1, 7)), ("random", (1, 8)), ("urandom", (1, 9)), ("tty", (5, 0))];

fn devices(linux: &Linux) -> Result<Vec<DevicePlan>> {
    let mut list: Vec<DevicePlan> = DEFAULT_DEVICES
        .iter()
        .map(|(name, number)| DevicePlan {
            path: Path::new("/dev").join(name),
            kind: libc::S_IFCHR,
            number: *number,
            mode: 0o666,
            owner: (0, 0),
        })
        .collect();
    for (index, device) in linux.devices.iter().enumerate() {
        let kind = match device.kind.as_str() {
            "c" | "u" => libc::S_IFCHR,
            "b" => libc::S_IFBLK,
            "p" => libc::S_IFIFO,
            other => return Err(Error::new(format!("linux.devices[{index}].type: \"{other}\": must be c, b, u or p"))),
        };
        let path = clean(&device.path);
        let number = |n: Option<i64>| n.unwrap_or(0).clamp(0, u32::MAX.into()) as u32;
        let plan = DevicePlan {
            path: path.clone(),
            kind,
            number: (number(device.major), number(device.minor)),
            mode: device.file_mode.unwrap_or(0o666) & 0o7777,
            owner: (device.uid.unwrap_or(0), device.gid.unwrap_or(0)),
        };
        list.retain(|d| d.path != path);
        list.push(plan);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_bits() {
        assert_eq!(bit_list("f", "0-3,7").unwrap(), vec![0b1000_1111]);
        assert_eq!(bit_list("f", "64").unwrap(), vec![0, 1]);
        for bad in ["", "a", "3-1", "-1", "1-", "99999"] {
            assert!(bit_list("f", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paths_are_cleaned_at_the_root() {
        assert_eq!(clean(Path::new("/a/../../b/./c")), Path::new("/b/c"));
        assert_eq!(clean(Path::new("relative/x")), Path::new("/relative/x"));
    }

    #[test]
    fn sysctls_are_the_files_that_were_checked() {
        let spec = |key: &str| {
            let text = format!(
                r#"{{"ociVersion":"1.0.2","root":{{"path":"/r"}},"process":{{"args":["a"],"cwd":"/","user":{{"uid":0,"gid":0}}}},
                "linux":{{"namespaces":[{{"type":"network"}}],"sysctl":{{"{key}":"1"}}}}}}"#
            );
            Spec::from_slice(text.as_bytes()).unwrap()
        };
        for (key, file) in [
            ("net.ipv4.ip_forward", "sys/net/ipv4/ip_forward"),
            ("net/ipv4/conf/eth0.1/forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
            ("net.ipv4.conf.eth0/1.forwarding", "sys/net/ipv4/conf/eth0.1/forwarding"),
        ] {
            let sysctls = sysctls(spec(key).linux.as_ref().unwrap());
            assert_eq!(sysctls, [(file.to_owned(), "1".to_owned())], "{key}");
        }
    }
}

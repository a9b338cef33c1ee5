//! The shape of config.json: one structure per object of the specification (v1.3, config.md, config-linux.md).
//!
//! Owns the names, the types and the defaults. Judges nothing beyond what a type can say: ranges and the
//! specification's MUSTs are in [`crate::check`]. Go writes `null` for an empty list or map, so every list and
//! map reads `null` as empty.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::shape::{is_default, names, nullable, object, only_objects, path_or_none};

/// A whole config.json (config.md).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Spec {
    /// Version of the specification that the bundle complies with.
    pub oci_version: String,
    /// The container's process; needed by `start`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub process: Option<Process>,
    /// The container's root file system.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub root: Option<Root>,
    /// Host name in a UTS namespace.
    #[serde(skip_serializing_if = "is_default", default, deserialize_with = "nullable")]
    pub hostname: String,
    /// NIS domain name in a UTS namespace.
    #[serde(skip_serializing_if = "is_default", default, deserialize_with = "nullable")]
    pub domainname: String,
    /// Mounts beyond the root, in order.
    #[serde(skip_serializing_if = "is_default", default, deserialize_with = "nullable")]
    pub mounts: Vec<Mount>,
    /// Commands run at points of the life cycle.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hooks: Option<Hooks>,
    /// Free text by key; those that hull understands are in [`crate::annotations`].
    #[serde(skip_serializing_if = "is_default", default, deserialize_with = "nullable")]
    pub annotations: BTreeMap<String, String>,
    /// The Linux part.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub linux: Option<Linux>,
    /// The part for virtual machines; no guest of hull reads it yet.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vm: Option<serde_json::Value>,
    /// Another platform's part: kept so that it can be refused by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub solaris: Option<serde_json::Value>,
    /// Another platform's part: kept so that it can be refused by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub windows: Option<serde_json::Value>,
    /// Another platform's part: kept so that it can be refused by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub zos: Option<serde_json::Value>,
    /// Another platform's part: kept so that it can be refused by name.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub freebsd: Option<serde_json::Value>,
}

/// The root file system (config.md, "Root").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Root {
    /// Absolute, or relative to the bundle.
    pub path: PathBuf,
    /// Whether the root is read-only inside the container.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub readonly: bool,
}

/// One mount (config.md, "Mounts").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Mount {
    /// Where, as seen from the container's root.
    pub destination: PathBuf,
    /// File system type; "bind" or empty with a bind option for binds.
    #[serde(rename = "type", default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub kind: String,
    /// Device name, or file or directory to bind.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub source: String,
    /// Options in the manner of fstab.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub options: Vec<String>,
    /// User id mappings of an id-mapped mount.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group id mappings of an id-mapped mount.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub gid_mappings: Vec<IdMapping>,
}

/// One line of a user namespace's map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID")]
    pub container_id: u32,
    /// First id outside.
    #[serde(rename = "hostID")]
    pub host_id: u32,
    /// How many.
    pub size: u32,
}

/// The container's process (config.md, "Process"); also the file given to `exec --process`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Process {
    /// Whether a terminal is attached.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub terminal: bool,
    /// Size of that terminal in characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console_size: Option<ConsoleSize>,
    /// Who the process runs as.
    #[serde(default, deserialize_with = "nullable")]
    pub user: User,
    /// Program and arguments; the first is looked up in `PATH` of `env`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub args: Vec<String>,
    /// Windows' single string; refused here.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub command_line: String,
    /// Environment as `NAME=value`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub env: Vec<String>,
    /// Absolute working directory.
    pub cwd: PathBuf,
    /// Capability sets; none given means the process has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// Resource limits (setrlimit(2)).
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub rlimits: Vec<Rlimit>,
    /// Sets `PR_SET_NO_NEW_PRIVS`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub no_new_privileges: bool,
    /// AppArmor profile to enter at exec.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub apparmor_profile: String,
    /// SELinux label to take at exec.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub selinux_label: String,
    /// Score for the out-of-memory killer, -1000 to 1000; absent leaves it as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// CPU scheduler settings (sched_setattr(2)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduler: Option<Scheduler>,
    /// I/O priority (ioprio_set(2)).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_priority: Option<IoPriority>,
    /// CPUs to run on while and after joining, for `exec`.
    #[serde(default, rename = "execCPUAffinity", skip_serializing_if = "Option::is_none")]
    pub exec_cpu_affinity: Option<ExecCpuAffinity>,
}

/// Terminal size in characters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ConsoleSize {
    /// Rows.
    pub height: u64,
    /// Columns.
    pub width: u64,
}

/// One resource limit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Rlimit {
    /// `RLIMIT_…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Ceiling of the soft limit.
    pub hard: u64,
    /// The limit in force.
    pub soft: u64,
}

object! {
    /// The five capability sets. Names are kept as text: an unknown one is a warning, not an error.
    Capabilities {
        /// Upper bound of what exec can give.
        bounding: Vec<String>,
        /// In force.
        effective: Vec<String>,
        /// Kept across exec of files with inheritable capabilities.
        inheritable: Vec<String>,
        /// What may be put in force.
        permitted: Vec<String>,
        /// Kept across exec by an ordinary user.
        ambient: Vec<String>,
    }
    /// CPUs for a process that joins a container (config.md, "execCPUAffinity").
    ExecCpuAffinity {
        /// List of CPUs while joining, such as "0-3,7".
        initial: String,
        /// List of CPUs from then on.
        r#final: String,
    }
    /// Hooks by the point at which they run (config.md, "POSIX-platform Hooks").
    Hooks {
        /// Deprecated; as `createRuntime`, before it.
        prestart: Vec<Hook>,
        /// Runtime's namespaces, after the container's were made, before pivot_root.
        create_runtime: Vec<Hook>,
        /// Container's namespaces, before pivot_root.
        create_container: Vec<Hook>,
        /// Container's namespaces, after `start`, before the user's program.
        start_container: Vec<Hook>,
        /// Runtime's namespaces, after the user's program began.
        poststart: Vec<Hook>,
        /// Runtime's namespaces, after the container was deleted.
        poststop: Vec<Hook>,
    }
    /// The Linux part (config-linux.md).
    Linux {
        /// User ids of a new user namespace.
        uid_mappings: Vec<IdMapping>,
        /// Group ids of a new user namespace.
        gid_mappings: Vec<IdMapping>,
        /// Kernel parameters by name.
        sysctl: BTreeMap<String, String>,
        /// Limits and accounting.
        resources: Option<Resources>,
        /// Absolute, or relative to where the runtime puts its cgroups; `slice:prefix:name` under systemd.
        cgroups_path: String,
        /// New namespaces, or paths of namespaces to join.
        namespaces: Vec<Namespace>,
        /// Device nodes beyond the default ones.
        devices: Vec<Device>,
        /// Network devices to move into the container, by host name.
        net_devices: BTreeMap<String, NetDevice>,
        /// System call filter.
        seccomp: Option<Seccomp>,
        /// Propagation of the root mount; empty leaves the default.
        rootfs_propagation: String,
        /// Paths that the container can't read.
        masked_paths: Vec<String>,
        /// Paths that the container can't write.
        readonly_paths: Vec<String>,
        /// SELinux context of the mounts.
        mount_label: String,
        /// Cache and memory bandwidth allocation.
        intel_rdt: Option<IntelRdt>,
        /// NUMA policy (set_mempolicy(2)).
        memory_policy: Option<MemoryPolicy>,
        /// Execution domain (personality(2)).
        personality: Option<Personality>,
        /// Clock offsets of a new time namespace, by clock (`monotonic`, `boottime`).
        time_offsets: BTreeMap<String, TimeOffset>,
    }
    /// New name of a network device.
    NetDevice {
        /// Empty keeps the host's name.
        name: String,
    }
    /// Offset of one clock.
    TimeOffset {
        /// Seconds, may be negative.
        secs: i64,
        /// Nanoseconds, below 10⁹.
        nanosecs: u32,
    }
    /// Cache and memory bandwidth allocation (config-linux.md, "IntelRdt").
    IntelRdt {
        /// Class of service: a directory name under resctrl.
        #[serde(rename = "closID")] clos_id: Option<String>,
        /// Lines for the schemata file.
        schemata: Option<Vec<String>>,
        /// Line for level 3 cache.
        l3_cache_schema: Option<String>,
        /// Line for memory bandwidth.
        mem_bw_schema: Option<String>,
        /// Make a monitoring group.
        enable_monitoring: bool,
    }
    /// Execution domain.
    Personality {
        /// `LINUX` or `LINUX32`.
        domain: String,
        /// No flag is supported so far (specification 1.3).
        flags: Vec<String>,
    }
    /// NUMA policy.
    MemoryPolicy {
        /// `MPOL_…`.
        mode: String,
        /// Node list, such as "0-1".
        nodes: String,
        /// `MPOL_F_…`.
        flags: Vec<String>,
    }
    /// Limits and accounting (config-linux.md, "Control groups").
    Resources {
        /// Device access rules, in order; the last that matches wins.
        devices: Vec<DeviceRule>,
        /// Memory.
        memory: Option<Memory>,
        /// CPU.
        cpu: Option<Cpu>,
        /// Number of tasks.
        pids: Option<Pids>,
        /// Block I/O.
        #[serde(rename = "blockIO")] block_io: Option<BlockIo>,
        /// Huge pages, per size.
        hugepage_limits: Vec<HugepageLimit>,
        /// Network classes (cgroup v1 only).
        network: Option<Network>,
        /// RDMA, per device.
        rdma: BTreeMap<String, Rdma>,
        /// cgroup v2 files and what to write to them.
        unified: BTreeMap<String, String>,
    }
    /// Memory limits in bytes; -1 is unlimited.
    Memory {
        /// Hard limit.
        limit: Option<i64>,
        /// Soft limit.
        reservation: Option<i64>,
        /// Memory and swap together.
        swap: Option<i64>,
        /// Deprecated by the kernel; ignored with a warning.
        kernel: Option<i64>,
        /// Deprecated by the kernel; ignored with a warning.
        #[serde(rename = "kernelTCP")] kernel_tcp: Option<i64>,
        /// 0 to 100 (cgroup v1 only).
        swappiness: Option<u64>,
        /// Stall instead of killing (cgroup v1 only).
        #[serde(rename = "disableOOMKiller")] disable_oom_killer: Option<bool>,
        /// Account to parents too (cgroup v1 only, and the kernel's only way now).
        use_hierarchy: Option<bool>,
        /// On `update`, refuse a limit below the use.
        check_before_update: Option<bool>,
    }
    /// CPU limits.
    Cpu {
        /// Weight in v1 units, 2 to 262144.
        shares: Option<u64>,
        /// µs of CPU per period; negative is unlimited.
        quota: Option<i64>,
        /// µs that unused quota may add up to.
        burst: Option<u64>,
        /// µs.
        period: Option<u64>,
        /// µs of real-time scheduling per period (cgroup v1 only).
        realtime_runtime: Option<i64>,
        /// µs (cgroup v1 only).
        realtime_period: Option<u64>,
        /// CPUs to run on, such as "0-3,7".
        cpus: String,
        /// Memory nodes, such as "0".
        mems: String,
        /// 1 makes the group run only when nothing else wants to.
        idle: Option<i64>,
    }
    /// Number of tasks.
    Pids {
        /// Above 0 a limit; -1 unlimited; 0 leaves it unset, absent too.
        limit: Option<i64>,
    }
    /// Block I/O.
    BlockIo {
        /// 10 to 1000; 0 is unset.
        weight: Option<u16>,
        /// As `weight`, against child groups.
        leaf_weight: Option<u16>,
        /// Weight per device.
        weight_device: Vec<WeightDevice>,
        /// Bytes read per second.
        throttle_read_bps_device: Vec<ThrottleDevice>,
        /// Bytes written per second.
        throttle_write_bps_device: Vec<ThrottleDevice>,
        /// Reads per second.
        #[serde(rename = "throttleReadIOPSDevice")] throttle_read_iops_device: Vec<ThrottleDevice>,
        /// Writes per second.
        #[serde(rename = "throttleWriteIOPSDevice")] throttle_write_iops_device: Vec<ThrottleDevice>,
    }
    /// Network classes.
    Network {
        /// For tc and iptables.
        #[serde(rename = "classID")] class_id: Option<u32>,
        /// Priority per interface.
        priorities: Vec<InterfacePriority>,
    }
    /// RDMA limits of one device.
    Rdma {
        /// Handles.
        hca_handles: Option<u32>,
        /// Objects.
        hca_objects: Option<u32>,
    }
}

/// The user (config.md, "POSIX-platform User").
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct User {
    /// User id.
    #[serde(default, deserialize_with = "nullable")]
    pub uid: u32,
    /// Group id.
    #[serde(default, deserialize_with = "nullable")]
    pub gid: u32,
    /// File mode creation mask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Supplementary groups, exactly these.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub additional_gids: Vec<u32>,
    /// Name, for platforms with names; ignored on Linux as the specification says.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub username: String,
}

/// One device access rule.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct DeviceRule {
    /// Allow or deny.
    pub allow: bool,
    /// `a` all, `c` character, `b` block; empty is `a`.
    #[serde(rename = "type", default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub kind: String,
    /// Absent or -1 is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Absent or -1 is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Of `r`, `w`, `m`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub access: String,
}

/// Weight of one block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct WeightDevice {
    /// Device number.
    pub major: i64,
    /// Device number.
    pub minor: i64,
    /// 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<u16>,
    /// 10 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf_weight: Option<u16>,
}

/// Rate of one block device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct ThrottleDevice {
    /// Device number.
    pub major: i64,
    /// Device number.
    pub minor: i64,
    /// Bytes or operations per second.
    pub rate: u64,
}

/// Huge pages of one size.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct HugepageLimit {
    /// Such as "2MB".
    // Go's reader takes a name in any case, and this one is often written so.
    #[serde(alias = "pagesize")]
    pub page_size: String,
    /// Bytes.
    pub limit: u64,
}

/// Priority of one interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct InterfacePriority {
    /// Interface.
    pub name: String,
    /// Priority.
    pub priority: u32,
}

/// One hook.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Hook {
    /// Absolute path, in the runtime's or the container's namespace.
    pub path: PathBuf,
    /// With the program's name first, as for execv(3).
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub args: Vec<String>,
    /// The whole environment of the hook; absent leaves it the runtime's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub env: Option<Vec<String>>,
    /// Seconds, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<i64>,
}

/// One namespace: new, or an existing one to join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Namespace {
    /// Which.
    #[serde(rename = "type")]
    pub kind: NamespaceKind,
    /// Namespace file to join; absent or empty makes a new one.
    #[serde(default, deserialize_with = "path_or_none", skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

/// One device node.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Device {
    /// `c`, `b`, `u` (as `c`) or `p`.
    #[serde(rename = "type")]
    pub kind: String,
    /// In the container.
    pub path: PathBuf,
    /// Device number; not for `p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub major: Option<i64>,
    /// Device number; not for `p`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minor: Option<i64>,
    /// Permission bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_mode: Option<u32>,
    /// Owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
}

/// CPU scheduler settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Scheduler {
    /// `SCHED_…`.
    pub policy: String,
    /// -20 to 19, for `SCHED_OTHER` and `SCHED_BATCH`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub nice: i32,
    /// 1 to 99, for `SCHED_FIFO` and `SCHED_RR`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub priority: i32,
    /// `SCHED_FLAG_…`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub flags: Vec<String>,
    /// ns, for `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub runtime: u64,
    /// ns, for `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub deadline: u64,
    /// ns, for `SCHED_DEADLINE`.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub period: u64,
}

/// I/O priority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct IoPriority {
    /// `IOPRIO_CLASS_RT`, `_BE` or `_IDLE`.
    pub class: String,
    /// 0 (first) to 7.
    #[serde(default, deserialize_with = "nullable")]
    pub priority: i32,
}

/// System call filter (config-linux.md, "Seccomp").
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct Seccomp {
    /// For system calls that no rule names.
    pub default_action: SeccompAction,
    /// Error number of a default action of `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`; absent is EPERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures beside the native one.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub architectures: Vec<SeccompArch>,
    /// Flags of seccomp(2); where there is no list, a default one holds, which an empty list is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<Vec<SeccompFlag>>,
    /// Unix socket of the agent that answers notifications.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub listener_path: PathBuf,
    /// Text passed to the agent.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub listener_metadata: String,
    /// Rules.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub syscalls: Vec<SeccompRule>,
}

/// One rule of the filter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SeccompRule {
    /// System calls by name; unknown names are ignored, as they may be of another kernel.
    pub names: Vec<String>,
    /// What to do.
    pub action: SeccompAction,
    /// Error number of `SCMP_ACT_ERRNO` or `SCMP_ACT_TRACE`; absent is EPERM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments, all of which must hold.
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "is_default")]
    pub args: Vec<SeccompArg>,
}

/// One condition on one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", remote = "Self")]
pub struct SeccompArg {
    /// 0 to 5.
    pub index: u32,
    /// Compared with; the mask for `SCMP_CMP_MASKED_EQ`.
    pub value: u64,
    /// What the masked argument must be.
    #[serde(default, deserialize_with = "nullable")]
    pub value_two: u64,
    /// Comparison.
    pub op: SeccompOp,
}

names! {
    /// A kind of namespace (config-linux.md, "Namespaces").
    NamespaceKind {
        Mount = "mount", Pid = "pid", Network = "network", Uts = "uts", Ipc = "ipc",
        User = "user", Cgroup = "cgroup", Time = "time",
    }
    /// What the filter does with a system call.
    SeccompAction {
        Kill = "SCMP_ACT_KILL", KillProcess = "SCMP_ACT_KILL_PROCESS", KillThread = "SCMP_ACT_KILL_THREAD",
        Trap = "SCMP_ACT_TRAP", Errno = "SCMP_ACT_ERRNO", Trace = "SCMP_ACT_TRACE", Allow = "SCMP_ACT_ALLOW",
        Log = "SCMP_ACT_LOG", Notify = "SCMP_ACT_NOTIFY",
    }
    /// Comparison of an argument.
    SeccompOp {
        Ne = "SCMP_CMP_NE", Lt = "SCMP_CMP_LT", Le = "SCMP_CMP_LE", Eq = "SCMP_CMP_EQ", Ge = "SCMP_CMP_GE",
        Gt = "SCMP_CMP_GT", MaskedEq = "SCMP_CMP_MASKED_EQ",
    }
    /// Flag of seccomp(2).
    SeccompFlag {
        Tsync = "SECCOMP_FILTER_FLAG_TSYNC", Log = "SECCOMP_FILTER_FLAG_LOG",
        SpecAllow = "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        WaitKillableRecv = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    }
    /// Architecture of a system call table.
    SeccompArch {
        X86 = "SCMP_ARCH_X86", X86_64 = "SCMP_ARCH_X86_64", X32 = "SCMP_ARCH_X32", Arm = "SCMP_ARCH_ARM",
        Aarch64 = "SCMP_ARCH_AARCH64", Loongarch64 = "SCMP_ARCH_LOONGARCH64", M68k = "SCMP_ARCH_M68K",
        Mips = "SCMP_ARCH_MIPS", Mips64 = "SCMP_ARCH_MIPS64", Mips64n32 = "SCMP_ARCH_MIPS64N32",
        Mipsel = "SCMP_ARCH_MIPSEL", Mipsel64 = "SCMP_ARCH_MIPSEL64", Mipsel64n32 = "SCMP_ARCH_MIPSEL64N32",
        Ppc = "SCMP_ARCH_PPC", Ppc64 = "SCMP_ARCH_PPC64", Ppc64le = "SCMP_ARCH_PPC64LE", S390 = "SCMP_ARCH_S390",
        S390x = "SCMP_ARCH_S390X", Sh = "SCMP_ARCH_SH", Sheb = "SCMP_ARCH_SHEB", Parisc = "SCMP_ARCH_PARISC",
        Parisc64 = "SCMP_ARCH_PARISC64", Riscv64 = "SCMP_ARCH_RISCV64",
    }
}

only_objects! {
    Spec Root Mount IdMapping Process ConsoleSize Rlimit User DeviceRule WeightDevice ThrottleDevice HugepageLimit
    InterfacePriority Hook Namespace Device Scheduler IoPriority Seccomp SeccompRule SeccompArg
}

impl Spec {
    /// The Linux part, or an empty one.
    pub fn linux(&self) -> std::borrow::Cow<'_, Linux> {
        match &self.linux {
            Some(l) => std::borrow::Cow::Borrowed(l),
            None => std::borrow::Cow::Owned(Linux::default()),
        }
    }
}

impl Linux {
    /// The entry for a kind of namespace, if the container has one.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<&Namespace> {
        self.namespaces.iter().find(|n| n.kind == kind)
    }
}

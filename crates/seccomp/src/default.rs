//! The profile of a container for which nobody has asked for another.
//!
//! Owns a list: what programs ordinarily call is allowed, the rest fails with EPERM, and a capability opens what is
//! of no use without it. Leans on no file of a distribution.

use hull_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompRule};

/// Allowed to everyone, by subject. Not in any list, and so always refused: keyrings, userfaultfd, io_uring, kexec,
/// swap, and what only old kernels or no program at all ever had.
const ORDINARY: &[&str] = &[
    // Processes and threads.
    "execve execveat exit exit_group fork vfork wait4 waitid waitpid kill tkill tgkill pause getpid getppid gettid \
     getpgid getpgrp setpgid getsid setsid pidfd_open pidfd_send_signal process_mrelease prctl ptrace \
     process_vm_readv process_vm_writev restart_syscall rseq rseq_slice_yield set_robust_list get_robust_list \
     set_tid_address seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr \
     lsm_list_modules uretprobe uprobe",
    // Scheduling and limits.
    "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam \
     sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval \
     sched_rr_get_interval_time64 getpriority setpriority nice ioprio_get ioprio_set getrlimit ugetrlimit setrlimit \
     prlimit64 getrusage times getcpu membarrier",
    // Users, groups, capabilities.
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid \
     getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 \
     setresuid setresuid32 setresgid setresgid32 setgroups setgroups32 setfsuid setfsuid32 setfsgid setfsgid32 \
     capget capset",
    // Signals.
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait \
     rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigaction sigpending sigprocmask sigreturn sigsuspend \
     signal signalfd signalfd4",
    // Memory.
    "brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock munlockall mseal \
     memfd_create memfd_secret pkey_alloc pkey_free pkey_mprotect remap_file_pages map_shadow_stack getpagesize",
    // Descriptors and their contents.
    "open openat openat2 creat close close_range dup dup2 dup3 fcntl fcntl64 ioctl read readv pread64 preadv preadv2 \
     write writev pwrite64 pwritev pwritev2 lseek _llseek fsync fdatasync sync syncfs sync_file_range \
     sync_file_range2 readahead fadvise64 fadvise64_64 fallocate ftruncate ftruncate64 truncate truncate64 flock \
     copy_file_range sendfile sendfile64 splice tee vmsplice pipe pipe2 cachestat umask",
    // Names and attributes of files.
    "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 \
     fstatfs fstatfs64 getdents getdents64 getcwd chdir fchdir chmod fchmod fchmodat fchmodat2 chown chown32 lchown \
     lchown32 fchown fchown32 fchownat utime utimes futimesat utimensat utimensat_time64 link linkat symlink \
     symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat rmdir mknod mknodat \
     name_to_handle_at getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr \
     llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat file_getattr file_setattr",
    // Waiting.
    "select _newselect pselect6 pselect6_time64 poll ppoll ppoll_time64 epoll_create epoll_create1 epoll_ctl \
     epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1 \
     inotify_add_watch inotify_rm_watch fanotify_mark io_setup io_submit io_cancel io_destroy io_getevents \
     io_pgetevents io_pgetevents_time64 futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue",
    // Time.
    "time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep \
     clock_nanosleep_time64 clock_adjtime clock_adjtime64 adjtimex nanosleep alarm getitimer setitimer timer_create \
     timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
     timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    // Sockets; socket(2) itself is below.
    "socketcall socketpair bind connect listen accept accept4 getsockname getpeername getsockopt setsockopt shutdown \
     send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
    // System V and POSIX interprocess communication.
    "ipc shmget shmat shmdt shmctl semget semop semtimedop semtimedop_time64 semctl msgget msgsnd msgrcv msgctl \
     mq_open mq_unlink mq_notify mq_getsetattr mq_timedsend mq_timedsend_time64 mq_timedreceive \
     mq_timedreceive_time64",
    // The system, seen.
    "uname sysinfo getrandom",
    // Of single architectures; the others do not have them.
    "arch_prctl modify_ldt get_thread_area set_thread_area arm_fadvise64_64 arm_sync_file_range breakpoint \
     cacheflush cachectl set_tls get_tls atomic_barrier atomic_cmpxchg_32 swapcontext switch_endian \
     riscv_flush_icache riscv_hwprobe s390_guarded_storage s390_pci_mmio_read s390_pci_mmio_write \
     s390_runtime_instr",
];

/// What a capability opens.
const PRIVILEGED: &[(&str, &str)] = &[
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick listmount listns lookup_dcookie mount \
         mount_setattr move_mount open_tree open_tree_attr perf_event_open pivot_root quotactl quotactl_fd \
         setdomainname sethostname setns statmount syslog umount umount2 unshare",
    ),
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYSLOG", "syslog"),
];

/// `CLONE_NEW*` of clone(2): mount, cgroup, UTS, IPC, user, PID and network namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Personalities that only change what uname(2) says or how addresses are laid out, and the query.
const PERSONALITIES: &[u64] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `AF_ALG`: the kernel's cryptography, of little use and much trouble.
const AF_ALG: u64 = 38;
/// `AF_VSOCK`: reaches the hypervisor and its other guests past every network namespace.
const AF_VSOCK: u64 = 40;
const ENOSYS: u32 = 38;

/// hull's own profile for a process that can have the capabilities `caps` (`CAP_…`), on the native architecture and
/// those that its kernel also runs.
pub fn default_profile(caps: &[&str]) -> Seccomp {
    let native = crate::native_arch();
    let mut syscalls = vec![allow(ORDINARY.join(" ").split_whitespace(), &[])];
    for (cap, names) in PRIVILEGED {
        if caps.contains(cap) {
            syscalls.push(allow(names.split_whitespace(), &[]));
        }
    }
    if !caps.contains(&"CAP_SYS_ADMIN") {
        let flags = if matches!(native, SeccompArch::S390 | SeccompArch::S390x) { 1 } else { 0 };
        syscalls.push(allow(["clone"], &[arg(flags, SeccompOp::MaskedEq, NEW_NAMESPACES)]));
        // Its flags are in memory, where no filter sees them; told that it is absent, programs fall back to clone.
        let absent = SeccompRule { action: SeccompAction::Errno, errno_ret: Some(ENOSYS), ..allow(["clone3"], &[]) };
        syscalls.push(absent);
    }
    for &personality in PERSONALITIES {
        syscalls.push(allow(["personality"], &[arg(0, SeccompOp::Eq, personality)]));
    }
    syscalls.push(allow(["socket"], &[arg(0, SeccompOp::Lt, AF_ALG)]));
    syscalls.push(allow(["socket"], &[arg(0, SeccompOp::Eq, AF_ALG + 1)]));
    syscalls.push(allow(["socket"], &[arg(0, SeccompOp::Gt, AF_VSOCK)]));
    Seccomp {
        default_action: SeccompAction::Errno,
        default_errno_ret: None,
        architectures: family(native),
        flags: None,
        listener_path: Default::default(),
        listener_metadata: String::new(),
        syscalls,
    }
}

fn allow<'a>(names: impl IntoIterator<Item = &'a str>, args: &[SeccompArg]) -> SeccompRule {
    SeccompRule {
        names: names.into_iter().map(String::from).collect(),
        action: SeccompAction::Allow,
        errno_ret: None,
        args: args.to_vec(),
    }
}

/// A condition; of a masked one, that no bit of the mask is set.
fn arg(index: u32, op: SeccompOp, value: u64) -> SeccompArg {
    SeccompArg { index, op, value, value_two: 0 }
}

/// The architectures whose programs a kernel of this one can run.
fn family(native: SeccompArch) -> Vec<SeccompArch> {
    use SeccompArch::*;
    let others: &[SeccompArch] = match native {
        X86_64 => &[X86, X32],
        Aarch64 => &[Arm],
        Mips64 => &[Mips, Mips64n32],
        Mipsel64 => &[Mipsel, Mipsel64n32],
        Parisc64 => &[Parisc],
        Ppc64 => &[Ppc],
        S390x => &[S390],
        _ => &[],
    };
    [&[native], others].concat()
}

//! System call filters of the engine's own, beside whatever config.json brings.
//!
//! Owns the runner's list, and how a list is loaded: by the process itself, since what it needs before (to be executed,
//! to map code) is what the list takes away.

use std::path::PathBuf;

use hull_spec::{Seccomp, SeccompAction, SeccompArg, SeccompOp, SeccompRule};
use wasmtime::{Error, Result};

/// What WASI is made of, for a module that is loaded.
const RUNNER: &[&str] = &[
    // Descriptors and their contents; ioctl is below.
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range dup dup3 fcntl lseek",
    "fsync fdatasync fadvise64 fallocate ftruncate pipe2 copy_file_range sendfile",
    // Names and attributes of files.
    "openat openat2 fstat newfstatat statx getdents64 getcwd readlink readlinkat unlinkat renameat renameat2 mkdirat",
    "linkat symlinkat utimensat faccessat faccessat2 fstatfs fchmod",
    // Waiting and time.
    "poll ppoll epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 timerfd_create timerfd_settime",
    "clock_gettime clock_getres clock_nanosleep nanosleep futex sched_yield restart_syscall",
    // Sockets; socket(2) itself is below.
    "bind connect listen accept4 getsockname getpeername getsockopt setsockopt shutdown sendto sendmsg sendmmsg recvfrom",
    "recvmsg recvmmsg socketpair",
    // Memory that holds no code; mmap and mprotect are below.
    "munmap mremap madvise brk membarrier",
    // Threads and signals; clone, prctl and prlimit64 are below.
    "set_robust_list rseq sched_getaffinity getpid gettid getuid geteuid getgid getegid exit exit_group tgkill",
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack getrandom uname",
];

/// AF_UNIX, AF_INET, AF_INET6.
const FAMILIES: [u64; 3] = [1, 2, 10];

/// AF_NETLINK, by which the C library learns of its addresses, from NETLINK_ROUTE.
const NETLINK: u64 = 16;
const ROUTE: u64 = 0;

/// TCGETS, TCGETS2, TIOCGWINSZ, FIONREAD, FIONBIO: what tells a terminal, and how sockets are used.
const IOCTLS: [u64; 5] = [0x5401, 0x802c_542a, 0x5413, 0x541b, 0x5421];

/// PR_SET_NAME, and PR_SET_VMA, by which the C library names its memory.
const PRCTLS: [u64; 2] = [15, 0x5356_4d41];

const PROT_EXEC: u64 = 4;
const ENOSYS: u32 = 38;

/// CLONE_NEW* of clone(2), and CLONE_THREAD, without which it makes a process.
const NAMESPACES: u64 = 0x7e02_0000;
const CLONE_THREAD: u64 = 0x1_0000;

/// The list of a process that runs it. Nothing that is executed is mapped from here on.
///
/// # Errors
/// Those of seccomp(2).
pub(crate) fn runner() -> Result<()> {
    let masked = |index, mask, value| vec![SeccompArg { index, value: mask, value_two: value, op: SeccompOp::MaskedEq }];
    let mut rules = vec![
        allow("mmap mprotect", masked(2, PROT_EXEC, 0)),
        allow("clone", masked(0, NAMESPACES | CLONE_THREAD, CLONE_THREAD)),
        // The flags of clone3 lie in memory, where no filter looks. Told that there is no such call, the C library takes
        // clone; and without memfd_create wasmtime copies what it would share.
        SeccompRule { names: vec!["clone3".into(), "memfd_create".into()], action: SeccompAction::Errno, errno_ret: Some(ENOSYS), args: Vec::new() },
    ];
    let is = |index, value| SeccompArg { index, value, value_two: 0, op: SeccompOp::Eq };
    rules.extend(FAMILIES.map(|family| allow("socket", vec![is(0, family)])));
    rules.push(allow("socket", vec![is(0, NETLINK), is(2, ROUTE)]));
    rules.extend(IOCTLS.map(|request| allow("ioctl", vec![is(1, request)])));
    rules.extend(PRCTLS.map(|option| allow("prctl", vec![is(0, option)])));
    // To ask for a limit of its own, and not to set one.
    rules.push(allow("prlimit64", vec![is(0, 0), is(2, 0)]));
    load(RUNNER, rules, SeccompAction::Errno)
}

fn allow(names: &str, args: Vec<SeccompArg>) -> SeccompRule {
    let names = names.split_whitespace().map(str::to_owned).collect();
    SeccompRule { names, action: SeccompAction::Allow, errno_ret: None, args }
}

pub(crate) fn load(names: &[&str], mut rules: Vec<SeccompRule>, default: SeccompAction) -> Result<()> {
    rules.push(allow(&names.join(" "), Vec::new()));
    let profile = Seccomp {
        default_action: default,
        default_errno_ret: None,
        architectures: Vec::new(),
        // There is one thread.
        flags: Some(Vec::new()),
        listener_path: PathBuf::new(),
        listener_metadata: String::new(),
        syscalls: rules,
    };
    let fail = |e: &dyn std::fmt::Display| Error::msg(format!("cannot confine the engine: {e}"));
    let filter = hull_seccomp::compile(&profile, hull_seccomp::native_arch()).map_err(|e| fail(&e))?;
    hull_sys::prctl::no_new_privs().map_err(|e| fail(&e))?;
    let instruction = |i: &hull_seccomp::Insn| hull_sys::seccomp::Instruction { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
    let program: Vec<_> = filter.program.iter().map(instruction).collect();
    hull_sys::seccomp::load(&program, filter.flags.into()).map(drop).map_err(|e| fail(&e))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::process::Command;

    /// In a thread of its own, which the filter ends with.
    fn confined<T: Send + 'static>(check: impl FnOnce() -> T + Send + 'static) -> T {
        let thread = std::thread::spawn(|| {
            super::runner().unwrap();
            check()
        });
        thread.join().unwrap()
    }

    #[test]
    fn a_runner_opens_files_and_makes_threads() {
        assert!(confined(|| File::open("/etc/passwd").is_ok()));
        assert_eq!(confined(|| std::thread::spawn(|| 7).join().unwrap()), 7);
    }

    #[test]
    fn a_runner_makes_no_process_and_no_namespace_and_executes_nothing() {
        assert!(confined(|| Command::new("/bin/true").status().is_err()));
        let error = |e: std::io::Error| e.raw_os_error();
        assert_eq!(confined(move || hull_sys::clone::unshare(hull_sys::clone::flags::NEWNS).map_err(error)), Err(Some(1)));
        let (args, env) = (|| hull_sys::exec::Strings::new(vec![c"x".into()]), || hull_sys::exec::Strings::new(vec![]));
        assert_eq!(confined(move || error(hull_sys::exec::execveat(None, c"/bin/true", &args(), &env()))), Some(1));
    }

    #[test]
    fn a_runner_changes_no_limit_and_no_terminal_and_listens_to_no_kernel() {
        use rustix::net::{AddressFamily, SocketFlags, SocketType, netlink, socket_with};
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let denied = Err(rustix::io::Errno::PERM);
        assert_eq!(confined(|| setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })), denied);
        assert!(confined(|| getrlimit(Resource::Stack).current != Some(0)));
        let socket = |family, kind, protocol| {
            confined(move || socket_with(family, kind, SocketFlags::CLOEXEC, protocol).map(drop))
        };
        assert_eq!(socket(AddressFamily::NETLINK, SocketType::RAW, Some(netlink::KOBJECT_UEVENT)), denied);
        assert_eq!(socket(AddressFamily::PACKET, SocketType::RAW, None), denied);
        assert_eq!(socket(AddressFamily::NETLINK, SocketType::RAW, None), Ok(()));
        assert_eq!(socket(AddressFamily::INET, SocketType::STREAM, None), Ok(()));
        assert_eq!(confined(|| hull_sys::prctl::set_dumpable(true).map_err(|e| e.raw_os_error())), Err(Some(1)));
        let terminal = || rustix::termios::tcgetattr(std::io::stdin()).map(drop);
        // What it may ask for is answered by the file, as before.
        assert_eq!(confined(terminal), terminal());
        assert_eq!(confined(|| rustix::termios::tcflush(std::io::stdin(), rustix::termios::QueueSelector::IFlush)), denied);
    }

    #[cfg(feature = "compiler")]
    #[test]
    fn a_runner_maps_nothing_executable() {
        let engine = crate::engine::engine(Default::default()).unwrap();
        let bytes = wat::parse_str("(module (func (export \"f\")))").unwrap();
        assert!(wasmtime::Module::from_binary(&engine, &bytes).is_ok());
        assert!(confined(move || wasmtime::Module::from_binary(&engine, &bytes).is_err()));
    }
}

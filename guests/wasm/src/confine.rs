//! System call filters of the engine's own, beside whatever config.json brings.
//!
//! Owns two lists. They are loaded by this process itself, since what it needs before (to be executed, to map code)
//! is what they take away.

use std::path::PathBuf;

use hull_spec::{Seccomp, SeccompAction, SeccompArg, SeccompOp, SeccompRule};
use wasmtime::{Error, Result};

/// Memory, threads, and descriptors that are open already.
const COMPILER: &[&str] = &[
    "read write readv writev close fstat lseek mmap munmap mremap mprotect madvise brk futex sched_yield sched_getaffinity",
    "getpid gettid getrandom clock_gettime clock_getres sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn tgkill",
    "exit exit_group membarrier rseq set_robust_list restart_syscall",
];

/// What WASI is made of, for a module that is loaded.
const RUNNER: &[&str] = &[
    // Descriptors and their contents.
    "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 close close_range dup dup3 fcntl lseek",
    "fsync fdatasync fadvise64 fallocate ftruncate pipe2 ioctl copy_file_range sendfile",
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
    // Threads and signals; clone is below.
    "set_robust_list rseq sched_getaffinity getpid gettid getuid geteuid getgid getegid exit exit_group tgkill",
    "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigtimedwait sigaltstack prctl getrandom uname prlimit64",
];

/// AF_UNIX, AF_INET, AF_INET6; and AF_NETLINK, by which the C library learns of its addresses.
const FAMILIES: [u64; 4] = [1, 2, 10, 16];

const PROT_EXEC: u64 = 4;
const ENOSYS: u32 = 38;

/// CLONE_NEW* of clone(2), and CLONE_THREAD, without which it makes a process.
const NAMESPACES: u64 = 0x7e02_0000;
const CLONE_THREAD: u64 = 0x1_0000;

/// Becomes nobody, where it is root, with bounds to what a module made for that can cost.
///
/// # Errors
/// Those of setuid(2) and setrlimit(2).
pub(crate) fn give_up_rights() -> Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    const NOBODY: u32 = 65534;
    // A large module takes seconds and hundreds of megabytes.
    for (resource, most) in [(Resource::Cpu, 300), (Resource::As, 8 << 30), (Resource::Fsize, 1 << 29), (Resource::Core, 0)] {
        let limit = rustix::process::getrlimit(resource);
        let lower = |old: Option<u64>| Some(old.map_or(most, |old| old.min(most)));
        setrlimit(resource, Rlimit { current: lower(limit.current), maximum: lower(limit.maximum) })?;
    }
    if rustix::process::geteuid().is_root() {
        // In a user namespace without that id there is no other user to become.
        let _ = hull_sys::creds::setgroups(&[]);
        let _ = hull_sys::creds::setgid(NOBODY);
        let _ = hull_sys::creds::setuid(NOBODY);
    }
    // Nobody waits for the code once hull is gone. The change of user would undo it.
    hull_sys::prctl::set_parent_death_signal(9)?;
    Ok(())
}

/// The list of a process that compiles what a stranger wrote.
///
/// # Errors
/// Those of seccomp(2).
pub(crate) fn compiler() -> Result<()> {
    load(COMPILER, Vec::new(), SeccompAction::KillProcess)
}

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
    for family in FAMILIES {
        rules.push(allow("socket", vec![SeccompArg { index: 0, value: family, value_two: 0, op: SeccompOp::Eq }]));
    }
    load(RUNNER, rules, SeccompAction::Errno)
}

fn allow(names: &str, args: Vec<SeccompArg>) -> SeccompRule {
    let names = names.split_whitespace().map(str::to_owned).collect();
    SeccompRule { names, action: SeccompAction::Allow, errno_ret: None, args }
}

fn load(names: &[&str], mut rules: Vec<SeccompRule>, default: SeccompAction) -> Result<()> {
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
    fn a_runner_maps_nothing_executable() {
        let engine = crate::engine::engine().unwrap();
        let bytes = wat::parse_str("(module (func (export \"f\")))").unwrap();
        assert!(wasmtime::Module::from_binary(&engine, &bytes).is_ok());
        assert!(confined(move || wasmtime::Module::from_binary(&engine, &bytes).is_err()));
    }
}

//! What the compiler gives up before it looks at a module: rights, room, time, and system calls.

use hull_spec::SeccompAction;
use wasmtime::Result;

/// Memory, threads, and descriptors that are open already.
const LIST: &[&str] = &[
    "read write readv writev close fstat lseek mmap munmap mremap mprotect madvise brk futex sched_yield sched_getaffinity",
    "getpid gettid getrandom clock_gettime clock_getres sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn tgkill",
    "exit exit_group membarrier rseq set_robust_list restart_syscall",
];

/// Becomes nobody, where it is root, with bounds to what a module made for that can cost.
///
/// # Errors
/// Those of setuid(2), capset(2) and setrlimit(2).
pub(super) fn give_up_rights() -> Result<()> {
    use rustix::process::{Resource, Rlimit, setrlimit};
    const NOBODY: u32 = 65534;
    // A large module takes seconds and hundreds of megabytes.
    for (resource, most) in [(Resource::Cpu, 120), (Resource::As, 4 << 30), (Resource::Fsize, 1 << 28), (Resource::Core, 0)] {
        let limit = rustix::process::getrlimit(resource);
        let lower = |old: Option<u64>| Some(old.map_or(most, |old| old.min(most)));
        setrlimit(resource, Rlimit { current: lower(limit.current), maximum: lower(limit.maximum) })?;
    }
    // Where memory is short, no container is to end for a compiler, which is in none of their cgroups.
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    // Whoever starts a container that was compiled already goes first.
    rustix::process::setpriority_process(None, 10)?;
    if rustix::process::geteuid().is_root() {
        // In a user namespace without that id there is no other user to become, and there may be no word in its groups.
        let unless = |errno: i32, done: std::io::Result<()>| match done {
            Err(e) if e.raw_os_error() != Some(errno) => Err(e),
            _ => Ok(()),
        };
        const EPERM: i32 = 1;
        const EINVAL: i32 = 22;
        unless(EPERM, hull_sys::creds::setgroups(&[]))?;
        unless(EINVAL, hull_sys::creds::setgid(NOBODY))?;
        unless(EINVAL, hull_sys::creds::setuid(NOBODY))?;
    }
    hull_sys::creds::clear_ambient()?;
    hull_sys::creds::capset(Default::default())?;
    // Nobody waits for the code once hull is gone. The change of user would undo it.
    hull_sys::prctl::set_parent_death_signal(9)?;
    Ok(())
}

/// The list of a process that compiles what a stranger wrote.
///
/// # Errors
/// Those of seccomp(2).
pub(super) fn filter() -> Result<()> {
    crate::confine::load(LIST, Vec::new(), SeccompAction::KillProcess)
}

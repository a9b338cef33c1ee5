//! The workload's own process: who it is, what it may do, and the exec.
//!
//! Used by the container's first process and by those that exec adds. Everything here runs inside the new root.

use std::ffi::CString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::PathBuf;

use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use hull_sys::creds::{self, CapSets};
use hull_sys::sched::SchedAttr;

use crate::caps::{SYS_ADMIN, Sets};
use crate::error::{Context as _, Error, Result};
use crate::program::{Engine, Program};
use crate::sync::{Ask, Sync};

/// A filter ready to load.
#[derive(Debug)]
pub struct Filter {
    /// Classic BPF.
    pub program: Vec<hull_sys::seccomp::Instruction>,
    /// Flags of seccomp(2).
    pub flags: u64,
    /// Whether a listener is to be handed to an agent.
    pub listener: bool,
}

/// What a process is given before it runs.
#[derive(Debug, Default)]
pub struct ProcessPlan {
    /// Program and arguments.
    pub args: Vec<CString>,
    /// Environment.
    pub env: Vec<CString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups; `None` leaves them as they are.
    pub groups: Option<Vec<u32>>,
    /// Whether the caller's supplementary groups are to stay, in a user namespace too.
    pub keep_groups: bool,
    /// File mode creation mask.
    pub umask: Option<u32>,
    /// Capability sets; `None` where config.json has none: the process gets none.
    pub caps: Option<Sets>,
    /// Resource limits: number, soft, hard.
    pub rlimits: Vec<(u32, u64, u64)>,
    /// PR_SET_NO_NEW_PRIVS.
    pub no_new_privs: bool,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub selinux: Option<String>,
    /// OOM score.
    pub oom_score_adj: Option<i32>,
    /// Scheduler.
    pub scheduler: Option<SchedAttr>,
    /// I/O priority: class, level.
    pub io_priority: Option<(u32, u32)>,
    /// Execution domain.
    pub personality: Option<u64>,
    /// NUMA policy: mode, nodes.
    pub mempolicy: Option<(i32, Vec<u64>)>,
    /// CPUs to run on once in the cgroup.
    pub cpus: Cpus,
    /// A terminal is wanted.
    pub terminal: bool,
    /// Its size, rows and columns.
    pub console_size: Option<(u16, u16)>,
    /// What runs the program, if it isn't run by the kernel.
    pub engine: Option<Engine>,
    /// Filter.
    pub filter: Option<Filter>,
    /// Name of the session keyring; `None` keeps the caller's.
    pub keyring: Option<CString>,
    /// How many descriptors after 2 the workload inherits.
    pub preserve_fds: u32,
    /// Whether the operator wants to hear of the steps.
    pub debug: bool,
    /// Whether there is nobody but the runtime's user, an ordinary one, who could see this process where it is.
    pub alone: bool,
}

/// CPUs that a process may run on.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Cpus {
    /// All of its cgroup, whatever hull was bound to.
    #[default]
    All,
    /// Those that it has already.
    Kept,
    /// These, as a bit mask.
    These(Vec<u64>),
}

/// The host's procfs, proven to be one. Everything about processes and sysctls goes through this descriptor, so
/// that nothing mounted over /proc later can redirect a write (CVE-2019-16884, CVE-2025-52881).
#[derive(Debug)]
pub(crate) struct HostProc(OwnedFd);

impl HostProc {
    pub(crate) fn open() -> Result<HostProc> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open("/proc", flags, Mode::empty()).what(|| "cannot open \"/proc\"")?;
        HostProc::of(fd)
    }

    fn of(fd: OwnedFd) -> Result<HostProc> {
        /// The inode of a procfs's own root. Some directory inside of one has no "self", or that of the one who bound it.
        const ROOT: u64 = 1;
        let doing = || "cannot examine \"/proc\"";
        let magic = hull_sys::fs::magic_of(&fd).what(doing)?;
        let inode = rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH).what(doing)?.st_ino;
        if magic != hull_sys::fs::PROC_MAGIC || inode != ROOT {
            return Err(Error::new("\"/proc\" is not a procfs: mount one for hull to work"));
        }
        Ok(HostProc(fd))
    }

    /// A procfs that nobody else has; where one may not be made, that of the present root, proven to be one.
    pub(crate) fn private() -> Result<HostProc> {
        use hull_sys::mount::{Context, attr};
        let fresh = Context::open(c"proc").and_then(|c| c.mount(attr::NOSUID | attr::NODEV | attr::NOEXEC));
        fresh.map(HostProc).or_else(|_| HostProc::open())
    }

    pub(crate) fn open_file(&self, path: &str, flags: OFlags) -> Result<OwnedFd> {
        use rustix::fs::ResolveFlags;
        // "self" and "thread-self" are plain links here; a mount inside procfs would be another's doing.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
            .what(|| format!("cannot open \"/proc/{path}\""))
    }

    pub(crate) fn write(&self, path: &str, value: &str) -> Result<()> {
        let fd = self.open_file(path, OFlags::WRONLY)?;
        rustix::io::write(&fd, value.as_bytes()).map(drop).what(|| format!("cannot write \"{value}\" to \"/proc/{path}\""))
    }

    /// The caller's process id as the host sees it.
    pub(crate) fn own_pid(&self) -> Option<i32> {
        let link = rustix::fs::readlinkat(&self.0, "self", Vec::new()).ok()?;
        link.to_str().ok()?.parse().ok()
    }
}

impl ProcessPlan {
    /// Leaves the caller's session keyring for the container's.
    pub(crate) fn join_keyring(&self) -> Result<()> {
        let Some(name) = &self.keyring else { return Ok(()) };
        match hull_sys::key::new_session_keyring(name) {
            // A kernel or a sandbox without keys protects none.
            Err(e) if e.raw_os_error() == Some(libc::ENOSYS) => Ok(()),
            other => other.what(|| "cannot make a session keyring (--no-new-keyring keeps the caller's)"),
        }
    }

    /// What must be done while still outside the final identity: scheduling, limits, score. Returns a scheduling
    /// policy that does not pass to a child, and so is left to the process that executes.
    pub(crate) fn apply_limits(&self, proc: &HostProc) -> Result<Option<SchedAttr>> {
        if let Some(score) = self.oom_score_adj {
            self.set_oom_score(proc, score)?;
        }
        for (resource, soft, hard) in &self.rlimits {
            hull_sys::sched::set_rlimit(0, *resource, *soft, *hard).what(|| {
                let name = crate::plan::rlimit_name(*resource);
                let have = hull_sys::sched::get_rlimit(*resource).map_or(0, |l| l.1);
                format!("process.rlimits: cannot set {name} to {soft}:{hard} (hard limit now: {have})")
            })?;
        }
        let (own, passed) = match self.scheduler {
            Some(attr) if attr.is_inherited() => (None, Some(attr)),
            other => (other, None),
        };
        if let Some(attr) = passed {
            self.set_scheduler(attr)?;
        }
        if let Some((class, level)) = self.io_priority {
            hull_sys::sched::set_io_priority(class, level).what(|| "process.ioPriority: cannot set the I/O priority")?;
        }
        if let Some(domain) = self.personality {
            hull_sys::prctl::personality(domain).what(|| "linux.personality: cannot set the execution domain")?;
        }
        if let Some((mode, nodes)) = &self.mempolicy {
            hull_sys::sched::set_mempolicy(*mode, nodes).what(|| "linux.memoryPolicy: cannot set the policy")?;
        }
        Ok(own)
    }

    pub(crate) fn set_scheduler(&self, attr: SchedAttr) -> Result<()> {
        hull_sys::sched::set_scheduler(attr).map_err(|e| {
            const DEADLINE: u32 = 6;
            let bound = attr.policy == DEADLINE && e.raw_os_error() == Some(libc::EPERM);
            let hint = if bound {
                " (process scheduler can't be used together with AllowedCPUs, that is with linux.resources.cpu.cpus)"
            } else {
                ""
            };
            Error::of(e, format!("process.scheduler: cannot set the scheduling policy{hint}"))
        })
    }

    /// Sets the CPUs to run on; to be called inside the cgroup, whose cpuset is what bounds them from then on.
    pub(crate) fn set_cpus(&self, sync: &Sync) -> Result<()> {
        /// More than any kernel is built for; it takes as many as it knows.
        static ALL: [u64; 128] = [u64::MAX; 128];
        match &self.cpus {
            Cpus::Kept => Ok(()),
            Cpus::These(mask) => {
                hull_sys::sched::set_affinity(0, mask).what(|| "process.execCPUAffinity.final: cannot bind to these CPUs")
            }
            Cpus::All => match hull_sys::sched::set_affinity(0, &ALL) {
                Ok(()) => Ok(()),
                Err(e) => sync.ask(&Ask::Warning(format!("cannot let the process run on all CPUs: {e}"))),
            },
        }
    }

    /// Tells the operator of a step, if that is wanted. Some of the words are runc's, which log readers search for.
    pub(crate) fn debug(&self, sync: &Sync, text: impl FnOnce() -> String) -> Result<()> {
        if self.debug { sync.ask(&Ask::Debug(text())) } else { Ok(()) }
    }

    /// Tells of the first steps: that the process exists, and the CPUs that it began on.
    pub(crate) fn debug_begin(&self, sync: &Sync) -> Result<()> {
        self.debug(sync, || "nsexec container setup: begun".into())?;
        self.debug(sync, || {
            let mask = hull_sys::sched::affinity().unwrap_or_default();
            let words = mask.iter().rev().skip_while(|w| **w == 0).enumerate();
            let hex = words.map(|(n, w)| if n == 0 { format!("{w:x}") } else { format!("{w:016x}") });
            format!("nsexec: affinity: 0x{}", hex.collect::<String>())
        })
    }

    /// A score equal to the present one is no write, and so needs no privilege.
    fn set_oom_score(&self, proc: &HostProc, score: i32) -> Result<()> {
        let path = "self/oom_score_adj";
        let fd = proc.open_file(path, OFlags::RDONLY)?;
        let mut buf = [0; 16];
        let n = rustix::io::read(&fd, &mut buf).what(|| "cannot read \"/proc/self/oom_score_adj\"")?;
        if std::str::from_utf8(&buf[..n]).ok().and_then(|t| t.trim().parse().ok()) == Some(score) {
            return Ok(());
        }
        proc.write(path, &score.to_string()).map_err(|e| e.during("process.oomScoreAdj"))
    }

    /// Becomes the user, with all capabilities still at hand for what follows, and finds the program.
    pub(crate) fn become_user(&self) -> Result<Program> {
        // Last, and not earlier: files made for the container keep their own modes.
        hull_sys::prctl::umask(self.umask.unwrap_or(0o022));
        // Where there is a terminal, these are about to be replaced by it, or have been.
        if !self.terminal {
            self.own_stdio();
        }
        if let Some(sets) = &self.caps {
            for cap in 0..64 {
                match creds::has_bounding(cap) {
                    Some(true) if sets.bounding >> cap & 1 == 0 => {
                        creds::drop_bounding(cap).what(|| "cannot drop a capability from the bounding set")?;
                    }
                    Some(_) => {}
                    None => break,
                }
            }
        } else {
            for cap in (0..64).take_while(|c| creds::has_bounding(*c).is_some()) {
                creds::drop_bounding(cap).what(|| "cannot drop a capability from the bounding set")?;
            }
        }
        hull_sys::prctl::keep_caps(true).what(|| "cannot keep capabilities across the change of user")?;
        if let Some(groups) = &self.groups {
            creds::setgroups(groups).what(|| format!("process.user.additionalGids: cannot set groups {groups:?}"))?;
        }
        creds::setgid(self.gid).what(|| format!("process.user.gid: cannot become group {}", self.gid))?;
        creds::setuid(self.uid).what(|| format!("process.user.uid: cannot become user {}", self.uid))?;
        hull_sys::prctl::keep_caps(false).what(|| "cannot end keeping capabilities")?;
        // A change of user id turns dumpable on or off by sysctl; off is what protects the join (CVE-2016-9962).
        hull_sys::prctl::set_dumpable(false).what(|| "cannot make the process undumpable")?;
        // The change of user emptied the effective set; it is needed once more, for the working directory and the
        // filter. Ambient capabilities come last.
        let have = creds::capget().what(|| "cannot read capabilities")?;
        let final_sets = self.final_sets(have);
        // A directory that only root may enter is entered as root, as peers do; then as the user.
        creds::capset(CapSets { effective: have.permitted, ..have }).what(|| "cannot raise capabilities")?;
        self.enter_cwd(final_sets, have)?;
        self.find_program(final_sets, have)
    }

    fn final_sets(&self, have: CapSets) -> CapSets {
        let sets = self.caps.unwrap_or_default();
        CapSets {
            effective: sets.effective & sets.permitted & have.permitted,
            permitted: sets.permitted & have.permitted,
            inheritable: sets.inheritable & have.permitted,
        }
    }

    fn enter_cwd(&self, final_sets: CapSets, have: CapSets) -> Result<()> {
        let enter = || rustix::process::chdir(&self.cwd);
        // As the user first: a working directory that the user may enter but root may not (FUSE, NFS).
        let as_user = with_effective(final_sets, have, enter)?;
        if as_user.is_err() {
            enter().what(|| format!("process.cwd: cannot chdir to \"{}\"", self.cwd.display()))?;
        }
        // The kernel reports a directory outside the root as "(unreachable)…" (CVE-2024-21626).
        let here = rustix::process::getcwd(Vec::new());
        match here {
            Ok(path) if path.as_bytes().starts_with(b"/") => Ok(()),
            _ => Err(Error::new(format!(
                "process.cwd: \"{}\" is outside of the container's root; possible container breakout detected",
                self.cwd.display()
            ))),
        }
    }

    /// Gives the standard descriptors to the user, so that /dev/stdout can be opened again. A terminal made for the
    /// container is its user's already; any other is the caller's and stays so, as do the host's devices and files.
    fn own_stdio(&self) {
        for fd in 0..3 {
            if !hull_sys::fs::is_open(fd) {
                continue;
            }
            // SAFETY: the number is open, and nothing in this process closes it.
            let fd = unsafe { hull_sys::fs::borrow(fd) };
            let Ok(st) = rustix::fs::fstat(fd) else { continue };
            let pipe = matches!(FileType::from_raw_mode(st.st_mode), FileType::Fifo | FileType::Socket);
            if pipe && (st.st_uid, st.st_gid) != (self.uid, self.gid) {
                let uid = Some(rustix::fs::Uid::from_raw(self.uid));
                let gid = Some(rustix::fs::Gid::from_raw(self.gid));
                // A pipe's owner may be unmapped here, or its file system read-only: then it stays as it is.
                let _ = rustix::fs::fchown(fd, uid, gid);
            }
        }
    }

    /// Gives up every right that the program won't have, but for what [`ProcessPlan::finish`] needs and the capabilities
    /// of the mask `more`, which that gives up too. From here on this process may be seen by others, or wait for long.
    /// The result is for [`ProcessPlan::exec`].
    pub(crate) fn confine(&self, program: &Program, more: u64, sync: &Sync) -> Result<Strings> {
        let env = self.environment();
        let strings = (hull_sys::exec::Strings::new(program.arguments(&self.args)), hull_sys::exec::Strings::new(env));
        if self.no_new_privs {
            hull_sys::prctl::no_new_privs().what(|| "process.noNewPrivileges: cannot set it")?;
        }
        let have = creds::capget().what(|| "cannot read capabilities")?;
        let last = self.final_sets(have);
        // The kernel takes a filter from a process that can gain no privileges, or has this capability.
        let loading = if self.no_new_privs || self.filter.is_none() { 0 } else { 1u64 << SYS_ADMIN };
        let more = (more | loading) & have.permitted;
        // Inheritable first, since ambient needs it.
        let during = CapSets { effective: last.effective | more, permitted: last.permitted | more, ..last };
        creds::capset(during).what(|| "process.capabilities: cannot set them")?;
        creds::clear_ambient().what(|| "cannot clear ambient capabilities")?;
        let ambient = self.caps.unwrap_or_default().ambient;
        for cap in (0..64).filter(|c| ambient >> c & 1 == 1) {
            if let Err(e) = creds::raise_ambient(cap) {
                let name = crate::caps::NAMES.get(cap as usize).copied().unwrap_or("?");
                sync.ask(&Ask::Warning(format!("process.capabilities: can't raise ambient capability {name}: {e}")))?;
            }
        }
        Ok(strings)
    }

    /// The last steps before exec: the filter, and the program's own capabilities.
    pub(crate) fn finish(&self, program: &Program, sync: &Sync) -> Result<()> {
        hull_sys::fs::cloexec_from(3 + self.preserve_fds as RawFd).what(|| "cannot mark descriptors to be closed")?;
        program.keep_open()?;
        let have = creds::capget().what(|| "cannot read capabilities")?;
        if let Some(filter) = &self.filter {
            self.load(filter, sync)?;
        }
        // What can be inherited need not be permitted, so that it is as `confine` left it.
        let last = CapSets { inheritable: have.inheritable, ..self.final_sets(have) };
        if last != have {
            creds::capset(last).what(|| "process.capabilities: cannot set them")?;
        }
        Ok(())
    }

    /// The environment, for a program with HOME from the container's own /etc/passwd where it is missing or empty.
    pub(crate) fn environment(&self) -> Vec<CString> {
        let mut env = self.env.clone();
        if self.engine.is_some() {
            // A module knows no users and no homes.
            return env;
        }
        if env.iter().any(|e| e.to_bytes().strip_prefix(b"HOME=").is_some_and(|v| !v.is_empty())) {
            return env;
        }
        env.retain(|e| !e.to_bytes().starts_with(b"HOME="));
        let home = home_of(self.uid).unwrap_or_else(|| "/".into());
        env.extend(CString::new(format!("HOME={home}")));
        env
    }

    fn load(&self, filter: &Filter, sync: &Sync) -> Result<()> {
        let taken = std::sync::atomic::AtomicU8::new(0);
        if filter.listener {
            // The kernel will take the lowest free number. It is told beforehand, and the parent's answer comes by
            // memory: the filter may deny or hold up whatever system call either would take afterwards.
            let probe = rustix::io::dup(sync).what(|| "cannot find a free descriptor")?;
            let number = std::os::fd::AsRawFd::as_raw_fd(&probe);
            drop(probe);
            if self.alone {
                // An ordinary user's parent may take nothing out of an undumpable process. Nobody else is there to do
                // so, and the exec that follows sets this anew.
                hull_sys::prctl::set_dumpable(true).what(|| "linux.seccomp: cannot let the runtime take the listener")?;
            }
            sync.ask(&Ask::Listener(number, (&raw const taken) as u64))?;
        }
        let listener = hull_sys::seccomp::load(&filter.program, filter.flags).what(|| "linux.seccomp: cannot load the filter")?;
        if filter.listener {
            spin(&taken)?;
        }
        // Closing it here would take a system call that the filter may not allow; exec does it.
        std::mem::forget(listener);
        Ok(())
    }
}

/// The home directory of a user by /etc/passwd of the container.
fn home_of(uid: u32) -> Option<String> {
    use std::io::Read;
    /// Far above any real one; the file is the image's and may be anything.
    const LONGEST: u64 = 1 << 20;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = rustix::fs::open("/etc/passwd", flags, Mode::empty()).ok()?;
    if FileType::from_raw_mode(rustix::fs::fstat(&fd).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut text = String::new();
    std::fs::File::from(fd).take(LONGEST).read_to_string(&mut text).ok()?;
    let mut rows = text.lines().map(|l| l.split(':').collect::<Vec<_>>());
    let row = rows.find(|f| f.get(2).and_then(|u| u.parse().ok()) == Some(uid))?;
    row.get(5).filter(|h| !h.is_empty()).map(|h| (*h).to_owned())
}

/// Arguments and environment, as exec takes them.
pub(crate) type Strings = (hull_sys::exec::Strings, hull_sys::exec::Strings);

/// Waits, without any system call, until the parent has copied the listener and written to `taken`.
fn spin(taken: &std::sync::atomic::AtomicU8) -> Result<()> {
    /// Copying takes microseconds; this is for a parent that died.
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    let begun = std::time::Instant::now();
    while taken.load(std::sync::atomic::Ordering::Acquire) == 0 {
        std::hint::spin_loop();
        if begun.elapsed() > PATIENCE {
            return Err(Error::new("linux.seccomp: the runtime did not take the listener"));
        }
    }
    Ok(())
}

/// Runs a check with the rights that the workload will have, then takes all rights back.
pub(crate) fn with_effective<T>(last: CapSets, have: CapSets, check: impl Fn() -> T) -> Result<T> {
    creds::capset(CapSets { effective: last.effective, ..have }).what(|| "cannot lower capabilities")?;
    let result = check();
    creds::capset(CapSets { effective: have.permitted, ..have }).what(|| "cannot raise capabilities")?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_of_a_procfs_is_one() {
        let of = |path: &str| HostProc::of(std::fs::File::open(path).unwrap().into());
        assert!(of("/proc").is_ok());
        for other in ["/proc/tty", "/proc/self/task", "/", "/sys"] {
            assert!(of(other).is_err(), "{other}");
        }
    }
}

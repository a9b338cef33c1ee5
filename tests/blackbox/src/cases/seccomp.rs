//! `linux.seccomp`: actions, operators, architectures, flags, unknown system calls, the listener.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};

use serde_json::{Value, json};

use crate::case::{Case, Done, Stop, case, check, same};
use crate::ctx::Ctx;
use crate::tty::Inbox;

pub(crate) const CASES: &[Case] = &[
    case!(errno, "SCMP_ACT_ERRNO gives EPERM without errnoRet"),
    case!(errno_value, "SCMP_ACT_ERRNO gives errnoRet"),
    case!(errno_zero, "errnoRet 0 makes the call succeed without effect"),
    case!(allow_list, "with a default of ERRNO only what is listed is allowed"),
    case!(default_errno, "defaultErrnoRet is the errno of the default action"),
    case!(kill, "SCMP_ACT_KILL ends the process with SIGSYS"),
    case!(kill_process, "SCMP_ACT_KILL_PROCESS ends the process with SIGSYS"),
    case!(trap, "SCMP_ACT_TRAP sends SIGSYS"),
    case!(log, "SCMP_ACT_LOG allows the call"),
    case!(trace_without_tracer, "SCMP_ACT_TRACE without a tracer gives ENOSYS"),
    case!(mode, "the program runs in filter mode"),
    case!(op_eq, "SCMP_CMP_EQ compares an argument"),
    case!(op_ne, "SCMP_CMP_NE compares an argument"),
    case!(op_lt_le, "SCMP_CMP_LT and LE compare without a sign"),
    case!(op_gt_ge, "SCMP_CMP_GT and GE compare without a sign"),
    case!(op_masked, "SCMP_CMP_MASKED_EQ masks before it compares"),
    case!(op_64_bit, "all 64 bits of an argument are compared"),
    case!(op_and, "several arguments of one rule must all match"),
    case!(op_or, "rules with different arguments for one call: any may match"),
    case!(op_same_argument_twice, "several conditions on one argument of one rule: any may match"),
    case!(last_argument, "argument 5 can be compared"),
    case!(unknown_name, "a name of no system call is passed over"),
    case!(unknown_operator, "an unknown operator is refused"),
    case!(unknown_action, "an unknown action is refused"),
    case!(unknown_architecture, "an unknown architecture is refused"),
    case!(unknown_flag, "an unknown flag is refused")
        .theirs("crun", "1.8.1 ignores it"),
    case!(flags, "flags LOG and SPEC_ALLOW are accepted")
        .theirs("runc", "1.1.5 has no flags"),
    case!(x86_by_architecture, "32-bit calls are filtered if SCMP_ARCH_X86 is listed"),
    case!(x86_not_listed, "without SCMP_ARCH_X86 a 32-bit call isn't let through"),
    case!(x32_not_listed, "x32 calls aren't let through unless listed"),
    case!(no_architectures, "without architectures the native one is filtered"),
    case!(new_calls_enosys, "a system call newer than the profile gives ENOSYS under a default of EPERM")
        .theirs("crun", "1.8.1 gives EPERM"),
    case!(new_calls_default_allow, "under a default of ALLOW a newer system call is allowed"),
    case!(without_no_new_privs, "a filter is loaded without noNewPrivileges"),
    case!(without_no_new_privs_user, "a filter is loaded without noNewPrivileges for a user without capabilities"),
    case!(setup_is_not_filtered, "calls that the runtime itself needs for setup may be forbidden"),
    case!(exec_filter, "exec loads the same filter"),
    case!(big, "a profile of three hundred names with arguments is loaded"),
    case!(absent, "without seccomp the program runs in mode 0"),
    case!(notify, "SCMP_ACT_NOTIFY hands a listener to the socket, with metadata and state, and obeys its answer"),
    case!(notify_exec, "exec hands over a listener of its own"),
    case!(notify_without_path, "SCMP_ACT_NOTIFY without listenerPath is refused")
        .theirs("crun", "1.8.1 loads the filter and drops the listener"),
    case!(notify_nobody_listens, "a listenerPath where nobody listens is an error"),
];

fn filter(default: &str, rules: Value) -> Value {
    json!({ "defaultAction": default, "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "syscalls": rules })
}

/// Allows everything but what one rule for `name` with `rest` says.
fn rule(name: &str, action: &str, rest: Value) -> Value {
    let mut rule = json!({ "names": [name], "action": action });
    for (key, value) in rest.as_object().into_iter().flatten() {
        rule[key] = value.clone();
    }
    filter("SCMP_ACT_ALLOW", json!([rule]))
}

/// The errno that system call `args` gives under `filter`.
fn under(ctx: &Ctx, filter: &Value, args: &[&str]) -> Result<String, Stop> {
    let mut all = vec!["syscall"];
    all.extend(args);
    ctx.bundle().probe(&all).set("/linux/seccomp", filter.clone()).run()?.ok()?.field("errno")
}

pub(super) const GETCPU: &str = "309";
const LSEEK: &str = "8";

fn errno(ctx: &Ctx) -> Done {
    same!(under(ctx, &rule("getcpu", "SCMP_ACT_ERRNO", json!({})), &[GETCPU])?, "1", "errno");
    Ok(())
}

fn errno_value(ctx: &Ctx) -> Done {
    same!(under(ctx, &rule("getcpu", "SCMP_ACT_ERRNO", json!({ "errnoRet": 77 })), &[GETCPU])?, "77", "errno");
    Ok(())
}

fn errno_zero(ctx: &Ctx) -> Done {
    let f = rule("getppid", "SCMP_ACT_ERRNO", json!({ "errnoRet": 0 }));
    let out = ctx.bundle().probe(&["syscall", "110"]).set("/linux/seccomp", f).run()?.ok()?;
    same!((out.field("ret")?, out.field("errno")?), ("0".into(), "0".into()), "return value and errno");
    Ok(())
}

/// What the probe and the runtime's last steps need.
const NEEDED: &[&str] = &[
    "read", "write", "writev", "open", "openat", "close", "stat", "fstat", "newfstatat", "mmap", "mprotect", "munmap",
    "brk", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "ioctl", "poll", "execve", "execveat",
    "exit", "exit_group", "arch_prctl", "set_tid_address", "set_robust_list", "rseq", "prlimit64", "getrandom", "futex",
    "readlink", "readlinkat", "sched_getaffinity", "gettid", "getpid", "tgkill", "fcntl", "access", "uname", "prctl",
    "clone", "nanosleep", "clock_nanosleep", "sched_yield", "epoll_pwait", "epoll_ctl", "madvise", "getppid", "getcwd",
    "wait4", "dup2", "dup3", "getuid", "geteuid", "setgroups", "setuid", "setgid", "setresuid", "setresgid", "capset",
    "chdir", "fchdir", "faccessat2", "faccessat", "statx", "lseek", "setpgid", "close_range", "pread64", "rt_sigsuspend",
    "fstatfs", "statfs", "getdents64",
];

fn allow_list(ctx: &Ctx) -> Done {
    let f = filter("SCMP_ACT_ERRNO", json!([{ "names": NEEDED, "action": "SCMP_ACT_ALLOW" }]));
    same!(under(ctx, &f, &["39"])?, "0", "errno of getpid");
    same!(under(ctx, &f, &["83", "0", "0"])?, "1", "errno of mkdir");
    Ok(())
}

fn default_errno(ctx: &Ctx) -> Done {
    let mut f = filter("SCMP_ACT_ERRNO", json!([{ "names": NEEDED, "action": "SCMP_ACT_ALLOW" }]));
    f["defaultErrnoRet"] = json!(66);
    same!(under(ctx, &f, &["83", "0", "0"])?, "66", "errno of mkdir");
    Ok(())
}

/// Exit code of a shell's child that makes a call under `action`.
fn ends_with(ctx: &Ctx, action: &str) -> Result<String, Stop> {
    let b = ctx.bundle().sh("hull-probe syscall 309; echo code $?").set("/linux/seccomp", rule("getcpu", action, json!({})));
    b.run()?.ok()?.field("code")
}

fn kill(ctx: &Ctx) -> Done {
    same!(ends_with(ctx, "SCMP_ACT_KILL")?, "159", "exit code");
    Ok(())
}

fn kill_process(ctx: &Ctx) -> Done {
    same!(ends_with(ctx, "SCMP_ACT_KILL_PROCESS")?, "159", "exit code");
    Ok(())
}

fn trap(ctx: &Ctx) -> Done {
    same!(ends_with(ctx, "SCMP_ACT_TRAP")?, "159", "exit code");
    Ok(())
}

fn log(ctx: &Ctx) -> Done {
    same!(under(ctx, &rule("getcpu", "SCMP_ACT_LOG", json!({})), &[GETCPU])?, "0", "errno");
    Ok(())
}

fn trace_without_tracer(ctx: &Ctx) -> Done {
    same!(under(ctx, &rule("getcpu", "SCMP_ACT_TRACE", json!({})), &[GETCPU])?, "38", "errno");
    Ok(())
}

fn mode(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/cat", "/proc/self/status"]);
    let out = b.set("/linux/seccomp", rule("getcpu", "SCMP_ACT_ERRNO", json!({}))).run()?.ok()?;
    same!(out.field("Seccomp")?, "2", "mode");
    Ok(())
}

/// A filter that forbids lseek when `args` match.
fn seek(args: Value) -> Value {
    rule("lseek", "SCMP_ACT_ERRNO", json!({ "errnoRet": 88, "args": args }))
}

/// Checks lseek on descriptor 99, which isn't open, with each (offset, whence): forbidden or let through.
fn seeks(ctx: &Ctx, filter: &Value, table: &[(&str, &str, bool)]) -> Done {
    let script: String =
        table.iter().map(|(a, b, _)| format!("hull-probe syscall {LSEEK} 99 {a} {b} | tail -n 1;")).collect();
    let out = ctx.bundle().sh(&script).set("/linux/seccomp", filter.clone()).run()?.ok()?;
    let got: Vec<&str> = out.out.lines().collect();
    let want: Vec<&str> = table.iter().map(|(_, _, no)| if *no { "errno 88" } else { "errno 9" }).collect();
    same!(got, want, "for {table:?}");
    Ok(())
}

fn op_eq(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_EQ" }]));
    seeks(ctx, &f, &[("5", "0", true), ("4", "0", false), ("6", "0", false)])
}

fn op_ne(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_NE" }]));
    seeks(ctx, &f, &[("5", "0", false), ("4", "0", true)])
}

fn op_lt_le(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_LT" }]));
    seeks(ctx, &f, &[("4", "0", true), ("5", "0", false), ("-1", "0", false)])?;
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_LE" }]));
    seeks(ctx, &f, &[("5", "0", true), ("6", "0", false), ("-1", "0", false)])
}

fn op_gt_ge(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_GT" }]));
    seeks(ctx, &f, &[("5", "0", false), ("6", "0", true), ("-1", "0", true), ("0x100000000", "0", true)])?;
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_GE" }]));
    seeks(ctx, &f, &[("5", "0", true), ("4", "0", false)])
}

fn op_masked(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 0xf0, "valueTwo": 0x20, "op": "SCMP_CMP_MASKED_EQ" }]));
    seeks(ctx, &f, &[("0x20", "0", true), ("0x2f", "0", true), ("0x30", "0", false), ("0x120", "0", true)])
}

fn op_64_bit(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 0x1_0000_0005_u64, "op": "SCMP_CMP_EQ" }]));
    seeks(ctx, &f, &[("0x100000005", "0", true), ("5", "0", false), ("0x100000000", "0", false)])
}

fn op_and(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_EQ" }, { "index": 2, "value": 1, "op": "SCMP_CMP_EQ" }]));
    seeks(ctx, &f, &[("5", "1", true), ("5", "0", false), ("4", "1", false)])
}

fn op_or(ctx: &Ctx) -> Done {
    let one = |v: u32| {
        json!({ "names": ["lseek"], "action": "SCMP_ACT_ERRNO", "errnoRet": 88,
            "args": [{ "index": 1, "value": v, "op": "SCMP_CMP_EQ" }] })
    };
    let f = filter("SCMP_ACT_ALLOW", json!([one(5), one(7)]));
    seeks(ctx, &f, &[("5", "0", true), ("7", "0", true), ("6", "0", false)])
}

fn op_same_argument_twice(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_EQ" }, { "index": 1, "value": 7, "op": "SCMP_CMP_EQ" }]));
    seeks(ctx, &f, &[("5", "0", true), ("7", "0", true), ("6", "0", false)])
}

fn last_argument(ctx: &Ctx) -> Done {
    // splice of descriptors that aren't open: EBADF where the filter lets it through.
    let f = rule("splice", "SCMP_ACT_ERRNO", json!({ "errnoRet": 88,
        "args": [{ "index": 5, "value": 3, "op": "SCMP_CMP_EQ" }] }));
    same!(under(ctx, &f, &["275", "98", "0", "99", "0", "1", "3"])?, "88", "errno with 3");
    same!(under(ctx, &f, &["275", "98", "0", "99", "0", "1", "2"])?, "9", "errno with 2");
    Ok(())
}

fn unknown_name(ctx: &Ctx) -> Done {
    let f = filter("SCMP_ACT_ALLOW", json!([{ "names": ["no_such_call", "getcpu"], "action": "SCMP_ACT_ERRNO" }]));
    same!(under(ctx, &f, &[GETCPU])?, "1", "errno of the known name beside it");
    Ok(())
}

fn unknown_operator(ctx: &Ctx) -> Done {
    let f = seek(json!([{ "index": 1, "value": 5, "op": "SCMP_CMP_NOSUCH" }]));
    ctx.bundle().set("/linux/seccomp", f).refused(&["SCMP_CMP_NOSUCH", "operator"])?;
    Ok(())
}

fn unknown_action(ctx: &Ctx) -> Done {
    ctx.bundle().set("/linux/seccomp", rule("getcpu", "SCMP_ACT_NOSUCH", json!({}))).refused(&["SCMP_ACT_NOSUCH", "action"])?;
    Ok(())
}

fn unknown_architecture(ctx: &Ctx) -> Done {
    let mut f = rule("getcpu", "SCMP_ACT_ERRNO", json!({}));
    f["architectures"] = json!(["SCMP_ARCH_NOSUCH"]);
    ctx.bundle().set("/linux/seccomp", f).refused(&["SCMP_ARCH_NOSUCH", "arch"])?;
    Ok(())
}

fn unknown_flag(ctx: &Ctx) -> Done {
    let mut f = rule("getcpu", "SCMP_ACT_ERRNO", json!({}));
    f["flags"] = json!(["SECCOMP_FILTER_FLAG_NOSUCH"]);
    ctx.bundle().set("/linux/seccomp", f).refused(&["SECCOMP_FILTER_FLAG_NOSUCH", "flag"])?;
    Ok(())
}

fn flags(ctx: &Ctx) -> Done {
    let mut f = rule("getcpu", "SCMP_ACT_ERRNO", json!({}));
    f["flags"] = json!(["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"]);
    same!(under(ctx, &f, &[GETCPU])?, "1", "errno");
    Ok(())
}

/// The errno of a 32-bit getppid (64).
fn under32(ctx: &Ctx, filter: Value) -> Result<crate::call::Output, Stop> {
    ctx.bundle().sh("hull-probe syscall32 64; echo code $?").set("/linux/seccomp", filter).run()?.ok()
}

fn x86_by_architecture(ctx: &Ctx) -> Done {
    let out = under32(ctx, rule("getppid", "SCMP_ACT_ERRNO", json!({ "errnoRet": 55 })))?;
    same!(out.field("errno")?, "55", "errno");
    Ok(())
}

fn x86_not_listed(ctx: &Ctx) -> Done {
    let mut f = rule("getppid", "SCMP_ACT_ERRNO", json!({ "errnoRet": 55 }));
    f["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    let out = under32(ctx, f)?;
    check!(out.field("code")? != "0" || out.field("errno")? != "0", "the call was let through");
    Ok(())
}

fn x32_not_listed(ctx: &Ctx) -> Done {
    let mut f = rule("getppid", "SCMP_ACT_ERRNO", json!({ "errnoRet": 55 }));
    f["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    let b = ctx.bundle().sh("hull-probe syscall 0x4000006e; echo code $?").set("/linux/seccomp", f);
    let out = b.run()?.ok()?;
    check!(out.field("code")? != "0" || out.field("errno")? != "0", "the call was let through");
    Ok(())
}

fn no_architectures(ctx: &Ctx) -> Done {
    let mut f = rule("getcpu", "SCMP_ACT_ERRNO", json!({ "errnoRet": 44 }));
    f.as_object_mut().unwrap().remove("architectures");
    same!(under(ctx, &f, &[GETCPU])?, "44", "errno");
    Ok(())
}

fn new_calls_enosys(ctx: &Ctx) -> Done {
    let f = filter("SCMP_ACT_ERRNO", json!([{ "names": NEEDED, "action": "SCMP_ACT_ALLOW" }]));
    // A number far above any that a profile could name.
    same!(under(ctx, &f, &["999"])?, "38", "errno of system call 999");
    Ok(())
}

fn new_calls_default_allow(ctx: &Ctx) -> Done {
    same!(under(ctx, &rule("getcpu", "SCMP_ACT_ERRNO", json!({})), &["999"])?, "38", "errno of system call 999");
    // mseal with a flag that it doesn't know; as without a filter, whether the kernel has the call or not.
    let mseal = ["462", "0", "1", "1"];
    let mut bare = vec!["syscall"];
    bare.extend(mseal);
    let bare = ctx.bundle().probe(&bare).run()?.ok()?.field("errno")?;
    check!(bare == "22" || bare == "38", "errno of mseal is {bare}");
    same!(under(ctx, &rule("getcpu", "SCMP_ACT_ERRNO", json!({})), &mseal)?, bare, "errno of mseal under the filter");
    Ok(())
}

fn without_no_new_privs(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["syscall", GETCPU]).set("/process/noNewPrivileges", json!(false));
    let f = rule("getcpu", "SCMP_ACT_ERRNO", json!({ "errnoRet": 44 }));
    same!(b.set("/linux/seccomp", f).run()?.ok()?.field("errno")?, "44", "errno");
    Ok(())
}

fn without_no_new_privs_user(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["syscall", GETCPU]).set("/process/noNewPrivileges", json!(false));
    let b = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let f = rule("getcpu", "SCMP_ACT_ERRNO", json!({ "errnoRet": 44 }));
    same!(b.set("/linux/seccomp", f).run()?.ok()?.field("errno")?, "44", "errno");
    Ok(())
}

fn setup_is_not_filtered(ctx: &Ctx) -> Done {
    let names = ["mount", "umount2", "pivot_root", "sethostname", "unshare", "setns", "mknod", "mknodat", "chroot",
        "move_mount", "open_tree", "fsopen", "keyctl", "clone3"];
    let f = filter("SCMP_ACT_ALLOW", json!([{ "names": names, "action": "SCMP_ACT_KILL_PROCESS" }]));
    ctx.bundle().set("/linux/seccomp", f).sh("exit 3").run()?.code(3)?;
    Ok(())
}

fn exec_filter(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/linux/seccomp", rule("getcpu", "SCMP_ACT_ERRNO", json!({ "errnoRet": 44 }))).up()?;
    same!(c.exec(&["/bin/hull-probe", "syscall", GETCPU])?.ok()?.field("errno")?, "44", "errno");
    Ok(())
}

fn big(ctx: &Ctx) -> Done {
    let mut rules = vec![json!({ "names": NEEDED, "action": "SCMP_ACT_ALLOW" })];
    for (n, name) in ["socket", "personality", "fadvise64", "ptrace", "kcmp", "setpriority"].iter().enumerate() {
        for value in 0..50 {
            rules.push(json!({ "names": [name], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "value": value * 3 + n, "op": "SCMP_CMP_EQ" }] }));
        }
    }
    let f = filter("SCMP_ACT_ERRNO", rules.into());
    // socket(3): AF_AX25 is what value 3 means; the filter lets 3 through and forbids 4.
    check!(under(ctx, &f, &["41", "3", "5", "0"])? != "1", "socket(3) is forbidden");
    same!(under(ctx, &f, &["41", "4", "5", "0"])?, "1", "errno of socket(4)");
    Ok(())
}

fn absent(ctx: &Ctx) -> Done {
    let own = fs::read_to_string("/proc/self/status")?;
    let own = own.lines().find_map(|l| l.strip_prefix("Seccomp:")).unwrap_or("0").trim().to_owned();
    same!(ctx.bundle().args(&["/bin/cat", "/proc/self/status"]).run()?.ok()?.field("Seccomp")?, own, "mode");
    Ok(())
}

/// Answers every notification on `listener` with `errno`, on a thread of its own.
pub(super) fn answer(listener: OwnedFd, errno: i32) {
    const RECEIVE: libc::c_ulong = 0xc050_2100;
    const SEND: libc::c_ulong = 0xc018_2101;
    std::thread::spawn(move || {
        loop {
            // SAFETY: both structures are plain data for which zero is valid, and valid for the ioctls' writes.
            unsafe {
                let mut request: libc::seccomp_notif = std::mem::zeroed();
                if libc::ioctl(listener.as_raw_fd(), RECEIVE as _, &mut request) != 0 {
                    return;
                }
                let mut reply: libc::seccomp_notif_resp = std::mem::zeroed();
                reply.id = request.id;
                reply.error = -errno;
                libc::ioctl(listener.as_raw_fd(), SEND as _, &mut reply);
            }
        }
    });
}

pub(super) fn notify_filter(inbox: &Inbox) -> Value {
    let mut f = rule("getcpu", "SCMP_ACT_NOTIFY", json!({}));
    f["listenerPath"] = json!(inbox.text());
    f["listenerMetadata"] = json!("some metadata");
    f
}

fn notify(ctx: &Ctx) -> Done {
    let inbox = Inbox::new(&ctx.host_dir("agent"))?;
    let b = ctx.bundle().probe(&["syscall", GETCPU]).set("/linux/seccomp", notify_filter(&inbox));
    let b = b.set("/annotations", json!({ "org.example.k": "v" }));
    let (c, running) = b.spawn()?;
    let (data, mut fds) = inbox.receive(8)?;
    let state: Value = serde_json::from_slice(&data)?;
    same!(state["metadata"], json!("some metadata"), "metadata");
    same!(state["state"]["id"], json!(c.id), "id in the state");
    same!(state["state"]["status"], json!("creating"), "status in the state");
    same!(state["state"]["bundle"], json!(c.dir.to_str().unwrap()), "bundle in the state");
    same!(state["fds"], json!(["seccompFd"]), "names of the descriptors");
    check!(state["pid"].as_i64().is_some_and(|p| p > 0), "pid is {}", state["pid"]);
    same!(fds.len(), 1, "descriptors");
    answer(fds.remove(0), 42);
    same!(running.wait()?.ok()?.field("errno")?, "42", "errno that the agent answered");
    Ok(())
}

fn notify_exec(ctx: &Ctx) -> Done {
    let inbox = Inbox::new(&ctx.host_dir("agent"))?;
    let (c, _running) = ctx.bundle().args(&["/bin/sleep", "1000"]).set("/linux/seccomp", notify_filter(&inbox)).spawn()?;
    let (_, mut fds) = inbox.receive(8)?;
    answer(fds.remove(0), 42);
    c.wait("running")?;
    let exec = c.exec_call(&[], &["/bin/hull-probe", "syscall", GETCPU]).spawn()?;
    let (data, mut fds) = inbox.receive(5)?;
    answer(fds.remove(0), 43);
    let state: Value = serde_json::from_slice(&data)?;
    same!(state["state"]["status"], json!("running"), "status in the state");
    same!(exec.wait()?.ok()?.field("errno")?, "43", "errno that the agent answered");
    Ok(())
}

fn notify_without_path(ctx: &Ctx) -> Done {
    ctx.bundle().set("/linux/seccomp", rule("getcpu", "SCMP_ACT_NOTIFY", json!({}))).refused(&["listener", "notify"])?;
    Ok(())
}

fn notify_nobody_listens(ctx: &Ctx) -> Done {
    let mut f = rule("getcpu", "SCMP_ACT_NOTIFY", json!({}));
    f["listenerPath"] = json!(ctx.dir.join("nobody").to_str().unwrap());
    let b = ctx.bundle().set("/linux/seccomp", f);
    b.run()?.fails()?;
    Ok(())
}

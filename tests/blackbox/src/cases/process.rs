//! `process`: arguments, environment, directory, limits, priorities, and what a program finds itself with.

use std::fs;

use serde_json::json;

use crate::case::{Case, Done, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(args_exact, "arguments arrive as they are: empty, spaces, quotes, newlines"),
    case!(args_many, "arguments of 100 kB in one and 2000 in number arrive"),
    case!(env_exact, "the environment is that of the configuration, in its order, and nothing of the runtime's"),
    case!(env_equals, "a value with an equals sign and an empty value arrive"),
    case!(env_path_lookup, "a program without slash is looked up in the PATH of process.env"),
    case!(env_path_lookup_order, "the first executable file in PATH wins; directories and others are passed over"),
    case!(home_is_set, "HOME is set from /etc/passwd where it is absent"),
    case!(home_is_kept, "HOME is left alone where it is given"),
    case!(cwd, "the program begins in process.cwd"),
    case!(cwd_is_made, "a missing process.cwd is made"),
    case!(cwd_under_mount, "process.cwd may lie in a mount"),
    case!(program_missing, "a missing program is an error that names it"),
    case!(program_not_executable, "a program without x bit is an error that names it")
        .theirs("crun", "1.8.1 doesn't name it"),
    case!(program_is_directory, "a directory as program is an error"),
    case!(program_missing_in_path, "a program that PATH doesn't have is an error that names it"),
    case!(script, "a script with an interpreter line runs"),
    case!(script_of_missing_interpreter, "a script with a missing interpreter is an error"),
    case!(relative_program, "a program with a slash but no leading one starts from cwd"),
    case!(no_extra_fds, "the program has descriptors 0, 1, 2 and no other"),
    case!(no_extra_fds_exec, "a program of exec has descriptors 0, 1, 2 and no other"),
    case!(preserve_fds, "--preserve-fds 2 passes descriptors 3 and 4"),
    case!(preserve_fds_exec, "--preserve-fds passes descriptors to exec too"),
    case!(closed_numbers, "a number to be passed that is not open isn't filled by a file of the runtime's")
        .theirs("runc", "1.1.5 refuses it"),
    case!(not_preserved, "a descriptor beyond --preserve-fds is closed"),
    case!(listen_fds, "LISTEN_FDS passes descriptors from 3 on, and LISTEN_PID is the program's")
        .theirs("crun", "1.8.1 sets no LISTEN_PID"),
    case!(listen_fds_create, "LISTEN_FDS works by way of create and start")
        .theirs("crun", "1.8.1 loses them between create and start"),
    case!(wild_numbers, "no number of descriptors to pass, however large, opens what was not to be passed")
        .theirs("crun", "1.8.1 counts in 32 bits"),
    case!(signals_are_default, "no signal is blocked, none ignored but what the caller ignores"),
    case!(session, "init leads a session of its own"),
    case!(pid_one, "init is pid 1 of a new pid namespace, and its parent isn't seen"),
    case!(comm, "the name of the process is the program's"),
    case!(rlimits, "rlimits are set, soft and hard"),
    case!(rlimit_nofile, "RLIMIT_NOFILE is set, soft and hard, in run and exec")
        .theirs("runc", "the Go runtime of 1.1.5 sometimes raises the soft limit to the hard one")
        .theirs("crun", "1.8.1 leaves the caller's in exec"),
    case!(rlimits_of_exec, "a program of exec has the limits of the container")
        .theirs("crun", "1.8.1 leaves the caller's"),
    case!(rlimit_unknown, "an unknown limit is refused and named"),
    case!(rlimit_lower_hard, "a soft limit above the hard one is refused"),
    case!(rlimit_absent, "limits that aren't mentioned are the caller's"),
    case!(oom_score, "oomScoreAdj is set"),
    case!(oom_score_absent, "without oomScoreAdj the caller's stays"),
    case!(oom_score_exec, "a program of exec has the container's oomScoreAdj")
        .theirs("crun", "1.8.1 leaves the caller's"),
    case!(no_new_privs, "noNewPrivileges true is set"),
    case!(no_new_privs_off, "noNewPrivileges false leaves it unset"),
    case!(no_new_privs_denies_setuid, "under noNewPrivileges a set-uid program gains nothing"),
    case!(umask, "user.umask is set"),
    case!(umask_default, "without user.umask it is 022"),
    case!(keyring_is_new, "the container has a session keyring of its own"),
    case!(keyring_of_exec, "a process of exec has the container's session keyring, not the caller's")
        .theirs("crun", "1.8.1 leaves it the caller's"),
    case!(keyring_is_inherited, "--no-new-keyring keeps the caller's session keyring"),
    case!(personality, "personality LINUX32 makes uname say i686")
        .theirs("runc", "1.1.5 has no personality"),
    case!(scheduler, "scheduler SCHED_BATCH with a nice value is set")
        .theirs("runc", "1.1.5 has no scheduler")
        .theirs("crun", "1.8.1 has no scheduler"),
    case!(scheduler_idle, "scheduler SCHED_IDLE is set")
        .theirs("runc", "1.1.5 has no scheduler")
        .theirs("crun", "1.8.1 has no scheduler"),
    case!(scheduler_exec, "exec has the scheduler of the container")
        .theirs("runc", "1.1.5 has no scheduler")
        .theirs("crun", "1.8.1 has no scheduler"),
    case!(io_priority, "ioPriority is set")
        .theirs("runc", "1.1.5 has no ioPriority")
        .theirs("crun", "1.8.1 has no ioPriority"),
    case!(parent_death, "the end of the runtime's own process doesn't end the container"),
    case!(dumpable, "the program is dumpable again when it runs"),
    case!(big_config, "a configuration of one megabyte is read"),
];

fn args_exact(ctx: &Ctx) -> Done {
    let args = ["args", "", "two words", "\"quoted\"", "a\nb", "$HOME", "ü☃", "-x"];
    let out = ctx.bundle().probe(&args).run()?.ok()?;
    let want: String = args[1..].iter().map(|a| format!("<{a}>\n")).collect();
    same!(out.out, want, "arguments");
    Ok(())
}

fn args_many(ctx: &Ctx) -> Done {
    let long = "x".repeat(100_000);
    let mut args = vec!["args", &long];
    args.extend(std::iter::repeat_n("y", 2000));
    let out = ctx.bundle().probe(&args).run()?.ok()?;
    same!(out.out.len(), 100_003 + 2000 * 4, "length of what was printed");
    Ok(())
}

fn env_exact(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["env"]).set("/process/env", json!(["B=2", "A=1", "HOME=/x", "PATH=/bin"]));
    let out = b.call("run").env("RUNTIMES_OWN", "leak").run()?.ok()?;
    let mut lines: Vec<&str> = out.out.lines().collect();
    lines.retain(|l| !l.starts_with("container="));
    same!(lines, vec!["B=2", "A=1", "HOME=/x", "PATH=/bin"], "environment");
    Ok(())
}

fn env_equals(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["env"]).set("/process/env", json!(["A=b=c", "E=", "HOME=/"])).run()?.ok()?;
    check!(out.out.contains("A=b=c\n") && out.out.contains("E=\n"), "environment is {:?}", out.out);
    Ok(())
}

fn env_path_lookup(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["only-here"]).set("/process/env", json!(["PATH=/bin:/opt/tools"]));
    fs::create_dir_all(b.rootfs().join("opt/tools"))?;
    std::os::unix::fs::symlink("/bin/pwd", b.rootfs().join("opt/tools/pwd"))?;
    b.tweak(|c| c["process"]["args"] = json!(["pwd"])).set("/process/env", json!(["PATH=/opt/tools"])).run()?.ok()?;
    Ok(())
}

fn env_path_lookup_order(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["tool"]).set("/process/env", json!(["PATH=/one:/two:/three:/four:/bin"]));
    let root = b.rootfs();
    fs::create_dir_all(root.join("one/tool"))?;
    for (dir, mode) in [("two", 0o644), ("three", 0o755), ("four", 0o755)] {
        fs::create_dir(root.join(dir))?;
        fs::write(root.join(dir).join("tool"), format!("#!/bin/sh\necho {dir}\n"))?;
        crate::ctx::chmod(&root.join(dir).join("tool"), mode);
    }
    same!(b.run()?.ok()?.line(), "three", "the tool that ran");
    Ok(())
}

fn home_is_set(ctx: &Ctx) -> Done {
    for (uid, home) in [(0, "/root"), (1000, "/home/user")] {
        let b = ctx.bundle().probe(&["env"]).set("/process/user", json!({ "uid": uid, "gid": uid }));
        same!(b.run()?.ok()?.field("HOME")?, home, "HOME of {uid}");
    }
    Ok(())
}

fn home_is_kept(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["env"]).set("/process/env", json!(["HOME=/elsewhere"])).run()?.ok()?;
    same!(out.field("HOME")?, "/elsewhere", "HOME");
    Ok(())
}

fn cwd(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&["/bin/pwd"]).set("/process/cwd", json!("/home/user")).run()?.ok()?;
    same!(out.line(), "/home/user", "directory");
    Ok(())
}

fn cwd_is_made(ctx: &Ctx) -> Done {
    let out = ctx.bundle().rw().args(&["/bin/pwd"]).set("/process/cwd", json!("/not/yet/there")).run()?.ok()?;
    same!(out.line(), "/not/yet/there", "directory");
    Ok(())
}

fn cwd_under_mount(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("source");
    fs::create_dir(dir.join("sub"))?;
    let source = dir.to_str().unwrap().to_owned();
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &source, &["rbind"]));
    same!(b.args(&["/bin/pwd"]).set("/process/cwd", json!("/mnt/sub")).run()?.ok()?.line(), "/mnt/sub", "directory");
    Ok(())
}

fn program_missing(ctx: &Ctx) -> Done {
    ctx.bundle().args(&["/no/such/thing"]).run()?.code(1)?.names(&["/no/such/thing"])?;
    Ok(())
}

fn program_not_executable(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&["/etc/passwd"]).run()?.fails()?.names(&["/etc/passwd"])?;
    out.names(&["permission denied", "EACCES", "not executable"])?;
    Ok(())
}

fn program_is_directory(ctx: &Ctx) -> Done {
    ctx.bundle().args(&["/etc"]).run()?.fails()?;
    Ok(())
}

fn program_missing_in_path(ctx: &Ctx) -> Done {
    ctx.bundle().args(&["nowhere-to-be-found"]).run()?.code(1)?.names(&["nowhere-to-be-found"])?;
    Ok(())
}

fn script(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/run/script", "x"]);
    let path = b.rootfs().join("run/script");
    fs::write(&path, "#!/bin/sh\necho script $1\n")?;
    crate::ctx::chmod(&path, 0o755);
    same!(b.run()?.ok()?.line(), "script x", "output");
    Ok(())
}

fn script_of_missing_interpreter(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/run/script"]);
    let path = b.rootfs().join("run/script");
    fs::write(&path, "#!/no/such/interpreter\n")?;
    crate::ctx::chmod(&path, 0o755);
    b.run()?.code(1)?.names(&["no such file", "ENOENT", "not found"])?;
    Ok(())
}

fn relative_program(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["./busybox", "echo", "here"]).set("/process/cwd", json!("/bin"));
    same!(b.run()?.ok()?.line(), "here", "output");
    Ok(())
}

/// The numbers of the descriptors in what `hull-probe fds` printed.
fn numbers(text: &str) -> Vec<&str> {
    text.lines().filter_map(|l| l.split(' ').next()).collect()
}

fn no_extra_fds(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["fds"]).run()?.ok()?;
    same!(numbers(&out.out), vec!["0", "1", "2"], "descriptors");
    Ok(())
}

fn no_extra_fds_exec(ctx: &Ctx) -> Done {
    let out = ctx.bundle().up()?.exec(&["/bin/hull-probe", "fds"])?.ok()?;
    same!(numbers(&out.out), vec!["0", "1", "2"], "descriptors");
    Ok(())
}

/// A descriptor of a fresh file that holds `text`.
fn file_fd(ctx: &Ctx, text: &str) -> std::io::Result<std::os::fd::OwnedFd> {
    Ok(fs::File::open(ctx.host_file("passed", text))?.into())
}

fn preserve_fds(ctx: &Ctx) -> Done {
    let b = ctx.bundle().option("--preserve-fds").option("2").sh("cat <&3; cat <&4");
    let out = b.call("run").fd(3, file_fd(ctx, "three\n")?).fd(4, file_fd(ctx, "four\n")?).run()?.ok()?;
    same!(out.out, "three\nfour\n", "what the descriptors hold");
    Ok(())
}

fn preserve_fds_exec(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let call = c.exec_call(&["--preserve-fds", "1"], &["/bin/sh", "-c", "cat <&3"]);
    same!(call.fd(3, file_fd(ctx, "three\n")?).run()?.ok()?.out, "three\n", "what the descriptor holds");
    Ok(())
}

fn closed_numbers(ctx: &Ctx) -> Done {
    let b = ctx.bundle().option("--preserve-fds").option("20").probe(&["fds"]);
    let running = b.call("create").fd(9, file_fd(ctx, "")?).spawn()?;
    let file = running.out.clone();
    running.wait()?.ok()?;
    let state: serde_json::Value = serde_json::from_str(&ctx.rt(&["state", &b.id])?.ok()?.out)?;
    for entry in fs::read_dir(format!("/proc/{}/fd", state["pid"]))?.flatten() {
        // While it waits to be started it may well have files, but no way to the host.
        check!(!fs::metadata(entry.path())?.is_dir(), "{:?} is {:?}", entry.path(), fs::read_link(entry.path()));
    }
    ctx.rt(&["start", &b.id])?.ok()?;
    wait_for("the program", 5, || fs::read_to_string(&file).is_ok_and(|t| numbers(&t) == ["0", "1", "2", "9"]))
}

fn not_preserved(ctx: &Ctx) -> Done {
    let b = ctx.bundle().option("--preserve-fds").option("1").probe(&["fds"]);
    let out = b.call("run").fd(3, file_fd(ctx, "")?).fd(4, file_fd(ctx, "")?).fd(9, file_fd(ctx, "")?).run()?.ok()?;
    same!(numbers(&out.out), vec!["0", "1", "2", "3"], "descriptors");
    Ok(())
}

/// The runtime as systemd starts it for a socket: LISTEN_FDS, and LISTEN_PID with its own pid.
fn activated(b: &crate::bundle::Bundle, command: &str, listen: &str) -> crate::call::Call {
    b.write();
    let script = format!("export LISTEN_FDS={listen} LISTEN_PID=$$; exec \"$@\"");
    let call = b.ctx.program("/bin/sh").args(&["-c", &script, "sh"]).arg(&b.ctx.runtime).arg("--root").arg(&b.ctx.root);
    call.args(&[command, "--bundle"]).arg(&b.dir).arg(&b.id)
}

fn listen_fds(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("echo $LISTEN_FDS $LISTEN_PID $$; cat <&3");
    let out = activated(&b, "run", "1").fd(3, file_fd(ctx, "three\n")?).run()?.ok()?;
    same!(out.out, "1 1 1\nthree\n", "what the program saw");
    Ok(())
}

fn listen_fds_create(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("echo $LISTEN_FDS; cat <&3");
    let running = activated(&b, "create", "1").fd(3, file_fd(ctx, "three\n")?).spawn()?;
    let file = running.out.clone();
    running.wait()?.ok()?;
    ctx.rt(&["start", &b.id])?.ok()?;
    wait_for("the program", 5, || fs::read_to_string(&file).is_ok_and(|t| t == "1\nthree\n"))
}

fn wild_numbers(ctx: &Ctx) -> Done {
    for listen in ["4294967290", "4294967295", "18446744073709551615", "-6"] {
        let b = ctx.bundle().probe(&["fds"]);
        let call = activated(&b, "run", listen).fd(3, file_fd(ctx, "")?).fd(9, file_fd(ctx, "")?);
        let out = call.run()?;
        check!(!numbers(&out.out).contains(&"9"), "LISTEN_FDS={listen} passed {:?}", out.out);
    }
    for preserve in ["4294967290", "4294967295"] {
        let b = ctx.bundle().option("--preserve-fds").option(preserve).probe(&["fds"]);
        let out = b.call("run").fd(3, file_fd(ctx, "")?).fd(9, file_fd(ctx, "")?).run()?.fails()?;
        check!(out.out.is_empty(), "the program ran: {:?}", out.out);
    }
    Ok(())
}

fn signals_are_default(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&["/bin/cat", "/proc/self/status"]).run()?.ok()?;
    same!(out.hex("SigBlk")?, 0, "blocked signals");
    let own = fs::read_to_string("/proc/self/status")?;
    let own = own.lines().find_map(|l| l.strip_prefix("SigIgn:")).unwrap_or("0").trim();
    // 32 and 33 belong to the C library, which lets nobody set them.
    let may = u64::from_str_radix(own, 16)? & !(1 << (libc::SIGPIPE - 1)) | 3 << 31;
    same!(out.hex("SigIgn")? & !may, 0, "ignored signals");
    Ok(())
}

fn session(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["self"]).run()?.ok()?;
    same!(out.field("sid")?, out.field("pid")?, "session id");
    same!(out.field("pgid")?, out.field("pid")?, "process group");
    Ok(())
}

fn pid_one(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["self"]).run()?.ok()?;
    same!(out.field("pid")?, "1", "pid");
    same!(out.field("ppid")?, "0", "parent");
    let out = ctx.bundle().tweak(|c| c.leave("pid")).probe(&["self"]).run()?.ok()?;
    check!(out.field("pid")? != "1", "pid 1 without a pid namespace");
    Ok(())
}

fn comm(ctx: &Ctx) -> Done {
    same!(ctx.bundle().probe(&["self"]).run()?.ok()?.field("comm")?, "hull-probe", "comm");
    Ok(())
}

fn rlimits(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/cat", "/proc/self/limits"]).set(
        "/process/rlimits",
        json!([{ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 },
               { "type": "RLIMIT_FSIZE", "soft": 1_000_000, "hard": 2_000_000 },
               { "type": "RLIMIT_STACK", "soft": 4_194_304, "hard": 4_194_304 }]),
    );
    let out = b.run()?.ok()?;
    let words = |key: &str| -> Vec<String> {
        let line = out.out.lines().find(|l| l.starts_with(key)).unwrap_or_default();
        line[key.len().min(line.len())..].split_whitespace().take(2).map(str::to_owned).collect()
    };
    same!(words("Max core file size"), vec!["0", "0"], "RLIMIT_CORE");
    same!(words("Max file size"), vec!["1000000", "2000000"], "RLIMIT_FSIZE");
    same!(words("Max stack size"), vec!["4194304", "4194304"], "RLIMIT_STACK");
    Ok(())
}

fn rlimits_of_exec(ctx: &Ctx) -> Done {
    let limits = json!([{ "type": "RLIMIT_STACK", "soft": 3 << 20, "hard": 4 << 20 }]);
    let c = ctx.bundle().set("/process/rlimits", limits).up()?;
    same!(c.sh("ulimit -Ss; ulimit -Hs")?.ok()?.out, "3072\n4096\n", "RLIMIT_STACK");
    Ok(())
}

fn rlimit_nofile(ctx: &Ctx) -> Done {
    let limits = json!([{ "type": "RLIMIT_NOFILE", "soft": 111, "hard": 222 }]);
    let script = "ulimit -Sn; ulimit -Hn; sleep 1000";
    let c = ctx.bundle().set("/process/rlimits", limits).sh(script).up()?;
    c.wait_out("222")?;
    same!(c.out(), "111\n222\n", "RLIMIT_NOFILE of run");
    same!(c.sh("ulimit -Sn; ulimit -Hn")?.ok()?.out, "111\n222\n", "RLIMIT_NOFILE of exec");
    Ok(())
}

fn rlimit_unknown(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/rlimits", json!([{ "type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1 }]));
    b.refused(&["RLIMIT_NOSUCH", "rlimit"])?;
    Ok(())
}

fn rlimit_lower_hard(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/rlimits", json!([{ "type": "RLIMIT_NOFILE", "soft": 20, "hard": 10 }]));
    b.refused(&["rlimit", "NOFILE"])?;
    Ok(())
}

fn rlimit_absent(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/rlimits", json!([])).sh("ulimit -c; ulimit -s");
    let call = b.call("run").pre(|| {
        let limit = libc::rlimit { rlim_cur: 3 << 20, rlim_max: 1 << 30 };
        // SAFETY: limit is a valid rlimit.
        match unsafe { libc::setrlimit(libc::RLIMIT_STACK, &limit) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    });
    let out = call.run()?.ok()?;
    same!(out.out.lines().nth(1).unwrap_or_default(), "3072", "RLIMIT_STACK");
    Ok(())
}

fn oom_score(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&["/bin/cat", "/proc/self/oom_score_adj"]).set("/process/oomScoreAdj", json!(321));
    same!(out.run()?.ok()?.line(), "321", "oom_score_adj");
    Ok(())
}

fn oom_score_absent(ctx: &Ctx) -> Done {
    let own = fs::read_to_string("/proc/self/oom_score_adj")?;
    let out = ctx.bundle().args(&["/bin/cat", "/proc/self/oom_score_adj"]).run()?.ok()?;
    same!(out.line(), own.trim(), "oom_score_adj");
    Ok(())
}

fn oom_score_exec(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/process/oomScoreAdj", json!(123)).up()?;
    same!(c.exec(&["/bin/cat", "/proc/self/oom_score_adj"])?.ok()?.line(), "123", "oom_score_adj");
    Ok(())
}

fn no_new_privs(ctx: &Ctx) -> Done {
    same!(ctx.bundle().probe(&["self"]).run()?.ok()?.field("no_new_privs")?, "1", "no_new_privs");
    Ok(())
}

fn no_new_privs_off(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["self"]).set("/process/noNewPrivileges", json!(false));
    same!(b.run()?.ok()?.field("no_new_privs")?, "0", "no_new_privs");
    Ok(())
}

fn no_new_privs_denies_setuid(ctx: &Ctx) -> Done {
    for (nnp, euid) in [(true, "1000"), (false, "0")] {
        let b = ctx.bundle().args(&["/run/setuid-probe", "self"]).set("/process/noNewPrivileges", json!(nnp));
        let b = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let program = b.rootfs().join("run/setuid-probe");
        fs::copy(b.rootfs().join("bin/hull-probe"), &program)?;
        crate::ctx::chmod(&program, 0o4755);
        same!(b.run()?.ok()?.field("uid")?, format!("1000 {euid}"), "uids with noNewPrivileges {nnp}");
    }
    Ok(())
}

fn umask(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["self"]).set("/process/user/umask", json!(0o27));
    same!(b.run()?.ok()?.field("umask")?, "27", "umask");
    Ok(())
}

fn umask_default(ctx: &Ctx) -> Done {
    same!(ctx.bundle().probe(&["self"]).run()?.ok()?.field("umask")?, "22", "umask");
    Ok(())
}

/// What the keyring probe says in this container and for the caller's own process.
fn keyring(ctx: &Ctx, option: Option<&str>) -> Result<(String, String), crate::case::Stop> {
    let own = ctx.program(ctx.base.join("bin/hull-probe")).args(&["keyring"]).run()?.ok()?.field("id")?;
    let mut b = ctx.bundle().probe(&["keyring"]);
    if let Some(option) = option {
        b = b.option(option);
    }
    Ok((own, b.run()?.ok()?.field("id")?))
}

fn keyring_is_new(ctx: &Ctx) -> Done {
    let (own, theirs) = keyring(ctx, None)?;
    if own == "-1" {
        skip!("the kernel has no keyrings");
    }
    check!(theirs != own, "the session keyring is the caller's, {own}");
    Ok(())
}

fn keyring_of_exec(ctx: &Ctx) -> Done {
    let own = ctx.program(ctx.base.join("bin/hull-probe")).args(&["keyring"]).run()?.ok()?.field("id")?;
    if own == "-1" {
        skip!("the kernel has no keyrings");
    }
    let theirs = ctx.bundle().up()?.exec(&["/bin/hull-probe", "keyring"])?.ok()?.field("id")?;
    check!(theirs != own, "the session keyring is the caller's, {own}");
    Ok(())
}

fn keyring_is_inherited(ctx: &Ctx) -> Done {
    let (own, theirs) = keyring(ctx, Some("--no-new-keyring"))?;
    if own == "-1" {
        skip!("the kernel has no keyrings");
    }
    same!(theirs, own, "session keyring");
    Ok(())
}

fn personality(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/uname", "-m"]).set("/linux/personality", json!({ "domain": "LINUX32" }));
    same!(b.run()?.ok()?.line(), "i686", "machine");
    Ok(())
}

fn scheduler(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["sched"]).set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 5 }));
    let out = b.run()?.ok()?;
    same!(out.field("policy")?, "3", "policy");
    same!(out.field("nice")?, "5", "nice");
    Ok(())
}

fn scheduler_idle(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["sched"]).set("/process/scheduler", json!({ "policy": "SCHED_IDLE" }));
    same!(b.run()?.ok()?.field("policy")?, "5", "policy");
    Ok(())
}

fn scheduler_exec(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 3 })).up()?;
    let out = c.exec(&["/bin/hull-probe", "sched"])?.ok()?;
    same!((out.field("policy")?, out.field("nice")?), ("3".into(), "3".into()), "policy and nice of exec");
    Ok(())
}

fn io_priority(ctx: &Ctx) -> Done {
    let wanted = json!({ "class": "IOPRIO_CLASS_BE", "priority": 6 });
    let out = ctx.bundle().probe(&["sched"]).set("/process/ioPriority", wanted).run()?.ok()?;
    same!((out.field("ioclass")?, out.field("iolevel")?), ("2".into(), "6".into()), "class and level");
    Ok(())
}

fn parent_death(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let pid = c.pid()?;
    std::thread::sleep(std::time::Duration::from_millis(100));
    check!(host::alive(pid), "the container ended with the runtime's process");
    Ok(())
}

fn dumpable(ctx: &Ctx) -> Done {
    same!(ctx.bundle().probe(&["self"]).run()?.ok()?.field("dumpable")?, "1", "dumpable");
    Ok(())
}

fn big_config(ctx: &Ctx) -> Done {
    let long = "v".repeat(1000);
    let annotations: serde_json::Map<_, _> = (0..1000).map(|n| (format!("org.example.{n}"), json!(long))).collect();
    ctx.bundle().set("/annotations", annotations.into()).sh("exit 3").run()?.code(3)?;
    Ok(())
}

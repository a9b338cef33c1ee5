//! exec: another process in a running container.

use std::fs;

use serde_json::json;

use crate::case::{Case, Done, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, alive, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(output_and_code, "exec passes output and exit code"),
    case!(input, "exec passes standard input"),
    case!(exit_by_signal, "exec ends with 128 + n when a signal killed the process"),
    case!(missing_program, "exec of a missing program fails with 255, or 1, and names it"),
    case!(no_program, "exec without a program fails"),
    case!(unknown_container, "exec in an unknown container fails"),
    case!(stopped_container, "exec in a stopped container fails"),
    case!(created_container, "exec in a created container works"),
    case!(env, "--env adds to the container's environment"),
    case!(env_of_container, "exec has the environment of the container's process"),
    case!(cwd, "--cwd sets the directory"),
    case!(cwd_of_container, "exec begins in the container's process.cwd").theirs("crun", "1.8.1 begins in /"),
    case!(user, "--user UID:GID sets both"),
    case!(additional_gids, "--additional-gids sets further groups").theirs("crun", "1.8.1 has no --additional-gids"),
    case!(no_new_privs, "--no-new-privs sets it"),
    case!(options_of_the_command, "what follows the id belongs to the command, even if it looks like an option"),
    case!(process_document, "--process takes args, env, cwd, user from a document"),
    case!(process_document_bad, "a broken --process document is an error"),
    case!(process_document_rlimits, "--process takes rlimits"),
    case!(process_document_no_args, "a --process document without args is an error")
        .theirs("crun", "1.8.1 ends with 255 and says nothing"),
    case!(detach, "--detach returns at once and leaves the process running"),
    case!(pid_file, "--pid-file holds the host pid of the process"),
    case!(namespaces, "exec is in the namespaces of init"),
    case!(root, "exec sees the root and the mounts of init"),
    case!(cgroup, "exec is in the cgroup of the container"),
    case!(sub_cgroup, "--cgroup puts the process into a child of the container's cgroup"),
    case!(sub_cgroup_missing, "--cgroup of a group that doesn't exist is an error")
        .theirs("crun", "1.8.1 makes the group"),
    case!(sub_cgroup_escape, "--cgroup can't leave the container's cgroup")
        .theirs("crun", "1.8.1 doesn't confine the path"),
    case!(paused, "exec in a paused container is refused"),
    case!(ignore_paused, "--ignore-paused starts the process, which runs after resume")
        .theirs("crun", "1.8.1 has no --ignore-paused"),
    case!(many_at_once, "ten execs at one time each give their own exit code").alone(),
    case!(seccomp, "exec is under the container's seccomp filter"),
    case!(exec_is_reparented, "an orphan of exec becomes init's child"),
    case!(killed_with_container, "a process of exec ends with the container"),
    case!(foreground_signals, "exec in the foreground passes signals on"),
    case!(no_zombie, "exec leaves no process behind on the host"),
    case!(list_of_ps, "ps lists the process of exec"),
    case!(relative_program, "a program without slash is looked up in the container's PATH"),
    case!(apparmor_unsupported, "--apparmor without AppArmor is refused or has no effect, the process never unconfined by surprise"),
];

fn output_and_code(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let out = c.sh("echo out; echo err >&2; exit 9")?.code(9)?;
    same!((out.out.as_str(), out.err.as_str()), ("out\n", "err\n"), "output");
    Ok(())
}

fn input(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    same!(c.exec_call(&[], &["/bin/cat"]).stdin(b"typed").run()?.ok()?.out, "typed", "output");
    Ok(())
}

fn exit_by_signal(ctx: &Ctx) -> Done {
    ctx.bundle().up()?.sh("kill -9 $$")?.code(137)?;
    Ok(())
}

fn missing_program(ctx: &Ctx) -> Done {
    let out = ctx.bundle().up()?.exec(&["/no/such"])?.names(&["/no/such"])?;
    check!([255, 1, 127].contains(&out.code), "exit code {}", out.code);
    Ok(())
}

fn no_program(ctx: &Ctx) -> Done {
    ctx.bundle().up()?.exec(&[])?.fails()?;
    Ok(())
}

fn unknown_container(ctx: &Ctx) -> Done {
    ctx.rt(&["exec", &format!("{}-none", ctx.tag), "/bin/true"])?.fails()?;
    Ok(())
}

fn stopped_container(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/true"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    c.exec(&["/bin/true"])?.fails()?;
    Ok(())
}

fn created_container(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    same!(c.sh("echo in")?.ok()?.line(), "in", "output");
    same!(c.status()?, "created", "status");
    Ok(())
}

fn env(ctx: &Ctx) -> Done {
    let out = ctx.bundle().up()?.exec_with(&["--env", "A=1", "--env", "B=2 3"], &["/bin/hull-probe", "env"])?.ok()?;
    same!((out.field("A")?, out.field("B")?), ("1".into(), "2 3".into()), "variables");
    Ok(())
}

fn env_of_container(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/process/env", json!(["PATH=/bin", "OF=container"])).up()?;
    let out = c.exec_call(&[], &["/bin/hull-probe", "env"]).env("RUNTIMES_OWN", "leak").run()?.ok()?;
    same!(out.field("OF")?, "container", "variable");
    check!(!out.out.contains("leak"), "the runtime's environment leaked");
    Ok(())
}

fn cwd(ctx: &Ctx) -> Done {
    same!(ctx.bundle().up()?.exec_with(&["--cwd", "/home"], &["/bin/pwd"])?.ok()?.line(), "/home", "directory");
    Ok(())
}

fn cwd_of_container(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/process/cwd", json!("/etc")).up()?;
    same!(c.exec(&["/bin/pwd"])?.ok()?.line(), "/etc", "directory");
    Ok(())
}

fn user(ctx: &Ctx) -> Done {
    let out = ctx.bundle().up()?.exec_with(&["--user", "12:34"], &["/bin/hull-probe", "self"])?.ok()?;
    same!((out.field("uid")?, out.field("gid")?), ("12 12".into(), "34 34".into()), "uids and gids");
    Ok(())
}

fn additional_gids(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let options = ["--additional-gids", "70", "--additional-gids", "71", "--user", "12:34"];
    let groups = c.exec_with(&options, &["/bin/hull-probe", "self"])?.ok()?.field("groups")?;
    check!(groups.contains("70") && groups.contains("71"), "groups {groups}");
    Ok(())
}

fn no_new_privs(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/process/noNewPrivileges", json!(false)).up()?;
    let probe = ["/bin/hull-probe", "self"];
    same!(c.exec(&probe)?.ok()?.field("no_new_privs")?, "0", "without the option");
    same!(c.exec_with(&["--no-new-privs"], &probe)?.ok()?.field("no_new_privs")?, "1", "with the option");
    Ok(())
}

fn options_of_the_command(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let out = c.exec(&["/bin/hull-probe", "args", "--cwd", "-t", "--", "-h", "--help"])?.ok()?;
    same!(out.out, "<--cwd>\n<-t>\n<-->\n<-h>\n<--help>\n", "arguments");
    Ok(())
}

fn process_document(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let mut p = c.process(&["/bin/sh", "-c", "echo $A; pwd; id -u; id -g"]);
    p["env"] = json!(["A=document", "PATH=/bin"]);
    p["cwd"] = json!("/home");
    p["user"] = json!({ "uid": 3, "gid": 4 });
    same!(c.exec_process(&p)?.ok()?.out, "document\n/home\n3\n4\n", "output");
    Ok(())
}

fn process_document_bad(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for text in ["", "{", "[]", "{\"args\": 5}"] {
        let file = ctx.host_file("process.json", text);
        ctx.call(&["exec", "--process"]).arg(&file).arg(&c.id).run()?.fails()?;
    }
    same!(c.status()?, "running", "status");
    Ok(())
}

fn process_document_rlimits(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let mut p = c.process(&["/bin/sh", "-c", "ulimit -Ss; ulimit -Hs"]);
    p["rlimits"] = json!([{ "type": "RLIMIT_STACK", "soft": 3 << 20, "hard": 4 << 20 }]);
    same!(c.exec_process(&p)?.ok()?.out, "3072\n4096\n", "limits");
    Ok(())
}

fn process_document_no_args(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let mut p = c.process(&[]);
    c.exec_process(&p)?.fails()?;
    p.as_object_mut().unwrap().remove("args");
    c.exec_process(&p)?.fails()?;
    Ok(())
}

fn detach(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let file = ctx.host_dir("pid").join("pid");
    c.exec_with(&["--detach", "--pid-file", file.to_str().unwrap()], &["/bin/sleep", "1000"])?.ok()?;
    let pid: i32 = fs::read_to_string(&file)?.parse()?;
    check!(alive(pid), "the process doesn't run");
    Ok(())
}

fn pid_file(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let file = ctx.host_dir("pid").join("pid");
    c.exec_with(&["--detach", "--pid-file", file.to_str().unwrap()], &["/bin/sleep", "4712"])?.ok()?;
    let pid: i32 = fs::read_to_string(&file)?.parse()?;
    wait_for("the program under that pid", 5, || {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l.contains("4712"))
    })
}

fn namespaces(ctx: &Ctx) -> Done {
    let c = ctx.bundle().tweak(|v| v.join("cgroup", None)).up()?;
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        let link = c.exec(&["/bin/readlink", &format!("/proc/self/ns/{kind}")])?.ok()?;
        same!(link.line(), host::ns(c.pid()?, kind)?, "{kind} namespace");
    }
    Ok(())
}

fn root(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    fs::write(b.rootfs().join("etc/mark"), "of this root")?;
    let c = b.tweak(|v| v.mount("/mnt", "tmpfs", "tmpfs", &[])).sh("echo x > /mnt/made; sleep 1000").up()?;
    wait_for("init", 5, || c.sh("cat /mnt/made").is_ok_and(|o| o.code == 0))?;
    same!(c.sh("cat /etc/mark; cat /mnt/made")?.ok()?.out, "of this rootx\n", "files");
    Ok(())
}

fn cgroup(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let init = fs::read_to_string(format!("/proc/{}/cgroup", c.pid()?))?;
    let out = c.exec(&["/bin/cat", "/proc/self/cgroup"])?.ok()?;
    same!(out.out, init, "cgroups");
    Ok(())
}

fn sub_cgroup(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let Some(dir) = host::cgroup_dir(c.pid()?, "pids") else {
        crate::case::skip!("no cgroup v1 here");
    };
    for h in host::hierarchies() {
        let below = h.at.join(&c.id);
        if below.exists() {
            fs::create_dir(below.join("sub"))?;
            // A new group of this controller holds no process until it has CPUs and memory nodes.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                if below.join(file).exists() && !h.v2 {
                    fs::write(below.join("sub").join(file), fs::read(below.join(file))?)?;
                }
            }
        }
    }
    let file = ctx.host_dir("pid").join("pid");
    let options = ["--detach", "--pid-file", file.to_str().unwrap(), "--cgroup", "sub"];
    c.exec_with(&options, &["/bin/sleep", "1000"])?.ok()?;
    let pid: i32 = fs::read_to_string(&file)?.parse()?;
    same!(host::cgroup_dir(pid, "pids"), Some(dir.join("sub")), "cgroup");
    Ok(())
}

fn sub_cgroup_missing(ctx: &Ctx) -> Done {
    ctx.bundle().up()?.exec_with(&["--cgroup", "nosuch"], &["/bin/true"])?.fails()?;
    Ok(())
}

fn sub_cgroup_escape(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let other = ctx.bundle().up()?;
    c.exec_with(&["--cgroup", &format!("../{}", other.id)], &["/bin/true"])?.fails()?;
    Ok(())
}

fn paused(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    c.pause()?;
    let mut running = c.exec_call(&[], &["/bin/true"]).spawn()?;
    let ended = wait_for("the end of exec", 3, || matches!(running.child.try_wait(), Ok(Some(_))));
    c.resume()?;
    ended?;
    running.wait()?.fails()?;
    Ok(())
}

fn ignore_paused(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    c.pause()?;
    let running = c.exec_call(&["--ignore-paused"], &["/bin/echo", "ran"]).spawn()?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    check!(!running.so_far().contains("ran"), "the process ran in a paused container");
    c.resume()?;
    same!(running.wait()?.ok()?.line(), "ran", "output");
    Ok(())
}

fn many_at_once(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let mut running = Vec::new();
    for n in 0..10 {
        running.push(c.exec_call(&[], &["/bin/sh", "-c", &format!("exit {n}")]).spawn()?);
    }
    for (n, r) in running.into_iter().enumerate() {
        r.wait()?.code(n as i32)?;
    }
    Ok(())
}

fn seccomp(ctx: &Ctx) -> Done {
    let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }] });
    let c = ctx.bundle().set("/linux/seccomp", filter).up()?;
    c.exec(&["/bin/mkdir", "/dev/shm/x"])?.fails()?.names(&["No space left"])?;
    Ok(())
}

fn exec_is_reparented(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    c.sh("sleep 4713 >/dev/null 2>&1 &")?.ok()?;
    let out = c.sh("for p in /proc/[0-9]*; do grep -q 4713 $p/cmdline && grep PPid $p/status; done; true")?.ok()?;
    check!(out.out.lines().any(|l| l == "PPid:\t1"), "parents: {:?}", out.out);
    Ok(())
}

fn killed_with_container(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let running = c.exec_call(&[], &["/bin/sh", "-c", "echo up; exec sleep 1000"]).spawn()?;
    wait_for("the process", 5, || running.so_far().contains("up"))?;
    c.kill("KILL")?;
    running.wait()?.code(137)?;
    Ok(())
}

fn foreground_signals(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let script = "trap 'exit 43' TERM; echo up; while :; do sleep 0.05; done";
    let running = c.exec_call(&[], &["/bin/sh", "-c", script]).spawn()?;
    wait_for("the process", 5, || running.so_far().contains("up"))?;
    host::signal(running.pid(), libc::SIGTERM);
    running.wait()?.code(43)?;
    Ok(())
}

fn no_zombie(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let count = || host::descendants(std::process::id() as i32).len();
    // What made the container may be on its way out still.
    wait_for("the container's process alone", 5, || count() == 1)?;
    for _ in 0..3 {
        c.exec(&["/bin/true"])?.ok()?;
    }
    wait_for("the container's process alone, after exec", 5, || count() == 1)
}

fn list_of_ps(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    c.exec_with(&["--detach"], &["/bin/sleep", "1000"])?.ok()?;
    let pids: Vec<i32> = serde_json::from_str(&ctx.rt(&["ps", "--format", "json", &c.id])?.ok()?.out)?;
    same!(pids.len(), 2, "pids");
    Ok(())
}

fn relative_program(ctx: &Ctx) -> Done {
    same!(ctx.bundle().up()?.exec(&["echo", "found"])?.ok()?.line(), "found", "output");
    Ok(())
}

fn apparmor_unsupported(ctx: &Ctx) -> Done {
    if fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|t| t.starts_with('Y')) {
        crate::case::skip!("AppArmor is enabled here");
    }
    ctx.bundle().up()?.exec_with(&["--apparmor", "no-such-profile"], &["/bin/true"])?.fails()?;
    Ok(())
}

//! `hooks`: six kinds, their order, what they are given, and what their failure means.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::bundle::Bundle;
use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(order, "the six kinds run in the order of the specification"),
    case!(several, "hooks of one kind run in their order"),
    case!(phases, "prestart, createRuntime, createContainer run at create; the others later")
        .theirs("runc", "1.1.5 runs poststart at create"),
    case!(state_on_stdin, "every hook is given the state on standard input")
        .theirs("crun", "1.8.1 tells startContainer / for the bundle"),
    case!(statuses, "the state tells poststart running and poststop stopped")
        .theirs("runc", "1.1.5 runs poststart at create"),
    case!(pid_is_real, "a hook at create is given the pid of a living process"),
    case!(namespaces, "createContainer runs in the container's mount namespace, the others on the host's"),
    case!(start_container_is_inside, "startContainer runs inside the container's root"),
    case!(start_container_is_confined, "startContainer runs under the container's filter and without capabilities that it lacks"),
    case!(before_pivot, "createContainer sees the host's root"),
    case!(env, "a hook has the environment of its entry alone"),
    case!(args, "a hook has the arguments of its entry, the first as its name"),
    case!(no_args, "a hook without args runs"),
    case!(annotations, "the state that hooks are given holds the annotations"),
    case!(fail_prestart, "a failing prestart hook fails create and leaves nothing"),
    case!(fail_create_runtime, "a failing createRuntime hook fails create and leaves nothing"),
    case!(fail_create_container, "a failing createContainer hook fails create and leaves nothing"),
    case!(fail_start_container, "after a failing startContainer hook the program doesn't run"),
    case!(fail_poststart, "after a failing poststart hook start fails and the container is ended")
        .theirs("crun", "1.8.1 ignores it")
        .theirs("runc", "1.1.5 runs poststart at create"),
    case!(fail_poststop, "a failing poststop hook doesn't keep delete from its work"),
    case!(poststop_runs_after_failure, "poststop runs when create fails after its hooks began")
        .theirs("crun", "1.8.1 does not run it"),
    case!(failure_stops_the_rest, "after a failing hook the next one of its kind doesn't run"),
    case!(failure_is_told, "the message of a failed hook holds what it wrote to standard error or its exit code"),
    case!(timeout, "a hook that exceeds its timeout is ended and counts as failed"),
    case!(timeout_with_children, "a hook whose own children outlive it doesn't hold up create beyond its timeout")
        .theirs("runc", "1.1.5 waits for the end of the pipe"),
    case!(timeout_unread, "a hook that doesn't read a large state is ended at its timeout all the same")
        .theirs("crun", "1.8.1 is ended by SIGPIPE"),
    case!(large_state, "a hook may leave a large state unread, or read all of it, wherever it runs")
        .theirs("crun", "1.8.1 fails where it is left unread"),
    case!(timeout_is_enough, "a hook within its timeout is left alone"),
    case!(missing_program, "a hook whose program is missing fails create and is named"),
    case!(relative_path, "a relative hook path is refused"),
    case!(poststop_without_start, "poststop runs for a container that was never started"),
    case!(run_runs_all, "run runs every kind"),
    case!(no_fds, "a hook has no descriptors but 0, 1 and 2")
        .theirs("runc", "1.1.5 leaves its own pipes open for createContainer"),
    case!(network_setup, "a createRuntime hook can enter the network namespace by the pid"),
];

const KINDS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// A hook that runs `script`.
fn hook(script: &str) -> Value {
    json!({ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"] })
}

/// A bundle whose hooks of every kind run `script`, in which KIND is replaced and DIR is a directory that is the same
/// inside and outside.
fn all_kinds<'a>(ctx: &'a Ctx, script: &str) -> (Bundle<'a>, PathBuf) {
    let dir = ctx.host_dir("hooks");
    let path = dir.to_str().unwrap().to_owned();
    let mut b = ctx.bundle().tweak(|c| c.mount(&path, "bind", &path, &["bind"]));
    for kind in KINDS {
        let text = script.replace("KIND", kind).replace("DIR", &path);
        b = b.tweak(|c| c["hooks"][kind] = json!([hook(&text)]));
    }
    (b, dir)
}

fn lines(dir: &Path, name: &str) -> Vec<String> {
    fs::read_to_string(dir.join(name)).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn json_of(dir: &Path, name: &str) -> Result<Value, Stop> {
    let text = fs::read_to_string(dir.join(name)).map_err(|e| format!("{name}: {e}"))?;
    serde_json::from_str(&text).map_err(|e| format!("{name}: {e} in {text:?}").into())
}

fn order(ctx: &Ctx) -> Done {
    // Each reads the state, as hooks should: crun 1.8.1 dies if one ends before it has written it.
    let (b, dir) = all_kinds(ctx, "cat > /dev/null; echo KIND >> DIR/log");
    let c = b.args(&["/bin/true"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    c.delete()?;
    // poststart and startContainer have no order between them once the program runs.
    let mut log = lines(&dir, "log");
    if log.get(3).is_some_and(|l| l == "poststart") {
        log.swap(3, 4);
    }
    same!(log, KINDS.map(str::to_owned).to_vec(), "order");
    Ok(())
}

fn several(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let list: Vec<_> = (0..5).map(|n| hook(&format!("echo {n} >> {}/log", dir.display()))).collect();
    ctx.bundle().set("/hooks/createRuntime", list.into()).run()?.ok()?;
    same!(lines(&dir, "log"), ["0", "1", "2", "3", "4"].map(str::to_owned).to_vec(), "order");
    Ok(())
}

fn phases(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "echo KIND >> DIR/log");
    let c = b.args(&["/bin/sleep", "1000"]).create()?;
    same!(lines(&dir, "log"), KINDS[..3].iter().map(|k| (*k).to_owned()).collect::<Vec<_>>(), "after create");
    c.start()?;
    wait_for("two more hooks", 5, || lines(&dir, "log").len() == 5)?;
    c.delete_force()?;
    same!(lines(&dir, "log").last().map(String::as_str), Some("poststop"), "after delete");
    Ok(())
}

fn state_on_stdin(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "cat > DIR/KIND");
    let c = b.args(&["/bin/sleep", "1000"]).create()?;
    c.start()?;
    wait_for("startContainer", 5, || json_of(&dir, "startContainer").is_ok())?;
    c.delete_force()?;
    for kind in KINDS {
        let state = json_of(&dir, kind)?;
        same!(state["id"], json!(c.id), "id for {kind}");
        same!(state["bundle"], json!(c.dir.to_str().unwrap()), "bundle for {kind}");
        check!(state["ociVersion"].is_string(), "no ociVersion for {kind}");
        check!(state["status"].is_string(), "no status for {kind}");
    }
    Ok(())
}

fn statuses(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "cat > DIR/KIND");
    let c = b.args(&["/bin/sleep", "1000"]).create()?;
    c.start()?;
    c.delete_force()?;
    for (kind, status) in [("poststart", "running"), ("poststop", "stopped")] {
        same!(json_of(&dir, kind)?["status"], json!(status), "status for {kind}");
    }
    for kind in &KINDS[..3] {
        let status = json_of(&dir, kind)?["status"].clone();
        check!(status == "creating" || status == "created", "status for {kind} is {status}");
    }
    Ok(())
}

fn pid_is_real(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "cat > DIR/KIND");
    let c = b.args(&["/bin/sleep", "1000"]).create()?;
    for kind in ["prestart", "createRuntime"] {
        same!(json_of(&dir, kind)?["pid"], json!(c.pid()?), "pid for {kind}");
    }
    Ok(())
}

fn namespaces(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "readlink /proc/self/ns/mnt > DIR/KIND");
    let c = b.args(&["/bin/sleep", "1000"]).create()?;
    let inside = host::ns(c.pid()?, "mnt")?;
    c.start()?;
    wait_for("startContainer", 5, || !lines(&dir, "startContainer").is_empty())?;
    c.delete_force()?;
    let own = host::own_ns("mnt")?;
    for (kind, want) in [
        ("prestart", &own),
        ("createRuntime", &own),
        ("createContainer", &inside),
        ("startContainer", &inside),
        ("poststart", &own),
        ("poststop", &own),
    ] {
        same!(lines(&dir, kind), vec![want.clone()], "mount namespace of {kind}");
    }
    Ok(())
}

fn start_container_is_confined(ctx: &Ctx) -> Done {
    let filter = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 44 }],
    });
    let script = "grep CapEff /proc/self/status > /seen; mkdir /made && echo made >> /seen; true";
    let b = ctx.bundle().rw().set("/linux/seccomp", filter);
    let b = b.tweak(|c| {
        c["process"]["capabilities"] = json!({});
        c["hooks"] = json!({ "startContainer": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
    });
    let seen = b.rootfs().join("seen");
    b.run()?.ok()?;
    same!(fs::read_to_string(seen)?, "CapEff:\t0000000000000000\n", "what the hook did");
    Ok(())
}

fn start_container_is_inside(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "cat /etc/data > DIR/KIND 2>/dev/null");
    let c = b.args(&["/bin/sleep", "1000"]).create();
    // Outside, /etc/data is missing, so that the hooks there fail; only startContainer is kept.
    drop(c);
    let path = dir.to_str().unwrap().to_owned();
    let b = ctx.bundle().tweak(|c| c.mount(&path, "bind", &path, &["bind"]));
    let text = format!("cat /etc/data > {path}/inside");
    b.set("/hooks/startContainer", json!([hook(&text)])).run()?.ok()?;
    same!(lines(&dir, "inside"), vec!["data".to_owned()], "what the hook read");
    Ok(())
}

fn before_pivot(ctx: &Ctx) -> Done {
    let file = ctx.host_file("outside", "seen\n");
    let dir = ctx.host_dir("hooks");
    let text = format!("cat {} > {}/log", file.display(), dir.display());
    ctx.bundle().set("/hooks/createContainer", json!([hook(&text)])).run()?.ok()?;
    same!(lines(&dir, "log"), vec!["seen".to_owned()], "what the hook read on the host");
    Ok(())
}

fn env(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let log = dir.join("log");
    let entry = json!({ "path": "/bin/sh", "args": ["sh", "-c", format!("/usr/bin/env > {}", log.display())],
        "env": ["ONE=1", "TWO=2"] });
    let b = ctx.bundle().set("/hooks/createRuntime", json!([entry])).set("/process/env", json!(["PATH=/bin", "OF=it"]));
    b.call("run").env("RUNTIMES_OWN", "leak").run()?.ok()?;
    let mut got = lines(&dir, "log");
    // The shell itself adds these.
    got.retain(|l| !["PWD=", "SHLVL=", "_=", "OLDPWD="].iter().any(|p| l.starts_with(p)));
    got.sort();
    same!(got, vec!["ONE=1".to_owned(), "TWO=2".to_owned()], "environment");
    Ok(())
}

fn args(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let script = format!("echo \"$0:$1:$2\" > {}/log", dir.display());
    let entry = json!({ "path": "/bin/sh", "args": ["sh", "-c", script, "name", "a b", ""] });
    ctx.bundle().set("/hooks/createRuntime", json!([entry])).run()?.ok()?;
    same!(lines(&dir, "log"), vec!["name:a b:".to_owned()], "arguments");
    Ok(())
}

fn no_args(ctx: &Ctx) -> Done {
    let script = ctx.host_dir("hooks").join("hook");
    fs::write(&script, "#!/bin/sh\ntouch $(dirname $0)/ran\n")?;
    crate::ctx::chmod(&script, 0o755);
    let entry = json!({ "path": script, "env": ["PATH=/usr/bin:/bin"] });
    ctx.bundle().set("/hooks/createRuntime", json!([entry])).run()?.ok()?;
    check!(script.with_file_name("ran").exists(), "the hook didn't run");
    Ok(())
}

fn annotations(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "cat > DIR/KIND");
    b.set("/annotations", json!({ "org.example.k": "v" })).run()?.ok()?;
    same!(json_of(&dir, "createRuntime")?["annotations"]["org.example.k"], json!("v"), "annotation");
    Ok(())
}

fn fails_create(ctx: &Ctx, kind: &str) -> Done {
    let b = ctx.bundle().tweak(|c| c["hooks"][kind] = json!([hook("exit 3")]));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn fail_prestart(ctx: &Ctx) -> Done {
    fails_create(ctx, "prestart")
}

fn fail_create_runtime(ctx: &Ctx) -> Done {
    fails_create(ctx, "createRuntime")
}

fn fail_create_container(ctx: &Ctx) -> Done {
    fails_create(ctx, "createContainer")
}

fn fail_start_container(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("mark");
    let path = dir.to_str().unwrap().to_owned();
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &path, &["bind"])).sh("touch /mnt/ran; sleep 1000");
    let c = b.set("/hooks/startContainer", json!([hook("exit 3")])).create()?;
    c.try_start()?;
    c.wait("stopped")?;
    check!(!dir.join("ran").exists(), "the program ran");
    Ok(())
}

fn fail_poststart(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/sleep", "1000"]).set("/hooks/poststart", json!([hook("exit 3")]));
    let c = b.create()?;
    c.try_start()?.fails()?;
    wait_for("the end of the container", 5, || c.status().is_ok_and(|s| s == "stopped") || c.state().is_err())
}

fn fail_poststop(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/hooks/poststop", json!([hook("cat > /dev/null; exit 3")]));
    let c = b.create()?;
    c.start()?;
    c.wait("stopped")?;
    ctx.rt(&["delete", &c.id])?;
    ctx.rt(&["state", &c.id])?.fails()?;
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn poststop_runs_after_failure(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let b = ctx.bundle().set("/hooks/createRuntime", json!([hook("exit 3")]));
    let b = b.set("/hooks/poststop", json!([hook(&format!("touch {}/ran", dir.display()))]));
    b.try_create()?.fails()?;
    check!(dir.join("ran").exists(), "poststop didn't run");
    b.nothing_left()
}

fn failure_stops_the_rest(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let second = hook(&format!("touch {}/ran", dir.display()));
    let b = ctx.bundle().set("/hooks/createRuntime", json!([hook("exit 3"), second]));
    b.try_create()?.fails()?;
    check!(!dir.join("ran").exists(), "the second hook ran");
    Ok(())
}

fn failure_is_told(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/hooks/createRuntime", json!([hook("echo some reason >&2; exit 37")]));
    b.try_create()?.fails()?.names(&["some reason", "37"])?;
    Ok(())
}

fn timeout(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hook");
    let mut slow = hook(&format!("sleep 8; echo x > {}/end", dir.display()));
    slow["timeout"] = json!(1);
    let b = ctx.bundle().set("/hooks/createRuntime", json!([slow]));
    b.try_create()?.fails()?;
    check!(!dir.join("end").exists(), "create waited for the end of the hook");
    b.nothing_left()
}

fn timeout_with_children(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hook");
    let mut slow = hook(&format!("(sleep 12; echo x > {}/end); true", dir.display()));
    slow["timeout"] = json!(1);
    ctx.bundle().set("/hooks/createRuntime", json!([slow])).try_create()?.fails()?;
    check!(!dir.join("end").exists(), "create waited for the end of what the hook began");
    Ok(())
}

/// Annotations of more than a pipe holds.
fn large() -> Value {
    json!({ "large": "x".repeat(200_000) })
}

fn timeout_unread(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hook");
    let mut slow = hook(&format!("sleep 8; echo x > {}/end", dir.display()));
    slow["timeout"] = json!(1);
    let b = ctx.bundle().set("/annotations", large()).set("/hooks/createRuntime", json!([slow]));
    b.try_create()?.fails()?;
    check!(!dir.join("end").exists(), "create waited for the end of the hook");
    b.nothing_left()
}

fn large_state(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "sleep 0.1; wc -c > DIR/KIND");
    b.set("/annotations", large()).sh("true").run()?.ok()?;
    for kind in KINDS {
        let size = lines(&dir, kind).join("").trim().parse::<usize>().unwrap_or(0);
        check!(size > 200_000, "{kind} was given {size} bytes");
    }
    let (b, _) = all_kinds(ctx, "true");
    b.set("/annotations", large()).sh("exit 4").run()?.code(4)?;
    Ok(())
}

fn timeout_is_enough(ctx: &Ctx) -> Done {
    let mut quick = hook("sleep 0.2");
    quick["timeout"] = json!(10);
    ctx.bundle().set("/hooks/createRuntime", json!([quick])).sh("exit 3").run()?.code(3)?;
    Ok(())
}

fn missing_program(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/hooks/createRuntime", json!([{ "path": "/no/such/hook" }]));
    b.try_create()?.fails()?.names(&["/no/such/hook"])?;
    b.nothing_left()
}

fn relative_path(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/hooks/createRuntime", json!([{ "path": "bin/true" }]));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn poststop_without_start(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let b = ctx.bundle().set("/hooks/poststop", json!([hook(&format!("touch {}/ran", dir.display()))]));
    let c = b.create()?;
    c.delete_force()?;
    check!(dir.join("ran").exists(), "poststop didn't run");
    Ok(())
}

fn run_runs_all(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "echo KIND >> DIR/log");
    b.sh("exit 5").run()?.code(5)?;
    let mut log = lines(&dir, "log");
    log.sort();
    let mut want = KINDS.map(str::to_owned).to_vec();
    want.sort();
    same!(log, want, "hooks that ran");
    Ok(())
}

fn no_fds(ctx: &Ctx) -> Done {
    let (b, dir) = all_kinds(ctx, "ls /proc/self/fd | tr '\\n' ' ' > DIR/KIND");
    b.run()?.ok()?;
    for kind in KINDS {
        let got = lines(&dir, kind).join("");
        // 3 is the directory that ls reads.
        same!(got.trim(), "0 1 2 3", "descriptors of {kind}");
    }
    Ok(())
}

fn network_setup(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hooks");
    let script = format!(
        "pid=$(sed 's/.*\"pid\": *\\([0-9]*\\).*/\\1/'); nsenter --net=/proc/$pid/ns/net ip link add bb0 type veth peer \
         name bb1 2> {}/log",
        dir.display()
    );
    let out = ctx.bundle().args(&["/bin/ls", "/sys/class/net"]).set("/hooks/createRuntime", json!([hook(&script)])).run()?;
    if lines(&dir, "log").iter().any(|l| l.contains("not found") || l.contains("not supported")) {
        crate::case::skip!("no nsenter, ip or veth on this host: {:?}", lines(&dir, "log"));
    }
    same!(out.ok()?.out.split_whitespace().collect::<Vec<_>>(), vec!["bb0", "bb1", "lo"], "interfaces");
    Ok(())
}

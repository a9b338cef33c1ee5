//! create, start, state, kill, delete, run, and the order they may come in.

use std::fs;
use std::time::Duration;

use serde_json::json;

use crate::case::{Case, Done, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, alive, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(exit_code, "run ends with the exit code of the program"),
    case!(exit_code_255, "the highest exit code passes too"),
    case!(exit_by_signal, "run ends with 128 + n when a signal killed the program"),
    case!(output, "standard output and standard error of the program are those of run"),
    case!(input, "standard input of run is that of the program"),
    case!(input_pipe, "a pipe on standard input is read to its end"),
    case!(create_starts_nothing, "create makes the container but the program runs only at start"),
    case!(created_is_not_the_program, "what waits for start has not yet executed the program"),
    case!(statuses, "status goes created, running, stopped"),
    case!(config_is_read_at_create, "a change of config.json after create has no effect"),
    case!(start_twice, "start of a running container fails and leaves it running"),
    case!(start_stopped, "start of a stopped container fails"),
    case!(same_id, "create under an id that is in use fails and leaves the first one alone"),
    case!(same_id_race, "of two creates under one id at one time exactly one wins")
        .theirs("runc", "1.1.5 lets both make the start fifo, so that none may win")
        .alone(),
    case!(id_again, "an id can be used again after delete"),
    case!(many_at_once, "containers with different ids are created at one time").alone(),
    case!(delete_running, "delete without --force refuses a running container"),
    case!(delete_force_running, "delete --force ends and removes a running container"),
    case!(delete_created, "delete removes a container that was never started, without being forced"),
    case!(delete_force_created, "delete --force removes a container that was never started"),
    case!(delete_force_paused, "delete --force removes a paused container"),
    case!(delete_stopped, "delete removes state and cgroups of a stopped container"),
    case!(delete_force_unknown, "delete --force of an unknown id succeeds"),
    case!(unknown_id, "commands on an unknown id end with 1")
        .theirs("crun", "1.8.1 ends ps with 253"),
    case!(run_removes, "run removes the container when the program ended"),
    case!(run_removes_after_failure, "run removes the container when the program can't be executed"),
    case!(detach, "run --detach returns while the program runs on"),
    case!(keep, "run --keep leaves a stopped container").theirs("crun", "1.8.1 has no --keep"),
    case!(pid_file, "--pid-file holds the pid that state tells, without a newline"),
    case!(pid_file_of_run, "--pid-file works for run --detach"),
    case!(bundle_is_cwd, "the bundle is the current directory unless --bundle says otherwise"),
    case!(bundle_relative, "a relative --bundle is resolved and recorded as absolute"),
    case!(service_manager, "READY=1 of the program reaches the service manager, with the pid, and nothing else does")
        .theirs("crun", "1.8.1 tells no pid")
        .theirs("runc", "1.1.5 passes nothing on from run in the foreground"),
];

fn exit_code(ctx: &Ctx) -> Done {
    ctx.bundle().sh("exit 7").run()?.code(7)?;
    Ok(())
}

fn exit_code_255(ctx: &Ctx) -> Done {
    ctx.bundle().sh("exit 255").run()?.code(255)?;
    Ok(())
}

fn exit_by_signal(ctx: &Ctx) -> Done {
    let (c, running) = ctx.bundle().sh("echo up; exec sleep 1000").spawn()?;
    wait_for("the program", 8, || running.so_far().contains("up"))?;
    c.kill("KILL")?;
    running.wait()?.code(137)?;
    Ok(())
}

fn output(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("echo one; echo two >&2").run()?.ok()?;
    same!(out.out, "one\n", "standard output");
    same!(out.err, "two\n", "standard error");
    Ok(())
}

fn input(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&["/bin/cat"]).stdin(b"through\0and through").run()?.ok()?;
    same!(out.out, "through\0and through", "what cat printed");
    Ok(())
}

fn input_pipe(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/wc", "-c"]);
    b.write();
    let script = format!(
        "head -c 300000 /dev/zero | '{}' --root '{}' run --bundle '{}' {} | cat",
        ctx.runtime.display(),
        ctx.root.display(),
        b.dir.display(),
        b.id
    );
    let out = ctx.program("/bin/sh").args(&["-c", &script]).run()?.ok()?;
    same!(out.line(), "300000", "bytes that arrived");
    Ok(())
}

fn create_starts_nothing(ctx: &Ctx) -> Done {
    let shared = ctx.host_dir("shared");
    let source = shared.to_str().unwrap().to_owned();
    let c = ctx
        .bundle()
        .tweak(|c| c.mount("/mnt", "bind", &source, &["bind"]))
        .sh("echo ran > /mnt/mark")
        .create()?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    check!(!shared.join("mark").exists(), "the program ran before start");
    c.start()?;
    wait_for("the mark of the program", 8, || shared.join("mark").exists())
}

fn created_is_not_the_program(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/sleep", "1000"]).create()?;
    let pid = c.pid()?;
    let line = fs::read_to_string(format!("/proc/{pid}/cmdline"))?;
    check!(!line.contains("sleep\0"), "the program is executed already: {line:?}");
    c.start()?;
    wait_for("the program", 8, || {
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l.contains("sleep"))
    })
}

fn statuses(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/sleep", "1000"]).create()?;
    same!(c.status()?, "created", "after create");
    c.start()?;
    same!(c.status()?, "running", "after start");
    c.kill("KILL")?;
    c.wait("stopped")?;
    c.delete()?;
    c.ctx.rt(&["state", &c.id])?.code(1)?;
    Ok(())
}

fn config_is_read_at_create(ctx: &Ctx) -> Done {
    let c = ctx.bundle().sh("echo first; sleep 1000").create()?;
    let mut b = ctx.bundle().sh("echo second; sleep 1000");
    b.dir.clone_from(&c.dir);
    b.write();
    c.start()?;
    c.wait_out("\n")?;
    same!(c.out(), "first\n", "what ran");
    Ok(())
}

fn start_twice(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    c.try_start()?.fails()?;
    same!(c.status()?, "running", "status");
    Ok(())
}

fn start_stopped(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/true"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    c.try_start()?.fails()?;
    Ok(())
}

fn same_id(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let pid = c.pid()?;
    let mut second = ctx.bundle();
    second.id.clone_from(&c.id);
    second.config["linux"]["cgroupsPath"] = json!(format!("/{}-other", c.id));
    second.try_create()?.fails()?;
    same!(c.pid()?, pid, "pid of the first");
    same!(c.status()?, "running", "status of the first");
    c.sh("true")?.ok()?;
    Ok(())
}

fn same_id_race(ctx: &Ctx) -> Done {
    for round in 0..5 {
        let (a, mut b) = (ctx.bundle().args(&["/bin/sleep", "9"]), ctx.bundle().args(&["/bin/sleep", "9"]));
        b.id.clone_from(&a.id);
        let (one, two) = (a.call("create").spawn()?, b.call("create").spawn()?);
        let (one, two) = (one.wait()?, two.wait()?);
        let won = [one.code, two.code].iter().filter(|c| **c == 0).count();
        check!(won == 1, "round {round}: {won} creates succeeded; {} / {}", one.text(), two.text());
        ctx.rt(&["start", &a.id])?.ok()?;
        ctx.rt(&["delete", "--force", &a.id])?.ok()?;
    }
    Ok(())
}

fn id_again(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    for _ in 0..3 {
        b.call("run").run()?.code(3)?;
    }
    Ok(())
}

fn many_at_once(ctx: &Ctx) -> Done {
    let bundles: Vec<_> = (0..8).map(|n| ctx.bundle().sh(&format!("exit {n}"))).collect();
    let mut running = Vec::new();
    for b in &bundles {
        running.push(b.call("run").spawn()?);
    }
    for (n, r) in running.into_iter().enumerate() {
        r.wait()?.code(n as i32)?;
    }
    Ok(())
}

fn delete_running(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    ctx.rt(&["delete", &c.id])?.fails()?;
    same!(c.status()?, "running", "status");
    Ok(())
}

fn delete_force_running(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let pid = c.pid()?;
    c.delete_force()?;
    check!(!alive(pid), "init is still alive");
    ctx.rt(&["state", &c.id])?.fails()?;
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn delete_created(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    let pid = c.pid()?;
    ctx.rt(&["delete", &c.id])?.ok()?;
    check!(!alive(pid), "init is still alive");
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn delete_force_created(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    let pid = c.pid()?;
    c.delete_force()?;
    check!(!alive(pid), "init is still alive");
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn delete_force_paused(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let pid = c.pid()?;
    c.pause()?;
    c.delete_force()?;
    check!(!alive(pid), "init is still alive");
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn delete_stopped(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/true"]).create()?;
    check!(!host::cgroups_named(&c.id).is_empty(), "create made no cgroup");
    c.start()?;
    c.wait("stopped")?;
    c.delete()?;
    check!(!ctx.root.join(&c.id).exists(), "the state directory is still there");
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn delete_force_unknown(ctx: &Ctx) -> Done {
    ctx.rt(&["delete", "--force", &format!("{}-none", ctx.tag)])?.ok()?;
    Ok(())
}

fn unknown_id(ctx: &Ctx) -> Done {
    let id = format!("{}-none", ctx.tag);
    for command in [
        &["state", &id][..],
        &["start", &id],
        &["kill", &id, "TERM"],
        &["delete", &id],
        &["pause", &id],
        &["resume", &id],
        &["ps", &id],
        &["update", "--pids-limit", "10", &id],
    ] {
        let out = ctx.rt(command)?;
        check!(out.code == 1, "{command:?} ended with {}", out.code);
        out.fails()?;
    }
    Ok(())
}

fn run_removes(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 4");
    b.call("run").run()?.code(4)?;
    b.nothing_left()
}

fn run_removes_after_failure(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/no/such/program"]);
    let out = b.call("run").run()?.code(1)?.names(&["/no/such/program"])?;
    check!(out.out.is_empty(), "something was printed: {:?}", out.out);
    b.nothing_left()
}

fn detach(ctx: &Ctx) -> Done {
    let c = ctx.bundle().sh("echo up; sleep 1000").up()?;
    same!(c.status()?, "running", "status");
    c.wait_out("up\n")?;
    check!(alive(c.pid()?), "the program doesn't run");
    Ok(())
}

fn keep(ctx: &Ctx) -> Done {
    let b = ctx.bundle().option("--keep").sh("exit 5");
    b.call("run").run()?.code(5)?;
    let out = ctx.rt(&["state", &b.id])?.ok()?;
    check!(out.out.contains("stopped"), "state is {}", out.out);
    ctx.rt(&["delete", &b.id])?.ok()?;
    b.nothing_left()
}

fn pid_file(ctx: &Ctx) -> Done {
    let file = ctx.host_dir("pid").join("pid");
    let c = ctx.bundle().option("--pid-file").option(file.to_str().unwrap()).create()?;
    same!(fs::read_to_string(&file)?, c.pid()?.to_string(), "the file");
    Ok(())
}

fn pid_file_of_run(ctx: &Ctx) -> Done {
    let file = ctx.host_dir("pid").join("pid");
    let c = ctx.bundle().option("--pid-file").option(file.to_str().unwrap()).up()?;
    same!(fs::read_to_string(&file)?, c.pid()?.to_string(), "the file");
    Ok(())
}

fn bundle_is_cwd(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 6");
    b.write();
    ctx.call(&["run", &b.id]).cwd(&b.dir).run()?.code(6)?;
    Ok(())
}

fn bundle_relative(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/sleep", "1000"]);
    b.write();
    let name = b.dir.file_name().unwrap().to_str().unwrap().to_owned();
    ctx.call(&["create", "--bundle", &name, &b.id]).cwd(&ctx.dir).run()?.ok()?;
    let state: serde_json::Value = serde_json::from_str(&ctx.rt(&["state", &b.id])?.ok()?.out)?;
    same!(state["bundle"], json!(b.dir.to_str().unwrap()), "bundle");
    Ok(())
}

fn service_manager(ctx: &Ctx) -> Done {
    let path = ctx.host_dir("manager").join("socket");
    let manager = std::os::unix::net::UnixDatagram::bind(&path)?;
    manager.set_read_timeout(Some(Duration::from_secs(8)))?;
    let b = ctx.bundle().sh("hull-probe notify STATUS=busy; hull-probe notify \"$(printf 'READY=1\\nMAINPID=1')\"; sleep 1");
    let running = b.call("run").env("NOTIFY_SOCKET", &path).spawn()?;
    let mut heard = Vec::new();
    while !heard.last().is_some_and(|m: &String| m.starts_with("BARRIER")) {
        let mut buf = [0; 512];
        let n = manager.recv(&mut buf)?;
        heard.push(String::from_utf8_lossy(&buf[..n]).trim().to_owned());
    }
    let pid = running.pid();
    running.wait()?.ok()?;
    same!(heard, ["READY=1".to_owned(), format!("MAINPID={pid}"), "BARRIER=1".into()], "what the manager heard");
    Ok(())
}

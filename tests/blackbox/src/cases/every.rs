//! What a container has to do whatever its isolation: one table of rows, and a column for each isolation.
//!
//! Each row is run by one program (every.c), built for each isolation. A row that an isolation can't have says why, and
//! shows as a skip. Another runtime is measured by the column "process".

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::bundle::{Bundle, Container};
use crate::call::Output;
use crate::case::{Case, Done, Stop, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, alive, cgroup_dir, wait_for};
use crate::tty::Pty;

/// An isolation under test: a column of the table.
struct Isolation {
    name: &'static str,
    /// The program built for it, as the container sees it.
    program: &'static str,
    /// The engine that hull needs for it, which has to be beside it.
    engine: Option<&'static str>,
}

const PROCESS: Isolation = Isolation { name: "process", program: "/bin/every", engine: None };
const WASM: Isolation = Isolation { name: "wasm", program: "/bin/every.wasm", engine: Some("hull-wasm") };

/// A container of an isolation.
struct On<'a> {
    ctx: &'a Ctx,
    isolation: &'static Isolation,
}

/// Rows: `name "point", (isolation "why it has no such row")..., .mark(...)...;`
macro_rules! table {
    ($($row:ident $point:literal $(, not $isolation:ident $why:literal)* $(, .$mark:ident($($arg:literal),*))*;)*) => {
        pub(crate) const CASES: &[Case] = &[$(
            Case::new(concat!("process_", stringify!($row)), $point, |ctx| {
                column(ctx, &PROCESS, $row, &[$((stringify!($isolation), $why)),*])
            })$(.$mark($($arg),*))*,
            Case::new(concat!("wasm_", stringify!($row)), $point, |ctx| {
                column(ctx, &WASM, $row, &[$((stringify!($isolation), $why)),*])
            }),
        )*];
    };
}

table! {
    exit_codes "the program's exit code is the container's";
    arguments "arguments arrive as they are: empty, with spaces, in any script";
    environment "the environment arrives, and the caller's own does not";
    cwd "the program starts in the working directory", not wasm "WASI preview 1 has no working directory: its C library starts at /";
    input "standard input arrives to its end";
    no_input "an empty standard input ends at once";
    streams "standard output and standard error stay apart";
    much_output "megabytes of output arrive whole";
    missing_program "a missing program is refused by name, and nothing is left";
    terminal "a terminal is one for the program, and what is typed arrives";
    terminal_size "it has the caller's size", not wasm "WASI can't ask for the size of a terminal", .theirs("crun", "1.8.1 leaves it 0 by 0");
    no_terminal "without one, none of the standard streams is a terminal";
    killed "KILL ends it: 137";
    terminated "TERM and INT end it, with 128 and the signal's number, though it does nothing but count";
    lifecycle "created, running, stopped, gone";
    delete_running "delete refuses one that runs; by force it goes, with its process and cgroup";
    kill_stopped "kill of a stopped container is an error";
    detached "run --detach leaves it running, and --pid-file names its process";
    two_at_once "two containers of one program don't mix";
    nothing_left "run leaves nothing";
    listed "list has it";
    root_read_only "a read-only root can't be written to";
    file_operations "files and directories are made, renamed, linked, listed, removed";
    bind_read_only "a read-only bind can be read, and not written to";
    bind "what is written to a bind is there on the host, and the other way round";
    bind_of_file "a file can be bound over another";
    tmpfs "a tmpfs can be written to, and ends with the container";
    tmpfs_size "a tmpfs has the size that it is given";
    source_missing "a bind of what isn't there is refused by name, and nothing is left";
    masked "a masked file shows nothing";
    path_read_only "a read-only path in a writable root can't be written to";
    user "a user reads and makes files as that user";
    group "a further group lets it read what is the group's";
    umask "umask applies to files that are made";
    user_namespace "root of a user namespace is nobody on the host";
    filter "config.json's seccomp filter applies to what the program does";
    memory_limit "it gets no more memory than its limit";
    pids_limit "it makes no more processes than its limit", not wasm "a module makes no processes";
    cgroup "its process is in its cgroup";
    update "update changes the limits of one that runs";
    stats "events --stats tells what it takes", .theirs("crun", "1.8.1 has no events");
    pause "pause halts it, resume lets it go on, and a paused one can be removed";
    ps "ps lists its process";
    state "state tells its status, process, bundle and annotations";
    exec "exec adds a process, with an exit code, arguments and streams of its own";
    exec_environment "with variables of its own, beside the container's", .theirs("crun", "1.8.1 leaves out the container's");
    exec_cwd "with a working directory of its own", not wasm "WASI preview 1 has no working directory";
    exec_user "as a user of its own";
    exec_detached "exec --detach leaves it running";
    exec_terminal "with a terminal";
    exec_missing "exec of a missing program is an error that names it";
    exec_stopped "exec into a stopped container is an error";
    hooks "hooks run in their order, with the state on standard input";
    hook_fails "a failing hook fails create, and nothing is left";
    hostname "it has the host name of config.json", not wasm "WASI can't ask for the host's name";
    loopback "it talks to itself over the loopback of its network namespace",
        not wasm "WASI preview 1 makes no sockets; those of 0.2 are a component's";
    clocks "clocks tell the time, and sleep takes it";
    random "random numbers are";
}

/// Runs a row for one isolation, unless it has none.
fn column(ctx: &Ctx, isolation: &'static Isolation, row: fn(&On<'_>) -> Done, not: &[(&str, &str)]) -> Done {
    if let Some((_, why)) = not.iter().find(|(name, _)| *name == isolation.name) {
        skip!("{why}");
    }
    if let Some(engine) = isolation.engine {
        if !ctx.is_hull() {
            skip!("hull's own");
        }
        if !ctx.runtime.with_file_name(engine).exists() {
            skip!("{engine} is not built");
        }
    }
    if !ctx.base.join(&isolation.program[1..]).exists() {
        skip!("no compiler made {}", isolation.program);
    }
    row(&On { ctx, isolation })
}

impl<'a> On<'a> {
    /// A container that does this.
    fn does(&self, args: &[&str]) -> Bundle<'a> {
        let b = self.ctx.bundle().args(&self.args(args));
        if self.isolation.engine.is_some() { b.option("--isolation").option(self.isolation.name) } else { b }
    }

    fn args<'b>(&self, args: &[&'b str]) -> Vec<&'b str> {
        [&[self.isolation.program], args].concat()
    }

    /// One that stays, and is known to run.
    fn up(&self, args: &[&str]) -> Result<Container<'a>, Stop> {
        self.up_as(self.does(args))
    }

    fn up_as(&self, b: Bundle<'a>) -> Result<Container<'a>, Stop> {
        let c = b.up()?;
        wait_for("the program's first word", 8, || !c.out().is_empty())?;
        Ok(c)
    }

    fn exec(&self, c: &Container<'_>, options: &[&str], args: &[&str]) -> Result<Output, Stop> {
        c.exec_with(options, &self.args(args))
    }
}

fn exit_codes(on: &On) -> Done {
    for code in [0, 1, 42, 125, 126, 255] {
        on.does(&["exit", &code.to_string()]).run()?.code(code)?;
    }
    Ok(())
}

fn arguments(on: &On) -> Done {
    let out = on.does(&["args", "a b", "", "-x", "--", "größe 尺寸 🐚", "two\nlines", "'\"$x\\"]).run()?.ok()?;
    same!(out.out, "<a b>\n<>\n<-x>\n<-->\n<größe 尺寸 🐚>\n<two\nlines>\n<'\"$x\\>\n", "arguments");
    Ok(())
}

fn environment(on: &On) -> Done {
    let b = on.does(&["env"]).set("/process/env", json!(["A=1", "B=x=y z", "EMPTY=", "ü=größe"]));
    let out = b.call("run").env("CALLERS", "own").run()?.ok()?;
    for line in ["A=1", "B=x=y z", "EMPTY=", "ü=größe"] {
        check!(out.out.lines().any(|l| l == line), "no {line:?}: {}", out.text());
    }
    check!(!out.out.contains("CALLERS"), "{}", out.text());
    Ok(())
}

fn cwd(on: &On) -> Done {
    same!(on.does(&["cwd"]).set("/process/cwd", json!("/home/user")).run()?.ok()?.line(), "/home/user", "working directory");
    Ok(())
}

fn input(on: &On) -> Done {
    let text = (0..200_000).map(|n| format!("{n}\n")).collect::<String>();
    let out = on.does(&["cat"]).stdin(text.as_bytes()).run()?.ok()?;
    check!(out.out == text, "{} of {} bytes came back, or others", out.out.len(), text.len());
    Ok(())
}

fn no_input(on: &On) -> Done {
    same!(on.does(&["cat"]).run()?.ok()?.out, "", "output");
    Ok(())
}

fn streams(on: &On) -> Done {
    let out = on.does(&["both"]).run()?.ok()?;
    same!((out.out.as_str(), out.err.as_str()), ("to output\n", "to error\n"), "output");
    Ok(())
}

fn much_output(on: &On) -> Done {
    const LINES: usize = 100_000;
    let out = on.does(&["much", &LINES.to_string()]).run()?.ok()?.out;
    same!((out.len(), out.lines().count()), (LINES * 64, LINES), "bytes and lines");
    let good = out.lines().enumerate().all(|(n, line)| line.starts_with(&format!("{n:07}.")));
    check!(good, "lines came in another order");
    Ok(())
}

fn missing_program(on: &On) -> Done {
    let b = on.does(&[]).args(&["/no/such/program"]);
    b.refused(&["/no/such/program"])?;
    Ok(())
}

fn terminal(on: &On) -> Done {
    let b = on.does(&["tty"]).set("/process/terminal", json!(true));
    let out = Pty::new()?.run(b.call("run"), "", b"")?.ok()?;
    check!(out.out.contains("isatty 1 1 1\r\n"), "{}", out.text());
    let b = on.does(&["echo"]).set("/process/terminal", json!(true));
    let out = Pty::new()?.run(b.call("run"), "ready", b"typed\n")?.ok()?;
    check!(out.out.contains("got typed\r\n"), "{}", out.text());
    Ok(())
}

fn terminal_size(on: &On) -> Done {
    // It is set while the program begins.
    let begun = Instant::now();
    loop {
        let b = on.does(&["size"]).set("/process/terminal", json!(true));
        let out = Pty::new()?.run(b.call("run"), "", b"")?.ok()?;
        if out.out.contains("size 33 77\r\n") {
            return Ok(());
        }
        check!(begun.elapsed() < Duration::from_secs(8), "{}", out.text());
    }
}

fn no_terminal(on: &On) -> Done {
    same!(on.does(&["tty"]).run()?.ok()?.line(), "isatty 0 0 0", "terminals");
    Ok(())
}

/// The exit code of one that a signal ends.
fn ended_by(on: &On, args: &[&str], signal: &str) -> Result<i32, Stop> {
    let (c, running) = on.does(args).spawn()?;
    c.wait_out("ready")?;
    let begun = Instant::now();
    c.kill(signal)?;
    let code = running.wait()?.code;
    check!(begun.elapsed() < Duration::from_secs(5), "{signal}: it took {:?}", begun.elapsed());
    Ok(code)
}

fn killed(on: &On) -> Done {
    same!(ended_by(on, &["spin"], "KILL")?, 137, "exit code");
    Ok(())
}

fn terminated(on: &On) -> Done {
    for (signal, code) in [("TERM", 143), ("INT", 130), ("HUP", 129), ("USR1", 138)] {
        for what in ["spin", "stay"] {
            same!(ended_by(on, &[what], signal)?, code, "exit code of {what} after {signal}");
        }
    }
    Ok(())
}

fn lifecycle(on: &On) -> Done {
    let c = on.does(&["stay"]).create()?;
    same!(c.status()?, "created", "status");
    check!(c.out().is_empty(), "it ran before start");
    c.start()?;
    c.wait_out("ready")?;
    same!(c.status()?, "running", "status");
    check!(c.try_start()?.code != 0, "it was started twice");
    c.kill("TERM")?;
    c.wait("stopped")?;
    c.delete()?;
    c.ctx.rt(&["state", &c.id])?.fails()?;
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn delete_running(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let pid = c.pid()?;
    on.ctx.rt(&["delete", &c.id])?.fails()?;
    same!(c.status()?, "running", "status");
    c.delete_force()?;
    wait_for("the end of its process", 4, || !alive(pid))?;
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    Ok(())
}

fn kill_stopped(on: &On) -> Done {
    let c = on.does(&["exit", "0"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    on.ctx.rt(&["kill", &c.id, "TERM"])?.fails()?;
    Ok(())
}

fn detached(on: &On) -> Done {
    let file = on.ctx.host_dir("pid").join("pid");
    let b = on.does(&["stay"]).option("--pid-file").option(file.to_str().unwrap_or_default());
    let c = on.up_as(b)?;
    same!(fs::read_to_string(&file)?, c.pid()?.to_string(), "the file");
    check!(alive(c.pid()?), "it doesn't run");
    Ok(())
}

fn two_at_once(on: &On) -> Done {
    let (a, one) = on.does(&["stay"]).spawn()?;
    let (b, two) = on.does(&["spin"]).spawn()?;
    a.wait_out("ready")?;
    b.wait_out("ready")?;
    check!(a.pid()? != b.pid()?, "one process is both");
    a.kill("TERM")?;
    one.wait()?.code(143)?;
    same!(b.status()?, "running", "status of the other");
    b.kill("KILL")?;
    two.wait()?.code(137)?;
    Ok(())
}

fn nothing_left(on: &On) -> Done {
    let b = on.does(&["exit", "3"]);
    b.call("run").run()?.code(3)?;
    b.nothing_left()
}

fn listed(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let list: Value = serde_json::from_str(&on.ctx.rt(&["list", "--format", "json"])?.ok()?.out)?;
    let found = list.as_array().into_iter().flatten().find(|e| e["id"] == json!(c.id)).ok_or("it is not listed")?;
    same!((&found["status"], &found["pid"]), (&json!("running"), &json!(c.pid()?)), "status and process");
    Ok(())
}

fn root_read_only(on: &On) -> Done {
    for path in ["/new", "/etc/data", "/bin/new"] {
        let b = on.does(&["put", path, "x"]);
        let file = b.rootfs().join(&path[1..]);
        let before = fs::read(&file).ok();
        b.run()?.code(1)?.names(&[path])?;
        same!(fs::read(&file).ok(), before, "what {path} holds");
    }
    Ok(())
}

fn file_operations(on: &On) -> Done {
    let b = on.does(&["files", "/root"]).rw();
    let dir = b.rootfs().join("root");
    same!(b.run()?.ok()?.line(), "2", "entries of a directory");
    same!(fs::read_dir(dir)?.count(), 0, "entries left");
    Ok(())
}

/// A directory of the host that anybody may write to, with a file, and where the container is to have it.
fn shared(on: &On) -> Result<PathBuf, Stop> {
    let dir = on.ctx.host_dir("shared");
    fs::write(dir.join("file"), "of the host\n")?;
    Ok(dir)
}

fn bound<'a>(on: &On<'a>, args: &[&str], options: &[&str]) -> Result<(Bundle<'a>, PathBuf), Stop> {
    let dir = shared(on)?;
    let b = on.does(args).tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap_or_default(), options));
    Ok((b, dir))
}

fn bind_read_only(on: &On) -> Done {
    let options = ["bind", "ro"];
    same!(bound(on, &["cat", "/mnt/file"], &options)?.0.run()?.ok()?.out, "of the host\n", "a file");
    for args in [["put", "/mnt/new", "x"], ["put", "/mnt/file", "x"], ["mkdir", "/mnt/dir", ""]] {
        let (b, dir) = bound(on, &args, &options)?;
        b.run()?.code(1)?;
        let left: Vec<_> = fs::read_dir(&dir)?.flatten().map(|e| e.file_name()).collect();
        same!((left, fs::read_to_string(dir.join("file"))?), (vec!["file".into()], "of the host\n".to_owned()), "the directory");
    }
    Ok(())
}

fn bind(on: &On) -> Done {
    let (b, dir) = bound(on, &["put", "/mnt/new", "from inside"], &["bind"])?;
    b.run()?.ok()?;
    same!(fs::read_to_string(dir.join("new"))?, "from inside", "what was written");
    let (b, dir) = bound(on, &["stay"], &["bind"])?;
    let c = on.up_as(b)?;
    fs::write(dir.join("later"), "came later\n")?;
    same!(on.exec(&c, &[], &["cat", "/mnt/later"])?.ok()?.out, "came later\n", "a file that came later");
    Ok(())
}

fn bind_of_file(on: &On) -> Done {
    let file = shared(on)?.join("file");
    let b = on.does(&["cat", "/etc/data"]).tweak(|c| c.mount("/etc/data", "bind", file.to_str().unwrap_or_default(), &["bind", "ro"]));
    same!(b.run()?.ok()?.out, "of the host\n", "the file");
    Ok(())
}

fn tmpfs(on: &On) -> Done {
    let b = on.does(&["keep", "/mnt/file", "kept"]).tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["nosuid", "nodev"]));
    let dir = b.rootfs().join("mnt");
    same!(b.run()?.ok()?.out, "kept", "what was read");
    same!(fs::read_dir(dir)?.count(), 0, "files in the root file system");
    Ok(())
}

fn tmpfs_size(on: &On) -> Done {
    let run = |length: usize| {
        let options = &["nosuid", "nodev", "size=64k"];
        on.does(&["put", "/mnt/file", &"x".repeat(length)]).tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", options)).run()
    };
    run(1 << 15)?.ok()?;
    run(100_000)?.code(1)?;
    Ok(())
}

fn source_missing(on: &On) -> Done {
    let b = on.does(&["exit", "0"]).tweak(|c| c.mount("/mnt", "bind", "/no/such/source", &["bind"]));
    b.refused(&["/no/such/source"])?;
    Ok(())
}

fn masked(on: &On) -> Done {
    let b = on.does(&["cat", "/etc/data"]).tweak(|c| c["linux"]["maskedPaths"] = json!(["/etc/data"]));
    same!(b.run()?.out, "", "what it shows");
    Ok(())
}

fn path_read_only(on: &On) -> Done {
    let run = |path: &str| on.does(&["put", path, "x"]).rw().tweak(|c| c["linux"]["readonlyPaths"] = json!(["/etc"])).run();
    run("/etc/new")?.code(1)?;
    run("/root/new")?.ok()?;
    Ok(())
}

/// A file of that owner, group and mode in the container's root.
fn owned<'a>(b: Bundle<'a>, id: u32, mode: u32) -> Result<Bundle<'a>, Stop> {
    let file = b.rootfs().join("etc/owned");
    fs::write(&file, "owned\n")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(mode))?;
    crate::ctx::chown(&file, id);
    Ok(b)
}

fn user(on: &On) -> Done {
    let run = |id: u32, args: &[&str]| owned(on.does(args).set("/process/user", json!({ "uid": 1000, "gid": 1000 })), id, 0o600)?.run();
    same!(run(1000, &["cat", "/etc/owned"])?.ok()?.out, "owned\n", "a file of its own");
    run(0, &["cat", "/etc/owned"])?.code(1)?;
    let (b, dir) = bound(on, &["put", "/mnt/new", "x"], &["bind"])?;
    b.set("/process/user", json!({ "uid": 1000, "gid": 2000 })).run()?.ok()?;
    let made = fs::metadata(dir.join("new"))?;
    same!((made.uid(), made.gid()), (1000, 2000), "owner and group of a file that it made");
    Ok(())
}

fn group(on: &On) -> Done {
    let run = |groups: Value| {
        let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": groups });
        owned(on.does(&["cat", "/etc/owned"]).set("/process/user", user), 3000, 0o640)?.run()
    };
    run(json!([3000]))?.ok()?;
    run(json!([3001]))?.code(1)?;
    Ok(())
}

fn umask(on: &On) -> Done {
    for (mask, mode) in [(0o077, 0o600), (0o022, 0o644)] {
        let (b, dir) = bound(on, &["put", "/mnt/new", "x"], &["bind"])?;
        b.set("/process/user/umask", json!(mask)).run()?.ok()?;
        same!(fs::metadata(dir.join("new"))?.mode() & 0o777, mode, "mode under umask {mask:o}");
    }
    Ok(())
}

fn user_namespace(on: &On) -> Done {
    let (b, dir) = bound(on, &["put", "/mnt/new", "x"], &["bind"])?;
    b.tweak(Edit::userns).run()?.ok()?;
    same!(fs::metadata(dir.join("new"))?.uid(), 100_000, "owner on the host of a file that root inside made");
    owned(on.does(&["cat", "/etc/owned"]).tweak(Edit::userns), 1000, 0o600)?.run()?.code(1)?;
    Ok(())
}

fn filter(on: &On) -> Done {
    let run = |action: &str| {
        let rule = json!({ "names": ["mkdir", "mkdirat"], "action": action, "errnoRet": 1 });
        let filter = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule] });
        let rule = action != "SCMP_ACT_ALLOW";
        let b = on.does(&["mkdir", "/root/new"]).rw();
        if rule { b.set("/linux/seccomp", filter).run() } else { b.run() }
    };
    run("SCMP_ACT_ALLOW")?.ok()?;
    run("SCMP_ACT_ERRNO")?.code(1)?.names(&["/root/new"])?;
    Ok(())
}

fn memory_limit(on: &On) -> Done {
    if !host::has_controller("memory") {
        skip!("no controller memory");
    }
    let limit: i64 = 64 << 20;
    let out = on.does(&["eat", "500"]).set("/linux/resources/memory", json!({ "limit": limit, "swap": limit })).run()?;
    let most: u32 = out.out.lines().last().unwrap_or("0").parse()?;
    check!((8..64).contains(&most), "{most} MiB could be had; {}", out.err);
    same!(on.does(&["eat", "100"]).run()?.ok()?.out.lines().count(), 100, "MiB without a limit");
    Ok(())
}

fn pids_limit(on: &On) -> Done {
    if !host::has_controller("pids") {
        skip!("no controller pids");
    }
    let out = on.does(&["forks", "100"]).set("/linux/resources/pids/limit", json!(10)).run()?;
    same!(out.line(), "9", "processes beside the first");
    Ok(())
}

fn cgroup(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let text = fs::read_to_string(format!("/proc/{}/cgroup", c.pid()?))?;
    check!(text.contains(&c.id), "{text}");
    check!(!host::cgroups_named(&c.id).is_empty(), "there is none");
    Ok(())
}

fn update(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let Some(dir) = cgroup_dir(c.pid()?, "pids") else { skip!("no cgroup v1 with pids in this view") };
    on.ctx.rt(&["update", "--pids-limit", "77", &c.id])?.ok()?;
    same!(fs::read_to_string(dir.join("pids.max"))?.trim(), "77", "limit");
    same!(c.status()?, "running", "status");
    Ok(())
}

fn stats(on: &On) -> Done {
    if !host::has_controller("memory") {
        skip!("no controller memory");
    }
    let c = on.up(&["spin"])?;
    let stats = || -> Result<Value, Stop> { Ok(serde_json::from_str(&on.ctx.rt(&["events", "--stats", &c.id])?.ok()?.out)?) };
    let (one, total) = (stats()?, |v: &Value| v["data"]["cpu"]["usage"]["total"].as_u64().unwrap_or(0));
    check!(one["data"]["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0), "{one}");
    wait_for("CPU time to be told", 5, || stats().is_ok_and(|v| total(&v) > total(&one)))
}

fn pause(on: &On) -> Done {
    let c = on.up(&["tick"])?;
    c.pause()?;
    same!(c.status()?, "paused", "status");
    let before = c.out().len();
    std::thread::sleep(Duration::from_millis(200));
    same!(c.out().len(), before, "bytes of output while paused");
    c.resume()?;
    same!(c.status()?, "running", "status");
    wait_for("more output", 5, || c.out().len() > before)?;
    c.pause()?;
    c.delete_force()
}

fn ps(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let pids: Vec<i32> = serde_json::from_str(&on.ctx.rt(&["ps", "--format", "json", &c.id])?.ok()?.out)?;
    same!(pids, [c.pid()?], "processes");
    Ok(())
}

fn state(on: &On) -> Done {
    let c = on.up_as(on.does(&["stay"]).tweak(|c| c["annotations"] = json!({ "a.key": "a value" })))?;
    let state = c.state()?;
    same!((&state["id"], &state["status"]), (&json!(c.id), &json!("running")), "id and status");
    same!(state["bundle"], json!(c.dir.to_str()), "bundle");
    same!(state["annotations"]["a.key"], json!("a value"), "annotation");
    check!(alive(c.pid()?), "its process is not there");
    Ok(())
}

fn exec(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    for code in [0, 1, 42] {
        on.exec(&c, &[], &["exit", &code.to_string()])?.code(code)?;
    }
    same!(on.exec(&c, &[], &["args", "a b", "-x"])?.ok()?.out, "<a b>\n<-x>\n", "arguments");
    let out = on.exec(&c, &[], &["both"])?.ok()?;
    same!((out.out.as_str(), out.err.as_str()), ("to output\n", "to error\n"), "output");
    let out = c.exec_call(&[], &on.args(&["cat"])).stdin(b"from outside").run()?.ok()?;
    same!(out.out, "from outside", "input");
    same!(c.status()?, "running", "status");
    Ok(())
}

fn exec_environment(on: &On) -> Done {
    let c = on.up_as(on.does(&["stay"]).set("/process/env", json!(["A=of the container"])))?;
    let out = on.exec(&c, &["--env", "B=of exec"], &["env"])?.ok()?.out;
    for line in ["A=of the container", "B=of exec"] {
        check!(out.lines().any(|l| l == line), "no {line:?} in {out:?}");
    }
    Ok(())
}

fn exec_cwd(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    same!(on.exec(&c, &["--cwd", "/home/user"], &["cwd"])?.ok()?.line(), "/home/user", "working directory");
    Ok(())
}

fn exec_user(on: &On) -> Done {
    let c = on.up_as(owned(on.does(&["stay"]), 1000, 0o600)?)?;
    same!(on.exec(&c, &["--user", "1000:1000"], &["cat", "/etc/owned"])?.ok()?.out, "owned\n", "a file of its own");
    on.exec(&c, &["--user", "1001:1001"], &["cat", "/etc/owned"])?.code(1)?;
    Ok(())
}

fn exec_detached(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let file = on.ctx.host_dir("pid").join("pid");
    on.exec(&c, &["--detach", "--pid-file", file.to_str().unwrap_or_default()], &["stay"])?.ok()?;
    let pid: i32 = fs::read_to_string(&file)?.trim().parse()?;
    check!(alive(pid), "it doesn't run");
    let mut pids: Vec<i32> = serde_json::from_str(&on.ctx.rt(&["ps", "--format", "json", &c.id])?.ok()?.out)?;
    pids.sort_unstable();
    let mut both = vec![c.pid()?, pid];
    both.sort_unstable();
    same!(pids, both, "processes");
    Ok(())
}

fn exec_terminal(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    let out = Pty::new()?.run(c.exec_call(&["--tty"], &on.args(&["tty"])), "", b"")?.ok()?;
    check!(out.out.contains("isatty 1 1 1\r\n"), "{}", out.text());
    Ok(())
}

fn exec_missing(on: &On) -> Done {
    let c = on.up(&["stay"])?;
    c.exec(&["/no/such/program"])?.fails()?.names(&["/no/such/program"])?;
    same!(c.status()?, "running", "status");
    Ok(())
}

fn exec_stopped(on: &On) -> Done {
    let c = on.does(&["exit", "0"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    on.exec(&c, &[], &["exit", "0"])?.fails()?;
    Ok(())
}

fn hooks(on: &On) -> Done {
    let log = on.ctx.host_dir("hooks").join("log");
    let hook = |kind: &str| json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("printf '{kind} ' >>{0}; cat >>{0}; echo >>{0}", log.display())] }]);
    let b = on.does(&["exit", "0"]).tweak(|c| {
        for kind in ["createRuntime", "poststart", "poststop"] {
            c["hooks"][kind] = hook(kind);
        }
    });
    let id = b.id.clone();
    let c = b.create()?;
    c.start()?;
    c.wait("stopped")?;
    c.delete()?;
    let text = fs::read_to_string(&log)?;
    let mut kinds = Vec::new();
    for line in text.lines() {
        let (kind, state) = line.split_once(' ').ok_or("no state")?;
        let state: Value = serde_json::from_str(state)?;
        same!(state["id"], json!(id), "id that {kind} was given");
        kinds.push(kind.to_owned());
    }
    same!(kinds, ["createRuntime", "poststart", "poststop"], "hooks in their order");
    Ok(())
}

fn hook_fails(on: &On) -> Done {
    let b = on.does(&["exit", "0"]).tweak(|c| c["hooks"]["createRuntime"] = json!([{ "path": "/bin/false" }]));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn hostname(on: &On) -> Done {
    same!(on.does(&["hostname"]).set("/hostname", json!("a-name")).run()?.ok()?.line(), "a-name", "host name");
    Ok(())
}

fn loopback(on: &On) -> Done {
    same!(on.does(&["loopback"]).run()?.ok()?.line(), "across", "what came across");
    Ok(())
}

fn clocks(on: &On) -> Done {
    let out = on.does(&["clocks"]).run()?.ok()?;
    let mut numbers = out.line().split(' ').map(str::parse::<u64>);
    let (real, slept) = (numbers.next().ok_or("no time")??, numbers.next().ok_or("no duration")??);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    check!(now.abs_diff(real) < 30, "it is {real}, and {now} on the host");
    check!((50..10_000).contains(&slept), "50 ms of sleep took {slept} ms");
    Ok(())
}

fn random(on: &On) -> Done {
    let draw = || -> Result<String, Stop> { Ok(on.does(&["random"]).run()?.ok()?.line().to_owned()) };
    let (one, two) = (draw()?, draw()?);
    check!(one.len() == 64 && one != two, "{one} and {two}");
    Ok(())
}

//! Isolation "wasm": modules and components in hull's engine, which is itself in the jail.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host;
use crate::http::inside;

pub(crate) const CASES: &[Case] = &[
    case!(arguments, "arguments reach the module, its own name first"),
    case!(environment, "the environment reaches it, and nothing else does"),
    case!(exit_code, "its exit code is the container's"),
    case!(standard_streams, "standard input, output and error are the container's"),
    case!(terminal, "a terminal is one for the module too"),
    case!(chosen_by_annotation, "the annotations of hull, crun and Docker choose it"),
    case!(compat_smart, "compat-smart runs a module by the engine, and another program as it is"),
    case!(text, "a module may be text"),
    case!(function, "#function calls that function"),
    case!(component, "a component runs, and its result is the exit code"),
    case!(component_async, "a component of WASI 0.3 runs, and waits without blocking"),
    case!(proposals, "SIMD, tail calls, garbage collection, exceptions, atomics, several and 64-bit memories are there"),
    case!(sockets, "a component connects in the container's network namespace, and only there"),
    case!(sockets_that_serve, "one listens for TCP, and one answers datagrams, in the container's network namespace"),
    case!(files, "files are those of the container: read, written, listed"),
    case!(mounts, "mounts are seen, and a read-only one stays read-only"),
    case!(no_escape, "no link and no .. leads out of the container's root"),
    case!(no_procfs, "a module sees no procfs, by which it could write to its engine's memory; a bind of one is refused"),
    case!(no_procfs_later, "none comes to be there later from the host, and what would let it is refused by its field"),
    case!(no_right_by_root, "root inside reads no file of the image that only another may read"),
    case!(term_in_loop, "TERM ends a module that does nothing but count"),
    case!(term_asleep, "TERM ends a module that sleeps or reads"),
    case!(term_early, "a TERM that comes before the engine is ready isn't lost"),
    case!(lifecycle, "create, start, state, ps, pause, resume, kill, delete work"),
    case!(exec, "exec runs another module, with its own code"),
    case!(exec_function, "exec of #function"),
    case!(trap, "a trap is told with its backtrace, and ends with wasmtime's code"),
    case!(import_missing, "an import that nobody has is named when the container is created, and nothing is left"),
    case!(no_module, "what is no module is refused by name"),
    case!(no_precompiled, "machine code that somebody brings is refused, even hull's own of the same module"),
    case!(missing, "a module that isn't there is refused as a program is"),
    case!(not_a_file, "a directory and a fifo are refused, and don't hang"),
    case!(memory, "linear memory ends at the container's limit, and the module goes on"),
    case!(engine_is_jailed, "the engine has no capability, can gain none, and has a filter of its own"),
    case!(code_is_read_only, "neither the engine's file nor the code can be opened for writing from where they run"),
    case!(user, "the engine is the user of config.json"),
    case!(user_namespace, "in a user namespace too"),
    case!(cached, "a module is compiled once, and again when it changes"),
    case!(cache_guarded, "code that others could have written is not run, but made anew"),
    case!(cache_damaged, "code that root has damaged is told by the module's name"),
    case!(cache_without_exec, "code may lie where nothing is to be executed, as /run is mounted"),
    case!(cache_of_another, "a directory of code that others can write to is refused"),
    case!(cache_bounded, "what code takes is bounded: the least recently used goes, even while it runs"),
    case!(compiler_is_jailed, "the compiler is nobody, without rights and descriptors, under a filter"),
    case!(called_by_relative_name, "the engine is found where hull was called by a relative name, and nowhere else"),
    case!(compiled_at_once, "of several hulls that want one module one compiles it, and all run it"),
    case!(too_large, "a file larger than any module is refused, and soon"),
    case!(rootless, "an ordinary user runs a module"),
    case!(do_, "do runs a module of the host without a bundle"),
    case!(features, "features lists the isolations that are installed"),
];

/// Skips where there is no engine, or no compiler that made the probe.
pub(super) fn module(ctx: &Ctx) -> Result<Bundle<'_>, Stop> {
    engine(ctx)?;
    if !ctx.base.join("bin/probe.wasm").exists() {
        skip!("no clang for wasm32-wasi");
    }
    Ok(ctx.bundle().option("--isolation").option("wasm"))
}

fn engine(ctx: &Ctx) -> Done {
    if !ctx.is_hull() {
        skip!("hull's own");
    }
    if !ctx.runtime.with_file_name("hull-wasm").exists() {
        skip!("hull-wasm is not built");
    }
    Ok(())
}

const PROBE: &str = "/bin/probe.wasm";

fn probe<'a>(b: Bundle<'a>, args: &[&str]) -> Bundle<'a> {
    b.args(&[&[PROBE], args].concat())
}

fn arguments(ctx: &Ctx) -> Done {
    let out = probe(module(ctx)?, &["args", "a b", "", "-x"]).run()?.ok()?;
    same!(out.out, "/bin/probe.wasm\nargs\na b\n\n-x\n", "arguments");
    Ok(())
}

fn environment(ctx: &Ctx) -> Done {
    let out = probe(module(ctx)?, &["env"]).set("/process/env", json!(["A=1", "B=x=y"])).run()?.ok()?;
    same!(out.out, "A=1\nB=x=y\n", "environment");
    Ok(())
}

fn exit_code(ctx: &Ctx) -> Done {
    for code in [0, 1, 7, 125] {
        probe(module(ctx)?, &["exit", &code.to_string()]).run()?.code(code)?;
    }
    Ok(())
}

fn standard_streams(ctx: &Ctx) -> Done {
    let out = probe(module(ctx)?, &["cat"]).stdin(b"from outside").run()?.ok()?;
    same!((out.out.as_str(), out.err.as_str()), ("from outside", ""), "output");
    let out = probe(module(ctx)?, &["err"]).run()?.ok()?;
    same!((out.out.as_str(), out.err.as_str()), ("", "to stderr\n"), "output");
    Ok(())
}

fn terminal(ctx: &Ctx) -> Done {
    let b = probe(module(ctx)?, &["args"]).set("/process/terminal", json!(true));
    let out = crate::tty::Pty::new()?.run(b.call("run"), "args", b"")?;
    check!(out.out.contains("args\r\n"), "{}", out.text());
    Ok(())
}

fn chosen_by_annotation(ctx: &Ctx) -> Done {
    module(ctx)?;
    for (key, value) in [
        ("dev.hull.isolation", "wasm"), ("run.oci.handler", "wasm"), ("run.oci.handler", "wasmtime"),
        ("module.wasm.image/variant", "compat"),
    ] {
        let b = probe(ctx.bundle(), &["args"]).tweak(|c| c["annotations"] = json!({ key: value }));
        same!(b.run()?.ok()?.out, "/bin/probe.wasm\nargs\n", "arguments, by {key}={value}");
    }
    Ok(())
}

fn compat_smart(ctx: &Ctx) -> Done {
    module(ctx)?;
    let bundle = |args: &[&str]| {
        ctx.bundle().args(args).tweak(|c| c["annotations"] = json!({ "module.wasm.image/variant": "compat-smart" }))
    };
    same!(bundle(&[PROBE, "args"]).run()?.ok()?.out, "/bin/probe.wasm\nargs\n", "a module's output");
    same!(bundle(&["probe.wasm", "args"]).run()?.ok()?.out, "probe.wasm\nargs\n", "output of a module in $PATH");
    same!(bundle(&["/bin/echo", "args"]).run()?.ok()?.out, "args\n", "a program's output");
    // A link to the host's module is one to nowhere.
    let b = bundle(&["/link"]);
    symlink(ctx.base.join("bin/probe.wasm"), b.rootfs().join("link"))?;
    b.run()?.fails()?.names(&["/link"])?;
    Ok(())
}

/// A module as text, in the root file system.
pub(super) fn write(b: &Bundle<'_>, name: &str, text: &str) -> Done {
    Ok(fs::write(b.rootfs().join(name), text)?)
}

fn text(ctx: &Ctx) -> Done {
    let b = module(ctx)?.args(&["/app.wat"]);
    write(&b, "app.wat", "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
        (memory (export \"memory\") 1) (func (export \"_start\") (call $exit (i32.const 9))))")?;
    b.run()?.code(9)?;
    Ok(())
}

fn function(ctx: &Ctx) -> Done {
    let b = module(ctx)?.args(&["/bin/probe.wasm#other"]);
    same!(b.run()?.ok()?.out, "other\n", "output");
    let b = module(ctx)?.args(&["/bin/probe.wasm#no_such"]);
    b.run()?.fails()?.names(&["no_such"])?;
    Ok(())
}

fn component(ctx: &Ctx) -> Done {
    for (result, code) in [(0, 0), (1, 1)] {
        let b = module(ctx)?.args(&["/app.wat"]);
        let text = format!(
            "(component (core module $m (memory 2) (data (i32.const 0) \"\\0{result}\")
                    (func (export \"run\") (result i32) (i32.load8_u (i32.const 0))))
                (core instance $i (instantiate $m))
                (func $run (result (result)) (canon lift (core func $i \"run\")))
                (instance $run (export \"run\" (func $run)))
                (export \"wasi:cli/run@0.2.0\" (instance $run)))"
        );
        write(&b, "app.wat", &text)?;
        b.run()?.code(code)?;
    }
    Ok(())
}

fn component_async(ctx: &Ctx) -> Done {
    // Waits for 0.3 s by an asynchronous import; its result tells whether the clock agrees.
    let text = r#"(component
        (import "wasi:clocks/monotonic-clock@0.3.0" (instance $c
            (export "now" (func (result u64))) (export "wait-for" (func async (param "how-long" u64)))))
        (alias export $c "now" (func $now)) (alias export $c "wait-for" (func $wait))
        (core func $core-now (canon lower (func $now))) (core func $core-wait (canon lower (func $wait)))
        (core module $m
            (import "c" "now" (func $now (result i64))) (import "c" "wait" (func $wait (param i64)))
            (func (export "run") (result i32) (local $t i64)
                (local.set $t (call $now)) (call $wait (i64.const 300000000))
                (i64.lt_u (i64.sub (call $now) (local.get $t)) (i64.const LEAST))))
        (core instance $i (instantiate $m
            (with "c" (instance (export "now" (func $core-now)) (export "wait" (func $core-wait))))))
        (type $t (func async (result (result)))) (func $run (type $t) (canon lift (core func $i "run")))
        (instance $run (export "run" (func $run))) (export "wasi:cli/run@0.3.0" (instance $run)))"#;
    for (least, code) in [("300000000", 0), ("300000000000", 1)] {
        let b = module(ctx)?.args(&["/app.wat"]);
        write(&b, "app.wat", &text.replace("LEAST", least))?;
        b.run()?.code(code)?;
    }
    Ok(())
}

fn proposals(ctx: &Ctx) -> Done {
    let parts = [
        // Each gives 7.
        ("", "(i32x4.extract_lane 2 (i32x4.add (v128.const i32x4 1 2 3 4) (i32x4.splat (i32.const 4))))"),
        (
            "(func $count (param i32) (result i32) (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 7))
                (else (return_call $count (i32.sub (local.get 0) (i32.const 1))))))",
            "(call $count (i32.const 1000000))",
        ),
        ("(type $s (struct (field i32)))", "(struct.get $s 0 (struct.new $s (i32.const 7)))"),
        ("(tag $t (param i32))", "(block $h (result i32) (try_table (catch $t $h) (throw $t (i32.const 7))) (i32.const 1))"),
        ("", "(i32.add (i32.atomic.rmw.add (i32.const 0) (i32.const 7)) (i32.atomic.load (i32.const 0)))"),
        ("(memory $other 1)", "(i32.store $other (i32.const 8) (i32.const 7)) (i32.load $other (i32.const 8))"),
        ("(memory $large i64 1)", "(i32.store $large (i64.const 8) (i32.const 7)) (i32.load $large (i64.const 8))"),
    ];
    for (definition, body) in parts {
        let b = module(ctx)?.args(&["/app.wat"]);
        let text = format!(
            "(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32))) (memory (export \"memory\") 1)
                {definition} (func $main (result i32) {body}) (func (export \"_start\") (call $exit (call $main))))"
        );
        write(&b, "app.wat", &text)?;
        b.run()?.code(7)?;
    }
    Ok(())
}

/// A component that does one of what the file says.
fn socket<'a>(ctx: &'a Ctx, what: &str, port: u16) -> Result<Bundle<'a>, Stop> {
    let b = module(ctx)?.args(&["/app.wat"]);
    let text = include_str!("../../wasm/sockets.wat").replace("PORT", &port.to_string());
    write(&b, "app.wat", &text.replace("(call DO)", &format!("(call ${what})")))?;
    Ok(b)
}

fn sockets(ctx: &Ctx) -> Done {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    // Its own loopback has nobody there.
    socket(ctx, "connect", port)?.run()?.code(1)?;
    socket(ctx, "connect", port)?.tweak(|c| c.leave("network")).run()?.ok()?;
    let mut said = String::new();
    listener.set_nonblocking(true)?;
    let (mut stream, _) = listener.accept()?;
    stream.set_nonblocking(false)?;
    stream.read_to_string(&mut said)?;
    same!(said, "hello", "what it wrote");
    Ok(())
}

fn sockets_that_serve(ctx: &Ctx) -> Done {
    const ADDRESS: (&str, u16) = ("127.0.0.1", 5555);
    // Where the host has the same port, it is another.
    let _host = (TcpListener::bind(ADDRESS), UdpSocket::bind(ADDRESS));
    let (c, running) = socket(ctx, "serve", ADDRESS.1)?.spawn()?;
    let mut stream = None;
    host::wait_for("a server", 8, || {
        stream = c.pid().and_then(|pid| inside(pid, || TcpStream::connect(ADDRESS))).ok().and_then(Result::ok);
        stream.is_some()
    })?;
    let mut stream = stream.ok_or("no stream")?;
    stream.set_read_timeout(Some(Duration::from_secs(8)))?;
    stream.write_all(b"ping")?;
    let mut said = String::new();
    stream.read_to_string(&mut said)?;
    same!(said, "ping", "what it sent back");
    running.wait()?.ok()?;
    let (c, running) = socket(ctx, "udp", ADDRESS.1)?.spawn()?;
    let mut socket = None;
    host::wait_for("the container", 8, || {
        socket = c.pid().and_then(|pid| inside(pid, || UdpSocket::bind("127.0.0.1:0"))).ok().and_then(Result::ok);
        socket.is_some()
    })?;
    let socket = socket.ok_or("no socket")?;
    socket.connect(ADDRESS)?;
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    let mut said = [0; 16];
    // Until it is bound, what is sent is refused.
    host::wait_for("an answer", 8, || socket.send(b"datagram").and_then(|_| socket.recv(&mut said)).is_ok_and(|n| n == 8))?;
    same!(&said[..8], b"datagram", "what it sent back");
    running.wait()?.ok()?;
    Ok(())
}

fn files(ctx: &Ctx) -> Done {
    same!(probe(module(ctx)?, &["cat", "/etc/data"]).run()?.ok()?.out, "data\n", "a file");
    let b = probe(module(ctx)?.rw(), &["write", "/root/new"]);
    let file = b.rootfs().join("root/new");
    b.run()?.ok()?;
    same!(fs::read_to_string(file)?, "written\n", "what was written");
    let out = probe(module(ctx)?, &["ls", "/etc"]).run()?.ok()?.out;
    check!(["data", "group", "passwd"].iter().all(|name| out.lines().any(|l| l == *name)), "{out}");
    probe(module(ctx)?, &["write", "/root/new"]).run()?.code(1)?.names(&["/root/new"])?;
    Ok(())
}

fn mounts(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("source");
    fs::write(dir.join("file"), "of the mount\n")?;
    let bundle = |options: &[&str]| -> Result<Bundle<'_>, Stop> {
        Ok(module(ctx)?.tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), options)))
    };
    same!(probe(bundle(&["bind"])?, &["cat", "/mnt/file"]).run()?.ok()?.out, "of the mount\n", "a file");
    probe(bundle(&["bind"])?, &["write", "/mnt/new"]).run()?.ok()?;
    check!(dir.join("new").exists(), "nothing was written");
    probe(bundle(&["bind", "ro"])?, &["write", "/mnt/other"]).run()?.code(1)?;
    check!(!dir.join("other").exists(), "a read-only mount was written to");
    Ok(())
}

fn no_escape(ctx: &Ctx) -> Done {
    let secret = ctx.host_file("secret", "of the host\n");
    let bundle = || -> Result<Bundle<'_>, Stop> {
        let b = module(ctx)?.rw();
        symlink(&secret, b.rootfs().join("link"))?;
        symlink("../../../../../../..".to_owned() + secret.to_str().unwrap(), b.rootfs().join("up"))?;
            Ok(b)
    };
    let secret_path = secret.to_str().unwrap().to_owned();
    let up = format!("/../../../../../../..{secret_path}");
    for path in ["/link", "/up", &up, &secret_path] {
        let out = probe(bundle()?, &["cat", path]).run()?;
        check!(!out.out.contains("of the host"), "{path} leads out: {}", out.text());
        out.code(1)?;
    }
    // A link or a name that the module makes itself leads no farther.
    for args in [["symlink", &secret_path, "/mine"], ["link", &up, "/mine"], ["rename", &up, "/mine"]] {
        let b = probe(bundle()?, &args);
        let mine = b.rootfs().join("mine");
        b.run()?;
        let taken = fs::symlink_metadata(&mine).is_ok_and(|m| m.is_file());
        check!(!taken && secret.exists(), "{} reached the host's file", args[0]);
    }
    Ok(())
}

fn no_procfs(ctx: &Ctx) -> Done {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    for path in ["/proc/self/mem", "/proc/1/mem", "/proc/self/exe", "/proc/version"] {
        let out = probe(module(ctx)?, &["cat", path]).run()?.code(1)?;
        check!(out.out.is_empty(), "{path} is there: {}", out.text());
    }
    same!(probe(module(ctx)?, &["ls", "/proc"]).run()?.ok()?.out, ".\n..\n", "what /proc has");
    host::private_mounts()?;
    let dir = ctx.host_dir("source");
    fs::create_dir(dir.join("proc"))?;
    mount("proc", dir.join("proc"), "proc", MountFlags::empty(), None)?;
    let done = (|| -> Done {
        let source = dir.to_str().unwrap();
        for (source, options) in [("/proc", "bind"), ("/proc/self", "bind"), ("/proc/self/mem", "bind"), (source, "rbind")] {
            let b = probe(module(ctx)?.tweak(|c| c.mount("/mnt/there", "bind", source, &[options])), &["exit", "0"]);
            b.try_create()?.fails()?.names(&["procfs"])?;
            b.nothing_left()?;
        }
        probe(module(ctx)?.tweak(|c| c.mount("/mnt", "bind", source, &["bind"])), &["exit", "0"]).run()?.ok()?;
        Ok(())
    })();
    unmount(dir.join("proc"), UnmountFlags::DETACH)?;
    done
}

fn no_procfs_later(ctx: &Ctx) -> Done {
    use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount};
    host::private_mounts()?;
    let dir = ctx.host_dir("source");
    fs::create_dir(dir.join("proc"))?;
    mount_bind(&dir, &dir)?;
    mount_change(&dir, MountPropagationFlags::SHARED)?;
    let source = dir.to_str().unwrap();
    let done = (|| -> Done {
        for options in [&["bind"][..], &["rbind"], &["rbind", "rprivate"]] {
            let c = probe(module(ctx)?.tweak(|c| c.mount("/mnt", "bind", source, options)), &["spin"]).up()?;
            mount("proc", dir.join("proc"), "proc", MountFlags::empty(), None)?;
            let there = host::mounts(&c.pid()?.to_string()).iter().any(|m| m.kind == "proc");
            unmount(dir.join("proc"), UnmountFlags::DETACH)?;
            check!(!there, "with {options:?} a procfs appeared in the container");
        }
        Ok(())
    })();
    let _ = unmount(dir.join("proc"), UnmountFlags::DETACH);
    unmount(&dir, UnmountFlags::DETACH)?;
    done?;
    for option in ["rslave", "slave", "shared", "rshared"] {
        let b = probe(module(ctx)?.tweak(|c| c.mount("/mnt", "bind", source, &["bind", option])), &["exit", "0"]);
        b.try_create()?.fails()?.names(&[".options"])?;
    }
    let b = probe(module(ctx)?.set("/linux/rootfsPropagation", json!("rslave")), &["exit", "0"]);
    b.try_create()?.fails()?.names(&["linux.rootfsPropagation"])?;
    let b = probe(module(ctx)?.tweak(|c| {
        c.leave("mount");
        c["linux"].as_object_mut().unwrap().retain(|k, _| !matches!(k.as_str(), "maskedPaths" | "readonlyPaths"));
    }), &["exit", "0"]);
    b.try_create()?.fails()?.names(&["linux.namespaces"])?;
    Ok(())
}

fn no_right_by_root(ctx: &Ctx) -> Done {
    let b = probe(module(ctx)?, &["cat", "/etc/closed"]);
    let file = b.rootfs().join("etc/closed");
    fs::write(&file, "closed\n")?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400))?;
    crate::ctx::chown(&file, 1000);
    b.run()?.code(1)?;
    Ok(())
}

/// How long it takes from the signal to the end.
fn ended_by_term(ctx: &Ctx, args: &[&str]) -> Result<Duration, Stop> {
    let b = probe(module(ctx)?, args);
    rustix::fs::mknodat(rustix::fs::CWD, b.rootfs().join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0)?;
    let (c, running) = b.spawn()?;
    c.wait_out("ready")?;
    let begun = Instant::now();
    c.kill("TERM")?;
    running.wait()?.code(143)?;
    Ok(begun.elapsed())
}

fn term_in_loop(ctx: &Ctx) -> Done {
    let time = ended_by_term(ctx, &["spin"])?;
    check!(time < Duration::from_secs(5), "it took {time:?}");
    Ok(())
}

fn term_asleep(ctx: &Ctx) -> Done {
    for args in [&["sleep"][..], &["read", "/fifo"]] {
        let time = ended_by_term(ctx, args)?;
        check!(time < Duration::from_secs(5), "{args:?}: it took {time:?}");
    }
    Ok(())
}

fn term_early(ctx: &Ctx) -> Done {
    for n in 0..12 {
        let c = probe(module(ctx)?, &["spin"]).create()?;
        c.start()?;
        c.kill("TERM")?;
        host::wait_for(&format!("the end, in round {n}"), 8, || c.status().is_ok_and(|s| s == "stopped"))?;
    }
    Ok(())
}

fn lifecycle(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).create()?;
    same!(c.status()?, "created", "status");
    check!(!c.out().contains("ready"), "it runs already");
    c.start()?;
    c.wait_out("ready")?;
    same!(c.status()?, "running", "status");
    let pids = ctx.rt(&["ps", "--format", "json", &c.id])?.ok()?.out;
    check!(pids.contains(&c.pid()?.to_string()), "{pids}");
    c.pause()?;
    same!(c.status()?, "paused", "status");
    c.resume()?;
    c.kill("KILL")?;
    c.wait("stopped")?;
    c.delete()
}

fn exec(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).up()?;
    let out = c.exec(&[PROBE, "args", "x"])?.ok()?;
    same!(out.out, "/bin/probe.wasm\nargs\nx\n", "arguments");
    c.exec(&[PROBE, "exit", "5"])?.code(5)?;
    c.exec(&["/bin/busybox", "true"])?.fails()?.names(&["/bin/busybox"])?;
    c.exec(&["/no/such.wasm"])?.fails()?.names(&["/no/such.wasm"])?;
    Ok(())
}

fn exec_function(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).up()?;
    same!(c.exec(&["/bin/probe.wasm#other"])?.ok()?.out, "other\n", "output");
    Ok(())
}

fn trap(ctx: &Ctx) -> Done {
    let out = probe(module(ctx)?, &["trap"]).run()?.code(134)?;
    check!(out.err.contains("wasm trap") && out.err.contains("backtrace") && out.err.contains("main"), "{}", out.err);
    Ok(())
}

fn import_missing(ctx: &Ctx) -> Done {
    let b = module(ctx)?.args(&["/app.wat"]);
    write(&b, "app.wat", "(module (import \"env\" \"nowhere\" (func)) (func (export \"_start\")))")?;
    b.try_create()?.fails()?.names(&["env::nowhere"])?;
    b.nothing_left()?;
    // It is told before anything is compiled: this has the wrong type, too.
    write(&b, "app.wat", "(module (import \"env\" \"nowhere\" (func)) (func (export \"_start\") (result i32)))")?;
    b.try_create()?.fails()?.names(&["env::nowhere"])?;
    // So is an import of another type than WASI's.
    write(&b, "app.wat", "(module (import \"wasi_snapshot_preview1\" \"fd_close\" (func)) (func (export \"_start\") (result i32)))")?;
    b.try_create()?.fails()?.names(&["wasi_snapshot_preview1::fd_close"])?;
    Ok(())
}

fn no_module(ctx: &Ctx) -> Done {
    for name in ["/bin/busybox", "/etc/data"] {
        let b = module(ctx)?.args(&[name]);
        b.try_create()?.fails()?.names(&[name])?;
        b.nothing_left()?;
    }
    let b = module(ctx)?.args(&["/cut.wasm"]);
    let whole = fs::read(ctx.base.join("bin/probe.wasm"))?;
    fs::write(b.rootfs().join("cut.wasm"), &whole[..whole.len() / 2])?;
    b.try_create()?.fails()?.names(&["/cut.wasm"])?;
    b.nothing_left()
}

fn no_precompiled(ctx: &Ctx) -> Done {
    probe(module(ctx)?, &["args"]).run()?.ok()?;
    let (name, _) = kept(ctx).pop().ok_or("no code is kept")?;
    let b = module(ctx)?.args(&["/app.cwasm"]);
    fs::copy(ctx.root.join("@code").join(name), b.rootfs().join("app.cwasm"))?;
    b.try_create()?.fails()?.names(&["/app.cwasm"])?;
    b.nothing_left()
}

fn missing(ctx: &Ctx) -> Done {
    let b = module(ctx)?.args(&["/no/such.wasm"]);
    let out = b.try_create()?.fails()?.names(&["/no/such.wasm"])?;
    check!(out.err.to_lowercase().contains("no such file or directory"), "{}", out.err);
    b.nothing_left()
}

fn not_a_file(ctx: &Ctx) -> Done {
    let b = module(ctx)?.args(&["/etc"]);
    b.try_create()?.fails()?.names(&["/etc"])?;
    let b = module(ctx)?.args(&["/fifo"]);
    rustix::fs::mknodat(rustix::fs::CWD, b.rootfs().join("fifo"), rustix::fs::FileType::Fifo, 0o666.into(), 0)?;
    b.create_fails_within(8)
}

fn memory(ctx: &Ctx) -> Done {
    let b = probe(module(ctx)?, &["grow", "1000"]).set("/linux/resources/memory/limit", json!(64 << 20));
    let n: u32 = b.run()?.ok()?.line().parse()?;
    check!((16..64).contains(&n), "{n} MiB could be had");
    // All that could be had is touched; and what several memories take is added up.
    let grow = "(func $grow (result i32) (local $n i32)
            (loop $more (if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then
                (memory.fill (i32.shl (i32.sub (memory.size) (i32.const 16)) (i32.const 16)) (i32.const 1) (i32.const 1048576))
                (local.set $n (i32.add (local.get $n) (i32.const 1))) (br $more)))) (local.get $n))";
    let b = module(ctx)?.args(&["/app.wat"]).set("/linux/resources/memory/limit", json!(64 << 20));
    let exit = "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))";
    write(&b, "app.wat", &format!("(module {exit} (memory (export \"memory\") 1) {grow} (func (export \"_start\") (call $exit (call $grow))))"))?;
    let got = b.run()?;
    check!((16..64).contains(&got.code), "{} MiB could be had and touched: {}", got.code, got.text());
    let b = module(ctx)?.args(&["/app.wat"]).set("/linux/resources/memory/limit", json!(64 << 20));
    write(&b, "app.wat", "(module (memory 500) (memory 500) (memory (export \"memory\") 500) (func (export \"_start\")))")?;
    let out = b.run()?.fails()?;
    check!(out.code == 1 && out.err.contains("memory"), "{}", out.text());
    Ok(())
}

fn engine_is_jailed(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).up()?;
    c.wait_out("ready")?;
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid()?))?;
    let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
    for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
        let value = u64::from_str_radix(&field(set), 16)?;
        // What the bundle gives of CAP_NET_BIND_SERVICE may stay.
        check!(value & !(1 << 10) == 0, "{set} {value:x}");
    }
    same!((field("NoNewPrivs:").as_str(), field("Seccomp:").as_str()), ("1", "2"), "noNewPrivileges and filter");
    let maps = fs::read_to_string(format!("/proc/{}/maps", c.pid()?))?;
    check!(!maps.lines().any(|l| l.contains(" rwxp ")), "memory is both writable and executable: {maps}");
    Ok(())
}

/// As root on the host tries it, whom no mode stops: only what they lie on does.
fn code_is_read_only(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).up()?;
    c.wait_out("ready")?;
    let dir = format!("/proc/{}", c.pid()?);
    let mapped = fs::read_dir(format!("{dir}/map_files"))?.flatten().map(|f| f.path());
    let (name, _) = kept(ctx).pop().ok_or("no code is kept")?;
    let of = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
    let file = of(&ctx.root.join("@code").join(name));
    let code: Vec<_> = mapped.filter(|path| of(path) == file).collect();
    check!(!code.is_empty(), "the code is not mapped from its file");
    for path in code.into_iter().chain([format!("{dir}/exe").into()]) {
        let flags = rustix::fs::statvfs(&path)?.f_flag;
        check!(flags.contains(rustix::fs::StatVfsMountFlags::RDONLY), "{path:?} lies where it can be written to");
        check!(fs::OpenOptions::new().write(true).open(&path).is_err(), "{path:?} can be written to");
    }
    Ok(())
}

fn user(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).set("/process/user", json!({ "uid": 1000, "gid": 1000 })).up()?;
    c.wait_out("ready")?;
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid()?))?;
    check!(status.contains("Uid:\t1000\t1000\t1000\t1000"), "{status}");
    Ok(())
}

fn user_namespace(ctx: &Ctx) -> Done {
    let b = probe(module(ctx)?.tweak(Edit::userns), &["cat", "/etc/data"]);
    same!(b.run()?.ok()?.out, "data\n", "a file");
    Ok(())
}

pub(super) fn kept(ctx: &Ctx) -> Vec<(String, std::time::SystemTime)> {
    let dir = ctx.root.join("@code");
    let files = fs::read_dir(dir).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
    // Beside it are files to wait for a turn by.
    let code = |name: &str| name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit());
    let files = files.iter().filter(|f| f.file_name().to_str().is_some_and(code));
    files.map(|f| (f.file_name().to_string_lossy().into_owned(), f.metadata().unwrap().modified().unwrap())).collect()
}

/// A module that ends with this code.
fn ends_with<'a>(ctx: &'a Ctx, code: i32) -> Result<Bundle<'a>, Stop> {
    let b = module(ctx)?.args(&["/app.wat"]);
    write(&b, "app.wat", &format!("(module (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
        (memory (export \"memory\") 1) (func (export \"_start\") (call $exit (i32.const {code}))))"))?;
    Ok(b)
}

fn cached(ctx: &Ctx) -> Done {
    ends_with(ctx, 7)?.run()?.code(7)?;
    let seven = kept(ctx).pop().ok_or("no code is kept")?.0;
    ends_with(ctx, 8)?.run()?.code(8)?;
    let eight = kept(ctx).into_iter().map(|k| k.0).find(|name| *name != seven).ok_or("no code is kept of the second")?;
    // Another's code under its name shows that it is not made anew.
    let dir = ctx.root.join("@code");
    fs::rename(dir.join(eight), dir.join(seven))?;
    ends_with(ctx, 7)?.run()?.code(8)?;
    same!(kept(ctx).len(), 1, "files of code");
    // One that was changed is another module.
    let b = probe(module(ctx)?, &["exit", "0"]);
    let file = b.rootfs().join("bin/probe.wasm");
    let mut bytes = fs::read(&file)?;
    b.run()?.ok()?;
    // A custom section of no meaning.
    bytes.extend([0, 2, 1, b'x']);
    let b = probe(module(ctx)?, &["exit", "0"]);
    let file = b.rootfs().join("bin/probe.wasm");
    fs::remove_file(&file)?;
    fs::write(&file, bytes)?;
    b.run()?.ok()?;
    same!(kept(ctx).len(), 3, "files of code after a change");
    Ok(())
}

fn cache_guarded(ctx: &Ctx) -> Done {
    probe(module(ctx)?, &["exit", "0"]).run()?.ok()?;
    let (name, _) = kept(ctx).pop().ok_or("no code is kept")?;
    let file = ctx.root.join("@code").join(&name);
    let dir = fs::metadata(ctx.root.join("@code"))?.permissions().mode();
    same!(dir & 0o7777, 0o700, "mode of the directory");
    let right = fs::read(&file)?;
    let bad: &[&dyn Fn() -> Done] = &[
        &|| Ok(fs::set_permissions(&file, fs::Permissions::from_mode(0o666))?),
        &|| {
            crate::ctx::chown(&file, 1000);
            Ok(())
        },
        &|| Ok(fs::hard_link(&file, ctx.host_dir("elsewhere").join("code"))?),
        &|| Ok(fs::remove_file(&file).and_then(|()| symlink("/etc/passwd", &file))?),
    ];
    for make_bad in bad {
        // What others could have written fails where it is run, or does what they want.
        fs::remove_file(&file)?;
        fs::write(&file, "bad")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400))?;
        make_bad()?;
        probe(module(ctx)?, &["exit", "0"]).run()?.ok()?;
        check!(fs::symlink_metadata(&file)?.is_file() && fs::read(&file)? == right, "it was not made anew");
        same!(fs::metadata(&file)?.permissions().mode() & 0o7777, 0o400, "mode of the code");
    }
    Ok(())
}

fn cache_damaged(ctx: &Ctx) -> Done {
    probe(module(ctx)?, &["exit", "0"]).run()?.ok()?;
    let (name, _) = kept(ctx).pop().ok_or("no code is kept")?;
    let file = ctx.root.join("@code").join(&name);
    let right = fs::read(&file)?;
    for bad in [&b"bad"[..], b"", &right[..right.len() / 2], &[0; 9000]] {
        fs::write(&file, bad)?;
        let out = probe(module(ctx)?, &["exit", "0"]).run()?.code(1)?;
        check!(out.err.contains("module \"/bin/probe.wasm\"") && out.err.contains("code"), "{}", out.text());
    }
    Ok(())
}

fn cache_without_exec(ctx: &Ctx) -> Done {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    host::private_mounts()?;
    fs::create_dir_all(&ctx.root)?;
    mount("tmpfs", &ctx.root, "tmpfs", MountFlags::NOEXEC | MountFlags::NODEV | MountFlags::NOSUID, None)?;
    let out = (0..2).map(|_| probe(module(ctx)?, &["args"]).run()?.ok()).collect::<Result<Vec<_>, _>>();
    unmount(&ctx.root, UnmountFlags::DETACH)?;
    out?;
    Ok(())
}

fn cache_of_another(ctx: &Ctx) -> Done {
    let dir = ctx.root.join("@code");
    // The code is there: what is found isn't believed either.
    probe(module(ctx)?, &["exit", "0"]).run()?.ok()?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    probe(module(ctx)?, &["exit", "0"]).run()?.fails()?.names(&["@code"])?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
    crate::ctx::chown(&dir, 1000);
    probe(module(ctx)?, &["exit", "0"]).run()?.fails()?.names(&["@code"])?;
    Ok(())
}

fn cache_bounded(ctx: &Ctx) -> Done {
    let c = probe(module(ctx)?, &["spin"]).up()?;
    c.wait_out("ready")?;
    let used = kept(ctx).pop().ok_or("no code is kept")?.0;
    let dir = ctx.root.join("@code");
    // Names of code, without any: older than the one in use, and newer than it will be.
    let age = |name: &str, size: u64, seconds: i64| -> Done {
        let file = fs::File::create(dir.join(name))?;
        file.set_len(size)?;
        let now = std::time::SystemTime::now();
        let by = Duration::from_secs(seconds.unsigned_abs());
        Ok(file.set_modified(if seconds < 0 { now - by } else { now + by })?)
    };
    let (old, new, more) = ("0".repeat(64), "1".repeat(64), "2".repeat(64));
    age(&old, 900 << 20, -1000)?;
    age(&new, 300 << 20, 1000)?;
    let b = module(ctx)?.args(&["/app.wat"]);
    write(&b, "app.wat", "(module (memory (export \"memory\") 1) (func (export \"_start\")))")?;
    b.run()?.ok()?;
    let names: Vec<_> = kept(ctx).into_iter().map(|k| k.0).collect();
    check!(!names.contains(&old) && names.contains(&new), "{names:?}");
    check!(names.contains(&used) && names.len() == 3, "{names:?}");
    age(&more, 900 << 20, 1000)?;
    let b = module(ctx)?.args(&["/app.wat"]);
    write(&b, "app.wat", "(module (memory (export \"memory\") 2) (func (export \"_start\")))")?;
    b.run()?.ok()?;
    check!(!kept(ctx).into_iter().any(|k| k.0 == used), "the one used longest ago is left");
    same!(c.status()?, "running", "status of the container whose code it was");
    Ok(())
}

/// A module that takes a while to compile.
fn large() -> String {
    let functions = "(func (param i64) (result i64) (i64.mul (local.get 0) (i64.add (local.get 0) (i64.const 3))))".repeat(60_000);
    format!("(module (memory (export \"memory\") 1) (func (export \"_start\")) {functions})")
}

fn compiler_is_jailed(ctx: &Ctx) -> Done {
    use std::os::fd::AsFd;
    let b = module(ctx)?.args(&["/app.wat"]);
    write(&b, "app.wat", &large())?;
    let leak: std::os::fd::OwnedFd = fs::File::open("/etc/passwd")?.into();
    let running = b.call("run").fd(7, leak.as_fd().try_clone_to_owned()?).spawn()?;
    let mut seen = None;
    host::wait_for("the compiler at work", 8, || {
        let found = host::descendants(running.pid()).into_iter().find_map(|(pid, _)| {
            let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let ready = command.ends_with(b"compile\0") && status.contains("Seccomp:\t2");
            let names = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten().map(|f| f.file_name().into_string());
            ready.then(|| (status, names.flatten().filter(|n| n.parse().is_ok_and(|n: i32| n > 2)).collect::<Vec<_>>()))
        });
        seen = found;
        seen.is_some()
    })?;
    let (status, descriptors) = seen.ok_or("no compiler")?;
    running.wait()?.ok()?;
    for line in ["Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "NoNewPrivs:\t1"] {
        check!(status.contains(line), "no {line:?} in {status}");
    }
    same!(descriptors, Vec::<String>::new(), "descriptors after 2");
    Ok(())
}

fn called_by_relative_name(ctx: &Ctx) -> Done {
    module(ctx)?;
    let b = probe(ctx.bundle(), &["args"]);
    b.write();
    // What the bundle has by that name is not hull's.
    fs::create_dir_all(b.dir.join("runtime"))?;
    fs::write(b.dir.join("runtime/hull"), "")?;
    fs::copy("/bin/false", b.dir.join("runtime/hull-wasm"))?;
    let dir = ctx.runtime.parent().and_then(Path::parent).ok_or("no directory")?;
    let out = ctx.program("runtime/hull").cwd(dir).arg("--root").arg(&ctx.root).args(&["run", "--isolation", "wasm", "--bundle"]);
    same!(out.arg(&b.dir).arg(&b.id).run()?.ok()?.out, "/bin/probe.wasm\nargs\n", "output");
    Ok(())
}

fn compiled_at_once(ctx: &Ctx) -> Done {
    let mut running = Vec::new();
    for _ in 0..4 {
        let b = module(ctx)?.args(&["/app.wat"]);
        write(&b, "app.wat", &large())?;
        running.push(b.spawn()?);
    }
    let mut compilers = std::collections::BTreeSet::new();
    host::wait_for("the end of all", 60, || {
        for (_, running) in &running {
            let all = host::descendants(running.pid()).into_iter();
            compilers.extend(all.filter_map(|(pid, _)| fs::read(format!("/proc/{pid}/cmdline")).ok()?.ends_with(b"compile\0").then_some(pid)));
        }
        // One that compiles again what another has done does so when that is done.
        running.iter_mut().all(|(_, running)| matches!(running.child.try_wait(), Ok(Some(_))))
    })?;
    for (_container, running) in running {
        running.wait()?.ok()?;
    }
    same!(compilers.len(), 1, "compilers");
    same!(kept(ctx).len(), 1, "files of code");
    Ok(())
}

fn too_large(ctx: &Ctx) -> Done {
    let b = module(ctx)?.args(&["/app.wasm"]);
    let file = fs::File::create(b.rootfs().join("app.wasm"))?;
    file.set_len(1 << 40)?;
    let begun = Instant::now();
    b.try_create()?.fails()?.names(&["/app.wasm"])?;
    check!(begun.elapsed() < Duration::from_secs(20), "it took {:?}", begun.elapsed());
    b.nothing_left()?;
    // Its copy is a file that the process makes.
    let limit = json!([{"type": "RLIMIT_FSIZE", "soft": 100, "hard": 100}]);
    let b = probe(module(ctx)?, &["exit", "0"]).set("/process/rlimits", limit);
    b.try_create()?.fails()?.names(&[PROBE])?.names(&["RLIMIT_FSIZE"])?;
    b.nothing_left()
}

fn rootless(ctx: &Ctx) -> Done {
    module(ctx)?;
    let b = super::rootless::bundle(ctx)?.args(&[PROBE, "cat", "/etc/data"]);
    b.write();
    let run = super::rootless::call(ctx, &["run", "--isolation", "wasm", "--bundle"]).arg(&b.dir).arg(&b.id).run()?;
    same!(run.ok()?.out, "data\n", "a file");
    Ok(())
}

fn do_(ctx: &Ctx) -> Done {
    module(ctx)?;
    let file = ctx.host_dir("app").join("app.wasm");
    fs::copy(ctx.base.join("bin/probe.wasm"), &file)?;
    let dir = file.parent().unwrap_or(Path::new("/"));
    let out = ctx.call(&["do", "--isolation", "wasm", "--", "app.wasm", "args", "x"]).cwd(dir).run()?.ok()?;
    same!(out.out, "app.wasm\nargs\nx\n", "arguments");
    let out = ctx.call(&["do", "--isolation", "wasm", "--", "app.wasm", "write", dir.join("new").to_str().unwrap()]).cwd(dir).run()?;
    out.ok()?;
    check!(!dir.join("new").exists(), "a write reached the host");
    Ok(())
}

fn features(ctx: &Ctx) -> Done {
    engine(ctx)?;
    let features: serde_json::Value = serde_json::from_str(&ctx.program(&ctx.runtime).arg("features").run()?.ok()?.out)?;
    same!(features["annotations"]["dev.hull.isolations"], json!("process,wasm"), "isolations");
    let alone = ctx.host_dir("alone").join("hull");
    fs::copy(&ctx.runtime, &alone)?;
    crate::ctx::chmod(&alone, 0o755);
    let features: serde_json::Value = serde_json::from_str(&ctx.program(&alone).arg("features").run()?.ok()?.out)?;
    same!(features["annotations"]["dev.hull.isolations"], json!("process"), "isolations without an engine");
    let out = ctx.program(&alone).args(&["do", "--isolation", "wasm", "--", "x.wasm"]).run()?.fails()?;
    out.names(&["hull-wasm"])?;
    Ok(())
}

//! NOTIFY_SOCKET: the program's readiness is passed on to whoever waits for the runtime's.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::wait_for;

pub(crate) const CASES: &[Case] = &[
    case!(run, "run in the foreground passes READY=1 on, with its own process id")
        .theirs("crun", "1.8.1 names no process"),
    case!(start, "start returns when the program is ready")
        .theirs("crun", "1.8.1 names no process"),
    case!(start_of_dead, "start returns when the program ends without a word"),
    case!(run_detached, "run --detach returns when the program is ready")
        .theirs("crun", "1.8.1 names no process"),
    case!(other_user, "a program that isn't root can say that it is ready")
        .theirs("crun", "1.8.1 makes a socket for root alone"),
    case!(userns, "a program in a user namespace can say that it is ready")
        .theirs("crun", "1.8.1 names no process"),
    case!(own_socket, "the container doesn't see the host's socket, and can't replace its own")
        .theirs("runc", "1.1.5 hangs when the program ends without a word")
        .theirs("crun", "1.8.1 lets it be removed"),
    case!(no_socket, "without NOTIFY_SOCKET there is none in the container"),
];

/// A service manager of this case's own: where it listens.
fn manager(ctx: &Ctx) -> Result<(UnixDatagram, PathBuf), Stop> {
    let path = ctx.host_dir("manager").join("socket");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    Ok((socket, path))
}

/// What was said, in lines, until the program is ready and its process id known.
fn heard(socket: &UnixDatagram) -> Result<Vec<String>, Stop> {
    let mut lines: Vec<String> = Vec::new();
    while !(lines.iter().any(|l| l == "READY=1") && lines.iter().any(|l| l.starts_with("MAINPID="))) {
        let mut buf = [0; 4096];
        let n = socket.recv(&mut buf).map_err(|e| Stop::Fail(format!("heard {lines:?}, and then: {e}")))?;
        lines.extend(String::from_utf8_lossy(&buf[..n]).lines().filter(|l| !l.is_empty()).map(String::from));
    }
    Ok(lines)
}

/// Says that it is ready, and stays.
fn service(ctx: &Ctx) -> Bundle<'_> {
    ctx.bundle().sh("hull-probe notify \"STATUS=up\"; hull-probe notify \"$(printf 'READY=1\\nSTATUS=x')\"; sleep 1000")
}

fn run(ctx: &Ctx) -> Done {
    let (socket, path) = manager(ctx)?;
    let b = service(ctx);
    let id = b.id.clone();
    let running = b.call("run").env("NOTIFY_SOCKET", &path).spawn()?;
    let lines = heard(&socket)?;
    check!(lines.contains(&format!("MAINPID={}", running.pid())), "heard {lines:?} of {}", running.pid());
    check!(!lines.iter().any(|l| l.starts_with("STATUS")), "heard {lines:?}");
    ctx.rt(&["delete", "--force", &id])?.ok()?;
    running.wait()?;
    Ok(())
}

fn start(ctx: &Ctx) -> Done {
    let (socket, path) = manager(ctx)?;
    let b = ctx.bundle().tweak(|c| c.mount("/tmp", "tmpfs", "tmpfs", &[]));
    let b = b.sh("until [ -e /tmp/go ]; do sleep 0.1; done; hull-probe notify READY=1; sleep 1000");
    let id = b.id.clone();
    b.call("create").env("NOTIFY_SOCKET", &path).run()?.ok()?;
    let mut starting = ctx.call(&["start", &id]).env("NOTIFY_SOCKET", &path).spawn()?;
    wait_for("the program", 10, || ctx.rt(&["exec", &id, "/bin/true"]).is_ok_and(|o| o.code == 0))?;
    check!(matches!(starting.child.try_wait(), Ok(None)), "start did not wait");
    ctx.rt(&["exec", &id, "/bin/touch", "/tmp/go"])?.ok()?;
    heard(&socket)?;
    // The barrier of those who know it ends with the socket.
    drop(socket);
    starting.wait()?.ok()?;
    Ok(())
}

fn start_of_dead(ctx: &Ctx) -> Done {
    let (_socket, path) = manager(ctx)?;
    let b = ctx.bundle().args(&["/bin/true"]);
    let id = b.id.clone();
    b.call("create").env("NOTIFY_SOCKET", &path).run()?.ok()?;
    ctx.call(&["start", &id]).env("NOTIFY_SOCKET", &path).run()?.ok()?;
    Ok(())
}

fn run_detached(ctx: &Ctx) -> Done {
    let (socket, path) = manager(ctx)?;
    let b = service(ctx).option("--detach");
    let running = b.call("run").env("NOTIFY_SOCKET", &path).spawn()?;
    let lines = heard(&socket)?;
    drop(socket);
    running.wait()?.ok()?;
    let state: serde_json::Value = serde_json::from_str(&ctx.rt(&["state", &b.id])?.ok()?.out)?;
    check!(lines.contains(&format!("MAINPID={}", state["pid"])), "heard {lines:?} of {state}");
    Ok(())
}

fn spoken(b: Bundle<'_>) -> Done {
    let (socket, path) = manager(b.ctx)?;
    let running = b.call("run").env("NOTIFY_SOCKET", &path).spawn()?;
    heard(&socket)?;
    b.ctx.rt(&["delete", "--force", &b.id])?.ok()?;
    running.wait()?;
    Ok(())
}

fn other_user(ctx: &Ctx) -> Done {
    spoken(service(ctx).set("/process/user", json!({ "uid": 1000, "gid": 1000 })))
}

fn userns(ctx: &Ctx) -> Done {
    ctx.need_userns()?;
    // The root file system is not this user's to make a directory in.
    spoken(service(ctx).tweak(|c| c.mount("/run", "tmpfs", "tmpfs", &[])).tweak(Edit::userns))
}

fn own_socket(ctx: &Ctx) -> Done {
    let (_socket, path) = manager(ctx)?;
    let b = ctx.bundle().sh("echo \"$NOTIFY_SOCKET\"; rm -f \"$NOTIFY_SOCKET\"; ls -l \"$NOTIFY_SOCKET\" | cut -c 1");
    let out = b.call("run").env("NOTIFY_SOCKET", &path).run()?.ok()?;
    let (inside, kind) = out.out.split_once('\n').unwrap_or_default();
    check!(!inside.is_empty() && inside != path.to_str().unwrap(), "NOTIFY_SOCKET is {inside:?} inside");
    same!(kind.trim(), "s", "kind of file");
    Ok(())
}

fn no_socket(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("echo \"<$NOTIFY_SOCKET>\"; ls /run").run()?.ok()?;
    same!(out.out, "<>\n", "NOTIFY_SOCKET and the files of /run");
    Ok(())
}

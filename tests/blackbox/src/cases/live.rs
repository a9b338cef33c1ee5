//! Mounts added to a container that runs, and removed: `mounts add` and `mounts remove`, which crun began.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use crate::bundle::{Bundle, Container};
use crate::call::Output;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::{Ctx, chown};
use crate::host;

pub(crate) const CASES: &[Case] = &[
    case!(bind, "a directory and a file of the host appear, read-only if so wanted, and go"),
    case!(tmpfs, "a tmpfs appears with its options, and goes"),
    case!(userns, "in a user namespace a new tmpfs is its root's, and a bind shows the host's owners"),
    case!(userns_source, "in a user namespace a source that its root can't reach is bound, and flags of the host's stay"),
    case!(nested, "rbind and bind differ by what is mounted below"),
    case!(apart, "what is mounted below appears in no other place, neither on the host nor in the container"),
    case!(standard_input, "the list is read from standard input"),
    case!(relative_source, "a relative source is one of the bundle"),
    case!(all_or_none, "where one mount fails none is left, and the error names it"),
    case!(left, "a container whose first process has left the namespaces made for it is refused"),
    case!(hostile_target, "no link of a destination is followed, and nothing is added to what the kernel shows of itself"),
    case!(shared_target, "what would appear on the host is refused"),
    case!(config_stays, "mounts and masks of config.json are not removed, whatever leads to them"),
    case!(renamed, "what was added is removed wherever the container has moved it, and nothing that took its place"),
    case!(stacked, "of mounts at one place the last added goes first, and one that is not hull's goes never"),
    case!(below, "what is removed with another is forgotten, and a list that was added is removed as it is"),
    case!(hung, "a file system of the container that answers nothing holds hull up for no more than 10 s").limit(60),
    case!(helper, "the process in the container's namespaces shows nothing and has no right but to mount and to find").limit(60),
    case!(refused, "what can't be added to a container that runs is refused by its field"),
    case!(bad_list, "a list that is none, and a mount that isn't right, are refused by their field"),
    case!(no_namespace, "a container without a mount namespace of its own is refused"),
    case!(not_running, "a container that waits for start, is paused or has ended is refused"),
    case!(wasm, "isolation wasm is refused, since a bind could bring a procfs"),
    case!(rootless, "an ordinary user adds and removes a tmpfs and a bind"),
    case!(nothing_stays, "nothing of them is left on the host after delete"),
];

/// Skips for runtimes without the command.
fn need(ctx: &Ctx) -> Done {
    if ctx.program(&ctx.runtime).args(&["mounts", "--help"]).run()?.code != 0 {
        skip!("has no command mounts");
    }
    Ok(())
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn call(c: &Container<'_>, action: &str, list: &Value) -> Result<Output, Stop> {
    let file = c.ctx.host_file("mounts.json", &list.to_string());
    c.ctx.call(&["mounts", action, &c.id]).arg(&file).run()
}

fn add(c: &Container<'_>, list: Value) -> Result<Output, Stop> {
    call(c, "add", &list)
}

fn remove(c: &Container<'_>, paths: &[&str]) -> Result<Output, Stop> {
    call(c, "remove", &paths.iter().map(|p| json!({ "destination": p })).collect())
}

/// A bundle whose root can be written to by its root.
fn writable(ctx: &Ctx) -> Result<Bundle<'_>, Stop> {
    need(ctx)?;
    Ok(ctx.bundle().rw())
}

fn bind(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    let dir = ctx.host_dir("source");
    fs::write(dir.join("file"), "hello\n")?;
    let (dir, file) = (dir.to_str().unwrap().to_owned(), dir.join("file").display().to_string());
    add(&c, json!([mount("/new/rw", "bind", &dir, &["bind"]), mount("/new/ro", "", &dir, &["bind", "ro"]),
        mount("/new/file", "bind", &file, &["rbind", "ro"])]))?.ok()?;
    let out = c.sh("cat /new/rw/file /new/ro/file /new/file; touch /new/rw/a && echo a; touch /new/ro/b; echo x >/new/file")?;
    same!(out.out, "hello\nhello\nhello\na\n", "what is seen");
    same!(out.err.matches("Read-only").count(), 2, "refusals in {}", out.err);
    remove(&c, &["/new/rw", "/new/ro", "/new/file"])?.ok()?;
    let left = host::mounts(&c.pid()?.to_string());
    check!(!left.iter().any(|m| m.target.starts_with("/new")), "mounts are left");
    check!(Path::new(&dir).join("a").exists() && Path::new(&file).exists(), "the host's files are gone");
    Ok(())
}

fn tmpfs(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    add(&c, json!([mount("/new/tmp", "tmpfs", "shown", &["nosuid", "noexec", "size=64k", "mode=1770"])]))?.ok()?;
    let m = host::mount_at(&host::mounts(&c.pid()?.to_string()), "/new/tmp")?;
    check!(m.has("nosuid") && m.has("noexec") && m.has("size=64k"), "options {m:?}");
    same!(c.exec(&["/bin/stat", "-c", "%a", "/new/tmp"])?.ok()?.line(), "1770", "mode");
    remove(&c, &["/new/tmp"])?.ok()?;
    check!(host::mount_at(&host::mounts(&c.pid()?.to_string()), "/new/tmp").is_err(), "it is still mounted");
    Ok(())
}

fn userns(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.tweak(Edit::userns).up()?;
    let dir = ctx.host_dir("source");
    chown(&dir, 100_005);
    add(&c, json!([mount("/tmp/t", "tmpfs", "tmpfs", &[]), mount("/tmp/b", "bind", dir.to_str().unwrap(), &["bind", "ro"])]))?.ok()?;
    same!(c.sh("stat -c %u:%g /tmp/t; stat -c %u /tmp/b; touch /tmp/t/x && echo ok")?.ok()?.out, "0:0\n5\nok\n", "owners");
    remove(&c, &["/tmp/b", "/tmp/t"])?.ok()?;
    check!(host::mount_at(&host::mounts(&c.pid()?.to_string()), "/tmp/t").is_err(), "it is still mounted");
    Ok(())
}

fn nested(ctx: &Ctx) -> Done {
    use rustix::mount::{UnmountFlags, mount_bind, unmount};
    host::private_mounts()?;
    let c = writable(ctx)?.up()?;
    let (dir, other) = (ctx.host_dir("source"), ctx.host_dir("other"));
    fs::create_dir(dir.join("below"))?;
    fs::write(other.join("file"), "")?;
    mount_bind(&other, dir.join("below"))?;
    let source = dir.to_str().unwrap();
    let done = add(&c, json!([mount("/new/one", "", source, &["bind"]), mount("/new/all", "", source, &["rbind"])]));
    unmount(dir.join("below"), UnmountFlags::DETACH)?;
    done?.ok()?;
    let out = c.sh("ls /new/one/below /new/all/below")?.ok()?.out;
    same!(out, "/new/all/below:\nfile\n\n/new/one/below:\n", "files below");
    Ok(())
}

fn standard_input(ctx: &Ctx) -> Done {
    need(ctx)?;
    if !ctx.is_hull() {
        skip!("hull's own");
    }
    let c = writable(ctx)?.up()?;
    let list = json!([mount("/new", "tmpfs", "tmpfs", &[])]).to_string();
    ctx.call(&["mounts", "add", &c.id, "-"]).stdin(list.as_bytes()).run()?.ok()?;
    host::mount_at(&host::mounts(&c.pid()?.to_string()), "/new").map(drop)
}

fn relative_source(ctx: &Ctx) -> Done {
    let b = writable(ctx)?;
    fs::create_dir(b.dir.join("data"))?;
    fs::write(b.dir.join("data/file"), "hello\n")?;
    let c = b.up()?;
    add(&c, json!([mount("/new", "bind", "data", &["bind"])]))?.ok()?;
    same!(c.exec(&["/bin/cat", "/new/file"])?.ok()?.line(), "hello", "file");
    Ok(())
}

fn all_or_none(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    let out = add(&c, json!([mount("/new/a", "tmpfs", "tmpfs", &[]), mount("/etc/data/b", "tmpfs", "tmpfs", &[])]))?.fails()?;
    out.names(&["/etc/data/b"])?;
    let left = host::mounts(&c.pid()?.to_string());
    check!(!left.iter().any(|m| m.target.starts_with("/new")), "the first is left");
    let out = add(&c, json!([mount("/new/a", "tmpfs", "tmpfs", &[]), mount("/new/b", "bind", "/no/such/dir", &["bind"])]))?.fails()?;
    out.names(&["/no/such/dir"])?;
    let left = host::mounts(&c.pid()?.to_string());
    check!(!left.iter().any(|m| m.target.starts_with("/new")), "the first is left");
    Ok(())
}

fn bad_list(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    add(&c, json!({ "destination": "/new" }))?.fails()?.names(&["mounts.json"])?;
    add(&c, json!([{ "type": "tmpfs" }]))?.fails()?.names(&["[0].destination"])?;
    add(&c, json!([{ "destination": "/new", "type": "tmpfs", "options": "ro" }]))?.fails()?.names(&["[0].options"])?;
    ctx.call(&["mounts", "add", &c.id, "/no/such/file"]).run()?.fails()?.names(&["/no/such/file"])?;
    ctx.call(&["mounts", "change", &c.id, "/no/such/file"]).run()?.fails()?.names(&["change"])?;
    Ok(())
}

fn nothing_stays(ctx: &Ctx) -> Done {
    let b = writable(ctx)?;
    let rootfs = b.rootfs().display().to_string();
    let c = b.up()?;
    add(&c, json!([mount("/new/a", "tmpfs", "tmpfs", &[]), mount("/new/b", "bind", "/usr", &["rbind", "ro"])]))?.ok()?;
    c.delete_force()?;
    check!(!host::mounts("self").iter().any(|m| m.target.starts_with(&rootfs)), "a mount is left");
    Ok(())
}

fn apart(ctx: &Ctx) -> Done {
    use rustix::mount::{MountPropagationFlags as Flags, UnmountFlags, mount_bind, mount_change, unmount};
    host::private_mounts()?;
    let c = writable(ctx)?.tweak(|c| c.caps([&["CAP_SYS_ADMIN"], &["CAP_SYS_ADMIN"], &["CAP_SYS_ADMIN"], &[], &[]])).up()?;
    let dir = ctx.host_dir("source");
    ["inside", "outside"].iter().try_for_each(|name| fs::create_dir(dir.join(name)))?;
    mount_bind(&dir, &dir)?;
    mount_change(&dir, Flags::SHARED)?;
    let count = |pid: &str, below: &str| host::mounts(pid).iter().filter(|m| m.target.starts_with(below)).count();
    let source = dir.to_str().unwrap();
    let here = || count("self", source);
    let seen = (|| -> Result<_, Stop> {
        add(&c, json!([mount("/new", "bind", source, &["bind"])]))?.ok()?;
        c.sh("mount -t tmpfs tmpfs /new/inside")?.ok()?;
        let before = here();
        mount_bind(&dir, dir.join("outside"))?;
        Ok((before, here(), count(&c.pid()?.to_string(), "/new")))
    })();
    let _ = unmount(dir.join("outside"), UnmountFlags::DETACH);
    let _ = unmount(dir.join("inside"), UnmountFlags::DETACH);
    unmount(&dir, UnmountFlags::DETACH)?;
    same!(seen?, (1, 2, 2), "mounts on the host before and after its own, and in the container");
    add(&c, json!([mount("/own", "bind", source, &["bind", "rshared"])]))?.fails()?.names(&["mounts[0].options"])?;
    Ok(())
}

fn userns_source(ctx: &Ctx) -> Done {
    use rustix::mount::{MountFlags, UnmountFlags, mount_bind, mount_remount, unmount};
    host::private_mounts()?;
    let all = &["CAP_SYS_ADMIN"][..];
    let c = writable(ctx)?.tweak(|c| { c.userns(); c.caps([all, all, all, &[], &[]]) }).up()?;
    let dir = ctx.host_dir("source");
    fs::create_dir_all(dir.join("closed/inner"))?;
    chown(&dir.join("closed"), 4711);
    crate::ctx::chmod(&dir.join("closed"), 0o700);
    crate::ctx::chmod(&dir.join("closed/inner"), 0o777);
    let inner = dir.join("closed/inner");
    add(&c, json!([mount("/tmp/b", "bind", inner.to_str().unwrap(), &["bind"])]))?.ok()?;
    c.sh("touch /tmp/b/x")?.ok()?;
    check!(inner.join("x").exists(), "another directory was bound");
    let fixed = ctx.host_dir("fixed");
    mount_bind(&fixed, &fixed)?;
    mount_remount(&fixed, MountFlags::BIND | MountFlags::RDONLY, "")?;
    let added = add(&c, json!([mount("/tmp/ro", "bind", fixed.to_str().unwrap(), &["bind"])]));
    unmount(&fixed, UnmountFlags::DETACH)?;
    added?.ok()?;
    c.sh("mount -o remount,bind,rw /tmp/ro; touch /tmp/ro/x")?.fails()?;
    check!(!fixed.join("x").exists(), "what is read-only on the host was written to");
    Ok(())
}

fn left(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("source");
    fs::write(dir.join("file"), "of the host\n")?;
    let admin = &["CAP_SYS_ADMIN"][..];
    for (what, own, caps) in [(&["user", "mnt"][..], false, false), (&["user", "mnt", "again"], false, false), (&["user"], false, false),
        (&["mnt"], false, true), (&["user", "mnt"], true, false), (&["mnt"], true, true)] {
        let b = writable(ctx)?.tweak(|c| {
            if own { c.userns() }
            if caps { c.caps([admin, admin, admin, &[], &[]]) }
        });
        let mut args = vec!["leave"];
        args.extend(what);
        let c = b.probe(&args).up()?;
        c.wait_out("same")?;
        check!(c.out().contains("left 0"), "it could not leave: {}", c.out());
        let out = add(&c, json!([mount("/new", "bind", dir.to_str().unwrap(), &["bind", "ro"])]))?;
        std::thread::sleep(std::time::Duration::from_millis(if out.code == 0 { 500 } else { 0 }));
        same!(fs::read_to_string(dir.join("file"))?, "of the host\n", "the host's file after {what:?}");
        out.fails()?.names(&["has left the"])?;
        remove(&c, &["/new"])?.fails()?;
        c.delete_force()?;
    }
    Ok(())
}

fn hostile_target(ctx: &Ctx) -> Done {
    let b = writable(ctx)?.tweak(|c| c["mounts"].as_array_mut().unwrap().iter_mut().for_each(|m| {
        m["options"].as_array_mut().into_iter().for_each(|o| o.retain(|o| o != "ro"));
    }));
    let canary = ctx.host_dir("canary");
    symlink(&canary, b.rootfs().join("link"))?;
    symlink("/proc/1/root", b.rootfs().join("magic"))?;
    symlink("/etc", b.rootfs().join("etcetera"))?;
    symlink("/nowhere", b.rootfs().join("dangling"))?;
    let rootfs = b.rootfs();
    let c = b.up()?;
    let before = host::mounts(&c.pid()?.to_string()).len();
    for path in ["/link/below", "/link", "/magic/below", "/etcetera/new", "/dangling", "/dangling/x", "/proc", "/proc/1/root/new",
        "/proc/cpuinfo", "/proc/bus", "/sys", "/sys/firmware", "/sys/kernel/new", "/sys/fs/cgroup/new", "/", "/..", "/dev", "/etc/data/x"] {
        add(&c, json!([mount(path, "tmpfs", "tmpfs", &[])]))?.fails()?.names(&["mounts[0]"])?;
    }
    add(&c, json!([mount("/etc", "bind", "/etc/hostname", &["bind"])]))?.fails()?;
    same!(host::mounts(&c.pid()?.to_string()).len(), before, "mounts in the container");
    check!(!rootfs.join("nowhere").exists() && !canary.join("below").exists(), "a directory was made through a link");
    check!(!rootfs.join("etc/new").exists(), "a directory was made through a link");
    Ok(())
}

fn shared_target(ctx: &Ctx) -> Done {
    use rustix::mount::{MountPropagationFlags as Flags, UnmountFlags, mount_bind, mount_change, unmount};
    host::private_mounts()?;
    let dir = ctx.host_dir("volume");
    mount_bind(&dir, &dir)?;
    mount_change(&dir, Flags::SHARED)?;
    let source = dir.to_str().unwrap().to_owned();
    let seen = (|| -> Result<_, Stop> {
        let b = writable(ctx)?.tweak(|c| {
            c["linux"]["rootfsPropagation"] = json!("rshared");
            c.mount("/vol", "bind", &source, &["bind", "rshared"]);
        });
        let c = b.up()?;
        let out = add(&c, json!([mount("/vol/new", "tmpfs", "tmpfs", &[])]))?;
        Ok((out, host::mounts("self").iter().filter(|m| m.target.starts_with(&source)).count()))
    })();
    let _ = unmount(dir.join("new"), UnmountFlags::DETACH);
    unmount(&dir, UnmountFlags::DETACH)?;
    let (out, count) = seen?;
    same!(count, 1, "mounts on the host");
    out.fails()?.names(&["shared"])?;
    Ok(())
}

/// A container with a masked directory /app/secret.
fn masked(ctx: &Ctx) -> Result<Bundle<'_>, Stop> {
    let b = writable(ctx)?.tweak(|c| c["linux"]["maskedPaths"].as_array_mut().unwrap().push(json!("/app/secret")));
    fs::create_dir_all(b.rootfs().join("app/secret"))?;
    fs::write(b.rootfs().join("app/secret/key"), "of the image\n")?;
    Ok(b)
}

fn config_stays(ctx: &Ctx) -> Done {
    let b = masked(ctx)?;
    symlink("/app", b.rootfs().join("link"))?;
    let c = b.up()?;
    let before = host::mounts(&c.pid()?.to_string()).len();
    add(&c, json!([mount("/other", "tmpfs", "tmpfs", &[])]))?.ok()?;
    for path in ["/app/secret", "/link/secret", "/proc/kcore", "/proc/sys", "/sys/firmware", "/proc", "/sys", "/dev/shm", "/", "/etc", "/no/such"] {
        remove(&c, &[path])?.fails()?.names(&[path])?;
    }
    same!(host::mounts(&c.pid()?.to_string()).len(), before + 1, "mounts in the container");
    same!(c.exec(&["/bin/ls", "/app/secret"])?.ok()?.out, "", "files in what is masked");
    // Over a mask and away again: the mask is there.
    add(&c, json!([mount("/app/secret", "tmpfs", "tmpfs", &[])]))?.ok()?;
    remove(&c, &["/app/secret"])?.ok()?;
    remove(&c, &["/app/secret"])?.fails()?;
    same!(c.exec(&["/bin/ls", "/app/secret"])?.ok()?.out, "", "files in what is masked");
    Ok(())
}

fn renamed(ctx: &Ctx) -> Done {
    let c = masked(ctx)?.up()?;
    let tmp = |path: &str| mount(path, "tmpfs", "tmpfs", &[]);
    let points = || -> Result<Vec<String>, Stop> { Ok(host::mounts(&c.pid()?.to_string()).into_iter().map(|m| m.target).collect()) };
    let before = points()?.len();
    // A mask takes its place.
    add(&c, json!([tmp("/vol/secret")]))?.ok()?;
    c.sh("mv /vol /v2 && mv /app /vol")?.ok()?;
    let out = remove(&c, &["/vol/secret"])?;
    same!(c.exec(&["/bin/ls", "/vol/secret"])?.ok()?.out, "", "files in what is masked, after {}", out.text());
    out.ok()?;
    check!(points()?.iter().any(|p| p == "/vol/secret"), "the mask is gone");
    check!(!points()?.iter().any(|p| p == "/v2/secret"), "what was added stays where it was moved");
    remove(&c, &["/vol/secret"])?.fails()?.names(&["/vol/secret"])?;
    // A link to the mask does.
    add(&c, json!([tmp("/dir/secret")]))?.ok()?;
    c.sh("mv /dir /d2 && ln -s /vol /dir")?.ok()?;
    remove(&c, &["/dir/secret"])?.ok()?;
    // A directory does, to which more is added.
    add(&c, json!([tmp("/one/a")]))?.ok()?;
    c.sh("mv /one /two && mkdir -p /one/a")?.ok()?;
    add(&c, json!([tmp("/one/a/b"), tmp("/one/other")]))?.ok()?;
    remove(&c, &["/one/a"])?.ok()?;
    same!(points()?.len(), before + 1, "mounts, of which one is still to go");
    remove(&c, &["/one/other"])?.ok()?;
    // What was added before, and is not on it, does not go along.
    add(&c, json!([tmp("/x/y/z")]))?.ok()?;
    c.sh("mv /x /w && mkdir -p /x/y")?.ok()?;
    add(&c, json!([tmp("/x/y")]))?.ok()?;
    remove(&c, &["/x/y"])?.ok()?;
    check!(points()?.iter().any(|p| p == "/w/y/z"), "another mount went along");
    remove(&c, &["/x/y/z"])?.ok()?;
    same!(points()?.len(), before, "mounts in the container");
    Ok(())
}

fn stacked(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.tweak(|c| {
        c.caps([&["CAP_SYS_ADMIN"], &["CAP_SYS_ADMIN"], &["CAP_SYS_ADMIN"], &[], &[]]);
    }).up()?;
    let at = |c: &Container<'_>| -> Result<usize, Stop> { Ok(host::mounts(&c.pid()?.to_string()).iter().filter(|m| m.target == "/new").count()) };
    for _ in 0..2 {
        add(&c, json!([mount("/new", "tmpfs", "tmpfs", &[])]))?.ok()?;
    }
    same!(at(&c)?, 2, "mounts at /new");
    c.sh("mount -t tmpfs own /new")?.ok()?;
    remove(&c, &["/new"])?.fails()?.names(&["not what was added"])?;
    same!(at(&c)?, 3, "mounts at /new");
    c.sh("umount /new")?.ok()?;
    remove(&c, &["/new", "/new"])?.ok()?;
    same!(at(&c)?, 0, "mounts at /new");
    Ok(())
}

fn below(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    let list = || json!([mount("/new", "tmpfs", "tmpfs", &[]), mount("/new/in", "tmpfs", "tmpfs", &[])]);
    add(&c, list())?.ok()?;
    call(&c, "remove", &list())?.ok()?;
    add(&c, list())?.ok()?;
    remove(&c, &["/new"])?.ok()?;
    remove(&c, &["/new/in"])?.fails()?.names(&["nothing was added"])?;
    check!(!host::mounts(&c.pid()?.to_string()).iter().any(|m| m.target.starts_with("/new")), "a mount is left");
    Ok(())
}

/// A container that serves a file system which answers nothing at /tmp/f, among the host's processes.
fn silent(ctx: &Ctx) -> Result<Container<'_>, Stop> {
    if !Path::new("/dev/fuse").exists() {
        skip!("the host has no /dev/fuse");
    }
    let caps = &["CAP_SYS_ADMIN", "CAP_DAC_READ_SEARCH", "CAP_KILL"][..];
    let b = writable(ctx)?.probe(&["fuse", "/tmp/f"]).tweak(|c| {
        c.caps([caps, caps, caps, &[], &[]]);
        c.leave("pid");
        c["linux"]["devices"] = json!([{ "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438 }]);
        let rules = c["linux"]["resources"]["devices"].as_array_mut().unwrap();
        rules.push(json!({ "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" }));
    });
    let c = b.up()?;
    c.wait_out("mounted")?;
    if !c.out().contains("mounted 0") {
        skip!("FUSE can't be mounted here: {}", c.out());
    }
    Ok(c)
}

fn hung(ctx: &Ctx) -> Done {
    let c = silent(ctx)?;
    let begun = std::time::Instant::now();
    let out = add(&c, json!([mount("/new", "tmpfs", "tmpfs", &[]), mount("/tmp/f/x", "tmpfs", "tmpfs", &[])]))?;
    let took = begun.elapsed().as_secs();
    check!((9..14).contains(&took), "took {took} s");
    out.fails()?.names(&["not done after 10 s"])?.names(&["stays, and can be removed: \\\"/new\\\""])?;
    c.exec(&["/bin/true"])?.ok()?;
    // What was made before is on record.
    remove(&c, &["/new"])?.ok()?;
    Ok(())
}

fn helper(ctx: &Ctx) -> Done {
    let c = silent(ctx)?;
    let file = ctx.host_file("mounts.json", &json!([mount("/tmp/f/x", "tmpfs", "tmpfs", &[])]).to_string());
    let running = ctx.call(&["mounts", "add", &c.id]).arg(&file).spawn()?;
    let hull = running.pid();
    let mut found = 0;
    host::wait_for("the process in the container", 8, || {
        let child = host::descendants(hull).into_iter().map(|(pid, _)| pid).next();
        found = child.filter(|pid| fs::read_link(format!("/proc/{pid}/ns/mnt")).ok() != fs::read_link("/proc/self/ns/mnt").ok()).unwrap_or(0);
        found != 0
    })?;
    std::thread::sleep(std::time::Duration::from_millis(200));
    let status = fs::read_to_string(format!("/proc/{found}/status"))?;
    let caps = status.lines().find_map(|l| l.strip_prefix("CapPrm:")).unwrap_or_default().trim().to_owned();
    let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let same_pid_ns = of(&found.to_string()) == of("self");
    let links: Vec<String> = fs::read_dir(format!("/proc/{found}/fd"))?.flatten()
        .map(|e| fs::read_link(e.path()).unwrap_or_default().display().to_string()).collect();
    let seen = c.sh(&format!("cd /proc/{found}; for n in fd/* root cwd exe; do readlink $n; done"));
    // Stopped, it is ended too.
    c.sh(&format!("kill -STOP {found}"))?.ok()?;
    let out = running.wait()?;
    same!(caps, "0000000000200004", "capabilities");
    check!(same_pid_ns, "it is in another PID namespace");
    let foreign = |l: &&String| !l.starts_with("socket:") && !l.starts_with("mnt:") && **l != format!("/proc/{found}") && !l.starts_with("/tmp") && **l != "/";
    check!(!links.iter().any(|l| foreign(&l)), "descriptors {links:?}");
    let seen = seen?;
    same!(seen.out, "", "what the container sees of it, beside {}", seen.err);
    out.fails()?;
    Ok(())
}

fn refused(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    let before = host::mounts(&c.pid()?.to_string()).len();
    let long = "x".repeat(256);
    let long_size = format!("size={}", "1".repeat(256));
    for (m, words) in [
        (mount("/new", "proc", "proc", &[]), "mounts[0].type"),
        (mount("/new", "sysfs", "sysfs", &[]), "mounts[0].type"),
        (mount("/new", "overlay", "overlay", &["lowerdir=/etc:/tmp"]), "mounts[0].type"),
        (mount("/new", "cgroup", "cgroup", &[]), "mounts[0].type"),
        (mount("/new", "nosuchfs", "x", &[]), "mounts[0].type"),
        (mount("/new", "bind", "/tmp", &["bind", "size=1"]), "mounts[0].options"),
        (mount("/new", "bind", "/tmp", &["bind", "copy-symlink"]), "mounts[0].options"),
        (mount("/new", "bind", "/tmp", &["bind", "idmap"]), "mounts[0]"),
        (mount("/new", "tmpfs", "tmpfs", &["tmpcopyup"]), "mounts[0].options"),
        (mount("/new", "tmpfs", "tmpfs", &["remount"]), "mounts[0].options"),
        (mount("/new", "tmpfs", "tmpfs", &["nosuchoption"]), "nosuchoption"),
        (mount("/new", "tmpfs", "tmpfs", &["size=xx"]), "size"),
        (mount("/new", "tmpfs", "tmpfs", &[&long_size]), "mounts[0].options"),
        (mount("/new", "tmpfs", &long, &[]), "mounts[0].source"),
        (mount("/new", "bind", "/no/such/source", &["bind"]), "/no/such/source"),
    ] {
        add(&c, json!([m]))?.fails()?.names(&[words])?;
    }
    let mut mapped = mount("/new", "bind", "/tmp", &["bind"]);
    mapped["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    add(&c, json!([mapped]))?.fails()?.names(&["mounts[0].uidMappings"])?;
    same!(host::mounts(&c.pid()?.to_string()).len(), before, "mounts in the container");
    // Many options that are long together are all honoured.
    let many = ["nosuid", "nodev", "noexec", "size=64k", "nr_inodes=99", "mode=0700", "uid=0", "gid=0"].join(",");
    let many: Vec<&str> = many.split(',').cycle().take(64).collect();
    add(&c, json!([mount("/new", "tmpfs", "tmpfs", &many)]))?.ok()?;
    let m = host::mount_at(&host::mounts(&c.pid()?.to_string()), "/new")?;
    check!(m.has("noexec") && m.has("size=64k") && m.has("nr_inodes=99") && m.has("mode=700"), "options {m:?}");
    Ok(())
}

fn no_namespace(ctx: &Ctx) -> Done {
    host::private_mounts()?;
    let c = writable(ctx)?.tweak(|c| {
        c.leave("mount");
        c["linux"].as_object_mut().unwrap().retain(|k, _| !matches!(k.as_str(), "maskedPaths" | "readonlyPaths"));
    });
    let c = c.up()?;
    add(&c, json!([mount("/new", "tmpfs", "tmpfs", &[])]))?.fails()?.names(&["mount namespace"])?;
    remove(&c, &["/tmp"])?.fails()?.names(&["mount namespace"])?;
    Ok(())
}

fn not_running(ctx: &Ctx) -> Done {
    let tmpfs = || json!([mount("/new", "tmpfs", "tmpfs", &[])]);
    let c = writable(ctx)?.args(&crate::bundle::STAY).create()?;
    add(&c, tmpfs())?.fails()?.names(&["not started"])?;
    c.start()?;
    ctx.rt(&["pause", &c.id])?.ok()?;
    let out = add(&c, tmpfs())?;
    let removal = remove(&c, &["/new"])?;
    ctx.rt(&["resume", &c.id])?.ok()?;
    out.fails()?.names(&["paused"])?;
    removal.fails()?.names(&["paused"])?;
    c.kill("KILL")?;
    c.wait("stopped")?;
    add(&c, tmpfs())?.fails()?.names(&["not running"])?;
    ctx.rt(&["mounts", "add", "no-such-container", "/dev/null"])?.fails()?;
    Ok(())
}

fn wasm(ctx: &Ctx) -> Done {
    need(ctx)?;
    let c = super::wasm::module(ctx)?.rw().args(&["/bin/probe.wasm", "sleep"]).up()?;
    let out = add(&c, json!([mount("/new", "bind", "/proc", &["rbind"])]))?;
    out.fails()?.names(&["keeps mounts of some types out"])?;
    Ok(())
}

fn rootless(ctx: &Ctx) -> Done {
    use super::rootless::{bundle, call};
    need(ctx)?;
    let b = bundle(ctx)?.rw().args(&["/bin/sleep", "1000"]);
    b.write();
    call(ctx, &["run", "--detach", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.ok()?;
    let ask = |action: &str, list: &Value| -> Result<Output, Stop> {
        let file = ctx.host_file("mounts.json", &list.to_string());
        call(ctx, &["mounts", action, &b.id]).arg(&file).run()
    };
    let list = json!([mount("/tmp/new", "tmpfs", "tmpfs", &[]), mount("/tmp/new/b", "bind", "/usr", &["bind"])]);
    let count = || call(ctx, &["exec", &b.id, "/bin/grep", "-c", "/tmp/new", "/proc/self/mountinfo"]).run();
    let added = ask("add", &list);
    let there = count();
    let removed = ask("remove", &list);
    let gone = count();
    call(ctx, &["delete", "--force", &b.id]).run()?.ok()?;
    added?.ok()?;
    same!(there?.line(), "2", "mounts at /tmp/new");
    removed?.ok()?;
    same!(gone?.line(), "0", "mounts at /tmp/new");
    Ok(())
}

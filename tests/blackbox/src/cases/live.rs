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
    case!(created, "a container that waits for start takes mounts, which its program sees"),
    case!(userns, "in a user namespace a new tmpfs is its root's, and a bind shows the host's owners"),
    case!(idmapped, "an id-mapped bind shows the mapped owner"),
    case!(nested, "rbind and bind differ by what is mounted below"),
    case!(apart, "as with mounts of config.json, what is mounted below appears on the host never, in the container unless private"),
    case!(standard_input, "the list is read from standard input"),
    case!(relative_source, "a relative source is one of the bundle"),
    case!(all_or_none, "where one mount fails none is left, and the error names it"),
    case!(hostile_target, "a destination that is a link to the host ends in the container's root"),
    case!(hostile_removal, "nothing is unmounted through a link"),
    case!(masks_stay, "what hides parts of /proc and /sys can't be removed"),
    case!(refused, "what can't be added to a container that runs is refused by its field"),
    case!(bad_list, "a list that is none, and a mount that isn't right, are refused by their field"),
    case!(no_namespace, "a container without a mount namespace is refused"),
    case!(stopped, "a container that has ended is refused"),
    case!(rootless, "an ordinary user adds a tmpfs, and is told that it can't bind"),
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

fn created(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.sh("cat /new/file").create()?;
    let dir = ctx.host_dir("source");
    fs::write(dir.join("file"), "hello\n")?;
    add(&c, json!([mount("/new", "bind", dir.to_str().unwrap(), &["bind"])]))?.ok()?;
    c.start()?;
    c.wait_out("hello")
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

fn idmapped(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.tweak(Edit::userns).up()?;
    let dir = ctx.host_dir("source");
    chown(&dir, 7);
    let mut m = mount("/tmp/b", "bind", dir.to_str().unwrap(), &["bind"]);
    m["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    m["gidMappings"] = m["uidMappings"].clone();
    add(&c, json!([m]))?.ok()?;
    same!(c.exec(&["/bin/stat", "-c", "%u:%g", "/tmp/b"])?.ok()?.line(), "7:7", "owner");
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

fn apart(ctx: &Ctx) -> Done {
    use rustix::mount::{MountPropagationFlags as Flags, UnmountFlags, mount_bind, mount_change, unmount};
    host::private_mounts()?;
    let b = writable(ctx)?.tweak(|c| c.caps([&["CAP_SYS_ADMIN"], &["CAP_SYS_ADMIN"], &["CAP_SYS_ADMIN"], &[], &[]]));
    let c = b.up()?;
    let dir = ctx.host_dir("source");
    ["inside", "outside"].iter().try_for_each(|name| fs::create_dir(dir.join(name)))?;
    mount_bind(&dir, &dir)?;
    mount_change(&dir, Flags::SHARED)?;
    let count = |pid: &str, below: &str| host::mounts(pid).iter().filter(|m| m.target.starts_with(below)).count();
    let here = || count("self", dir.to_str().unwrap());
    let source = dir.to_str().unwrap();
    let seen = (|| -> Result<_, Stop> {
        add(&c, json!([mount("/new", "bind", source, &["bind"]), mount("/own", "bind", source, &["bind", "private"])]))?.ok()?;
        c.sh("mount -t tmpfs tmpfs /new/inside")?.ok()?;
        let before = here();
        mount_bind(&dir, dir.join("outside"))?;
        let pid = c.pid()?.to_string();
        Ok((before, here(), count(&pid, "/new"), count(&pid, "/own")))
    })();
    let _ = unmount(dir.join("outside"), UnmountFlags::DETACH);
    let _ = unmount(dir.join("inside"), UnmountFlags::DETACH);
    unmount(&dir, UnmountFlags::DETACH)?;
    same!(seen?, (1, 2, 3, 1), "mounts on the host before and after its own, and in the container");
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

fn hostile_target(ctx: &Ctx) -> Done {
    let b = writable(ctx)?;
    let canary = ctx.host_dir("canary");
    symlink(&canary, b.rootfs().join("link"))?;
    symlink("/proc/1/root", b.rootfs().join("magic"))?;
    let c = b.up()?;
    add(&c, json!([mount("/link/below", "tmpfs", "tmpfs", &[])]))?.ok()?;
    let inside = canary.join("below");
    host::mount_at(&host::mounts(&c.pid()?.to_string()), inside.to_str().unwrap())?;
    check!(!inside.exists(), "a directory was made on the host");
    add(&c, json!([mount("/magic/below", "tmpfs", "tmpfs", &[])]))?.fails()?;
    add(&c, json!([mount("/link/../../../../../up", "tmpfs", "tmpfs", &[])]))?.ok()?;
    host::mount_at(&host::mounts(&c.pid()?.to_string()), "/up").map(drop)
}

fn hostile_removal(ctx: &Ctx) -> Done {
    let b = writable(ctx)?.tweak(|c| c["linux"]["maskedPaths"] = json!(["/etc/secret"]));
    fs::create_dir(b.rootfs().join("etc/secret"))?;
    fs::write(b.rootfs().join("etc/secret/key"), "of the image\n")?;
    symlink("/etc", b.rootfs().join("link"))?;
    symlink("/etc/secret", b.rootfs().join("last"))?;
    let c = b.up()?;
    for path in ["/link/secret", "/last"] {
        let out = remove(&c, &[path])?;
        let files = c.exec(&["/bin/ls", "/etc/secret"])?.ok()?.out;
        same!(files, "", "files in what is masked, after {}", out.text());
        out.fails()?.names(&[path])?;
    }
    Ok(())
}

fn masks_stay(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    let before = host::mounts(&c.pid()?.to_string());
    for path in ["/proc/kcore", "/proc/sys", "/sys/firmware", "/proc", "/sys", "/"] {
        remove(&c, &[path])?.fails()?.names(&[path])?;
    }
    same!(host::mounts(&c.pid()?.to_string()).len(), before.len(), "mounts in the container");
    remove(&c, &["/etc"])?.fails()?.names(&["no mount point"])?;
    remove(&c, &["/no/such"])?.fails()?.names(&["/no/such"])?;
    Ok(())
}

fn refused(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    let before = host::mounts(&c.pid()?.to_string()).len();
    for (m, words) in [
        (mount("/", "tmpfs", "tmpfs", &[]), "mounts[0].destination"),
        (mount("/proc", "proc", "proc", &[]), "mounts[0].destination"),
        (mount("/proc", "bind", "/proc", &["rbind"]), "mounts[0].destination"),
        (mount("/proc/sys", "tmpfs", "tmpfs", &[]), "mounts[0].destination"),
        (mount("/new", "proc", "proc", &[]), "mounts[0].type"),
        (mount("/new", "cgroup", "cgroup", &[]), "mounts[0].type"),
        (mount("/new", "nosuchfs", "x", &[]), "nosuchfs"),
        (mount("/new", "bind", "/tmp", &["bind", "size=1"]), "mounts[0].options"),
        (mount("/new", "tmpfs", "tmpfs", &["nosuchoption"]), "nosuchoption"),
    ] {
        add(&c, json!([m]))?.fails()?.names(&[words])?;
    }
    same!(host::mounts(&c.pid()?.to_string()).len(), before, "mounts in the container");
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

fn stopped(ctx: &Ctx) -> Done {
    let c = writable(ctx)?.up()?;
    c.kill("KILL")?;
    c.wait("stopped")?;
    add(&c, json!([mount("/new", "tmpfs", "tmpfs", &[])]))?.fails()?.names(&["not running"])?;
    ctx.rt(&["mounts", "add", "no-such-container", "/dev/null"])?.fails()?;
    Ok(())
}

fn rootless(ctx: &Ctx) -> Done {
    use super::rootless::{bundle, call};
    need(ctx)?;
    let b = bundle(ctx)?.rw().args(&["/bin/sleep", "1000"]);
    b.write();
    call(ctx, &["run", "--detach", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.ok()?;
    let add = |list: Value| -> Result<Output, Stop> {
        let file = ctx.host_file("mounts.json", &list.to_string());
        call(ctx, &["mounts", "add", &b.id]).arg(&file).run()
    };
    let added = add(json!([mount("/tmp/new", "tmpfs", "tmpfs", &[])]));
    let refused = add(json!([mount("/tmp/bound", "bind", "/usr", &["bind"])]));
    let seen = call(ctx, &["exec", &b.id, "/bin/grep", "-c", "/tmp/new", "/proc/self/mountinfo"]).run();
    call(ctx, &["delete", "--force", &b.id]).run()?.ok()?;
    added?.ok()?;
    same!(seen?.line(), "1", "mounts at /tmp/new");
    refused?.fails()?.names(&["/usr"])?;
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

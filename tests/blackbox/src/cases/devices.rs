//! Device nodes and links in /dev.

use std::os::unix::fs::symlink;

use serde_json::json;

use crate::case::{Case, Done, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(defaults, "the default devices are there with number and mode 666"),
    case!(links, "/dev/fd, stdin, stdout, stderr are links into /proc/self/fd"),
    case!(ptmx, "/dev/ptmx leads to the container's own devpts"),
    case!(no_console, "without a terminal there is no /dev/console"),
    case!(extra, "linux.devices makes a node with mode, uid and gid"),
    case!(extra_deep, "the directories of a device node are made"),
    case!(extra_fifo, "a fifo is made"),
    case!(extra_default_mode, "a device without fileMode gets one that isn't 0"),
    case!(extra_overrides_default, "linux.devices may give a default device another owner")
        .theirs("crun", "1.8.1 leaves it to root"),
    case!(extra_bad_type, "an unknown device type is refused")
        .theirs("crun", "1.8.1 takes it"),
    case!(extra_userns, "in a user namespace an extra device is bound from the host"),
    case!(dev_bind, "a bind mount of the host's /dev is left as it is"),
    case!(umask_is_harmless, "the caller's umask doesn't change the modes"),
];

fn defaults(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("cd /dev; stat -c '%n %t:%T %a %u:%g' null zero full random urandom tty").run()?.ok()?;
    let want = "null 1:3 666 0:0\nzero 1:5 666 0:0\nfull 1:7 666 0:0\nrandom 1:8 666 0:0\nurandom 1:9 666 0:0\n\
                tty 5:0 666 0:0\n";
    same!(out.out, want, "devices");
    Ok(())
}

fn links(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("cd /dev; readlink fd stdin stdout stderr").run()?;
    let out = if out.code == 0 { out } else { ctx.bundle().sh("cd /dev; for l in fd stdin stdout stderr; do readlink $l; done").run()?.ok()? };
    same!(out.out, "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\n", "links");
    Ok(())
}

fn ptmx(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("ls /dev/pts; exec 9<>/dev/ptmx; ls /dev/pts");
    let out = b.run()?.ok()?;
    same!(out.out, "ptmx\n0\nptmx\n", "terminals before and after opening one");
    Ok(())
}

fn no_console(ctx: &Ctx) -> Done {
    same!(ctx.bundle().sh("[ -e /dev/console ] || echo none").run()?.ok()?.line(), "none", "/dev/console");
    Ok(())
}

fn extra(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("stat -c '%F %t:%T %a %u:%g' /dev/c /dev/b").set(
        "/linux/devices",
        json!([{ "path": "/dev/c", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 12, "gid": 34 },
               { "path": "/dev/b", "type": "b", "major": 7, "minor": 200, "fileMode": 0o600, "uid": 0, "gid": 0 }]),
    );
    let want = "character special file 1:3 640 12:34\nblock special file 7:c8 600 0:0\n";
    same!(b.run()?.ok()?.out, want, "devices");
    Ok(())
}

fn extra_deep(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/stat", "-c", "%t:%T", "/dev/a/b/c"]);
    let device = json!([{ "path": "/dev/a/b/c", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
    same!(b.set("/linux/devices", device).run()?.ok()?.line(), "1:3", "device");
    Ok(())
}

fn extra_fifo(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/stat", "-c", "%F", "/dev/pipe"]);
    let device = json!([{ "path": "/dev/pipe", "type": "p", "fileMode": 0o666 }]);
    same!(b.set("/linux/devices", device).run()?.ok()?.line(), "fifo", "kind");
    Ok(())
}

fn extra_default_mode(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/stat", "-c", "%a", "/dev/c"]);
    let b = b.set("/linux/devices", json!([{ "path": "/dev/c", "type": "c", "major": 1, "minor": 3 }]));
    let mode = b.run()?.ok()?;
    check!(mode.line() != "0", "mode {}", mode.line());
    Ok(())
}

fn extra_overrides_default(ctx: &Ctx) -> Done {
    let device = json!([{ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666, "uid": 7, "gid": 8 }]);
    let b = ctx.bundle().args(&["/bin/stat", "-c", "%t:%T %u:%g", "/dev/null"]).set("/linux/devices", device);
    let b = b.set(
        "/linux/resources/devices",
        json!([{ "allow": false, "access": "rwm" },
               { "allow": true, "type": "c", "major": 1, "minor": 3, "access": "rwm" }]),
    );
    same!(b.run()?.ok()?.line(), "1:3 7:8", "device");
    Ok(())
}

fn extra_bad_type(ctx: &Ctx) -> Done {
    let device = json!([{ "path": "/dev/x", "type": "nosuch", "major": 1, "minor": 3 }]);
    ctx.bundle().set("/linux/devices", device).refused(&["device", "nosuch"])?;
    Ok(())
}

fn extra_userns(ctx: &Ctx) -> Done {
    let device = json!([{ "path": "/dev/null2", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 },
                        { "path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666 }]);
    let b = ctx.bundle().tweak(Edit::userns).sh("echo x > /dev/full || echo full").set("/linux/devices", json!([device[1]]));
    same!(b.run()?.ok()?.line(), "full", "writing to /dev/full");
    Ok(())
}

fn dev_bind(ctx: &Ctx) -> Done {
    let dev = ctx.host_dir("dev");
    symlink("somewhere", dev.join("own"))?;
    ctx.program("/bin/mknod").args(&["-m", "666"]).arg(dev.join("null")).args(&["c", "1", "3"]).run()?.ok()?;
    let b = ctx.bundle().tweak(|c| {
        c.unmount("/dev");
        c.mount("/dev", "bind", dev.to_str().unwrap(), &["rbind"]);
    });
    b.sh("readlink /dev/own").run()?.ok()?;
    let left: Vec<_> = std::fs::read_dir(&dev)?.flatten().map(|e| e.file_name()).collect();
    check!(left.contains(&"own".into()), "the bound directory lost its file");
    check!(left.len() == 2, "something was made in a directory of the host that was bound to /dev: {left:?}");
    Ok(())
}

fn umask_is_harmless(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("stat -c %a /dev/null /dev /dev/shm; umask");
    let call = b.call("run").pre(|| {
        // SAFETY: plain system call without pointers.
        unsafe { libc::umask(0o777) };
        Ok(())
    });
    same!(call.run()?.ok()?.out, "666\n755\n1777\n0022\n", "modes");
    Ok(())
}

//! `mounts`: kinds, options, order, propagation, targets; root and the paths that are masked or read-only.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, Mount, mount_at, parse_mounts};

pub(crate) const CASES: &[Case] = &[
    case!(defaults, "the default mounts are there with their kinds and options"),
    case!(bind, "a bind mount shows the directory, for reading and writing"),
    case!(bind_file, "a file is bind-mounted onto a file"),
    case!(bind_by_option, "a bind mount needs no type, only the option"),
    case!(bind_type_none, "type none with the option binds"),
    case!(bind_readonly, "ro makes a bind mount read-only, the source stays writable"),
    case!(bind_flags, "nosuid, nodev, noexec, noatime hold on a bind mount"),
    case!(bind_keeps_source_flags, "a bind mount without options changes nothing on the source mount"),
    case!(bind_without_flags, "a bind mount without options about flags has those of its source")
        .theirs("crun", "1.8.1 clears them"),
    case!(bind_exact_flags, "a bind mount with one has those named and no other"),
    case!(bind_missing_source, "a bind mount of a missing source is refused and the source named"),
    case!(bind_relative_source, "a relative source starts from the bundle"),
    case!(bind_of_device, "a device node is bind-mounted"),
    case!(bind_of_socket, "a unix socket is bind-mounted"),
    case!(bind_is_flat, "bind leaves submounts out, rbind takes them along"),
    case!(rbind_readonly_is_flat, "ro on rbind leaves submounts writable, rro doesn't"),
    case!(recursive_flags, "rnosuid, rnodev, rnoexec reach submounts"),
    case!(noexec, "nothing can be executed on a noexec mount"),
    case!(nosuid, "a set-uid program gains nothing on a nosuid mount"),
    case!(nodev, "device nodes don't work on a nodev mount"),
    case!(atime_flags, "relatime, noatime, strictatime, nodiratime are set"),
    case!(later_option_wins, "of two opposed options the later wins")
        .theirs("crun", "1.8.1 lets ro win"),
    case!(options_of_the_file_system, "other options go to the file system"),
    case!(unknown_option, "an option that the file system doesn't know is an error"),
    case!(unknown_kind, "a file system that the kernel doesn't know is an error"),
    case!(tmpfs, "a tmpfs has size and mode as asked"),
    case!(tmpfs_mode_over_directory, "the mode of a tmpfs holds where the target exists, too")
        .theirs("runc", "1.1.5 gives it the mode of the directory"),
    case!(tmpfs_readonly, "a tmpfs can be read-only"),
    case!(tmpfs_mode_of_target, "a tmpfs without mode takes that of the directory it covers")
        .theirs("crun", "1.8.1 leaves 1777"),
    case!(tmpcopyup, "tmpcopyup fills a tmpfs with what it covers"),
    case!(order, "mounts are made in their order, so that a later one covers an earlier"),
    case!(nested, "a mount may lie in another"),
    case!(target_is_made, "a missing target directory is made, deep"),
    case!(target_file_is_made, "a missing target file is made for a file"),
    case!(target_dir_for_file, "a file can't be mounted over a directory"),
    case!(target_file_for_dir, "a directory can't be mounted over a file"),
    case!(target_symlink_inside, "a relative symbolic link in the way is followed inside the root"),
    case!(target_symlink_absolute, "an absolute symbolic link in the way means the container's root"),
    case!(target_dots, "`..` in a target doesn't leave the root"),
    case!(target_relative, "a relative target starts from the root"),
    case!(target_slash, "slashes and dots in a target are harmless"),
    case!(target_unicode, "blanks and unicode in source and target work"),
    case!(root_readonly, "root.readonly makes the root read-only"),
    case!(root_writable, "without root.readonly the root can be written to"),
    case!(root_absolute, "root.path may be absolute"),
    case!(root_relative, "root.path may be relative to the bundle"),
    case!(root_symlink, "root.path may lead through a symbolic link")
        .theirs("runc", "1.1.5 refuses it"),
    case!(root_is_alone, "nothing of the host's mounts is seen"),
    case!(old_root_is_gone, "the old root can't be reached by .. from /"),
    case!(no_pivot, "--no-pivot gives the same view"),
    case!(propagation_private, "a private mount doesn't hear of the host's"),
    case!(propagation_slave, "a slave mount hears of what the host mounts"),
    case!(propagation_shared, "what is mounted in a shared mount reaches the host"),
    case!(root_propagation_default, "without rootfsPropagation nothing reaches the host"),
    case!(root_propagation_slave, "rootfsPropagation slave makes the root a slave or private, not shared"),
    case!(root_propagation_shared, "rootfsPropagation shared makes the root shared")
        .theirs("runc", "1.1.5 makes the mount below private, and the root with it"),
    case!(root_propagation_unknown, "an unknown rootfsPropagation is refused")
        .theirs("crun", "1.8.1 ignores it"),
    case!(idmap, "a mount with uidMappings and gidMappings shows mapped owners")
        .theirs("runc", "1.1.5 has no idmapped mounts"),
    case!(idmap_of_userns, "option idmap maps by the user namespace of the container")
        .theirs("runc", "1.1.5 has no idmapped mounts"),
    case!(masked_file, "a masked file is empty and can't be filled"),
    case!(masked_dir, "a masked directory is empty and read-only"),
    case!(masked_missing, "a masked path that isn't there is passed over"),
    case!(masked_proc, "/proc/kcore and the like are masked"),
    case!(readonly_path, "a read-only path can't be written to"),
    case!(readonly_path_missing, "a read-only path that isn't there is passed over"),
    case!(readonly_keeps_flags, "a read-only path keeps the flags of its mount")
        .theirs("crun", "1.8.1 drops nosuid, nodev and noexec"),
    case!(proc_sys_readonly, "/proc/sys is read-only by readonlyPaths"),
    case!(no_mounts, "a container without any mount runs")
        .theirs("runc", "1.1.5 needs /proc/self/fd in the container"),
    case!(no_mount_namespace, "a container without a mount namespace is refused")
        .theirs("crun", "1.8.1 runs it, on the mounts of its caller"),
    case!(overlay, "an overlay is mounted from its data string"),
    case!(overlay_long, "an overlay of many layers is mounted with the flags of its options, and nothing else is left"),
    case!(overlay_of_target, "an overlay of many layers may have its own target among them"),
    case!(proc_hidepid, "options of proc are passed on"),
    case!(mqueue_and_shm, "message queues and shared memory are the container's own"),
    case!(proc_subdir_forbidden, "a bind mount over /proc/self is refused")
        .theirs("crun", "1.8.1 mounts anywhere"),
    case!(proc_files_allowed, "bind mounts over /proc/uptime and /proc/meminfo are allowed"),
];

/// Runs the container and reads its mountinfo.
fn seen(b: crate::bundle::Bundle) -> Result<Vec<Mount>, Stop> {
    Ok(parse_mounts(&b.args(&["/bin/cat", "/proc/self/mountinfo"]).run()?.ok()?.out))
}

/// A source directory with a file `f` that holds `inside`.
fn source(ctx: &Ctx) -> String {
    let dir = ctx.host_dir("source");
    fs::write(dir.join("f"), "inside").expect("write");
    dir.to_str().unwrap().to_owned()
}

fn defaults(ctx: &Ctx) -> Done {
    let list = seen(ctx.bundle())?;
    for (target, kind, options) in [
        ("/", "", &["ro"][..]),
        ("/proc", "proc", &["rw"]),
        ("/dev", "tmpfs", &["nosuid", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", &["nosuid", "noexec", "gid=5", "mode=620", "ptmxmode=666"]),
        ("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "size=65536k"]),
        ("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        ("/sys", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        ("/sys/fs/cgroup", "", &["nosuid", "noexec", "nodev"]),
    ] {
        let m = mount_at(&list, target)?;
        check!(kind.is_empty() || m.kind == kind, "{target} is {}", m.kind);
        for option in options {
            check!(m.has(option), "{target} has no {option}: {m:?}");
        }
    }
    for m in list.iter().filter(|m| m.kind.starts_with("cgroup")) {
        check!(m.options.starts_with("ro"), "a cgroup can be written to: {m:?}");
    }
    Ok(())
}

fn bind(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["rbind"]));
    same!(b.sh("cat /mnt/f; echo new > /mnt/g").run()?.ok()?.out, "inside", "what was read");
    same!(fs::read_to_string(format!("{s}/g"))?, "new\n", "what was written");
    Ok(())
}

fn bind_file(ctx: &Ctx) -> Done {
    let file = ctx.host_file("data", "from outside");
    let b = ctx.bundle().tweak(|c| c.mount("/etc/data", "bind", file.to_str().unwrap(), &["bind", "ro"]));
    same!(b.args(&["/bin/cat", "/etc/data"]).run()?.ok()?.out, "from outside", "file");
    Ok(())
}

fn bind_by_option(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "", &s, &["bind"]));
    same!(b.args(&["/bin/cat", "/mnt/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn bind_type_none(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "none", &s, &["rbind", "rw"]));
    same!(b.args(&["/bin/cat", "/mnt/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn bind_readonly(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["bind", "ro"]));
    b.sh("echo x > /mnt/g").run()?.fails()?.names(&["Read-only file system"])?;
    fs::write(format!("{s}/h"), "x")?;
    Ok(())
}

fn bind_flags(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let flags = ["nosuid", "nodev", "noexec", "noatime"];
    let mut options = vec!["bind"];
    options.extend(flags);
    let m = mount_at(&seen(ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &options)))?, "/mnt")?;
    for flag in flags {
        check!(m.options.split(',').any(|o| o == flag), "no {flag}: {m:?}");
    }
    Ok(())
}

fn bind_keeps_source_flags(ctx: &Ctx) -> Done {
    host::private_mounts()?;
    let s = source(ctx);
    mount_tmpfs(&s)?;
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["bind", "ro", "nosuid"]));
    mount_at(&seen(b)?, "/mnt")?;
    let own = mount_at(&host::mounts("self"), &s)?;
    unmount(&s)?;
    check!(!own.has("ro") && !own.has("nosuid"), "the source mount became {own:?}");
    Ok(())
}

/// The flags of a bind mount with these options, of a source that is read-only, nodev and noexec.
fn bind_of_restricted(ctx: &Ctx, options: &[&str]) -> Result<host::Mount, Stop> {
    use rustix::mount::MountFlags;
    host::private_mounts()?;
    let s = source(ctx);
    rustix::mount::mount("tmpfs", s.as_str(), "tmpfs", MountFlags::NODEV | MountFlags::NOEXEC, None)?;
    rustix::mount::mount_remount(s.as_str(), MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOEXEC, "")?;
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, options));
    let seen = mount_at(&seen(b)?, "/mnt");
    unmount(&s)?;
    seen
}

fn bind_without_flags(ctx: &Ctx) -> Done {
    let m = bind_of_restricted(ctx, &["rbind", "rprivate"])?;
    check!(m.has("ro") && m.has("nodev") && m.has("noexec"), "{m:?}");
    Ok(())
}

fn bind_exact_flags(ctx: &Ctx) -> Done {
    let m = bind_of_restricted(ctx, &["rbind", "rprivate", "nosuid", "nodev"])?;
    check!(m.has("nosuid") && m.has("nodev"), "{m:?}");
    check!(!m.has("ro") && !m.has("noexec"), "{m:?}");
    Ok(())
}

/// A tmpfs at `path` in this case's own mount namespace.
fn mount_tmpfs(path: &str) -> Done {
    rustix::mount::mount("tmpfs", path, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    Ok(())
}

fn unmount(path: &str) -> Done {
    rustix::mount::unmount(path, rustix::mount::UnmountFlags::DETACH)?;
    Ok(())
}

fn bind_missing_source(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", "/no/such/source", &["bind"]));
    b.refused(&["/no/such/source"])?;
    Ok(())
}

fn bind_relative_source(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", "beside", &["bind"]));
    fs::create_dir(b.dir.join("beside"))?;
    fs::write(b.dir.join("beside/f"), "of the bundle")?;
    same!(b.args(&["/bin/cat", "/mnt/f"]).run()?.ok()?.out, "of the bundle", "file");
    Ok(())
}

fn bind_of_device(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().tweak(|c| c.mount("/run/null", "bind", "/dev/null", &["bind"]));
    same!(b.args(&["/bin/stat", "-c", "%F", "/run/null"]).run()?.ok()?.line(), "character special file", "kind");
    Ok(())
}

fn bind_of_socket(ctx: &Ctx) -> Done {
    let path = ctx.host_dir("s").join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&path)?;
    let b = ctx.bundle().rw().tweak(|c| c.mount("/run/socket", "bind", path.to_str().unwrap(), &["bind"]));
    same!(b.args(&["/bin/stat", "-c", "%F", "/run/socket"]).run()?.ok()?.line(), "socket", "kind");
    Ok(())
}

/// A source with a tmpfs mounted at `sub` that has a file `deep`; in a mount namespace of this case.
fn source_with_submount(ctx: &Ctx) -> Result<String, Stop> {
    host::private_mounts()?;
    let s = source(ctx);
    let sub = format!("{s}/sub");
    fs::create_dir(&sub)?;
    mount_tmpfs(&sub)?;
    fs::write(format!("{sub}/deep"), "deep")?;
    Ok(s)
}

fn bind_is_flat(ctx: &Ctx) -> Done {
    let s = source_with_submount(ctx)?;
    for (option, there) in [("bind", false), ("rbind", true)] {
        let list = seen(ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &[option])))?;
        same!(mount_at(&list, "/mnt/sub").is_ok(), there, "submount with {option}");
    }
    unmount(&format!("{s}/sub"))
}

fn rbind_readonly_is_flat(ctx: &Ctx) -> Done {
    let s = source_with_submount(ctx)?;
    for (option, ro) in [("ro", false), ("rro", true)] {
        let list = seen(ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["rbind", option])))?;
        check!(mount_at(&list, "/mnt")?.options.starts_with("ro"), "{option}: the mount itself isn't read-only");
        same!(mount_at(&list, "/mnt/sub")?.options.starts_with("ro"), ro, "submount with {option}");
    }
    unmount(&format!("{s}/sub"))
}

fn recursive_flags(ctx: &Ctx) -> Done {
    let s = source_with_submount(ctx)?;
    let options = ["rbind", "rnosuid", "rnodev", "rnoexec"];
    let list = seen(ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &options)))?;
    for target in ["/mnt", "/mnt/sub"] {
        let m = mount_at(&list, target)?;
        check!(m.has("nosuid") && m.has("nodev") && m.has("noexec"), "{m:?}");
    }
    unmount(&format!("{s}/sub"))
}

fn noexec(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["noexec"]));
    b.sh("cp /bin/busybox /mnt/true && /mnt/true").run()?.fails()?.names(&["Permission denied"])?;
    Ok(())
}

fn nosuid(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("suid");
    for (option, euid) in [("nosuid", "1000 1000"), ("suid", "1000 0")] {
        let b = ctx.bundle().args(&["/mnt/probe", "self"]).set("/process/noNewPrivileges", json!(false));
        let b = b.tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind", option]));
        fs::copy(b.rootfs().join("bin/hull-probe"), dir.join("probe"))?;
        crate::ctx::chmod(&dir.join("probe"), 0o4755);
        let b = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        same!(b.run()?.ok()?.field("uid")?, euid, "uids with {option}");
    }
    Ok(())
}

fn nodev(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("dev");
    ctx.program("/bin/mknod").arg(dir.join("null")).args(&["c", "1", "3"]).run()?.ok()?;
    for (option, errno) in [("nodev", "13"), ("dev", "0")] {
        let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind", option]));
        same!(b.probe(&["open", "/mnt/null", "r"]).run()?.ok()?.field("errno")?, errno, "errno with {option}");
    }
    Ok(())
}

fn atime_flags(ctx: &Ctx) -> Done {
    for (options, want, not) in [
        (&["relatime"][..], "relatime", "noatime"),
        (&["noatime"], "noatime", "relatime"),
        (&["strictatime"], "rw", "relatime"),
        (&["nodiratime"], "nodiratime", "noatime"),
    ] {
        let m = mount_at(&seen(ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", options)))?, "/mnt")?;
        check!(m.has(want) && !m.has(not), "{options:?} gave {m:?}");
    }
    Ok(())
}

fn later_option_wins(ctx: &Ctx) -> Done {
    for (options, ro) in [(["ro", "rw"], false), (["rw", "ro"], true)] {
        let m = mount_at(&seen(ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &options)))?, "/mnt")?;
        same!(m.options.starts_with("ro"), ro, "{options:?}");
    }
    Ok(())
}

fn options_of_the_file_system(ctx: &Ctx) -> Done {
    let options = ["nosuid", "nr_inodes=77", "uid=12", "gid=34"];
    let m = mount_at(&seen(ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &options)))?, "/mnt")?;
    check!(m.has("nr_inodes=77") && m.has("uid=12") && m.has("gid=34"), "{m:?}");
    Ok(())
}

fn unknown_option(ctx: &Ctx) -> Done {
    ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["nosuchoption"])).refused(&["/mnt", "mnt"])?;
    Ok(())
}

fn unknown_kind(ctx: &Ctx) -> Done {
    ctx.bundle().tweak(|c| c.mount("/mnt", "nosuchfs", "nosuchfs", &[])).refused(&["mnt", "nosuchfs"])?;
    Ok(())
}

fn tmpfs(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["size=1m"])).sh(
        "dd if=/dev/zero of=/mnt/f bs=1k count=2000 2>/dev/null; stat -c %s /mnt/f; stat -c %a /made",
    );
    let out = b.tweak(|c| c.mount("/made", "tmpfs", "tmpfs", &["mode=1751"])).run()?;
    same!(out.ok()?.out, "1048576\n1751\n", "size of a file that fills one, and mode of another");
    Ok(())
}

fn tmpfs_mode_over_directory(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["mode=1751"]));
    same!(b.args(&["/bin/stat", "-c", "%a", "/mnt"]).run()?.ok()?.line(), "1751", "mode");
    Ok(())
}

fn tmpfs_readonly(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["ro"]));
    b.sh("echo x > /mnt/f").run()?.fails()?.names(&["Read-only"])?;
    Ok(())
}

fn tmpfs_mode_of_target(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/run", "tmpfs", "tmpfs", &[])).args(&["/bin/stat", "-c", "%a", "/run"]);
    crate::ctx::chmod(&b.rootfs().join("run"), 0o710);
    same!(b.run()?.ok()?.line(), "710", "mode");
    Ok(())
}

fn tmpcopyup(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c.mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup"]));
    fs::create_dir(b.rootfs().join("etc/dir"))?;
    fs::write(b.rootfs().join("etc/dir/f"), "copied")?;
    symlink("dir/f", b.rootfs().join("etc/link"))?;
    crate::ctx::chmod(&b.rootfs().join("etc/dir/f"), 0o604);
    crate::ctx::chown(&b.rootfs().join("etc/dir/f"), 77);
    let out = b.sh("cat /etc/link; echo; stat -c '%a %u' /etc/dir/f; echo x > /etc/new; echo $?").run()?.ok()?;
    same!(out.out, "copied\n604 77\n0\n", "content, mode and owner, and writing");
    Ok(())
}

fn order(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| {
        c.mount("/mnt", "tmpfs", "tmpfs", &[]);
        c.mount("/mnt", "bind", &s, &["bind"]);
        c.mount("/run", "bind", &s, &["bind"]);
        c.mount("/run", "tmpfs", "tmpfs", &[]);
    });
    same!(b.sh("ls /mnt; ls /run").run()?.ok()?.out, "f\n", "files");
    Ok(())
}

fn nested(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| {
        c.mount("/mnt", "tmpfs", "tmpfs", &[]);
        c.mount("/mnt/a/b", "bind", &s, &["bind"]);
        c.mount("/mnt/a/file", "bind", &format!("{s}/f"), &["bind"]);
    });
    same!(b.sh("cat /mnt/a/b/f /mnt/a/file").run()?.ok()?.out, "insideinside", "files");
    Ok(())
}

fn target_is_made(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/not/yet/there", "bind", &s, &["bind"]));
    same!(b.args(&["/bin/cat", "/not/yet/there/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn target_file_is_made(ctx: &Ctx) -> Done {
    let file = ctx.host_file("f", "a file");
    let b = ctx.bundle().tweak(|c| c.mount("/not/yet/file", "bind", file.to_str().unwrap(), &["bind"]));
    same!(b.args(&["/bin/cat", "/not/yet/file"]).run()?.ok()?.out, "a file", "file");
    Ok(())
}

fn target_dir_for_file(ctx: &Ctx) -> Done {
    let file = ctx.host_file("f", "a file");
    ctx.bundle().tweak(|c| c.mount("/mnt", "bind", file.to_str().unwrap(), &["bind"])).refused(&["mnt"])?;
    Ok(())
}

fn target_file_for_dir(ctx: &Ctx) -> Done {
    let s = source(ctx);
    ctx.bundle().tweak(|c| c.mount("/etc/passwd", "bind", &s, &["bind"])).refused(&["passwd"])?;
    Ok(())
}

fn target_symlink_inside(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/link/there", "bind", &s, &["bind"]));
    fs::create_dir_all(b.rootfs().join("real/there"))?;
    symlink("real", b.rootfs().join("link"))?;
    same!(b.args(&["/bin/cat", "/real/there/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn target_symlink_absolute(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/link/there", "bind", &s, &["bind"]));
    fs::create_dir_all(b.rootfs().join("real/there"))?;
    symlink("/real", b.rootfs().join("link"))?;
    same!(b.args(&["/bin/cat", "/real/there/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn target_dots(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt/../../../mnt", "bind", &s, &["bind"]));
    let out = b.args(&["/bin/cat", "/mnt/f"]).run()?;
    if out.code != 0 {
        out.fails()?.names(&["mnt"])?;
    } else {
        same!(out.out, "inside", "file");
    }
    Ok(())
}

fn target_relative(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("mnt", "bind", &s, &["bind"]));
    same!(b.args(&["/bin/cat", "/mnt/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn target_slash(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("//mnt/./", "bind", &s, &["bind"]));
    same!(b.args(&["/bin/cat", "/mnt/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn target_unicode(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("quelle mit ü");
    fs::write(dir.join("f"), "inside")?;
    let b = ctx.bundle().rw().tweak(|c| c.mount("/mnt/zwei wörter", "bind", dir.to_str().unwrap(), &["bind"]));
    same!(b.args(&["/bin/cat", "/mnt/zwei wörter/f"]).run()?.ok()?.out, "inside", "file");
    Ok(())
}

fn root_readonly(ctx: &Ctx) -> Done {
    ctx.bundle().sh("echo x > /etc/new").run()?.fails()?.names(&["Read-only"])?;
    Ok(())
}

fn root_writable(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().sh("echo x > /etc/new");
    b.call("run").run()?.ok()?;
    same!(fs::read_to_string(b.rootfs().join("etc/new"))?, "x\n", "file on the host");
    Ok(())
}

fn root_absolute(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    let path = b.rootfs().to_str().unwrap().to_owned();
    b.set("/root/path", json!(path)).run()?.code(3)?;
    Ok(())
}

fn root_relative(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3").set("/root/path", json!("./deep/../deep/root"));
    fs::create_dir(b.dir.join("deep"))?;
    fs::rename(b.rootfs(), b.dir.join("deep/root"))?;
    b.run()?.code(3)?;
    Ok(())
}

fn root_symlink(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3").set("/root/path", json!("link"));
    symlink("rootfs", b.dir.join("link"))?;
    b.run()?.code(3)?;
    Ok(())
}

fn root_is_alone(ctx: &Ctx) -> Done {
    let list = seen(ctx.bundle().tweak(|c| c["linux"]["maskedPaths"] = json!([])))?;
    let ours = ["/", "/proc", "/dev", "/sys"];
    for m in &list {
        check!(ours.iter().any(|o| m.target == *o || m.target.starts_with(&format!("{o}/"))), "{m:?} is seen");
    }
    same!(list.iter().filter(|m| m.target == "/").count(), 1, "roots");
    Ok(())
}

fn old_root_is_gone(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("cd /; cd ../../../../..; ls; ls /proc/1/root");
    let out = b.run()?.ok()?;
    check!(!out.out.contains("base") && out.out.contains("mnt"), "seen: {:?}", out.out);
    Ok(())
}

fn no_pivot(ctx: &Ctx) -> Done {
    let b = ctx.bundle().option("--no-pivot").sh("cd /; cd ..; cat etc/data; ls -d /proc/self/fd");
    same!(b.run()?.ok()?.out, "data\n/proc/self/fd\n", "view");
    Ok(())
}

/// A shared tmpfs on the host, and a container that has it at /mnt with `option`.
fn shared<'a>(ctx: &'a Ctx, option: &str) -> Result<(String, crate::bundle::Container<'a>), Stop> {
    use rustix::mount::{MountPropagationFlags, mount_change};
    host::private_mounts()?;
    let s = ctx.host_dir("shared").to_str().unwrap().to_owned();
    mount_tmpfs(&s)?;
    mount_change(&s, MountPropagationFlags::SHARED)?;
    fs::create_dir(format!("{s}/sub"))?;
    let all = &["CAP_SYS_ADMIN"][..];
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["rbind", option]));
    let b = b.set("/linux/rootfsPropagation", json!(option));
    let c = b.tweak(|c| c.caps([all, all, all, &[], &[]])).up()?;
    Ok((s, c))
}

/// Whether what the host mounts is seen in the container, and the other way round.
fn propagates(s: &str, c: &crate::bundle::Container) -> Result<(bool, bool), Stop> {
    let pid = c.pid()?.to_string();
    mount_tmpfs(&format!("{s}/sub"))?;
    let inward = mount_at(&host::mounts(&pid), "/mnt/sub").is_ok();
    unmount(&format!("{s}/sub"))?;
    c.sh("mkdir /mnt/back; mount -t tmpfs tmpfs /mnt/back")?.ok()?;
    let outward = mount_at(&host::mounts("self"), &format!("{s}/back")).is_ok();
    c.delete_force()?;
    let _ = unmount(&format!("{s}/back"));
    unmount(s)?;
    Ok((inward, outward))
}

fn propagation_private(ctx: &Ctx) -> Done {
    let (s, c) = shared(ctx, "rprivate")?;
    same!(propagates(&s, &c)?, (false, false), "inward, outward");
    Ok(())
}

fn propagation_slave(ctx: &Ctx) -> Done {
    let (s, c) = shared(ctx, "rslave")?;
    same!(propagates(&s, &c)?, (true, false), "inward, outward");
    Ok(())
}

fn propagation_shared(ctx: &Ctx) -> Done {
    let (s, c) = shared(ctx, "rshared")?;
    same!(propagates(&s, &c)?, (true, true), "inward, outward");
    Ok(())
}

fn root_propagation_default(ctx: &Ctx) -> Done {
    let m = mount_at(&seen(ctx.bundle())?, "/")?;
    check!(!m.tags.contains("shared:"), "{m:?}");
    Ok(())
}

fn root_propagation_slave(ctx: &Ctx) -> Done {
    for word in ["slave", "rslave", "private", "rprivate"] {
        let m = mount_at(&seen(ctx.bundle().set("/linux/rootfsPropagation", json!(word)))?, "/")?;
        check!(!m.tags.contains("shared:"), "{word}: {m:?}");
    }
    Ok(())
}

fn root_propagation_shared(ctx: &Ctx) -> Done {
    let m = mount_at(&seen(ctx.bundle().set("/linux/rootfsPropagation", json!("shared")))?, "/")?;
    check!(m.tags.contains("shared:"), "{m:?}");
    Ok(())
}

fn root_propagation_unknown(ctx: &Ctx) -> Done {
    ctx.bundle().set("/linux/rootfsPropagation", json!("nosuch")).refused(&["propagation"])?;
    Ok(())
}

/// A source whose file `f` belongs to uid and gid 12.
fn owned_source(ctx: &Ctx) -> Result<String, Stop> {
    let s = source(ctx);
    crate::ctx::chown(std::path::Path::new(&format!("{s}/f")), 12);
    Ok(s)
}

fn idmap(ctx: &Ctx) -> Done {
    let s = owned_source(ctx)?;
    let b = ctx.bundle().tweak(Edit::userns).tweak(|c| {
        c.mount("/mnt", "bind", &s, &["bind"]);
        let last = c["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
        last["gidMappings"] = json!([{ "containerID": 0, "hostID": 100_000, "size": 1000 }]);
    });
    owner_in_idmap(b)
}

/// The file of [`owned_source`] is as the source's owner has it; skips where the file system can't be idmapped.
fn owner_in_idmap(b: crate::bundle::Bundle) -> Done {
    let out = b.args(&["/bin/stat", "-c", "%u:%g", "/mnt/f"]).run()?;
    if out.err.contains("not supported") || out.err.contains("EINVAL") {
        skip!("idmapped mounts aren't supported here: {}", out.err.trim());
    }
    same!(out.ok()?.line(), "12:12", "owner");
    Ok(())
}

fn idmap_of_userns(ctx: &Ctx) -> Done {
    let s = owned_source(ctx)?;
    let b = ctx.bundle().tweak(Edit::userns).tweak(|c| c.mount("/mnt", "bind", &s, &["bind", "idmap"]));
    owner_in_idmap(b)
}

fn masked_file(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().set("/linux/maskedPaths", json!(["/etc/data"]));
    let host = b.rootfs().join("etc/data");
    same!(b.sh("cat /etc/data; echo x > /etc/data; cat /etc/data").run()?.ok()?.out, "", "content");
    same!(fs::read_to_string(host)?, "data\n", "file on the host");
    Ok(())
}

fn masked_dir(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().set("/linux/maskedPaths", json!(["/etc"]));
    same!(b.sh("ls -A /etc; echo x > /etc/x || echo refused").run()?.ok()?.out, "refused\n", "content");
    Ok(())
}

fn masked_missing(ctx: &Ctx) -> Done {
    ctx.bundle().set("/linux/maskedPaths", json!(["/no/such"])).run()?.ok()?;
    Ok(())
}

fn masked_proc(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("for f in kcore keys timer_list; do [ -e /proc/$f ] && head -c 1 /proc/$f; done; true");
    same!(b.run()?.ok()?.out, "", "what could be read");
    Ok(())
}

fn readonly_path(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().set("/linux/readonlyPaths", json!(["/etc/data", "/home"]));
    let out = b.sh("echo x > /etc/data; echo x > /home/user/f; echo x > /run/f; cat /etc/data /run/f").run()?.ok()?;
    same!(out.out, "data\nx\n", "content");
    same!(out.err.matches("Read-only").count(), 2, "refusals");
    Ok(())
}

fn readonly_path_missing(ctx: &Ctx) -> Done {
    ctx.bundle().set("/linux/readonlyPaths", json!(["/no/such"])).run()?.ok()?;
    Ok(())
}

fn readonly_keeps_flags(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/linux/readonlyPaths", json!(["/dev/shm"]));
    let m = mount_at(&seen(b)?, "/dev/shm")?;
    for flag in ["ro", "nosuid", "nodev", "noexec"] {
        check!(m.options.split(',').any(|o| o == flag), "no {flag}: {m:?}");
    }
    Ok(())
}

fn proc_sys_readonly(ctx: &Ctx) -> Done {
    let caps = &["CAP_SYS_ADMIN"][..];
    let b = ctx.bundle().tweak(|c| c.caps([caps, caps, caps, &[], &[]])).sh("echo x > /proc/sys/kernel/hostname");
    b.run()?.fails()?.names(&["Read-only"])?;
    Ok(())
}

fn no_mounts(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/mounts", json!([])).set("/linux/maskedPaths", json!([]));
    b.set("/linux/readonlyPaths", json!([])).sh("exit 3").run()?.code(3)?;
    Ok(())
}

fn no_mount_namespace(ctx: &Ctx) -> Done {
    // Should the runtime not refuse, it must not mask the paths of the host.
    host::private_mounts()?;
    ctx.bundle().tweak(|c| c.leave("mount")).refused(&["mount", "mnt"])?;
    Ok(())
}

fn overlay(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let work = ctx.host_dir("overlay");
    let scratch = work.to_str().unwrap();
    fs::create_dir(work.join("upper"))?;
    fs::create_dir(work.join("work"))?;
    let options =
        [format!("lowerdir={s}"), format!("upperdir={scratch}/upper"), format!("workdir={scratch}/work")];
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "overlay", "overlay", &options)).sh("cat /mnt/f; echo x > /mnt/g");
    let out = b.run()?;
    if out.err.contains("no such device") || out.err.contains("invalid argument") {
        skip!("no overlay on this file system");
    }
    same!(out.ok()?.out, "inside", "content of the lower layer");
    check!(work.join("upper/g").exists() && !std::path::Path::new(&s).join("g").exists(), "written to the wrong layer");
    Ok(())
}

/// Directories whose names take more than 256 characters together, with the files f0 to f11.
fn layers(ctx: &Ctx) -> Result<String, Stop> {
    let dir = ctx.host_dir("layers");
    let layers: Vec<String> = (0..12).map(|n| format!("{}/a-layer-with-a-rather-long-name-{n}", dir.display())).collect();
    for (n, layer) in layers.iter().enumerate() {
        fs::create_dir(layer)?;
        fs::write(format!("{layer}/f{n}"), n.to_string())?;
    }
    Ok(layers.join(":"))
}

fn overlay_long(ctx: &Ctx) -> Done {
    let lower = format!("lowerdir={}", layers(ctx)?);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "overlay", "layers", &[&lower, "ro", "nosuid", "nodev", "noatime"]));
    let out = b.sh("cat /mnt/f0 /mnt/f11; echo; cat /proc/self/mountinfo").run()?.ok()?;
    check!(out.out.starts_with("011\n"), "layers: {:?}", out.out.lines().next());
    check!(!out.out.contains(" /proc/tty "), "something was left at /proc/tty");
    let at: Vec<&str> = out.out.lines().filter(|l| l.split(' ').nth(4) == Some("/mnt")).collect();
    check!(at.len() == 1, "mounts there: {at:?}");
    let flags = at[0].split(' ').nth(5).unwrap_or_default();
    for flag in ["ro", "nosuid", "nodev", "noatime"] {
        check!(flags.split(',').any(|f| f == flag), "no {flag} in {flags}");
    }
    Ok(())
}

fn overlay_of_target(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    let lower = format!("lowerdir={}:{}/rootfs/etc", layers(ctx)?, b.dir.display());
    let passwd = fs::read_to_string(b.dir.join("rootfs/etc/passwd"))?;
    let b = b.tweak(|c| c.mount("/etc", "overlay", "layers", &[&lower])).sh("cat /etc/f3; cat /etc/passwd");
    same!(b.run()?.ok()?.out, format!("3{passwd}"), "content");
    Ok(())
}

fn proc_hidepid(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| c["mounts"][0]["options"] = json!(["nosuid", "hidepid=2"]));
    let m = mount_at(&seen(b)?, "/proc")?;
    check!(m.has("nosuid") && (m.has("hidepid=2") || m.has("hidepid=invisible")), "{m:?}");
    Ok(())
}

fn mqueue_and_shm(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let other = ctx.bundle().up()?;
    c.sh("touch /dev/mqueue/q /dev/shm/s")?.ok()?;
    same!(other.sh("ls /dev/mqueue /dev/shm | grep -v :")?.out.trim(), "", "what another container sees");
    Ok(())
}

fn proc_subdir_forbidden(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/proc/sys/kernel", "bind", &s, &["bind"]));
    b.try_create()?.fails()?.names(&["/proc"])?;
    Ok(())
}

fn proc_files_allowed(ctx: &Ctx) -> Done {
    let file = ctx.host_file("uptime", "1.00 1.00\n");
    let b = ctx.bundle().tweak(|c| c.mount("/proc/uptime", "bind", file.to_str().unwrap(), &["bind", "ro"]));
    same!(b.args(&["/bin/cat", "/proc/uptime"]).run()?.ok()?.out, "1.00 1.00\n", "content");
    Ok(())
}

//! Root file systems made to lead the runtime astray. A directory outside, the canary, must never be touched.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::bundle::Bundle;
use crate::call::Output;
use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(mount_target_symlink, "a mount target that is a link to the host ends in the container's root"),
    case!(mount_target_symlink_chain, "so does one through a chain of links with `..`"),
    case!(mount_target_dangling, "a file mounted over a dangling link makes nothing on the host"),
    case!(mount_target_loop, "a loop of links is an error"),
    case!(mount_parent_symlink, "missing parents of a target are made in the container's root"),
    case!(tmpfs_symlink, "a tmpfs over a link to the host hides nothing there"),
    case!(tmpcopyup_symlink, "tmpcopyup of a link to the host copies nothing from there"),
    case!(proc_symlink, "a /proc that is a link isn't followed to the host"),
    case!(proc_file, "a /proc that is a file is an error or replaced, never a crash"),
    case!(sys_symlink, "a /sys that is a link isn't followed to the host"),
    case!(dev_symlink, "a /dev that is a link isn't followed to the host, with a mount on it")
        .theirs("runc", "1.1.5 makes its links there"),
    case!(dev_symlink_unmounted, "a /dev that is a link isn't followed to the host, without a mount")
        .theirs("runc", "1.1.5 makes its nodes there")
        .theirs("crun", "1.8.1 makes its nodes there"),
    case!(dev_file, "a /dev that is a file is an error"),
    case!(dev_null_symlink, "a /dev/null that is a link to a host file isn't opened"),
    case!(dev_ptmx_symlink, "a /dev/ptmx that is a link to a host file leaves that file alone"),
    case!(dev_pts_symlink, "a /dev/pts that is a link isn't followed to the host"),
    case!(dev_stdin_symlink, "a /dev/stdin that is a link to a host file leaves that file alone"),
    case!(dev_console_symlink, "a /dev/console that is a link to the host makes and hides nothing there")
        .theirs("crun", "1.8.1 makes the file"),
    case!(device_symlink, "a device under a link to the host is made in the container's root"),
    case!(cwd_symlink, "a process.cwd under a link to the host is made in the container's root"),
    case!(masked_symlink, "a masked path that is a link to the host hides nothing there"),
    case!(readonly_symlink, "a read-only path that is a link to the host changes nothing there"),
    case!(passwd_symlink, "an /etc/passwd that is a link to the host isn't read from there"),
    case!(passwd_fifo, "an /etc/passwd that is a fifo doesn't hang the runtime")
        .theirs("runc", "1.1.5 waits for ever")
        .theirs("crun", "1.8.1 waits for ever"),
    case!(passwd_directory, "an /etc/passwd that is a directory doesn't hinder"),
    case!(passwd_garbage, "an /etc/passwd of garbage doesn't hinder"),
    case!(passwd_huge, "an /etc/passwd of 200 MB doesn't fill memory"),
    case!(cgroup_symlink, "a /sys/fs/cgroup that is a link isn't followed to the host"),
    case!(root_under_symlink, "a link in the way to rootfs doesn't confuse the mounts"),
    case!(program_symlink, "a program that is a link to a host path isn't found there"),
    case!(interpreter_symlink, "an interpreter that is a link to a host path isn't found there"),
    case!(bind_source_is_host, "a bind source is a path of the host, not of the container"),
    case!(symlink_race, "links swapped while create runs never lead out")
        .theirs("runc", "1.1.5 makes directories on the host")
        .limit(40)
        .alone(),
    case!(directory_race, "a volume's directory swapped with a link while create mounts below it never leads out")
        .limit(40)
        .alone(),
    case!(proc_magic_links, "targets under /proc/self/root and /proc/self/fd are refused or stay inside"),
    case!(root_is_host_root, "the root file system may hold no way to the host's / by ..'s"),
    case!(hardlinked_binary, "set-uid bits and owners of the root file system are left as they are"),
    case!(unreadable_root, "a root file system with mode 0 works for root"),
    case!(file_names, "file names with newlines and control characters don't matter"),
];

/// A directory outside with a file; `check` tells whether it is as it was.
pub(super) struct Canary {
    pub(super) dir: PathBuf,
    before: Vec<String>,
}

impl Canary {
    pub(super) fn new(ctx: &Ctx) -> Canary {
        let dir = ctx.host_dir("canary");
        fs::write(dir.join("file"), "canary").expect("write");
        fs::create_dir(dir.join("sub")).expect("mkdir");
        fs::write(dir.join("sub/deep"), "deep").expect("write");
        crate::ctx::chmod(&dir.join("file"), 0o640);
        let before = Canary::list(&dir);
        Canary { dir, before }
    }

    /// Name, kind, mode, owner and content of everything below.
    fn list(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut front = vec![dir.to_owned()];
        while let Some(at) = front.pop() {
            let Ok(m) = fs::symlink_metadata(&at) else { continue };
            let content = if m.is_file() { fs::read_to_string(&at).unwrap_or_default() } else { String::new() };
            found.push(format!("{} {:o} {}:{} {content}", at.display(), m.permissions().mode(), m.uid(), m.gid()));
            if m.is_dir() {
                front.extend(fs::read_dir(&at).into_iter().flatten().flatten().map(|e| e.path()));
            }
        }
        found.sort();
        found
    }

    #[track_caller]
    pub(super) fn check(&self) -> Done {
        let now = Canary::list(&self.dir);
        if now == self.before {
            return Ok(());
        }
        let new: Vec<_> = now.iter().filter(|l| !self.before.contains(l)).collect();
        let gone: Vec<_> = self.before.iter().filter(|l| !now.contains(l)).collect();
        Err(Stop::Fail(format!("the canary was touched: new {new:?}, gone {gone:?}")))
    }
}

/// Runs the bundle, whatever comes of it, and looks at the canary.
#[track_caller]
fn run_past(canary: &Canary, b: Bundle) -> Result<Output, Stop> {
    let out = b.call("run").run()?;
    canary.check()?;
    check!(out.code < 128, "the runtime crashed: {}", out.text());
    b.nothing_left()?;
    Ok(out)
}

/// The same of a bundle whose program prints `want` where all is as it should be: what is mounted beyond the root
/// is nowhere to be seen, on the host neither. The runtime may refuse the bundle, but it must not lose a mount.
#[track_caller]
fn shows(canary: &Canary, b: Bundle, script: &str, want: &str) -> Done {
    let out = run_past(canary, b.sh(&format!("{script}; true")))?;
    check!(out.code != 0 || out.out == want, "seen inside: {:?}, want {want:?}", out.out);
    Ok(())
}

/// Makes the canary's directory in the root too, with a file that says so.
fn twin(b: &Bundle, canary: &Canary) -> Done {
    let dir = b.rootfs().join(canary.dir.strip_prefix("/").unwrap());
    fs::create_dir_all(&dir)?;
    fs::write(dir.join("file"), "of the root")?;
    Ok(())
}

/// Replaces a path of the root file system by a link.
pub(super) fn link(b: &Bundle, at: &str, to: impl AsRef<Path>) -> Done {
    let path = b.rootfs().join(at);
    let _ = fs::remove_dir_all(&path);
    let _ = fs::remove_file(&path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    symlink(to, &path)?;
    Ok(())
}

fn source(ctx: &Ctx) -> String {
    let dir = ctx.host_dir("volume");
    fs::write(dir.join("f"), "inside").expect("write");
    dir.to_str().unwrap().to_owned()
}

fn mount_target_symlink(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let b = ctx.bundle().tweak(|c| c.mount("/link", "bind", &s, &["bind"]));
    link(&b, "link", &canary.dir)?;
    shows(&canary, b, "cat /link/f", "inside")
}

fn mount_target_symlink_chain(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let b = ctx.bundle().tweak(|c| c.mount("/one/x", "bind", &s, &["bind"]));
    link(&b, "one", "two")?;
    link(&b, "two", format!("../../../../../../../../{}", canary.dir.display()))?;
    shows(&canary, b, "cat /one/x/f", "inside")
}

fn mount_target_dangling(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let file = ctx.host_file("resolv.conf", "nameserver");
    let b = ctx.bundle().rw().tweak(|c| c.mount("/etc/resolv.conf", "bind", file.to_str().unwrap(), &["bind"]));
    link(&b, "etc/resolv.conf", canary.dir.join("new"))?;
    shows(&canary, b, "cat /etc/resolv.conf", "nameserver")
}

fn mount_target_loop(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let b = ctx.bundle().tweak(|c| c.mount("/loop/x", "bind", &s, &["bind"]));
    link(&b, "loop", "other")?;
    link(&b, "other", "loop")?;
    let out = run_past(&canary, b)?;
    check!(out.code != 0, "it succeeded");
    Ok(())
}

fn mount_parent_symlink(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let b = ctx.bundle().rw().tweak(|c| c.mount("/link/new/deep", "bind", &s, &["bind"]));
    link(&b, "link", &canary.dir)?;
    shows(&canary, b, "cat /link/new/deep/f", "inside")
}

fn tmpfs_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/link/sub", "tmpfs", "tmpfs", &["mode=700"]));
    link(&b, "link", &canary.dir)?;
    shows(&canary, b, "echo kept > /link/sub/new && cat /link/sub/new", "kept\n")
}

fn tmpcopyup_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/link", "tmpfs", "tmpfs", &["tmpcopyup"]));
    link(&b, "link", &canary.dir)?;
    twin(&b, &canary)?;
    shows(&canary, b, "cat /link/file /link/sub/deep; echo x > /link/new && cat /link/new", "of the rootx\n")
}

fn proc_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle();
    link(&b, "proc", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn proc_file(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle();
    fs::remove_dir(b.rootfs().join("proc"))?;
    fs::write(b.rootfs().join("proc"), "")?;
    let out = run_past(&canary, b)?;
    check!(out.code != 0, "it succeeded");
    Ok(())
}

fn sys_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle();
    link(&b, "sys", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn dev_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle();
    link(&b, "dev", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn dev_symlink_unmounted(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().rw().tweak(|c| c.unmount("/dev"));
    link(&b, "dev", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn dev_file(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle();
    fs::remove_dir(b.rootfs().join("dev"))?;
    fs::write(b.rootfs().join("dev"), "")?;
    let out = run_past(&canary, b)?;
    check!(out.code != 0, "it succeeded");
    Ok(())
}

/// Without a mount on /dev, puts a link to the canary's file at `at`, and runs.
pub(super) fn without_dev(ctx: &Ctx, canary: &Canary, at: &str, to: &str) -> Result<Output, Stop> {
    // Standard input is the null device, in whose place the link's file could be opened, for reading and writing.
    let script = "cat; echo x >&0; echo x > /dev/null; cat /dev/null; echo end";
    let b = ctx.bundle().rw().tweak(|c| c.unmount("/dev")).sh(script);
    link(&b, at, canary.dir.join(to))?;
    let out = run_past(canary, b)?;
    check!(!out.out.contains("canary"), "standard input was a file of the host: {:?}", out.out);
    Ok(out)
}

fn dev_null_symlink(ctx: &Ctx) -> Done {
    without_dev(ctx, &Canary::new(ctx), "dev/null", "file").map(drop)
}

fn dev_ptmx_symlink(ctx: &Ctx) -> Done {
    without_dev(ctx, &Canary::new(ctx), "dev/ptmx", "file").map(drop)
}

fn dev_pts_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().rw().tweak(|c| {
        c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
    });
    link(&b, "dev/pts", canary.dir.join("sub"))?;
    run_past(&canary, b)?;
    Ok(())
}

fn dev_stdin_symlink(ctx: &Ctx) -> Done {
    without_dev(ctx, &Canary::new(ctx), "dev/stdin", "file").map(drop)
}

fn dev_console_symlink(ctx: &Ctx) -> Done {
    for to in ["file", "new"] {
        let canary = Canary::new(ctx);
        let b = ctx.bundle().rw().tweak(|c| {
            c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
            c["process"]["terminal"] = json!(true);
        });
        link(&b, "dev/console", canary.dir.join(to))?;
        crate::tty::Pty::new()?.run(b.call("run"), "", b"")?;
        canary.check()?;
    }
    Ok(())
}

fn device_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let device = json!([{ "path": "/link/made", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666 }]);
    let b = ctx.bundle().rw().set("/linux/devices", device);
    link(&b, "link", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn cwd_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().rw().set("/process/cwd", json!("/link/made"));
    link(&b, "link", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn masked_symlink(ctx: &Ctx) -> Done {
    for masked in [&["/link/file"][..], &["/link"], &["/link/file", "/link"]] {
        let canary = Canary::new(ctx);
        let b = ctx.bundle().set("/linux/maskedPaths", json!(masked));
        link(&b, "link", &canary.dir)?;
        twin(&b, &canary)?;
        shows(&canary, b, "cat /link/file", "")?;
    }
    Ok(())
}

fn readonly_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().rw().set("/linux/readonlyPaths", json!(["/link"]));
    link(&b, "link", &canary.dir)?;
    twin(&b, &canary)?;
    shows(&canary, b, "echo x > /link/file; cat /link/file", "of the root")?;
    fs::write(canary.dir.join("sub/deep"), "deep")?;
    Ok(())
}

fn passwd_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let outside = ctx.host_file("passwd", "root:x:0:0:root:/leaked:/bin/sh\n");
    let b = ctx.bundle().probe(&["env"]);
    link(&b, "etc/passwd", &outside)?;
    let out = run_past(&canary, b)?;
    check!(!out.out.contains("leaked"), "HOME came from a file of the host");
    Ok(())
}

fn passwd_fifo(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    let passwd = b.rootfs().join("etc/passwd");
    fs::remove_file(&passwd)?;
    ctx.program("/usr/bin/mkfifo").arg(&passwd).run()?.ok()?;
    let mut running = b.call("run").spawn()?;
    let ended = crate::host::wait_for("the end of run", 6, || matches!(running.child.try_wait(), Ok(Some(_))));
    if ended.is_err() {
        // Let whoever waits for a writer go on, so that everything can be cleaned up.
        let _ = fs::OpenOptions::new().write(true).open(&passwd);
    }
    ended
}

fn passwd_directory(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    fs::remove_file(b.rootfs().join("etc/passwd"))?;
    fs::create_dir(b.rootfs().join("etc/passwd"))?;
    let out = b.run()?;
    check!(out.code == 3 || (out.code != 0 && out.err.contains("passwd")), "{}", out.text());
    Ok(())
}

fn passwd_garbage(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    fs::write(b.rootfs().join("etc/passwd"), b"\0\xff:::\n:::::::::::\nroot:x:99999999999999999999:x:/:\n\n::::")?;
    let out = b.run()?;
    check!(out.code == 3 || (out.code == 1 && !out.err.is_empty()), "{}", out.text());
    Ok(())
}

fn passwd_huge(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    let file = fs::File::create(b.rootfs().join("etc/passwd"))?;
    file.set_len(200 << 20)?;
    let call = b.call("run").pre(|| {
        let limit = libc::rlimit { rlim_cur: 8 << 30, rlim_max: 8 << 30 };
        // SAFETY: limit is a valid rlimit.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &limit) };
        Ok(())
    });
    let out = call.run()?;
    check!(out.code == 3 || (out.code == 1 && !out.err.is_empty()), "{}", out.text());
    Ok(())
}

fn cgroup_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().rw().tweak(|c| {
        c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/sys");
    });
    link(&b, "sys/fs/cgroup", &canary.dir)?;
    run_past(&canary, b)?;
    Ok(())
}

fn root_under_symlink(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["bind"])).sh("cat /mnt/f");
    let way = ctx.host_dir("way").join("link");
    symlink(&b.dir, &way)?;
    let b = b.set("/root/path", json!(way.join("rootfs")));
    let out = run_past(&canary, b)?;
    check!(out.code != 0 || out.out == "inside", "what was seen: {:?}", out.out);
    Ok(())
}

fn program_symlink(ctx: &Ctx) -> Done {
    let outside = ctx.host_dir("outside").join("program");
    fs::copy(ctx.base.join("bin/hull-probe"), &outside)?;
    let b = ctx.bundle().args(&["/link", "exit", "7"]);
    link(&b, "link", &outside)?;
    let out = b.run()?.fails()?;
    check!(out.code != 7, "a program of the host ran");
    Ok(())
}

fn interpreter_symlink(ctx: &Ctx) -> Done {
    let outside = ctx.host_dir("outside").join("program");
    fs::copy(ctx.base.join("bin/busybox"), &outside)?;
    let b = ctx.bundle().args(&["/run/script"]);
    link(&b, "run/sh", &outside)?;
    fs::write(b.rootfs().join("run/script"), "#!/run/sh\nexit 7\n")?;
    crate::ctx::chmod(&b.rootfs().join("run/script"), 0o755);
    let out = b.run()?.fails()?;
    check!(out.code != 7, "a program of the host ran");
    Ok(())
}

fn bind_source_is_host(ctx: &Ctx) -> Done {
    let s = source(ctx);
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", &s, &["bind"])).sh("cat /mnt/f");
    let decoy = b.rootfs().join(s.trim_start_matches('/'));
    fs::create_dir_all(&decoy)?;
    fs::write(decoy.join("f"), "decoy")?;
    same!(b.run()?.ok()?.out, "inside", "file");
    Ok(())
}

/// Swaps two paths again and again on a thread, until the guard is dropped.
pub(super) struct Swapper(Arc<AtomicBool>, Option<std::thread::JoinHandle<()>>);

impl Swapper {
    pub(super) fn new(a: PathBuf, b: PathBuf) -> Swapper {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = std::thread::spawn(move || {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            while !seen.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, &a, CWD, &b, RenameFlags::EXCHANGE);
            }
        });
        Swapper(stop, Some(thread))
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.1.take() {
            let _ = thread.join();
        }
    }
}

fn symlink_race(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let b = ctx.bundle().rw().tweak(|c| {
        c.mount("/swap/new/x", "bind", &s, &["bind"]);
        c.mount("/swap/tmp", "tmpfs", "tmpfs", &[]);
    });
    fs::create_dir(b.rootfs().join("swap"))?;
    symlink(&canary.dir, b.rootfs().join("other"))?;
    let swapper = Swapper::new(b.rootfs().join("swap"), b.rootfs().join("other"));
    for _ in 0..40 {
        b.call("run").run()?;
        canary.check()?;
    }
    drop(swapper);
    Ok(())
}

fn directory_race(ctx: &Ctx) -> Done {
    let (canary, s) = (Canary::new(ctx), source(ctx));
    let volume = ctx.host_dir("shared");
    fs::create_dir(volume.join("dir"))?;
    symlink("/", volume.join("link"))?;
    let outside = canary.dir.join("sub").to_str().unwrap().to_owned();
    let below = volume.join("dir").join(outside.trim_start_matches('/'));
    fs::create_dir_all(&below)?;
    let path = volume.to_str().unwrap().to_owned();
    let b = ctx.bundle().tweak(|c| {
        c.mount("/vol", "bind", &path, &["rbind"]);
        c.mount(&format!("/vol/dir{outside}"), "bind", &s, &["bind"]);
    });
    let b = b.sh("cat /proc/self/mountinfo");
    let swapper = Swapper::new(volume.join("dir"), volume.join("link"));
    for _ in 0..40 {
        let out = b.call("run").run()?;
        canary.check()?;
        if out.code == 0 {
            let list = crate::host::parse_mounts(&out.out);
            let wrong = list.iter().find(|m| m.target.ends_with("/sub") && !m.target.starts_with("/vol"));
            check!(wrong.is_none_or(|m| m.target == outside), "mounted at {wrong:?}");
            check!(list.iter().any(|m| m.target.ends_with("/sub")), "the mount is nowhere in the container");
        }
    }
    drop(swapper);
    Ok(())
}

fn proc_magic_links(ctx: &Ctx) -> Done {
    for target in ["/proc/self/root/mnt", "/proc/1/root/mnt", "/proc/self/cwd/mnt", "/proc/self/fd/7"] {
        let (canary, s) = (Canary::new(ctx), source(ctx));
        let b = ctx.bundle().tweak(|c| c.mount(target, "bind", &s, &["bind"])).sh("ls /mnt");
        let mounts = crate::host::mounts("self").len();
        run_past(&canary, b)?;
        same!(crate::host::mounts("self").len(), mounts, "mounts on the host after {target}");
    }
    Ok(())
}

fn root_is_host_root(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let path = canary.dir.join("file");
    let b = ctx.bundle().sh(&format!(
        "cat {0} ../../../../..{0} /proc/1/root{0} /proc/self/root/../../..{0} /proc/1/cwd/../../..{0}",
        path.display()
    ));
    let out = run_past(&canary, b)?;
    check!(!out.out.contains("canary"), "the host's file was read");
    Ok(())
}

fn hardlinked_binary(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw();
    let file = b.rootfs().join("run/own");
    fs::write(&file, "x")?;
    crate::ctx::chown(&file, 4711);
    crate::ctx::chmod(&file, 0o6711);
    b.call("run").run()?.ok()?;
    let m = fs::metadata(&file)?;
    same!((m.uid(), m.mode() & 0o7777), (4711, 0o6711), "owner and mode");
    Ok(())
}

fn unreadable_root(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    crate::ctx::chmod(&b.rootfs(), 0o700);
    b.run()?.code(3)?;
    Ok(())
}

fn file_names(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    for name in ["a\nb", "\u{1b}[31m", "%s%n", "-rf"] {
        fs::create_dir(b.rootfs().join(name))?;
        fs::write(b.rootfs().join("etc").join(name), name)?;
    }
    b.run()?.code(3)?;
    Ok(())
}

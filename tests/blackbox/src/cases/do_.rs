//! `hull do`: a program in a sandbox around the host's own files, without image or bundle.

use std::fs;
use std::path::PathBuf;

use crate::call::{Call, Output};
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::ctx::Ctx;
use crate::host::{self, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(exit_code, "the exit code passes"),
    case!(exit_by_signal, "a signal that killed the program is told as 128 + n"),
    case!(output, "standard output and standard error pass"),
    case!(input, "standard input is piped"),
    case!(arguments, "what follows -- belongs to the program, options too"),
    case!(without_dashes, "the -- may be left out before a plain command"),
    case!(no_command, "without a program it fails"),
    case!(missing_program, "a missing program is an error that names it"),
    case!(host_files, "the host's files are there"),
    case!(writes_vanish, "what is written, changed and removed is so inside, and not on the host"),
    case!(writes_vanish_everywhere, "so it is in /etc, /usr, /tmp, /root and /var"),
    case!(writes_beside_mounts, "so it is in a directory with mounts below it, and in what is mounted"),
    case!(host_views, "another procfs of the host is out of reach"),
    case!(as_user_beside_mounts, "an ordinary user sees the files of a directory with mounts below it, and can make some"),
    case!(rw, "--rw lets writes through, below that path alone"),
    case!(ro, "--ro makes a path read-only"),
    case!(rw_missing, "--rw of a missing path is an error that names it"),
    case!(host_root_bound, "--rw and --ro of / are refused by name"),
    case!(cwd, "the current directory is kept"),
    case!(env, "the environment is kept, and --env adds to it"),
    case!(hostname, "--hostname is seen inside alone"),
    case!(user, "--user runs as that user"),
    case!(user_by_name, "--user takes a name"),
    case!(user_unknown, "an unknown user is refused and named"),
    case!(no_network, "there is no network but lo"),
    case!(host_network, "--net host is the host's network"),
    case!(memory, "--memory is in force"),
    case!(pids, "--pids is in force"),
    case!(cpus, "--cpus sets the quota"),
    case!(limits_leave_nothing, "limits leave no cgroup behind"),
    case!(capabilities, "the program has the usual capabilities but CAP_MKNOD, and no other"),
    case!(seccomp, "the default seccomp profile is in force"),
    case!(processes, "no process of the host is seen"),
    case!(masked, "what is masked in a container is masked here"),
    case!(devices, "/dev has the default devices and no other"),
    case!(disk_by_mknod, "a node of the host's disk can't be opened"),
    case!(no_nodes, "no device node can be made, and one of the host's tree can't be opened"),
    case!(run_is_fresh, "/run and its sockets are out of reach"),
    case!(no_fds, "the program has descriptors 0, 1, 2 and no other"),
    case!(remount, "the host's files can't be made writable from inside"),
    case!(tty_auto, "on a terminal the program gets one"),
    case!(tty_never, "--tty never gives none"),
    case!(forwards_signals, "signals are passed on"),
    case!(rootfs, "--rootfs makes another directory the root, and writes to it vanish"),
    case!(isolation_process, "--isolation process is the default"),
    case!(isolation_unknown, "an unknown isolation is refused and named"),
    case!(dies_with_hull, "a hull that is killed takes the sandbox with it, whoever runs in it"),
    case!(left_of_the_dead, "what a killed hull left is no obstacle to one of the same process id"),
    case!(many_at_once, "ten at one time").alone(),
    case!(nothing_left, "nothing is left: no state, mount, cgroup or process"),
    case!(as_user, "an ordinary user can use it"),
    case!(as_user_writes_vanish, "an ordinary user's writes vanish"),
    case!(as_user_rw, "an ordinary user's --rw lets writes through, with the user as owner"),
    case!(as_user_no_privilege, "an ordinary user reads nothing that was closed"),
    case!(as_user_no_network, "an ordinary user has no network"),
    case!(as_user_exit_code, "an ordinary user gets the exit code"),
    case!(as_user_cwd, "an ordinary user's current directory and HOME are kept"),
    case!(as_user_input, "an ordinary user's standard input is piped"),
    case!(as_user_signals, "signals to an ordinary user's are passed on"),
    case!(as_user_tty, "an ordinary user gets a terminal of its own"),
    case!(as_user_jail, "an ordinary user's program has no capability, the seccomp list, and namespaces of its own"),
    case!(as_user_options, "--hostname, --env, --ro, --rootfs and --net host work for an ordinary user"),
    case!(as_user_is_root, "--user 0 makes an ordinary user root inside, and no more than itself outside"),
    case!(as_user_limits, "a limit that an ordinary user can't set is an error that names it"),
    case!(as_user_without_runtime_dir, "an ordinary user needs no XDG_RUNTIME_DIR"),
    case!(as_user_foreign_state, "a state directory in /tmp that another user made is refused"),
    case!(userns_forbidden, "where user namespaces are forbidden, the error names the sysctl"),
    case!(memfd_noexec, "an ordinary user can use it where files in memory aren't executable by default"),
    case!(set_uid, "a set-uid program gives an ordinary user nothing"),
];

/// `do` with options; skips unless the runtime is hull.
fn call(ctx: &Ctx, options: &[&str]) -> Result<Call, Stop> {
    if !ctx.is_hull() {
        skip!("hull's own");
    }
    Ok(ctx.call(&["do"]).args(options).arg("--").cwd("/"))
}

fn sh(ctx: &Ctx, options: &[&str], script: &str) -> Result<Output, Stop> {
    call(ctx, options)?.args(&["/bin/sh", "-c", script]).run()
}

/// Runs the probe, which lies on the host, too.
fn probe(ctx: &Ctx, options: &[&str], args: &[&str]) -> Result<Output, Stop> {
    call(ctx, options)?.arg(ctx.base.join("bin/hull-probe")).args(args).run()
}

/// `do` as user 1000, with a state directory and a home of that user, ready to be changed further.
fn user_call(ctx: &Ctx, options: &[&str]) -> Result<Call, Stop> {
    if !ctx.is_hull() {
        skip!("hull's own");
    }
    ctx.need_userns()?;
    let root = ctx.dir.join("rootless");
    fs::create_dir_all(&root)?;
    crate::ctx::chown(&root, 1000);
    let home = ctx.host_dir("home");
    crate::ctx::chown(&home, 1000);
    let call = ctx.program(&ctx.runtime).user(1000).env("XDG_RUNTIME_DIR", &root).env("HOME", &home).cwd(&home);
    Ok(call.arg("do").args(options).arg("--"))
}

/// As user 1000.
fn as_1000(ctx: &Ctx, options: &[&str], script: &str) -> Result<Output, Stop> {
    user_call(ctx, options)?.args(&["/bin/sh", "-c", script]).run()
}

fn exit_code(ctx: &Ctx) -> Done {
    sh(ctx, &[], "exit 7")?.code(7)?;
    sh(ctx, &[], "exit 0")?.code(0)?;
    Ok(())
}

fn exit_by_signal(ctx: &Ctx) -> Done {
    // The shell's child, so that it isn't pid 1, which no signal of its own kills.
    sh(ctx, &[], "sh -c 'kill -9 $$'; exit $?")?.code(137)?;
    Ok(())
}

fn output(ctx: &Ctx) -> Done {
    let out = sh(ctx, &[], "echo out; echo err >&2")?.ok()?;
    same!((out.out.as_str(), out.err.as_str()), ("out\n", "err\n"), "output");
    Ok(())
}

fn input(ctx: &Ctx) -> Done {
    same!(call(ctx, &[])?.arg("/bin/cat").stdin(b"piped").run()?.ok()?.out, "piped", "output");
    Ok(())
}

fn arguments(ctx: &Ctx) -> Done {
    let out = probe(ctx, &[], &["args", "--rw", "-x", "--", "two words", ""])?.ok()?;
    same!(out.out, "<--rw>\n<-x>\n<-->\n<two words>\n<>\n", "arguments");
    Ok(())
}

fn without_dashes(ctx: &Ctx) -> Done {
    call(ctx, &[])?;
    same!(ctx.call(&["do", "/bin/echo", "-n", "plain"]).run()?.ok()?.out, "plain", "output");
    Ok(())
}

fn no_command(ctx: &Ctx) -> Done {
    call(ctx, &[])?;
    ctx.call(&["do"]).run()?.fails()?;
    Ok(())
}

fn missing_program(ctx: &Ctx) -> Done {
    call(ctx, &[])?.arg("no-such-program").run()?.fails()?.names(&["no-such-program"])?;
    Ok(())
}

fn host_files(ctx: &Ctx) -> Done {
    let file = ctx.host_file("f", "of the host");
    same!(call(ctx, &[])?.arg("/bin/cat").arg(&file).run()?.ok()?.out, "of the host", "file");
    Ok(())
}

fn writes_vanish(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("files");
    for name in ["changed", "removed", "moved"] {
        fs::write(dir.join(name), "before")?;
    }
    let script = format!(
        "cd {}; echo after > changed; rm removed; mv moved elsewhere; echo x > new; mkdir sub; cat changed new; ls",
        dir.display()
    );
    same!(sh(ctx, &[], &script)?.ok()?.out, "after\nx\nchanged\nelsewhere\nnew\nsub\n", "what was seen inside");
    let mut left: Vec<_> = fs::read_dir(&dir)?.flatten().map(|e| e.file_name()).collect();
    left.sort();
    same!(left, ["changed", "moved", "removed"].map(std::ffi::OsString::from).to_vec(), "files on the host");
    same!(fs::read_to_string(dir.join("changed"))?, "before", "content on the host");
    Ok(())
}

fn writes_vanish_everywhere(ctx: &Ctx) -> Done {
    let name = format!("hbb-{}", ctx.tag);
    let dirs = ["/etc", "/usr", "/tmp", "/root", "/var"];
    let script: String = dirs.iter().map(|d| format!("echo x > {d}/{name} && cat {d}/{name};")).collect();
    let out = sh(ctx, &[], &script)?.ok()?;
    let wrong: Vec<_> = dirs.iter().map(|d| PathBuf::from(d).join(&name)).filter(|p| p.exists()).collect();
    for path in &wrong {
        let _ = fs::remove_file(path);
    }
    same!(wrong, Vec::<PathBuf>::new(), "files on the host");
    same!(out.out, "x\n".repeat(dirs.len()), "what was read back inside");
    Ok(())
}

/// A directory with files, a tmpfs with another in it, and a file mounted on another.
fn crowded(ctx: &Ctx) -> Result<PathBuf, Stop> {
    host::private_mounts()?;
    let dir = ctx.host_dir("crowded");
    let tmpfs = |at: &str| -> Done {
        fs::create_dir(dir.join(at))?;
        rustix::mount::mount("tmpfs", dir.join(at), "tmpfs", rustix::mount::MountFlags::empty(), None)?;
        crate::ctx::chmod(&dir.join(at), 0o777);
        Ok(())
    };
    tmpfs("sub")?;
    tmpfs("sub/deep")?;
    fs::create_dir(dir.join("plain"))?;
    for name in ["f", "target", "plain/f", "sub/f", "sub/deep/f"] {
        fs::write(dir.join(name), "before\n")?;
    }
    fs::write(dir.join("over"), "covers\n")?;
    rustix::mount::mount_bind(dir.join("over"), dir.join("target"))?;
    Ok(dir)
}

fn unmount_below(dir: &std::path::Path) -> Done {
    for m in host::mounts("self").iter().rev().filter(|m| std::path::Path::new(&m.target).starts_with(dir)) {
        rustix::mount::unmount(&m.target, rustix::mount::UnmountFlags::DETACH)?;
    }
    Ok(())
}

fn writes_beside_mounts(ctx: &Ctx) -> Done {
    call(ctx, &[])?;
    let dir = crowded(ctx)?;
    let script = format!(
        "cd {} && for f in f plain/f sub/f sub/deep/f; do cat $f && echo after > $f && cat $f && echo x > $f.new && rm $f; done; cat target",
        dir.display()
    );
    let out = sh(ctx, &[], &script)?.ok()?;
    same!((out.out, out.err), ("before\nafter\n".repeat(4) + "covers\n", String::new()), "output");
    for name in ["f", "plain/f", "sub/f", "sub/deep/f"] {
        same!(fs::read_to_string(dir.join(name))?, "before\n", "{name} of the host");
        check!(!dir.join(format!("{name}.new")).exists(), "a write came through beside {name}");
    }
    unmount_below(&dir)
}

fn host_views(ctx: &Ctx) -> Done {
    call(ctx, &[])?;
    host::private_mounts()?;
    let dir = ctx.host_dir("chroot");
    fs::create_dir(dir.join("proc"))?;
    rustix::mount::mount("proc", dir.join("proc"), "proc", rustix::mount::MountFlags::empty(), None)?;
    same!(sh(ctx, &[], &format!("ls -A {}/proc", dir.display()))?.ok()?.out, "", "what is seen of it");
    unmount_below(&dir)
}

fn as_user_beside_mounts(ctx: &Ctx) -> Done {
    user_call(ctx, &[])?;
    let dir = crowded(ctx)?;
    let script = format!("cd {} && cat f plain/f sub/f sub/deep/f target && echo x > new && cat new", dir.display());
    let out = as_1000(ctx, &[], &script)?.ok()?;
    same!((out.out, out.err), ("before\n".repeat(4) + "covers\nx\n", String::new()), "output");
    check!(!dir.join("new").exists(), "a write came through");
    unmount_below(&dir)
}

fn rw(ctx: &Ctx) -> Done {
    let (open, closed) = (ctx.host_dir("open"), ctx.host_dir("closed"));
    let script = format!("echo x > {}/f; echo x > {}/f", open.display(), closed.display());
    sh(ctx, &["--rw", open.to_str().unwrap()], &script)?.ok()?;
    same!(fs::read_to_string(open.join("f"))?, "x\n", "file under --rw");
    check!(!closed.join("f").exists(), "a write beside --rw came through");
    Ok(())
}

fn ro(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("ro");
    fs::write(dir.join("f"), "before")?;
    let out = sh(ctx, &["--ro", dir.to_str().unwrap()], &format!("cat {0}/f; echo x > {0}/f || echo refused", dir.display()))?;
    check!(out.out.starts_with("before") && out.out.contains("refused"), "{}", out.text());
    same!(fs::read_to_string(dir.join("f"))?, "before", "file");
    Ok(())
}

fn rw_missing(ctx: &Ctx) -> Done {
    sh(ctx, &["--rw", "/no/such/path"], "true")?.fails()?.names(&["/no/such/path"])?;
    Ok(())
}

fn host_root_bound(ctx: &Ctx) -> Done {
    for option in ["--rw", "--ro"] {
        for path in ["/", "/usr/.."] {
            let out = sh(ctx, &[option, path], "echo ran")?.fails()?.names(&[&format!("{option}: ")])?;
            check!(out.out.is_empty(), "it ran");
        }
    }
    Ok(())
}

fn cwd(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("cwd").canonicalize()?;
    let out = call(ctx, &[])?.cwd(&dir).arg("/bin/pwd").run()?.ok()?;
    same!(out.line(), dir.to_str().unwrap(), "directory");
    Ok(())
}

fn env(ctx: &Ctx) -> Done {
    let out = call(ctx, &["--env", "ADDED=1", "--env", "KEPT=no"])?
        .env("KEPT", "yes")
        .env("OTHER", "here")
        .args(&["/bin/sh", "-c", "echo $ADDED $KEPT $OTHER"])
        .run()?
        .ok()?;
    same!(out.line(), "1 no here", "variables");
    Ok(())
}

fn hostname(ctx: &Ctx) -> Done {
    let before = fs::read_to_string("/proc/sys/kernel/hostname")?;
    same!(sh(ctx, &["--hostname", "elsewhere"], "cat /proc/sys/kernel/hostname")?.ok()?.line(), "elsewhere", "hostname");
    same!(fs::read_to_string("/proc/sys/kernel/hostname")?, before, "hostname of the host");
    Ok(())
}

fn user(ctx: &Ctx) -> Done {
    let out = probe(ctx, &["--user", "1000:2000"], &["self"])?.ok()?;
    same!((out.field("uid")?, out.field("gid")?), ("1000 1000".into(), "2000 2000".into()), "ids");
    Ok(())
}

fn user_by_name(ctx: &Ctx) -> Done {
    let Some(line) = fs::read_to_string("/etc/passwd")?.lines().find(|l| l.starts_with("daemon:")).map(str::to_owned) else {
        skip!("no user daemon here");
    };
    let uid = line.split(':').nth(2).unwrap_or_default().to_owned();
    let out = probe(ctx, &["--user", "daemon"], &["self"])?.ok()?;
    same!(out.field("uid")?, format!("{uid} {uid}"), "uids");
    Ok(())
}

fn user_unknown(ctx: &Ctx) -> Done {
    sh(ctx, &["--user", "no-such-user"], "true")?.fails()?.names(&["no-such-user"])?;
    Ok(())
}

fn no_network(ctx: &Ctx) -> Done {
    same!(sh(ctx, &[], "ls /sys/class/net")?.ok()?.line(), "lo", "interfaces");
    Ok(())
}

fn host_network(ctx: &Ctx) -> Done {
    same!(sh(ctx, &["--net", "host"], "readlink /proc/self/ns/net")?.ok()?.line(), host::own_ns("net")?, "net");
    Ok(())
}

/// Skips where nothing can be limited by this controller.
fn need(controller: &str) -> Done {
    if !host::has_controller(controller) {
        skip!("no cgroup controller {controller} in this view");
    }
    Ok(())
}

fn memory(ctx: &Ctx) -> Done {
    need("memory")?;
    let out = probe(ctx, &["--memory", "48M"], &["eat", "200"])?.code(137)?;
    check!(out.out.lines().count() < 60, "ate {} MB", out.out.lines().count());
    Ok(())
}

fn pids(ctx: &Ctx) -> Done {
    need("pids")?;
    same!(probe(ctx, &["--pids", "10"], &["forks", "30"])?.ok()?.field("errno")?, "11", "errno of fork");
    Ok(())
}

fn cpus(ctx: &Ctx) -> Done {
    need("cpu")?;
    let script = "trap 'exit 0' TERM; cat /proc/self/cgroup; echo end; while :; do sleep 0.05; done";
    let running = call(ctx, &["--cpus", "0.2"])?.args(&["/bin/sh", "-c", script]).spawn()?;
    wait_for("the program", 10, || running.so_far().contains("end"))?;
    let groups = running.so_far();
    let quota = host::hierarchies().into_iter().find_map(|h| {
        let (names, path) = groups.lines().filter_map(|l| l.split_once(':')?.1.split_once(':')).find(|(names, _)| {
            if h.v2 { names.is_empty() } else { names.split(',').any(|n| n == "cpu") && h.controllers.iter().any(|c| c == "cpu") }
        })?;
        let _ = names;
        let file = if h.v2 { "cpu.max" } else { "cpu.cfs_quota_us" };
        fs::read_to_string(h.at.join(path.trim_start_matches('/')).join(file)).ok()
    });
    host::signal(running.pid(), libc::SIGTERM);
    running.wait()?.ok()?;
    let quota = quota.ok_or("no file with the quota")?;
    check!(["20000", "20000 100000"].contains(&quota.trim()), "the quota is {quota:?}");
    Ok(())
}

/// The cgroups that `do` made: all that aren't there before.
fn limits_leave_nothing(ctx: &Ctx) -> Done {
    need("pids")?;
    let running = call(ctx, &["--pids", "100"])?.args(&["/bin/sh", "-c", "cat /proc/self/cgroup; sleep 0.2"]).spawn()?;
    let out = running.wait()?.ok()?;
    let Some(own) = out.out.lines().find(|l| l.contains(":pids:")).and_then(|l| l.rsplit(':').next()).map(str::to_owned)
    else {
        skip!("no cgroup v1 with pids");
    };
    let pids = host::hierarchies().into_iter().find(|h| h.controllers.iter().any(|c| c == "pids")).ok_or("no pids")?;
    let dir = pids.at.join(own.trim_start_matches('/'));
    check!(own == "/" || !dir.exists(), "{} is left", dir.display());
    Ok(())
}

fn capabilities(ctx: &Ctx) -> Done {
    let out = call(ctx, &[])?.args(&["/bin/cat", "/proc/self/status"]).run()?.ok()?;
    let usual = 0xa004_25fb;
    same!((out.hex("CapEff")?, out.hex("CapBnd")?), (usual, usual), "effective and bounding sets");
    same!((out.hex("CapInh")?, out.hex("CapAmb")?), (0, 0), "inheritable and ambient sets");
    Ok(())
}

fn seccomp(ctx: &Ctx) -> Done {
    let out = call(ctx, &[])?.args(&["/bin/cat", "/proc/self/status"]).run()?.ok()?;
    same!(out.field("Seccomp")?, "2", "mode");
    // unshare of a user namespace, keyctl, bpf, mount.
    for args in [&["272", "0x10000000"][..], &["250", "0"], &["321", "0", "0", "0"], &["165", "0", "0", "0", "0", "0"]] {
        let mut all = vec!["syscall"];
        all.extend(args);
        let errno = probe(ctx, &[], &all)?.ok()?.field("errno")?;
        check!(errno == "1" || errno == "38", "system call {} gives errno {errno}", args[0]);
    }
    Ok(())
}

fn processes(ctx: &Ctx) -> Done {
    let count: u32 = sh(ctx, &[], "ls /proc | grep -c '^[0-9]'")?.ok()?.line().parse()?;
    check!(count <= 4, "{count} processes are seen");
    Ok(())
}

fn masked(ctx: &Ctx) -> Done {
    let out = sh(ctx, &[], "cat /proc/timer_list /proc/keys 2>/dev/null; echo x > /proc/sys/kernel/hostname || echo refused")?;
    same!(out.out, "refused\n", "what could be read and written");
    Ok(())
}

fn devices(ctx: &Ctx) -> Done {
    let out = sh(ctx, &[], "cd /dev; for f in *; do [ -h $f ] && continue; [ -b $f ] && echo block $f; [ -c $f ] && echo $f; done; true")?.ok()?;
    let mut got: Vec<_> = out.out.lines().collect();
    got.retain(|d| *d != "ptmx" && *d != "console");
    got.sort();
    same!(got, vec!["full", "null", "random", "tty", "urandom", "zero"], "devices");
    Ok(())
}

fn disk_by_mknod(ctx: &Ctx) -> Done {
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata("/usr")?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    if major == 0 {
        skip!("/usr isn't on a block device");
    }
    for dir in ["/dev", "/tmp", "/dev/shm", "/root", "/run"] {
        let script = format!("mknod {dir}/hbb-disk b {major} {minor} && head -c 16 {dir}/hbb-disk | wc -c");
        let out = sh(ctx, &[], &script)?;
        check!(out.out.trim().is_empty() || out.out.trim() == "0", "read the disk by a node in {dir}: {}", out.text());
    }
    Ok(())
}

fn no_nodes(ctx: &Ctx) -> Done {
    use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
    call(ctx, &[])?;
    host::private_mounts()?;
    let (dir, other) = (ctx.host_dir("nodes"), ctx.host_dir("other"));
    let node = |at: &std::path::Path| -> Done {
        Ok(mknodat(CWD, at.join("zero"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(1, 5))?)
    };
    // What is mounted below is shown too: another file system, and one on which no further overlay is possible.
    let tmpfs = |at| mount("tmpfs", at, "tmpfs", MountFlags::empty(), None::<&std::ffi::CStr>);
    tmpfs(&other)?;
    let (one, memory, deep) = (&other.join("one"), &dir.join("memory"), &dir.join("deep"));
    for path in [&other.join("empty"), &other.join("nodes"), one, memory, deep] {
        fs::create_dir(path)?;
    }
    tmpfs(memory)?;
    let at = other.display();
    for (place, lower) in [(one, format!("{at}/nodes")), (deep, format!("{at}/one"))] {
        let options = std::ffi::CString::new(format!("lowerdir={lower}:{at}/empty")).unwrap();
        mount("overlay", place, "overlay", MountFlags::empty(), options.as_c_str())?;
    }
    for path in [&dir, memory, &other.join("nodes")] {
        node(path)?;
    }
    let result = nodes_of(ctx, dir.to_str().unwrap());
    for place in [deep, memory, one, &other] {
        unmount(place, UnmountFlags::DETACH)?;
    }
    result
}

/// Whether device nodes can be made, or opened at and below `shown`.
fn nodes_of(ctx: &Ctx, shown: &str) -> Done {
    let script = format!(
        "for d in /dev /tmp /dev/shm /root /run {shown}; do mknod $d/hbb-null c 1 3 && echo made in $d; done; \
         cat {shown}/zero {shown}/memory/zero {shown}/deep/zero | head -c 1 | wc -c; head -c 1 /dev/zero | wc -c"
    );
    for options in [&[][..], &["--rw", shown], &["--ro", shown], &["--pids", "50"]] {
        let out = sh(ctx, options, &script)?;
        same!(out.out, "0\n1\n", "what was made and read with {options:?}: {}", out.err);
    }
    Ok(())
}

fn run_is_fresh(ctx: &Ctx) -> Done {
    let path = format!("/run/hbb-{}", ctx.tag);
    call(ctx, &[])?;
    fs::write(&path, "of the host")?;
    let out = sh(ctx, &[], &format!("cat {path}"));
    fs::remove_file(&path)?;
    check!(!out?.out.contains("of the host"), "/run of the host is seen");
    Ok(())
}

fn no_fds(ctx: &Ctx) -> Done {
    let out = call(ctx, &[])?.fd(7, fs::File::open("/etc/passwd")?.into()).arg(ctx.base.join("bin/hull-probe")).arg("fds");
    let out = out.run()?.ok()?;
    let numbers: Vec<_> = out.out.lines().filter_map(|l| l.split(' ').next()).collect();
    same!(numbers, vec!["0", "1", "2"], "descriptors: {}", out.out);
    Ok(())
}

fn remount(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("files");
    let script = format!("mount -o remount,rw / ; mount -o remount,rw /usr; umount -l /; touch {}/f; true", dir.display());
    sh(ctx, &[], &script)?;
    check!(!dir.join("f").exists(), "a write came through");
    Ok(())
}

fn tty_auto(ctx: &Ctx) -> Done {
    let call = call(ctx, &[])?.arg(ctx.base.join("bin/hull-probe")).arg("tty");
    let out = crate::tty::Pty::new()?.run(call, "", b"")?.ok()?;
    check!(out.out.contains("isatty0 1") && out.out.contains("controlling true"), "{:?}", out.out);
    Ok(())
}

fn tty_never(ctx: &Ctx) -> Done {
    let out = probe(ctx, &["--tty", "never"], &["tty"])?.ok()?;
    same!(out.field("isatty0")?, "0", "isatty(0)");
    Ok(())
}

fn forwards_signals(ctx: &Ctx) -> Done {
    let script = "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done";
    let running = call(ctx, &[])?.args(&["/bin/sh", "-c", script]).spawn()?;
    wait_for("the program", 8, || running.so_far().contains("up"))?;
    host::signal(running.pid(), libc::SIGTERM);
    running.wait()?.code(42)?;
    Ok(())
}

fn rootfs(ctx: &Ctx) -> Done {
    let root = ctx.host_dir("rootfs").join("r");
    crate::bundle::copy_rootfs(&ctx.base, &root)?;
    let out = sh(ctx, &["--rootfs", root.to_str().unwrap()], "cat /etc/data; echo x > /etc/new; cat /etc/new; pwd")?.ok()?;
    same!(out.out, "data\nx\n/\n", "what was seen");
    check!(!root.join("etc/new").exists(), "a write came through");
    Ok(())
}

fn isolation_process(ctx: &Ctx) -> Done {
    sh(ctx, &["--isolation", "process"], "exit 3")?.code(3)?;
    Ok(())
}

fn isolation_unknown(ctx: &Ctx) -> Done {
    sh(ctx, &["--isolation", "nosuch"], "exit 3")?.fails()?.names(&["nosuch"])?;
    Ok(())
}

fn dies_with_hull(ctx: &Ctx) -> Done {
    let script = ["/bin/sh", "-c", "echo up; sleep 1000; true"];
    let own = call(ctx, &[])?;
    let mut calls = vec![own, call(ctx, &["--user", "1000"])?, call(ctx, &["--pids", "50"])?];
    calls.extend(user_call(ctx, &[]));
    for call in calls {
        let running = call.args(&script).spawn()?;
        wait_for("the program", 8, || running.so_far().contains("up"))?;
        let inside = host::descendants(running.pid());
        check!(inside.len() >= 2, "processes of the sandbox: {inside:?}");
        host::signal(running.pid(), libc::SIGKILL);
        wait_for("the end of the sandbox", 4, || inside.iter().all(|(pid, _)| !host::alive(*pid)))?;
        running.wait()?;
    }
    Ok(())
}

fn left_of_the_dead(ctx: &Ctx) -> Done {
    call(ctx, &[])?;
    let hull = format!("{} --root {} do --", ctx.runtime.display(), ctx.root.display());
    // In a PID namespace of its own, either hull is process 2.
    let inside = |script: &str| {
        ctx.program("/usr/bin/unshare").args(&["--pid", "--fork", "--mount-proc", "/bin/sh", "-c", script]).cwd("/").run()
    };
    let up = ctx.host_dir("out").join("up");
    let first = format!("{hull} /bin/sh -c 'echo up; sleep 1000' > {0} & until grep -q up {0}; do :; done; kill -9 $!", up.display());
    inside(&first)?.ok()?;
    let left = fs::read_dir(&ctx.root)?.flatten().count();
    same!(left, 1, "state directories left");
    same!(inside(&format!("{hull} /bin/echo ran & wait $!"))?.ok()?.line(), "ran", "output");
    Ok(())
}

fn many_at_once(ctx: &Ctx) -> Done {
    let mut running = Vec::new();
    for n in 0..10 {
        running.push(call(ctx, &[])?.args(&["/bin/sh", "-c", &format!("exit {n}")]).spawn()?);
    }
    for (n, r) in running.into_iter().enumerate() {
        r.wait()?.code(n as i32)?;
    }
    Ok(())
}

fn nothing_left(ctx: &Ctx) -> Done {
    call(ctx, &[])?;
    need("pids")?;
    let (mounts, processes) = (host::mounts("self").len(), host::descendants(std::process::id() as i32).len());
    sh(ctx, &["--pids", "50"], "sleep 0.1 & exit 1")?.code(1)?;
    let left: Vec<_> = fs::read_dir(&ctx.root)?.flatten().map(|e| e.file_name()).collect();
    check!(left.is_empty(), "the state directory holds {left:?}");
    same!(host::mounts("self").len(), mounts, "mounts");
    same!(host::descendants(std::process::id() as i32).len(), processes, "processes");
    Ok(())
}

fn as_user(ctx: &Ctx) -> Done {
    same!(as_1000(ctx, &[], "id -u; cat /etc/hostname >/dev/null; echo fine")?.ok()?.out, "1000\nfine\n", "output");
    Ok(())
}

fn as_user_writes_vanish(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("own");
    crate::ctx::chown(&dir, 1000);
    let out = as_1000(ctx, &[], &format!("echo x > {0}/f; cat {0}/f", dir.display()))?.ok()?;
    same!(out.line(), "x", "what was read back inside");
    check!(!dir.join("f").exists(), "a write came through");
    Ok(())
}

fn as_user_rw(ctx: &Ctx) -> Done {
    use std::os::unix::fs::MetadataExt;
    let dir = ctx.host_dir("own");
    crate::ctx::chown(&dir, 1000);
    as_1000(ctx, &["--rw", dir.to_str().unwrap()], &format!("echo x > {}/f", dir.display()))?.ok()?;
    same!(fs::metadata(dir.join("f"))?.uid(), 1000, "owner");
    Ok(())
}

fn as_user_no_privilege(ctx: &Ctx) -> Done {
    let secret = ctx.host_file("secret", "secret");
    crate::ctx::chmod(&secret, 0o600);
    for options in [&[][..], &["--user", "0:0"]] {
        let out = as_1000(ctx, options, &format!("cat {}", secret.display()))?;
        check!(out.code != 0 && !out.out.contains("secret"), "read with {options:?}: {}", out.text());
    }
    Ok(())
}

fn as_user_no_network(ctx: &Ctx) -> Done {
    same!(as_1000(ctx, &[], "ls /sys/class/net")?.ok()?.line(), "lo", "interfaces");
    Ok(())
}

fn as_user_exit_code(ctx: &Ctx) -> Done {
    as_1000(ctx, &[], "exit 7")?.code(7)?;
    Ok(())
}

fn set_uid(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("suid");
    fs::copy(ctx.base.join("bin/hull-probe"), dir.join("probe"))?;
    crate::ctx::chmod(&dir.join("probe"), 0o4755);
    let out = as_1000(ctx, &[], &format!("{}/probe self", dir.display()))?.ok()?;
    same!(out.field("uid")?, "1000 1000", "uids");
    Ok(())
}

fn as_user_cwd(ctx: &Ctx) -> Done {
    let out = as_1000(ctx, &[], "pwd -P; cd; pwd -P")?.ok()?;
    let lines: Vec<&str> = out.out.lines().collect();
    check!(lines.len() == 2 && lines[0].contains("/home-") && lines[0] == lines[1], "directories {lines:?}");
    Ok(())
}

fn as_user_input(ctx: &Ctx) -> Done {
    same!(user_call(ctx, &[])?.arg("/bin/cat").stdin(b"piped").run()?.ok()?.out, "piped", "output");
    Ok(())
}

fn as_user_signals(ctx: &Ctx) -> Done {
    let script = "trap 'exit 42' TERM; echo up; while :; do sleep 0.05; done";
    let running = user_call(ctx, &[])?.args(&["/bin/sh", "-c", script]).spawn()?;
    wait_for("the program", 10, || running.so_far().contains("up"))?;
    host::signal(running.pid(), libc::SIGTERM);
    running.wait()?.code(42)?;
    Ok(())
}

fn as_user_tty(ctx: &Ctx) -> Done {
    let pty = crate::tty::Pty::new()?;
    crate::ctx::chown(&pty.slave, 1000);
    let call = user_call(ctx, &[])?.arg(ctx.base.join("bin/hull-probe")).arg("tty");
    let out = pty.run(call, "", b"")?.ok()?;
    check!(out.out.contains("isatty0 1") && out.out.contains("controlling true"), "shown: {:?}", out.out);
    Ok(())
}

fn as_user_jail(ctx: &Ctx) -> Done {
    let out = as_1000(ctx, &[], "cat /proc/self/status; for n in pid net ipc uts mnt user; do readlink /proc/self/ns/$n; done")?.ok()?;
    same!((out.hex("CapEff")?, out.hex("CapBnd")?), (0, 0xa004_25fb), "effective and bounding sets");
    same!((out.field("Seccomp")?, out.field("NoNewPrivs")?), ("2".into(), "1".into()), "Seccomp and NoNewPrivs");
    for kind in ["pid", "net", "ipc", "uts", "mnt", "user"] {
        let own = host::own_ns(kind)?;
        check!(out.out.contains(&format!("{kind}:[")) && !out.out.contains(&own), "{kind} is the host's");
    }
    Ok(())
}

fn as_user_options(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("own");
    fs::write(dir.join("f"), "before")?;
    crate::ctx::chown(&dir, 1000);
    let ro = dir.to_str().unwrap();
    let out = as_1000(
        ctx,
        &["--hostname", "elsewhere", "--env", "ADDED=1", "--ro", ro, "--net", "host"],
        &format!("cat /proc/sys/kernel/hostname; echo $ADDED; echo x > {ro}/f || cat {ro}/f; echo; readlink /proc/self/ns/net"),
    )?
    .ok()?;
    same!(out.out, format!("elsewhere\n1\nbefore\n{}\n", host::own_ns("net")?), "output");
    let root = ctx.host_dir("root");
    crate::bundle::copy_rootfs(&ctx.base, &root)?;
    let out = as_1000(ctx, &["--rootfs", root.to_str().unwrap()], "cat /etc/data; echo x > /etc/new; cat /etc/new; pwd")?.ok()?;
    same!(out.out, "data\nx\n/\n", "what was seen under --rootfs");
    check!(!root.join("etc/new").exists(), "a write came through");
    Ok(())
}

fn as_user_is_root(ctx: &Ctx) -> Done {
    use std::os::unix::fs::MetadataExt;
    let dir = ctx.host_dir("own");
    crate::ctx::chown(&dir, 1000);
    let out = as_1000(ctx, &["--user", "0", "--rw", dir.to_str().unwrap()], &format!("id -u; echo x > {}/f", dir.display()))?;
    same!(out.ok()?.line(), "0", "uid inside");
    same!(fs::metadata(dir.join("f"))?.uid(), 1000, "owner outside");
    Ok(())
}

fn as_user_limits(ctx: &Ctx) -> Done {
    for (options, word) in [(["--memory", "64M"], "memory"), (["--pids", "50"], "pids"), (["--cpus", "0.5"], "cpu")] {
        let out = as_1000(ctx, &options, "echo ran")?;
        // Where a cgroup was delegated to this user it may work.
        check!(out.code == 0 || (!out.out.contains("ran") && out.err.contains(word)), "{options:?}: {}", out.text());
    }
    Ok(())
}

fn as_user_without_runtime_dir(ctx: &Ctx) -> Done {
    user_call(ctx, &[])?;
    let call = ctx.program(&ctx.runtime).user(1000).cwd("/");
    call.args(&["do", "--", "/bin/sh", "-c", "exit 7"]).run()?.code(7)?;
    Ok(())
}

fn as_user_foreign_state(ctx: &Ctx) -> Done {
    user_call(ctx, &[])?;
    // A user that no host has.
    let uid = 61_234;
    if PathBuf::from(format!("/run/user/{uid}")).exists() {
        skip!("user {uid} has a session");
    }
    let root = PathBuf::from(format!("/tmp/hull-{uid}"));
    fs::create_dir(&root)?;
    crate::ctx::chown(&root, 1000);
    let out = ctx.program(&ctx.runtime).user(uid).cwd("/").args(&["do", "--", "/bin/echo", "ran"]).run();
    fs::remove_dir(&root)?;
    let out = out?.fails()?.names(&[root.to_str().unwrap()])?;
    check!(!out.out.contains("ran"), "it ran");
    Ok(())
}

/// Becomes a user namespace of its own whose user 1000 is the same, and forbids further ones there.
fn forbid_userns() -> std::io::Result<()> {
    let write = |path: &std::ffi::CStr, text: &[u8]| {
        // SAFETY: path and text are valid for the calls.
        unsafe {
            let fd = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            if fd < 0 || libc::write(fd, text.as_ptr().cast(), text.len()) < 0 {
                return Err(std::io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: plain system calls without pointers. A process that changed its user doesn't own its files in /proc.
    unsafe {
        libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0);
        if libc::unshare(libc::CLONE_NEWUSER) != 0 {
            return Err(std::io::Error::last_os_error());
        }
    }
    write(c"/proc/self/setgroups", b"deny")?;
    write(c"/proc/self/uid_map", b"1000 1000 1")?;
    write(c"/proc/self/gid_map", b"1000 1000 1")?;
    write(c"/proc/sys/user/max_user_namespaces", b"0")
}

fn userns_forbidden(ctx: &Ctx) -> Done {
    let call = user_call(ctx, &[])?.args(&["/bin/echo", "ran"]).pre(forbid_userns);
    let out = call.run()?.fails()?.names(&["user.max_user_namespaces"])?;
    check!(!out.out.contains("ran"), "it ran");
    Ok(())
}

fn memfd_noexec(ctx: &Ctx) -> Done {
    // For the directories that an ordinary user needs.
    user_call(ctx, &[])?;
    let sysctl = "/proc/sys/vm/memfd_noexec";
    if !PathBuf::from(sysctl).exists() {
        skip!("no sysctl vm.memfd_noexec");
    }
    let script = format!(
        "echo 1 > {sysctl} && exec setpriv --reuid 1000 --regid 1000 --clear-groups {} do -- /bin/echo ran",
        ctx.runtime.display()
    );
    let call = ctx.program("/usr/bin/unshare").args(&["--pid", "--fork", "--mount-proc", "/bin/sh", "-c", &script]);
    let out = call.env("XDG_RUNTIME_DIR", ctx.dir.join("rootless")).cwd("/").run()?.ok()?;
    same!(out.line(), "ran", "output: {}", out.text());
    Ok(())
}

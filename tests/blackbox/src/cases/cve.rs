//! One case for each known hole of the field that concerns the create, start, exec or delete of a process jail.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::json;

use super::hostile::{Canary, Swapper, link, without_dev};
use crate::bundle::{Bundle, STAY};
use crate::call::Call;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(cve_2016_3697_numeric_user, "a user named 1000 with uid 0 in /etc/passwd isn't who --user 1000 means"),
    case!(cve_2016_8867_ambient_for_user, "a user that isn't root has no ambient capability unless asked for"),
    case!(cve_2016_9962_peek_at_exec, "a process of the container sees no descriptor and no executable of exec's")
        .limit(40)
        .alone(),
    case!(cve_2016_9962_peek_at_closed_numbers, "nor where exec is to pass numbers that are not open")
        .theirs("runc", "1.1.5 refuses them")
        .limit(40)
        .alone(),
    case!(cve_2016_9962_rights_at_exec, "no process that exec adds is ever seen with more rights than the container's")
        .theirs("runc", "1.1.5 shows it with all of root's")
        .theirs("crun", "1.8.1 shows it with all of root's")
        .limit(40)
        .alone(),
    case!(cve_2019_5736_exec_proc_self_exe, "exec of /proc/self/exe doesn't make the runtime writable from inside"),
    case!(cve_2019_5736_run_proc_self_exe, "a program that is /proc/self/exe doesn't make the runtime writable"),
    case!(cve_2019_16884_proc_over_volume, "a /proc that isn't procfs is noticed when a label or a process attribute is written")
        .theirs("crun", "1.8.1 looks only where a label is written"),
    case!(cve_2019_18837_symlink_chain, "mount targets through chains of links stay inside"),
    case!(cve_2019_19921_proc_symlink, "a /proc that is a link is refused or stays inside"),
    case!(cve_2019_19921_proc_race, "swapping /proc while create runs never gives a process without masked paths")
        .theirs("runc", "1.1.5 looks up masked paths by name after the mount")
        .theirs("crun", "1.8.1 looks up masked paths by name after the mount")
        .limit(40)
        .alone(),
    case!(ghsa_g54h_m393_cpwq_no_device_list, "without a device list devices are denied")
        .theirs("crun", "1.8.1 sets no rule"),
    case!(cve_2020_14298_proc_self_exe_again, "a script that is interpreted by /proc/self/exe doesn't make it writable"),
    case!(cve_2020_14300_descriptors_of_exec, "without further rights a container sees no descriptor of the runtime's")
        .limit(40)
        .alone(),
    case!(cve_2020_15257_abstract_socket, "a container has no abstract socket of the runtime"),
    case!(cve_2021_30465_volume_race, "a link swapped into a volume doesn't lead a mount out").limit(40).alone(),
    case!(cve_2021_43784_long_namespace_path, "a namespace path of 70 kB is a clean error"),
    case!(cve_2021_43784_many_mappings, "four thousand id mappings are a clean error"),
    case!(cve_2022_0492_release_agent, "release_agent can't be written to"),
    case!(cve_2022_0811_sysctl_injection, "a sysctl value with + and = sets nothing else"),
    case!(cve_2022_24769_27649_27651_inheritable_of_spec, "what spec writes has no inheritable capability"),
    case!(cve_2022_27650_exec_cap, "exec --cap adds nothing to the inheritable set"),
    case!(cve_2022_29162_exec_inheritable, "a process of exec has an empty inheritable set"),
    case!(cve_2023_25809_rootless_cgroup, "rootless, /sys/fs/cgroup can't be written to"),
    case!(cve_2023_27561_proc_symlink_again, "a /proc that is a link to a directory with a decoy is refused or masked"),
    case!(cve_2023_28642_proc_and_sys_symlink, "a /proc that is a link with a bind mount below doesn't unmask"),
    case!(cve_2024_3154_systemd_annotation, "an annotation for systemd does nothing without systemd"),
    case!(cve_2024_21626_cwd_proc_self_fd, "process.cwd of /proc/self/fd/N doesn't reach the host"),
    case!(cve_2024_21626_exec_cwd, "exec --cwd of /proc/self/fd/N doesn't reach the host"),
    case!(cve_2024_21626_cwd_symlink, "process.cwd through a link to /proc/self/fd/N doesn't reach the host"),
    case!(cve_2024_21626_no_host_fd, "init holds no directory of the host when the program begins"),
    case!(cve_2024_40635_uid_overflow, "exec --user with an id beyond 31 bits isn't root")
        .theirs("runc", "1.1.5 takes 4294967296 for 0")
        .theirs("crun", "1.8.1 takes 4294967295 for 0"),
    case!(cve_2024_45310_mkdir_race, "a volume swapped during create leaves no file or directory on the host")
        .theirs("runc", "1.1.5 makes directories on the host")
        .limit(60)
        .alone(),
    case!(cve_2025_23266_hook_environment, "a hook has nothing of process.env, LD_PRELOAD least of all")
        .theirs("runc", "1.1.5 gives createContainer the environment of the program"),
    case!(cve_2024_0132_hook_cwd, "a hook of the host begins in the bundle, not in what the image brings"),
    case!(cve_2025_27612_inheritable_of_process, "exec of a process document sets no inheritable capability unasked"),
    case!(cve_2025_24965_file_in_rootfs, "the runtime writes no file of its own through links of the root"),
    case!(cve_2025_31133_dev_null_symlink, "a masked path isn't replaced by what /dev/null of the root leads to")
        .theirs("runc", "1.1.5 binds it over the masked path"),
    case!(cve_2025_52565_console_symlink, "a /dev/console or /dev/pts/0 that is a link isn't followed")
        .theirs("runc", "1.1.5 puts the terminal over what it leads to")
        .theirs("crun", "1.8.1 puts the terminal over what it leads to"),
    case!(cve_2025_52881_fake_proc, "a process attribute isn't written to a file that stands in for /proc"),
    case!(cve_2025_52565_pts_race, "swapping /dev/pts while create runs never puts a masked file at /dev/console")
        .theirs("runc", "1.1.5 mounts what stands at the terminal's path by then")
        .theirs("crun", "1.8.1 starts no container meanwhile")
        .limit(90)
        .alone(),
    case!(cve_2025_52881_sysctl_race, "swapping /proc while create runs never redirects a sysctl")
        .theirs("runc", "1.1.5 writes to the file that stands at the path by then")
        .limit(60)
        .alone(),
    case!(cve_2025_62161_dev_null_other_device, "a /dev/null that is another device doesn't mask")
        .theirs("runc", "1.1.5 binds it over the masked path"),
    case!(cve_2025_62596_mount_over_attribute, "an attribute of the process isn't written to a file mounted over it"),
    case!(cve_2025_54867_proc_and_sys_symlinks, "links in place of /proc and /sys aren't followed to the host"),
    case!(cve_2026_30892_exec_user_without_gid, "exec --user 1 is uid 1, and a uid beyond 32 bits is refused")
        .theirs("runc", "1.1.5 takes 4294967296 for 0")
        .theirs("crun", "1.8.1 takes 4294967297 for another"),
    case!(cve_2026_41579_dev_symlink_ptmx, "a /dev that is a link doesn't cost the host its ptmx")
        .theirs("crun", "1.8.1 removes it")
        .theirs("runc", "1.1.5 removes it"),
    case!(cve_2026_47766_dev_symlink_devices, "a /dev that is a link gets no devices on the host")
        .theirs("runc", "1.1.5 makes them")
        .theirs("crun", "1.8.1 makes them"),
    case!(cve_2026_88264_console_symlink, "a /dev/console that is a dangling link makes no file on the host")
        .theirs("crun", "1.8.1 makes it"),
    case!(cve_2026_88265_dev_null_symlink, "a /dev/null that is a link to a host file isn't given away"),
    case!(cve_2023_25173_additional_gids, "the further groups are those of the configuration, no more and no fewer"),
    case!(exec_cgroup_escape, "exec --cgroup can't leave the container's group").theirs("crun", "1.8.1 lets it"),
];

const STATUS: [&str; 2] = ["/bin/cat", "/proc/self/status"];

/// Runs a container whose /proc leads somewhere else, by a link, and looks for what has to be masked, wherever procfs
/// came to lie; an error has to be about /proc.
fn without_secrets(ctx: &Ctx, b: Bundle) -> Done {
    let script = "for d in /proc /decoy /real/proc; do cat $d/keys $d/timer_list 2>/dev/null; done; true";
    let open = ctx.bundle().sh(script).set("/linux/maskedPaths", json!([])).run()?.ok()?;
    check!(!open.out.is_empty(), "there is nothing to be masked here");
    let out = b.sh(script).call("run").run()?;
    check!(out.out.is_empty(), "what had to be masked holds {:?}", out.out.lines().next());
    if out.code != 0 {
        out.names(&["/proc"])?;
    }
    Ok(())
}

/// Empty files that could be taken for those of a procfs at `at`; `untouched` tells whether they are as they were.
struct Fakes(PathBuf);

impl Fakes {
    const FILES: [&str; 6] = [
        "self/oom_score_adj", "self/attr/exec", "thread-self/attr/exec", "1/oom_score_adj", "1/attr/exec",
        "sys/net/ipv4/ip_default_ttl",
    ];

    fn new(at: PathBuf) -> Result<Fakes, Stop> {
        for file in Fakes::FILES {
            fs::create_dir_all(at.join(file).parent().unwrap())?;
            fs::write(at.join(file), "")?;
        }
        Ok(Fakes(at))
    }

    fn untouched(&self) -> Done {
        for file in Fakes::FILES {
            same!(fs::read_to_string(self.0.join(file))?, "", "{file} of what stands in for /proc");
        }
        Ok(())
    }
}

/// What the runtime would write to a procfs.
fn with_writes(b: Bundle) -> Bundle {
    b.set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "77" })).set("/process/oomScoreAdj", json!(5))
}

fn cve_2016_3697_numeric_user(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    fs::write(b.rootfs().join("etc/passwd"), "1000:x:0:0:root:/root:/bin/sh\nroot:x:0:0:root:/root:/bin/sh\n")?;
    let out = b.up()?.exec_with(&["--user", "1000:1000"], &["/bin/hull-probe", "self"])?.ok()?;
    same!(out.field("uid")?, "1000 1000", "uids");
    Ok(())
}

fn cve_2016_8867_ambient_for_user(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&STATUS).set("/process/user", json!({ "uid": 1000, "gid": 1000 })).run()?.ok()?;
    same!((out.hex("CapAmb")?, out.hex("CapEff")?), (0, 0), "ambient and effective sets");
    Ok(())
}

/// What a container with these rights sees of the processes that exec adds meanwhile.
fn peek_at_exec(ctx: &Ctx, options: &[&str]) -> Result<String, Stop> {
    let canary = Canary::new(ctx);
    let all = &["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"][..];
    let b = ctx.bundle().probe(&["peek", "4000", canary.dir.to_str().unwrap()]);
    let c = b.tweak(|c| c.caps([all, all, all, &[], &[]])).up()?;
    c.wait_out("ready")?;
    for _ in 0..25 {
        c.exec_with(options, &["/bin/true"])?.ok()?;
    }
    wait_for("the end of the probe", 25, || c.status().is_ok_and(|s| s == "stopped"))?;
    Ok(c.out())
}

fn cve_2016_9962_rights_at_exec(ctx: &Ctx) -> Done {
    let seen = peek_at_exec(ctx, &[])?;
    let rights: Vec<&str> = seen.lines().filter(|line| line.starts_with("rights")).collect();
    check!(rights.is_empty(), "processes were seen with {rights:?}");
    Ok(())
}

fn cve_2016_9962_peek_at_exec(ctx: &Ctx) -> Done {
    nothing_of_the_host(&peek_at_exec(ctx, &[])?)
}

fn cve_2016_9962_peek_at_closed_numbers(ctx: &Ctx) -> Done {
    nothing_of_the_host(&peek_at_exec(ctx, &["--preserve-fds", "20"])?)
}

fn nothing_of_the_host(seen: &str) -> Done {
    for line in seen.lines() {
        check!(!line.starts_with("escape"), "a descriptor led to the host: {line}");
        check!(!line.starts_with("writable") || line.contains("busybox") || line.contains("probe"), "{line}");
    }
    Ok(())
}

/// A copy of the runtime that an attack may spoil.
struct Target {
    copy: PathBuf,
    before: Vec<u8>,
}

impl Target {
    fn new(ctx: &Ctx) -> Result<Target, Stop> {
        let copy = ctx.host_dir("runtime").join(ctx.runtime.file_name().unwrap());
        fs::copy(&ctx.runtime, &copy)?;
        crate::ctx::chmod(&copy, 0o755);
        Ok(Target { before: fs::read(&copy)?, copy })
    }

    fn call(&self, ctx: &Ctx, args: &[&str]) -> Call {
        ctx.program(&self.copy).arg("--root").arg(&ctx.root).args(args)
    }

    fn check(&self, seen: &str) -> Done {
        check!(fs::read(&self.copy)? == self.before, "the runtime was changed; the probe said {seen:?}");
        Ok(())
    }
}

/// A bundle with the rights that help, and with a bundle inside whose config.json is a fifo: the runtime executed in
/// the container would read it, and so stay for as long as it takes to seize its executable.
fn with_trap(ctx: &Ctx) -> Result<Bundle<'_>, Stop> {
    let all = &["CAP_KILL", "CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE"][..];
    let b = ctx.bundle().rw().tweak(|c| c.caps([all, all, all, &[], &[]]));
    fs::create_dir(b.rootfs().join("run/trap"))?;
    ctx.program("/usr/bin/mkfifo").arg(b.rootfs().join("run/trap/config.json")).run()?.ok()?;
    Ok(b)
}

const OWN_EXE: [&str; 5] = ["/proc/self/exe", "run", "--bundle", "/run/trap", "x"];

fn cve_2019_5736_exec_proc_self_exe(ctx: &Ctx) -> Done {
    let target = Target::new(ctx)?;
    let b = with_trap(ctx)?.probe(&["seize"]);
    b.write();
    let running = target.call(ctx, &["run", "--detach", "--bundle", b.dir.to_str().unwrap(), &b.id]).spawn()?;
    let file = running.out.clone();
    running.wait()?.ok()?;
    let seen = || fs::read_to_string(&file).unwrap_or_default();
    wait_for("the probe", 8, || seen().contains("ready"))?;
    let mut exec = target.call(ctx, &["exec", &b.id]).args(&OWN_EXE).spawn()?;
    let mut ended = false;
    wait_for("the seizure, or the end of exec", 12, || {
        ended = matches!(exec.child.try_wait(), Ok(Some(_)));
        ended || seen().contains("done")
    })?;
    if !ended {
        exec.child.kill()?;
    }
    target.check(&seen())
}

/// A container whose program is `args`, beside another in the same pid namespace that seizes it: no process may end
/// the first one of its own namespace.
fn seize_init(ctx: &Ctx, b: Bundle, args: &[&str]) -> Done {
    let target = Target::new(ctx)?;
    let other = with_trap(ctx)?.up()?;
    let mut exec = other.exec_call(&[], &["/bin/hull-probe", "seize"]).spawn()?;
    wait_for("the probe", 8, || exec.so_far().contains("ready"))?;
    let space = format!("/proc/{}/ns/pid", other.pid()?);
    let b = b.args(args).tweak(|c| c.join("pid", Some(&space)));
    b.write();
    let run = target.call(ctx, &["run", "--detach", "--bundle", b.dir.to_str().unwrap(), &b.id]).run()?;
    if run.code == 0 {
        wait_for("the seizure, or the end of the container", 12, || {
            let state = ctx.rt(&["state", &b.id]).is_ok_and(|o| o.out.contains("stopped"));
            state || exec.so_far().contains("done")
        })?;
    }
    if exec.so_far().contains("held") {
        wait_for("the end of the seizure", 12, || exec.so_far().contains("done"))?;
    }
    let seen = exec.so_far();
    let _ = exec.child.kill();
    target.check(&seen)
}

fn cve_2019_5736_run_proc_self_exe(ctx: &Ctx) -> Done {
    let b = with_trap(ctx)?;
    seize_init(ctx, b, &OWN_EXE)
}

fn cve_2020_14298_proc_self_exe_again(ctx: &Ctx) -> Done {
    let b = with_trap(ctx)?;
    // The interpreter gets the text of the line as one argument, and the script's name after it.
    fs::write(b.rootfs().join("run/x"), "#!/proc/self/exe --root=/run/state\n")?;
    crate::ctx::chmod(&b.rootfs().join("run/x"), 0o755);
    link(&b, "run/run", "x")?;
    seize_init(ctx, b, &["/run/x", "run", "--bundle", "/run/trap", "x"])
}

fn cve_2020_14300_descriptors_of_exec(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let c = ctx.bundle().probe(&["peek", "4000", canary.dir.to_str().unwrap()]).up()?;
    c.wait_out("ready")?;
    for _ in 0..25 {
        c.exec(&["/bin/true"])?.ok()?;
    }
    wait_for("the end of the probe", 25, || c.status().is_ok_and(|s| s == "stopped"))?;
    for line in c.out().lines() {
        check!(!line.starts_with("escape"), "a descriptor led to the host: {line}");
        // The standard descriptors are the program's. Any other may be counted, but what can't be read has no name.
        let Some((number, name)) = line.strip_prefix("fd ").and_then(|rest| rest.split_once(' ')) else { continue };
        check!(name.is_empty() || ["0", "1", "2"].contains(&number), "a descriptor of the runtime's: {name}");
    }
    Ok(())
}

fn cve_2019_16884_proc_over_volume(ctx: &Ctx) -> Done {
    let volume = ctx.host_dir("proc");
    let fakes = Fakes::new(volume.clone())?;
    fs::create_dir_all(volume.join("self/fd"))?;
    fs::write(volume.join("self/uid_map"), "")?;
    let b = ctx.bundle().tweak(|c| {
        c.unmount("/proc");
        c.mount("/proc", "bind", volume.to_str().unwrap(), &["rbind"]);
    });
    let b = b.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([])).sh("exit 3");
    // A label is what the attack is after; where there is no LSM the container must at least be refused.
    let b = b.set("/process/apparmorProfile", json!("some-profile"));
    b.call("run").run()?.fails()?;
    fakes.untouched()?;
    let plain = ctx.bundle().tweak(|c| {
        c.unmount("/proc");
        c.mount("/proc", "bind", volume.to_str().unwrap(), &["rbind"]);
    });
    plain.call("run").run()?.fails()?.names(&["/proc"])?;
    Ok(())
}

fn cve_2019_18837_symlink_chain(ctx: &Ctx) -> Done {
    let volume = ctx.host_dir("volume").to_str().unwrap().to_owned();
    // The chain leads to the name that the canary has on the host, or beyond the root by more `..` than there can be.
    for middle in ["/z", "../z"] {
        for up in ["", "../../../../../../../../../../.."] {
            let canary = Canary::new(ctx);
            let b = ctx.bundle().rw().tweak(|c| c.mount("/a/b/c/new", "bind", &volume, &["bind"]));
            link(&b, "a", "./x/../y")?;
            fs::create_dir(b.rootfs().join("x"))?;
            fs::create_dir(b.rootfs().join("y"))?;
            link(&b, "y/b", middle)?;
            link(&b, "z", format!("{up}{}", canary.dir.display()))?;
            let out = b.sh("cat /proc/self/mountinfo").call("run").run()?;
            canary.check()?;
            let inside = host::parse_mounts(&out.out).iter().any(|m| m.target.ends_with("/c/new"));
            check!(out.code != 0 || inside, "the mount isn't in the container: {}", out.out);
            if out.code != 0 {
                out.names(&["a/b"])?;
            }
        }
    }
    Ok(())
}

fn cve_2019_19921_proc_symlink(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw();
    fs::create_dir_all(b.rootfs().join("decoy"))?;
    link(&b, "proc", "decoy")?;
    without_secrets(ctx, b)
}

fn cve_2019_19921_proc_race(ctx: &Ctx) -> Done {
    // Either name may be the real one by the time the program looks.
    let script = "for d in /proc /decoy /proc /decoy; do cat $d/keys $d/timer_list 2>/dev/null; done; true";
    let b = ctx.bundle().rw().sh(script);
    fs::create_dir_all(b.rootfs().join("decoy/self"))?;
    let swapper = Swapper::new(b.rootfs().join("proc"), b.rootfs().join("decoy"));
    let mut ran = 0;
    for _ in 0..30 {
        let out = b.call("run").run()?;
        check!(out.code != 0 || out.out.is_empty(), "what had to be masked holds {:?}", out.out.lines().next());
        ran += u32::from(out.code == 0);
    }
    drop(swapper);
    check!(ran > 0, "no container ran, so that nothing was tried");
    Ok(())
}

fn ghsa_g54h_m393_cpwq_no_device_list(ctx: &Ctx) -> Done {
    let caps = &["CAP_MKNOD"][..];
    let b = ctx.bundle().sh("mknod /dev/x c 1 250; hull-probe open /dev/x r").tweak(|c| {
        c.caps([caps, caps, caps, &[], &[]]);
        c["linux"]["resources"].as_object_mut().unwrap().remove("devices");
    });
    same!(b.run()?.ok()?.line(), "errno 1", "errno of opening a device nobody allowed");
    Ok(())
}

fn cve_2020_15257_abstract_socket(ctx: &Ctx) -> Done {
    // Abstract sockets belong to a network namespace; in one of its own no other program of the host has any.
    // SAFETY: plain system call without pointers.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error().into());
    }
    let dir = ctx.host_dir("hook");
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", format!("/bin/cat /proc/self/net/unix > {}/unix", dir.display())] }]);
    let c = ctx.bundle().set("/hooks/createRuntime", hook).tweak(|c| c.leave("network")).up()?;
    let during = fs::read_to_string(dir.join("unix"))?;
    check!(during.contains("RefCount"), "the hook saw {during:?}");
    let text = fs::read_to_string(format!("/proc/{}/net/unix", c.pid()?))?;
    let own = fs::read_to_string("/proc/thread-self/net/unix")?;
    same!(text, own, "sockets of the container and of its caller");
    let names = own.lines().chain(during.lines()).filter_map(|l| l.split_whitespace().nth(7));
    let found: Vec<_> = names.filter(|n| n.starts_with('@')).collect();
    check!(found.is_empty(), "abstract sockets {found:?}");
    Ok(())
}

fn cve_2021_30465_volume_race(ctx: &Ctx) -> Done {
    // Led out by the link, the first mount would cover the directory that holds the source of the second, which would
    // then be what the covering one names: here the canary, for an attacker the whole host.
    let canary = Canary::new(ctx);
    let volume = ctx.host_dir("volume");
    fs::create_dir(volume.join("dir"))?;
    symlink("/", volume.join("link"))?;
    let sources = ctx.host_dir("sources");
    fs::create_dir(sources.join("b"))?;
    let cover = ctx.host_dir("cover");
    symlink(&canary.dir, cover.join("b"))?;
    let b = ctx.bundle().tweak(|c| {
        c.mount("/vol", "bind", volume.to_str().unwrap(), &["rbind"]);
        c.mount(&format!("/vol/dir{}", sources.display()), "bind", cover.to_str().unwrap(), &["rbind"]);
        c.mount("/out", "bind", sources.join("b").to_str().unwrap(), &["rbind"]);
    });
    let b = b.sh("cat /out/file 2>/dev/null; true");
    let swapper = Swapper::new(volume.join("dir"), volume.join("link"));
    let mut ran = 0;
    for _ in 0..40 {
        let out = b.call("run").run()?;
        check!(out.out.is_empty(), "the container sees {:?} of the host", out.out);
        ran += u32::from(out.code == 0);
        canary.check()?;
    }
    drop(swapper);
    check!(ran > 0, "no container ran, so that nothing was tried");
    Ok(())
}

fn cve_2021_43784_long_namespace_path(ctx: &Ctx) -> Done {
    // Longer than 64 KiB by just as much as is the name of a namespace that is there: a length of 16 bits would cut
    // all but that off.
    let path = format!("/proc/self/ns/net{}", "/".repeat(65536));
    let b = ctx.bundle().tweak(|c| c.join("network", Some(&path)));
    let out = b.try_create()?.fails()?;
    check!(out.code < 128, "it crashed: {}", out.text());
    b.nothing_left()
}

fn cve_2021_43784_many_mappings(ctx: &Ctx) -> Done {
    // As lines of a map these have 16 bytes each, and all but the first are 64 KiB: a length of 16 bits would leave one
    // that works.
    let mapping = |id: u32| {
        let digits = id.to_string().len() as u32;
        json!({ "containerID": id, "hostID": 10_u32.pow(10 - digits) + id, "size": 10 })
    };
    let list: Vec<_> = (0..4097).map(|n| mapping(n * 10)).collect();
    let b = ctx.bundle().tweak(Edit::userns).tweak(|c| {
        c["linux"]["uidMappings"] = json!(list);
        c["linux"]["gidMappings"] = json!(list);
    });
    let out = b.call("run").run()?.fails()?;
    // The kernel takes 340 lines.
    check!(out.code < 128, "it crashed: {}", out.text());
    b.nothing_left()
}

fn cve_2022_0492_release_agent(ctx: &Ctx) -> Done {
    if host::hierarchies().iter().all(|h| h.v2) {
        skip!("cgroup v2 has no release_agent");
    }
    let script = "for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release); do \
                  echo seen; echo 1 2>/dev/null > $f && echo wrote $f; done; true";
    let out = ctx.bundle().sh(script).run()?.ok()?;
    check!(!out.out.contains("wrote"), "{}", out.out);
    check!(out.out.contains("seen"), "no group is to be seen inside, so that nothing was tried");
    Ok(())
}

fn cve_2022_0811_sysctl_injection(ctx: &Ctx) -> Done {
    let before = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let evil = json!({ "kernel.shm_rmid_forced": "1+kernel.core_pattern=|/evil #" });
    ctx.bundle().set("/linux/sysctl", evil).try_create()?.fails()?.names(&["sysctl", "/proc/sys/"])?;
    let evil = json!({ "net.ipv4.ip_default_ttl/../../../kernel/core_pattern": "|/evil" });
    ctx.bundle().set("/linux/sysctl", evil).try_create()?.fails()?.names(&["sysctl", "/proc/sys/"])?;
    let evil = json!({ "net/../kernel/core_pattern": "|/evil" });
    ctx.bundle().set("/linux/sysctl", evil).try_create()?.fails()?.names(&["sysctl", "/proc/sys/"])?;
    same!(fs::read_to_string("/proc/sys/kernel/core_pattern")?, before, "core_pattern of the host");
    Ok(())
}

fn cve_2022_24769_27649_27651_inheritable_of_spec(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("spec");
    ctx.call(&["spec"]).cwd(&dir).run()?.ok()?;
    let config: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("config.json"))?)?;
    let set = &config["process"]["capabilities"]["inheritable"];
    check!(set.is_null() || set.as_array().is_some_and(Vec::is_empty), "inheritable is {set}");
    Ok(())
}

fn cve_2022_27650_exec_cap(ctx: &Ctx) -> Done {
    let out = ctx.bundle().up()?.exec_with(&["--cap", "CAP_NET_ADMIN"], &STATUS)?.ok()?;
    same!(out.hex("CapInh")?, 0, "CapInh");
    check!(out.hex("CapEff")? & (1 << 12) != 0, "the capability wasn't given");
    Ok(())
}

fn cve_2022_29162_exec_inheritable(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    same!(c.exec(&STATUS)?.ok()?.hex("CapInh")?, 0, "CapInh");
    let out = c.exec_with(&["--user", "1000:1000", "--cap", "CAP_NET_ADMIN"], &STATUS)?.ok()?;
    same!(out.hex("CapInh")?, 0, "CapInh of a user");
    Ok(())
}

fn cve_2023_25809_rootless_cgroup(ctx: &Ctx) -> Done {
    // A group that the user owns in every hierarchy, as systemd delegates them.
    for h in host::hierarchies() {
        let own = h.at.join(format!("{}-own", ctx.tag));
        fs::create_dir(&own)?;
        crate::ctx::chown(&own, 1000);
        crate::ctx::chown(&own.join("cgroup.procs"), 1000);
    }
    let b = super::rootless::bundle(ctx)?;
    super::rootless::call(ctx, &["spec", "--rootless"]).cwd(&b.dir).run()?.ok()?;
    let config: serde_json::Value = serde_json::from_slice(&fs::read(b.dir.join("config.json"))?)?;
    let mut b = b.tweak(|c| *c = config).set("/process/terminal", json!(false));
    if b.config["linux"]["uidMappings"].is_null() {
        skip!("spec --rootless writes no mappings");
    }
    b = b.sh(&format!(
        "for d in $(find /sys/fs/cgroup -name '{0}-own'); do echo seen; mkdir $d/made && echo made $d; \
         echo 0 > $d/cgroup.procs && echo wrote $d; done; true",
        ctx.tag
    ));
    let out = super::rootless::run(b)?;
    let made = host::cgroups_named(&format!("{}-own", ctx.tag)).into_iter().filter(|d| d.ends_with("made")).count();
    for dir in host::cgroups_named(&format!("{}-own", ctx.tag)) {
        fs::remove_dir(dir)?;
    }
    check!(!out.out.contains("wrote") && !out.out.contains("made") && made == 0, "{}", out.out);
    check!(out.ok()?.out.contains("seen"), "the groups are not to be seen inside, so that nothing was tried");
    Ok(())
}

fn cve_2023_27561_proc_symlink_again(ctx: &Ctx) -> Done {
    let b = with_writes(ctx.bundle().rw());
    let fakes = Fakes::new(b.rootfs().join("decoy"))?;
    link(&b, "proc", "/decoy")?;
    without_secrets(ctx, b)?;
    fakes.untouched()
}

fn cve_2023_28642_proc_and_sys_symlink(ctx: &Ctx) -> Done {
    // The volume comes to lie below procfs, or over it, so that its own files take the place of procfs's.
    for below in [true, false] {
        let volume = ctx.host_dir("volume");
        let fakes = Fakes::new(volume.join("proc"))?;
        let b = with_writes(ctx.bundle().rw()).tweak(|c| {
            c.mount("/real", "bind", volume.to_str().unwrap(), &["bind"]);
            if below {
                c["mounts"].as_array_mut().unwrap().rotate_right(1);
            }
        });
        fs::create_dir_all(b.rootfs().join("real/proc"))?;
        link(&b, "proc", "real/proc")?;
        without_secrets(ctx, b)?;
        fakes.untouched()?;
    }
    Ok(())
}

fn cve_2024_3154_systemd_annotation(ctx: &Ctx) -> Done {
    // A host where systemd seems to run, which would run the command if it were asked for a unit of this property.
    host::private_mounts()?;
    rustix::mount::mount("tmpfs", "/run", "tmpfs", rustix::mount::MountFlags::empty(), None::<&std::ffi::CStr>)?;
    let places = ["/run/systemd/private", "/run/dbus/system_bus_socket", "/run/user/0/bus"];
    fs::create_dir_all("/run/systemd/system")?;
    let mut systemd = Vec::new();
    for place in places {
        fs::create_dir_all(PathBuf::from(place).parent().unwrap())?;
        let socket = std::os::unix::net::UnixListener::bind(place)?;
        socket.set_nonblocking(true)?;
        systemd.push(socket);
    }
    let value = "[('/bin/touch', ['touch', '/run/ran'], false)]";
    let b = ctx.bundle().set("/annotations", json!({ "org.systemd.property.ExecStartPre": value })).sh("exit 3");
    b.call("run").env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/user/0/bus").run()?.code(3)?;
    for (socket, place) in systemd.iter().zip(places) {
        check!(socket.accept().is_err(), "without --systemd-cgroup systemd was called at {place}");
    }
    Ok(())
}

/// The working directory that the output tells lies in the container, or the error is about that directory.
fn not_escaped(out: crate::call::Output) -> Result<(), String> {
    let outside = out.out.contains("unreachable") || out.out.contains("escaped") || !out.out.contains("cwd /");
    match out.code {
        0 if outside => Err(out.text()),
        0 => Ok(()),
        _ => match out.names(&["cwd", "chdir", "/proc/self/fd", "directory", "/link"]) {
            Err(Stop::Fail(text)) => Err(text),
            _ => Ok(()),
        },
    }
}

fn cve_2024_21626_cwd_proc_self_fd(ctx: &Ctx) -> Done {
    for n in 0..16 {
        let b = ctx.bundle().probe(&["cwd"]).set("/process/cwd", json!(format!("/proc/self/fd/{n}")));
        let out = b.run()?;
        not_escaped(out).map_err(|e| format!("with descriptor {n}: {e}"))?;
    }
    Ok(())
}

fn cve_2024_21626_exec_cwd(ctx: &Ctx) -> Done {
    // Where a process joins a PID namespace last, it has no /proc/self before: the second container is without one.
    for c in [ctx.bundle().up()?, ctx.bundle().tweak(|c| c.leave("pid")).up()?] {
        for n in 0..16 {
            let out = c.exec_with(&["--cwd", &format!("/proc/self/fd/{n}")], &["/bin/hull-probe", "cwd"])?;
            not_escaped(out).map_err(|e| format!("with descriptor {n}: {e}"))?;
        }
    }
    Ok(())
}

fn cve_2024_21626_cwd_symlink(ctx: &Ctx) -> Done {
    for n in 3..12 {
        let b = ctx.bundle().probe(&["cwd"]).set("/process/cwd", json!("/link"));
        link(&b, "link", format!("/proc/self/fd/{n}"))?;
        let out = b.run()?;
        not_escaped(out).map_err(|e| format!("with descriptor {n}: {e}"))?;
    }
    Ok(())
}

fn cve_2024_21626_no_host_fd(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&STAY).create()?;
    c.start()?;
    let pid = c.pid()?;
    wait_for("the program", 5, || fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|l| l.contains("sleep")))?;
    let mut fds: Vec<_> = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten().map(|e| e.file_name()).collect();
    fds.sort();
    same!(fds, ["0", "1", "2"].map(std::ffi::OsString::from).to_vec(), "descriptors of init");
    Ok(())
}

fn cve_2024_40635_uid_overflow(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for uid in ["2147483648", "4294967295", "4294967296", "18446744073709551616", "-1"] {
        let out = c.exec_call(&[&format!("--user={uid}:1")], &["/bin/hull-probe", "self"]).run()?;
        if out.code == 0 {
            check!(!out.field("uid")?.split(' ').any(|u| u == "0"), "--user {uid} is root");
        } else {
            out.names(&["user", "uid", uid])?;
        }
    }
    Ok(())
}

fn cve_2024_45310_mkdir_race(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let volume = ctx.host_dir("volume");
    fs::create_dir(volume.join("dir"))?;
    symlink(&canary.dir, volume.join("link"))?;
    let source = ctx.host_dir("source").to_str().unwrap().to_owned();
    let b = ctx.bundle().tweak(|c| {
        c.mount("/vol", "bind", volume.to_str().unwrap(), &["rbind"]);
        c.mount("/vol/dir/new/deep", "bind", &source, &["bind"]);
        c.mount("/vol/dir/tmp", "tmpfs", "tmpfs", &[]);
    });
    let swapper = Swapper::new(volume.join("dir"), volume.join("link"));
    let mut ran = 0;
    for _ in 0..80 {
        ran += u32::from(b.call("run").run()?.code == 0);
        canary.check()?;
    }
    drop(swapper);
    check!(ran > 0, "no container ran, so that nothing was tried");
    Ok(())
}

fn cve_2025_23266_hook_environment(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hook");
    let script = format!("/usr/bin/env > {}/env", dir.display());
    let kinds = ["prestart", "createRuntime", "createContainer"];
    for kind in kinds {
        let b = ctx.bundle().set("/process/env", json!(["LD_PRELOAD=/evil.so", "PATH=/bin"]));
        let b = b.tweak(|c| c["hooks"][kind] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
        b.call("run").env("OF_THE_RUNTIME", "leak").run()?.ok()?;
        let env = fs::read_to_string(dir.join("env"))?;
        check!(!env.contains("LD_PRELOAD"), "{kind} has {env:?}");
    }
    Ok(())
}

fn cve_2024_0132_hook_cwd(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("hook");
    let script = format!("pwd -P > {}/cwd", dir.display());
    // Not so createContainer: it begins in the root file system, which hooks written for runc rely on. What makes that
    // dangerous is an environment of the image's, and a hook gets none.
    for kind in ["prestart", "createRuntime"] {
        let b = ctx.bundle();
        let want = format!("{}\n", b.dir.canonicalize()?.display());
        let b = b.tweak(|c| c["hooks"][kind] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]));
        b.call("run").cwd("/usr").run()?.ok()?;
        same!(fs::read_to_string(dir.join("cwd"))?, want, "directory of {kind}");
    }
    Ok(())
}

fn cve_2025_24965_file_in_rootfs(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    let b = ctx.bundle().rw();
    for name in [".krun_config.json", "krun_config.json", "run/.containerenv", ".dockerenv", "etc/hostname", "etc/mtab"] {
        link(&b, name, canary.dir.join("file"))?;
    }
    b.call("run").run()?.ok()?;
    canary.check()?;
    // Where krun isn't built in, it is refused; then nothing may be written either.
    b.set("/annotations", json!({ "run.oci.handler": "krun" })).call("run").run()?;
    canary.check()
}

fn cve_2025_31133_dev_null_symlink(ctx: &Ctx) -> Done {
    // Once as the image has it, once in a volume, where another container could have put it.
    let volume = ctx.host_dir("dev");
    symlink("/etc/decoy", volume.join("null"))?;
    for mounted in [false, true] {
        let b = ctx.bundle().rw().tweak(|c| {
            c.unmount("/dev");
            if mounted {
                c.mount("/dev", "bind", volume.to_str().unwrap(), &["bind"]);
            }
        });
        let b = b.set("/linux/maskedPaths", json!(["/etc/data"])).sh("cat /etc/data");
        fs::write(b.rootfs().join("etc/decoy"), "decoy")?;
        link(&b, "dev/null", "/etc/decoy")?;
        let out = b.call("run").stdin(b"").run()?;
        if out.code != 0 {
            out.names(&["/dev/null", "/etc/data"])?;
        } else {
            check!(out.out.is_empty(), "the masked path holds {:?}", out.out);
        }
    }
    Ok(())
}

fn cve_2025_52565_console_symlink(ctx: &Ctx) -> Done {
    for at in ["dev/console", "dev/pts/0", "dev/pts"] {
        let canary = Canary::new(ctx);
        let b = ctx.bundle().rw().tweak(|c| {
            c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
            if at != "dev/console" {
                c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev/pts");
            }
            c["process"]["terminal"] = json!(true);
        });
        link(&b, at, canary.dir.join("file"))?;
        crate::tty::Pty::new()?.run(b.call("run"), "", b"")?;
        canary.check()?;
    }
    // Followed inside, it would put the terminal over a file of the image's choice, such as one to be masked.
    let b = ctx.bundle().rw().sh("[ ! -c /etc/data ] || echo over it; true").tweak(|c| {
        c["mounts"].as_array_mut().unwrap().retain(|m| m["destination"] != "/dev");
        c["process"]["terminal"] = json!(true);
    });
    fs::write(b.rootfs().join("etc/data"), "")?;
    link(&b, "dev/console", "/etc/data")?;
    let out = crate::tty::Pty::new()?.run(b.call("run"), "", b"")?;
    check!(!out.out.contains("over it"), "the terminal is at what /dev/console leads to");
    Ok(())
}

fn cve_2025_52881_fake_proc(ctx: &Ctx) -> Done {
    let volume = ctx.host_dir("proc");
    let fakes = Fakes::new(volume.clone())?;
    fs::create_dir_all(volume.join("self/fd"))?;
    fs::write(volume.join("self/setgroups"), "")?;
    let b = with_writes(ctx.bundle().rw()).tweak(|c| {
        c.unmount("/proc");
        c.mount("/proc", "bind", volume.to_str().unwrap(), &["rbind"]);
    });
    b.set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([])).run()?;
    fakes.untouched()
}

fn cve_2025_54867_proc_and_sys_symlinks(ctx: &Ctx) -> Done {
    for at in ["proc", "sys"] {
        let canary = Canary::new(ctx);
        let b = ctx.bundle().rw().sh("cat /proc/self/mountinfo");
        link(&b, at, format!("../../../../../../..{}", canary.dir.display()))?;
        let out = b.call("run").run()?;
        canary.check()?;
        let kind = if at == "sys" { "sysfs" } else { at };
        let inside = host::parse_mounts(&out.out).iter().any(|m| m.kind == kind);
        check!(out.code != 0 || inside, "the mount isn't in the container: {}", out.out);
        if out.code != 0 {
            out.names(&[&format!("/{at}")])?;
        }
    }
    Ok(())
}

fn cve_2026_30892_exec_user_without_gid(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for (user, uid, gid) in [("1", "1 1", "0 0"), ("1:2", "1 1", "2 2")] {
        let out = c.exec_with(&["--user", user], &["/bin/hull-probe", "self"])?.ok()?;
        same!((out.field("uid")?, out.field("gid")?), (uid.into(), gid.into()), "ids of --user {user}");
    }
    for user in ["4294967296", "4294967297"] {
        c.exec_with(&["--user", user], &["/bin/true"])?.fails()?;
    }
    Ok(())
}

fn cve_2026_41579_dev_symlink_ptmx(ctx: &Ctx) -> Done {
    let outside = ctx.host_dir("dev");
    fs::write(outside.join("ptmx"), "of the host")?;
    let b = ctx.bundle().rw().tweak(|c| c.unmount("/dev"));
    link(&b, "dev", &outside)?;
    b.call("run").run()?;
    same!(fs::read_to_string(outside.join("ptmx")).unwrap_or_default(), "of the host", "ptmx of the host");
    Ok(())
}

fn cve_2026_47766_dev_symlink_devices(ctx: &Ctx) -> Done {
    let outside = ctx.host_dir("dev");
    let b = ctx.bundle().rw().tweak(|c| c.unmount("/dev"));
    link(&b, "dev", &outside)?;
    b.call("run").run()?;
    let made: Vec<_> = fs::read_dir(&outside)?.flatten().map(|e| e.file_name()).collect();
    check!(made.is_empty(), "made on the host: {made:?}");
    Ok(())
}

fn cve_2026_88264_console_symlink(ctx: &Ctx) -> Done {
    // A runtime that takes its terminals from the container's own devpts needs one to get as far as that.
    for pts in [false, true] {
        let canary = Canary::new(ctx);
        let b = ctx.bundle().rw().tweak(|c| {
            c.unmount("/dev");
            if pts {
                c.mount("/dev/pts", "devpts", "devpts", &["newinstance", "ptmxmode=0666", "mode=0620"]);
            }
            c["process"]["terminal"] = json!(true);
        });
        link(&b, "dev/console", canary.dir.join("made"))?;
        crate::tty::Pty::new()?.run(b.call("run"), "", b"")?;
        canary.check()?;
    }
    Ok(())
}

fn cve_2026_88265_dev_null_symlink(ctx: &Ctx) -> Done {
    let canary = Canary::new(ctx);
    without_dev(ctx, &canary, "dev/null", "file")?;
    let b = ctx.bundle().rw().tweak(|c| c.unmount("/dev")).set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let b = b.sh("cat; echo x >&0; true");
    link(&b, "dev/null", canary.dir.join("file"))?;
    let out = b.call("run").run()?;
    check!(!out.out.contains("canary"), "standard input was a file of the host: {:?}", out.out);
    canary.check()
}

fn cve_2023_25173_additional_gids(ctx: &Ctx) -> Done {
    let user = json!({ "uid": 1000, "gid": 1000, "additionalGids": [1000, 2000] });
    let out = ctx.bundle().probe(&["self"]).set("/process/user", user).run()?.ok()?;
    same!(out.field("groups")?, "[1000, 2000]", "groups");
    Ok(())
}

fn exec_cgroup_escape(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let line = |text: &str| {
        let find = |sign: &str| text.lines().find(|l| l.contains(sign)).map(str::to_owned);
        find(":pids:").or_else(|| find("0::")).unwrap_or_default()
    };
    let own = line(&fs::read_to_string(format!("/proc/{}/cgroup", c.pid()?))?);
    if !own.contains(&c.id) {
        skip!("the container has no cgroup here");
    }
    for path in ["..", "../..", "/../../..", "x/../../.."] {
        let out = c.exec_with(&["--cgroup", path], &["/bin/cat", "/proc/self/cgroup"])?;
        check!(out.code != 0 || line(&out.out).contains(&c.id), "--cgroup {path} led to {}", line(&out.out));
    }
    Ok(())
}

fn cve_2025_27612_inheritable_of_process(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let mut p = c.process(&STATUS);
    let caps = json!(["CAP_KILL", "CAP_NET_ADMIN"]);
    p["capabilities"] = json!({ "bounding": caps, "effective": caps, "permitted": caps });
    let out = c.exec_process(&p)?.ok()?;
    same!((out.hex("CapInh")?, out.hex("CapAmb")?), (0, 0), "inheritable and ambient sets");
    check!(out.hex("CapEff")? & (1 << 12) != 0, "the capability wasn't given");
    p["user"] = json!({ "uid": 1000, "gid": 1000 });
    let out = c.exec_process(&p)?.ok()?;
    same!((out.hex("CapInh")?, out.hex("CapAmb")?, out.hex("CapEff")?), (0, 0, 0), "sets of a user");
    Ok(())
}

fn cve_2025_52565_pts_race(ctx: &Ctx) -> Done {
    // /dev is a volume that another container could have, too. What lies beside the terminals leads to a file that
    // is to be masked.
    let volume = ctx.host_dir("dev");
    for name in ["pts", "decoy"] {
        fs::create_dir(volume.join(name))?;
    }
    for n in 0..4 {
        symlink("/etc/data", volume.join(format!("decoy/{n}")))?;
    }
    symlink("pts/ptmx", volume.join("ptmx"))?;
    ctx.program("/usr/bin/mknod").arg(volume.join("null")).args(&["c", "1", "3"]).run()?.ok()?;
    let b = ctx.bundle().rw().tweak(|c| {
        let mounts = c["mounts"].as_array_mut().unwrap();
        let at = mounts.iter().position(|m| m["destination"] == "/dev").unwrap();
        mounts[at] = json!({ "destination": "/dev", "type": "bind", "source": volume, "options": ["bind"] });
        mounts.retain(|m| m["destination"] != "/dev/shm" && m["destination"] != "/dev/mqueue");
        c["process"]["terminal"] = json!(true);
    });
    fs::write(b.rootfs().join("etc/data"), "secret\n")?;
    // The terminal itself would wait for input.
    let script = "[ -c /dev/console ] || cat /dev/console; echo x > /etc/data; cat /etc/data; true";
    let b = b.set("/linux/maskedPaths", json!(["/etc/data"])).sh(script);
    let swapper = Swapper::new(volume.join("pts"), volume.join("decoy"));
    let (mut ran, mut last) = (0, String::new());
    for _ in 0..50 {
        let out = crate::tty::Pty::new()?.run(b.call("run"), "", b"")?;
        last = out.out.clone();
        check!(!out.out.contains("secret"), "the masked file is at /dev/console: {:?}", out.out);
        ran += u32::from(out.code == 0);
        let _ = fs::remove_file(volume.join("console"));
    }
    drop(swapper);
    check!(ran > 0, "no container ran, so that nothing was tried: {last}");
    Ok(())
}

fn cve_2025_52881_sysctl_race(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "77" }));
    let decoy = b.rootfs().join("decoy");
    fs::create_dir_all(decoy.join("sys/net/ipv4"))?;
    fs::write(decoy.join("sys/net/ipv4/ip_default_ttl"), "decoy")?;
    // Even where the write were found out afterwards: it may have gone to any file.
    let swapper = Swapper::new(b.rootfs().join("proc"), decoy);
    let (mut touched, mut ran) = (String::new(), 0);
    for _ in 0..60 {
        ran += u32::from(b.call("run").run()?.code == 0);
        for name in ["proc", "decoy"] {
            if let Ok(text) = fs::read_to_string(b.rootfs().join(name).join("sys/net/ipv4/ip_default_ttl"))
                && text != "decoy"
            {
                touched = text;
            }
        }
        if !touched.is_empty() {
            break;
        }
    }
    drop(swapper);
    check!(touched.is_empty(), "the sysctl was written to a file: {touched:?}");
    check!(ran > 0, "no container ran, so that nothing was tried");
    Ok(())
}

fn cve_2025_62161_dev_null_other_device(ctx: &Ctx) -> Done {
    let b = ctx.bundle().rw().tweak(|c| c.unmount("/dev")).set("/linux/maskedPaths", json!(["/etc/data"]));
    // A node of /dev/zero, which would show as an endless file in place of the masked one.
    ctx.program("/usr/bin/mknod").arg(b.rootfs().join("dev/null")).args(&["c", "1", "5"]).run()?.ok()?;
    let out = b.sh("head -c 4 /etc/data | wc -c").call("run").stdin(b"").run()?;
    if out.code != 0 {
        return out.names(&["/dev/null", "/etc/data"]).map(drop);
    }
    same!(out.line(), "0", "bytes in the masked file");
    Ok(())
}

fn cve_2025_62596_mount_over_attribute(ctx: &Ctx) -> Done {
    let labels = ["self/attr/exec", "1/attr/exec", "thread-self/attr/exec", "1/task/1/attr/exec"];
    for name in ["self/oom_score_adj", "1/oom_score_adj"].into_iter().chain(labels) {
        let file = ctx.host_file("fake", "");
        let b = ctx.bundle().tweak(|c| c.mount(&format!("/proc/{name}"), "bind", file.to_str().unwrap(), &["bind"]));
        let b = match name.ends_with("exec") {
            true => b.set("/process/apparmorProfile", json!("unconfined")),
            false => b.set("/process/oomScoreAdj", json!(5)),
        };
        b.call("run").run()?;
        same!(fs::read_to_string(&file)?, "", "what was mounted over {name}");
    }
    Ok(())
}

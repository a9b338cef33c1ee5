//! What hull does beyond its two peers of Debian 12: newer fields of the specification, options of either peer, and
//! commands of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, wait_for};
use crate::tty::Inbox;

pub(crate) const CASES: &[Case] = &[
    case!(config_option, "--config names another file than config.json"),
    case!(kill_regex, "kill --regex reaches every container that matches, and no other"),
    case!(delete_regex, "delete --regex --force removes every container that matches, and no other"),
    case!(cgroup_manager_disabled, "--cgroup-manager=disabled makes no cgroup"),
    case!(pidfd_socket, "--pidfd-socket receives a pidfd of init"),
    case!(pidfd_socket_exec, "exec --pidfd-socket receives a pidfd of the process"),
    case!(global_options_after, "options of every command may follow the command"),
    case!(kill_anywhere, "whenever create is killed, delete --force clears up and the id can be used again")
        .limit(60)
        .alone(),
    case!(kill_run_anywhere, "whenever run is killed, delete --force clears up").limit(60).alone(),
    case!(two_deletes, "of two deletes at one time neither hangs nor crashes, and nothing is left"),
    case!(poststop_failure_is_a_warning, "delete succeeds with a warning when a poststop hook fails"),
    case!(update_sizes, "update --memory takes 96M"),
    case!(update_newer_options, "update --cpu-burst and --cpu-idle are known"),
    case!(exec_env_replaces, "exec --env replaces a variable of the container, rather than adding a second one"),
    case!(home_empty, "an empty HOME is replaced"),
    case!(isolation_unknown, "an unknown isolation is refused and named, as option and as annotation"),
    case!(scheduler_arguments, "a scheduler with arguments that don't fit its policy is refused"),
    case!(domainname_and_sysctl, "domainname together with the sysctl of the same name is refused"),
    case!(exec_cpu_affinity, "execCPUAffinity binds a process of exec"),
    case!(net_devices, "linux.netDevices moves a device and renames it"),
    case!(memory_policy, "linux.memoryPolicy is set"),
    case!(mount_nofollow, "src-nofollow binds a link itself"),
    case!(mount_copy_symlink, "copy-symlink copies a link instead of following it"),
    case!(mount_recursive_atime, "rnoatime reaches submounts"),
    case!(idmap_without_userns, "a mount is idmapped by mappings of its own, without a user namespace"),
    case!(doctor, "doctor tells of the host, and in JSON too"),
    case!(completion, "completion prints a script for bash, zsh and fish"),
    case!(man, "man prints a page"),
    case!(errors_name_the_field, "errors name the field by its path in config.json"),
    case!(error_once, "an error is one line on standard error"),
    case!(list_knows_broken, "a state directory that was cut short doesn't hinder list, and delete --force removes it"),
];

/// Skips unless the runtime under test is hull.
fn ours(ctx: &Ctx) -> Done {
    if !ctx.is_hull() {
        skip!("hull's own");
    }
    Ok(())
}

fn config_option(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let b = ctx.bundle().sh("exit 3").option("--config").option("other.json");
    fs::write(b.dir.join("other.json"), b.config.to_string())?;
    let b = b.sh("exit 4");
    b.call("run").run()?.code(3)?;
    Ok(())
}

fn kill_regex(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let list = [ctx.bundle().up()?, ctx.bundle().up()?, ctx.bundle().up()?];
    let pattern = format!("^({}|{})$", list[0].id, list[1].id);
    ctx.rt(&["kill", "--regex", &pattern, "KILL"])?.ok()?;
    list[0].wait("stopped")?;
    list[1].wait("stopped")?;
    same!(list[2].status()?, "running", "status of the one that doesn't match");
    Ok(())
}

fn delete_regex(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let list = [ctx.bundle().up()?, ctx.bundle().up()?, ctx.bundle().up()?];
    let pattern = format!("^({}|{})$", list[0].id, list[1].id);
    ctx.rt(&["delete", "--force", "--regex", &pattern])?.ok()?;
    same!(ctx.rt(&["list", "-q"])?.ok()?.line(), list[2].id, "what is left");
    Ok(())
}

fn cgroup_manager_disabled(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let b = ctx.bundle().global("--cgroup-manager=disabled").tweak(|c| {
        c["linux"].as_object_mut().unwrap().remove("resources");
        c.unmount("/sys/fs/cgroup");
    });
    let c = b.up()?;
    same!(host::cgroups_named(&c.id).len(), 0, "cgroups");
    Ok(())
}

/// The process that a pidfd is of.
fn pid_of(fd: &std::os::fd::OwnedFd) -> Result<i32, Stop> {
    use std::os::fd::AsRawFd;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    let line = info.lines().find_map(|l| l.strip_prefix("Pid:")).ok_or("not a pidfd")?;
    Ok(line.trim().parse()?)
}

fn pidfd_socket(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let inbox = Inbox::new(&ctx.host_dir("pidfd"))?;
    let c = ctx.bundle().option("--pidfd-socket").option(inbox.text()).create()?;
    let (_, fds) = inbox.receive(8)?;
    same!(pid_of(&fds[0])?, c.pid()?, "pid");
    Ok(())
}

fn pidfd_socket_exec(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let inbox = Inbox::new(&ctx.host_dir("pidfd"))?;
    let c = ctx.bundle().up()?;
    let file = ctx.host_dir("pid").join("pid");
    let options = ["--detach", "--pid-file", file.to_str().unwrap(), "--pidfd-socket", inbox.text()];
    c.exec_with(&options, &["/bin/sleep", "1000"])?.ok()?;
    let (_, fds) = inbox.receive(8)?;
    same!(pid_of(&fds[0])?.to_string(), fs::read_to_string(&file)?, "pid");
    Ok(())
}

fn global_options_after(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().up()?;
    let out = ctx.program(&ctx.runtime).args(&["list", "-q", "--root"]).arg(&ctx.root).run()?.ok()?;
    same!(out.line(), c.id, "id");
    Ok(())
}

/// Kills `command` after ever longer times; each time `delete --force` must clear all up.
fn killed_anywhere(ctx: &Ctx, command: &str) -> Done {
    let mut after = Duration::from_micros(200);
    let mut finished = 0;
    while finished < 3 {
        let b = ctx.bundle().args(&crate::bundle::STAY).option(if command == "run" { "--detach" } else { "--no-new-keyring" });
        let mut running = b.call(command).spawn()?;
        std::thread::sleep(after);
        if running.child.try_wait()?.is_some() {
            finished += 1;
        }
        running.child.kill()?;
        running.wait()?;
        let out = ctx.rt(&["delete", "--force", &b.id])?;
        check!(out.code == 0, "delete after {after:?}: {}", out.text());
        b.nothing_left().map_err(|e| Stop::Fail(format!("killed after {after:?}: {e:?}")))?;
        let stray = || {
            let ours = host::descendants(std::process::id() as i32);
            ours.into_iter().find(|(_, state)| *state != 'Z')
        };
        wait_for(&format!("the end of every process, killed after {after:?}"), 4, || stray().is_none())?;
        b.call(command).run()?.ok()?;
        ctx.rt(&["delete", "--force", &b.id])?.ok()?;
        after = after * 5 / 4;
    }
    Ok(())
}

fn kill_anywhere(ctx: &Ctx) -> Done {
    ours(ctx)?;
    killed_anywhere(ctx, "create")
}

fn kill_run_anywhere(ctx: &Ctx) -> Done {
    ours(ctx)?;
    killed_anywhere(ctx, "run")
}

fn two_deletes(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for _ in 0..5 {
        let c = ctx.bundle().up()?;
        let one = ctx.call(&["delete", "--force", &c.id]).spawn()?;
        let two = ctx.call(&["delete", "--force", &c.id]).spawn()?;
        let codes = (one.wait()?.code, two.wait()?.code);
        check!(codes.0 == 0 || codes.1 == 0, "both failed");
        ctx.rt(&["state", &c.id])?.code(1)?;
        same!(host::cgroups_named(&c.id).len(), 0, "cgroups left");
    }
    Ok(())
}

fn poststop_failure_is_a_warning(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let b = ctx.bundle().set("/hooks/poststop", json!([{ "path": "/bin/false" }]));
    let c = b.create()?;
    c.start()?;
    c.wait("stopped")?;
    let out = ctx.rt(&["delete", &c.id])?.ok()?;
    check!(out.err.contains("poststop") || out.err.contains("hook"), "no warning: {:?}", out.err);
    Ok(())
}

fn update_sizes(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().up()?;
    let Some(dir) = host::cgroup_dir(c.pid()?, "memory") else { skip!("no cgroup v1 with memory") };
    ctx.rt(&["update", "--memory", "96M", &c.id])?.ok()?;
    same!(fs::read_to_string(dir.join("memory.limit_in_bytes"))?.trim(), "100663296", "limit");
    Ok(())
}

fn update_newer_options(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().up()?;
    let Some(dir) = host::cgroup_dir(c.pid()?, "cpu") else { skip!("no cgroup v1 with cpu") };
    if dir.join("cpu.idle").exists() {
        ctx.rt(&["update", "--cpu-idle", "1", &c.id])?.ok()?;
        same!(fs::read_to_string(dir.join("cpu.idle"))?.trim(), "1", "cpu.idle");
    }
    if dir.join("cpu.cfs_burst_us").exists() {
        ctx.rt(&["update", "--cpu-quota", "50000", "--cpu-burst", "10000", &c.id])?.ok()?;
        same!(fs::read_to_string(dir.join("cpu.cfs_burst_us"))?.trim(), "10000", "cpu.cfs_burst_us");
    }
    Ok(())
}

fn exec_env_replaces(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().set("/process/env", json!(["PATH=/bin", "A=old"])).up()?;
    let out = c.exec_with(&["--env", "A=new"], &["/bin/cat", "/proc/self/environ"])?.ok()?;
    let found: Vec<_> = out.out.split('\0').filter(|e| e.starts_with("A=")).collect();
    same!(found, vec!["A=new"], "variables");
    Ok(())
}

fn home_empty(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let out = ctx.bundle().probe(&["env"]).set("/process/env", json!(["HOME="])).run()?.ok()?;
    same!(out.field("HOME")?, "/root", "HOME");
    Ok(())
}

fn isolation_unknown(ctx: &Ctx) -> Done {
    ours(ctx)?;
    ctx.bundle().option("--isolation").option("nosuch").call("create").run()?.fails()?.names(&["nosuch"])?;
    ctx.bundle().set("/annotations", json!({ "dev.hull.isolation": "nosuch" })).refused(&["nosuch"])?;
    Ok(())
}

fn scheduler_arguments(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for bad in [
        json!({ "policy": "SCHED_NOSUCH" }),
        json!({ "policy": "SCHED_DEADLINE", "runtime": 20, "deadline": 10, "period": 5 }),
        json!({ "policy": "SCHED_OTHER", "nice": 40 }),
        json!({ "policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_NOSUCH"] }),
    ] {
        ctx.bundle().set("/process/scheduler", bad).refused(&["scheduler"])?;
    }
    Ok(())
}

fn domainname_and_sysctl(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let b = ctx.bundle().set("/domainname", json!("one.example"));
    b.set("/linux/sysctl", json!({ "kernel.domainname": "two.example" })).refused(&["domainname"])?;
    Ok(())
}

fn exec_cpu_affinity(ctx: &Ctx) -> Done {
    ours(ctx)?;
    if std::thread::available_parallelism()?.get() < 2 {
        skip!("one CPU");
    }
    let c = ctx.bundle().set("/process/execCPUAffinity", json!({ "initial": "0", "final": "1" })).up()?;
    let out = c.exec(&["/bin/cat", "/proc/self/status"])?.ok()?;
    same!(out.field("Cpus_allowed_list")?, "1", "CPUs of exec");
    let out = c.exec(&["/bin/cat", "/proc/1/status"])?.ok()?;
    check!(out.field("Cpus_allowed_list")? != "1", "init is bound, too");
    Ok(())
}

fn net_devices(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let (name, peer) = (format!("b{}", std::process::id()), format!("p{}", std::process::id()));
    let made = ctx.program("ip").args(&["link", "add", &name, "type", "veth", "peer", "name", &peer]).run()?;
    if made.code != 0 {
        skip!("no veth here: {}", made.err.trim());
    }
    let b = ctx.bundle().tweak(|c| c["linux"]["netDevices"][&name] = json!({ "name": "eth7" }));
    let out = b.args(&["/bin/ls", "/sys/class/net"]).run();
    let _ = ctx.program("ip").args(&["link", "del", &peer]).run();
    let out = out?.ok()?;
    same!(out.out.split_whitespace().collect::<Vec<_>>(), vec!["eth7", "lo"], "interfaces");
    Ok(())
}

fn memory_policy(ctx: &Ctx) -> Done {
    ours(ctx)?;
    if !std::path::Path::new("/proc/self/numa_maps").exists() {
        skip!("a kernel without NUMA");
    }
    let policy = json!({ "mode": "MPOL_BIND", "nodes": "0" });
    let out = ctx.bundle().args(&["/bin/cat", "/proc/self/numa_maps"]).set("/linux/memoryPolicy", policy).run()?.ok()?;
    check!(out.out.contains(" bind:0 "), "policies: {:?}", out.out.lines().next());
    Ok(())
}

fn mount_nofollow(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let dir = ctx.host_dir("source");
    symlink("/etc/data", dir.join("link"))?;
    let source = dir.join("link");
    let b = ctx.bundle().rw().tweak(|c| c.mount("/run/link", "bind", source.to_str().unwrap(), &["bind", "src-nofollow"]));
    same!(b.args(&["/bin/readlink", "/run/link"]).run()?.ok()?.line(), "/etc/data", "link");
    Ok(())
}

fn mount_copy_symlink(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let dir = ctx.host_dir("source");
    symlink("/etc/data", dir.join("link"))?;
    let source = dir.join("link");
    let b = ctx.bundle().rw().tweak(|c| c.mount("/run/link", "bind", source.to_str().unwrap(), &["bind", "copy-symlink"]));
    same!(b.args(&["/bin/readlink", "/run/link"]).run()?.ok()?.line(), "/etc/data", "link");
    Ok(())
}

fn mount_recursive_atime(ctx: &Ctx) -> Done {
    ours(ctx)?;
    host::private_mounts()?;
    let dir = ctx.host_dir("source");
    fs::create_dir(dir.join("sub"))?;
    let sub = dir.join("sub");
    rustix::mount::mount("tmpfs", &sub, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
    let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["rbind", "rnoatime"]));
    let out = b.args(&["/bin/cat", "/proc/self/mountinfo"]).run();
    rustix::mount::unmount(&sub, rustix::mount::UnmountFlags::DETACH)?;
    let m = host::mount_at(&host::parse_mounts(&out?.ok()?.out), "/mnt/sub")?;
    check!(m.has("noatime"), "{m:?}");
    Ok(())
}

fn idmap_without_userns(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let dir = ctx.host_dir("source");
    fs::write(dir.join("f"), "")?;
    crate::ctx::chown(&dir.join("f"), 12);
    let b = ctx.bundle().tweak(|c| {
        c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind"]);
        let last = c["mounts"].as_array_mut().unwrap().last_mut().unwrap();
        last["uidMappings"] = json!([{ "containerID": 0, "hostID": 5000, "size": 1000 }]);
        last["gidMappings"] = json!([{ "containerID": 0, "hostID": 5000, "size": 1000 }]);
    });
    same!(b.args(&["/bin/stat", "-c", "%u:%g", "/mnt/f"]).run()?.ok()?.line(), "5012:5012", "owner");
    Ok(())
}

fn doctor(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let out = ctx.program(&ctx.runtime).arg("doctor").run()?;
    check!(out.code < 128 && out.out.lines().count() > 5, "{}", out.text());
    let json = ctx.program(&ctx.runtime).args(&["doctor", "--json"]).run()?;
    let _: Value = serde_json::from_str(&json.out)?;
    Ok(())
}

fn completion(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for shell in ["bash", "zsh", "fish"] {
        let out = ctx.program(&ctx.runtime).args(&["completion", shell]).run()?.ok()?;
        check!(out.out.contains("--bundle") || out.out.contains("bundle"), "{shell}: {:?}", out.text());
    }
    Ok(())
}

fn man(ctx: &Ctx) -> Done {
    ours(ctx)?;
    check!(ctx.program(&ctx.runtime).arg("man").run()?.ok()?.out.contains(".TH"), "no manual page");
    Ok(())
}

fn errors_name_the_field(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for (pointer, value, field) in [
        ("/process/user/uid", json!("root"), "process.user.uid"),
        ("/process/cwd", json!("etc"), "process.cwd"),
        ("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_NOSUCH" }), "linux.seccomp.defaultAction"),
        ("/linux/rootfsPropagation", json!("nosuch"), "linux.rootfsPropagation"),
        ("/mounts/0/options", json!("ro"), "mounts[0].options"),
        ("/hooks", json!({ "poststop": [{ "path": "rel" }] }), "hooks.poststop[0].path"),
    ] {
        ctx.bundle().set(pointer, value).refused(&[field])?;
    }
    Ok(())
}

fn error_once(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let out = ctx.bundle().args(&["/no/such/program"]).run()?.fails()?;
    same!(out.err.trim().lines().filter(|l| l.contains("/no/such/program")).count(), 1, "lines about it");
    Ok(())
}

fn list_knows_broken(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().up()?;
    let broken = format!("{}-broken", ctx.tag);
    fs::create_dir(ctx.root.join(&broken))?;
    fs::write(ctx.root.join(&broken).join("state.json"), "{\"id\": ")?;
    let out = ctx.rt(&["list", "-q"])?.ok()?;
    check!(out.out.contains(&c.id), "the good one isn't listed: {:?}", out.text());
    ctx.rt(&["delete", "--force", &broken])?.ok()?;
    check!(!ctx.root.join(&broken).exists(), "it is still there");
    Ok(())
}

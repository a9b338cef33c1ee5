//! What hull does beyond its two peers of Debian 12: newer fields of the specification, options of either peer, and
//! commands of its own.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use serde_json::{Value, json};

use crate::bundle::Bundle;
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
        .limit(150)
        .alone(),
    case!(kill_run_anywhere, "whenever run is killed, delete --force clears up").limit(150).alone(),
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
    case!(mount_at_root, "a mount at / takes the place of the root, its files copied to a tmpfs"),
    case!(mount_over_link, "dest-nofollow mounts over a link instead of where it leads"),
    case!(device_of_no_file, "in a user namespace, a device that the host has no file for is made"),
    case!(hook_output, "run.oci.hooks.stdout and stderr take what hooks print"),
    case!(unknown_syscall, "run.oci.seccomp_fail_unknown_syscall refuses an unknown system call"),
    case!(mount_nofollow, "src-nofollow binds a link itself"),
    case!(mount_copy_symlink, "copy-symlink copies a link instead of following it"),
    case!(mount_recursive_atime, "rnoatime reaches submounts"),
    case!(idmap_without_userns, "a mount is idmapped by mappings of its own, without a user namespace"),
    case!(isolation_not_installed, "an isolation that isn't installed is refused by name, by option and by annotation"),
    case!(log_is_one_object, "after a failure of any command the JSON log is one object of level error, warnings or not"),
    case!(two_creates, "of two creates with one id one wins, and the other says so"),
    case!(create_beside_run, "of run and create with one id one wins, and nothing of the loser's is left"),
    case!(default_of_missing_controller, "a value that limits nothing is no error where its controller is missing"),
    case!(limit_of_missing_controller, "a limit whose controller is missing is an error with controller, file and remedy"),
    case!(default_is_told, "a limit that is left out, as a new cgroup has it, is told with --debug"),
    case!(root_is_no_mount_point, "a / that is no mount point works"),
    case!(without_sys_resource, "without CAP_SYS_RESOURCE limits that aren't raised work, and others are refused by name"),
    case!(doctor, "doctor names what the host has and lacks, and what to do, as text and as JSON"),
    case!(completion, "completion prints a script for bash, zsh and fish"),
    case!(man, "man prints a page"),
    case!(errors_name_the_field, "errors name the field by its path in config.json"),
    case!(delete_force_of_held, "delete --force tells which process keeps it from the container, and does not wait for ever"),
    case!(cgroup_of_another, "what took the cgroup that a crashed create never made survives delete --force"),
    case!(cgroup_of_same_name, "a cgroup that was made anew under a stopped container's name survives delete --force"),
    case!(pid_file_before_program, "where the pid file or the pidfd can't be handed out, run fails before the program begins"),
    case!(pid_file_beside_link, "a link at the pid file's temporary name isn't followed"),
    case!(unmounts_its_own, "without a mount namespace, what a container mounted goes with it, and nothing else does"),
    case!(host_root_without_namespace, "a root of / without a mount namespace is refused, and the host's mounts stay"),
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

fn mount_at_root(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let b = ctx.bundle().rw().tweak(|c| {
        let first = json!({ "destination": "/", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"] });
        c["mounts"].as_array_mut().unwrap().insert(0, first);
    });
    let image = b.rootfs();
    let out = b.sh("touch /written && cat /etc/data && awk '$5 == \"/\" { print $(NF - 2) }' /proc/self/mountinfo").run()?.ok()?;
    same!(out.out.lines().collect::<Vec<_>>(), ["data", "tmpfs"], "the file of the image, and the mount at /");
    check!(!image.join("written").exists(), "the write reached the image");
    Ok(())
}

fn mount_over_link(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let file = ctx.host_file("source", "bound");
    let source = file.to_str().unwrap().to_owned();
    let b = ctx.bundle().rw().tweak(|c| c.mount("/link", "bind", &source, &["bind", "dest-nofollow"]));
    symlink("/etc/data", b.rootfs().join("link"))?;
    let out = b.sh("cat /link; cat /etc/data").run()?.ok()?;
    same!(out.out.trim(), "bounddata", "the files");
    Ok(())
}

fn device_of_no_file(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let device = json!({ "path": "/dev/nowhere", "type": "c", "major": 1, "minor": 5, "fileMode": 0o644, "uid": 7, "gid": 8 });
    let b = ctx.bundle().tweak(Edit::userns).set("/linux/devices", json!([device]));
    let out = b.sh("stat -c '%a %u %g' /dev/nowhere; head -c 4 /dev/nowhere | wc -c").run()?.ok()?;
    same!(out.out.lines().collect::<Vec<_>>(), ["644 7 8", "4"], "mode, owner, what it reads");
    Ok(())
}

fn hook_output(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let dir = ctx.host_dir("hooks");
    let file = |name: &str| dir.join(name);
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo out; echo err >&2"] }]);
    let b = ctx.bundle().set("/hooks", json!({ "createRuntime": hook, "createContainer": hook, "poststop": hook }));
    let b = b.set("/annotations", json!({ "run.oci.hooks.stdout": file("o"), "run.oci.hooks.stderr": file("e") }));
    b.run()?.ok()?;
    same!(fs::read_to_string(file("o"))?, "out\n".repeat(3), "output");
    same!(fs::read_to_string(file("e"))?, "err\n".repeat(3), "errors");
    Ok(())
}

fn unknown_syscall(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let list = json!([{ "names": ["no_such_call"], "action": "SCMP_ACT_ERRNO" }]);
    let profile = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": list });
    let b = || ctx.bundle().set("/linux/seccomp", profile.clone());
    b().run()?.ok()?;
    b().set("/annotations", json!({ "run.oci.seccomp_fail_unknown_syscall": "1" })).refused(&["no_such_call"])?;
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
    let json = ctx.program(&ctx.runtime).args(&["doctor", "--json"]).run()?;
    let report: Value = serde_json::from_str(&json.out)?;
    let can_run = report["canRun"].as_bool().ok_or("no canRun")?;
    same!((out.code == 0, json.code == 0), (can_run, can_run), "success of doctor, with text and JSON");
    let findings = report["findings"].as_array().ok_or("no findings")?;
    for subject in ["kernel", "apparmor", "selinux", "capabilities", "namespaces", "user namespaces", "cgroups", "kvm"] {
        check!(findings.iter().any(|f| f["name"] == subject), "nothing about {subject}");
        check!(out.out.contains(subject), "the text has nothing about {subject}");
    }
    for f in findings {
        let name = f["name"].as_str().ok_or("a finding without name")?;
        check!(f["neededFor"].as_str().is_some_and(|t| !t.is_empty()), "{name}: what for?");
        match f["status"].as_str() {
            Some("ok") => {}
            Some("missing" | "limited") => {
                let advice = f["advice"].as_str().unwrap_or_default();
                check!(!advice.is_empty() && out.out.contains(advice), "{name}: no advice, or not in the text");
            }
            other => check!(false, "{name}: status {other:?}"),
        }
    }
    // What root may is told apart from what a user may.
    let user = ctx.program(&ctx.runtime).user(1000).args(&["doctor", "--json"]).run()?;
    let user: Value = serde_json::from_str(&user.out)?;
    check!(user["findings"] != report["findings"], "a user is told the same as root");
    Ok(())
}

fn isolation_not_installed(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for name in ["kernel", "vm"] {
        let b = ctx.bundle().option("--isolation").option(name);
        b.call("create").run()?.fails()?.names(&[&format!("\"{name}\\\" is not installed"), &format!("{name}\" is not installed")])?;
        b.nothing_left()?;
        ctx.bundle().set("/annotations", json!({ "dev.hull.isolation": name })).refused(&["is not installed"])?;
        ctx.call(&["do", "--isolation", name, "--", "/bin/true"]).run()?.fails()?.names(&[name])?;
    }
    ctx.bundle().set("/annotations", json!({ "run.oci.handler": "krun" })).refused(&["is not installed"])?;
    Ok(())
}

fn log_is_one_object(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let up = ctx.bundle().up()?;
    let absent = format!("{}-absent", ctx.tag);
    let warned = |b: crate::bundle::Bundle<'_>| {
        // An unknown capability is a warning.
        let b = b.tweak(|c| c.caps([&["CAP_NO_SUCH"], &["CAP_NO_SUCH"], &["CAP_NO_SUCH"], &[], &[]]));
        b.write();
        (b.dir.to_str().unwrap().to_owned(), b.id)
    };
    let (missing, missing_id) = warned(ctx.bundle().args(&["/no/such/program"]));
    let (refused, refused_id) = warned(ctx.bundle().set("/hooks/createRuntime", json!([{ "path": "/bin/false" }])));
    let (bad, bad_id) = warned(ctx.bundle().set("/process/cwd", json!("relative")));
    for command in [
        &["run", "--bundle", &missing, &missing_id][..],
        &["create", "--bundle", &missing, &missing_id],
        &["create", "--bundle", &refused, &refused_id],
        &["create", "--bundle", &bad, &bad_id],
        &["create", "--bundle", "/no/such/bundle", &absent],
        &["exec", &up.id, "/no/such/program"],
        &["exec", &absent, "/bin/true"],
        &["start", &up.id],
        &["start", &absent],
        &["state", &absent],
        &["kill", &absent, "TERM"],
        &["kill", &up.id, "NOSUCH"],
        &["delete", &up.id],
        &["delete", &absent],
        &["pause", &absent],
        &["resume", &up.id],
        &["ps", &absent],
        &["update", "--pids-limit", "10", &absent],
        &["events", "--stats", &absent],
    ] {
        let log = ctx.host_dir("log").join("log");
        let call = ctx.call(&["--log", log.to_str().unwrap(), "--log-format", "json"]).args(command);
        let out = call.run()?;
        check!(out.code != 0, "{command:?} succeeded");
        let text = fs::read_to_string(&log)?;
        let object: Value = serde_json::from_str(&text).map_err(|e| format!("{command:?}: {e} in {text:?}"))?;
        same!(object["level"], json!("error"), "level after {command:?}");
        let message = object["msg"].as_str().unwrap_or_default();
        check!(!message.is_empty() && object["time"].is_string(), "{command:?}: {text:?}");
        check!(out.err.contains(message), "{command:?}: standard error is {:?}, the log {message:?}", out.err);
    }
    Ok(())
}

fn two_creates(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for _ in 0..8 {
        let (a, mut b) = (ctx.bundle().args(&crate::bundle::STAY), ctx.bundle().args(&crate::bundle::STAY));
        b.id.clone_from(&a.id);
        let (one, two) = (a.call("create").spawn()?, b.call("create").spawn()?);
        let mut ends = [one.wait()?, two.wait()?];
        ends.sort_by_key(|e| e.code);
        let [won, lost] = ends;
        won.ok()?;
        check!(lost.code != 0, "both won");
        check!(lost.err.contains("already exists") && lost.err.contains(&a.id), "the loser said {:?}", lost.err);
        ctx.rt(&["start", &a.id])?.ok()?;
        ctx.rt(&["exec", &a.id, "/bin/true"])?.ok()?;
        ctx.rt(&["delete", "--force", &a.id])?.ok()?;
        a.nothing_left()?;
    }
    Ok(())
}

fn create_beside_run(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for _ in 0..6 {
        let (a, mut b) = (ctx.bundle().args(&crate::bundle::STAY).option("--detach"), ctx.bundle().args(&crate::bundle::STAY));
        b.id.clone_from(&a.id);
        // Each with a cgroup of its own, so that the loser's would be seen.
        b.config["linux"]["cgroupsPath"] = json!(format!("/{}-other", a.id));
        let (one, two) = (a.call("run").spawn()?, b.call("create").spawn()?);
        let (one, two) = (one.wait()?, two.wait()?);
        check!((one.code == 0) != (two.code == 0), "codes {} and {}: {} / {}", one.code, two.code, one.text(), two.text());
        let lost = if one.code == 0 { format!("{}-other", a.id) } else { a.id.clone() };
        let exact = |p: &std::path::PathBuf| p.file_name().is_some_and(|n| n == lost.as_str());
        same!(host::cgroups_named(&a.id).iter().filter(|p| exact(p)).count(), 0, "cgroups of the loser");
        ctx.rt(&["delete", "--force", &a.id])?.ok()?;
        a.nothing_left()?;
    }
    Ok(())
}

/// A field of `linux.resources` that limits something.
struct Limit {
    controller: &'static str,
    pointer: &'static str,
    /// Values that limit nothing.
    idle: Vec<Value>,
    limit: Value,
    /// The file that holds it, in version 1 and 2.
    files: [&'static str; 2],
}

/// Limits whose controller isn't here; skips where every one is.
fn missing_limits() -> Result<Vec<Limit>, Stop> {
    let limit = |controller, pointer, idle: &[Value], limit, files| Limit { controller, pointer, idle: idle.to_vec(), limit, files };
    let mut list = vec![
        limit("memory", "/memory/limit", &[json!(-1), json!(0)], json!(64 << 20), ["memory.limit_in_bytes", "memory.max"]),
        limit("pids", "/pids/limit", &[json!(-1)], json!(20), ["pids.max", "pids.max"]),
        limit("cpu", "/cpu/quota", &[json!(-1), json!(0)], json!(20_000), ["cpu.cfs_quota_us", "cpu.max"]),
        limit("cpu", "/cpu/shares", &[json!(0)], json!(99), ["cpu.shares", "cpu.weight"]),
        limit("cpuset", "/cpu/cpus", &[json!("")], json!("0"), ["cpuset.cpus", "cpuset.cpus"]),
        limit("rdma", "/rdma", &[json!({})], json!({ "mlx5_1": { "hcaHandles": 3 } }), ["rdma.max", "rdma.max"]),
    ];
    list.retain(|l| !host::has_controller(l.controller));
    if list.is_empty() {
        skip!("every controller is there");
    }
    Ok(list)
}

fn default_of_missing_controller(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for Limit { controller, pointer, idle, .. } in missing_limits()? {
        for value in idle {
            let b = ctx.bundle().set(&format!("/linux/resources{pointer}"), value.clone()).sh("exit 3");
            b.run()?.code(3).map_err(|e| Stop::Fail(format!("{controller}, {pointer} = {value}: {e:?}")))?;
        }
    }
    Ok(())
}

fn limit_of_missing_controller(ctx: &Ctx) -> Done {
    ours(ctx)?;
    for Limit { controller, pointer, limit, files, .. } in missing_limits()? {
        let out = ctx.bundle().set(&format!("/linux/resources{pointer}"), limit).refused(&[controller])?;
        check!(files.iter().any(|f| out.err.contains(f)), "no file is named for {pointer}: {}", out.err);
        check!(out.err.contains("remove the limit"), "no remedy is named for {pointer}: {}", out.err);
    }
    Ok(())
}

fn default_is_told(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let b = ctx.bundle().set("/linux/resources/memory/limit", json!(-1)).sh("exit 3");
    let out = b.global("--debug").run()?.code(3)?;
    let told = out.err.lines().any(|l| l.contains("level=debug") && l.contains("linux.resources.memory.limit"));
    check!(told, "standard error is {:?}", out.err);
    Ok(())
}

fn root_is_no_mount_point(ctx: &Ctx) -> Done {
    ours(ctx)?;
    host::private_mounts()?;
    let top = ctx.host_dir("chroot");
    for dir in ["proc", "sys", "dev", "tmp", "run", "bundle"] {
        fs::create_dir(top.join(dir))?;
    }
    fs::copy(&ctx.runtime, top.join("hull"))?;
    crate::ctx::chmod(&top.join("hull"), 0o755);
    crate::bundle::copy_rootfs(&ctx.base, &top.join("bundle/rootfs"))?;
    let b = ctx.bundle().sh("cat /etc/data; mkdir /tmp/x 2>/dev/null || exit 3");
    fs::write(top.join("bundle/config.json"), b.config.to_string())?;
    for dir in ["proc", "sys", "dev"] {
        rustix::mount::mount_bind_recursive(format!("/{dir}"), top.join(dir))?;
    }
    let inside = |args: &[&str]| {
        let path = std::ffi::CString::new(top.to_str().unwrap()).unwrap();
        let call = ctx.program("/hull").args(&["--root", "/tmp/state"]).args(args);
        // SAFETY: the path is valid; plain system calls otherwise.
        call.pre(move || match unsafe { libc::chroot(path.as_ptr()) | libc::chdir(c"/".as_ptr()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
    let out = inside(&["run", "--bundle", "/bundle", &b.id]).run();
    let sandbox = inside(&["do", "--rootfs", "/bundle/rootfs", "--", "/bin/sh", "-c", "cat /etc/data; exit 4"]).run();
    for dir in ["proc", "sys", "dev"] {
        rustix::mount::unmount(top.join(dir), rustix::mount::UnmountFlags::DETACH)?;
    }
    same!(out?.code(3)?.out, "data\n", "output of run");
    same!(sandbox?.code(4)?.out, "data\n", "output of do");
    Ok(())
}

fn without_sys_resource(ctx: &Ctx) -> Done {
    ours(ctx)?;
    // SAFETY: a rlimit is valid memory for getrlimit.
    let limit = |which| unsafe {
        let mut l = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        libc::getrlimit(which, &mut l);
        l.rlim_max
    };
    let files = limit(libc::RLIMIT_NOFILE);
    let score: i32 = fs::read_to_string("/proc/self/oom_score_adj")?.trim().parse()?;
    let run = |files: u64| {
        let limits = json!([
            { "type": "RLIMIT_NOFILE", "hard": files, "soft": 512 },
            { "type": "RLIMIT_NPROC", "hard": limit(libc::RLIMIT_NPROC), "soft": limit(libc::RLIMIT_NPROC) },
            { "type": "RLIMIT_CORE", "hard": 0, "soft": 0 },
        ]);
        let b = ctx.bundle().set("/process/rlimits", limits).set("/process/oomScoreAdj", json!(score)).sh("exit 3");
        b.write();
        let call = ctx.program("/usr/bin/setpriv").args(&["--bounding-set", "-sys_resource"]).arg(&ctx.runtime);
        call.arg("--root").arg(&ctx.root).args(&["run", "--bundle"]).arg(&b.dir).arg(&b.id).run()
    };
    run(files)?.code(3)?;
    if files < 1 << 20 {
        run(files + 1)?.fails()?.names(&["RLIMIT_NOFILE"])?;
    }
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

/// Without a mount namespace, and without what needs one.
fn on_the_hosts_mounts(b: Bundle<'_>) -> Bundle<'_> {
    let mut b = b.tweak(|c| c.leave("mount")).set("/linux/maskedPaths", json!([])).set("/linux/readonlyPaths", json!([]));
    b.config["mounts"] = json!([
        { "destination": "/proc", "type": "proc", "source": "proc" },
        { "destination": "/dev", "type": "tmpfs", "source": "tmpfs" }
    ]);
    b
}

fn unmounts_its_own(ctx: &Ctx) -> Done {
    ours(ctx)?;
    host::private_mounts()?;
    for read_only in [true, false] {
        // Once deleted after its end, once undone as it fails.
        for program in ["/bin/true", "/bin/missing"] {
            let b = on_the_hosts_mounts(ctx.bundle()).set("/root/readonly", json!(read_only)).args(&[program]);
            let volume = b.rootfs().join("volume");
            fs::create_dir(&volume)?;
            rustix::mount::mount("tmpfs", &volume, "tmpfs", rustix::mount::MountFlags::empty(), None)?;
            fs::write(volume.join("f"), "kept")?;
            let out = b.call("run").run()?;
            same!(out.code == 0, program == "/bin/true", "{}", out.text());
            same!(fs::read_to_string(volume.join("f"))?, "kept", "a file in the engine's own mount");
            let below = format!("{}/", b.dir.display());
            let left: Vec<_> = host::mounts("self").into_iter().map(|m| m.target).filter(|t| t.starts_with(&below)).collect();
            same!(left, [volume.to_string_lossy().into_owned()], "mounts left");
            rustix::mount::unmount(&volume, rustix::mount::UnmountFlags::DETACH)?;
        }
    }
    Ok(())
}

fn host_root_without_namespace(ctx: &Ctx) -> Done {
    ours(ctx)?;
    host::private_mounts()?;
    let before = host::mounts("self").len();
    let b = on_the_hosts_mounts(ctx.bundle()).set("/root", json!({ "path": "/", "readonly": false }));
    b.refused(&["root.path"])?;
    same!(host::mounts("self").len(), before, "mounts");
    Ok(())
}

fn cgroup_of_same_name(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().sh("exit 0").up()?;
    c.wait("stopped")?;
    let groups = host::cgroups_named(&c.id);
    check!(!groups.is_empty(), "no cgroup");
    let other = ctx.program("/bin/sleep").arg("100").spawn()?;
    // Some hierarchies are there by several names.
    groups.iter().for_each(|group| drop(fs::remove_dir(group)));
    check!(groups.iter().all(|group| !group.exists()), "the cgroup is still there");
    for group in &groups {
        fs::create_dir_all(group)?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let Ok(value) = fs::read_to_string(group.join("..").join(file))
                && group.to_string_lossy().contains("cpuset")
            {
                fs::write(group.join(file), value)?;
            }
        }
        fs::write(group.join("cgroup.procs"), other.pid().to_string())?;
    }
    c.delete_force()?;
    let alive = host::alive(other.pid());
    host::signal(other.pid(), 9);
    other.wait()?;
    wait_for("the cgroups to be removable", 2, || groups.iter().all(|g| !g.exists() || fs::remove_dir(g).is_ok()))?;
    check!(alive, "another's process was killed");
    ctx.rt(&["state", &c.id])?.fails()?;
    Ok(())
}

fn cgroup_of_another(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().sh("exit 0").up()?;
    c.wait("stopped")?;
    // As a crash between its first two steps leaves it.
    let path = ctx.root.join(&c.id).join("state.json");
    let mut state: Value = serde_json::from_slice(&fs::read(&path)?)?;
    check!(state.get("cgroupPlanned").is_none(), "the cgroup of a container is only planned");
    (state["pid"], state["startTime"], state["cgroupPlanned"]) = (json!(0), json!(0), json!(true));
    let cgroup = &mut state["cgroup"];
    cgroup["v1"].as_array_mut().into_iter().flatten().for_each(|h| h["inode"] = json!(0));
    if let Some(unified) = cgroup.get_mut("unified") {
        unified["inode"] = json!(0);
    }
    fs::write(&path, state.to_string())?;
    let groups = host::cgroups_named(&c.id);
    check!(!groups.is_empty(), "no cgroup");
    let other = ctx.program("/bin/sleep").arg("100").spawn()?;
    for group in &groups {
        fs::write(group.join("cgroup.procs"), other.pid().to_string())?;
    }
    c.delete_force()?;
    check!(host::alive(other.pid()), "another's process was killed");
    check!(!ctx.root.join(&c.id).exists(), "the state directory is left");
    host::signal(other.pid(), libc::SIGKILL);
    other.wait()?;
    wait_for("the cgroups to be removable", 2, || groups.iter().all(|g| !g.exists() || fs::remove_dir(g).is_ok()))?;
    // An empty one goes.
    let c = ctx.bundle().sh("exit 0").up()?;
    c.wait("stopped")?;
    fs::write(ctx.root.join(&c.id).join("state.json"), state.to_string().replace(state["id"].as_str().unwrap(), &c.id))?;
    c.delete_force()?;
    check!(host::cgroups_named(&c.id).is_empty(), "an empty cgroup is left");
    Ok(())
}

fn pid_file_before_program(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let dir = ctx.host_dir("seen");
    for option in ["--pid-file", "--pidfd-socket"] {
        // Often enough for a program that is let go too soon to be seen.
        for _ in 0..10 {
            let b = ctx.bundle().tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind"]));
            let b = b.args(&["/bin/touch", "/mnt/ran"]).option(option).option("/no/such/directory/file");
            b.call("run").run()?.fails()?.names(&["/no/such/directory/file"])?;
            check!(!dir.join("ran").exists(), "{option}: the program ran");
            b.nothing_left()?;
        }
    }
    Ok(())
}

fn pid_file_beside_link(ctx: &Ctx) -> Done {
    use std::os::unix::fs::PermissionsExt;
    ours(ctx)?;
    let dir = ctx.host_dir("pids");
    let other = ctx.host_file("other", "kept");
    symlink(&other, dir.join(".pid"))?;
    let b = ctx.bundle();
    b.call("run").arg("--pid-file").arg(dir.join("pid")).run()?.ok()?;
    same!(fs::read_to_string(other)?, "kept", "the file that the link leads to");
    let pid = fs::symlink_metadata(dir.join("pid"))?;
    same!((pid.is_file(), pid.permissions().mode() & 0o7777), (true, 0o644), "the pid file's kind and mode");
    Ok(())
}

fn delete_force_of_held(ctx: &Ctx) -> Done {
    ours(ctx)?;
    let c = ctx.bundle().up()?;
    let directory = fs::File::open(ctx.root.join(&c.id))?;
    directory.lock()?;
    let mut running = ctx.call(&["delete", "--force", &c.id]).spawn()?;
    let ended = wait_for("the end of delete", 10, || matches!(running.child.try_wait(), Ok(Some(_))));
    if ended.is_err() {
        running.child.kill()?;
    }
    ended?;
    running.wait()?.fails()?.names(&[&format!("process {}", std::process::id())])?;
    drop(directory);
    c.delete_force()
}

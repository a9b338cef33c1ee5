//! `linux.resources` and `cgroupsPath`: limits really in force, update, freezing, statistics, removal.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::Container;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, cgroup_dir, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(member_of_all, "init is in the container's group of every hierarchy"),
    case!(path_absolute, "an absolute cgroupsPath starts from the root of the hierarchies"),
    case!(path_nested, "a nested cgroupsPath is made, and its last part removed"),
    case!(path_absent, "without cgroupsPath there is a group of the container's own"),
    case!(path_dots, "`..` in cgroupsPath doesn't leave the hierarchy"),
    case!(memory_limit, "a memory limit is written"),
    case!(memory_in_force, "a process that exceeds the memory limit is killed"),
    case!(memory_reservation, "a memory reservation is written"),
    case!(memory_swap_below_limit, "a swap limit below the memory limit is refused")
        .theirs("crun", "1.8.1 leaves the groups behind"),
    case!(memory_too_small, "a memory limit too small to start is an error, not a hang"),
    case!(memory_unlimited, "memory limit -1 means none"),
    case!(oom_killer_off, "disableOOMKiller is written"),
    case!(pids_limit, "a pids limit is written"),
    case!(pids_in_force, "fork fails at the pids limit"),
    case!(pids_unlimited, "pids limit -1 means none")
        .theirs("crun", "1.8.1 writes -1"),
    case!(cpu_shares, "cpu shares are written"),
    case!(cpu_quota, "cpu quota and period are written"),
    case!(cpu_in_force, "a process gets no more CPU time than its quota").alone(),
    case!(cpuset, "cpuset.cpus binds the process"),
    case!(cpuset_bad, "a cpuset that doesn't exist is an error")
        .theirs("crun", "1.8.1 leaves the groups behind"),
    case!(blkio_throttle, "a block device throttle is written"),
    case!(limits_for_exec, "a process of exec is under the same limits"),
    case!(limits_before_start, "limits are in force before the program starts"),
    case!(devices_denied, "a device that no rule allows can't be opened"),
    case!(devices_default, "the default devices can be opened under deny-all"),
    case!(devices_allowed, "a rule allows a device"),
    case!(devices_mknod, "a rule with m allows mknod and no more"),
    case!(devices_read_only, "a rule with r allows reading alone"),
    case!(devices_wildcard, "a rule for all minors of a major holds"),
    case!(devices_last_wins, "of several rules the last one holds"),
    case!(devices_bad_type, "an unknown device type in a rule is refused")
        .theirs("crun", "1.8.1 leaves the groups behind"),
    case!(update_memory, "update --memory changes the limit"),
    case!(update_pids, "update --pids-limit changes the limit"),
    case!(update_cpu, "update --cpu-quota, --cpu-period and --cpu-share change the limits"),
    case!(update_cpuset, "update --cpuset-cpus changes the CPUs"),
    case!(update_document, "update --resources FILE takes a document"),
    case!(update_stdin, "update --resources - reads standard input"),
    case!(update_keeps_others, "update leaves alone what it isn't told"),
    case!(update_bad, "update with a value that can't be is an error"),
    case!(update_created, "update works on a created container"),
    case!(update_stopped, "update of a stopped container fails")
        .theirs("crun", "1.8.1 writes to the group all the same"),
    case!(update_in_force, "a lowered pids limit is in force at once"),
    case!(frozen, "pause freezes the group"),
    case!(frozen_before, "a group that is frozen already is refused")
        .theirs("crun", "1.8.1 waits for ever"),
    case!(in_use, "a group that another container is in is refused, and that container lives on")
        .theirs("crun", "1.8.1 shares it").theirs("runc", "1.1.5 shares it with a warning"),
    case!(removed, "delete removes the group from every hierarchy"),
    case!(removed_with_children, "delete removes groups that the container made below its own"),
    case!(removed_after_failure, "a failed create removes the group"),
    case!(seen_inside, "the mount of cgroups shows the container's group as the root"),
    case!(seen_readonly, "the mount of cgroups can't be written to"),
    case!(stats, "events --stats tells memory, pids and CPU").theirs("crun", "1.8.1 has no events"),
    case!(stats_stream, "events --interval prints again and again").theirs("crun", "1.8.1 has no events"),
    case!(oom_event, "events tells of a kill for lack of memory").theirs("crun", "1.8.1 has no events"),
    case!(exec_at_the_limit, "exec needs no more room below the pids limit than its one process")
        .theirs("runc", "1.1.5 has many threads"),
    case!(unified_on_v1, "linux.resources.unified is refused where there is no cgroup v2")
        .theirs("crun", "1.8.1 leaves the groups behind"),
];

/// The container's directory in the hierarchy of this controller; skips where it isn't version 1.
fn dir(c: &Container, controller: &str) -> Result<PathBuf, Stop> {
    match cgroup_dir(c.pid()?, controller) {
        Some(dir) => Ok(dir),
        None => skip!("no cgroup v1 with {controller} in this view"),
    }
}

fn need(controller: &str) -> Done {
    if cgroup_dir(std::process::id() as i32, controller).is_none() {
        skip!("no cgroup v1 with {controller} in this view");
    }
    Ok(())
}

/// The content of a file in the container's group.
fn file(c: &Container, controller: &str, name: &str) -> Result<String, Stop> {
    let path = dir(c, controller)?.join(name);
    let text = fs::read_to_string(&path).map_err(|e| Stop::Fail(format!("{}: {e}", path.display())))?;
    Ok(text.trim().to_owned())
}

fn up_with<'a>(ctx: &'a Ctx, pointer: &str, value: Value) -> Result<Container<'a>, Stop> {
    need(match pointer.split('/').next().unwrap_or_default() {
        "blockIO" => "blkio",
        "network" => "net_cls",
        "hugepageLimits" => "hugetlb",
        other => other,
    })?;
    ctx.bundle().set(&format!("/linux/resources/{pointer}"), value).up()
}

const MB: i64 = 1 << 20;

fn member_of_all(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for line in fs::read_to_string(format!("/proc/{}/cgroup", c.pid()?))?.lines() {
        let shown = host::hierarchies().iter().any(|h| match line.split(':').nth(1) {
            Some("") | None => h.v2,
            Some(names) => names.split(',').any(|n| h.controllers.iter().any(|c| c == n)),
        });
        check!(!shown || line.ends_with(&format!("/{}", c.id)), "init is in {line}");
    }
    Ok(())
}

fn path_absolute(ctx: &Ctx) -> Done {
    need("pids")?;
    let c = ctx.bundle().up()?;
    let pids = host::hierarchies().into_iter().find(|h| h.controllers.iter().any(|c| c == "pids")).unwrap();
    same!(dir(&c, "pids")?, pids.at.join(&c.id), "directory");
    Ok(())
}

fn path_nested(ctx: &Ctx) -> Done {
    need("pids")?;
    let b = ctx.bundle();
    let path = format!("/{}-outer/middle/inner", b.id);
    let c = b.set("/linux/cgroupsPath", json!(path)).up()?;
    let inner = dir(&c, "pids")?;
    check!(inner.ends_with(path.trim_start_matches('/')), "init is in {inner:?}");
    c.delete_force()?;
    check!(!inner.exists(), "{inner:?} is still there");
    crate::ctx::remove_cgroups(&ctx.tag);
    Ok(())
}

fn path_absent(ctx: &Ctx) -> Done {
    need("pids")?;
    let b = ctx.bundle().tweak(|c| {
        c["linux"].as_object_mut().unwrap().remove("cgroupsPath");
    });
    let c = b.up()?;
    let group = dir(&c, "pids")?;
    check!(group.to_string_lossy().contains(&c.id), "init is in {group:?}");
    c.delete_force()?;
    check!(!group.exists(), "{group:?} is still there");
    Ok(())
}

fn path_dots(ctx: &Ctx) -> Done {
    need("pids")?;
    let b = ctx.bundle();
    let path = format!("/../../../{}", b.id);
    let b = b.set("/linux/cgroupsPath", json!(path)).args(&["/bin/sleep", "1000"]);
    let out = b.try_create()?;
    if out.code != 0 {
        out.fails()?;
        return b.nothing_left();
    }
    let state: Value = serde_json::from_str(&ctx.rt(&["state", &b.id])?.ok()?.out)?;
    let dir = cgroup_dir(state["pid"].as_i64().unwrap_or(0) as i32, "pids").unwrap_or_default();
    check!(dir.ends_with(&b.id) && !dir.to_string_lossy().contains(".."), "init is in {dir:?}");
    Ok(())
}

fn memory_limit(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "memory/limit", json!(64 * MB))?;
    same!(file(&c, "memory", "memory.limit_in_bytes")?, (64 * MB).to_string(), "limit");
    Ok(())
}

fn memory_in_force(ctx: &Ctx) -> Done {
    need("memory")?;
    let b = ctx.bundle().probe(&["eat", "120"]).set("/linux/resources/memory", json!({ "limit": 48 * MB, "swap": 48 * MB }));
    let out = b.run()?.code(137)?;
    let ate = out.out.lines().count();
    check!((10..=48).contains(&ate), "ate {ate} MB");
    Ok(())
}

fn memory_reservation(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "memory", json!({ "limit": 64 * MB, "reservation": 32 * MB }))?;
    same!(file(&c, "memory", "memory.soft_limit_in_bytes")?, (32 * MB).to_string(), "reservation");
    Ok(())
}

fn memory_swap_below_limit(ctx: &Ctx) -> Done {
    need("memory")?;
    let b = ctx.bundle().set("/linux/resources/memory", json!({ "limit": 64 * MB, "swap": 32 * MB }));
    b.refused(&["memory", "swap"])?;
    Ok(())
}

fn memory_too_small(ctx: &Ctx) -> Done {
    need("memory")?;
    let b = ctx.bundle().set("/linux/resources/memory", json!({ "limit": 4096, "swap": 4096 }));
    b.run()?.fails()?;
    Ok(())
}

fn memory_unlimited(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "memory/limit", json!(-1))?;
    let limit: u64 = file(&c, "memory", "memory.limit_in_bytes")?.parse()?;
    check!(limit > 1 << 60, "limit is {limit}");
    Ok(())
}

fn oom_killer_off(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "memory/disableOOMKiller", json!(true))?;
    check!(file(&c, "memory", "memory.oom_control")?.contains("oom_kill_disable 1"), "oom_control isn't set");
    Ok(())
}

fn pids_limit(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "pids/limit", json!(20))?;
    same!(file(&c, "pids", "pids.max")?, "20", "pids.max");
    Ok(())
}

fn pids_in_force(ctx: &Ctx) -> Done {
    need("pids")?;
    let b = ctx.bundle().probe(&["forks", "30"]).set("/linux/resources/pids/limit", json!(10));
    let out = b.run()?.ok()?;
    same!(out.field("errno")?, "11", "errno of fork");
    let children: u32 = out.field("children")?.parse()?;
    check!((1..10).contains(&children), "{children} children");
    Ok(())
}

fn pids_unlimited(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "pids/limit", json!(-1))?;
    same!(file(&c, "pids", "pids.max")?, "max", "pids.max");
    Ok(())
}

fn cpu_shares(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "cpu/shares", json!(512))?;
    same!(file(&c, "cpu", "cpu.shares")?, "512", "cpu.shares");
    Ok(())
}

fn cpu_quota(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "cpu", json!({ "quota": 20_000, "period": 50_000 }))?;
    same!(file(&c, "cpu", "cpu.cfs_quota_us")?, "20000", "quota");
    same!(file(&c, "cpu", "cpu.cfs_period_us")?, "50000", "period");
    Ok(())
}

fn cpu_in_force(ctx: &Ctx) -> Done {
    need("cpu")?;
    let b = ctx.bundle().sh("while :; do :; done").set("/linux/resources/cpu", json!({ "quota": 5000, "period": 100_000 }));
    let c = b.up()?;
    let throttled = || {
        let stat = file(&c, "cpu", "cpu.stat").unwrap_or_default();
        stat.lines().any(|l| l.strip_prefix("nr_throttled ").is_some_and(|n| n != "0"))
    };
    wait_for("the group to be throttled", 15, throttled)
}

fn cpuset(ctx: &Ctx) -> Done {
    need("cpuset")?;
    let b = ctx.bundle().args(&["/bin/cat", "/proc/self/status"]).set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" }));
    same!(b.run()?.ok()?.field("Cpus_allowed_list")?, "0", "CPUs");
    Ok(())
}

fn cpuset_bad(ctx: &Ctx) -> Done {
    need("cpuset")?;
    ctx.bundle().set("/linux/resources/cpu", json!({ "cpus": "0-4000" })).refused(&["cpuset", "cpus"])?;
    Ok(())
}

fn blkio_throttle(ctx: &Ctx) -> Done {
    need("blkio")?;
    use std::os::unix::fs::MetadataExt;
    let device = fs::metadata(&ctx.dir)?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let disk = format!("/sys/dev/block/{major}:{minor}");
    if !std::path::Path::new(&disk).exists() || std::path::Path::new(&disk).join("partition").exists() {
        skip!("no whole disk under {}", ctx.dir.display());
    }
    let rule = json!([{ "major": major, "minor": minor, "rate": 1_048_576 }]);
    let c = up_with(ctx, "blockIO/throttleReadBpsDevice", rule)?;
    same!(file(&c, "blkio", "blkio.throttle.read_bps_device")?, format!("{major}:{minor} 1048576"), "throttle");
    Ok(())
}

fn limits_for_exec(ctx: &Ctx) -> Done {
    need("pids")?;
    let c = up_with(ctx, "pids/limit", json!(10))?;
    let out = c.exec(&["/bin/hull-probe", "forks", "30"])?.ok()?;
    same!(out.field("errno")?, "11", "errno of fork");
    Ok(())
}

fn limits_before_start(ctx: &Ctx) -> Done {
    need("pids")?;
    let c = ctx.bundle().set("/linux/resources/pids/limit", json!(20)).create()?;
    same!(file(&c, "pids", "pids.max")?, "20", "pids.max of a created container");
    Ok(())
}

/// A bundle that can mknod, has these device rules, and runs a script.
fn with_devices<'a>(ctx: &'a Ctx, rules: &[Value], script: &str) -> Result<crate::bundle::Bundle<'a>, Stop> {
    let caps = &["CAP_MKNOD"][..];
    let mut all = vec![json!({ "allow": false, "access": "rwm" })];
    all.extend_from_slice(rules);
    Ok(ctx.bundle().sh(script).tweak(|c| c.caps([caps, caps, caps, &[], &[]])).set("/linux/resources/devices", all.into()))
}

fn devices_denied(ctx: &Ctx) -> Done {
    // The nodes are made on the host, so that only opening them is at stake.
    let b = with_devices(ctx, &[], "for d in kmsg dead; do hull-probe open /run/$d r; done")?;
    for (name, minor) in [("kmsg", "11"), ("dead", "250")] {
        ctx.program("/bin/mknod").arg(b.rootfs().join("run").join(name)).args(&["c", "1", minor]).run()?.ok()?;
    }
    same!(b.run()?.ok()?.out, "errno 1\nerrno 1\n", "errnos");
    Ok(())
}

fn devices_default(ctx: &Ctx) -> Done {
    let script = "for d in null zero full random urandom tty; do hull-probe open /dev/$d r | sed s/^/$d-/; done";
    let out = with_devices(ctx, &[], script)?.run()?.ok()?;
    for d in ["null", "zero", "full", "random", "urandom"] {
        same!(out.field(&format!("{d}-errno"))?, "0", "errno of {d}");
    }
    // Without a controlling terminal the device itself answers ENXIO.
    same!(out.field("tty-errno")?, "6", "errno of tty");
    Ok(())
}

fn devices_allowed(ctx: &Ctx) -> Done {
    // No driver serves 1:250, so that opening it gives ENXIO once it is allowed.
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 250, "access": "rwm" });
    let b = with_devices(ctx, &[rule], "mknod /dev/k c 1 250 && hull-probe open /dev/k r")?;
    same!(b.run()?.ok()?.line(), "errno 6", "errno of a device that no driver serves");
    Ok(())
}

fn devices_mknod(ctx: &Ctx) -> Done {
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 250, "access": "m" });
    let b = with_devices(ctx, &[rule], "mknod /dev/k c 1 250 && hull-probe open /dev/k r")?;
    same!(b.run()?.ok()?.line(), "errno 1", "errno of open");
    Ok(())
}

fn devices_read_only(ctx: &Ctx) -> Done {
    let rule = json!({ "allow": true, "type": "c", "major": 1, "minor": 250, "access": "rm" });
    let b = with_devices(ctx, &[rule], "mknod /dev/k c 1 250; hull-probe open /dev/k r; hull-probe open /dev/k w")?;
    same!(b.run()?.ok()?.out, "errno 6\nerrno 1\n", "errno of reading and of writing");
    Ok(())
}

fn devices_wildcard(ctx: &Ctx) -> Done {
    let rule = json!({ "allow": true, "type": "c", "major": 1, "access": "rwm" });
    let script = "mknod /dev/k c 1 250 && hull-probe open /dev/k r; mknod /dev/l c 10 250; hull-probe open /dev/l r";
    same!(with_devices(ctx, &[rule], script)?.run()?.ok()?.out, "errno 6\nerrno 1\n", "errnos");
    Ok(())
}

fn devices_last_wins(ctx: &Ctx) -> Done {
    let allow = json!({ "allow": true, "type": "c", "major": 1, "minor": 250, "access": "rwm" });
    let deny = json!({ "allow": false, "type": "c", "major": 1, "minor": 250, "access": "rwm" });
    let b = with_devices(ctx, &[allow, deny], "mknod /dev/k c 1 250; hull-probe open /dev/k r")?;
    same!(b.run()?.ok()?.line(), "errno 1", "errno of open");
    Ok(())
}

fn devices_bad_type(ctx: &Ctx) -> Done {
    let rule = json!({ "allow": true, "type": "nosuch", "major": 1, "minor": 3, "access": "rwm" });
    with_devices(ctx, &[rule], "true")?.refused(&["device", "nosuch"])?;
    Ok(())
}

fn update(c: &Container, options: &[&str]) -> Done {
    let mut args = vec!["update"];
    args.extend(options);
    args.push(&c.id);
    c.ctx.rt(&args)?.ok().map(drop)
}

fn update_memory(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "memory/limit", json!(64 * MB))?;
    dir(&c, "memory")?;
    update(&c, &["--memory", &(96 * MB).to_string()])?;
    same!(file(&c, "memory", "memory.limit_in_bytes")?, (96 * MB).to_string(), "limit");
    Ok(())
}

fn update_pids(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "pids/limit", json!(20))?;
    dir(&c, "pids")?;
    update(&c, &["--pids-limit", "30"])?;
    same!(file(&c, "pids", "pids.max")?, "30", "pids.max");
    Ok(())
}

fn update_cpu(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "cpu", json!({ "shares": 100 }))?;
    dir(&c, "cpu")?;
    update(&c, &["--cpu-quota", "30000", "--cpu-period", "60000", "--cpu-share", "200"])?;
    same!(file(&c, "cpu", "cpu.cfs_quota_us")?, "30000", "quota");
    same!(file(&c, "cpu", "cpu.cfs_period_us")?, "60000", "period");
    same!(file(&c, "cpu", "cpu.shares")?, "200", "shares");
    Ok(())
}

fn update_cpuset(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    dir(&c, "cpuset")?;
    update(&c, &["--cpuset-cpus", "0"])?;
    same!(file(&c, "cpuset", "cpuset.cpus")?, "0", "cpus");
    Ok(())
}

const DOCUMENT: &str = r#"{"memory": {"limit": 100663296}, "pids": {"limit": 33}, "cpu": {"shares": 300}}"#;

fn check_document(c: &Container) -> Done {
    same!(file(c, "memory", "memory.limit_in_bytes")?, (96 * MB).to_string(), "memory limit");
    same!(file(c, "cpu", "cpu.shares")?, "300", "shares");
    same!(file(c, "pids", "pids.max")?, "33", "pids.max");
    Ok(())
}

fn update_document(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    dir(&c, "memory")?;
    update(&c, &["--resources", ctx.host_file("r.json", DOCUMENT).to_str().unwrap()])?;
    check_document(&c)
}

fn update_stdin(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    dir(&c, "memory")?;
    ctx.call(&["update", "--resources", "-", &c.id]).stdin(DOCUMENT.as_bytes()).run()?.ok()?;
    check_document(&c)
}

fn update_keeps_others(ctx: &Ctx) -> Done {
    need("memory")?;
    need("pids")?;
    need("cpu")?;
    let c = ctx.bundle().set("/linux/resources/pids/limit", json!(20)).set("/linux/resources/memory/limit", json!(64 * MB)).up()?;
    update(&c, &["--cpu-share", "200"])?;
    same!(file(&c, "pids", "pids.max")?, "20", "pids.max");
    same!(file(&c, "memory", "memory.limit_in_bytes")?, (64 * MB).to_string(), "memory limit");
    Ok(())
}

fn update_bad(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    dir(&c, "cpuset")?;
    ctx.rt(&["update", "--cpuset-cpus", "0-4000", &c.id])?.fails()?;
    ctx.call(&["update", "--resources", "-", &c.id]).stdin(b"{").run()?.fails()?;
    same!(c.status()?, "running", "status");
    Ok(())
}

fn update_created(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    dir(&c, "pids")?;
    update(&c, &["--pids-limit", "30"])?;
    same!(file(&c, "pids", "pids.max")?, "30", "pids.max");
    Ok(())
}

fn update_stopped(ctx: &Ctx) -> Done {
    let c = ctx.bundle().create()?;
    c.start()?;
    c.wait("stopped")?;
    ctx.rt(&["update", "--pids-limit", "30", &c.id])?.fails()?;
    Ok(())
}

fn update_in_force(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    dir(&c, "pids")?;
    update(&c, &["--pids-limit", "8"])?;
    same!(c.exec(&["/bin/hull-probe", "forks", "30"])?.ok()?.field("errno")?, "11", "errno of fork");
    Ok(())
}

fn frozen(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let state = dir(&c, "freezer")?.join("freezer.state");
    c.pause()?;
    same!(fs::read_to_string(&state)?.trim(), "FROZEN", "freezer.state");
    c.resume()?;
    same!(fs::read_to_string(&state)?.trim(), "THAWED", "freezer.state");
    Ok(())
}

fn frozen_before(ctx: &Ctx) -> Done {
    need("freezer")?;
    let b = ctx.bundle();
    for h in host::hierarchies().iter().filter(|h| h.controllers.iter().any(|c| c == "freezer")) {
        fs::create_dir(h.at.join(&b.id))?;
        fs::write(h.at.join(&b.id).join("freezer.state"), "FROZEN")?;
    }
    let refused = b.create_fails_within(5);
    crate::ctx::remove_cgroups(&ctx.tag);
    refused
}

fn in_use(ctx: &Ctx) -> Done {
    need("pids")?;
    let first = ctx.bundle().up()?;
    for command in ["create", "run"] {
        let second = ctx.bundle().set("/linux/cgroupsPath", json!(format!("/{}", first.id)));
        second.call(command).run()?.fails()?;
        same!(first.status()?, "running", "state of the first container after {command}");
    }
    first.sh("true")?.ok()?;
    Ok(())
}

fn removed(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    check!(!host::cgroups_named(&c.id).is_empty(), "there is no group");
    c.delete_force()?;
    same!(host::cgroups_named(&c.id), Vec::<PathBuf>::new(), "groups left");
    Ok(())
}

fn removed_with_children(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for dir in host::cgroups_named(&c.id) {
        fs::create_dir_all(dir.join("child/grandchild"))?;
    }
    c.delete_force()?;
    same!(host::cgroups_named(&c.id), Vec::<PathBuf>::new(), "groups left");
    Ok(())
}

fn removed_after_failure(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/no/such/program"]);
    b.call("run").run()?.fails()?;
    b.nothing_left()
}

fn seen_inside(ctx: &Ctx) -> Done {
    need("pids")?;
    let c = ctx.bundle().set("/linux/resources/pids/limit", json!(77)).up()?;
    same!(c.sh("cat /sys/fs/cgroup/pids/pids.max")?.ok()?.line(), "77", "pids.max seen inside");
    Ok(())
}

fn seen_readonly(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let script = "for f in $(find /sys/fs/cgroup -name cgroup.procs); do echo 0 > $f && echo wrote $f; done; true";
    let out = c.sh(script)?.ok()?;
    check!(!out.out.contains("wrote"), "{}", out.out);
    check!(out.err.contains("Read-only"), "there was nothing to write to: {}", out.text());
    Ok(())
}

fn stats(ctx: &Ctx) -> Done {
    need("memory")?;
    need("pids")?;
    let c = ctx.bundle().set("/linux/resources/pids/limit", json!(77)).up()?;
    let event: Value = serde_json::from_str(&ctx.rt(&["events", "--stats", &c.id])?.ok()?.out)?;
    same!(event["type"], json!("stats"), "type");
    same!(event["id"], json!(c.id), "id");
    same!(event["data"]["pids"]["current"], json!(1), "pids.current");
    same!(event["data"]["pids"]["limit"], json!(77), "pids.limit");
    check!(event["data"]["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0), "memory is {}", event["data"]["memory"]);
    check!(event["data"]["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 0), "cpu is {}", event["data"]["cpu"]);
    Ok(())
}

fn stats_stream(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let running = ctx.call(&["events", "--interval", "100ms", &c.id]).spawn()?;
    wait_for("three lines", 5, || running.so_far().lines().count() >= 3)?;
    host::signal(running.pid(), libc::SIGKILL);
    running.wait()?;
    Ok(())
}

fn oom_event(ctx: &Ctx) -> Done {
    need("memory")?;
    let c = ctx
        .bundle()
        .set("/linux/resources/memory", json!({ "limit": 48 * MB, "swap": 48 * MB }))
        .tweak(|c| c.mount("/run", "tmpfs", "tmpfs", &[]))
        .sh("while :; do until [ -e /run/go ]; do sleep 0.1; done; rm /run/go; hull-probe eat 120; done")
        .up()?;
    let running = ctx.call(&["events", "--interval", "1h", &c.id]).spawn()?;
    // What happens before `events` listens is lost; so it happens again.
    wait_for("an event of type oom", 15, || {
        let _ = c.sh("touch /run/go; while [ -e /run/go ]; do sleep 0.1; done");
        running.so_far().contains("\"oom\"")
    })
}

fn unified_on_v1(ctx: &Ctx) -> Done {
    if host::hierarchies().iter().any(|h| h.v2) {
        skip!("there is cgroup v2 in this view");
    }
    ctx.bundle().set("/linux/resources/unified", json!({ "pids.max": "10" })).refused(&["unified"])?;
    Ok(())
}

fn exec_at_the_limit(ctx: &Ctx) -> Done {
    let c = up_with(ctx, "pids/limit", json!(2))?;
    for _ in 0..3 {
        c.exec(&["/bin/true"])?.ok()?;
    }
    Ok(())
}

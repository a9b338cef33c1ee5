//! `linux.resources` under a pure cgroup v2 tree whose controllers are at hand, as `tests/vm` has them.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::bundle::Container;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, wait_for};

pub(crate) const CASES: &[Case] = &[
    case!(memory, "memory.limit, reservation and swap become memory.max, memory.low and memory.swap.max"),
    case!(memory_unlimited, "memory limit and swap -1 mean max"),
    case!(memory_in_force, "a process that exceeds memory.max is killed"),
    case!(memory_too_small, "a memory limit too small to start is an error, not a hang"),
    case!(oom_event, "events tells of a kill for lack of memory").theirs("crun", "1.8.1 has no events"),
    case!(pids, "pids.limit becomes pids.max and is in force"),
    case!(pids_unlimited, "pids limit -1 means max"),
    case!(cpu_weight, "cpu.shares become cpu.weight: none, least, default, most"),
    case!(cpu_max, "cpu.quota and cpu.period become cpu.max"),
    case!(cpu_quota_alone, "a quota without a period is one of 100 ms"),
    case!(cpu_in_force, "a process that wants more CPU time than its quota is held up"),
    case!(cpu_idle, "cpu.idle is written").theirs("runc", "1.1.5 leaves it alone"),
    case!(cpu_burst, "cpu.burst becomes cpu.max.burst")
        .theirs("runc", "1.1.5 leaves it alone")
        .theirs("crun", "1.8.1 leaves it alone"),
    case!(cpuset, "cpuset.cpus and cpuset.mems bind the process"),
    case!(cpuset_bad, "a cpuset that doesn't exist is an error and leaves nothing")
        .theirs("crun", "1.8.1 leaves the group behind"),
    case!(unified, "linux.resources.unified is written as it is"),
    case!(unified_unknown, "a file of linux.resources.unified that is missing is an error that names it")
        .theirs("crun", "1.8.1 leaves the group behind"),
    case!(unified_outside, "a name in linux.resources.unified that leads out of the group is refused")
        .theirs("crun", "1.8.1 leaves the group behind"),
    case!(unified_wins, "linux.resources.unified wins over the fields that mean the same"),
    case!(devices, "the device filter is in force, for exec too"),
    case!(limits_before_start, "limits are in force before the program starts"),
    case!(limits_for_exec, "a process of exec is under the same limits"),
    case!(update, "update changes memory.max, pids.max, cpu.max and cpu.weight"),
    case!(update_keeps_others, "update leaves alone what it isn't told"),
    case!(update_devices_stay, "update leaves the device filter in force"),
    case!(frozen, "pause and resume write cgroup.freeze"),
    case!(frozen_before, "a group that is frozen already is refused").theirs("crun", "1.8.1 waits for ever"),
    case!(in_use, "a group that another container is in is refused, and that container lives on")
        .theirs("crun", "1.8.1 shares it")
        .theirs("runc", "1.1.5 shares it with a warning"),
    case!(killed_all, "delete --force ends every process of the group, those that share the host's PID namespace too")
        .theirs("runc", "1.1.5 leaves the group behind"),
    case!(delegated, "delete removes groups that the container made below its own"),
    case!(namespace, "in a cgroup namespace of its own the group is the root, and can be delegated to"),
    case!(exec_beside, "exec goes where init went, when the container's group hands on a controller and takes no process"),
    case!(whole_tree, "without a cgroup namespace the whole tree is seen"),
    case!(stats, "events --stats tells memory, pids, CPU and pressure").theirs("crun", "1.8.1 has no events"),
    case!(v1_only, "what only cgroup v1 has is refused by its field")
        .theirs("runc", "1.1.5 leaves it out in silence")
        .theirs("crun", "1.8.1 leaves it out in silence"),
];

const MB: i64 = 1 << 20;

/// Where the cgroup v2 tree is mounted; skips where another hierarchy has controllers or this one lacks one of these.
fn tree(controllers: &[&str]) -> Result<PathBuf, Stop> {
    let all = host::hierarchies();
    let Some(h) = all.iter().find(|h| h.v2 && all.len() == 1) else { skip!("this view is no pure cgroup v2 tree") };
    let have = fs::read_to_string(h.at.join("cgroup.subtree_control"))?;
    for wanted in controllers {
        if !have.split_whitespace().any(|c| c == *wanted) {
            skip!("cgroup v2 without the controller {wanted}");
        }
    }
    Ok(h.at.clone())
}

fn dir(c: &Container) -> Result<PathBuf, Stop> {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", c.pid()?))?;
    let path = text.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or_default().to_owned();
    Ok(tree(&[])?.join(path))
}

fn file(c: &Container, name: &str) -> Result<String, Stop> {
    let path = dir(c)?.join(name);
    let text = fs::read_to_string(&path).map_err(|e| Stop::Fail(format!("{}: {e}", path.display())))?;
    Ok(text.trim().to_owned())
}

fn up_with<'a>(ctx: &'a Ctx, pointer: &str, value: Value) -> Result<Container<'a>, Stop> {
    ctx.bundle().set(&format!("/linux/resources/{pointer}"), value).up()
}

fn memory(ctx: &Ctx) -> Done {
    tree(&["memory"])?;
    let c = up_with(ctx, "memory", json!({ "limit": 64 * MB, "reservation": 32 * MB, "swap": 96 * MB }))?;
    same!(file(&c, "memory.max")?, (64 * MB).to_string(), "memory.max");
    same!(file(&c, "memory.low")?, (32 * MB).to_string(), "memory.low");
    // config.json counts memory and swap together.
    same!(file(&c, "memory.swap.max")?, (32 * MB).to_string(), "memory.swap.max");
    Ok(())
}

fn memory_unlimited(ctx: &Ctx) -> Done {
    tree(&["memory"])?;
    let c = up_with(ctx, "memory", json!({ "limit": -1, "swap": -1 }))?;
    same!(file(&c, "memory.max")?, "max", "memory.max");
    same!(file(&c, "memory.swap.max")?, "max", "memory.swap.max");
    Ok(())
}

fn memory_in_force(ctx: &Ctx) -> Done {
    tree(&["memory"])?;
    let limit = json!({ "limit": 48 * MB, "swap": 48 * MB });
    let out = ctx.bundle().probe(&["eat", "120"]).set("/linux/resources/memory", limit).run()?.code(137)?;
    let ate = out.out.lines().count();
    check!((10..=48).contains(&ate), "ate {ate} MB");
    Ok(())
}

fn memory_too_small(ctx: &Ctx) -> Done {
    tree(&["memory"])?;
    let b = ctx.bundle().set("/linux/resources/memory", json!({ "limit": 4096, "swap": 4096 }));
    b.call("run").run()?.fails()?;
    b.nothing_left()
}

fn oom_event(ctx: &Ctx) -> Done {
    tree(&["memory"])?;
    let c = ctx
        .bundle()
        .set("/linux/resources/memory", json!({ "limit": 48 * MB, "swap": 48 * MB }))
        .tweak(|c| c.mount("/run", "tmpfs", "tmpfs", &[]))
        .sh("until [ -e /run/go ]; do sleep 0.1; done; hull-probe eat 120; sleep 1000")
        .up()?;
    let running = ctx.call(&["events", "--interval", "100ms", &c.id]).spawn()?;
    wait_for("a first line", 10, || !running.so_far().is_empty())?;
    c.sh("touch /run/go")?.ok()?;
    wait_for("an event of type oom", 10, || running.so_far().contains("\"oom\""))
}

fn pids(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    let c = up_with(ctx, "pids/limit", json!(10))?;
    same!(file(&c, "pids.max")?, "10", "pids.max");
    same!(c.exec(&["/bin/hull-probe", "forks", "30"])?.ok()?.field("errno")?, "11", "errno of fork");
    Ok(())
}

fn pids_unlimited(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    same!(file(&up_with(ctx, "pids/limit", json!(-1))?, "pids.max")?, "max", "pids.max");
    Ok(())
}

fn cpu_weight(ctx: &Ctx) -> Done {
    tree(&["cpu"])?;
    for (shares, least, most) in [(0, 100, 100), (2, 1, 1), (1024, 39, 100), (262_144, 10_000, 10_000)] {
        let c = up_with(ctx, "cpu/shares", json!(shares))?;
        let weight: u32 = file(&c, "cpu.weight")?.parse()?;
        check!((least..=most).contains(&weight), "{shares} shares are a weight of {weight}");
    }
    Ok(())
}

fn cpu_max(ctx: &Ctx) -> Done {
    tree(&["cpu"])?;
    let c = up_with(ctx, "cpu", json!({ "quota": 20_000, "period": 50_000 }))?;
    same!(file(&c, "cpu.max")?, "20000 50000", "cpu.max");
    Ok(())
}

fn cpu_quota_alone(ctx: &Ctx) -> Done {
    tree(&["cpu"])?;
    same!(file(&up_with(ctx, "cpu/quota", json!(30_000))?, "cpu.max")?, "30000 100000", "cpu.max");
    same!(file(&up_with(ctx, "cpu/quota", json!(-1))?, "cpu.max")?, "max 100000", "cpu.max");
    Ok(())
}

fn cpu_in_force(ctx: &Ctx) -> Done {
    tree(&["cpu"])?;
    // The kernel's count of times that the group was held up, as an emulated machine's sense of time is poor.
    let b = ctx.bundle().sh("while :; do :; done").set("/linux/resources/cpu", json!({ "quota": 5000, "period": 100_000 }));
    let c = b.up()?;
    let held = || {
        let stat = file(&c, "cpu.stat").unwrap_or_default();
        stat.lines().any(|l| l.strip_prefix("nr_throttled ").is_some_and(|n| n != "0"))
    };
    wait_for("the group to be throttled", 15, held)
}

fn cpu_idle(ctx: &Ctx) -> Done {
    let tree = tree(&["cpu"])?;
    let c = up_with(ctx, "cpu/idle", json!(1))?;
    if !tree.join(&c.id).join("cpu.idle").exists() {
        skip!("this kernel has no cpu.idle");
    }
    same!(file(&c, "cpu.idle")?, "1", "cpu.idle");
    Ok(())
}

fn cpu_burst(ctx: &Ctx) -> Done {
    tree(&["cpu"])?;
    let c = up_with(ctx, "cpu", json!({ "quota": 50_000, "period": 100_000, "burst": 20_000 }))?;
    same!(file(&c, "cpu.max.burst")?, "20000", "cpu.max.burst");
    Ok(())
}

fn cpuset(ctx: &Ctx) -> Done {
    tree(&["cpuset"])?;
    let b = ctx.bundle().args(&["/bin/cat", "/proc/self/status"]);
    let out = b.set("/linux/resources/cpu", json!({ "cpus": "0", "mems": "0" })).run()?.ok()?;
    same!(out.field("Cpus_allowed_list")?, "0", "CPUs");
    Ok(())
}

fn cpuset_bad(ctx: &Ctx) -> Done {
    tree(&["cpuset"])?;
    let b = ctx.bundle().set("/linux/resources/cpu", json!({ "cpus": "nonsense" }));
    b.refused(&["cpus"])?;
    Ok(())
}

fn unified(ctx: &Ctx) -> Done {
    tree(&["memory", "pids"])?;
    let c = up_with(ctx, "unified", json!({ "memory.high": "50331648", "pids.max": "44" }))?;
    same!(file(&c, "memory.high")?, "50331648", "memory.high");
    same!(file(&c, "pids.max")?, "44", "pids.max");
    Ok(())
}

fn unified_unknown(ctx: &Ctx) -> Done {
    tree(&["memory"])?;
    ctx.bundle().set("/linux/resources/unified", json!({ "memory.nosuch": "1" })).refused(&["memory.nosuch"])?;
    Ok(())
}

fn unified_outside(ctx: &Ctx) -> Done {
    let tree = tree(&["pids"])?;
    let before = fs::read_to_string(tree.join("cgroup.subtree_control"))?;
    let b = ctx.bundle().set("/linux/resources/unified", json!({ "../cgroup.subtree_control": "-pids" }));
    b.run()?.fails()?;
    same!(fs::read_to_string(tree.join("cgroup.subtree_control"))?, before, "controllers of the root");
    Ok(())
}

fn unified_wins(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    let b = ctx.bundle().set("/linux/resources/pids/limit", json!(20));
    let c = b.set("/linux/resources/unified", json!({ "pids.max": "44" })).up()?;
    same!(file(&c, "pids.max")?, "44", "pids.max");
    Ok(())
}

fn devices(ctx: &Ctx) -> Done {
    tree(&[])?;
    let caps = &["CAP_MKNOD"][..];
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 250, "access": "rm" },
    ]);
    let b = ctx.bundle().tweak(|c| c.caps([caps, caps, caps, &[], &[]])).set("/linux/resources/devices", rules);
    let c = b.up()?;
    // No driver serves 1:250: to open it gives ENXIO where it is allowed, and EPERM where it isn't.
    let script = "mknod /dev/k c 1 250; mknod /dev/d c 1 251; for d in k d; do hull-probe open /dev/$d r; hull-probe open /dev/$d w; done";
    same!(c.sh(script)?.ok()?.out, "errno 6\nerrno 1\nerrno 1\nerrno 1\n", "errno of reading and writing");
    same!(c.sh("hull-probe open /dev/null w")?.ok()?.line(), "errno 0", "errno of /dev/null");
    Ok(())
}

fn limits_before_start(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    let c = ctx.bundle().set("/linux/resources/pids/limit", json!(20)).create()?;
    same!(file(&c, "pids.max")?, "20", "pids.max of a created container");
    Ok(())
}

fn limits_for_exec(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    let c = ctx.bundle().up()?;
    let out = c.sh("cat /proc/self/cgroup")?.ok()?;
    let init = fs::read_to_string(format!("/proc/{}/cgroup", c.pid()?))?;
    // Seen from inside, the path is that below the root of the container's cgroup namespace.
    check!(out.line() == init.trim() || out.line() == "0::/", "exec is in {}, init in {init}", out.line());
    Ok(())
}

fn update_with(c: &Container, options: &[&str]) -> Done {
    let mut args = vec!["update"];
    args.extend(options);
    args.push(&c.id);
    c.ctx.rt(&args)?.ok().map(drop)
}

fn update(ctx: &Ctx) -> Done {
    tree(&["memory", "pids", "cpu"])?;
    let c = ctx.bundle().up()?;
    let memory = (96 * MB).to_string();
    update_with(&c, &["--memory", &memory, "--memory-swap", &memory, "--pids-limit", "30"])?;
    update_with(&c, &["--cpu-quota", "30000", "--cpu-period", "60000", "--cpu-share", "2"])?;
    same!(file(&c, "memory.max")?, memory, "memory.max");
    same!(file(&c, "memory.swap.max")?, "0", "memory.swap.max");
    same!(file(&c, "pids.max")?, "30", "pids.max");
    same!(file(&c, "cpu.max")?, "30000 60000", "cpu.max");
    same!(file(&c, "cpu.weight")?, "1", "cpu.weight");
    Ok(())
}

fn update_keeps_others(ctx: &Ctx) -> Done {
    tree(&["memory", "pids", "cpu"])?;
    let b = ctx.bundle().set("/linux/resources/pids/limit", json!(20)).set("/linux/resources/memory/limit", json!(64 * MB));
    let c = b.up()?;
    update_with(&c, &["--cpu-quota", "30000"])?;
    same!(file(&c, "pids.max")?, "20", "pids.max");
    same!(file(&c, "memory.max")?, (64 * MB).to_string(), "memory.max");
    Ok(())
}

fn update_devices_stay(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    let caps = &["CAP_MKNOD"][..];
    let b = ctx.bundle().tweak(|c| c.caps([caps, caps, caps, &[], &[]]));
    let c = b.set("/linux/resources/devices", json!([{ "allow": false, "access": "rwm" }])).up()?;
    update_with(&c, &["--pids-limit", "30"])?;
    same!(c.sh("mknod /dev/k c 1 250; hull-probe open /dev/k r")?.ok()?.line(), "errno 1", "errno of open");
    Ok(())
}

fn frozen(ctx: &Ctx) -> Done {
    tree(&[])?;
    let c = ctx.bundle().up()?;
    c.pause()?;
    check!(file(&c, "cgroup.events")?.contains("frozen 1"), "the group isn't frozen");
    c.resume()?;
    check!(file(&c, "cgroup.events")?.contains("frozen 0"), "the group is frozen");
    Ok(())
}

fn frozen_before(ctx: &Ctx) -> Done {
    let tree = tree(&[])?;
    let b = ctx.bundle();
    let group = tree.join(&b.id);
    fs::create_dir(&group)?;
    fs::write(group.join("cgroup.freeze"), "1")?;
    let refused = b.create_fails_within(10);
    crate::ctx::remove_cgroups(&ctx.tag);
    refused
}

fn in_use(ctx: &Ctx) -> Done {
    tree(&[])?;
    let first = ctx.bundle().up()?;
    let second = ctx.bundle().set("/linux/cgroupsPath", json!(format!("/{}", first.id)));
    second.call("run").run()?.fails()?;
    first.sh("true")?.ok()?;
    Ok(())
}

fn killed_all(ctx: &Ctx) -> Done {
    tree(&[])?;
    let b = ctx.bundle().tweak(|c| c.leave("pid"));
    let c = b.sh("sleep 1000 & sleep 1000 & wait").up()?;
    let group = dir(&c)?;
    wait_for("three processes", 5, || fs::read_to_string(group.join("cgroup.procs")).is_ok_and(|t| t.lines().count() == 3))?;
    let pids: Vec<i32> = fs::read_to_string(group.join("cgroup.procs"))?.lines().filter_map(|l| l.parse().ok()).collect();
    c.delete_force()?;
    check!(!group.exists(), "{group:?} is still there");
    for pid in pids {
        wait_for("the end of all processes", 5, || !host::alive(pid))?;
    }
    Ok(())
}

fn delegated(ctx: &Ctx) -> Done {
    tree(&[])?;
    let c = ctx.bundle().up()?;
    let group = dir(&c)?;
    fs::create_dir_all(group.join("child/grandchild"))?;
    c.delete_force()?;
    check!(!group.exists(), "{group:?} is still there");
    Ok(())
}

fn namespace(ctx: &Ctx) -> Done {
    tree(&["pids"])?;
    let b = ctx.bundle().tweak(|c| {
        c.join("cgroup", None);
        c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    });
    let c = b.up()?;
    same!(c.sh("cat /proc/self/cgroup")?.ok()?.line(), "0::/", "the group as seen inside");
    c.sh("mkdir /sys/fs/cgroup/own && cat /sys/fs/cgroup/own/cgroup.procs")?.ok()?;
    check!(dir(&c)?.join("own").exists(), "the group made inside isn't below the container's");
    Ok(())
}

fn exec_beside(ctx: &Ctx) -> Done {
    tree(&[])?;
    let b = ctx.bundle().tweak(|c| {
        c.join("cgroup", None);
        c.mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    });
    let c = b.up()?;
    let have = file(&c, "cgroup.controllers")?;
    // One that takes no processes beside children.
    let Some(controller) = ["memory", "io", "hugetlb"].into_iter().find(|n| have.split(' ').any(|h| h == *n)) else {
        skip!("the group has no such controller");
    };
    let group = "/sys/fs/cgroup";
    c.sh(&format!(
        "mkdir {group}/inner && echo 1 > {group}/inner/cgroup.procs && echo $$ > {group}/inner/cgroup.procs && \
         echo +{controller} > {group}/cgroup.subtree_control"
    ))?
    .ok()?;
    let seen = c.sh("cat /proc/self/cgroup")?.ok()?;
    check!(seen.out.lines().any(|l| l == "0::/inner"), "{}", seen.out);
    c.exec_with(&["--cgroup", "/"], &["/bin/true"])?.fails()?;
    Ok(())
}

fn whole_tree(ctx: &Ctx) -> Done {
    tree(&[])?;
    let c = ctx.bundle().up()?;
    let path = format!("/sys/fs/cgroup/{}/cgroup.procs", c.id);
    same!(c.sh(&format!("head -n 1 {path}"))?.ok()?.line(), "1", "the first process of the container's group");
    Ok(())
}

fn stats(ctx: &Ctx) -> Done {
    tree(&["memory", "pids", "cpu"])?;
    let c = ctx.bundle().set("/linux/resources/pids/limit", json!(77)).up()?;
    let event: Value = serde_json::from_str(&ctx.rt(&["events", "--stats", &c.id])?.ok()?.out)?;
    same!(event["data"]["pids"]["current"], json!(1), "pids.current");
    same!(event["data"]["pids"]["limit"], json!(77), "pids.limit");
    check!(event["data"]["memory"]["usage"]["usage"].as_u64().is_some_and(|n| n > 0), "memory is {}", event["data"]["memory"]);
    check!(event["data"]["cpu"]["usage"]["total"].as_u64().is_some_and(|n| n > 0), "cpu is {}", event["data"]["cpu"]);
    Ok(())
}

fn v1_only(ctx: &Ctx) -> Done {
    tree(&[])?;
    for (field, value) in [
        ("memory/disableOOMKiller", json!(true)),
        ("memory/swappiness", json!(10)),
        ("cpu/realtimeRuntime", json!(1000)),
        ("network/classID", json!(4)),
    ] {
        let last = field.rsplit('/').next().unwrap_or(field);
        ctx.bundle().set(&format!("/linux/resources/{field}"), value).refused(&[last])?;
    }
    Ok(())
}

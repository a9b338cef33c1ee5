//! `linux.namespaces`: new ones, ones joined by path, ones left alone; hostname, domain name, sysctl, time.

use std::fs;

use serde_json::json;

use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::host::{self, own_ns};

pub(crate) const CASES: &[Case] = &[
    case!(new, "each namespace that is listed is new"),
    case!(absent, "a namespace that isn't listed is the caller's"),
    case!(net_by_path, "a network namespace is joined by path"),
    case!(pid_by_path, "a pid namespace is joined by path"),
    case!(ipc_and_uts_by_path, "ipc and uts namespaces are joined by path"),
    case!(several_by_path, "a pod: net, ipc, uts, pid of another container at once"),
    case!(exec_in_joined, "exec enters the joined namespaces"),
    case!(bind_mounted_path, "a namespace is joined by the path of a bind mount"),
    case!(source_in_joined, "a source that a joined mount namespace can't give is not taken from the host")
        .theirs("crun", "1.8.1 fails with a lost connection to its child"),
    case!(path_missing, "a namespace path that doesn't exist is refused and named"),
    case!(path_is_no_namespace, "a namespace path that is a plain file is refused"),
    case!(path_of_other_kind, "a path to a namespace of another kind is refused"),
    case!(unknown_kind, "an unknown namespace type is refused and named"),
    case!(duplicate, "the same type twice is refused")
        .theirs("crun", "1.8.1 takes it"),
    case!(hostname, "hostname is set, and only in the container"),
    case!(hostname_without_uts, "hostname without a uts namespace is refused"),
    case!(domainname, "domainname is set")
        .theirs("runc", "1.1.5 has no domainname"),
    case!(loopback, "lo is up in a new network namespace"),
    case!(no_network, "a new network namespace has lo alone"),
    case!(sysctl, "a sysctl of the network namespace is set there, and not on the host"),
    case!(sysctl_ipc, "a sysctl of the ipc namespace is set"),
    case!(sysctl_dots_and_slashes, "a sysctl may be written with slashes"),
    case!(sysctl_of_host, "a sysctl that isn't namespaced is refused"),
    case!(sysctl_without_namespace, "a network sysctl without a network namespace is refused"),
    case!(sysctl_ipc_without_namespace, "an ipc sysctl without an ipc namespace is refused"),
    case!(sysctl_unknown, "a sysctl that the kernel doesn't have is an error that names it"),
    case!(sysctl_bad_value, "a value that the kernel refuses is an error"),
    case!(cgroup_namespace, "in a new cgroup namespace the container's group is the root"),
    case!(time_offsets, "a time namespace shifts the clocks")
        .theirs("runc", "1.1.5 has no time namespace")
        .theirs("crun", "1.8.1 fails with a lost connection to its child"),
    case!(time_exec, "exec enters the time namespace")
        .theirs("runc", "1.1.5 has no time namespace")
        .theirs("crun", "1.8.1 fails with a lost connection to its child"),
    case!(pid_is_one, "the first process of a new pid namespace sees only its own"),
    case!(ipc_is_apart, "System V shared memory is the namespace's own"),
    case!(user_and_all, "a user namespace with every other kind works"),
];

fn new(ctx: &Ctx) -> Done {
    let c = ctx.bundle().tweak(|v| v.join("cgroup", None)).up()?;
    for kind in ["mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        check!(host::ns(c.pid()?, kind)? != own_ns(kind)?, "{kind} is the caller's");
    }
    for kind in ["user", "time"] {
        same!(host::ns(c.pid()?, kind)?, own_ns(kind)?, "{kind}");
    }
    Ok(())
}

fn absent(ctx: &Ctx) -> Done {
    let c = ctx
        .bundle()
        .tweak(|v| {
            ["pid", "network", "ipc", "uts"].iter().for_each(|k| v.leave(k));
            v.as_object_mut().unwrap().remove("hostname");
        })
        .up()?;
    for kind in ["pid", "net", "ipc", "uts"] {
        same!(host::ns(c.pid()?, kind)?, own_ns(kind)?, "{kind}");
    }
    Ok(())
}

/// A container that joins the namespaces (by the configuration's names) of another one; with both their pids.
fn joined<'a>(ctx: &'a Ctx, kinds: &[&str]) -> Result<[crate::bundle::Container<'a>; 2], Stop> {
    let first = ctx.bundle().up()?;
    let pid = first.pid()?;
    let second = ctx
        .bundle()
        .tweak(|v| {
            for kind in kinds {
                let link = if *kind == "network" { "net" } else { kind };
                v.join(kind, Some(&format!("/proc/{pid}/ns/{link}")));
            }
            if kinds.contains(&"uts") {
                v.as_object_mut().unwrap().remove("hostname");
            }
        })
        .up()?;
    Ok([first, second])
}

fn net_by_path(ctx: &Ctx) -> Done {
    let [a, b] = joined(ctx, &["network"])?;
    same!(host::ns(b.pid()?, "net")?, host::ns(a.pid()?, "net")?, "net");
    Ok(())
}

fn pid_by_path(ctx: &Ctx) -> Done {
    let [a, b] = joined(ctx, &["pid"])?;
    same!(host::ns(b.pid()?, "pid")?, host::ns(a.pid()?, "pid")?, "pid");
    same!(b.sh("cat /proc/1/comm")?.ok()?.line(), "sleep", "pid 1 as seen by the second");
    b.delete_force()?;
    same!(a.status()?, "running", "the first after the end of the second");
    Ok(())
}

fn ipc_and_uts_by_path(ctx: &Ctx) -> Done {
    let [a, b] = joined(ctx, &["ipc", "uts"])?;
    for kind in ["ipc", "uts"] {
        same!(host::ns(b.pid()?, kind)?, host::ns(a.pid()?, kind)?, "{kind}");
    }
    same!(b.exec(&["/bin/hostname"])?.ok()?.line(), "blackbox", "hostname");
    Ok(())
}

fn several_by_path(ctx: &Ctx) -> Done {
    let [a, b] = joined(ctx, &["pid", "network", "ipc", "uts"])?;
    for kind in ["pid", "net", "ipc", "uts"] {
        same!(host::ns(b.pid()?, kind)?, host::ns(a.pid()?, kind)?, "{kind}");
    }
    check!(host::ns(b.pid()?, "mnt")? != host::ns(a.pid()?, "mnt")?, "the mount namespace is shared");
    Ok(())
}

fn exec_in_joined(ctx: &Ctx) -> Done {
    let [a, b] = joined(ctx, &["network"])?;
    same!(b.exec(&["/bin/readlink", "/proc/self/ns/net"])?.ok()?.line(), host::ns(a.pid()?, "net")?, "net");
    Ok(())
}

fn bind_mounted_path(ctx: &Ctx) -> Done {
    use rustix::mount::{UnmountFlags, mount_bind, unmount};
    host::private_mounts()?;
    let first = ctx.bundle().up()?;
    let want = host::ns(first.pid()?, "net")?;
    let file = ctx.host_file("netns", "");
    mount_bind(format!("/proc/{}/ns/net", first.pid()?), &file)?;
    first.delete_force()?;
    let b = ctx.bundle().tweak(|v| v.join("network", Some(file.to_str().unwrap())));
    let out = b.args(&["/bin/readlink", "/proc/self/ns/net"]).run();
    unmount(&file, UnmountFlags::DETACH)?;
    same!(out?.ok()?.line(), want, "net");
    Ok(())
}

/// The owner of a mount namespace that is joined decides what is a source there, and must not get the host's file of
/// that name instead: a link into a third mount namespace makes a source that can't be bound.
fn source_in_joined(ctx: &Ctx) -> Done {
    let all = ["CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE", "CAP_SETUID", "CAP_SETGID", "CAP_SYS_PTRACE"];
    let secret = ctx.host_dir("precious");
    std::fs::write(secret.join("file"), "of the host\n")?;
    let second = ctx.bundle();
    let (root, secret) = (second.rootfs().display().to_string(), secret.display().to_string());
    let parent = std::path::Path::new(&secret).parent().unwrap().display().to_string();
    let script = format!(
        "mkdir -p {root} {parent} /tmp/seen && mount --rbind / {root} && unshare -m /bin/sleep 1000 & \
         while [ -z \"$pid\" ] || [ $(readlink /proc/$pid/ns/mnt) = $(readlink /proc/self/ns/mnt) ]; do \
             pid=$(pidof sleep); done; \
         ln -s /proc/$pid/root/etc {secret} && echo ready; exec sleep 999"
    );
    let first = ctx.bundle().rw().tweak(Edit::userns).tweak(|v| v.caps([&all, &all, &all, &[], &[]])).sh(&script).up()?;
    first.wait_out("ready")?;
    let pid = first.pid()?;
    let second = second.rw().tweak(Edit::userns).tweak(|v| {
        v.join("pid", Some(&format!("/proc/{pid}/ns/pid")));
        v.join("user", Some(&format!("/proc/{pid}/ns/user")));
        v.join("mount", Some(&format!("/proc/{pid}/ns/mnt")));
        v["mounts"] = json!([{ "destination": "/tmp/seen", "source": secret, "options": ["bind"] }]);
        v["linux"].as_object_mut().unwrap().retain(|k, _| !matches!(k.as_str(), "maskedPaths" | "readonlyPaths"));
    });
    let out = second.sh("cat /tmp/seen/file").run()?;
    check!(!out.out.contains("of the host"), "the host's file is in the container: {}", out.text());
    out.fails()?.names(&[&secret])?;
    Ok(())
}

fn path_missing(ctx: &Ctx) -> Done {
    ctx.bundle().tweak(|v| v.join("network", Some("/no/such/netns"))).refused(&["/no/such/netns"])?;
    Ok(())
}

fn path_is_no_namespace(ctx: &Ctx) -> Done {
    let file = ctx.host_file("plain", "");
    let b = ctx.bundle().tweak(|v| v.join("network", Some(file.to_str().unwrap())));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn path_of_other_kind(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|v| v.join("network", Some("/proc/self/ns/ipc")));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn unknown_kind(ctx: &Ctx) -> Done {
    ctx.bundle().tweak(|v| v.join("nosuchkind", None)).refused(&["nosuchkind", "namespace"])?;
    Ok(())
}

fn duplicate(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|v| {
        v["linux"]["namespaces"].as_array_mut().unwrap().push(json!({ "type": "network" }));
    });
    b.refused(&["network", "namespace"])?;
    Ok(())
}

fn hostname(ctx: &Ctx) -> Done {
    let before = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let b = ctx.bundle().args(&["/bin/hostname"]).set("/hostname", json!("some-name.example"));
    same!(b.run()?.ok()?.line(), "some-name.example", "hostname");
    same!(fs::read_to_string("/proc/sys/kernel/hostname")?, before, "hostname of the host");
    Ok(())
}

fn hostname_without_uts(ctx: &Ctx) -> Done {
    ctx.bundle().tweak(|v| v.leave("uts")).refused(&["hostname", "uts"])?;
    Ok(())
}

fn domainname(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/bin/cat", "/proc/sys/kernel/domainname"]).set("/domainname", json!("example.org"));
    same!(b.run()?.ok()?.line(), "example.org", "domainname");
    Ok(())
}

fn loopback(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&["/bin/ip", "addr", "show", "lo"]).run()?.ok()?;
    check!(out.out.contains("UP") && out.out.contains("127.0.0.1"), "lo is {:?}", out.out);
    Ok(())
}

fn no_network(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("ls /sys/class/net; cat /proc/net/route").run()?.ok()?;
    check!(out.out.lines().count() == 2 && out.out.starts_with("lo\n"), "interfaces and routes: {:?}", out.out);
    Ok(())
}

fn sysctl(ctx: &Ctx) -> Done {
    let own = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")?;
    let b = ctx.bundle().set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "77" }));
    let out = b.args(&["/bin/cat", "/proc/sys/net/ipv4/ip_default_ttl"]).run()?.ok()?;
    same!(out.line(), "77", "in the container");
    same!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")?, own, "on the host");
    Ok(())
}

fn sysctl_ipc(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/linux/sysctl", json!({ "kernel.shmmni": "1234", "fs.mqueue.msg_max": "12" }));
    let out = b.sh("cat /proc/sys/kernel/shmmni /proc/sys/fs/mqueue/msg_max").run()?.ok()?;
    same!(out.out, "1234\n12\n", "values");
    Ok(())
}

fn sysctl_dots_and_slashes(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/linux/sysctl", json!({ "net/ipv4/ip_default_ttl": "78" }));
    let out = b.args(&["/bin/cat", "/proc/sys/net/ipv4/ip_default_ttl"]).run()?.ok()?;
    same!(out.line(), "78", "in the container");
    Ok(())
}

fn sysctl_of_host(ctx: &Ctx) -> Done {
    let own = fs::read_to_string("/proc/sys/vm/swappiness")?;
    ctx.bundle().set("/linux/sysctl", json!({ "vm.swappiness": "11" })).refused(&["vm.swappiness"])?;
    same!(fs::read_to_string("/proc/sys/vm/swappiness")?, own, "on the host");
    Ok(())
}

fn sysctl_without_namespace(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|v| v.leave("network"));
    b.set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "64" })).refused(&["net.ipv4.ip_default_ttl"])?;
    Ok(())
}

fn sysctl_ipc_without_namespace(ctx: &Ctx) -> Done {
    let own = fs::read_to_string("/proc/sys/kernel/shmmni")?;
    let b = ctx.bundle().tweak(|v| v.leave("ipc"));
    b.set("/linux/sysctl", json!({ "kernel.shmmni": own.trim() })).refused(&["kernel.shmmni"])?;
    Ok(())
}

fn sysctl_unknown(ctx: &Ctx) -> Done {
    ctx.bundle().set("/linux/sysctl", json!({ "net.ipv4.no_such": "1" })).refused(&["no_such"])?;
    Ok(())
}

fn sysctl_bad_value(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/linux/sysctl", json!({ "net.ipv4.ip_default_ttl": "many" }));
    b.refused(&["ip_default_ttl"])?;
    Ok(())
}

fn cgroup_namespace(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|v| v.join("cgroup", None)).args(&["/bin/cat", "/proc/self/cgroup"]);
    let out = b.run()?.ok()?;
    for line in out.out.lines().filter(|l| l.contains(":pids:") || l.contains(":memory:")) {
        check!(line.ends_with(":/"), "group as seen inside: {line:?}");
    }
    Ok(())
}

/// A configuration with a time namespace an hour and two hours ahead.
fn ahead(v: &mut serde_json::Value) {
    v.join("time", None);
    v["linux"]["timeOffsets"] =
        json!({ "monotonic": { "secs": 3600, "nanosecs": 0 }, "boottime": { "secs": 7200, "nanosecs": 5 } });
}

/// Checks that clocks printed by the probe are ahead of those of the host.
fn check_ahead(ctx: &Ctx, out: &crate::call::Output) -> Done {
    let own = ctx.program(ctx.base.join("bin/hull-probe")).args(&["clock"]).run()?.ok()?;
    for (clock, seconds) in [("monotonic", 3600), ("boottime", 7200)] {
        let shift = out.field(clock)?.parse::<i64>()? - own.field(clock)?.parse::<i64>()?;
        check!((seconds - 10..=seconds).contains(&shift), "{clock} is {shift} s ahead");
    }
    Ok(())
}

fn time_offsets(ctx: &Ctx) -> Done {
    let out = ctx.bundle().tweak(ahead).probe(&["clock"]).run()?.ok()?;
    check_ahead(ctx, &out)
}

fn time_exec(ctx: &Ctx) -> Done {
    let out = ctx.bundle().tweak(ahead).up()?.exec(&["/bin/hull-probe", "clock"])?.ok()?;
    check_ahead(ctx, &out)
}

fn pid_is_one(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("ls /proc | grep -c '^[0-9]'").run()?.ok()?;
    let count: u32 = out.line().parse()?;
    check!(count <= 3, "{count} processes are seen");
    Ok(())
}

fn ipc_is_apart(ctx: &Ctx) -> Done {
    let make = "hull-probe syscall 29 4711 4096 0x3b6";
    let a = ctx.bundle().up()?;
    let b = ctx.bundle().up()?;
    check!(a.sh(make)?.ok()?.field("errno")? == "0", "shmget failed");
    // Without IPC_CREAT the segment has to exist.
    same!(b.sh("hull-probe syscall 29 4711 4096 0x1b6")?.ok()?.field("errno")?, "2", "errno in another container");
    same!(a.sh("hull-probe syscall 29 4711 4096 0x1b6")?.ok()?.field("errno")?, "0", "errno in the same container");
    Ok(())
}

fn user_and_all(ctx: &Ctx) -> Done {
    let c = ctx.bundle().tweak(Edit::userns).tweak(|v| v.join("cgroup", None)).up()?;
    for kind in ["user", "mnt", "pid", "net", "ipc", "uts", "cgroup"] {
        check!(host::ns(c.pid()?, kind)? != own_ns(kind)?, "{kind} is the caller's");
    }
    same!(c.sh("id -u")?.ok()?.line(), "0", "uid");
    Ok(())
}

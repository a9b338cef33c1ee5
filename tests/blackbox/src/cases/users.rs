//! `process.user` and user namespaces.

use std::fs;

use serde_json::json;

use crate::case::{Case, Done, case, check, same};
use crate::config::Edit;
use crate::ctx::{Ctx, chown};

pub(crate) const CASES: &[Case] = &[
    case!(uid_and_gid, "uid and gid are set, real and effective"),
    case!(no_groups, "without additionalGids there are no further groups but at most the gid itself"),
    case!(additional_gids, "additionalGids are set exactly"),
    case!(uid_without_passwd, "a uid that /etc/passwd doesn't know works"),
    case!(big_uid, "a uid above 2^31 is exact or refused, never 0"),
    case!(uid_minus_one, "uid 4294967295, which means no change to the kernel, is refused or not root")
        .theirs("crun", "1.8.1 becomes root"),
    case!(stdio_of_user, "another user can reopen its standard output"),
    case!(userns_maps, "a new user namespace has the mappings of the configuration"),
    case!(userns_two_ranges, "two ranges are mapped, and files show it"),
    case!(userns_host_view, "root in the namespace is the mapped uid on the host"),
    case!(userns_caps, "root in a user namespace has the configured capabilities there"),
    case!(userns_other_user, "a user that isn't root runs in a user namespace"),
    case!(userns_exec, "exec enters the user namespace"),
    case!(userns_devices, "the default devices work in a user namespace"),
    case!(userns_queues, "the message queues of a user namespace are its root's"),
    case!(userns_hostname, "hostname is set in a user namespace"),
    case!(userns_proc_is_guarded, "in a user namespace, files of the host's root are closed"),
    case!(userns_by_path, "a user namespace is joined by path"),
    case!(userns_setgroups, "root in a user namespace may set groups"),
    case!(userns_without_mappings, "in a new user namespace without mappings the user is the one who made it")
        .theirs("runc", "refuses it"),
    case!(unmapped_user, "a process user that no range maps is refused"),
];

fn uid_and_gid(ctx: &Ctx) -> Done {
    let out = ctx.bundle().probe(&["self"]).set("/process/user", json!({ "uid": 12, "gid": 34 })).run()?.ok()?;
    same!(out.field("uid")?, "12 12", "uids");
    same!(out.field("gid")?, "34 34", "gids");
    Ok(())
}

fn no_groups(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["self"]).set("/process/user", json!({ "uid": 12, "gid": 34 }));
    let groups = b.run()?.ok()?.field("groups")?;
    check!(["[]", "[34]"].contains(&groups.as_str()), "groups {groups}");
    Ok(())
}

fn additional_gids(ctx: &Ctx) -> Done {
    let user = json!({ "uid": 12, "gid": 34, "additionalGids": [5, 2000, 70000] });
    let out = ctx.bundle().probe(&["self"]).set("/process/user", user).run()?.ok()?;
    let mut groups: Vec<u32> = serde_json::from_str(&out.field("groups")?)?;
    groups.retain(|g| *g != 34);
    groups.sort();
    same!(groups, vec![5, 2000, 70000], "groups");
    Ok(())
}

fn uid_without_passwd(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["self"]).set("/process/user", json!({ "uid": 54321, "gid": 54321 }));
    fs::remove_file(b.rootfs().join("etc/passwd"))?;
    same!(b.run()?.ok()?.field("uid")?, "54321 54321", "uids");
    Ok(())
}

fn big_uid(ctx: &Ctx) -> Done {
    for uid in [2_147_483_648_u64, 4_294_967_294] {
        let out = ctx.bundle().probe(&["self"]).set("/process/user", json!({ "uid": uid, "gid": uid })).run()?;
        if out.code == 0 {
            same!(out.field("uid")?, format!("{uid} {uid}"), "uids");
        } else {
            out.fails()?;
        }
    }
    Ok(())
}

fn uid_minus_one(ctx: &Ctx) -> Done {
    let b = ctx.bundle().probe(&["self"]).set("/process/user", json!({ "uid": 4_294_967_295_u64, "gid": 0 }));
    let out = b.run()?;
    check!(out.code != 0 || !out.field("uid")?.contains('0'), "became root: {}", out.text());
    Ok(())
}

fn stdio_of_user(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("echo again > /dev/stderr").set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    b.write();
    // Pipes, as an engine has them: a regular file of the caller isn't given away.
    let script = format!(
        "'{}' --root '{}' run --bundle '{}' {} 2>&1 >/dev/null | cat",
        ctx.runtime.display(),
        ctx.root.display(),
        b.dir.display(),
        b.id
    );
    same!(ctx.program("/bin/sh").args(&["-c", &script]).run()?.ok()?.line(), "again", "output");
    Ok(())
}

fn userns_maps(ctx: &Ctx) -> Done {
    let out = ctx.bundle().tweak(Edit::userns).sh("cat /proc/self/uid_map /proc/self/gid_map").run()?.ok()?;
    for line in out.out.lines() {
        same!(line.split_whitespace().collect::<Vec<_>>(), vec!["0", "100000", "1000"], "mapping");
    }
    same!(out.out.lines().count(), 2, "mappings");
    Ok(())
}

fn userns_two_ranges(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(Edit::userns).args(&["/bin/stat", "-c", "%u:%g", "/run/zero", "/run/big"]).tweak(|c| {
        for kind in ["uidMappings", "gidMappings"] {
            c["linux"][kind] = json!([{ "containerID": 0, "hostID": 100_000, "size": 10 },
                                      { "containerID": 5000, "hostID": 300_000, "size": 10 }]);
        }
    });
    for (name, id) in [("zero", 100_003), ("big", 300_004)] {
        fs::write(b.rootfs().join("run").join(name), "")?;
        chown(&b.rootfs().join("run").join(name), id);
    }
    same!(b.run()?.ok()?.out, "3:3\n5004:5004\n", "owners");
    Ok(())
}

fn userns_host_view(ctx: &Ctx) -> Done {
    let c = ctx.bundle().tweak(Edit::userns).up()?;
    let status = fs::read_to_string(format!("/proc/{}/status", c.pid()?))?;
    let uid = status.lines().find(|l| l.starts_with("Uid:")).unwrap_or_default();
    same!(uid.split_whitespace().nth(1).unwrap_or_default(), "100000", "uid on the host");
    Ok(())
}

fn userns_caps(ctx: &Ctx) -> Done {
    let sets: &[&str] = &["CAP_SYS_ADMIN", "CAP_CHOWN"];
    let b = ctx.bundle().tweak(Edit::userns).tweak(|c| c.caps([sets, sets, sets, &[], &[]]));
    let out = b.args(&["/bin/cat", "/proc/self/status"]).run()?.ok()?;
    same!(out.hex("CapEff")?, 1 << 21 | 1, "CapEff");
    same!(out.hex("CapBnd")?, 1 << 21 | 1, "CapBnd");
    Ok(())
}

fn userns_other_user(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(Edit::userns).probe(&["self"]);
    let out = b.set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9] })).run()?.ok()?;
    same!(out.field("uid")?, "7 7", "uids");
    same!(out.field("gid")?, "8 8", "gids");
    check!(out.field("groups")?.contains('9'), "groups {}", out.field("groups")?);
    Ok(())
}

fn userns_exec(ctx: &Ctx) -> Done {
    let c = ctx.bundle().tweak(Edit::userns).up()?;
    let out = c.sh("readlink /proc/1/ns/user; readlink /proc/self/ns/user; id -u")?.ok()?;
    let lines: Vec<&str> = out.out.lines().collect();
    same!(lines[0], lines[1], "user namespace");
    same!(lines[2], "0", "uid");
    Ok(())
}

fn userns_devices(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(Edit::userns);
    b.sh("head -c 4 /dev/zero | wc -c; echo x > /dev/null && head -c 2 /dev/urandom | wc -c").run()?.ok()?;
    Ok(())
}

fn userns_queues(ctx: &Ctx) -> Done {
    let out = ctx.bundle().tweak(Edit::userns).sh("stat -c %u /dev/mqueue").run()?.ok()?;
    same!(out.line(), "0", "owner");
    Ok(())
}

fn userns_hostname(ctx: &Ctx) -> Done {
    same!(ctx.bundle().tweak(Edit::userns).args(&["/bin/hostname"]).run()?.ok()?.line(), "blackbox", "hostname");
    Ok(())
}

fn userns_proc_is_guarded(ctx: &Ctx) -> Done {
    let secret = ctx.host_file("secret", "secret");
    crate::ctx::chmod(&secret, 0o600);
    let source = secret.to_str().unwrap().to_owned();
    let b = ctx.bundle().tweak(Edit::userns).tweak(|c| c.mount("/etc/data", "bind", &source, &["bind"]));
    let out = b.args(&["/bin/cat", "/etc/data"]).run()?.fails()?;
    check!(!out.out.contains("secret"), "read a file of the host's root");
    Ok(())
}

fn userns_by_path(ctx: &Ctx) -> Done {
    let first = ctx.bundle().tweak(Edit::userns).up()?;
    let path = format!("/proc/{}/ns/user", first.pid()?);
    let b = ctx.bundle().tweak(Edit::userns).tweak(|c| c.join("user", Some(&path))).args(&["/bin/readlink", "/proc/self/ns/user"]);
    same!(b.run()?.ok()?.line(), fs::read_link(&path)?.to_str().unwrap(), "user namespace");
    Ok(())
}

fn userns_setgroups(ctx: &Ctx) -> Done {
    let out = ctx.bundle().tweak(Edit::userns).args(&["/bin/cat", "/proc/self/setgroups"]).run()?.ok()?;
    same!(out.line(), "allow", "setgroups");
    Ok(())
}

fn userns_without_mappings(ctx: &Ctx) -> Done {
    let out = ctx.bundle().tweak(|c| c.join("user", None)).tweak(|c| c.unmount("/dev/pts")).args(&["/bin/cat", "/proc/self/uid_map"]).run()?.ok()?;
    let first: Vec<_> = out.line().split_ascii_whitespace().collect();
    same!(first, ["0", "0", "1"], "map");
    Ok(())
}

fn unmapped_user(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(Edit::userns).set("/process/user", json!({ "uid": 5000, "gid": 0 }));
    b.run()?.fails()?;
    Ok(())
}

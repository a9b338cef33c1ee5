//! Capabilities: five sets, in run and in exec.

use serde_json::json;

use crate::call::Output;
use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(sets, "bounding, effective and permitted are set"),
    case!(five_sets_differ, "the five sets are kept apart"),
    case!(ambient, "ambient capabilities reach a program of another user"),
    case!(no_ambient, "without an ambient set a program of another user has none"),
    case!(absent, "without capabilities in the configuration every set is empty"),
    case!(empty, "empty sets give no capability"),
    case!(no_inheritable, "without an inheritable set CapInh is 0"),
    case!(effective_is_real, "a capability that isn't granted is missing in fact: chown fails"),
    case!(unknown, "an unknown capability is passed over with a warning or refused, never fatal noise"),
    case!(bounding_binds, "a set-uid root program can't exceed the bounding set"),
    case!(exec_default, "exec has the capabilities of the container"),
    case!(exec_adds, "exec --cap adds to bounding, effective, permitted")
        .theirs("crun", "1.8.1 puts it in place of the container's"),
    case!(exec_process, "exec --process has the sets of its document"),
    case!(exec_user, "exec --user drops effective and permitted"),
    case!(net_admin_in_own_net, "CAP_NET_ADMIN governs the container's own network namespace"),
    case!(created, "a process that waits for start has the program's capabilities alone, and noNewPrivileges"),
    case!(securebits, "securebits are clear"),
];

fn created(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/process/noNewPrivileges", json!(true)).create()?;
    let status = std::fs::read_to_string(format!("/proc/{}/status", c.pid()?))?;
    let of = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':')).unwrap_or_default().trim();
    let want = format!("{:016x}", AUDIT_WRITE | KILL | NET_BIND);
    same!([of("CapPrm"), of("CapEff"), of("CapBnd"), of("NoNewPrivs")], [want.as_str(), &want, &want, "1"], "rights");
    Ok(())
}

const STATUS: [&str; 2] = ["/bin/cat", "/proc/self/status"];

const CHOWN: u64 = 1;
const KILL: u64 = 1 << 5;
const NET_BIND: u64 = 1 << 10;
const NET_ADMIN: u64 = 1 << 12;
const AUDIT_WRITE: u64 = 1 << 29;

/// (inheritable, permitted, effective, bounding, ambient).
fn all(out: &Output) -> Result<[u64; 5], Stop> {
    Ok([out.hex("CapInh")?, out.hex("CapPrm")?, out.hex("CapEff")?, out.hex("CapBnd")?, out.hex("CapAmb")?])
}

fn sets(ctx: &Ctx) -> Done {
    let want = AUDIT_WRITE | KILL | NET_BIND;
    same!(all(&ctx.bundle().args(&STATUS).run()?.ok()?)?, [0, want, want, want, 0], "sets");
    Ok(())
}

fn five_sets_differ(ctx: &Ctx) -> Done {
    let (a, b, c) = ("CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_CHOWN");
    let b = ctx.bundle().args(&STATUS).tweak(|v| v.caps([&[a, b, c, "CAP_NET_ADMIN"], &[a], &[a, b, c], &[a, c, "CAP_NET_ADMIN"], &[a]]));
    // root's exec computes its sets from the bounding set, so that a user without that privilege shows them.
    let out = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).run()?.ok()?;
    same!(all(&out)?, [KILL | CHOWN | NET_ADMIN, KILL, KILL, KILL | NET_BIND | CHOWN | NET_ADMIN, KILL], "sets");
    Ok(())
}

fn ambient(ctx: &Ctx) -> Done {
    let s: &[&str] = &["CAP_NET_BIND_SERVICE"];
    let b = ctx.bundle().args(&STATUS).tweak(|v| v.caps([s, s, s, s, s]));
    let out = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 })).run()?.ok()?;
    same!(all(&out)?, [NET_BIND; 5], "sets");
    Ok(())
}

fn no_ambient(ctx: &Ctx) -> Done {
    let out = ctx.bundle().args(&STATUS).set("/process/user", json!({ "uid": 1000, "gid": 1000 })).run()?.ok()?;
    same!(all(&out)?, [0, 0, 0, AUDIT_WRITE | KILL | NET_BIND, 0], "sets");
    Ok(())
}

fn absent(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&STATUS).tweak(|v| {
        v["process"].as_object_mut().unwrap().remove("capabilities");
    });
    same!(all(&b.run()?.ok()?)?, [0; 5], "sets");
    Ok(())
}

fn empty(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&STATUS).tweak(|v| v.caps([&[], &[], &[], &[], &[]]));
    same!(all(&b.run()?.ok()?)?, [0; 5], "sets");
    Ok(())
}

fn no_inheritable(ctx: &Ctx) -> Done {
    same!(ctx.bundle().args(&STATUS).run()?.ok()?.hex("CapInh")?, 0, "CapInh");
    Ok(())
}

fn effective_is_real(ctx: &Ctx) -> Done {
    for (set, code) in [(&["CAP_KILL"][..], 1), (&["CAP_CHOWN"], 0)] {
        let b = ctx.bundle().rw().args(&["/bin/chown", "7:7", "/etc/data"]).tweak(|v| v.caps([set, set, set, &[], &[]]));
        b.run()?.code(code)?;
    }
    Ok(())
}

fn unknown(ctx: &Ctx) -> Done {
    let s: &[&str] = &["CAP_KILL", "CAP_NO_SUCH"];
    let out = ctx.bundle().args(&STATUS).tweak(|v| v.caps([s, s, s, &[], &[]])).run()?;
    if out.code == 0 {
        same!(out.hex("CapEff")?, KILL, "CapEff");
    } else {
        out.fails()?.names(&["CAP_NO_SUCH"])?;
    }
    Ok(())
}

fn bounding_binds(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&["/run/probe", "status"]).set("/process/noNewPrivileges", json!(false));
    let b = b.set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
    let program = b.rootfs().join("run/probe");
    std::fs::copy(b.rootfs().join("bin/hull-probe"), &program)?;
    crate::ctx::chmod(&program, 0o4755);
    let out = b.run()?.ok()?;
    check!(out.field("Uid")?.starts_with("1000\t0"), "the program isn't set-uid: {}", out.field("Uid")?);
    same!(out.hex("CapEff")?, AUDIT_WRITE | KILL | NET_BIND, "CapEff of a set-uid root program");
    Ok(())
}

fn exec_default(ctx: &Ctx) -> Done {
    let want = AUDIT_WRITE | KILL | NET_BIND;
    same!(all(&ctx.bundle().up()?.exec(&STATUS)?.ok()?)?, [0, want, want, want, 0], "sets");
    Ok(())
}

fn exec_adds(ctx: &Ctx) -> Done {
    let want = AUDIT_WRITE | KILL | NET_BIND | NET_ADMIN;
    let out = ctx.bundle().up()?.exec_with(&["--cap", "CAP_NET_ADMIN"], &STATUS)?.ok()?;
    same!(all(&out)?[1..4], [want, want, want], "permitted, effective, bounding");
    Ok(())
}

fn exec_process(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let mut process = c.process(&STATUS);
    let s = json!(["CAP_CHOWN"]);
    process["capabilities"] = json!({ "bounding": s, "effective": s, "permitted": s });
    same!(all(&c.exec_process(&process)?.ok()?)?, [0, CHOWN, CHOWN, CHOWN, 0], "sets");
    Ok(())
}

fn exec_user(ctx: &Ctx) -> Done {
    let out = ctx.bundle().up()?.exec_with(&["--user", "1000:1000"], &STATUS)?.ok()?;
    same!(all(&out)?[1..3], [0, 0], "permitted and effective");
    Ok(())
}

fn net_admin_in_own_net(ctx: &Ctx) -> Done {
    for (set, flags) in [(&["CAP_KILL"][..], "0x9"), (&["CAP_NET_ADMIN"], "0x8")] {
        let b = ctx.bundle().sh("ip link set lo down 2>/dev/null; cat /sys/class/net/lo/flags");
        same!(b.tweak(|v| v.caps([set, set, set, &[], &[]])).run()?.ok()?.line(), flags, "flags of lo with {set:?}");
    }
    Ok(())
}

fn securebits(ctx: &Ctx) -> Done {
    same!(ctx.bundle().probe(&["self"]).run()?.ok()?.field("securebits")?, "0", "securebits");
    Ok(())
}

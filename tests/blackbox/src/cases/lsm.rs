//! AppArmor labels where the kernel has AppArmor and the profile "hull-test", as `tests/vm` has them.

use std::fs;

use serde_json::json;

use crate::case::{Case, Done, case, check, same, skip};
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(apparmor, "process.apparmorProfile is the program's label"),
    case!(apparmor_in_force, "what the profile forbids fails"),
    case!(apparmor_of_exec, "a process of exec has the container's profile"),
    case!(apparmor_of_document, "exec --process without a profile leaves the container's")
        .theirs("runc", "1.1.5 leaves it unconfined"),
    case!(apparmor_option, "exec --apparmor gives another profile"),
    case!(apparmor_unknown, "a profile that isn't loaded is an error that names it, and leaves nothing")
        .theirs("crun", "1.8.1 names the file of procfs alone"),
    case!(apparmor_unconfined, "without a profile the program is unconfined"),
];

const PROFILE: &str = "hull-test";

fn need() -> Done {
    let profiles = fs::read_to_string("/sys/kernel/security/apparmor/profiles").unwrap_or_default();
    if !profiles.lines().any(|l| l.starts_with(PROFILE)) {
        skip!("the kernel has no AppArmor profile {PROFILE}");
    }
    Ok(())
}

const LABEL: [&str; 2] = ["/bin/cat", "/proc/self/attr/current"];

fn apparmor(ctx: &Ctx) -> Done {
    need()?;
    let out = ctx.bundle().args(&LABEL).set("/process/apparmorProfile", json!(PROFILE)).run()?.ok()?;
    same!(out.line(), "hull-test (enforce)", "label");
    Ok(())
}

fn apparmor_in_force(ctx: &Ctx) -> Done {
    need()?;
    let script = "echo x >/etc/data && echo wrote; echo x >/etc/other && echo other";
    let out = ctx.bundle().rw().sh(script).set("/process/apparmorProfile", json!(PROFILE)).run()?.ok()?;
    same!(out.out, "other\n", "what could be written");
    Ok(())
}

fn apparmor_of_exec(ctx: &Ctx) -> Done {
    need()?;
    let c = ctx.bundle().set("/process/apparmorProfile", json!(PROFILE)).up()?;
    same!(c.exec(&LABEL)?.ok()?.line(), "hull-test (enforce)", "label");
    Ok(())
}

fn apparmor_of_document(ctx: &Ctx) -> Done {
    need()?;
    let c = ctx.bundle().set("/process/apparmorProfile", json!(PROFILE)).up()?;
    same!(c.exec_process(&c.process(&LABEL))?.ok()?.line(), "hull-test (enforce)", "label");
    Ok(())
}

fn apparmor_option(ctx: &Ctx) -> Done {
    need()?;
    let c = ctx.bundle().up()?;
    same!(c.exec_with(&["--apparmor", PROFILE], &LABEL)?.ok()?.line(), "hull-test (enforce)", "label");
    Ok(())
}

fn apparmor_unknown(ctx: &Ctx) -> Done {
    need()?;
    let b = ctx.bundle().set("/process/apparmorProfile", json!("no-such-profile"));
    let out = b.call("run").run()?.fails()?;
    check!(out.err.contains("apparmor") || out.err.contains("AppArmor"), "{}", out.err);
    b.nothing_left()
}

fn apparmor_unconfined(ctx: &Ctx) -> Done {
    need()?;
    same!(ctx.bundle().args(&LABEL).run()?.ok()?.line(), "unconfined", "label");
    Ok(())
}

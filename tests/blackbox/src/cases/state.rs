//! What state, list and ps tell, and who may read it.

use std::fs;

use serde_json::json;

use crate::case::{Case, Done, case, check, same};
use crate::ctx::Ctx;
use crate::host::alive;

pub(crate) const CASES: &[Case] = &[
    case!(state_keys, "state tells version, id, pid, status, bundle as the specification has them"),
    case!(state_stopped, "state of a stopped container says pid 0 or none"),
    case!(annotations, "state tells the annotations"),
    case!(list_json, "list --format json tells id, pid, status, bundle"),
    case!(list_quiet, "list --quiet prints ids alone"),
    case!(list_table, "list prints a table with the id and the status"),
    case!(list_empty, "list of an empty state directory succeeds"),
    case!(ps_json, "ps --format json is the list of the container's host pids"),
    case!(ps_table, "ps prints a table with the command"),
    case!(state_dirs_are_apart, "one state directory knows nothing of another"),
    case!(state_is_private, "the state directory of a container is closed to other users"),
];

fn state_keys(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let s = c.state()?;
    let version = s["ociVersion"].as_str().unwrap_or_default();
    check!(version.split('.').count() >= 3, "ociVersion is {version:?}");
    same!(s["id"], json!(c.id), "id");
    same!(s["status"], json!("running"), "status");
    same!(s["bundle"], json!(c.dir.to_str().unwrap()), "bundle");
    check!(alive(c.pid()?), "pid {} is no process", s["pid"]);
    Ok(())
}

fn state_stopped(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/true"]).create()?;
    c.start()?;
    c.wait("stopped")?;
    let pid = c.state()?["pid"].as_i64().unwrap_or(0);
    same!(pid, 0, "pid");
    Ok(())
}

fn annotations(ctx: &Ctx) -> Done {
    let c = ctx.bundle().set("/annotations", json!({ "org.example.key": "some value", "empty": "" })).create()?;
    let s = c.state()?;
    same!(s["annotations"]["org.example.key"], json!("some value"), "annotation");
    Ok(())
}

fn list_json(ctx: &Ctx) -> Done {
    let (a, b) = (ctx.bundle().up()?, ctx.bundle().create()?);
    let list: serde_json::Value = serde_json::from_str(&ctx.rt(&["list", "--format", "json"])?.ok()?.out)?;
    let list = list.as_array().cloned().unwrap_or_default();
    same!(list.len(), 2, "containers listed");
    for (c, status) in [(&a, "running"), (&b, "created")] {
        let row = list.iter().find(|r| r["id"] == json!(c.id));
        check!(row.is_some(), "{} is not listed", c.id);
        let row = row.unwrap();
        same!(row["status"], json!(status), "status");
        same!(row["pid"], json!(c.pid()?), "pid");
        same!(row["bundle"], json!(c.dir.to_str().unwrap()), "bundle");
    }
    Ok(())
}

fn list_quiet(ctx: &Ctx) -> Done {
    let (a, b) = (ctx.bundle().create()?, ctx.bundle().create()?);
    let out = ctx.rt(&["list", "--quiet"])?.ok()?;
    let mut got: Vec<&str> = out.out.lines().collect();
    got.sort();
    let mut want = vec![a.id.as_str(), b.id.as_str()];
    want.sort();
    same!(got, want, "ids");
    Ok(())
}

fn list_table(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let out = ctx.rt(&["list"])?.ok()?.out;
    check!(out.lines().next().is_some_and(|l| l.contains("PID") && l.contains("STATUS")), "no header: {out:?}");
    check!(out.lines().any(|l| l.contains(&c.id) && l.contains("running")), "no row: {out:?}");
    Ok(())
}

fn list_empty(ctx: &Ctx) -> Done {
    let out = ctx.rt(&["list", "--quiet"])?.ok()?;
    same!(out.line(), "", "ids");
    Ok(())
}

fn ps_json(ctx: &Ctx) -> Done {
    let c = ctx.bundle().sh("sleep 1000 & echo up; exec sleep 1000").up()?;
    c.wait_out("up")?;
    let pids: Vec<i32> = serde_json::from_str(&ctx.rt(&["ps", "--format", "json", &c.id])?.ok()?.out)?;
    same!(pids.len(), 2, "pids");
    check!(pids.contains(&c.pid()?), "init isn't among {pids:?}");
    check!(pids.iter().all(|p| alive(*p)), "no such processes on the host: {pids:?}");
    Ok(())
}

fn ps_table(ctx: &Ctx) -> Done {
    let c = ctx.bundle().args(&["/bin/sleep", "4711"]).up()?;
    let out = ctx.rt(&["ps", &c.id])?.ok()?.out;
    check!(out.contains("PID"), "no header: {out:?}");
    check!(out.contains(&c.pid()?.to_string()), "no row for init: {out:?}");
    Ok(())
}

fn state_dirs_are_apart(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let other = ctx.host_dir("other");
    let state = ctx.program(&ctx.runtime).arg("--root").arg(&other).args(&["state", &c.id]).run()?;
    state.code(1)?;
    Ok(())
}

fn state_is_private(ctx: &Ctx) -> Done {
    use std::os::unix::fs::MetadataExt;
    let c = ctx.bundle().up()?;
    let mode = fs::metadata(ctx.root.join(&c.id))?.mode() & 0o7777;
    check!(mode & 0o066 == 0, "mode of the state directory is {mode:o}");
    Ok(())
}

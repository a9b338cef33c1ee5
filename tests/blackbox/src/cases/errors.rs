//! Bad input: every wrong configuration is refused with a message that names what is wrong, and leaves nothing behind.

use std::fs;

use serde_json::{Value, json};

use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(no_bundle, "a bundle directory that isn't there"),
    case!(no_config, "a bundle without config.json"),
    case!(config_empty, "an empty config.json"),
    case!(config_not_json, "a config.json that isn't JSON"),
    case!(config_truncated, "a config.json that ends too early"),
    case!(config_is_array, "a config.json that is a list"),
    case!(config_is_directory, "a config.json that is a directory"),
    case!(config_not_utf8, "a config.json with bytes that aren't UTF-8 in the arguments")
        .theirs("runc", "1.1.5 puts a replacement character"),
    case!(config_deep, "a config.json nested ten thousand deep doesn't crash"),
    case!(unknown_field, "a field that nobody knows is passed over"),
    case!(null_fields, "fields that are null count as absent"),
    case!(wrong_type_args, "process.args that is a string")
        .theirs("crun", "1.8.1 takes it"),
    case!(wrong_type_mounts, "mounts that is an object"),
    case!(wrong_type_uid, "user.uid that is a string")
        .theirs("crun", "1.8.1 takes it"),
    case!(wrong_type_readonly, "root.readonly that is a string")
        .theirs("crun", "1.8.1 takes it"),
    case!(uid_negative, "a negative uid")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(uid_too_big, "a uid beyond 32 bits")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(uid_fraction, "a uid that is a fraction")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(root_absent, "a configuration without root"),
    case!(root_missing, "root.path that isn't there"),
    case!(root_is_file, "root.path that is a file"),
    case!(args_absent, "process without args")
        .theirs("crun", "1.8.1 takes it"),
    case!(args_empty, "process.args that is empty")
        .theirs("crun", "1.8.1 doesn't name it"),
    case!(args_nul, "a NUL in an argument").theirs("crun", "1.8.1 cuts the argument there"),
    case!(env_nul, "a NUL in the environment").theirs("crun", "1.8.1 cuts the variable there"),
    case!(cwd_empty, "process.cwd that is empty")
        .theirs("crun", "1.8.1 doesn't name it"),
    case!(cwd_relative, "process.cwd that is relative")
        .theirs("crun", "1.8.1 takes it"),
    case!(cwd_is_file, "process.cwd that is a file"),
    case!(version_absent, "a configuration without ociVersion")
        .theirs("runc", "1.1.5 doesn't look at it")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(version_bad, "an ociVersion that isn't one").theirs("runc", "1.1.5 doesn't look at it"),
    case!(version_too_new, "an ociVersion of a later major version").theirs("runc", "1.1.5 doesn't look at it"),
    case!(id_bad, "a container id with slashes, blanks or dots alone")
        .theirs("crun", "1.8.1 takes an id with blanks"),
    case!(id_long, "a container id of 2000 characters"),
    case!(id_good, "an id may have letters, digits, and _ + - ."),
    case!(no_process, "without process nothing can be run"),
    case!(mount_without_destination, "a mount without destination")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(mount_bad_options, "mount options that are a string")
        .theirs("crun", "1.8.1 takes it"),
    case!(rlimit_duplicate, "one limit twice")
        .theirs("runc", "1.1.5 takes the last").theirs("crun", "1.8.1 takes the last"),
    case!(namespace_without_type, "a namespace without type")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(hook_without_path, "a hook without path"),
    case!(device_without_path, "a device without path")
        .theirs("runc", "1.1.5 takes it"),
    case!(seccomp_without_action, "seccomp without defaultAction")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(mapping_overlap, "id mappings that overlap"),
    case!(mapping_zero, "an id mapping of size 0"),
    case!(rdt_without_support, "linux.intelRdt on a host without resctrl")
        .theirs("runc", "1.1.5 ignores it").theirs("crun", "1.8.1 ignores it"),
    case!(memory_limit_text, "a memory limit that is a string")
        .theirs("crun", "1.8.1 takes it"),
    case!(oom_score_out_of_range, "oomScoreAdj beyond 1000"),
    case!(annotation_not_text, "an annotation that isn't a string")
        .theirs("crun", "1.8.1 says no more than `error loading config.json`"),
    case!(huge_number, "a number beyond 64 bits"),
    case!(state_dir_unusable, "a --root that is a file"),
    case!(nothing_runs_after_error, "after many refused configurations a good one runs"),
];

/// `create` of the default configuration changed at one place is refused in words.
fn bad(ctx: &Ctx, pointer: &str, value: Value, words: &[&str]) -> Done {
    ctx.bundle().set(pointer, value).refused(words).map(drop)
}

/// `create` with config.json as it is given here is refused.
fn bad_text(ctx: &Ctx, text: &[u8]) -> Result<crate::call::Output, Stop> {
    let b = ctx.bundle();
    fs::write(b.dir.join("config.json"), text)?;
    let out = ctx.call(&["create", "--bundle"]).arg(&b.dir).arg(&b.id).run()?;
    b.nothing_left()?;
    out.fails()
}

fn no_bundle(ctx: &Ctx) -> Done {
    let id = format!("{}-x", ctx.tag);
    ctx.rt(&["create", "--bundle", "/no/such/bundle", &id])?.fails()?.names(&["/no/such/bundle"])?;
    Ok(())
}

fn no_config(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    ctx.call(&["create", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.fails()?.names(&["config.json"])?;
    b.nothing_left()
}

fn config_empty(ctx: &Ctx) -> Done {
    bad_text(ctx, b"").map(drop)
}

fn config_not_json(ctx: &Ctx) -> Done {
    bad_text(ctx, b"ociVersion = 1").map(drop)
}

fn config_truncated(ctx: &Ctx) -> Done {
    let text = crate::config::default().to_string();
    bad_text(ctx, &text.as_bytes()[..text.len() / 2]).map(drop)
}

fn config_is_array(ctx: &Ctx) -> Done {
    bad_text(ctx, b"[]").map(drop)
}

fn config_is_directory(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    fs::create_dir(b.dir.join("config.json"))?;
    ctx.call(&["create", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.fails()?;
    b.nothing_left()
}

fn config_not_utf8(ctx: &Ctx) -> Done {
    let text = crate::config::default().to_string().replace("/bin/true", "@@");
    let mut bytes = text.into_bytes();
    let at = bytes.windows(2).position(|w| w == b"@@").unwrap();
    bytes.splice(at..at + 2, [b'/', 0xff, 0xfe]);
    let b = ctx.bundle();
    fs::write(b.dir.join("config.json"), &bytes)?;
    let out = ctx.call(&["run", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.fails()?;
    check!(!out.err.contains('\u{fffd}'), "the name was changed: {}", out.err);
    b.nothing_left()
}

fn config_deep(ctx: &Ctx) -> Done {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let b = ctx.bundle().set("/deep", json!("@@")).sh("exit 3");
    let text = b.config.to_string().replace("\"@@\"", &deep);
    fs::write(b.dir.join("config.json"), text)?;
    let out = ctx.call(&["run", "--bundle"]).arg(&b.dir).arg(&b.id).run()?;
    check!(out.code < 128, "it crashed: {}", out.text());
    b.nothing_left()
}

fn unknown_field(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/nobodyKnows", json!({ "x": 1 })).set("/process/nobodyKnows", json!(1));
    b.set("/linux/nobodyKnows", json!([1])).sh("exit 3").run()?.code(3)?;
    Ok(())
}

fn null_fields(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/hooks", json!(null)).set("/annotations", json!(null)).set("/linux/seccomp", json!(null));
    let b = b.set("/process/rlimits", json!(null)).set("/linux/sysctl", json!(null));
    b.sh("exit 3").run()?.code(3)?;
    Ok(())
}

fn wrong_type_args(ctx: &Ctx) -> Done {
    bad(ctx, "/process/args", json!("sh"), &["args"])
}

fn wrong_type_mounts(ctx: &Ctx) -> Done {
    bad(ctx, "/mounts", json!({ "destination": "/x" }), &["mounts"])
}

fn wrong_type_uid(ctx: &Ctx) -> Done {
    bad(ctx, "/process/user/uid", json!("root"), &["uid"])
}

fn wrong_type_readonly(ctx: &Ctx) -> Done {
    bad(ctx, "/root/readonly", json!("yes"), &["readonly"])
}

fn uid_negative(ctx: &Ctx) -> Done {
    bad(ctx, "/process/user/uid", json!(-1), &["uid"])
}

fn uid_too_big(ctx: &Ctx) -> Done {
    bad(ctx, "/process/user/uid", json!(4_294_967_296_u64), &["uid"])
}

fn uid_fraction(ctx: &Ctx) -> Done {
    bad(ctx, "/process/user/uid", json!(1.5), &["uid"])
}

fn root_absent(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| {
        c.as_object_mut().unwrap().remove("root");
    });
    b.refused(&["root"])?;
    Ok(())
}

fn root_missing(ctx: &Ctx) -> Done {
    bad(ctx, "/root/path", json!("no-such-root"), &["no-such-root"])
}

fn root_is_file(ctx: &Ctx) -> Done {
    bad(ctx, "/root/path", json!("config.json"), &["config.json", "root", "directory"])
}

fn args_absent(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| {
        c["process"].as_object_mut().unwrap().remove("args");
    });
    b.refused(&["args"])?;
    Ok(())
}

fn args_empty(ctx: &Ctx) -> Done {
    bad(ctx, "/process/args", json!([]), &["args"])
}

fn args_nul(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/args", json!(["/bin/echo", "a\0b"]));
    b.call("run").run()?.fails()?;
    b.nothing_left()
}

fn env_nul(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/env", json!(["A=a\0b"]));
    b.call("run").run()?.fails()?;
    b.nothing_left()
}

fn cwd_empty(ctx: &Ctx) -> Done {
    bad(ctx, "/process/cwd", json!(""), &["cwd"])
}

fn cwd_relative(ctx: &Ctx) -> Done {
    bad(ctx, "/process/cwd", json!("etc"), &["cwd"])
}

fn cwd_is_file(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/cwd", json!("/etc/passwd"));
    b.call("run").run()?.fails()?.names(&["/etc/passwd", "cwd", "chdir"])?;
    b.nothing_left()
}

fn version_absent(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| {
        c.as_object_mut().unwrap().remove("ociVersion");
    });
    b.refused(&["version"])?;
    Ok(())
}

fn version_bad(ctx: &Ctx) -> Done {
    bad(ctx, "/ociVersion", json!("one"), &["version"])
}

fn version_too_new(ctx: &Ctx) -> Done {
    bad(ctx, "/ociVersion", json!("2.0.0"), &["version"])
}

fn id_bad(ctx: &Ctx) -> Done {
    for id in ["../x", "a/b", "..", ".", "a b", "a\nb", ""] {
        let b = ctx.bundle();
        b.write();
        let out = ctx.call(&["create", "--bundle"]).arg(&b.dir).arg(id).run()?;
        check!(out.code != 0, "id {id:?} was taken");
    }
    let inside: Vec<_> = fs::read_dir(&ctx.root)?.flatten().map(|e| e.file_name()).collect();
    check!(inside.is_empty(), "the state directory holds {inside:?}");
    Ok(())
}

fn id_long(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    b.write();
    ctx.call(&["create", "--bundle"]).arg(&b.dir).arg("x".repeat(2000)).run()?.fails()?;
    Ok(())
}

fn id_good(ctx: &Ctx) -> Done {
    let mut b = ctx.bundle().sh("exit 3");
    b.id = format!("{}-A_b+c-d.9", b.id);
    b.run()?.code(3)?;
    Ok(())
}

fn no_process(ctx: &Ctx) -> Done {
    let b = ctx.bundle().tweak(|c| {
        c.as_object_mut().unwrap().remove("process");
    });
    b.call("run").run()?.fails()?;
    b.nothing_left()
}

fn mount_without_destination(ctx: &Ctx) -> Done {
    bad(ctx, "/mounts", json!([{ "type": "tmpfs", "source": "tmpfs" }]), &["destination", "mount"])
}

fn mount_bad_options(ctx: &Ctx) -> Done {
    bad(ctx, "/mounts", json!([{ "destination": "/mnt", "type": "tmpfs", "options": "ro" }]), &["options"])
}

fn rlimit_duplicate(ctx: &Ctx) -> Done {
    let limit = json!({ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 20 });
    bad(ctx, "/process/rlimits", json!([limit, limit]), &["RLIMIT_NOFILE", "rlimit"])
}

fn namespace_without_type(ctx: &Ctx) -> Done {
    bad(ctx, "/linux/namespaces", json!([{ "path": "" }]), &["namespace", "type"])
}

fn hook_without_path(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/hooks/createRuntime", json!([{ "args": ["x"] }]));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn device_without_path(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/linux/devices", json!([{ "type": "c", "major": 1, "minor": 3 }]));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn seccomp_without_action(ctx: &Ctx) -> Done {
    bad(ctx, "/linux/seccomp", json!({ "syscalls": [{ "names": ["getcpu"], "action": "SCMP_ACT_ERRNO" }] }), &["action", "seccomp"])
}

fn mappings(ctx: &Ctx, list: Value) -> Done {
    let b = ctx.bundle().tweak(|c| {
        crate::config::Edit::userns(c);
        c["linux"]["uidMappings"] = list;
    });
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn mapping_overlap(ctx: &Ctx) -> Done {
    mappings(ctx, json!([{ "containerID": 0, "hostID": 100_000, "size": 10 },
                         { "containerID": 5, "hostID": 200_000, "size": 10 }]))
}

fn mapping_zero(ctx: &Ctx) -> Done {
    mappings(ctx, json!([{ "containerID": 0, "hostID": 100_000, "size": 0 }]))
}

fn rdt_without_support(ctx: &Ctx) -> Done {
    if std::path::Path::new("/sys/fs/resctrl/schemata").exists() {
        skip!("resctrl is mounted");
    }
    let b = ctx.bundle().set("/linux/intelRdt", json!({ "closID": "none" }));
    b.try_create()?.fails()?;
    b.nothing_left()
}

fn memory_limit_text(ctx: &Ctx) -> Done {
    bad(ctx, "/linux/resources/memory", json!({ "limit": "64M" }), &["limit", "memory"])
}

fn oom_score_out_of_range(ctx: &Ctx) -> Done {
    let b = ctx.bundle().set("/process/oomScoreAdj", json!(1001));
    b.try_create()?.fails()?.names(&["oom"])?;
    b.nothing_left()
}

fn annotation_not_text(ctx: &Ctx) -> Done {
    bad(ctx, "/annotations", json!({ "k": { "x": 1 } }), &["annotations"])
}

fn huge_number(ctx: &Ctx) -> Done {
    let text = ctx.bundle().set("/linux/resources/memory/limit", json!("@@")).config.to_string();
    bad_text(ctx, text.replace("\"@@\"", "99999999999999999999999").as_bytes()).map(drop)
}

fn state_dir_unusable(ctx: &Ctx) -> Done {
    let file = ctx.host_file("file", "");
    let b = ctx.bundle();
    b.write();
    let call = ctx.program(&ctx.runtime).arg("--root").arg(&file).args(&["create", "--bundle"]).arg(&b.dir).arg(&b.id);
    call.run()?.fails()?;
    same!(fs::read_to_string(&file)?, "", "the file");
    b.nothing_left()
}

fn nothing_runs_after_error(ctx: &Ctx) -> Done {
    let mut b = ctx.bundle();
    for value in [json!([]), json!("x"), json!([1]), json!(["/no/such"])] {
        b = b.set("/process/args", value);
        b.call("run").run()?.fails()?;
    }
    b.sh("exit 3").run()?.code(3)?;
    Ok(())
}

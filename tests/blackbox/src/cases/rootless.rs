//! The runtime as an ordinary user, with a configuration like that of `spec --rootless`.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::bundle::Bundle;
use crate::call::{Call, Output};
use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::{Ctx, chown};
use crate::host::wait_for;
use crate::tty::Inbox;

use super::seccomp::{GETCPU, answer, notify_filter};

pub(crate) const CASES: &[Case] = &[
    case!(runs, "an ordinary user runs a container as root inside"),
    case!(exit_code, "the exit code passes"),
    case!(mapping, "root inside is the user outside, and no other id is mapped"),
    case!(setgroups_denied, "setgroups is denied"),
    case!(lifecycle, "create, start, state, exec, kill, delete work"),
    case!(exec, "exec enters the user namespace"),
    case!(devices, "the default devices work"),
    case!(no_privilege, "root inside can't read what the user can't"),
    case!(owner_of_files, "what is written inside belongs to the user outside"),
    case!(spec_rootless, "spec --rootless writes a configuration that runs")
        .theirs("crun", "1.8.1 writes no mappings"),
    case!(without_userns, "without a user namespace it is an error that says so")
        .theirs("crun", "1.8.1 makes a user namespace of its own"),
    case!(mapping_of_others, "mapping the ids of others without a helper is refused"),
    case!(terminal, "a terminal works"),
    case!(state_dir_default, "without --root the state lies in XDG_RUNTIME_DIR"),
    case!(limits_not_honoured, "a memory limit that can't be set is an error"),
    case!(notify, "SCMP_ACT_NOTIFY hands a listener to the socket"),
    case!(notify_exec, "a listener of exec is handed over, or refused at once by its name"),
    case!(host_root_of_mount, "a bind mount of a directory of the user works, read-only too"),
];

const UID: u32 = 1000;

/// A bundle of that user, with a configuration as `spec --rootless` writes it.
pub(super) fn bundle(ctx: &Ctx) -> Result<Bundle<'_>, Stop> {
    ctx.need_userns()?;
    let root = ctx.dir.join("rootless");
    fs::create_dir_all(&root)?;
    chown(&root, UID);
    let b = ctx.bundle().tweak(|c| {
        c.join("user", None);
        c.leave("network");
        c["linux"]["uidMappings"] = json!([{ "containerID": 0, "hostID": UID, "size": 1 }]);
        c["linux"]["gidMappings"] = json!([{ "containerID": 0, "hostID": UID, "size": 1 }]);
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("resources");
        linux.remove("cgroupsPath");
        c.unmount("/sys");
        c.mount("/sys", "none", "/sys", &["rbind", "nosuid", "noexec", "nodev", "ro"]);
        for m in c["mounts"].as_array_mut().unwrap() {
            if m["destination"] == "/dev/pts" {
                m["options"] = json!(["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]);
            }
        }
    });
    own(&b.dir)?;
    Ok(b)
}

/// Gives a bundle to the user: the directories, not the files, which are hard links.
fn own(dir: &Path) -> Result<(), Stop> {
    chown(dir, UID);
    for entry in fs::read_dir(dir)?.flatten() {
        if entry.file_type()?.is_dir() {
            own(&entry.path())?;
        }
    }
    Ok(())
}

/// The runtime as that user.
pub(super) fn call(ctx: &Ctx, args: &[&str]) -> Call {
    let root = ctx.dir.join("rootless");
    let call = ctx.program(&ctx.runtime).user(UID).env("XDG_RUNTIME_DIR", &root).env("HOME", &root);
    call.cwd("/").arg("--root").arg(&root).args(args)
}

/// `run` as that user.
pub(super) fn run(b: Bundle) -> Result<Output, Stop> {
    b.write();
    call(b.ctx, &["run", "--bundle"]).arg(&b.dir).arg(&b.id).run()
}

fn runs(ctx: &Ctx) -> Done {
    same!(run(bundle(ctx)?.args(&["/bin/id", "-u"]))?.ok()?.line(), "0", "uid inside");
    Ok(())
}

fn exit_code(ctx: &Ctx) -> Done {
    run(bundle(ctx)?.sh("exit 7"))?.code(7)?;
    Ok(())
}

fn mapping(ctx: &Ctx) -> Done {
    let out = run(bundle(ctx)?.sh("cat /proc/self/uid_map /proc/self/gid_map"))?.ok()?;
    for line in out.out.lines() {
        same!(line.split_whitespace().collect::<Vec<_>>(), vec!["0", "1000", "1"], "mapping");
    }
    Ok(())
}

fn setgroups_denied(ctx: &Ctx) -> Done {
    same!(run(bundle(ctx)?.args(&["/bin/cat", "/proc/self/setgroups"]))?.ok()?.line(), "deny", "setgroups");
    Ok(())
}

fn lifecycle(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.args(&["/bin/sleep", "1000"]);
    b.write();
    call(ctx, &["create", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.ok()?;
    call(ctx, &["start", &b.id]).run()?.ok()?;
    check!(call(ctx, &["state", &b.id]).run()?.ok()?.out.contains("running"), "it doesn't run");
    call(ctx, &["exec", &b.id, "/bin/true"]).run()?.ok()?;
    call(ctx, &["kill", &b.id, "KILL"]).run()?.ok()?;
    crate::host::wait_for("the end", 5, || {
        call(ctx, &["state", &b.id]).run().is_ok_and(|o| o.out.contains("stopped"))
    })?;
    call(ctx, &["delete", &b.id]).run()?.ok()?;
    call(ctx, &["state", &b.id]).run()?.fails()?;
    Ok(())
}

fn exec(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.args(&["/bin/sleep", "1000"]);
    b.write();
    call(ctx, &["run", "--detach", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.ok()?;
    let out = call(ctx, &["exec", &b.id, "/bin/sh", "-c", "id -u; cat /proc/self/uid_map"]).run()?.ok()?;
    same!(out.out.split_whitespace().collect::<Vec<_>>(), vec!["0", "0", "1000", "1"], "uid and mapping");
    Ok(())
}

fn devices(ctx: &Ctx) -> Done {
    let out = run(bundle(ctx)?.sh("head -c 3 /dev/zero | wc -c; echo x > /dev/null; head -c 2 /dev/urandom | wc -c"))?;
    same!(out.ok()?.out, "3\n2\n", "bytes read");
    Ok(())
}

fn no_privilege(ctx: &Ctx) -> Done {
    let secret = ctx.host_dir("secret").join("file");
    fs::write(&secret, "secret")?;
    crate::ctx::chmod(&secret, 0o600);
    let all = &["CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"][..];
    let b = bundle(ctx)?.tweak(|c| {
        c.caps([all, all, all, &[], &[]]);
        c.mount("/mnt", "bind", secret.parent().unwrap().to_str().unwrap(), &["bind"]);
    });
    let out = run(b.args(&["/bin/cat", "/mnt/file"]))?.fails()?;
    check!(!out.out.contains("secret"), "read a file of the host's root");
    Ok(())
}

fn owner_of_files(ctx: &Ctx) -> Done {
    use std::os::unix::fs::MetadataExt;
    let dir = ctx.host_dir("own");
    chown(&dir, UID);
    let b = bundle(ctx)?.tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind"]));
    run(b.sh("touch /mnt/made"))?.ok()?;
    same!(fs::metadata(dir.join("made"))?.uid(), UID, "owner");
    Ok(())
}

fn spec_rootless(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?;
    call(ctx, &["spec", "--rootless"]).cwd(&b.dir).run()?.ok()?;
    let file = b.dir.join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&file)?)?;
    same!(config["linux"]["uidMappings"][0]["hostID"], json!(UID), "mapped id");
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/sh", "-c", "exit 4"]);
    fs::write(&file, config.to_string())?;
    call(ctx, &["run", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.code(4)?;
    Ok(())
}

fn without_userns(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.tweak(|c| {
        c.leave("user");
        let linux = c["linux"].as_object_mut().unwrap();
        linux.remove("uidMappings");
        linux.remove("gidMappings");
    });
    run(b)?.fails()?.names(&["user namespace", "rootless", "not permitted"])?;
    Ok(())
}

fn mapping_of_others(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.set("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 0, "size": 1 }]));
    let out = run(b.args(&["/bin/id", "-u"]))?.fails()?;
    check!(!out.out.contains('0'), "it ran");
    Ok(())
}

fn terminal(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.set("/process/terminal", json!(true)).probe(&["tty"]);
    b.write();
    let pty = crate::tty::Pty::new()?;
    chown(&pty.slave, UID);
    let call = call(ctx, &["run", "--bundle"]).arg(&b.dir).arg(&b.id);
    let out = pty.run(call, "", b"")?.ok()?;
    check!(out.out.contains("isatty0 1"), "shown: {:?}", out.out);
    Ok(())
}

fn state_dir_default(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.args(&["/bin/sleep", "1000"]);
    b.write();
    let home = ctx.dir.join("rootless");
    let plain = |args: &[&str]| {
        ctx.program(&ctx.runtime).user(UID).env("XDG_RUNTIME_DIR", &home).env("HOME", &home).cwd("/").args(args)
    };
    plain(&["run", "--detach", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.ok()?;
    let found = plain(&["state", &b.id]).run()?;
    let inside: Vec<_> = fs::read_dir(&home)?.flatten().map(|e| e.file_name()).collect();
    plain(&["delete", "--force", &b.id]).run()?.ok()?;
    found.ok()?;
    check!(!inside.is_empty(), "nothing in XDG_RUNTIME_DIR");
    for entry in inside {
        let _ = fs::remove_dir_all(home.join(entry));
    }
    Ok(())
}

fn limits_not_honoured(ctx: &Ctx) -> Done {
    let b = bundle(ctx)?.set("/linux/resources/memory/limit", json!(64 << 20)).set("/linux/cgroupsPath", json!("/x"));
    run(b)?.fails()?;
    Ok(())
}

fn host_root_of_mount(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("own");
    fs::write(dir.join("f"), "own")?;
    let b = bundle(ctx)?.tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["rbind", "ro"]));
    same!(run(b.sh("cat /mnt/f; echo x > /mnt/g || echo refused"))?.out, "ownrefused\n", "reading and writing");
    Ok(())
}

/// A socket to which the user may connect.
fn agent(ctx: &Ctx) -> Result<Inbox, Stop> {
    let inbox = Inbox::new(&ctx.host_dir("agent"))?;
    chown(&inbox.path, UID);
    Ok(inbox)
}

fn notify(ctx: &Ctx) -> Done {
    let inbox = agent(ctx)?;
    let b = bundle(ctx)?.probe(&["syscall", GETCPU]).set("/linux/seccomp", notify_filter(&inbox));
    b.write();
    let running = call(ctx, &["run", "--bundle"]).arg(&b.dir).arg(&b.id).spawn()?;
    let (_, mut fds) = inbox.receive(8)?;
    same!(fds.len(), 1, "descriptors");
    answer(fds.remove(0), 42);
    same!(running.wait()?.ok()?.field("errno")?, "42", "errno that the agent answered");
    Ok(())
}

fn notify_exec(ctx: &Ctx) -> Done {
    let inbox = agent(ctx)?;
    let b = bundle(ctx)?.args(&["/bin/sleep", "1000"]).set("/linux/seccomp", notify_filter(&inbox));
    b.write();
    let container = call(ctx, &["run", "--bundle"]).arg(&b.dir).arg(&b.id).spawn()?;
    let (_, mut fds) = inbox.receive(8)?;
    answer(fds.remove(0), 42);
    wait_for("the container", 8, || call(ctx, &["state", &b.id]).run().is_ok_and(|o| o.out.contains("running")))?;
    let begun = std::time::Instant::now();
    let exec = call(ctx, &["exec", &b.id, "/bin/hull-probe", "syscall", GETCPU]).spawn()?;
    match inbox.receive(5) {
        Ok((_, mut fds)) => {
            answer(fds.remove(0), 43);
            same!(exec.wait()?.ok()?.field("errno")?, "43", "errno that the agent answered");
        }
        Err(_) => {
            exec.wait()?.fails()?.names(&["linux.seccomp", "pidfd_getfd"])?;
            check!(begun.elapsed().as_secs() < 9, "it took {:?}", begun.elapsed());
        }
    }
    call(ctx, &["kill", &b.id, "KILL"]).run()?.ok()?;
    container.wait()?.code(137)?;
    Ok(())
}

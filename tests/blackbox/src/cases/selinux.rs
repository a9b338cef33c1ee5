//! SELinux labels of processes, keyrings and mounts where the kernel has `tests/vm/selinux.cil` in force, and their
//! refusal where it has no SELinux.

use std::fs;
use std::path::Path;

use rustix::fs::XattrFlags;
use serde_json::json;

use crate::bundle::Bundle;
use crate::call::Output;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::config::Edit;
use crate::ctx::Ctx;
use crate::tty::Pty;

pub(crate) const CASES: &[Case] = &[
    case!(label, "process.selinuxLabel is the program's label"),
    case!(unlabelled, "a program without a label has the runtime's"),
    case!(in_force, "what the policy forbids the label, by type or by category, fails"),
    case!(created, "a label holds for create and start too"),
    case!(of_exec, "a process of exec has the container's label, and it is in force"),
    case!(exec_option, "exec --process-label gives another label"),
    case!(exec_document, "exec --process gives the label of its document"),
    case!(exec_document_unlabelled, "exec --process without a label leaves the container's"),
    case!(pid_by_path, "a label holds in a pid namespace that is joined, for exec too"),
    case!(user_namespace, "a label holds with a user namespace, for exec too"),
    case!(start_hook, "a startContainer hook has the program's label"),
    case!(unknown, "a label that the policy doesn't know is an error that names it and leaves nothing"),
    case!(unknown_of_exec, "so it is with exec, and the container stays"),
    case!(no_new_privs, "noNewPrivileges and a label go together where the policy lets them"),
    case!(no_new_privs_denied, "where it does not, that is an error that leaves nothing"),
    case!(keyring, "the session keyring has the container's label, for exec too")
        .theirs("crun", "1.8.1 leaves the caller's to exec"),
    case!(keyring_user_namespace, "so it has with a user namespace")
        .theirs("crun", "1.8.1 leaves the caller's to exec"),
    case!(mount_label, "linux.mountLabel is the label of what is mounted, but for proc and sysfs"),
    case!(mount_label_readonly, "a mount that is read-only has the label too")
        .theirs("runc", "1.1.5 can't label the message queues, which are read-only by then"),
    case!(mount_label_user_namespace, "so it is with a user namespace"),
    case!(mount_label_in_force, "what the policy forbids for the label of a mount fails"),
    case!(mount_label_overlay, "an overlay has the label, however long its options are"),
    case!(mount_label_masked, "a masked directory has the label"),
    case!(mount_label_terminal, "the container's terminal has the label"),
    case!(mount_label_root, "the root file system keeps the labels of its files"),
    case!(mount_label_unknown, "a mount label that the policy doesn't know is an error that names it")
        .theirs("crun", "1.8.1 names the mount alone"),
    case!(context_option, "a mount's own option gives its label, with quotes or without"),
    case!(context_option_first, "a mount's own option goes before linux.mountLabel")
        .theirs("runc", "1.1.5 gives the kernel both, which it refuses")
        .theirs("crun", "1.8.1 gives the kernel both, which it refuses"),
    case!(context_type, "the annotation run.oci.mount_context_type chooses the option for linux.mountLabel")
        .theirs("runc", "knows no such annotation"),
    case!(label_without_selinux, "without SELinux in the kernel process.selinuxLabel is refused by name")
        .theirs("crun", "1.8.1 names the file of procfs alone"),
    case!(mount_label_without_selinux, "without SELinux in the kernel linux.mountLabel is refused by name")
        .theirs("crun", "1.8.1 ignores it"),
];

const HOST: &str = "system_u:system_r:hull_host_t:s0-s0:c0.c3";
const LABEL: &str = "system_u:system_r:hull_test_t:s0:c1,c2";
const OTHER: &str = "system_u:system_r:hull_other_t:s0";
/// A label that a process with noNewPrivileges can't take.
const PLAIN: &str = "system_u:system_r:hull_plain_t:s0";
const UNKNOWN: &str = "system_u:system_r:no_such_t:s0";
const HOST_FILE: &str = "system_u:object_r:hull_host_t:s0";
const FILE: &str = "system_u:object_r:hull_file_t:s0:c1,c2";
const SECRET: &str = "system_u:object_r:hull_secret_t:s0";
/// Files with a category that the container has not.
const FOREIGN: &str = "system_u:object_r:hull_file_t:s0:c3";

const SHOW: [&str; 2] = ["/bin/cat", "/proc/self/attr/current"];
/// Tries each of three files, of which the policy lets it write to one.
const WRITE: &str = "for f in data secret foreign; do echo x >/etc/$f && echo $f; done; true";

fn need() -> Done {
    let own = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    let enforcing = fs::read_to_string("/sys/fs/selinux/enforce").is_ok_and(|text| text.trim() == "1");
    if !enforcing || !own.contains(":hull_host_t:") {
        skip!("the kernel has no SELinux with the policy of tests/vm");
    }
    Ok(())
}

fn labelled<'a>(ctx: &'a Ctx, label: &str) -> Bundle<'a> {
    ctx.bundle().set("/process/selinuxLabel", json!(label))
}

/// The label that a program printed.
fn of(out: Output) -> Result<String, Stop> {
    Ok(out.ok()?.line().trim_matches('\0').to_owned())
}

fn relabel(path: &Path, label: &str) -> Done {
    Ok(rustix::fs::setxattr(path, "security.selinux", label.as_bytes(), XattrFlags::empty())?)
}

fn label_of(path: &Path) -> Result<String, Stop> {
    let mut text = [0; 256];
    let n = rustix::fs::getxattr(path, "security.selinux", &mut text)?;
    Ok(String::from_utf8_lossy(&text[..n]).trim_matches('\0').to_owned())
}

/// Adds the files that [`WRITE`] tries.
fn with_files(b: Bundle) -> Result<Bundle, Stop> {
    let etc = b.rootfs().join("etc");
    for (name, label) in [("data", FILE), ("secret", SECRET), ("foreign", FOREIGN)] {
        fs::write(etc.join(name), "old\n")?;
        relabel(&etc.join(name), label)?;
    }
    Ok(b.rw())
}

fn label(ctx: &Ctx) -> Done {
    need()?;
    same!(of(labelled(ctx, LABEL).args(&SHOW).run()?)?, LABEL, "label");
    Ok(())
}

fn unlabelled(ctx: &Ctx) -> Done {
    need()?;
    same!(of(ctx.bundle().args(&SHOW).run()?)?, HOST, "label");
    Ok(())
}

fn in_force(ctx: &Ctx) -> Done {
    need()?;
    let b = with_files(labelled(ctx, LABEL))?;
    let secret = b.rootfs().join("etc/secret");
    same!(b.sh(WRITE).run()?.ok()?.out, "data\n", "what could be written");
    same!(fs::read_to_string(secret)?, "old\n", "a file that may not be written");
    // The same by who may.
    let out = with_files(ctx.bundle())?.sh(WRITE).run()?.ok()?;
    same!(out.out, "data\nsecret\nforeign\n", "what could be written without a label");
    Ok(())
}

fn created(ctx: &Ctx) -> Done {
    need()?;
    let c = labelled(ctx, LABEL).sh("cat /proc/self/attr/current; echo; exec sleep 1000").create()?;
    c.start()?;
    c.wait_out("\n")?;
    same!(c.out().trim_matches(['\n', '\0']), LABEL, "label");
    Ok(())
}

fn of_exec(ctx: &Ctx) -> Done {
    need()?;
    let c = with_files(labelled(ctx, LABEL))?.up()?;
    same!(of(c.exec(&SHOW)?)?, LABEL, "label");
    same!(c.sh(WRITE)?.ok()?.out, "data\n", "what could be written");
    Ok(())
}

fn exec_option(ctx: &Ctx) -> Done {
    need()?;
    let c = labelled(ctx, LABEL).up()?;
    same!(of(c.exec_with(&["--process-label", OTHER], &SHOW)?)?, OTHER, "label");
    Ok(())
}

fn exec_document(ctx: &Ctx) -> Done {
    need()?;
    let c = labelled(ctx, LABEL).up()?;
    let mut process = c.process(&SHOW);
    process["selinuxLabel"] = json!(OTHER);
    same!(of(c.exec_process(&process)?)?, OTHER, "label");
    Ok(())
}

fn exec_document_unlabelled(ctx: &Ctx) -> Done {
    need()?;
    let c = labelled(ctx, LABEL).up()?;
    same!(of(c.exec_process(&c.process(&SHOW))?)?, LABEL, "label");
    Ok(())
}

fn pid_by_path(ctx: &Ctx) -> Done {
    need()?;
    let first = labelled(ctx, OTHER).up()?;
    let path = format!("/proc/{}/ns/pid", first.pid()?);
    let second = labelled(ctx, LABEL).tweak(|v| v.join("pid", Some(&path)));
    let second = second.sh("cat /proc/self/attr/current; echo; exec sleep 1000").up()?;
    second.wait_out("\n")?;
    same!(second.out().trim_matches(['\n', '\0']), LABEL, "label");
    same!(of(second.exec(&SHOW)?)?, LABEL, "label of exec");
    Ok(())
}

fn user_namespace(ctx: &Ctx) -> Done {
    need()?;
    let b = with_files(labelled(ctx, LABEL).tweak(Edit::userns))?;
    for name in ["data", "secret", "foreign"] {
        crate::ctx::chmod(&b.rootfs().join("etc").join(name), 0o666);
    }
    let c = b.sh("cat /proc/self/attr/current; echo; exec sleep 1000").up()?;
    c.wait_out("\n")?;
    same!(c.out().trim_matches(['\n', '\0']), LABEL, "label");
    same!(of(c.exec(&SHOW)?)?, LABEL, "label of exec");
    same!(c.sh(WRITE)?.ok()?.out, "data\n", "what could be written");
    Ok(())
}

fn start_hook(ctx: &Ctx) -> Done {
    need()?;
    let script = "cat /proc/self/attr/current >/etc/label";
    let hook = json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"] }]);
    let b = labelled(ctx, LABEL).rw().set("/hooks/startContainer", hook);
    same!(of(b.args(&["/bin/cat", "/etc/label"]).run()?)?, LABEL, "label");
    Ok(())
}

fn unknown(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, UNKNOWN);
    let out = b.call("run").run()?.fails()?;
    if ctx.is_hull() {
        check!(out.err.contains("process.selinuxLabel") && out.err.contains(UNKNOWN), "{}", out.err);
    }
    b.nothing_left()
}

fn unknown_of_exec(ctx: &Ctx) -> Done {
    need()?;
    let c = labelled(ctx, LABEL).up()?;
    let out = c.exec_with(&["--process-label", UNKNOWN], &SHOW)?.fails()?;
    if ctx.is_hull() {
        check!(out.err.contains("process.selinuxLabel") && out.err.contains(UNKNOWN), "{}", out.err);
    }
    same!(c.status()?, "running", "status");
    Ok(())
}

fn no_new_privs(ctx: &Ctx) -> Done {
    need()?;
    let show = "grep NoNewPrivs /proc/self/status; cat /proc/self/attr/current";
    for on in [true, false] {
        let b = labelled(ctx, LABEL).set("/process/noNewPrivileges", json!(on)).sh(show);
        same!(of(b.run()?)?, format!("NoNewPrivs:\t{}\n{LABEL}", i32::from(on)), "noNewPrivileges and label");
    }
    Ok(())
}

fn no_new_privs_denied(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, PLAIN).args(&SHOW);
    b.call("run").run()?.fails()?.names(&["operation not permitted"])?;
    b.nothing_left()?;
    let b = labelled(ctx, PLAIN).set("/process/noNewPrivileges", json!(false)).args(&SHOW);
    same!(of(b.run()?)?, PLAIN, "label");
    Ok(())
}

fn check_keyring(out: &Output, id: &str) -> Done {
    let description = out.field("description")?;
    check!(description.ends_with(id), "{}", out.text());
    same!(out.field("label")?, LABEL, "label of the keyring");
    Ok(())
}

const KEYRING: [&str; 2] = ["/bin/hull-probe", "keyring"];

fn keyring(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).args(&KEYRING);
    let id = b.id.clone();
    check_keyring(&b.run()?.ok()?, &id)?;
    let c = labelled(ctx, LABEL).up()?;
    check_keyring(&c.exec(&KEYRING)?.ok()?, &c.id)
}

fn keyring_user_namespace(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).tweak(Edit::userns).args(&KEYRING);
    let id = b.id.clone();
    check_keyring(&b.run()?.ok()?, &id)?;
    let c = labelled(ctx, LABEL).tweak(Edit::userns).up()?;
    check_keyring(&c.exec(&KEYRING)?.ok()?, &c.id)
}

/// Runs the probe over the paths; each has the label that comes with it.
fn check_labels(b: Bundle, expected: &[(&str, &str)]) -> Done {
    let mut args = vec!["label"];
    args.extend(expected.iter().map(|e| e.0));
    let out = b.probe(&args).run()?.ok()?;
    for (path, label) in expected {
        same!(out.field(path)?, *label, "label of {path}");
    }
    Ok(())
}

fn mount_label(ctx: &Ctx) -> Done {
    need()?;
    let mounts = [
        ("/dev", FILE),
        ("/dev/null", FILE),
        ("/dev/pts", FILE),
        ("/dev/pts/ptmx", FILE),
        ("/dev/shm", FILE),
        ("/dev/mqueue", FILE),
        ("/mnt", FILE),
        ("/proc", HOST_FILE),
        ("/sys", HOST_FILE),
        ("/sys/fs/cgroup", HOST_FILE),
    ];
    let b = || {
        let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE));
        b.tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &["tmpcopyup"]))
    };
    check_labels(b(), &mounts)?;
    let out = b().args(&["/bin/cat", "/proc/self/mountinfo"]).run()?.ok()?;
    for at in ["/dev", "/dev/pts", "/dev/shm", "/mnt"] {
        let line = out.out.lines().find(|l| l.split(' ').nth(4) == Some(at)).unwrap_or_default();
        check!(line.contains(&format!("context=\"{FILE}\"")), "{at}: {line}");
    }
    Ok(())
}

fn mount_label_readonly(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE)).tweak(|c| {
        for at in ["/dev/shm", "/dev/mqueue"] {
            c.unmount(at);
            let kind = if at == "/dev/shm" { "tmpfs" } else { "mqueue" };
            c.mount(at, kind, kind, &["ro", "nosuid"]);
        }
    });
    let script =
        "hull-probe label /dev/shm /dev/mqueue; touch /dev/shm/f /dev/mqueue/f 2>/dev/null; ls /dev/shm /dev/mqueue";
    let out = b.sh(script).run()?.ok()?;
    same!(
        out.out,
        format!("/dev/shm {FILE}\n/dev/mqueue {FILE}\n/dev/mqueue:\n\n/dev/shm:\n"),
        "labels, and what was made"
    );
    Ok(())
}

fn mount_label_user_namespace(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE)).tweak(Edit::userns);
    check_labels(
        b,
        &[("/dev", FILE), ("/dev/pts", FILE), ("/dev/shm", FILE), ("/dev/mqueue", FILE), ("/proc", HOST_FILE)],
    )
}

fn mount_label_in_force(ctx: &Ctx) -> Done {
    need()?;
    for (mount, written) in [(FILE, "written\n"), (SECRET, ""), (FOREIGN, "")] {
        let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(mount));
        let out = b.sh("echo x >/dev/shm/f && echo written; true").run()?.ok()?;
        same!(out.out, written, "with {mount}");
    }
    Ok(())
}

fn mount_label_overlay(ctx: &Ctx) -> Done {
    need()?;
    for layers in [2, 12] {
        let dir = ctx.host_dir("layers");
        let layers: Vec<String> =
            (0..layers).map(|n| format!("{}/a-layer-with-a-rather-long-name-{n}", dir.display())).collect();
        for layer in &layers {
            fs::create_dir(layer)?;
            fs::write(format!("{layer}/f"), "")?;
        }
        let lower = format!("lowerdir={}", layers.join(":"));
        let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE));
        let b = b.tweak(|c| c.mount("/mnt", "overlay", "layers", &[&lower]));
        check_labels(b, &[("/mnt", FILE), ("/mnt/f", FILE)])?;
        same!(label_of(&dir.join("a-layer-with-a-rather-long-name-0/f"))?, HOST_FILE, "label of a file of a layer");
    }
    Ok(())
}

fn mount_label_masked(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE));
    check_labels(
        b.set("/linux/maskedPaths", json!(["/root", "/home", "/proc/fs", "/sys/firmware"])),
        &[("/root", FILE), ("/home", FILE), ("/proc/fs", FILE), ("/sys/firmware", FILE)],
    )
}

fn mount_label_terminal(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE)).set("/process/terminal", json!(true));
    let b = b.probe(&["label", "/proc/self/fd/0", "/dev/console"]);
    let out = Pty::new()?.run(b.call("run"), "", b"")?.ok()?;
    for path in ["/proc/self/fd/0", "/dev/console"] {
        same!(out.field(path)?, FILE, "label of {path}");
    }
    Ok(())
}

fn mount_label_root(ctx: &Ctx) -> Done {
    need()?;
    let b = with_files(labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE)))?;
    let host = ctx.host_file("bound", "");
    relabel(&host, SECRET)?;
    let (source, root) = (host.to_str().unwrap().to_owned(), b.rootfs());
    let b = b.tweak(|c| c.mount("/mnt/bound", "bind", &source, &["bind"]));
    check_labels(
        b,
        &[
            ("/", HOST_FILE),
            ("/root", HOST_FILE),
            ("/etc/secret", SECRET),
            ("/etc/foreign", FOREIGN),
            ("/mnt/bound", SECRET),
        ],
    )?;
    same!(label_of(&root)?, HOST_FILE, "label of the root afterwards");
    same!(label_of(&root.join("etc/secret"))?, SECRET, "label of a file afterwards");
    Ok(())
}

fn mount_label_unknown(ctx: &Ctx) -> Done {
    need()?;
    let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(UNKNOWN));
    b.call("run").run()?.fails()?.names(&[UNKNOWN])?;
    b.nothing_left()
}

fn context_option(ctx: &Ctx) -> Done {
    need()?;
    let quoted = format!("context=\"{FILE}\"");
    let plain = format!("context={SECRET}");
    let root = format!("rootcontext={SECRET}");
    let b = labelled(ctx, LABEL).tweak(|c| {
        c.mount("/mnt", "tmpfs", "tmpfs", &[&quoted, "mode=755"]);
        c.mount("/tmp", "tmpfs", "tmpfs", &["mode=755", &plain]);
        c.mount("/run", "tmpfs", "tmpfs", &[&root]);
    });
    check_labels(b, &[("/mnt", FILE), ("/tmp", SECRET), ("/run", SECRET), ("/dev/shm", HOST_FILE)])
}

fn context_option_first(ctx: &Ctx) -> Done {
    need()?;
    let own = format!("context={SECRET}");
    let b = labelled(ctx, LABEL).set("/linux/mountLabel", json!(FILE));
    let b = b.tweak(|c| c.mount("/mnt", "tmpfs", "tmpfs", &[&own]));
    check_labels(b, &[("/mnt", SECRET), ("/dev/shm", FILE)])
}

fn context_type(ctx: &Ctx) -> Done {
    need()?;
    // What is made in a directory has its type, as has a directory in its file system.
    let made = "system_u:object_r:hull_file_t:s0";
    for (kind, root, file) in [("context", FILE, FILE), ("rootcontext", FILE, made), ("fscontext", made, made)] {
        let b = ctx.bundle().set("/linux/mountLabel", json!(FILE));
        let b = b.set("/annotations", json!({ "run.oci.mount_context_type": kind }));
        let script = "echo >/dev/shm/f; hull-probe label /dev/shm /dev/shm/f; grep ' /dev/shm ' /proc/self/mountinfo";
        let out = b.sh(script).run()?.ok()?;
        same!((out.field("/dev/shm")?.as_str(), out.field("/dev/shm/f")?.as_str()), (root, file), "labels with {kind}");
        check!(out.out.contains(&format!(",{kind}=\"{FILE}\"")), "{kind}: {}", out.out);
    }
    Ok(())
}

/// Whether the kernel has SELinux, with whatever policy.
fn present() -> bool {
    let kinds = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    kinds.lines().any(|l| l.ends_with("\tselinuxfs"))
}

fn label_without_selinux(ctx: &Ctx) -> Done {
    if present() {
        skip!("the kernel has SELinux");
    }
    let b = labelled(ctx, LABEL);
    let words = if ctx.is_hull() { "process.selinuxLabel: this kernel has no SELinux" } else { "selinux" };
    b.call("run").run()?.fails()?.names(&[words])?;
    b.nothing_left()?;
    let c = ctx.bundle().up()?;
    c.exec_with(&["--process-label", LABEL], &SHOW)?.fails()?.names(&[words])?;
    same!(c.status()?, "running", "status");
    Ok(())
}

fn mount_label_without_selinux(ctx: &Ctx) -> Done {
    if present() {
        skip!("the kernel has SELinux");
    }
    let b = ctx.bundle().set("/linux/mountLabel", json!(FILE));
    let words = if ctx.is_hull() { "linux.mountLabel: this kernel has no SELinux" } else { "context" };
    b.call("run").run()?.fails()?.names(&[words])?;
    b.nothing_left()
}

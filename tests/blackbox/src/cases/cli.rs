//! The command line: options, exit codes, logs, and what engines read from the output.

use std::fs;

use serde_json::{Value, json};

use crate::case::{Case, Done, Stop, case, check, same};
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(version, "--version names the program, its version and that of the specification"),
    case!(version_short, "-v says the same"),
    case!(help, "--help succeeds and names the commands"),
    case!(help_of_command, "a command's --help succeeds"),
    case!(unknown_command, "an unknown command fails and is named"),
    case!(unknown_option, "an unknown option fails and is named"),
    case!(unknown_option_of_command, "an unknown option of a command fails and is named"),
    case!(missing_id, "a command without its id fails"),
    case!(extra_argument, "a command with an argument too many fails").theirs("crun", "1.8.1 takes some"),
    case!(equals, "--option=value is --option value"),
    case!(short_options, "-b, -d, -f and -q are short for --bundle, --detach, --force and --quiet"),
    case!(options_after_id, "options may follow the container id").theirs("crun", "1.8.1 refuses them"),
    case!(single_dash, "long options may have a single dash").theirs("crun", "1.8.1 takes them for short ones"),
    case!(root_is_made, "--root is made if it isn't there"),
    case!(root_equals, "--root=DIR"),
    case!(log_json, "--log FILE --log-format json gets exactly one object, of level error, for a failure"),
    case!(log_text, "--log FILE gets the error as text"),
    case!(log_quiet, "--log FILE stays without errors when nothing fails"),
    case!(log_appends, "--log FILE is appended to"),
    case!(log_unwritable, "a log that can't be written to is an error"),
    case!(log_format_bad, "an unknown --log-format is refused"),
    case!(error_on_stderr, "an error is told on standard error, too, when there is a log"),
    case!(debug, "--debug says more, and changes nothing else"),
    case!(features, "features tells versions, hooks, mount options and what Linux offers as JSON")
        .theirs("crun", "1.8.1 has no features"),
    case!(features_seccomp, "features tells actions, operators and architectures of seccomp")
        .theirs("crun", "1.8.1 has no features"),
    case!(spec_runs, "spec writes a configuration that runs once terminal is off"),
    case!(spec_keeps, "spec doesn't overwrite a config.json"),
    case!(spec_bundle, "spec --bundle DIR writes there"),
    case!(spec_terminal, "spec asks for a terminal, a read-only root and no new privileges"),
    case!(systemd_cgroup_without_systemd, "--systemd-cgroup without systemd is an error, not a hang"),
    case!(rootless_option, "--rootless=false is accepted"),
    case!(no_new_keyring, "--no-new-keyring is accepted by create"),
    case!(preserve_fds_closed, "--preserve-fds for descriptors that aren't open is an error or passes none"),
    case!(closed_stdio, "a caller without standard descriptors gets no crash"),
    case!(pid_file_unwritable, "a --pid-file that can't be written is an error and leaves nothing"),
    case!(no_subreaper, "run --no-subreaper is accepted"),
];

fn version(ctx: &Ctx) -> Done {
    let out = ctx.program(&ctx.runtime).arg("--version").run()?.ok()?;
    let first: Vec<&str> = out.out.lines().next().unwrap_or_default().split_whitespace().collect();
    check!(first.len() >= 3 && first[1] == "version", "first line {first:?}");
    check!(out.out.lines().any(|l| l.starts_with("spec: ")), "no line for the specification: {:?}", out.out);
    Ok(())
}

fn version_short(ctx: &Ctx) -> Done {
    let long = ctx.program(&ctx.runtime).arg("--version").run()?.ok()?;
    same!(ctx.program(&ctx.runtime).arg("-v").run()?.ok()?.out, long.out, "output");
    Ok(())
}

fn help(ctx: &Ctx) -> Done {
    let out = ctx.program(&ctx.runtime).arg("--help").run()?.ok()?.out;
    for command in ["create", "start", "state", "kill", "delete", "run", "exec", "list", "pause", "resume", "update", "spec"] {
        check!(out.contains(command), "{command} isn't named");
    }
    Ok(())
}

fn help_of_command(ctx: &Ctx) -> Done {
    for command in ["create", "run", "exec", "delete", "update"] {
        check!(!ctx.program(&ctx.runtime).args(&[command, "--help"]).run()?.ok()?.out.is_empty(), "{command}: nothing");
    }
    Ok(())
}

fn unknown_command(ctx: &Ctx) -> Done {
    let out = ctx.rt(&["nosuchcommand"])?;
    check!(out.code != 0, "it succeeded");
    check!(format!("{}{}", out.out, out.err).contains("nosuchcommand"), "it isn't named: {}", out.text());
    Ok(())
}

fn unknown_option(ctx: &Ctx) -> Done {
    let out = ctx.program(&ctx.runtime).args(&["--nosuchoption", "list"]).run()?;
    check!(out.code != 0, "it succeeded");
    check!(format!("{}{}", out.out, out.err).contains("nosuchoption"), "it isn't named: {}", out.text());
    Ok(())
}

fn unknown_option_of_command(ctx: &Ctx) -> Done {
    let out = ctx.rt(&["list", "--nosuchoption"])?;
    check!(out.code != 0, "it succeeded");
    check!(format!("{}{}", out.out, out.err).contains("nosuchoption"), "it isn't named: {}", out.text());
    Ok(())
}

fn missing_id(ctx: &Ctx) -> Done {
    for command in ["create", "start", "state", "kill", "delete", "exec", "pause", "resume", "ps", "update"] {
        check!(ctx.rt(&[command])?.code != 0, "{command} succeeded");
    }
    Ok(())
}

fn extra_argument(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    for command in [&["state", &c.id, "x"][..], &["start", &c.id, "x"], &["pause", &c.id, "x"], &["delete", &c.id, "x"]] {
        check!(ctx.rt(command)?.code != 0, "{command:?} succeeded");
    }
    same!(c.status()?, "running", "status");
    Ok(())
}

fn equals(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    b.write();
    ctx.call(&["run", &format!("--bundle={}", b.dir.display()), &b.id]).run()?.code(3)?;
    Ok(())
}

fn short_options(ctx: &Ctx) -> Done {
    let b = ctx.bundle().args(&crate::bundle::STAY);
    b.write();
    ctx.call(&["run", "-d", "-b", b.dir.to_str().unwrap(), &b.id]).run()?.ok()?;
    same!(ctx.rt(&["list", "-q"])?.ok()?.line(), b.id, "list -q");
    ctx.rt(&["delete", "-f", &b.id])?.ok()?;
    Ok(())
}

fn options_after_id(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    b.write();
    ctx.call(&["run", &b.id, "--bundle", b.dir.to_str().unwrap()]).run()?.code(3)?;
    let c = ctx.bundle().up()?;
    ctx.rt(&["delete", &c.id, "--force"])?.ok()?;
    Ok(())
}

fn single_dash(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    b.write();
    ctx.call(&["run", "-no-subreaper", "-bundle", b.dir.to_str().unwrap(), &b.id]).run()?.code(3)?;
    Ok(())
}

fn root_is_made(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    b.write();
    let root = ctx.host_dir("new").join("deep/root");
    let call = ctx.program(&ctx.runtime).arg("--root").arg(&root).args(&["run", "--bundle"]).arg(&b.dir).arg(&b.id);
    call.run()?.code(3)?;
    check!(root.is_dir(), "{} isn't there", root.display());
    Ok(())
}

fn root_equals(ctx: &Ctx) -> Done {
    let c = ctx.bundle().up()?;
    let out = ctx.program(&ctx.runtime).arg(format!("--root={}", ctx.root.display())).args(&["list", "-q"]).run()?.ok()?;
    same!(out.line(), c.id, "id");
    Ok(())
}

/// Runs a bundle that fails, with a log in this format; the log's text.
fn failing_log(ctx: &Ctx, format: &str) -> Result<String, Stop> {
    let log = ctx.host_dir("log").join("log");
    let b = ctx.bundle().args(&["/no/such/program"]);
    let b = b.global("--log").global(log.to_str().unwrap()).global("--log-format").global(format);
    let out = b.run()?;
    check!(out.code != 0, "it succeeded");
    Ok(fs::read_to_string(&log)?)
}

fn log_json(ctx: &Ctx) -> Done {
    let text = failing_log(ctx, "json")?;
    let objects: Vec<Value> = serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>()?;
    let errors: Vec<_> = objects.iter().filter(|o| o["level"] == "error").collect();
    check!(errors.len() == 1, "{} errors in {text:?}", errors.len());
    let message = errors[0]["msg"].as_str().unwrap_or_default();
    check!(message.contains("/no/such/program"), "msg is {message:?}");
    check!(errors[0]["time"].is_string(), "no time in {text:?}");
    Ok(())
}

fn log_text(ctx: &Ctx) -> Done {
    let text = failing_log(ctx, "text")?;
    check!(text.contains("/no/such/program"), "the log is {text:?}");
    Ok(())
}

fn log_quiet(ctx: &Ctx) -> Done {
    let log = ctx.host_dir("log").join("log");
    let b = ctx.bundle().global("--log").global(log.to_str().unwrap()).global("--log-format").global("json");
    b.run()?.ok()?;
    let text = fs::read_to_string(&log).unwrap_or_default();
    check!(!text.contains("error"), "the log is {text:?}");
    Ok(())
}

fn log_appends(ctx: &Ctx) -> Done {
    let log = ctx.host_file("log", "{\"level\":\"info\",\"msg\":\"mine\"}\n");
    let b = ctx.bundle().args(&["/no/such/program"]).global("--log").global(log.to_str().unwrap());
    b.run()?.fails()?;
    let text = fs::read_to_string(&log)?;
    check!(text.contains("mine") && text.contains("/no/such/program"), "the log is {text:?}");
    Ok(())
}

fn log_unwritable(ctx: &Ctx) -> Done {
    let b = ctx.bundle().global("--log").global("/no/such/directory/log");
    b.call("run").run()?.fails()?;
    b.nothing_left()
}

fn log_format_bad(ctx: &Ctx) -> Done {
    let log = ctx.host_dir("log").join("log");
    let b = ctx.bundle().global("--log").global(log.to_str().unwrap()).global("--log-format").global("nosuch");
    check!(b.run()?.code != 0, "it succeeded");
    Ok(())
}

fn error_on_stderr(ctx: &Ctx) -> Done {
    let log = ctx.host_dir("log").join("log");
    let b = ctx.bundle().args(&["/no/such/program"]).global("--log").global(log.to_str().unwrap());
    b.run()?.fails()?.names(&["/no/such/program"])?;
    Ok(())
}

fn debug(ctx: &Ctx) -> Done {
    let out = ctx.bundle().sh("echo out; exit 3").global("--debug").run()?.code(3)?;
    same!(out.out, "out\n", "standard output");
    Ok(())
}

fn features_of(ctx: &Ctx) -> Result<Value, Stop> {
    Ok(serde_json::from_str(&ctx.program(&ctx.runtime).arg("features").run()?.ok()?.out)?)
}

fn has(list: &Value, words: &[&str]) -> Done {
    for word in words {
        check!(list.as_array().is_some_and(|l| l.contains(&json!(word))), "{word} isn't in {list}");
    }
    Ok(())
}

fn features(ctx: &Ctx) -> Done {
    let f = features_of(ctx)?;
    check!(f["ociVersionMin"].is_string() && f["ociVersionMax"].is_string(), "no versions in {f}");
    has(&f["hooks"], &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"])?;
    has(&f["mountOptions"], &["bind", "rbind", "ro", "nosuid", "noexec", "nodev", "rro", "tmpcopyup", "rslave"])?;
    has(&f["linux"]["namespaces"], &["cgroup", "ipc", "mount", "network", "pid", "user", "uts"])?;
    has(&f["linux"]["capabilities"], &["CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_BPF"])?;
    check!(f["linux"]["cgroup"]["v1"] == json!(true) && f["linux"]["cgroup"]["v2"] == json!(true), "cgroup is {}", f["linux"]["cgroup"]);
    Ok(())
}

fn features_seccomp(ctx: &Ctx) -> Done {
    let s = features_of(ctx)?["linux"]["seccomp"].take();
    same!(s["enabled"], json!(true), "enabled");
    has(&s["actions"], &["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_NOTIFY", "SCMP_ACT_LOG"])?;
    has(&s["operators"], &["SCMP_CMP_EQ", "SCMP_CMP_MASKED_EQ", "SCMP_CMP_GE"])?;
    has(&s["archs"], &["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_AARCH64"])
}

fn spec_runs(ctx: &Ctx) -> Done {
    let b = ctx.bundle();
    ctx.call(&["spec"]).cwd(&b.dir).run()?.ok()?;
    let file = b.dir.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file)?)?;
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["/bin/sh", "-c", "exit 4"]);
    config["linux"]["cgroupsPath"] = json!(format!("/{}", b.id));
    fs::write(&file, config.to_string())?;
    ctx.call(&["run", "--bundle"]).arg(&b.dir).arg(&b.id).run()?.code(4)?;
    Ok(())
}

fn spec_keeps(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("spec");
    fs::write(dir.join("config.json"), "mine")?;
    ctx.call(&["spec"]).cwd(&dir).run()?.fails()?;
    same!(fs::read_to_string(dir.join("config.json"))?, "mine", "config.json");
    Ok(())
}

fn spec_bundle(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("spec");
    ctx.call(&["spec", "--bundle"]).arg(&dir).cwd("/").run()?.ok()?;
    check!(dir.join("config.json").exists(), "no config.json");
    Ok(())
}

fn spec_terminal(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("spec");
    ctx.call(&["spec"]).cwd(&dir).run()?.ok()?;
    let config: Value = serde_json::from_slice(&fs::read(dir.join("config.json"))?)?;
    same!(config["process"]["terminal"], json!(true), "terminal");
    same!(config["process"]["noNewPrivileges"], json!(true), "noNewPrivileges");
    same!(config["root"]["readonly"], json!(true), "readonly");
    Ok(())
}

fn systemd_cgroup_without_systemd(ctx: &Ctx) -> Done {
    if std::path::Path::new("/run/systemd/system").exists() {
        crate::case::skip!("systemd runs here");
    }
    let b = ctx.bundle().global("--systemd-cgroup").set("/linux/cgroupsPath", json!(format!("system.slice:bb:{}", ctx.tag)));
    b.call("create").run()?.fails()?.names(&["systemd", "dbus", "bus"])?;
    b.nothing_left()
}

fn rootless_option(ctx: &Ctx) -> Done {
    ctx.bundle().global("--rootless=false").sh("exit 3").run()?.code(3)?;
    Ok(())
}

fn no_new_keyring(ctx: &Ctx) -> Done {
    let c = ctx.bundle().option("--no-new-keyring").create()?;
    c.start()
}

fn preserve_fds_closed(ctx: &Ctx) -> Done {
    let out = ctx.bundle().option("--preserve-fds").option("5").probe(&["fds"]).run()?;
    if out.code == 0 {
        same!(out.out.lines().count(), 3, "descriptors");
    } else {
        out.fails()?;
    }
    Ok(())
}

fn closed_stdio(ctx: &Ctx) -> Done {
    let b = ctx.bundle().sh("exit 3");
    let call = b.call("run").pre(|| {
        for n in 0..3 {
            // SAFETY: plain system call without pointers.
            unsafe { libc::close(n) };
        }
        Ok(())
    });
    let out = call.run()?;
    check!(out.code < 128, "it crashed with {}", out.code);
    b.nothing_left()
}

fn pid_file_unwritable(ctx: &Ctx) -> Done {
    let b = ctx.bundle().option("--pid-file").option("/no/such/directory/pid");
    b.call("create").run()?.fails()?;
    b.nothing_left()
}

fn no_subreaper(ctx: &Ctx) -> Done {
    ctx.bundle().option("--no-subreaper").sh("exit 3").run()?.code(3)?;
    Ok(())
}

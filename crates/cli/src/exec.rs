//! `hull exec`: the process from options, from a file, or from both.

use std::ffi::{OsStr, OsString};

use hull_runtime::{Context as _, Error, ExecOptions, Result, Runtime};
use hull_spec::Process;

use crate::args;
use crate::commands::absolute;

pub(crate) fn exec(runtime: &Runtime, c: &args::Exec) -> Result<i32> {
    let process = match &c.process {
        Some(file) => {
            let bytes = std::fs::read(file).what(|| format!("cannot read \"{}\"", file.display()))?;
            let mut process = Process::from_slice(&bytes).map_err(|e| Error::new(format!("--process: {e}")))?;
            process.terminal |= c.tty;
            process
        }
        None => from_options(runtime, c)?,
    };
    process.check("process").map_err(|e| Error::new(e.to_string()))?;
    let options = ExecOptions {
        detach: c.detach,
        console_socket: c.console_socket.as_deref().map(absolute),
        pidfd_socket: c.pidfd_socket.as_deref().map(absolute),
        pid_file: c.pid_file.as_deref().map(absolute),
        preserve_fds: c.preserve_fds,
        cgroup: c.cgroup.clone(),
        ignore_paused: c.ignore_paused,
    };
    runtime.exec(&c.id, &process, &options)
}

/// The container's own process, changed as the options say.
fn from_options(runtime: &Runtime, c: &args::Exec) -> Result<Process> {
    let spec = runtime.spec_of(&c.id)?;
    let mut process = spec.process.ok_or_else(|| Error::new("the container has no process to take defaults from"))?;
    process.args = c.command.iter().map(|a| text("argument", a)).collect::<Result<_>>()?;
    process.terminal = c.tty;
    process.console_size = None;
    if let Some(cwd) = &c.cwd {
        process.cwd.clone_from(cwd);
    }
    for entry in &c.env {
        process.env.push(text("--env", entry)?);
    }
    if let Some(user) = c.user {
        process.user.uid = user.uid;
        if let Some(gid) = user.gid {
            process.user.gid = gid;
        }
    }
    process.user.additional_gids.extend(&c.additional_gids);
    if !c.cap.is_empty() {
        // Never inheritable: CVE-2022-29162. Ambient where config.json has it inheritable, which ambient needs.
        let caps = process.capabilities.get_or_insert_default();
        for cap in &c.cap {
            let name = cap.to_ascii_uppercase();
            let name = if name.starts_with("CAP_") { name } else { format!("CAP_{name}") };
            let inheritable = caps.inheritable.contains(&name);
            let ambient = Some(&mut caps.ambient).filter(|_| inheritable);
            for set in [&mut caps.bounding, &mut caps.effective, &mut caps.permitted].into_iter().chain(ambient) {
                if !set.contains(&name) {
                    set.push(name.clone());
                }
            }
        }
    }
    if let Some(on) = c.no_new_privs {
        process.no_new_privileges = on;
    }
    if let Some(profile) = &c.apparmor {
        process.apparmor_profile.clone_from(profile);
    }
    if let Some(label) = &c.process_label {
        process.selinux_label.clone_from(label);
    }
    Ok(process)
}

fn text(what: &str, value: &OsStr) -> Result<String> {
    let value: OsString = value.to_owned();
    value.into_string().map_err(|v| Error::new(format!("{what} {v:?} is not UTF-8")))
}

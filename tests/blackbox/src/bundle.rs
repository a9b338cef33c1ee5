//! A bundle and the container made from it: the words that cases are written in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::call::{Call, Output, Running};
use crate::case::Stop;
use crate::config;
use crate::ctx::Ctx;
use crate::host;

/// Arguments of a process that stays until it is killed.
pub(crate) const STAY: [&str; 2] = ["/bin/sleep", "1000"];

/// A directory with config.json and rootfs; written when the runtime is called.
pub(crate) struct Bundle<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) dir: PathBuf,
    pub(crate) id: String,
    pub(crate) config: Value,
    stdin: Option<Vec<u8>>,
    options: Vec<String>,
    globals: Vec<String>,
}

impl<'a> Bundle<'a> {
    pub(crate) fn new(ctx: &'a Ctx) -> Bundle<'a> {
        let id = format!("{}-{}", ctx.tag, ctx.next());
        let dir = ctx.dir.join(format!("bundle-{}", ctx.count_of(&id)));
        let mut config = config::default();
        config["linux"]["cgroupsPath"] = json!(format!("/{id}"));
        copy_rootfs(&ctx.base, &dir.join("rootfs")).expect("cannot copy the root file system");
        Bundle { ctx, dir, id, config, stdin: None, options: Vec::new(), globals: Vec::new() }
    }

    /// The root file system on the host.
    pub(crate) fn rootfs(&self) -> PathBuf {
        self.dir.join("rootfs")
    }

    pub(crate) fn args(mut self, args: &[&str]) -> Self {
        self.config["process"]["args"] = json!(args);
        self
    }

    /// The process is `sh -c script`.
    pub(crate) fn sh(self, script: &str) -> Self {
        self.args(&["/bin/sh", "-c", script])
    }

    /// The process is the probe.
    pub(crate) fn probe(self, args: &[&str]) -> Self {
        let mut all = vec!["/bin/hull-probe"];
        all.extend(args);
        self.args(&all)
    }

    /// Changes the configuration.
    pub(crate) fn tweak(mut self, f: impl FnOnce(&mut Value)) -> Self {
        f(&mut self.config);
        self
    }

    /// Sets one value by JSON pointer, making what is on the way.
    pub(crate) fn set(mut self, pointer: &str, value: Value) -> Self {
        let mut at = &mut self.config;
        for key in pointer.split('/').skip(1) {
            at = match key.parse::<usize>() {
                Ok(i) if at.is_array() => &mut at[i],
                _ => &mut at[key],
            };
        }
        *at = value;
        self
    }

    /// A root file system that can be written to.
    pub(crate) fn rw(self) -> Self {
        self.set("/root/readonly", json!(false))
    }

    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Self {
        self.stdin = Some(bytes.to_owned());
        self
    }

    /// An option of `run` and `create`, placed before the id.
    pub(crate) fn option(mut self, option: &str) -> Self {
        self.options.push(option.to_owned());
        self
    }

    /// An option before the subcommand.
    pub(crate) fn global(mut self, option: &str) -> Self {
        self.globals.push(option.to_owned());
        self
    }

    /// Writes config.json.
    pub(crate) fn write(&self) {
        fs::write(self.dir.join("config.json"), self.config.to_string()).expect("cannot write config.json");
    }

    /// `run` or `create`, ready to be changed further.
    pub(crate) fn call(&self, command: &str) -> Call {
        self.write();
        let mut call = self.ctx.call(&self.globals).args(&[command, "--bundle"]).arg(&self.dir);
        call = call.args(&self.options).arg(&self.id);
        match &self.stdin {
            Some(bytes) => call.stdin(bytes),
            None => call,
        }
    }

    /// `run` to the end.
    #[track_caller]
    pub(crate) fn run(self) -> Result<Output, Stop> {
        self.call("run").run()
    }

    /// `run` in the foreground, not waited for.
    #[track_caller]
    pub(crate) fn spawn(self) -> Result<(Container<'a>, Running), Stop> {
        let call = self.call("run");
        self.spawned(call)
    }

    /// The like, with a standard output of the caller's.
    #[track_caller]
    pub(crate) fn spawn_to(self, output: std::os::fd::OwnedFd) -> Result<(Container<'a>, Running), Stop> {
        let call = self.call("run").fd(1, output);
        self.spawned(call)
    }

    #[track_caller]
    fn spawned(self, call: crate::call::Call) -> Result<(Container<'a>, Running), Stop> {
        let running = call.spawn()?;
        let c = Container { ctx: self.ctx, id: self.id, dir: self.dir, out: running.out.clone() };
        Ok((c, running))
    }

    /// `create`, whether it succeeds or not.
    #[track_caller]
    pub(crate) fn try_create(&self) -> Result<Output, Stop> {
        self.call("create").run()
    }

    /// `create` ends within `seconds`, and fails.
    #[track_caller]
    pub(crate) fn create_fails_within(&self, seconds: u64) -> Result<(), Stop> {
        let mut running = self.call("create").spawn()?;
        let ended = host::wait_for("the end of create", seconds, || matches!(running.child.try_wait(), Ok(Some(_))));
        if ended.is_err() {
            let _ = running.child.kill();
        }
        ended?;
        running.wait()?.fails().map(drop)
    }

    /// `create`.
    #[track_caller]
    pub(crate) fn create(self) -> Result<Container<'a>, Stop> {
        self.bring("create")
    }

    /// A container that runs in the background; without arguments of its own, until it is killed.
    #[track_caller]
    pub(crate) fn up(mut self) -> Result<Container<'a>, Stop> {
        if self.config["process"]["args"] == json!(["/bin/true"]) {
            self = self.args(&STAY);
        }
        self.options.push("--detach".into());
        self.bring("run")
    }

    #[track_caller]
    fn bring(self, command: &str) -> Result<Container<'a>, Stop> {
        let running = self.call(command).spawn()?;
        let out = running.out.clone();
        running.wait()?.ok()?;
        Ok(Container { ctx: self.ctx, id: self.id, dir: self.dir, out })
    }

    /// Neither `create` nor `run` succeeds, the message holds one of `words`, and nothing is left behind.
    #[track_caller]
    pub(crate) fn refused(self, words: &[&str]) -> Result<Output, Stop> {
        let out = self.try_create()?.fails()?.names(words)?;
        self.nothing_left()?;
        Ok(out)
    }

    /// Neither state, cgroup, mount nor process of this container exists.
    #[track_caller]
    pub(crate) fn nothing_left(&self) -> Result<(), Stop> {
        if self.ctx.root.join(&self.id).exists() {
            return Err(format!("state directory {:?} was left behind", self.ctx.root.join(&self.id)).into());
        }
        let below = format!("{}/", self.dir.display());
        if let Some(m) = host::mounts("self").iter().find(|m| m.target.starts_with(&below)) {
            return Err(format!("a mount was left at {}", m.target).into());
        }
        let id = self.id.clone();
        let mut left = Vec::new();
        let gone = host::wait_for("", 1, || {
            left = host::cgroups_named(&id);
            left.is_empty()
        });
        if gone.is_err() {
            return Err(format!("cgroups were left behind: {left:?}").into());
        }
        Ok(())
    }
}

impl Ctx {
    fn count_of(&self, id: &str) -> String {
        id.rsplit('-').next().unwrap_or_default().to_owned()
    }
}

/// A container that was created.
pub(crate) struct Container<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) id: String,
    pub(crate) dir: PathBuf,
    out: PathBuf,
}

impl<'a> Container<'a> {
    /// What its process wrote to standard output so far.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    #[track_caller]
    fn plain(&self, command: &str) -> Result<Output, Stop> {
        self.ctx.rt(&[command, &self.id])
    }

    #[track_caller]
    pub(crate) fn start(&self) -> Result<(), Stop> {
        self.plain("start")?.ok().map(drop)
    }

    #[track_caller]
    pub(crate) fn try_start(&self) -> Result<Output, Stop> {
        self.plain("start")
    }

    #[track_caller]
    pub(crate) fn pause(&self) -> Result<(), Stop> {
        self.plain("pause")?.ok().map(drop)
    }

    #[track_caller]
    pub(crate) fn resume(&self) -> Result<(), Stop> {
        self.plain("resume")?.ok().map(drop)
    }

    #[track_caller]
    pub(crate) fn state(&self) -> Result<Value, Stop> {
        Ok(serde_json::from_str(&self.plain("state")?.ok()?.out)?)
    }

    #[track_caller]
    pub(crate) fn status(&self) -> Result<String, Stop> {
        Ok(self.state()?["status"].as_str().unwrap_or_default().to_owned())
    }

    #[track_caller]
    pub(crate) fn pid(&self) -> Result<i32, Stop> {
        match self.state()?["pid"].as_i64() {
            Some(pid) if pid > 0 => Ok(pid as i32),
            _ => Err(format!("state of {} has no pid", self.id).into()),
        }
    }

    #[track_caller]
    pub(crate) fn kill(&self, signal: &str) -> Result<(), Stop> {
        self.ctx.rt(&["kill", &self.id, signal])?.ok().map(drop)
    }

    #[track_caller]
    pub(crate) fn delete(&self) -> Result<(), Stop> {
        self.plain("delete")?.ok().map(drop)
    }

    #[track_caller]
    pub(crate) fn delete_force(&self) -> Result<(), Stop> {
        self.ctx.rt(&["delete", "--force", &self.id])?.ok().map(drop)
    }

    /// `exec` with options before the id.
    pub(crate) fn exec_call(&self, options: &[&str], args: &[&str]) -> Call {
        self.ctx.call(&["exec"]).args(options).arg(&self.id).args(args)
    }

    #[track_caller]
    pub(crate) fn exec(&self, args: &[&str]) -> Result<Output, Stop> {
        self.exec_call(&[], args).run()
    }

    #[track_caller]
    pub(crate) fn exec_with(&self, options: &[&str], args: &[&str]) -> Result<Output, Stop> {
        self.exec_call(options, args).run()
    }

    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> Result<Output, Stop> {
        self.exec(&["/bin/sh", "-c", script])
    }

    /// `exec --process` of this process document.
    #[track_caller]
    pub(crate) fn exec_process(&self, process: &Value) -> Result<Output, Stop> {
        let file = self.ctx.host_file("process.json", &process.to_string());
        self.ctx.call(&["exec", "--process"]).arg(&file).arg(&self.id).run()
    }

    /// A process document as `exec` would build it.
    pub(crate) fn process(&self, args: &[&str]) -> Value {
        let mut process = config::default()["process"].take();
        process["args"] = json!(args);
        process
    }

    /// Waits for a status.
    #[track_caller]
    pub(crate) fn wait(&self, status: &str) -> Result<(), Stop> {
        host::wait_for(&format!("status {status}"), 8, || self.status().is_ok_and(|s| s == status))
    }

    /// Waits until its output holds `text`.
    #[track_caller]
    pub(crate) fn wait_out(&self, text: &str) -> Result<(), Stop> {
        host::wait_for(&format!("{text:?} on standard output"), 8, || self.out().contains(text))
    }
}

/// Copies the small root file system: links for files, the same links for links.
pub(crate) fn copy_rootfs(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (kind, target) = (entry.file_type()?, to.join(entry.file_name()));
        if kind.is_dir() {
            copy_rootfs(&entry.path(), &target)?;
            fs::set_permissions(&target, entry.metadata()?.permissions())?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, &target)?;
        } else if entry.path().parent().is_some_and(|p| p.ends_with("bin")) {
            fs::hard_link(entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}

//! Containers that exist: asking after them, freezing, limits, statistics, signals.

use std::fs;
use std::os::fd::AsFd;

use crate::state::{Dir, State, Status, check_id, missing, read_state};
use crate::{Context as _, Error, Result, Runtime};

impl Runtime {
    /// A container's state and status.
    ///
    /// # Errors
    /// Where there is none of that id.
    pub fn status(&self, id: &str) -> Result<(State, Status)> {
        check_id(id)?;
        let dir = self.root.join(id);
        if !dir.is_dir() {
            return Err(missing(id));
        }
        let state = read_state(&dir)?;
        let status = state.status(&dir);
        Ok((state, status))
    }

    /// All containers, by id.
    ///
    /// # Errors
    /// Where the state directory can't be read; a missing one is empty.
    pub fn list(&self) -> Result<Vec<(State, Status)>> {
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.what(|| format!("cannot read \"{}\"", self.root.display()))?,
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let Ok(id) = entry.file_name().into_string() else { continue };
            match self.status(&id) {
                Ok(container) => found.push(container),
                // One being made or removed this moment, or damaged: the others are still worth listing.
                Err(e) if self.root.join(&id).join("state.json").exists() => self.warn(&e.to_string()),
                Err(_) => {}
            }
        }
        found.sort_by(|a, b| a.0.id.cmp(&b.0.id));
        Ok(found)
    }

    /// Process ids in a container's cgroup, as hull sees them; the first process only where it has none.
    ///
    /// # Errors
    /// Where there is no such container or its cgroup can't be read.
    pub fn processes(&self, id: &str) -> Result<Vec<i32>> {
        let (state, _) = self.status(id)?;
        match state.own_cgroup() {
            Some(cgroup) => cgroup.pids(true).map_err(crate::cgroup_error),
            _ => Ok(if state.alive() { vec![state.pid] } else { vec![] }),
        }
    }

    /// Freezes or thaws a container.
    ///
    /// # Errors
    /// Where it does not run, or has no cgroup.
    pub fn freeze(&self, id: &str, frozen: bool) -> Result<()> {
        let dir = Dir::open(self, id)?;
        let state = dir.state()?;
        let status = state.status(&dir.path);
        let Some(cgroup) = state.own_cgroup() else { return Err(Error::new("container has no cgroup to freeze")) };
        match (frozen, status) {
            (true, Status::Running | Status::Created) => cgroup.freeze().map_err(crate::cgroup_error),
            (false, Status::Paused) => cgroup.thaw().map_err(crate::cgroup_error),
            (true, _) => Err(Error::new("container not running or created: cannot pause it")),
            (false, _) => Err(Error::new("container not paused")),
        }
    }

    /// Changes limits.
    ///
    /// # Errors
    /// Where it has stopped, or a limit can't be set.
    pub fn update(&self, id: &str, resources: &hull_spec::Resources) -> Result<()> {
        let dir = Dir::open(self, id)?;
        let state = dir.state()?;
        if state.status(&dir.path) == Status::Stopped {
            return Err(Error::new("container not running: cannot update its limits"));
        }
        let Some(cgroup) = state.own_cgroup() else { return Err(Error::new("container has no cgroup to update")) };
        let notes = cgroup.update(resources).map_err(crate::cgroup_error)?;
        self.note(&notes);
        Ok(())
    }

    pub(crate) fn note(&self, notes: &hull_cgroup::Notes) {
        notes.warnings.iter().for_each(|w| self.warn(w));
        notes.debug.iter().for_each(|d| self.debug(d));
    }

    /// Statistics of a container's cgroup.
    ///
    /// # Errors
    /// Where it does not run or has no cgroup.
    pub fn stats(&self, id: &str) -> Result<hull_cgroup::Stats> {
        let (state, status) = self.status(id)?;
        if status == Status::Stopped {
            return Err(Error::new(format!("container with id {id} is not running")));
        }
        state.own_cgroup().ok_or_else(|| Error::new("container has no cgroup"))?.stats().map_err(crate::cgroup_error)
    }

    /// Sends a signal to the first process, or with `all` to every process where they share hull's PID namespace.
    ///
    /// # Errors
    /// "container not running" where it has ended.
    pub fn kill(&self, id: &str, signal: i32, all: bool) -> Result<()> {
        let (state, status) = self.status(id)?;
        let shared = state.namespaces & hull_sys::clone::flags::NEWPID == 0;
        if status == Status::Stopped {
            if all || shared {
                let left = self.signal_all(&state, signal)?;
                return if all || left > 0 { Ok(()) } else { Err(Error::new("container not running")) };
            }
            return Err(Error::new("container not running"));
        }
        if shared && (all || signal == libc::SIGKILL) {
            self.signal_all(&state, signal)?;
            return Ok(());
        }
        let process = state.process()?;
        let shown = || format!("cannot send signal {signal} to process {}", state.pid);
        match hull_sys::pidfd::send_signal(process.as_fd(), signal) {
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Err(Error::new("container not running")),
            other => other.what(shown),
        }?;
        // A frozen v1 group does not die of a signal before it is thawed.
        if status == Status::Paused && signal == libc::SIGKILL
            && let Some(cgroup) = &state.cgroup
        {
            cgroup.thaw().map_err(crate::cgroup_error)?;
        }
        Ok(())
    }

    fn signal_all(&self, state: &State, signal: i32) -> Result<usize> {
        let Some(cgroup) = state.own_cgroup().filter(|c| c.exists()) else { return Ok(0) };
        if signal == libc::SIGKILL {
            let count = cgroup.pids(true).map_err(crate::cgroup_error)?.len();
            cgroup.kill_all().map_err(crate::cgroup_error)?;
            return Ok(count);
        }
        let mut count = 0;
        let each = cgroup.for_each_process(|_, process| {
            count += usize::from(hull_sys::pidfd::send_signal(process, signal).is_ok());
        });
        each.map_err(crate::cgroup_error).map(|()| count)
    }
}

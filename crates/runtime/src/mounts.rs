//! Mounts added to and removed from a container that runs.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use hull_jail::live::{Live, Order};
use hull_jail::plan::{Options, Plan};
use hull_jail::sync::{Ask, Sync};
use hull_spec::Mount;
use hull_sys::clone::{self, Side, flags};

use crate::create::one_thread;
use crate::state::{Dir, State, Status};
use crate::{Context as _, Error, Result, Runtime};

impl Runtime {
    /// Makes mounts in a container as if its config.json had listed them last, all or none of them. Sources of binds
    /// are the host's. They last as long as the container.
    ///
    /// # Errors
    /// Where the container does not run or has no mount namespace of its own, by the field of a mount that can't be
    /// honoured, and for types that only a container's beginning can have (proc, cgroup).
    pub fn add_mounts(&self, id: &str, mounts: Vec<Mount>) -> Result<()> {
        let (dir, state) = self.to_visit(id)?;
        let host = hull_spec::CheckHost { rootless: self.rootless, for_start: false };
        let (spec, warnings) = dir.spec()?.with_mounts(mounts, &host).map_err(|e| Error::new(e.to_string()))?;
        warnings.iter().for_each(|w| self.warn(&w.to_string()));
        let process = spec.process.as_ref().ok_or_else(|| Error::new("config.json of the container has no process"))?;
        let options = Options { id: id.to_owned(), rootfs: state.rootfs.clone(), ..Options::default() };
        let mut plan = Plan::new(&spec, process, None, options, &mut Vec::new())?;
        for (index, mount) in plan.mounts.iter_mut().enumerate() {
            if mount.target == Path::new("/") || mount.target == Path::new("/proc") {
                let shown = mount.target.display();
                return Err(Error::new(format!("mounts[{index}].destination: \"{shown}\" of a running container stays")));
            }
            if matches!(mount.kind.as_str(), "proc" | "cgroup" | "cgroup2") {
                let kind = &mount.kind;
                return Err(Error::new(format!("mounts[{index}].type: \"{kind}\" can't be added to a running container")));
            }
            if mount.options.bind && Path::new(&mount.source).is_relative() {
                mount.source = state.bundle.join(&mount.source).to_string_lossy().into_owned();
            }
        }
        let idmaps = plan.idmaps.iter().map(crate::ids::namespace).collect::<Result<Vec<_>>>()?;
        let open = |(index, mount): (usize, &hull_jail::plan::MountPlan)| -> Result<Option<OwnedFd>> {
            let tree = mount.options.bind.then(|| hull_jail::live::open_source(&plan, mount, &idmaps));
            tree.transpose().map_err(|e| e.during(&format!("mounts[{index}]")))
        };
        let sources = plan.mounts.iter().enumerate().map(open).collect::<Result<Vec<_>>>()?;
        self.visit(&state, Order::Add(&plan, sources))
    }

    /// Unmounts what is at these paths of a container, one after the other.
    ///
    /// # Errors
    /// Where the container does not run or has no mount namespace of its own, for a path at which nothing is mounted,
    /// that is reached through a link, or that is the root or inside procfs or sysfs.
    pub fn remove_mounts(&self, id: &str, paths: &[PathBuf]) -> Result<()> {
        let (_dir, state) = self.to_visit(id)?;
        let paths: Vec<_> = paths.iter().map(|path| hull_jail::plan::clean(path)).collect();
        self.visit(&state, Order::Remove(&paths))
    }

    fn to_visit(&self, id: &str) -> Result<(Dir, State)> {
        one_thread()?;
        let dir = Dir::open(self, id)?;
        let state = dir.state()?;
        match state.status(&dir.path) {
            Status::Created | Status::Running | Status::Paused => {}
            Status::Creating | Status::Stopped => return Err(Error::new("container not running: its mounts can't be changed")),
        }
        if state.namespaces & flags::NEWNS == 0 {
            return Err(Error::new("container has no mount namespace of its own: its mounts are the host's"));
        }
        Ok((dir, state))
    }

    fn visit(&self, state: &State, order: Order<'_>) -> Result<()> {
        let target = state.process()?;
        let engine = self.has_engine(&state.isolation)?;
        let (ours, theirs) = hull_sys::socket::pair().what(|| "cannot make a socket pair")?;
        // SAFETY: one_thread() in to_visit(); nothing since has begun another.
        let child = match unsafe { clone::clone3(0, None) }.what(|| "cannot make a process")? {
            Side::Child => {
                drop(ours);
                let (sync, namespaces) = (Sync::new(theirs), state.namespaces);
                Live { order, sync, target: target.as_fd(), namespaces, engine }.run()
            }
            Side::Parent(child) => child,
        };
        drop(theirs);
        let said = Sync::new(ours).asked();
        hull_sys::pidfd::reap(child.pidfd.as_fd()).what(|| "cannot wait for a process")?;
        match said? {
            Ask::Ready => Ok(()),
            Ask::Failed(text) => Err(Error::new(text)),
            _ => Err(Error::new("the process in the container's namespaces was killed")),
        }
    }
}

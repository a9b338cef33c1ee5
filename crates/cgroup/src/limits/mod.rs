//! Limits: which file takes which value of `linux.resources`, on whichever version has the controller.
//!
//! The rule for what a host can't do: a value that limits nothing (the kernel's default, unset, unlimited) is left
//! out and noted; a limit is an error that names the field, the controller, the file and a remedy. Values come from
//! a configuration that was checked; here the kernel has the last word.

mod cpu;
mod io;
mod memory;
mod other;

use std::path::Path;

use hull_spec::config::Resources;
use rustix::io::Errno;

use crate::create::State;
use crate::file::{is_missing, read, write};
use crate::group::Cgroup;
use crate::{Error, Result};

pub(crate) use other::asked_controllers;

/// What there is to tell after limits were set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// For the user: something asked for has no effect.
    pub warnings: Vec<String>,
    /// For a debug log: something was left out that would have changed nothing.
    pub debug: Vec<String>,
}

impl Cgroup {
    /// Sets the limits and device rules of a container that is being created.
    ///
    /// # Errors
    /// For the first limit that cannot be honoured.
    pub fn apply(&self, res: &Resources, state: State) -> Result<Notes> {
        let mut setter = Setter { cgroup: self, state, notes: Notes::default() };
        self.set_devices(&res.devices, state, &mut setter.notes)?;
        setter.set_all(res)?;
        Ok(setter.notes)
    }

    /// Changes the limits of a container that runs. Fields that are absent stay as they are, device rules too.
    ///
    /// # Errors
    /// For the first limit that cannot be honoured; those before it are in force.
    pub fn update(&self, res: &Resources) -> Result<Notes> {
        let mut setter = Setter { cgroup: self, state: State::Used, notes: Notes::default() };
        if !res.devices.is_empty() {
            self.set_devices(&res.devices, State::Used, &mut setter.notes)?;
        }
        setter.set_all(res)?;
        Ok(setter.notes)
    }
}

/// One value for one file.
#[derive(Debug, Clone)]
struct Want {
    /// The field below `linux.resources`.
    field: &'static str,
    file: String,
    value: String,
    /// Whether the value limits nothing, so that a host without the file honours it.
    idle: bool,
    /// Whether a new cgroup has this value already.
    default: bool,
}

impl Want {
    /// A limit.
    fn limit(field: &'static str, file: impl Into<String>, value: impl ToString) -> Want {
        Want { field, file: file.into(), value: value.to_string(), idle: false, default: false }
    }

    /// Says when the value is what a new cgroup has, which limits nothing.
    fn or_default(self, default: bool) -> Want {
        Want { idle: default, default, ..self }
    }

    /// Says when the value limits nothing, although a new cgroup may have another.
    fn or_idle(self, idle: bool) -> Want {
        Want { idle, ..self }
    }
}

/// Where a controller is.
#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    V1(&'a Path),
    V2(&'a Path),
    Nowhere,
}

struct Setter<'a> {
    cgroup: &'a Cgroup,
    state: State,
    notes: Notes,
}

impl<'a> Setter<'a> {
    fn set_all(&mut self, res: &Resources) -> Result<()> {
        if let Some(memory) = &res.memory {
            self.memory(memory)?;
        }
        if let Some(cpu) = &res.cpu {
            self.cpu(cpu)?;
            self.cpuset(cpu)?;
        }
        if let Some(pids) = &res.pids {
            self.pids(pids)?;
        }
        if let Some(block_io) = &res.block_io {
            self.block_io(block_io)?;
        }
        self.hugetlb(&res.hugepage_limits)?;
        self.rdma(&res.rdma)?;
        if let Some(network) = &res.network {
            self.network(network)?;
        }
        // Last, since what is said in v2's own words overrides.
        self.unified(&res.unified)
    }

    /// Where the controller is that v1 and v2 call so.
    fn place(&self, v1: &str) -> Place<'a> {
        match (self.cgroup.v1_dir(v1), self.cgroup.v2_dir()) {
            (Some(dir), _) => Place::V1(dir),
            (None, Some(dir)) => Place::V2(dir),
            (None, None) => Place::Nowhere,
        }
    }

    fn set(&mut self, dir: &Path, want: Want) -> Result<()> {
        self.settle(dir, vec![want])
    }

    /// Writes values that bound each other, such as a quota and its period: one that the kernel calls invalid is
    /// tried again after another got in.
    fn settle(&mut self, dir: &Path, mut wants: Vec<Want>) -> Result<()> {
        for Want { field, value, .. } in wants.extract_if(.., |w| w.default && self.state == State::Fresh) {
            let text = format!("linux.resources.{field}: {value:?} is what a new cgroup has: left out");
            self.notes.debug.push(text);
        }
        while !wants.is_empty() {
            let before = wants.len();
            let mut first_error = None;
            let mut left = Vec::new();
            for want in wants {
                match write(dir, &want.file, &want.value) {
                    Ok(()) => {}
                    Err(e) if is_missing(&e) && want.idle => self.note(&want),
                    Err(e) if is_missing(&e) => return Err(self.missing_file(dir, &want)),
                    Err(e) if Errno::from_io_error(&e) == Some(Errno::INVAL) => {
                        first_error.get_or_insert_with(|| refused(dir, &want, &e));
                        left.push(want);
                    }
                    Err(e) => return Err(refused(dir, &want, &e)),
                }
            }
            if left.len() == before {
                return first_error.map_or(Ok(()), Err);
            }
            wants = left;
        }
        Ok(())
    }

    /// Handles values for a controller that is nowhere.
    fn nowhere(&mut self, controller: &str, wants: &[Want]) -> Result<()> {
        for want in wants {
            if !want.idle {
                return Err(self.no_controller(controller, want));
            }
            self.note(want);
        }
        Ok(())
    }

    fn note(&mut self, want: &Want) {
        let Want { field, file, value, .. } = want;
        let text = format!("linux.resources.{field}: no {file:?} for {value:?}, which limits nothing: left out");
        self.notes.debug.push(text);
    }

    fn no_controller(&self, controller: &str, want: &Want) -> Error {
        let Want { field, file, value, .. } = want;
        let remedy = if self.cgroup.denied {
            "this user may not create cgroups: have a cgroup v2 delegated (such as by systemd's Delegate=yes) and \
             name it in linux.cgroupsPath"
        } else {
            "mount the controller"
        };
        Error::new(format!(
            "linux.resources.{field}: cannot set {value:?}: the container's cgroup has no controller {controller:?}, \
             so no file {file:?}; {remedy}, or remove the limit"
        ))
    }

    /// The container's directory is there, this file isn't: the controller is not handed down, or the kernel lacks it.
    fn missing_file(&self, dir: &Path, want: &Want) -> Error {
        let controller = want.file.split('.').next().unwrap_or_default();
        let v2 = self.cgroup.unified.as_ref().filter(|h| h.dir == dir);
        let has = |dir: &Path| {
            read(dir, "cgroup.controllers").is_ok_and(|list| list.split_whitespace().any(|c| c == controller))
        };
        match v2 {
            Some(h) if !has(dir) => {
                let mut error = self.no_controller(controller, want);
                if has(&h.mount) {
                    let Want { field, file, value, .. } = want;
                    error = Error::new(format!(
                        "linux.resources.{field}: cannot set {value:?}: the cgroup v2 controller {controller:?} is not \
                         enabled in {dir:?}, so no file {file:?}; write \"+{controller}\" to cgroup.subtree_control of \
                         the cgroups above it, or remove the limit"
                    ));
                }
                error
            }
            _ => {
                let Want { field, file, value, .. } = want;
                Error::new(format!(
                    "linux.resources.{field}: cannot set {value:?}: the kernel's controller {controller:?} has no file \
                     {file:?} in {dir:?}; use a kernel built with it, or remove the limit"
                ))
            }
        }
    }
}

fn refused(dir: &Path, want: &Want, e: &std::io::Error) -> Error {
    let Want { field, file, value, .. } = want;
    let hint = match Errno::from_io_error(e) {
        Some(Errno::INVAL) => "the kernel calls the value invalid: ",
        Some(Errno::BUSY) => "more is in use already: ",
        _ => "",
    };
    let doing = format!("linux.resources.{field}: {hint}cannot write {value:?} to {:?}", dir.join(file));
    Error::io(doing, e)
}

/// A field that only v1 can honour.
fn v1_only(field: &str, value: impl std::fmt::Display) -> Error {
    Error::new(format!(
        "linux.resources.{field}: {value} needs cgroup v1; cgroup v2 has no such limit, so remove it or run on a host \
         with cgroup v1"
    ))
}

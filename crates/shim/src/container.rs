//! A container and its processes, as the shim knows them: stage, streams, end.
//!
//! Owns the order of what containerd is told: a process's end comes after its start, whichever came first here. What has
//! to be done to a process is done by workers, one after the other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use containerd_shim_protos::api::Status;
use tokio::sync::watch;

use crate::children::Exit;
use crate::oom::Watched;
use crate::options::Options;
use crate::stdio::{Names, Streams};

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It waits to be started, or is still to be made.
    Created,
    /// It is being started.
    Starting,
    Running,
    Stopped,
}

/// A process: the container's first, or one that exec added.
pub(crate) struct Process {
    /// Empty for the container's first.
    pub(crate) id: String,
    pub(crate) names: Names,
    /// What exec is to run: "process" of config.json.
    pub(crate) spec: Vec<u8>,
    state: Mutex<State>,
    exit: watch::Sender<Option<Exit>>,
    /// Held while something is done to it; the first one's, while something is done to the container. One that hangs, as
    /// the container's own processes can bring an added one to, holds up nobody but itself.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

pub(crate) struct State {
    pub(crate) pid: u32,
    pub(crate) stage: Stage,
    pub(crate) streams: Streams,
}

impl Process {
    pub(crate) fn new(id: &str, names: Names, spec: Vec<u8>) -> Process {
        let state = State { pid: 0, stage: Stage::Created, streams: Streams::default() };
        Process { id: id.to_owned(), names, spec, state: Mutex::new(state), exit: watch::Sender::new(None), turn: tokio::sync::Mutex::new(()) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.state().pid
    }

    /// How it ended, if it has.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.exit.borrow()
    }

    /// How it ended, once it has.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| *exit);
        ended.unwrap_or_else(|| Exit::new(255))
    }

    /// It has ended: true where containerd is to hear of it now, and false where only once it was told of the start.
    pub(crate) fn end(&self, exit: Exit) -> bool {
        let mut state = self.state();
        let at_once = state.stage != Stage::Starting;
        if at_once {
            state.stage = Stage::Stopped;
        }
        drop(state);
        self.exit.send_replace(Some(exit));
        at_once
    }

    /// Its start is over, and containerd was told of it if it went well; its end where that came before.
    pub(crate) fn started(&self, well: bool) -> Option<Exit> {
        let exit = self.exit();
        let stage = match (exit, well) {
            (Some(_), _) => Stage::Stopped,
            (None, true) => Stage::Running,
            (None, false) => Stage::Created,
        };
        self.state().stage = stage;
        exit
    }

    pub(crate) fn status(&self, paused: bool) -> Status {
        match (self.exit(), self.state().stage) {
            (Some(_), _) | (None, Stage::Stopped) => Status::STOPPED,
            (None, Stage::Created | Stage::Starting) => Status::CREATED,
            (None, Stage::Running) if paused => Status::PAUSED,
            (None, Stage::Running) => Status::RUNNING,
        }
    }
}

/// A container.
pub(crate) struct Container {
    pub(crate) id: String,
    pub(crate) bundle: PathBuf,
    /// Where hull keeps its state.
    pub(crate) root: PathBuf,
    /// Whether its processes outlive the first one, which is not the first of a PID namespace.
    pub(crate) shares_pids: bool,
    /// What it was made with.
    pub(crate) options: Options,
    pub(crate) first: Arc<Process>,
    added: Mutex<HashMap<String, Arc<Process>>>,
    paused: Mutex<bool>,
    /// For as long as it has a first process.
    pub(crate) oom: Mutex<Option<Watched>>,
}

impl Container {
    pub(crate) fn new(id: &str, bundle: PathBuf, root: PathBuf, shares_pids: bool, options: Options, first: Process) -> Container {
        Container {
            id: id.to_owned(),
            bundle,
            root,
            shares_pids,
            options,
            first: Arc::new(first),
            added: Mutex::default(),
            paused: Mutex::new(false),
            oom: Mutex::new(None),
        }
    }

    fn added(&self) -> MutexGuard<'_, HashMap<String, Arc<Process>>> {
        self.added.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process of that name; the first has none.
    pub(crate) fn process(&self, id: &str) -> Option<Arc<Process>> {
        if id.is_empty() { Some(Arc::clone(&self.first)) } else { self.added().get(id).cloned() }
    }

    /// Adds one; false where there is one of that name.
    pub(crate) fn add(&self, process: Process) -> bool {
        let mut added = self.added();
        if added.contains_key(&process.id) {
            return false;
        }
        added.insert(process.id.clone(), Arc::new(process));
        true
    }

    /// The name of the process that exec added and has that number.
    pub(crate) fn added_as(&self, pid: u32) -> Option<String> {
        self.added().values().find(|process| process.pid() == pid).map(|process| process.id.clone())
    }

    pub(crate) fn forget(&self, id: &str) {
        self.added().remove(id);
    }

    pub(crate) fn is_paused(&self) -> bool {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = paused;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_waits_for_the_start() {
        let process = Process::new("", Names::default(), Vec::new());
        process.state().stage = Stage::Starting;
        assert!(!process.end(Exit::new(3)), "it was told before its start");
        assert_eq!(process.status(false), Status::STOPPED);
        assert_eq!(process.started(true).map(|e| e.code), Some(3));
    }

    #[test]
    fn an_end_is_told_at_once_else() {
        let process = Process::new("", Names::default(), Vec::new());
        process.state().stage = Stage::Starting;
        assert_eq!(process.started(true), None);
        assert_eq!((process.status(false), process.status(true)), (Status::RUNNING, Status::PAUSED));
        assert!(process.end(Exit::new(0)));
        let never_started = Process::new("", Names::default(), Vec::new());
        assert!(never_started.end(Exit::new(137)));
    }
}

//! Starting what was created, and running in the foreground.

use std::path::Path;

use hull_jail::hooks::Surroundings;
use hull_jail::sync::Sync;

use crate::bundle::Bundle;
use crate::documents::{deliver, hook_text};
use crate::notify::Notify;
use crate::state::{Dir, GATE, State, Status, never_executed};
use crate::{Context as _, Error, Result, Runtime};

impl Runtime {
    /// Starts the program of a created container.
    ///
    /// # Errors
    /// Where it is not in the state created, and where the program can't be executed.
    pub fn start(&self, id: &str) -> Result<()> {
        let dir = Dir::open(self, id)?;
        let state = dir.state()?;
        match state.status(&dir.path) {
            Status::Created => {}
            Status::Stopped => return Err(Error::new("cannot start a container that has stopped")),
            other => return Err(Error::new(format!("cannot start a container in the {other} state"))),
        }
        let process = state.process()?;
        let gate = hull_sys::socket::connect_at(&dir, GATE).what(|| "cannot reach the container's process")?;
        // The name goes first: a start that is killed here leaves a container that never ran and can only be deleted.
        std::fs::remove_file(dir.path.join(GATE)).what(|| "cannot remove the start socket")?;
        let notify = self.listen_ready(&dir.path)?;
        let sync = Sync::new(gate);
        sync.go()?;
        let spec = dir.spec()?;
        crate::child::until_exec(self, &sync, &process, &spec, &|fd| deliver(&state, &spec, state.pid, "creating", fd))?;
        drop(sync);
        if never_executed(state.pid) {
            return Err(Error::new("the container's process was killed before its program ran"));
        }
        if let Err(failed) = self.poststart(&state, &spec) {
            // A failed poststart hook is the end of the container (runtime.md, "Lifecycle", 9).
            if let Err(e) = self.destroy(dir, &state) {
                self.warn(&format!("cannot clean up: {e}"));
            }
            return Err(failed);
        }
        // Others may look at the container while its program gets ready.
        drop(dir);
        match notify {
            Some(notify) => notify.wait(&process, state.pid),
            None => Ok(()),
        }
    }

    /// The socket through which the program of the container with this state directory says that it is ready.
    pub(crate) fn listen_ready(&self, dir: &Path) -> Result<Option<Notify>> {
        match &self.notify_socket {
            Some(manager) => Notify::listen(dir, manager),
            None => Ok(None),
        }
    }

    fn poststart(&self, state: &State, spec: &hull_spec::Spec) -> Result<()> {
        let hooks = spec.hooks.as_ref().map(|h| h.poststart.as_slice()).unwrap_or_default();
        if hooks.is_empty() {
            return Ok(());
        }
        let text = hook_text(state, state.pid, "running");
        hull_jail::hooks::run_all("poststart", hooks, text.as_bytes(), &Surroundings::of_host(&state.annotations))
    }

    /// Makes a container and runs its program; in the foreground waits for its end and, unless `keep`, deletes it.
    /// The result is the program's exit code, 128 + n for signal n; 0 when detached.
    ///
    /// # Errors
    /// As [`Runtime::create`] and [`Runtime::start`]; nothing is left behind then.
    pub fn run(&self, id: &str, bundle: &Bundle, detach: bool, keep: bool) -> Result<i32> {
        let mut launched = self.launch(id, bundle, false)?;
        let talk = launched.talk.as_ref().ok_or_else(|| Error::new("no process"))?;
        let state = &launched.state;
        talk.until_exec(self, &launched.spec, &|fd| deliver(state, &launched.spec, state.pid, "creating", fd))?;
        if detach {
            talk.check_executed()?;
        }
        self.poststart(state, &launched.spec)?;
        let notify = launched.notify.take();
        let (state, talk) = launched.keep();
        let talk = talk.ok_or_else(|| Error::new("no process"))?;
        if detach {
            return match notify {
                Some(notify) => notify.wait(&talk.child.pidfd, state.pid).map(|()| 0),
                None => Ok(0),
            };
        }
        let ended = crate::console::wait(&talk.child, talk.console, notify);
        if !keep {
            self.delete(id, true)?;
        }
        Ok(ended?.code())
    }
}

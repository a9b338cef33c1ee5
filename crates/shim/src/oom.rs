//! Telling that the kernel killed a process of a container for want of memory: before the end of that process is told,
//! if it is the container's first.

use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, PoisonError};

use containerd_shim_protos::events::task::TaskOOM;
use hull_cgroup::{Cgroup, OomEvent, OomWatch};
use tokio::task::JoinHandle;

use crate::events::Events;
use crate::log;
use crate::stdio::asynchronous;

/// A watch; it ends when dropped.
pub(crate) struct Watched {
    watch: Arc<Mutex<OomWatch>>,
    task: JoinHandle<()>,
}

impl Watched {
    /// Begins to watch; none where the container has no limit to memory that could be watched.
    pub(crate) fn begin(id: &str, cgroup: &Cgroup, events: &Arc<Events>) -> Option<Watched> {
        let watch = cgroup.oom_watch().map_err(|e| log::debug(format_args!("{id}: {e}"))).ok()?;
        // One and the same open file.
        let file = asynchronous(watch.as_fd().try_clone_to_owned().ok()?).ok()?;
        let watch = Arc::new(Mutex::new(watch));
        let (taken, events, id) = (Arc::clone(&watch), Arc::clone(events), id.to_owned());
        let task = tokio::spawn(async move {
            while let Ok(mut ready) = file.readable().await {
                if !take(&taken, &id, &events) {
                    break;
                }
                ready.clear_ready();
            }
        });
        Some(Watched { watch, task })
    }

    /// Tells now what has happened.
    pub(crate) fn look(&self, id: &str, events: &Events) {
        take(&self.watch, id, events);
    }
}

/// Tells what woke the watch; false where nothing more will come.
fn take(watch: &Mutex<OomWatch>, id: &str, events: &Events) -> bool {
    match watch.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Ok(OomEvent::Oom) => events.tell("/tasks/oom", &TaskOOM { container_id: id.to_owned(), ..TaskOOM::default() }),
        Ok(OomEvent::Other) => {}
        Ok(OomEvent::End) | Err(_) => return false,
    }
    true
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.task.abort();
    }
}

//! What hooks and seccomp agents are told of a container (runtime.md, "State"; config-linux.md, "The Container Process
//! State").

use std::os::fd::OwnedFd;

use hull_spec::Spec;
use hull_spec::state::{self, ContainerProcessState, SECCOMP_FD};

use crate::state::State;
use crate::{Error, Result};

/// The state that hooks read. Process 0 is none.
pub(crate) fn hook_text(state: &State, pid: i32, status: &str) -> String {
    text(&document(state, pid, status))
}

fn document<'a>(state: &'a State, pid: i32, status: &'a str) -> state::State<'a> {
    state::State {
        oci_version: hull_spec::VERSION,
        id: &state.id,
        status,
        pid,
        bundle: &state.bundle,
        annotations: &state.annotations,
    }
}

fn text(document: &impl serde::Serialize) -> String {
    // Plain strings, numbers and maps; a bundle's path that is no UTF-8 was refused with its config.json.
    serde_json::to_string(document).unwrap_or_default()
}

/// Sends the listener of the process `pid` to the agent that config.json names.
pub(crate) fn deliver(state: &State, spec: &Spec, pid: i32, status: &str, listener: &OwnedFd) -> Result<()> {
    let seccomp = spec.linux.as_ref().and_then(|l| l.seccomp.as_ref());
    let seccomp = seccomp.ok_or_else(|| Error::new("a seccomp listener without a profile"))?;
    let told = ContainerProcessState {
        oci_version: hull_spec::VERSION,
        fds: &[SECCOMP_FD],
        pid,
        metadata: &seccomp.listener_metadata,
        state: document(state, state.pid, status),
    };
    let sent = crate::listener::send(&seccomp.listener_path, listener, &text(&told));
    // An agent that no rule asks may be away.
    let asked = seccomp.syscalls.iter().any(|s| s.action == hull_spec::SeccompAction::Notify);
    if asked { sent } else { Ok(()) }
}

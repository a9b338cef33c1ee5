//! Handing a seccomp listener to its agent (config-linux.md, "The Container Process State").

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::{Context as _, Result};

/// Sends the listener and the state to the agent.
pub(crate) fn send(path: &Path, listener: &OwnedFd, state: &serde_json::Value) -> Result<()> {
    let shown = || format!("linux.seccomp.listenerPath: cannot reach the agent at \"{}\"", path.display());
    let mut agent = UnixStream::connect(path).what(shown)?;
    let text = state.to_string();
    let sent = hull_sys::socket::send(agent.as_fd(), text.as_bytes(), &[listener.as_fd()]).what(shown)?;
    // A stream may take less than all; the descriptor went with the first byte.
    agent.write_all(&text.as_bytes()[sent..]).what(shown)
}

//! Signals that end the module.
//!
//! A thread waits for them. Code that calls nothing gives way when the epoch moves; a call into the host that waits for
//! ever (a pipe that nobody reads) is not waited for.

use std::time::Duration;

use hull_sys::signal::Waiter;
use tokio::sync::oneshot::Receiver;
use wasmtime::{Engine, Result};

/// How long the module may take to come to a halt by itself.
const PATIENCE: Duration = Duration::from_millis(50);

/// Given here, lest a variable of the module's environment say how much.
pub(crate) const STACK: usize = 256 << 10;

/// Watches for the signals that end a process which doesn't handle them. The first is received, as its number; then
/// there is a moment to end in.
///
/// # Errors
/// Where no thread can be made.
pub(crate) fn watch(engine: &Engine, signals: Waiter) -> Result<Receiver<i32>> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let engine = engine.clone();
    std::thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(move || {
        let signal = signals.wait();
        let _ = sender.send(signal);
        engine.increment_epoch();
        std::thread::sleep(PATIENCE);
        std::process::exit(128 + signal);
    })?;
    Ok(receiver)
}

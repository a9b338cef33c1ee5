//! Signals that end the module.

use std::time::{Duration, Instant};

use hull_sys::signal::Waiter;
use tokio::sync::oneshot::Receiver;
use wasmtime::Result;

/// Given here, lest a variable of the module's environment say how much.
pub(crate) const STACK: usize = 256 << 10;

/// For a server: TERM or INT, the first of either, is received; any other signal, or one more, ends the process at once.
/// So does the first, when the server has not ended `grace` later: it may hang, for one where nobody reads its output.
///
/// # Errors
/// Where no thread can be made.
pub(crate) fn watch_server(signals: Waiter, grace: Duration) -> Result<Receiver<i32>> {
    const GRACEFUL: [i32; 2] = [2, 15];
    /// One that comes by two ways, from a terminal or timeout(1) and from a hull in the foreground, is still one.
    const TOGETHER: Duration = Duration::from_millis(250);
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(move || {
        let mut signal = signals.wait();
        if GRACEFUL.contains(&signal) {
            let (first, begun) = (signal, Instant::now());
            let _ = sender.send(signal);
            signal = loop {
                match signals.wait_for(grace.saturating_sub(begun.elapsed())) {
                    Some(again) if again == first && begun.elapsed() < TOGETHER => {}
                    other => break other.unwrap_or(first),
                }
            };
        }
        hull_sys::clone::exit_now(128 + signal)
    })?;
    Ok(receiver)
}

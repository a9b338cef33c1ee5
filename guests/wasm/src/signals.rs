//! Signals that end the module.

use hull_sys::signal::Waiter;
use wasmtime::Result;

/// Given here, lest a variable of the module's environment say how much.
pub(crate) const STACK: usize = 256 << 10;

/// Has the signals that end a process which doesn't handle them end this one: at once, whatever the module does.
///
/// # Errors
/// Where no thread can be made.
pub(crate) fn end_on(signals: Waiter) -> Result<()> {
    let wait = move || hull_sys::clone::exit_now(128 + signals.wait());
    std::thread::Builder::new().name("signals".into()).stack_size(STACK).spawn(wait)?;
    Ok(())
}

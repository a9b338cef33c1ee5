//! The engine's clock: it moves the epoch while requests run, so that those that compute give way to others, and end
//! when their time is over. While none runs it sleeps.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wasmtime::{Engine, Result};

/// How long one may compute before others have their turn.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// A handle to it.
#[derive(Clone)]
pub(super) struct Ticker(Arc<(Mutex<usize>, Condvar)>);

/// Keeps it going.
pub(super) struct Running(Ticker);

impl Ticker {
    /// Begins, asleep.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub(super) fn start(engine: &Engine) -> Result<Ticker> {
        let ticker = Ticker(Arc::default());
        let (engine, clock) = (engine.clone(), ticker.clone());
        std::thread::Builder::new().name("ticker".into()).stack_size(crate::signals::STACK).spawn(move || {
            loop {
                drop(clock.0.1.wait_while(clock.count(), |running| *running == 0));
                std::thread::sleep(TICK);
                engine.increment_epoch();
            }
        })?;
        Ok(ticker)
    }

    fn count(&self) -> MutexGuard<'_, usize> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For as long as the result lives.
    pub(super) fn run(&self) -> Running {
        let mut running = self.count();
        *running += 1;
        if *running == 1 {
            self.0.1.notify_one();
        }
        Running(self.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.0.count() -= 1;
    }
}

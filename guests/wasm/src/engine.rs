//! How code is made and run: the one configuration that compiler and runner share.

use wasmtime::{Config, Engine, Result, WasmBacktraceDetails};

/// The engine. What is compiled by one of another configuration is refused when it is loaded; `counted` is whether code
/// counts its instructions.
///
/// # Errors
/// Where this processor or system can't do it.
pub(crate) fn engine(counted: bool) -> Result<Engine> {
    let mut config = Config::new();
    config.consume_fuel(counted);
    // Lets a signal end a loop that calls nothing.
    config.epoch_interruption(true);
    // Not for a variable in the module's environment to decide.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true);
    Engine::new(&config)
}

//! How code is made and run: the one configuration that compiler and runner share.

use std::sync::Arc;

use wasmtime::{Config, CustomCodeMemory, Engine, Result, WasmBacktraceDetails};

/// Kinds of code, of which an engine runs one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kind {
    /// Counts its instructions.
    pub(crate) counted: bool,
    /// Looks at each turn of a loop whether the epoch has moved, so that one of several modules in a process can be
    /// interrupted. That makes some loops three times as slow. A module that has the process to itself is ended with it.
    pub(crate) interrupted: bool,
}

/// The engine for a kind of code. What is compiled by one of another configuration is refused when it is loaded.
///
/// # Errors
/// Where this processor or system can't do it.
pub(crate) fn engine(kind: Kind) -> Result<Engine> {
    let mut config = Config::new();
    config.consume_fuel(kind.counted).epoch_interruption(kind.interrupted);
    // Not for a variable in the module's environment to decide.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true);
    config.with_custom_code_memory(Some(Arc::new(Pages(rustix::param::page_size()))));
    Engine::new(&config)
}

/// Has code executed where it lies in the mapping of a file; knows how large a page is, since to ask takes a system call
/// that the filters don't have.
struct Pages(usize);

impl CustomCodeMemory for Pages {
    fn required_alignment(&self) -> usize {
        self.0
    }

    fn publish_executable(&self, start: *const u8, length: usize) -> Result<()> {
        // SAFETY: code that was loaded is written by nobody.
        Ok(unsafe { hull_sys::memory::set_executable(start, length, true)? })
    }

    fn unpublish_executable(&self, start: *const u8, length: usize) -> Result<()> {
        // SAFETY: as above; wasmtime asks for it when no code of it runs.
        Ok(unsafe { hull_sys::memory::set_executable(start, length, false)? })
    }
}

//! How code is made and run: the one configuration that compiler and runner share.

use std::sync::Arc;

use wasmtime::{
    Config, CustomCodeMemory, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Result, WasmBacktraceDetails,
};

/// Kinds of code, of which an engine runs one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Kind {
    /// Counts its instructions.
    pub(crate) counted: bool,
    /// Looks at each turn of a loop whether the epoch has moved, so that one of several modules in a process can be
    /// interrupted. That makes some loops three times as slow. A module that has the process to itself is ended with it.
    pub(crate) interrupted: bool,
}

/// Places for so many instances of a component at a time, made once and used again: an instance costs a fraction then.
///
/// Nothing of them is memory before it is used. A component that needs more for one than a place has doesn't fit.
fn places(instances: usize) -> InstanceAllocationStrategy {
    let count = |each: usize| u32::try_from(instances.saturating_mul(each)).unwrap_or(u32::MAX);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(count(1)).total_core_instances(count(64)).total_stacks(count(2));
    pool.total_memories(count(2)).total_tables(count(16)).total_gc_heaps(count(1));
    pool.max_memories_per_component(2).max_tables_per_component(16).max_core_instances_per_component(64);
    InstanceAllocationStrategy::Pooling(pool)
}

/// The engine for a kind of code. What is compiled by one of another configuration is refused when it is loaded.
///
/// # Errors
/// Where this processor or system can't do it.
pub(crate) fn engine(kind: Kind) -> Result<Engine> {
    Engine::new(&config(kind))
}

/// The like with places for instances.
///
/// # Errors
/// Where there is no room in this process's addresses (RLIMIT_AS), too.
pub(crate) fn pooled(kind: Kind, instances: usize) -> Result<Engine> {
    Engine::new(config(kind).allocation_strategy(places(instances)))
}

fn config(kind: Kind) -> Config {
    let mut config = Config::new();
    config.consume_fuel(kind.counted).epoch_interruption(kind.interrupted);
    // Not for a variable in the module's environment to decide.
    config.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config.wasm_gc(true).wasm_function_references(true).wasm_exceptions(true);
    config.with_custom_code_memory(Some(Arc::new(Pages(rustix::param::page_size()))));
    config
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

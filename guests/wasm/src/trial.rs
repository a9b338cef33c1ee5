//! The way from a boot message and a module to an instance, compiler's and runner's part in one process: for the fuzz
//! target. The instance can reach nothing, and nothing of it is called but what instantiation calls.

use std::collections::BTreeMap;

use hull_guest::wasm::{BootMessage, COUNTED};
use wasmtime::{Engine, Precompiled, Result};
use wasmtime_wasi::WasiCtxBuilder;

use crate::engine::Kind;
use crate::{compile, host, run};

/// Compiles and instantiates. The result is how many bytes the memories that the instance exports have.
///
/// # Errors
/// What keeps a module from being compiled, linked or instantiated within its limits.
pub fn trial(boot: &BootMessage, settings: &[&str], module: &[u8]) -> Result<usize> {
    let bytes = compile::parse(module)?;
    let kind = Kind { counted: settings.contains(&COUNTED), interrupted: compile::shape::is_handler(&bytes) };
    let engine = crate::engine::engine(kind)?;
    let code = compile::code(&engine, &bytes)?;
    let limits = host::Limits::new(boot, &host::Pool::new(boot));
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        if Engine::detect_precompiled(&code) == Some(Precompiled::Module) {
            // SAFETY: the code was made above.
            let module = unsafe { wasmtime::Module::deserialize(&engine, &code)? };
            let state = host::Core { wasi: WasiCtxBuilder::new().build_p1(), limits };
            let mut store = run::store(&engine, boot, state)?;
            store.limiter(|host| &mut host.limits);
            let instance = host::core_linker(&engine)?.instantiate_async(&mut store, &module).await?;
            // One may be exported by several names.
            let exports: Vec<_> = instance.exports(&mut store).filter_map(|e| e.into_memory()).collect();
            let memories: BTreeMap<_, _> = exports.iter().map(|m| (m.data_ptr(&store), m.data_size(&store))).collect();
            return Ok(memories.values().sum());
        }
        // SAFETY: as above.
        let component = unsafe { wasmtime::component::Component::deserialize(&engine, &code)? };
        let state = host::Component::new(WasiCtxBuilder::new().build(), limits);
        let mut store = run::store(&engine, boot, state)?;
        store.limiter(|host| &mut host.limits);
        host::component_linker(&engine, &component)?.instantiate_async(&mut store, &component).await?;
        Ok(0)
    })
}

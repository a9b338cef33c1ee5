//! What a module is linked with.

use wasmtime::component::{Linker as ComponentLinker, ResourceTable};
use wasmtime::{Engine, Linker, Result, StoreLimits};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// The state of a core module.
pub(crate) struct Core {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) limits: StoreLimits,
}

/// The state of a component.
pub(crate) struct Component {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) limits: StoreLimits,
}

impl WasiView for Component {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// WASI preview 1, and what came before it.
pub(crate) fn core_linker(engine: &Engine) -> Result<Linker<Core>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |host: &mut Core| &mut host.wasi)?;
    wasmtime_wasi::p0::add_to_linker_async(&mut linker, |host: &mut Core| &mut host.wasi)?;
    Ok(linker)
}

/// WASI 0.2.
pub(crate) fn component_linker(engine: &Engine) -> Result<ComponentLinker<Component>> {
    let mut linker = ComponentLinker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

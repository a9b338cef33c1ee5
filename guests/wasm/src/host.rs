//! What a module is linked with.

use wasmtime::component::{Linker as ComponentLinker, ResourceTable};
use wasmtime::{Engine, Linker, ResourceLimiter, Result};
use hull_guest::wasm::BootMessage;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Bounds what all memories and tables take together, so that a module's own allocation fails and not its engine.
pub(crate) struct Limits {
    left: usize,
}

impl Limits {
    pub(crate) fn new(boot: &BootMessage) -> Limits {
        /// What the engine itself takes of the container's memory.
        const ENGINE: u64 = 20 << 20;
        let left = boot.memory.map(|limit| limit.saturating_sub(ENGINE).max(limit / 4));
        Limits { left: left.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX) }
    }

    fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.take(desired.saturating_sub(current)))
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.take(desired.saturating_sub(current).saturating_mul(size_of::<usize>())))
    }
}

/// The state of a core module.
pub(crate) struct Core {
    pub(crate) wasi: WasiP1Ctx,
    pub(crate) limits: Limits,
}

/// The state of a component.
pub(crate) struct Component {
    pub(crate) wasi: WasiCtx,
    pub(crate) table: ResourceTable,
    pub(crate) limits: Limits,
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

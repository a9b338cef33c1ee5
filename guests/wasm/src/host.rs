//! What a module is linked with.

use wasmtime::component::{Linker as ComponentLinker, ResourceTable};
use wasmtime::{Engine, Linker, ResourceLimiter, Result};
use hull_guest::wasm::BootMessage;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

/// Bounds what all memories and tables take together, so that a module's own allocation fails and not its engine.
pub(crate) struct Limits {
    /// Bytes of memories and tables.
    bytes: usize,
    table_elements: usize,
    instances: usize,
    memories: usize,
    tables: usize,
    /// What was granted last, in bytes and elements: given back where the engine then can't have it.
    last: (usize, usize),
}

impl Limits {
    pub(crate) fn new(boot: &BootMessage) -> Limits {
        /// What the engine itself takes of the container's memory.
        const ENGINE: u64 = 20 << 20;
        /// As wasmtime has it.
        const MANY: usize = 10_000;
        let left = boot.memory.map(|limit| limit.saturating_sub(ENGINE).max(limit / 4));
        let left = left.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
        let annotated = &boot.limits;
        Limits {
            bytes: left.min(annotated.memory.unwrap_or(usize::MAX)),
            table_elements: annotated.table_elements.unwrap_or(usize::MAX),
            instances: annotated.instances.unwrap_or(MANY),
            memories: annotated.memories.unwrap_or(MANY),
            tables: annotated.tables.unwrap_or(MANY),
            last: (0, 0),
        }
    }

    /// Takes that much of what is left, or nothing.
    fn take(&mut self, bytes: usize, elements: usize) -> bool {
        let left = self.bytes.checked_sub(bytes).zip(self.table_elements.checked_sub(elements));
        self.last = if left.is_some() { (bytes, elements) } else { (0, 0) };
        (self.bytes, self.table_elements) = left.unwrap_or((self.bytes, self.table_elements));
        left.is_some()
    }

    fn give_back(&mut self) {
        let (bytes, elements) = std::mem::take(&mut self.last);
        self.bytes = self.bytes.saturating_add(bytes);
        self.table_elements = self.table_elements.saturating_add(elements);
    }
}

impl ResourceLimiter for Limits {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(self.take(desired.saturating_sub(current), 0))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.give_back();
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        let more = desired.saturating_sub(current);
        Ok(self.take(more.saturating_mul(size_of::<usize>()), more))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> Result<()> {
        self.give_back();
        Ok(())
    }

    fn instances(&self) -> usize {
        self.instances
    }

    fn memories(&self) -> usize {
        self.memories
    }

    fn tables(&self) -> usize {
        self.tables
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

/// WASI 0.2, and 0.3 for a component that imports of that.
pub(crate) fn component_linker(engine: &Engine, component: &wasmtime::component::Component) -> Result<ComponentLinker<Component>> {
    let mut linker = ComponentLinker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    if component.component_type().imports(engine).any(|(name, _)| name.contains("@0.3")) {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

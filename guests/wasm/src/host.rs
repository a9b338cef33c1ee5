//! What a module is linked with.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hull_guest::wasm::BootMessage;
use wasmtime::component::{Linker as ComponentLinker, ResourceTable};
use wasmtime::{Engine, Linker, ResourceLimiter, Result};
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{I32Exit, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::http::client::Outgoing;

/// The bytes that all memories and tables of this process may still take together, so that a module's own allocation
/// fails and not its engine.
#[derive(Clone)]
pub(crate) struct Pool(Arc<AtomicUsize>);

impl Pool {
    pub(crate) fn new(boot: &BootMessage) -> Pool {
        /// What the engine itself takes of the container's memory.
        const ENGINE: u64 = 20 << 20;
        let left = boot.memory.map(|limit| limit.saturating_sub(ENGINE).max(limit / 4));
        let left = left.and_then(|l| usize::try_from(l).ok()).unwrap_or(usize::MAX);
        Pool(Arc::new(AtomicUsize::new(left.min(boot.limits.memory.unwrap_or(usize::MAX)))))
    }

    fn take(&self, bytes: usize) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    /// Only ever what was taken.
    fn give(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Bounds what one store takes.
pub(crate) struct Limits {
    pool: Pool,
    /// What it has of that.
    taken: usize,
    /// Whether it was ever refused more of that.
    pub(crate) refused: bool,
    table_elements: usize,
    instances: usize,
    memories: usize,
    tables: usize,
    /// What was granted last, in bytes and elements: given back where the engine then can't have it.
    last: (usize, usize),
}

impl Limits {
    pub(crate) fn new(boot: &BootMessage, pool: &Pool) -> Limits {
        /// As wasmtime has it.
        const MANY: usize = 10_000;
        let annotated = &boot.limits;
        Limits {
            pool: pool.clone(),
            taken: 0,
            refused: false,
            table_elements: annotated.table_elements.unwrap_or(usize::MAX),
            instances: annotated.instances.unwrap_or(MANY),
            memories: annotated.memories.unwrap_or(MANY),
            tables: annotated.tables.unwrap_or(MANY),
            last: (0, 0),
        }
    }

    /// Takes so many bytes of what is left for what is no memory of the module's, or nothing.
    pub(crate) fn reserve(&mut self, bytes: usize) -> bool {
        self.refused = !self.pool.take(bytes);
        if !self.refused {
            self.taken += bytes;
        }
        !self.refused
    }

    /// Takes that much of what is left, or nothing.
    fn take(&mut self, bytes: usize, elements: usize) -> bool {
        self.last = (0, 0);
        let Some(left) = self.table_elements.checked_sub(elements) else { return false };
        if !self.pool.take(bytes) {
            self.refused = true;
            return false;
        }
        self.table_elements = left;
        self.taken += bytes;
        self.last = (bytes, elements);
        true
    }

    fn give_back(&mut self) {
        let (bytes, elements) = std::mem::take(&mut self.last);
        self.pool.give(bytes);
        self.taken -= bytes;
        self.table_elements = self.table_elements.saturating_add(elements);
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        self.pool.give(self.taken);
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
    http: WasiHttpCtx,
    outgoing: Outgoing,
}

impl Component {
    pub(crate) fn new(wasi: WasiCtx, limits: Limits) -> Component {
        Component { wasi, table: ResourceTable::new(), limits, http: WasiHttpCtx::new(), outgoing: Outgoing }
    }
}

impl WasiView for Component {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Component {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outgoing }
    }
}

/// WASI preview 1, and what came before it.
pub(crate) fn core_linker(engine: &Engine) -> Result<Linker<Core>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p1::add_to_linker_async(&mut linker, |host: &mut Core| &mut host.wasi)?;
    wasmtime_wasi::p0::add_to_linker_async(&mut linker, |host: &mut Core| &mut host.wasi)?;
    // wasmtime lets a module end with a code below 126 alone. Here it is a process, and shells end with 126 and 127,
    // others with 255; what doesn't fit is cut off as the kernel does.
    linker.allow_shadowing(true);
    for version in ["wasi_snapshot_preview1", "wasi_unstable"] {
        linker.func_wrap(version, "proc_exit", |code: i32| -> Result<()> { Err(I32Exit(code & 0xff).into()) })?;
    }
    linker.allow_shadowing(false);
    Ok(linker)
}

/// WASI 0.2; and what not every component has a use for, where it imports of that: WASI 0.3, and HTTP of either.
pub(crate) fn component_linker(engine: &Engine, component: &wasmtime::component::Component) -> Result<ComponentLinker<Component>> {
    let mut linker = ComponentLinker::new(engine);
    let imports = |what: &dyn Fn(&str) -> bool| component.component_type().imports(engine).any(|(name, _)| what(name));
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    if imports(&|name| name.contains("@0.3")) {
        wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    }
    if imports(&|name| name.starts_with("wasi:http/") && name.contains("@0.2")) {
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    }
    if imports(&|name| name.starts_with("wasi:http/") && name.contains("@0.3")) {
        wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    }
    Ok(linker)
}

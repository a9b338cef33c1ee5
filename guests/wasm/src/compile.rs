//! `hull-wasmc compile`: a module or component on standard input, machine code on standard output.
//!
//! What it reads is the container's and may be anything; so once it has been read, this process gives up every right
//! and every system call but those that memory and the output need. An import that nothing provides is an error here,
//! by its name, so that such a container is refused when it is created.

mod confine;
pub(crate) mod shape;

use std::borrow::Cow;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};

use wasmtime::component::Component;
use wasmtime::{Engine, Module, Result};

use crate::engine::Kind;

/// Compiles. The result is an exit code; what is wrong with the module is said on standard error.
pub fn main(settings: impl Iterator<Item = OsString>) -> i32 {
    match compile(settings.collect()) {
        Ok(()) => 0,
        Err(e) => {
            /// Hull reads no more than a pipe holds, and only once this process has ended.
            const LONGEST: usize = 1 << 14;
            let text = format!("{e:#}");
            eprintln!("{}", &text[..text.floor_char_boundary(LONGEST)]);
            1
        }
    }
}

fn compile(settings: Vec<OsString>) -> Result<()> {
    // What hull's own caller left open is nothing that a module may reach, should it get this process in its hands.
    // SAFETY: nothing here has opened a descriptor yet.
    unsafe { hull_sys::fs::close_all_but(3, &mut [])? };
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let counted = settings.iter().any(|s| s == hull_guest::wasm::COUNTED);
    // Both are made while what they ask the system may be asked.
    let [engine, of_served] = [false, true].map(|interrupted| crate::engine::engine(Kind { counted, interrupted }));
    let (engine, of_served) = (engine?, of_served?);
    confine::give_up_rights()?;
    confine::filter()?;
    let bytes = parse(&input)?;
    let engine = if shape::is_handler(&bytes) { of_served } else { engine };
    let mut out = std::io::stdout();
    out.write_all(&code(&engine, &bytes)?)?;
    Ok(out.flush()?)
}

/// A module in its binary form, from that or from text.
pub(crate) fn parse(input: &[u8]) -> Result<Cow<'_, [u8]>> {
    wat::parse_bytes(input).map_err(|e| wasmtime::Error::msg(e.to_string()))
}

/// The code of a module or component that has all it imports.
pub(crate) fn code(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    if shape::is_component(bytes) { component(engine, bytes) } else { module(engine, bytes) }
}

fn module(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    let linker = crate::host::core_linker(engine)?;
    // What is wrong with the types of imports themselves is told of the whole.
    if let Ok(imports) = Module::from_binary(engine, shape::imports(bytes)) {
        linker.instantiate_pre(&imports)?;
    }
    let module = Module::from_binary(engine, bytes)?;
    linker.instantiate_pre(&module)?;
    module.serialize()
}

fn component(engine: &Engine, bytes: &[u8]) -> Result<Vec<u8>> {
    let linker = |component: &Component| crate::host::component_linker(engine, component);
    if let Ok(imports) = Component::from_binary(engine, shape::imports(bytes)) {
        linker(&imports)?.instantiate_pre(&imports)?;
    }
    let component = Component::from_binary(engine, bytes)?;
    let linker = linker(&component)?;
    crate::http::check(&linker, &linker.instantiate_pre(&component)?)?;
    component.serialize()
}

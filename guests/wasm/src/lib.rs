//! `hull-wasm`: the engine that runs WebAssembly in a container's jail.
//!
//! Two commands, both called by hull and by nobody else. `compile` turns a module into machine code, before and outside
//! of any container; `run` is executed as the jail's last step, gets that code by descriptor, and never compiles. What
//! a module can reach is what the jail shows: the root directory, the network namespace, the clocks.

mod compile;
mod confine;
mod engine;
mod host;
mod http;
mod run;
mod signals;
mod trial;

use std::ffi::OsString;

pub use trial::trial;

/// The program; `args` is without its name. The result is its exit code.
pub fn main(mut args: impl Iterator<Item = OsString>) -> i32 {
    let command = args.next().unwrap_or_default();
    match command.to_str() {
        Some("run") => run::main(args),
        Some("compile") => compile::main(args),
        Some("--version") => {
            println!("hull-wasm version {}", env!("CARGO_PKG_VERSION"));
            0
        }
        _ => usage(&command),
    }
}

fn usage(command: &OsString) -> i32 {
    eprintln!("hull-wasm: no command \"{}\": hull calls it, as in `hull do --isolation wasm -- app.wasm`", command.display());
    1
}

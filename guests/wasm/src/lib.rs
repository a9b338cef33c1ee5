//! WebAssembly in a container's jail: what `hull-wasm`, the engine that runs it, and `hull-wasmc`, the compiler, are made of.
//!
//! Both are called by hull and by nobody else. The compiler turns a module into machine code, before and outside of any
//! container. The engine is executed as the jail's last step, gets that code by descriptor, and has no compiler in it.
//! What a module can reach is what the jail shows: the root directory, the network namespace, the clocks.
//!
//! Two programs, because each container executes the engine: a compiler in it would make every start slower, by what
//! it takes to load one.

#[cfg(feature = "compiler")]
pub mod compile;
mod confine;
mod engine;
mod host;
mod http;
pub mod run;
mod signals;
#[cfg(feature = "compiler")]
mod trial;

use std::ffi::OsString;

#[cfg(feature = "compiler")]
pub use trial::trial;

/// Either program, by the name of its one command: `args` is without the program's name, `command` gets what comes after
/// its own. The result is an exit code.
pub fn main<A: Iterator<Item = OsString>>(program: &str, name: &str, mut args: A, command: fn(A) -> i32) -> i32 {
    let first = args.next().unwrap_or_default();
    match first.to_str() {
        Some(first) if first == name => command(args),
        Some("--version") => {
            println!("{program} version {}", env!("CARGO_PKG_VERSION"));
            0
        }
        _ => {
            let problem = "hull calls it, as in `hull do --isolation wasm -- app.wasm`";
            eprintln!("{program}: no command \"{}\": {problem}", first.display());
            1
        }
    }
}

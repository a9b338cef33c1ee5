//! The engine's program; see the library of this package.

// A tool for documentation is told of no target's features.
#[cfg(not(any(target_feature = "crt-static", doc)))]
compile_error!("hull-wasm must be static: in a container it would take its libraries from there");

fn main() {
    std::process::exit(hull_wasm::main("hull-wasm", "run", std::env::args_os().skip(1), hull_wasm::run::main))
}

//! The compiler's program; see `hull_wasm::compile`.

fn main() {
    std::process::exit(hull_wasm::main("hull-wasmc", "compile", std::env::args_os().skip(1), hull_wasm::compile::main))
}

//! The program; see the library of this package.

fn main() {
    std::process::exit(hull_wasm::main(std::env::args_os().skip(1)))
}

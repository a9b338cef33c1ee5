// Each line of standard input, calculated; the results go to a file too.
use std::io::{BufRead, Write};

fn main() {
    let mut out = std::fs::File::create(std::env::args().nth(1).expect("a file")).expect("cannot make it");
    let mut context = fend_core::Context::new();
    for line in std::io::stdin().lock().lines() {
        let result = fend_core::evaluate(&line.unwrap(), &mut context);
        let text = result.map_or_else(|e| format!("error: {}", e), |r| r.get_main_result().to_string());
        println!("{}", text);
        writeln!(out, "{}", text).unwrap();
    }
}

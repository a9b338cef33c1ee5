//! Hands the commit to the program, for `hull --version`: that of the variable HULL_COMMIT, or else that of the
//! checkout. Makes `hull_start` of hull-sys the entry point of the program where it exists; see `early` there.

use std::process::Command;

fn main() {
    entry();
    commit();
}

fn entry() {
    let is = |name: &str, value: &str| std::env::var(name).as_deref() == Ok(value);
    if is("CARGO_CFG_TARGET_ARCH", "x86_64") && !is("OPT_LEVEL", "0") {
        println!("cargo:rustc-link-arg-bins=-Wl,--undefined=hull_start,--entry=hull_start");
    }
}

fn commit() {
    println!("cargo:rerun-if-env-changed=HULL_COMMIT");
    if std::env::var_os("HULL_COMMIT").is_some() {
        return;
    }
    let git = |args: &[&str]| -> Option<String> {
        let out = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
        Some(String::from_utf8(out.stdout).ok()?.trim().to_owned())
    };
    // The log of HEAD changes with each commit and each checkout.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]).filter(|p| std::path::Path::new(p).exists());
    if let (Some(log), Some(commit)) = (log, git(&["rev-parse", "HEAD"])) {
        println!("cargo:rerun-if-changed={log}");
        println!("cargo:rustc-env=HULL_COMMIT={commit}");
    }
}

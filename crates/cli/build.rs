//! Hands the commit to the program, for `hull --version`: that of the variable HULL_COMMIT, or else that of the checkout.

use std::process::Command;

fn main() {
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

//! The root file system that bundles start from: busybox, the probe, a few files and empty directories.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use crate::ctx::chmod;

/// Builds it at `to` from the busybox at `busybox` and the probe beside this program.
pub(crate) fn build(to: &Path, busybox: &Path) -> io::Result<()> {
    for dir in ["bin", "dev", "etc", "proc", "root", "sys", "tmp", "run", "mnt", "home/user", "usr/bin"] {
        fs::create_dir_all(to.join(dir))?;
    }
    chmod(&to.join("tmp"), 0o1777);
    fs::copy(busybox, to.join("bin/busybox"))
        .map_err(|e| io::Error::new(e.kind(), format!("no static busybox at {}: {e}", busybox.display())))?;
    let probe = std::env::current_exe()?.with_file_name("hull-probe");
    fs::copy(&probe, to.join("bin/hull-probe"))
        .map_err(|e| io::Error::new(e.kind(), format!("no probe at {}: {e}", probe.display())))?;
    let applets = Command::new(busybox).arg("--list").output()?.stdout;
    for applet in String::from_utf8_lossy(&applets).lines().filter(|a| *a != "busybox") {
        symlink("busybox", to.join("bin").join(applet))?;
    }
    // Cases skip where there is no compiler for their program.
    let source = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let wasm = ["--target=wasm32-wasi", "-O1"];
    let programs = [
        ("clang", &wasm[..], "wasm/probe.c", "bin/probe.wasm"), ("clang", &wasm, "every.c", "bin/every.wasm"),
        ("cc", &["-static", "-O1"], "every.c", "bin/every"),
    ];
    for (compiler, options, name, program) in programs {
        let _ = Command::new(compiler).args(options).arg("-o").arg(to.join(program)).arg(source(name)).output();
    }
    fs::write(to.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n")?;
    fs::write(to.join("etc/group"), "root:x:0:\ntty:x:5:\nuser:x:1000:\nextra:x:2000:user\n")?;
    fs::write(to.join("etc/data"), "data\n")
}

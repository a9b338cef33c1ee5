//! Isolation "wasm": advisories about WASI's files and resources, of wasmtime and others, played by raw calls, which no
//! C library would make.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::{Case, Done, Stop, case, check, same};
use crate::config::Edit;
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(cve_2026_47261, "CVE-2026-47261: opening a read-only file to read and truncate doesn't truncate it"),
    case!(ghsa_4ch3, "GHSA-4ch3-9j33-3pmj: a file of a read-only mount comes into no other by a hard link or a new name"),
    case!(cve_2025_53901, "CVE-2025-53901: renumbering a descriptor to itself, or to none, ends no engine"),
    case!(cve_2026_27204, "CVE-2026-27204: random bytes without end are refused, and cost nothing"),
    case!(cve_2024_38358, "CVE-2024-38358: to create a file through a link out of the root creates none there"),
    case!(ghsa_p8xm, "GHSA-p8xm-42r7-89xg: a table larger than any address is refused"),
    case!(directory, "nothing above a directory is reached by its descriptor: not by .., nor by a link"),
    case!(descriptors, "no descriptor is there but the standard ones and the root"),
];

// The first, directories, and the flags of path_open.
const ROOT: u32 = 3;
const CREATE: u32 = 1;
const DIRECTORY: u32 = 2;
const TRUNCATE: u32 = 8;

// Rights of a descriptor.
const READ: u32 = 2;
const WRITE: u32 = 64;

/// Names lie here.
const NAMES: [u32; 2] = [1000, 2000];

/// A module whose exit code is what its function gives: an errno of WASI, mostly. Its first descriptor for something
/// opened is at 0.
fn calls<'a>(ctx: &'a Ctx, names: [&str; 2], body: &str) -> Result<Bundle<'a>, Stop> {
    let b = super::wasm::module(ctx)?.args(&["/app.wat"]);
    let text = format!(
        "(module
            (import \"wasi_snapshot_preview1\" \"path_open\"
                (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
            (import \"wasi_snapshot_preview1\" \"path_link\" (func $link (param i32 i32 i32 i32 i32 i32 i32) (result i32)))
            (import \"wasi_snapshot_preview1\" \"path_rename\" (func $rename (param i32 i32 i32 i32 i32 i32) (result i32)))
            (import \"wasi_snapshot_preview1\" \"fd_renumber\" (func $renumber (param i32 i32) (result i32)))
            (import \"wasi_snapshot_preview1\" \"fd_fdstat_get\" (func $stat (param i32 i32) (result i32)))
            (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
            (memory (export \"memory\") 1)
            (data (i32.const {}) \"{}\") (data (i32.const {}) \"{}\")
            (func $main (result i32) {body})
            (func (export \"_start\") (call $exit (call $main))))",
        NAMES[0], names[0], NAMES[1], names[1],
    );
    super::wasm::write(&b, "app.wat", &text)?;
    Ok(b)
}

/// A call of path_open, following links.
fn open(directory: &str, name: u32, length: usize, flags: u32, rights: u32) -> String {
    format!(
        "(call $open {directory} (i32.const 1) (i32.const {name}) (i32.const {length}) (i32.const {flags})
            (i64.const {rights}) (i64.const {rights}) (i32.const 0) (i32.const 0))"
    )
}

fn number(n: u32) -> String {
    format!("(i32.const {n})")
}

/// Fails where an engine panicked instead of answering, and where the module didn't run at all.
fn refused(out: crate::call::Output) -> Done {
    let ran = !out.err.contains("cannot be compiled");
    check!(ran && out.code != 0 && out.code != 134 && !out.err.contains("panicked"), "{}", out.text());
    Ok(())
}

fn cve_2026_47261(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("source");
    fs::write(dir.join("file"), "of the mount\n")?;
    for rights in [READ, READ | WRITE, 0] {
        let open = open(&number(ROOT), NAMES[0], 8, TRUNCATE, rights);
        let b = calls(ctx, ["mnt/file", ""], &open)?.tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind", "ro"]));
        refused(b.run()?)?;
        same!(fs::read_to_string(dir.join("file"))?, "of the mount\n", "the file, with rights {rights}");
        // It can be opened as such.
        let open = self::open(&number(ROOT), NAMES[0], 8, 0, READ);
        let b = calls(ctx, ["mnt/file", ""], &open)?.tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind", "ro"]));
        b.run()?.ok()?;
        // The root is read-only too.
        let open = self::open(&number(ROOT), NAMES[0], 8, TRUNCATE, rights);
        let b = calls(ctx, ["etc/data", ""], &open)?;
        let file = b.rootfs().join("etc/data");
        refused(b.run()?)?;
        same!(fs::read_to_string(file)?, "data\n", "the root's file, with rights {rights}");
    }
    Ok(())
}

fn ghsa_4ch3(ctx: &Ctx) -> Done {
    let (dir, other) = (ctx.host_dir("source"), ctx.host_dir("other"));
    fs::write(dir.join("file"), "of the mount\n")?;
    let link = format!(
        "(call $link (i32.const {ROOT}) (i32.const 0) (i32.const {}) (i32.const 8) (i32.const {ROOT}) (i32.const {}) (i32.const 7))",
        NAMES[0], NAMES[1],
    );
    let rename = format!(
        "(call $rename (i32.const {ROOT}) (i32.const {}) (i32.const 8) (i32.const {ROOT}) (i32.const {}) (i32.const 7))",
        NAMES[0], NAMES[1],
    );
    for call in [link, rename] {
        let b = calls(ctx, ["mnt/file", "rw/mine"], &call)?
            .tweak(|c| c.mount("/mnt", "bind", dir.to_str().unwrap(), &["bind", "ro"]))
            .tweak(|c| c.mount("/rw", "bind", other.to_str().unwrap(), &["bind"]));
        refused(b.run()?)?;
        check!(dir.join("file").exists() && !other.join("mine").exists(), "the file is where it can be written");
    }
    Ok(())
}

fn cve_2025_53901(ctx: &Ctx) -> Done {
    // To itself, to one that isn't there, and onto the root, which is used afterwards.
    let body = format!(
        "(drop (call $renumber (i32.const {ROOT}) (i32.const {ROOT})))
        (drop (call $renumber (i32.const {ROOT}) (i32.const 90)))
        (drop (call $renumber (i32.const 91) (i32.const {ROOT})))
        (drop (call $renumber (i32.const 1) (i32.const {ROOT})))
        (drop {})
        (i32.const 7)",
        open(&number(ROOT), NAMES[0], 8, 0, READ),
    );
    calls(ctx, ["etc/data", ""], &body)?.run()?.code(7)?;
    Ok(())
}

fn cve_2026_27204(ctx: &Ctx) -> Done {
    let text = r#"(component
        (import "wasi:random/random@0.2.0" (instance $r (export "get-random-bytes" (func (param "len" u64) (result (list u8))))))
        (alias export $r "get-random-bytes" (func $bytes))
        (core module $memory (memory (export "memory") 1)
            (global $at (mut i32) (i32.const 1024))
            (func (export "realloc") (param i32 i32 i32 i32) (result i32) (global.get $at)))
        (core instance $memory (instantiate $memory))
        (core func $core-bytes (canon lower (func $bytes) (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))
        (core module $m (import "r" "bytes" (func $bytes (param i64 i32)))
            (func (export "run") (result i32) (call $bytes (i64.const LENGTH) (i32.const 0)) (i32.const 0)))
        (core instance $i (instantiate $m (with "r" (instance (export "bytes" (func $core-bytes))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $run (export "run" (func $run))) (export "wasi:cli/run@0.2.0" (instance $run)))"#;
    for (length, code) in [("1000", 0), ("1099511627776", 134), ("-1", 134)] {
        let b = super::wasm::module(ctx)?.args(&["/app.wat"]).set("/linux/resources/memory/limit", json!(64 << 20));
        super::wasm::write(&b, "app.wat", &text.replace("LENGTH", length))?;
        let out = b.run()?;
        check!((out.code == 0) == (code == 0) && out.code != 137 && !out.err.contains("panicked"), "{length}: {}", out.text());
    }
    Ok(())
}

fn cve_2024_38358(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("outside");
    let mine = dir.join("mine");
    for target in [mine.to_str().unwrap().to_owned(), format!("../../../../../..{}", mine.display())] {
        let b = calls(ctx, ["link", ""], &open(&number(ROOT), NAMES[0], 4, CREATE, READ | WRITE))?.rw();
        symlink(target, b.rootfs().join("link"))?;
        refused(b.run()?)?;
        check!(!mine.exists(), "a file was made outside");
    }
    Ok(())
}

fn ghsa_p8xm(ctx: &Ctx) -> Done {
    let b = super::wasm::module(ctx)?.args(&["/app.wat"]);
    let text = "(module (table i64 0x2000000000000000 funcref) (memory (export \"memory\") 1) (func (export \"_start\")))";
    super::wasm::write(&b, "app.wat", text)?;
    refused(b.run()?)
}

fn directory(ctx: &Ctx) -> Done {
    for (name, link) in [("../data", None), ("sub/../../data", None), ("link", Some("../data")), ("link", Some("/etc/data")), ("/etc/data", None)] {
        // /etc/dir is opened first, and the name from there.
        let body = format!(
            "(if (result i32) {} (then (i32.const 99)) (else {}))",
            open(&number(ROOT), NAMES[0], 7, DIRECTORY, READ),
            open("(i32.load (i32.const 0))", NAMES[1], name.len(), 0, READ),
        );
        let b = calls(ctx, ["etc/dir", name], &body)?;
        fs::create_dir_all(b.rootfs().join("etc/dir/sub"))?;
        fs::write(b.rootfs().join("etc/dir/own"), "")?;
        if let Some(link) = link {
            symlink(link, b.rootfs().join("etc/dir/link"))?;
        }
        let out = b.run()?;
        check!(![0, 99, 134].contains(&out.code), "{name}, {link:?}: {}", out.text());
        let body = body.replace(&format!("(i32.const {}) (i32.const {})", NAMES[1], name.len()), &format!("(i32.const {}) (i32.const 3)", NAMES[1]));
        let b = calls(ctx, ["etc/dir", "own"], &body)?;
        fs::create_dir_all(b.rootfs().join("etc/dir"))?;
        fs::write(b.rootfs().join("etc/dir/own"), "")?;
        b.run()?.code(0)?;
    }
    Ok(())
}

fn descriptors(ctx: &Ctx) -> Done {
    // The number of the first that isn't there, and how many there are up to 100.
    let body = "(local $n i32) (local $there i32)
        (loop $next
            (if (i32.eqz (call $stat (local.get $n) (i32.const 0))) (then (local.set $there (i32.add (local.get $there) (i32.const 1)))))
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (br_if $next (i32.lt_u (local.get $n) (i32.const 100))))
        (local.get $there)";
    calls(ctx, ["", ""], body)?.run()?.code(4)?;
    // A descriptor of the caller's that hull is told to pass on is no module's.
    let b = calls(ctx, ["", ""], body)?;
    let file: std::os::fd::OwnedFd = fs::File::open("/etc/passwd")?.into();
    b.call("run").args(&["--preserve-fds", "1"]).fd(3, file).run()?.code(4)?;
    Ok(())
}

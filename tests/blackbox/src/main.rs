//! Black-box cases for any OCI runtime: `RUNTIME=/path hull-blackbox [--list] [--filter TEXT] [--jobs N] [--view V]`.
//!
//! The same cases run against hull and against its peers, so that a peer's pass is evidence for the case itself.
//! Ends with a line `N passed, N failed, N skipped`; exit code 1 if anything failed.

mod bundle;
mod call;
mod case;
mod cases;
mod config;
mod ctx;
mod host;
mod http;
mod rootfs;
mod runner;
mod tty;

use std::path::PathBuf;
use std::process::exit;

/// What the command line asked for.
#[derive(Default)]
pub(crate) struct Options {
    /// Only cases whose name holds one of these.
    pub(crate) filters: Vec<String>,
    pub(crate) jobs: usize,
    /// How the host's cgroups are shown to the runtime: as they are, version 1 only, version 2 only.
    pub(crate) view: String,
    /// Keep the files of failed cases.
    pub(crate) keep: bool,
    list: bool,
    /// Run this one case in this process, in this directory, under this tag.
    one: Option<[String; 5]>,
}

const USAGE: &str = "usage: hull-blackbox [--list] [--filter TEXT]... [--jobs N] [--view host|v1|v2] [--keep]
environment: RUNTIME (path of the runtime), BUSYBOX (path of a static busybox), TMPDIR";

fn options() -> Result<Options, String> {
    let jobs = std::thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let mut o = Options { jobs, view: "host".into(), ..Options::default() };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "--list" => o.list = true,
            "--keep" => o.keep = true,
            "--filter" => o.filters.push(value()?),
            "--jobs" => o.jobs = value()?.parse().map_err(|e| format!("--jobs: {e}"))?,
            "--view" => o.view = value()?,
            "--one" => o.one = Some([value()?, value()?, value()?, value()?, value()?]),
            _ => return Err(format!("unknown argument {arg}\n{USAGE}")),
        }
    }
    if !["host", "v1", "v2"].contains(&o.view.as_str()) {
        return Err(format!("--view {}: want host, v1 or v2", o.view));
    }
    Ok(o)
}

/// The runtime under test: `RUNTIME`, or the release build of this workspace.
fn runtime() -> Result<PathBuf, String> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/x86_64-unknown-linux-gnu/release/hull");
    let named = std::env::var("RUNTIME").unwrap_or_else(|_| default.into());
    let dirs = std::env::var("PATH").unwrap_or_default();
    let found = if named.contains('/') {
        Some(PathBuf::from(&named))
    } else {
        dirs.split(':').map(|d| PathBuf::from(d).join(&named)).find(|p| p.is_file())
    };
    found.and_then(|p| p.canonicalize().ok()).ok_or(format!("no runtime at {named:?}"))
}

fn main() {
    let options = options().unwrap_or_else(|e| fatal(&e));
    if options.list {
        for (subject, list) in cases::ALL {
            for case in *list {
                println!("{subject}::{}: {}", case.name, case.point);
                for mark in case.marks.iter().flatten() {
                    println!("    {} fails: {}", mark.peer, mark.reason);
                }
            }
        }
        return;
    }
    let runtime = runtime().unwrap_or_else(|e| fatal(&e));
    if let Some(one) = &options.one {
        runner::one_case(runtime, one);
    }
    match runner::suite(&options, runtime) {
        Ok(good) => exit(if good { 0 } else { 1 }),
        Err(e) => fatal(&e),
    }
}

fn fatal(why: &str) -> ! {
    eprintln!("hull-blackbox: {why}");
    exit(2)
}

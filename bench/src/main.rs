//! Measures OCI runtimes side by side: the same bundle, interleaved in one run, as medians and ratios.
//!
//! Owns the scratch directory, the view of cgroups and the table. Asserts nothing: machines differ and are noisy.

mod bundle;
mod measure;
mod report;
mod shim;
mod wasm;

use std::path::{Path, PathBuf};

use measure::Runtime;

const USAGE: &str = "\
usage: hull-bench [--runs N] [--case CASE]... [--host-cgroups] [NAME=PATH]...

Compares runtimes (by default hull of this tree, and crun, runc and youki where they are on PATH) and, for `run`,
the kernel's floor. CASE is run, lifecycle or exec (those three if none is named), or wasm-run, wasm-throughput or
wasm-memory, in which hull, runtimes named *-wasm and wasmtime=PATH (its command) take part, or shim: hull's shim, and
containerd's (containerd-shim-runc-v2 in /usr/bin) with each runtime. Needs root, a static busybox and gcc. Runs in a mount namespace with a pure cgroup v2 tree;
--host-cgroups keeps the host's.";

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

struct Wishes {
    runs: usize,
    cases: Vec<String>,
    host_cgroups: bool,
    runtimes: Vec<(String, PathBuf)>,
    wasmtime: Option<PathBuf>,
}

fn wishes() -> Result<Wishes> {
    let mut w = Wishes { runs: 30, cases: vec![], host_cgroups: false, runtimes: vec![], wasmtime: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value\n{USAGE}"));
        match arg.as_str() {
            "--runs" => w.runs = value()?.parse()?,
            "--case" => w.cases.push(value()?),
            "--host-cgroups" => w.host_cgroups = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => match other.split_once('=') {
                Some(("wasmtime", path)) => w.wasmtime = Some(std::fs::canonicalize(path)?),
                Some((name, path)) => w.runtimes.push((name.into(), std::fs::canonicalize(path)?)),
                None => return Err(format!("unknown argument {other}\n{USAGE}").into()),
            },
        }
    }
    if w.cases.is_empty() {
        w.cases = ["run", "lifecycle", "exec"].map(String::from).to_vec();
    }
    if w.runtimes.is_empty() {
        w.runtimes = found();
    }
    Ok(w)
}

/// hull beside this program, and the peers that PATH has.
fn found() -> Vec<(String, PathBuf)> {
    let own = std::env::current_exe().ok().map(|exe| exe.with_file_name("hull"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.exists());
    let peers = ["crun", "runc", "youki"].map(|name| (name.to_owned(), on_path(name)));
    let all = [("hull".to_owned(), own.filter(|p| p.exists()))].into_iter().chain(peers);
    all.filter_map(|(name, path)| Some((name, path?))).collect()
}

fn main() -> Result {
    let w = wishes()?;
    let scratch = Path::new("/tmp").join(format!("hull-bench-{}", std::process::id()));
    let done = bench(&w, &scratch);
    // What a failed case left mounted or running would be in the way.
    let _ = std::fs::remove_dir_all(&scratch);
    done
}

fn bench(w: &Wishes, scratch: &Path) -> Result {
    bundle::own_mounts(scratch)?;
    if !w.host_cgroups {
        bundle::pure_v2()?;
    }
    // Containers outlive the commands that make them; as their parent this program can reap them.
    rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT))?;
    let floor = bundle::floor(scratch)?;
    let runtimes: Vec<Runtime> =
        w.runtimes.iter().map(|(name, path)| Runtime::new(name, path, scratch)).collect::<Result<_>>()?;
    println!("{}", report::host());
    for r in &runtimes {
        println!("- {}: {}", r.name, r.version());
    }
    for case in &w.cases {
        let wasm = || wasm::Wasm::new(&runtimes, w.wasmtime.as_deref(), scratch);
        let table = match case.as_str() {
            "wasm-run" => wasm()?.run(w.runs)?,
            "wasm-throughput" => {
                print!("{}", wasm()?.throughput(w.runs)?);
                continue;
            }
            "wasm-memory" => {
                print!("{}", wasm()?.memory()?);
                continue;
            }
            "shim" => {
                print!("{}", shim::shims(&w.runtimes, w.runs, scratch)?);
                continue;
            }
            "run" => measure::run(&runtimes, Some(&floor), w.runs, scratch)?,
            "lifecycle" => measure::lifecycle(&runtimes, w.runs)?,
            "exec" => measure::exec(&runtimes, w.runs)?,
            other => return Err(format!("unknown case {other}").into()),
        };
        print!("{}", report::table(case, w.runs, &table));
    }
    Ok(())
}

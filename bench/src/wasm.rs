//! Isolation wasm: what a start, a computation and two hundred instances cost, beside wasmtime's own command and other
//! runtimes' engines.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::measure::{Once, Row, Runtime, cost, interleaved, reap};
use crate::{Result, bundle, report};

/// Parts of the program that compute, in bench/wasm/work.c.
const WORK: &[&str] = &["calls", "memory", "floats", "chain"];

/// How many instances of one module are looked at.
const INSTANCES: usize = 200;

/// Runtimes that run modules, and wasmtime's command if there is one.
pub(crate) struct Wasm<'a> {
    runtimes: Vec<&'a Runtime>,
    wasmtime: Option<PathBuf>,
    /// The module compiled for wasmtime's command.
    compiled: PathBuf,
    scratch: &'a Path,
}

impl<'a> Wasm<'a> {
    /// Compiles the program into the root file system of the bundles. Of the runtimes that are named those take part
    /// that run modules: hull, and any whose name ends in "-wasm".
    pub(crate) fn new(runtimes: &'a [Runtime], wasmtime: Option<&Path>, scratch: &'a Path) -> Result<Wasm<'a>> {
        let module = bundle::rootfs(scratch)?.join("work.wasm");
        let source = scratch.join("work.c");
        fs::write(&source, include_str!("../wasm/work.c"))?;
        let status = Command::new("clang").args(["--target=wasm32-wasi", "-O2", "-o"]).arg(&module).arg(&source).status();
        if !status.is_ok_and(|s| s.success()) {
            return Err("clang can't compile for wasm32-wasi: install clang, lld, wasi-libc, libclang-rt-dev-wasm32".into());
        }
        let compiled = scratch.join("work.cwasm");
        if let Some(wasmtime) = wasmtime
            && !Command::new(wasmtime).args(["compile", "-o"]).arg(&compiled).arg(&module).status()?.success()
        {
            return Err("wasmtime can't compile the module".into());
        }
        let runtimes = runtimes.iter().filter(|r| r.name == "hull" || r.name.ends_with("-wasm")).collect();
        Ok(Wasm { runtimes, wasmtime: wasmtime.map(Path::to_owned), compiled, scratch })
    }

    fn bundle(&self, runtime: &Runtime, what: &str) -> Result<PathBuf> {
        bundle::module(self.scratch, &format!("{what}-{}", runtime.name), &["/work.wasm", what])
    }

    /// The module with wasmtime's own command, on the bare host.
    fn command(&self, what: &str) -> Option<Command> {
        let mut command = Command::new(self.wasmtime.as_ref()?);
        command.args(["run", "--allow-precompiled"]).arg(&self.compiled).arg(what);
        Some(command)
    }

    fn ways(&self, what: &'static str) -> Result<Vec<Once<'_>>> {
        let mut ways: Vec<Once<'_>> = Vec::new();
        for r in &self.runtimes {
            let bundle = self.bundle(r, what)?;
            let once = move || cost(r.command(&["run", "--bundle", &bundle.to_string_lossy(), &r.id()]));
            ways.push((format!("{}, wasm", r.name), Box::new(once)));
        }
        if self.wasmtime.is_some() {
            let once = move || cost(self.command(what).ok_or("no wasmtime")?);
            ways.push(("wasmtime, no container".to_owned(), Box::new(once)));
        }
        Ok(ways)
    }

    /// `run` of a module that says hello; beside it a process that ends at once.
    pub(crate) fn run(&self, runs: usize) -> Result<Vec<Row>> {
        let mut ways = Vec::new();
        for r in &self.runtimes {
            let once = move || cost(r.command(&["run", "--bundle", &r.short.to_string_lossy(), &r.id()]));
            ways.push((format!("{}, process", r.name), Box::new(once) as Box<dyn Fn() -> _>));
        }
        ways.extend(self.ways("hello")?);
        interleaved(&ways, runs)
    }

    /// The CPU time of each computation.
    pub(crate) fn throughput(&self, runs: usize) -> Result<String> {
        let mut text = format!("\n### wasm-throughput: CPU ms of computations ({runs} runs each, medians)\n\n| |");
        let mut rows: Vec<String> = Vec::new();
        for what in WORK {
            let _ = write!(text, " {what} | ratio |");
            let all = interleaved(&self.ways(what)?, runs)?;
            let cpu = |row: &Row| report::median(row.costs.iter().map(|c| c.cpu.as_secs_f64() * 1e3).collect());
            // wasmtime's own command, if it takes part, is the last.
            let base = all.last().map_or(f64::NAN, cpu);
            rows.resize(all.len(), String::new());
            for (row, line) in all.iter().zip(&mut rows) {
                if line.is_empty() {
                    let _ = write!(line, "| {} |", row.name);
                }
                let _ = write!(line, " {:.0} | {:.3} |", cpu(row), cpu(row) / base);
            }
        }
        let _ = write!(text, "\n| --- |{}\n{}\n", " ---: | ---: |".repeat(WORK.len()), rows.join("\n"));
        Ok(text)
    }

    /// What each of many instances of one module takes.
    pub(crate) fn memory(&self) -> Result<String> {
        let mut text = format!("\n### wasm-memory: {INSTANCES} instances of one module that sleeps, KiB for each\n\n");
        text.push_str("| | resident | its share (PSS) | code resident | code's share |\n| --- | ---: | ---: | ---: | ---: |\n");
        for r in &self.runtimes {
            let bundle = self.bundle(r, "stay")?;
            let pid_file = self.scratch.join("pid");
            let id = |n| format!("{}-{n}", r.id());
            let mut pids = Vec::new();
            for n in 0..INSTANCES {
                let (bundle, file) = (bundle.to_string_lossy(), pid_file.to_string_lossy());
                cost(r.command(&["run", "--detach", "--pid-file", &file, "--bundle", &bundle, &id(n)]))?;
                pids.push(fs::read_to_string(&pid_file)?.trim().parse()?);
            }
            // Each is asleep when its engine has loaded the module.
            std::thread::sleep(std::time::Duration::from_secs(2));
            let row = shares(&pids);
            for n in 0..INSTANCES {
                cost(r.command(&["delete", "--force", &id(n)]))?;
            }
            reap();
            let _ = writeln!(text, "| {}, wasm | {}", r.name, row?);
        }
        if self.wasmtime.is_some() {
            let mut running = Vec::new();
            for _ in 0..INSTANCES {
                running.push(self.command("stay").ok_or("no wasmtime")?.spawn()?);
            }
            std::thread::sleep(std::time::Duration::from_secs(2));
            let row = shares(&running.iter().map(|c| c.id()).collect::<Vec<_>>());
            for mut child in running {
                child.kill()?;
                child.wait()?;
            }
            let _ = writeln!(text, "| wasmtime, no container | {}", row?);
        }
        Ok(text)
    }
}

/// Means over processes, from proc_pid_smaps(5). Code is what is executed of a file other than the program's own.
fn shares(pids: &[u32]) -> Result<String> {
    let (mut all, mut code) = ([0_u64; 2], [0_u64; 2]);
    for pid in pids {
        let program = fs::metadata(format!("/proc/{pid}/exe")).map(|m| std::os::unix::fs::MetadataExt::ino(&m))?;
        let mut of_code = false;
        for line in fs::read_to_string(format!("/proc/{pid}/smaps"))?.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let kept = match words[..] {
                [_, permissions, _, _, inode, ..] if permissions.len() == 4 => {
                    let inode: u64 = inode.parse()?;
                    of_code = permissions.contains('x') && inode != 0 && inode != program;
                    continue;
                }
                ["Rss:", n, _] => (0, n),
                ["Pss:", n, _] => (1, n),
                _ => continue,
            };
            let n: u64 = kept.1.parse()?;
            all[kept.0] += n;
            code[kept.0] += if of_code { n } else { 0 };
        }
    }
    let mean = |sum: u64| sum as f64 / pids.len() as f64;
    Ok(format!("{:.0} | {:.0} | {:.0} | {:.1} |", mean(all[0]), mean(all[1]), mean(code[0]), mean(code[1])))
}

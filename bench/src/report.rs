//! Medians and ratios as Markdown.

use std::fmt::Write as _;

use crate::measure::Row;

/// The machine, in a line.
pub(crate) fn host() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|l| l.strip_prefix("model name")).map_or("?", |l| l.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("Linux {}, {cores} cores, {model}\n", read("/proc/sys/kernel/osrelease").trim())
}

/// The table of one case. Ratios are to crun where it took part, else to the first row.
pub(crate) fn table(case: &str, runs: usize, rows: &[Row]) -> String {
    let title = match case {
        "run" => "run: /bin/true in the foreground",
        "wasm-run" => "wasm-run: a module that says hello, in the foreground",
        "lifecycle" => "create + start + delete --force: added up",
        _ => "exec: /bin/true in a running container",
    };
    let wall = |r: &Row| median(r.costs.iter().map(|c| c.wall.as_secs_f64() * 1e3).collect());
    let cpu = |r: &Row| median(r.costs.iter().map(|c| c.cpu.as_secs_f64() * 1e3).collect());
    let memory = |r: &Row| median(r.costs.iter().map(|c| c.memory as f64 / 1024.0).collect());
    let Some(base) = rows.iter().find(|r| r.name == "crun").or(rows.first()) else { return String::new() };
    let mut text = format!("\n### {title} ({runs} runs each, medians; ratios to {})\n\n", base.name);
    text.push_str("| | wall ms | ratio | CPU ms | ratio | peak MiB | fastest ms |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for r in rows {
        let fastest = r.costs.iter().map(|c| c.wall).min().unwrap_or_default().as_secs_f64() * 1e3;
        // A String takes all that is written to it.
        let _ = writeln!(
            text,
            "| {} | {:.2} | {:.2} | {:.2} | {:.2} | {:.1} | {fastest:.2} |",
            r.name,
            wall(r),
            wall(r) / wall(base),
            cpu(r),
            cpu(r) / cpu(base),
            memory(r),
        );
    }
    text
}

/// The middle one; the mean of the two in the middle of an even number.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n == 0 { f64::NAN } else { (values[(n - 1) / 2] + values[n / 2]) / 2.0 }
}

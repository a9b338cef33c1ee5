//! Isolation "wasm": what annotations limit.

use serde_json::json;

use crate::bundle::Bundle;
use crate::case::{Case, Done, Stop, case, check};
use crate::ctx::Ctx;

pub(crate) const CASES: &[Case] = &[
    case!(fuel, "fuel ends a loop, and is enough for what needs less"),
    case!(fuel_of_exec, "a process that exec adds has fuel of its own"),
    case!(memory, "the bytes of all memories"),
    case!(memory_refused_is_not_spent, "what could not be had, for another reason, does not count"),
    case!(memories, "the number of memories"),
    case!(tables, "the number of tables"),
    case!(table_elements, "the elements of all tables"),
    case!(instances, "the number of instances of a component"),
    case!(cpu_time, "process.rlimits bounds the CPU time"),
    case!(files, "with none of the files, a module opens none, and has no directory to begin with; nor has one that exec adds"),
    case!(bad_values, "a value that is no number, and an annotation that is unknown, are errors with its name"),
];

const EXIT: &str = "(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))";
const LOOP: &str = "(module (memory (export \"memory\") 1) (func (export \"_start\") (loop (br 0))))";

/// A module as text, with limits.
fn app<'a>(ctx: &'a Ctx, text: &str, limits: &[(&str, &str)]) -> Result<Bundle<'a>, Stop> {
    let mut b = super::wasm::module(ctx)?.args(&["/app.wat"]);
    for (name, value) in limits {
        b = b.set(&format!("/annotations/dev.hull.wasm.{name}"), json!(value));
    }
    super::wasm::write(&b, "app.wat", text)?;
    Ok(b)
}

/// Runs a module's one function, with all that it defines.
fn started(definitions: &str) -> String {
    format!("(module {EXIT} {definitions} (memory (export \"memory\") 1) (func (export \"_start\") (call $exit (call $main))))")
}

/// Runs within the limit, and fails one step below with `word` in what is said.
fn edge(ctx: &Ctx, text: &str, name: &str, enough: u64, word: &str) -> Done {
    app(ctx, text, &[(name, &enough.to_string())])?.run()?.ok()?;
    let out = app(ctx, text, &[(name, &(enough - 1).to_string())])?.run()?.code(1)?;
    check!(out.err.contains(word), "{}", out.text());
    Ok(())
}

fn fuel(ctx: &Ctx) -> Done {
    let out = app(ctx, LOOP, &[("fuel", "1000000")])?.run()?.code(134)?;
    check!(out.err.contains("fuel"), "{}", out.text());
    // A thousand rounds of some instructions each.
    let count = started(
        "(func $main (result i32) (local i32)
            (loop (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 1000))))
            (i32.const 0))",
    );
    app(ctx, &count, &[("fuel", "20000")])?.run()?.ok()?;
    app(ctx, &count, &[("fuel", "2000")])?.run()?.code(134)?;
    app(ctx, &count, &[])?.run()?.ok()?;
    Ok(())
}

fn fuel_of_exec(ctx: &Ctx) -> Done {
    let b = super::wasm::module(ctx)?.args(&["/bin/probe.wasm", "sleep"]).set("/annotations/dev.hull.wasm.fuel", json!("10000000"));
    super::wasm::write(&b, "app.wat", LOOP)?;
    let c = b.up()?;
    for _ in 0..2 {
        let out = c.exec(&["/app.wat"])?.code(134)?;
        check!(out.err.contains("fuel"), "{}", out.text());
    }
    Ok(())
}

fn memory(ctx: &Ctx) -> Done {
    let two = "(module (memory 8) (memory (export \"memory\") 8) (func (export \"_start\")))";
    edge(ctx, two, "memory", 16 << 16, "memory")
}

fn memory_refused_is_not_spent(ctx: &Ctx) -> Done {
    // The first can't be more than one page, however often it asks.
    let text = started(
        "(memory $small 1 1) (memory $big 1)
            (func $main (result i32) (local i32)
                (loop (drop (memory.grow $small (i32.const 16)))
                    (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 100))))
                (i32.eq (memory.grow $big (i32.const 16)) (i32.const -1)))",
    );
    app(ctx, &text, &[("memory", "2000000")])?.run()?.ok()?;
    let text = started(
        "(table $small 1 1 funcref) (table $big 1 funcref)
            (func $main (result i32) (local i32)
                (loop (drop (table.grow $small (ref.null func) (i32.const 16)))
                    (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br_if 0 (i32.lt_u (local.get 0) (i32.const 100))))
                (i32.eq (table.grow $big (ref.null func) (i32.const 16)) (i32.const -1)))",
    );
    app(ctx, &text, &[("table-elements", "40")])?.run()?.ok()?;
    Ok(())
}

fn memories(ctx: &Ctx) -> Done {
    edge(ctx, "(module (memory 1) (memory 1) (memory (export \"memory\") 1) (func (export \"_start\")))", "memories", 3, "memory count")
}

fn tables(ctx: &Ctx) -> Done {
    let text = "(module (table 1 funcref) (table 1 funcref) (memory (export \"memory\") 1) (func (export \"_start\")))";
    edge(ctx, text, "tables", 2, "table count")
}

fn table_elements(ctx: &Ctx) -> Done {
    let text = "(module (table 40 funcref) (table 60 funcref) (memory (export \"memory\") 1) (func (export \"_start\")))";
    edge(ctx, text, "table-elements", 100, "table")?;
    // One that grows is refused more, and goes on.
    let text = started("(table 1 funcref) (func $main (result i32)
        (i32.add (i32.const 2) (table.grow (ref.null func) (i32.const 100))))");
    app(ctx, &text, &[("table-elements", "100")])?.run()?.code(1)?;
    app(ctx, &text, &[("table-elements", "101")])?.run()?.code(3)?;
    Ok(())
}

fn instances(ctx: &Ctx) -> Done {
    let text = "(component (core module $m (func (export \"run\") (result i32) (i32.const 0)))
        (core instance $a (instantiate $m)) (core instance $b (instantiate $m)) (core instance $i (instantiate $m))
        (func $run (result (result)) (canon lift (core func $i \"run\")))
        (instance $run (export \"run\" (func $run))) (export \"wasi:cli/run@0.2.0\" (instance $run)))";
    edge(ctx, text, "instances", 3, "instance count")
}

fn cpu_time(ctx: &Ctx) -> Done {
    let limit = json!([{"type": "RLIMIT_CPU", "soft": 1, "hard": 2}]);
    // 128 and SIGXCPU.
    app(ctx, LOOP, &[])?.set("/process/rlimits", limit).run()?.code(152)?;
    Ok(())
}

fn files(ctx: &Ctx) -> Done {
    // Says how many directories it has, by its exit code: they come from descriptor 3 on.
    let directories = "(module (import \"wasi_snapshot_preview1\" \"fd_prestat_get\" (func $get (param i32 i32) (result i32)))
        (import \"wasi_snapshot_preview1\" \"proc_exit\" (func $exit (param i32)))
        (memory (export \"memory\") 1)
        (func (export \"_start\") (local i32)
            (block (loop
                (br_if 1 (call $get (i32.add (local.get 0) (i32.const 3)) (i32.const 0)))
                (local.set 0 (i32.add (local.get 0) (i32.const 1))) (br 0)))
            (call $exit (local.get 0))))";
    app(ctx, directories, &[])?.run()?.code(1)?;
    app(ctx, directories, &[("files", "root")])?.run()?.code(1)?;
    app(ctx, directories, &[("files", "none")])?.run()?.code(0)?;
    let probe = "/bin/probe.wasm";
    let none = |args: &[&str]| -> Result<Bundle<'_>, Stop> {
        Ok(super::wasm::module(ctx)?.args(args).set("/annotations/dev.hull.wasm.files", json!("none")))
    };
    none(&[probe, "cat", "/etc/passwd"])?.run()?.code(1)?.names(&["/etc/passwd"])?;
    let container = none(&[probe, "spin"])?.up()?;
    container.exec(&[probe, "cat", "/etc/passwd"])?.code(1)?;
    Ok(())
}

fn bad_values(ctx: &Ctx) -> Done {
    for (name, value) in [("fuel", "0"), ("fuel", "many"), ("memory", "1M"), ("tables", "-1"), ("instances", ""), ("files", "some"), ("fule", "1")] {
        let b = app(ctx, LOOP, &[(name, value)])?;
        b.try_create()?.fails()?.names(&[&format!("dev.hull.wasm.{name}")])?;
        b.nothing_left()?;
    }
    // To a process they mean nothing.
    ctx.bundle().args(&["true"]).set("/annotations/dev.hull.wasm.fule", json!("1")).run()?.ok()?;
    Ok(())
}

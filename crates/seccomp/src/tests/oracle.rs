//! libseccomp as a second opinion: its numbers, its verdicts on random profiles, its programs' sizes.
//!
//! It runs in a process of its own (oracle.c, compiled when the tests run); where it is not installed, these tests
//! say so and check hull against the plain reading in [`reference`] only.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use hull_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompRule};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::{arg, number, profile, rule};
use crate::arch::Abi;
use crate::bpf::{JEQ, JUMP, LOAD, RETURN, run};
use crate::compile::compile;
use crate::numbers::{IPC, NONE, ROWS, Row};
use crate::{Insn, default_profile, evaluate};

/// The running process.
struct Oracle {
    binary: PathBuf,
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Oracle {
    /// Compiles and starts it, or says why that can't be.
    fn start() -> Option<Oracle> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let binary = std::env::temp_dir().join(format!("hull-seccomp-oracle-{}-{count}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/tests/oracle.c");
        let compiled = Command::new("cc").args(["-O1", "-o"]).arg(&binary).args([source, "-lseccomp"]).output();
        match compiled {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!("skipped: no libseccomp to compare with: {}", String::from_utf8_lossy(&output.stderr));
                return None;
            }
            Err(error) => {
                eprintln!("skipped: no C compiler to build the comparison with: {error}");
                return None;
            }
        }
        Some(Oracle::spawn(binary))
    }

    fn spawn(binary: PathBuf) -> Oracle {
        let mut child = Command::new(&binary).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("oracle");
        let (input, output) = (child.stdin.take().expect("input"), child.stdout.take().expect("output"));
        Oracle { binary, child, input, output: BufReader::new(output) }
    }

    /// Its answer; none if it has died over the question, as it does when libseccomp takes too long.
    fn ask(&mut self, text: &str) -> Option<String> {
        let mut line = String::new();
        let sent = self.input.write_all(text.as_bytes()).and_then(|()| self.input.flush());
        if sent.is_err() || self.output.read_line(&mut line).expect("a line") == 0 {
            self.child.wait().expect("its end");
            let new = Oracle::spawn(std::mem::take(&mut self.binary));
            *self = new;
            return None;
        }
        Some(line.trim_end().into())
    }

    fn number(&mut self, arch: SeccompArch, name: &str) -> i64 {
        let answer = self.ask(&format!("N {} {name}\n", short(arch)));
        answer.expect("an answer").parse().expect("a number")
    }

    /// The program for a profile, rules added as runc adds them; none if libseccomp makes none.
    fn compile(&mut self, profile: &Seccomp, optimize: u32) -> Option<Vec<Insn>> {
        let default = verdict(profile.default_action, profile.default_errno_ret);
        let mut question = format!("F {default} {optimize}\n");
        for &arch in &profile.architectures {
            question += &format!("A {}\n", short(arch));
        }
        for call in &profile.syscalls {
            let verdict = verdict(call.action, call.errno_ret);
            for name in call.names.iter().filter(|_| verdict != default) {
                for args in alternatives(&call.args) {
                    question += &format!("R {verdict} {name} {}", args.len());
                    for arg in args {
                        let op = SeccompOp::ALL.iter().position(|&op| op == arg.op).expect("an operator") + 1;
                        question += &format!(" {} {op} {} {}", arg.index, arg.value, arg.value_two);
                    }
                    question += "\n";
                }
            }
        }
        let answer = self.ask(&(question + "E\n"))?;
        let numbers: Vec<u32> = answer.strip_prefix("ok ")?.split(' ').map(|n| n.parse().expect("a number")).collect();
        // A program for the other byte order comes in that byte order.
        let swap = !Abi::of(profile.architectures[0]).little_endian();
        let insn = |n: &[u32]| {
            let (code, k) = if swap { ((n[0] as u16).swap_bytes(), n[3].swap_bytes()) } else { (n[0] as u16, n[3]) };
            Insn { code, jt: n[1] as u8, jf: n[2] as u8, k }
        };
        Some(numbers.chunks(4).map(insn).collect())
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("end the oracle");
        // One that has been replaced left its binary to the next.
        if !self.binary.as_os_str().is_empty() {
            std::fs::remove_file(&self.binary).expect("remove the oracle");
        }
    }
}

/// The name that libseccomp has for an architecture.
fn short(arch: SeccompArch) -> String {
    arch.as_str()["SCMP_ARCH_".len()..].to_lowercase()
}

/// The verdict of an action, written out once more.
fn verdict(action: SeccompAction, errno: Option<u32>) -> u32 {
    match action {
        SeccompAction::Kill | SeccompAction::KillThread => 0,
        SeccompAction::KillProcess => 0x8000_0000,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | errno.unwrap_or(1),
        SeccompAction::Trace => 0x7ff0_0000 | errno.unwrap_or(1),
        SeccompAction::Allow => 0x7fff_0000,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Notify => 0x7fc0_0000,
    }
}

/// A list that names an argument twice is one of alternatives.
fn alternatives(args: &[SeccompArg]) -> Vec<&[SeccompArg]> {
    let repeated = args.iter().enumerate().any(|(i, a)| args[..i].iter().any(|b| a.index == b.index));
    if repeated { args.chunks(1).collect() } else { vec![args] }
}

/// What a profile says of one call, read with no cleverness at all.
#[derive(Default)]
struct Reading {
    /// The first rule about it that has no conditions.
    always: Option<u32>,
    /// The verdicts of those whose conditions hold, in order.
    matching: Vec<u32>,
    /// The conditions of all others about it.
    conditions: Vec<Vec<SeccompOp>>,
}

impl Reading {
    fn of(profile: &Seccomp, abi: &Abi, nr: u32, args: [u64; 6]) -> Reading {
        let default = verdict(profile.default_action, profile.default_errno_ret);
        let width = if abi.wide { u64::MAX } else { 0xffff_ffff };
        let holds = |arg: &SeccompArg| {
            let (left, right) = (args[arg.index as usize] & width, arg.value & width);
            match arg.op {
                SeccompOp::Ne => left != right,
                SeccompOp::Lt => left < right,
                SeccompOp::Le => left <= right,
                SeccompOp::Eq => left == right,
                SeccompOp::Ge => left >= right,
                SeccompOp::Gt => left > right,
                SeccompOp::MaskedEq => left & right == arg.value_two & right,
            }
        };
        let asks = |arg: &&SeccompArg| arg.op != SeccompOp::MaskedEq || arg.value & width != 0;
        let mut reading = Reading::default();
        for call in &profile.syscalls {
            let verdict = verdict(call.action, call.errno_ret);
            for name in call.names.iter().filter(|_| verdict != default) {
                let row = &ROWS[ROWS.binary_search_by(|row| row.name.cmp(name)).expect("a known name")];
                let (through, which) = match row.multiplexed {
                    ipc if ipc & IPC != 0 => (117, ipc & !IPC),
                    socket => (102, socket),
                };
                let through = abi.multiplexes && which != 0 && nr == abi.base + through;
                let directly = number(abi.arch, name) == Some(nr);
                for list in alternatives(&call.args) {
                    let list: Vec<&SeccompArg> = list.iter().filter(asks).collect();
                    if directly && list.is_empty() {
                        reading.always = reading.always.or(Some(verdict));
                    } else if directly {
                        reading.conditions.push(list.iter().map(|arg| arg.op).collect());
                        reading.matching.extend(list.iter().all(|arg| holds(arg)).then_some(verdict));
                    }
                    if through {
                        let rest = || list.iter().filter(|arg| arg.index != 0);
                        let call = args[0] & width == u64::from(which);
                        reading.conditions.push([SeccompOp::Eq].into_iter().chain(rest().map(|arg| arg.op)).collect());
                        reading.matching.extend((call && rest().all(|arg| holds(arg))).then_some(verdict));
                    }
                }
            }
        }
        reading
    }

    /// Whether libseccomp can be asked. Of several rules about one call it takes another than the first, and after a
    /// condition of one rule has failed it may go on to the next with the wrong word loaded, or not go on.
    fn comparable(&self) -> bool {
        let contradict = self.matching.iter().any(|&verdict| verdict != self.matching[0]);
        let plain = |op| matches!(op, SeccompOp::Eq | SeccompOp::Ne | SeccompOp::MaskedEq);
        let simple = self.conditions.iter().all(|list| list.len() == 1 && plain(list[0]));
        self.always.is_some() || !contradict && (self.conditions.len() < 2 || simple)
    }
}

/// Whether a program of libseccomp looks at the number at all. Where the first call of an architecture is one that it
/// only knows by another (semop on x86, for one), it forgets to load the number, and compares the architecture.
fn sound(program: &[Insn], profile: &Seccomp) -> bool {
    let audits: Vec<u32> = profile.architectures.iter().map(|&arch| Abi::of(arch).audit).collect();
    let starts = program.iter().enumerate().filter(|(_, insn)| insn.code == JEQ && audits.contains(&insn.k));
    let mut firsts = starts.map(|(at, insn)| program[at + 1 + usize::from(insn.jt)]);
    firsts.all(|first| [LOAD, JUMP, RETURN].contains(&first.code))
}

/// Sets of architectures of one machine, the native one first.
const MACHINES: &[&[SeccompArch]] = {
    use SeccompArch::*;
    &[
        &[X86_64, X86, X32],
        &[X86_64],
        &[X86_64, X86],
        &[X86_64, X32],
        &[X32],
        &[X32, X86],
        &[X86],
        &[Aarch64, Arm],
        &[Aarch64],
        &[Arm],
        &[Mips64, Mips, Mips64n32],
        &[Mipsel64n32, Mipsel64, Mipsel],
        &[Mips],
        &[S390x, S390],
        &[S390],
        &[Ppc64],
        &[Ppc64le],
        &[Ppc],
        &[Riscv64],
        &[Parisc],
        &[X86, Aarch64, Arm, X86_64, Riscv64, X32],
    ]
};

const NAMES: &[&str] = &[
    "accept",
    "accept4",
    "arch_prctl",
    "breakpoint",
    "clone",
    "clone3",
    "close_range",
    "getpid",
    "ioctl",
    "ipc",
    "mmap",
    "mmap2",
    "open",
    "openat",
    "personality",
    "pidfd_open",
    "prctl",
    "read",
    "recv",
    "restart_syscall",
    "rt_sigaction",
    "semop",
    "semtimedop",
    "send",
    "sendmmsg",
    "set_tls",
    "shmat",
    "shmget",
    "socket",
    "socketcall",
    "statx",
    "time",
    "waitpid",
    "write",
    "writev",
];

const VALUES: &[u64] = &[
    0,
    1,
    2,
    3,
    5,
    8,
    9,
    16,
    40,
    0x7e02_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_fffe,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x2_0000_0005,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_0000_0000,
    0xffff_ffff_ffff_fffe,
    u64::MAX,
];

fn values() -> impl Strategy<Value = u64> {
    prop_oneof![4 => proptest::sample::select(VALUES), 1 => any::<u64>(), 1 => any::<u32>().prop_map(u64::from)]
}

fn actions() -> impl Strategy<Value = (SeccompAction, Option<u32>)> {
    use SeccompAction::*;
    let plain = vec![KillProcess, KillThread, Kill, Trap, Errno, Trace, Allow, Allow, Allow, Log];
    prop_oneof![
        4 => proptest::sample::select(plain).prop_map(|action| (action, None)),
        1 => (proptest::sample::select(vec![Errno, Trace]), 0..4096u32).prop_map(|(action, e)| (action, Some(e))),
    ]
}

fn conditions() -> impl Strategy<Value = SeccompArg> {
    (prop_oneof![3 => 0..2u32, 1 => 0..6u32], proptest::sample::select(SeccompOp::ALL), values(), values())
        .prop_map(|(index, op, value, value_two)| arg(index, op, value, value_two))
}

fn rules() -> impl Strategy<Value = SeccompRule> {
    let names = prop_oneof![
        8 => proptest::collection::vec(proptest::sample::select(NAMES), 1..4),
        1 => proptest::collection::vec((0..ROWS.len()).prop_map(|row| ROWS[row].name), 1..60),
    ];
    let args = prop_oneof![1 => Just(Vec::new()), 4 => proptest::collection::vec(conditions(), 1..4)];
    (names, actions(), args)
        .prop_map(|(names, (action, errno_ret), args)| SeccompRule { errno_ret, ..rule(&names, action, &args) })
}

fn profiles() -> impl Strategy<Value = Seccomp> {
    let rules = proptest::collection::vec(rules(), 0..12);
    (actions(), proptest::sample::select(MACHINES), rules).prop_map(|((action, errno), machine, rules)| Seccomp {
        default_errno_ret: errno,
        architectures: machine.to_vec(),
        ..profile(action, rules)
    })
}

/// Calls worth a try: those of the rules and their neighbours, with arguments at and beside the limits.
fn calls(profile: &Seccomp, abi: &Abi, seed: u64) -> Vec<(u32, [u64; 6])> {
    let mut state = seed | 1;
    let mut random = move || {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut numbers = vec![0, abi.base, abi.base + 102, abi.base + 117, abi.base + 900, u32::MAX, 1 << 30, 1 << 31];
    let mut limits: Vec<u64> = vec![0, 1, u64::MAX];
    for call in &profile.syscalls {
        numbers.extend(call.names.iter().filter_map(|name| number(abi.arch, name)));
        for arg in &call.args {
            limits.extend([arg.value, arg.value_two, arg.value & arg.value_two, arg.value_two | !arg.value]);
        }
    }
    let mut calls = Vec::new();
    for nr in numbers {
        for (nr, tries) in [(nr, 8), (nr.wrapping_add(1), 1), (nr.wrapping_sub(1), 1), (nr ^ 1 << 30, 1)] {
            for _ in 0..tries {
                let mut value = || {
                    let limit = limits[random() as usize % limits.len()];
                    match random() % 8 {
                        0 => limit.wrapping_add(1),
                        1 => limit.wrapping_sub(1),
                        2 => limit ^ 1 << 32,
                        3 => limit & 0xffff_ffff,
                        4 => limit | random() << 32,
                        5 => random() % 24,
                        _ => limit,
                    }
                };
                calls.push((nr, std::array::from_fn(|_| value())));
            }
        }
    }
    calls
}

#[test]
fn random_profiles_get_the_verdicts_of_the_plain_reading_and_of_libseccomp() {
    let mut oracle = Oracle::start();
    // Names that this libseccomp does not know it leaves out.
    let mut machines = MACHINES.concat();
    machines.dedup();
    let mut known = |row: &Row| {
        let mut agrees = |arch: SeccompArch| match oracle.as_mut().map(|oracle| oracle.number(arch, row.name)) {
            None => true,
            Some(-1) => false,
            Some(_) if Abi::of(arch).multiplexes && row.multiplexed != 0 => true,
            Some(theirs) => number(arch, row.name) == u32::try_from(theirs).ok(),
        };
        machines.iter().all(|&arch| agrees(arch))
    };
    // These two it takes for one another.
    let twins = ["switch_endian", "sys_debug_setcontext"];
    let known = ROWS.iter().filter(|row| !twins.contains(&row.name) && known(row));
    let known: Vec<&str> = known.map(|row| row.name).collect();
    let oracle = std::cell::RefCell::new(oracle);
    let compared = std::cell::Cell::new((0u64, 0u64, 0u64));

    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(400);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(profiles(), any::<u64>(), 1..3u32), |(mut profile, seed, optimize)| {
        for call in &mut profile.syscalls {
            call.names.retain(|name| known.contains(&name.as_str()));
        }
        profile.syscalls.retain(|call| !call.names.is_empty());
        let native = profile.architectures[0];
        let ours = compile(&profile, native, false).map_err(|e| TestCaseError::fail(e.to_string()))?;
        // libseccomp 2.5.4 gets its binary tree wrong for filters with few rules.
        let optimize = if profile.syscalls.len() > 8 { optimize } else { optimize.min(1) };
        // None where the same conditions have two verdicts: an error there; here the first counts.
        let theirs = oracle.borrow_mut().as_mut().and_then(|oracle| oracle.compile(&profile, optimize));
        let theirs = theirs.filter(|program| sound(program, &profile));
        let default = verdict(profile.default_action, profile.default_errno_ret);
        let (mut all, mut against, mut left_out) = compared.get();
        let foreign = Abi::of(SeccompArch::Loongarch64);
        let abis = profile.architectures.iter().map(|&arch| Abi::of(arch)).chain([foreign]);
        for abi in abis {
            for (nr, args) in calls(&profile, &abi, seed) {
                let verdict = evaluate(&ours.program, abi.audit, nr, 0, args);
                let x32 = nr >= 1 << 30;
                let told = profile.architectures.iter().map(|&arch| Abi::of(arch)).find(|other| {
                    other.audit == abi.audit
                        && (other.arch != SeccompArch::X32 || x32)
                        && (other.arch != SeccompArch::X86_64 || !(nr >= 1 << 30 && nr != u32::MAX))
                });
                let reading = told.map(|abi| Reading::of(&profile, &abi, nr, args)).unwrap_or_default();
                let expected = match told {
                    None => super::KILL_THREAD,
                    Some(_) => reading.always.or(reading.matching.first().copied()).unwrap_or(default),
                };
                prop_assert_eq!(verdict, expected, "{:?} nr {} args {:x?}", abi.arch, nr, args);
                all += 1;
                let Some(theirs) = &theirs else { continue };
                if reading.comparable() {
                    against += 1;
                    let mut other = evaluate(theirs, abi.audit, nr, 0, args);
                    // Where it doubles a return in a program for the other byte order, it swaps the bytes twice.
                    if !abi.little_endian() && other == verdict.swap_bytes() {
                        other = verdict;
                    }
                    prop_assert_eq!(verdict, other, "libseccomp: {:?} nr {} args {:x?}", abi.arch, nr, args);
                } else {
                    left_out += 1;
                }
            }
        }
        compared.set((all, against, left_out));
        Ok(())
    });
    let (all, against, left_out) = compared.get();
    println!("{all} calls, {against} of them against libseccomp, {left_out} left out");
    outcome.unwrap_or_else(|failure| panic!("{failure}"));
}

#[test]
fn numbers_are_those_of_libseccomp() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let mut compared = 0;
    for &arch in SeccompArch::ALL {
        // libseccomp 2.5 takes parisc64 for parisc; and an architecture that it does not know has no numbers there.
        if arch == SeccompArch::Parisc64 || oracle.number(arch, "exit") < 0 {
            continue;
        }
        for row in ROWS {
            let theirs = oracle.number(arch, row.name);
            let abi = Abi::of(arch);
            // Below -1: a call of another architecture, a multiplexed one, or one that was common to all before the
            // library knew.
            let column = row.numbers[abi.column];
            let absent = theirs < -1 && !(abi.multiplexes && row.multiplexed != 0);
            if absent && (column == NONE || column < 424) {
                assert_eq!(column, NONE, "{} on {arch:?}", row.name);
            }
            if theirs >= 0 {
                compared += 1;
                assert_eq!(number(arch, row.name).map(i64::from), Some(theirs), "{} on {arch:?}", row.name);
            }
        }
    }
    assert!(compared > 5000, "only {compared} numbers compared");
}

#[test]
#[ignore = "prints the table of docs/seccomp.md"]
fn sizes() {
    let Some(mut oracle) = Oracle::start() else {
        return;
    };
    let profile = default_profile(&[]);
    let abi = Abi::of(SeccompArch::X86_64);
    let ours = compile(&profile, SeccompArch::X86_64, true).expect("the default profile").program;
    let plain = oracle.compile(&profile, 1).expect("libseccomp");
    let tree = oracle.compile(&profile, 2).expect("libseccomp");
    println!("| program | instructions | allowed: mean | refused: mean | by arguments: mean | worst |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for (name, program) in [("hull", &ours), ("libseccomp, default", &plain), ("libseccomp, optimize=2", &tree)] {
        let mut counts = [(0u32, 0u32); 3];
        let mut worst = 0;
        for row in ROWS.iter() {
            let Some(nr) = number(SeccompArch::X86_64, row.name) else {
                continue;
            };
            let (verdict, steps) = run(program, abi.audit, nr, 0, [0; 6]);
            let class = match row.name {
                "clone" | "personality" | "socket" => 2,
                _ if verdict == super::ALLOW => 0,
                _ => 1,
            };
            counts[class] = (counts[class].0 + steps, counts[class].1 + 1);
            worst = worst.max(steps);
        }
        let mean = |(sum, count): (u32, u32)| format!("{:.1}", f64::from(sum) / f64::from(count));
        let [allowed, refused, depends] = counts.map(mean);
        println!("| {name} | {} | {allowed} | {refused} | {depends} | {worst} |", program.len());
    }
}

#[test]
#[ignore = "prints the time of docs/seccomp.md; for a release build"]
fn time() {
    let profile = default_profile(&[]);
    let mut best = std::time::Duration::MAX;
    for _ in 0..2000 {
        let start = std::time::Instant::now();
        std::hint::black_box(compile(std::hint::black_box(&profile), SeccompArch::X86_64, true).expect("a profile"));
        best = best.min(start.elapsed());
    }
    println!("{} µs", best.as_nanos() as f64 / 1000.0);
}

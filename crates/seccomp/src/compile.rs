//! From a profile to a program: one decision graph over architecture, system call and arguments.
//!
//! Owns the order of the questions. What the rules are is in `rules`, how the graph becomes instructions in
//! `assemble`.

use std::collections::BTreeMap;

use hull_spec::{Seccomp, SeccompArch, SeccompFlag, SeccompOp};

use crate::arch::{ARM_PRIVATE, Abi, X32_BIT};
use crate::assemble::assemble;
use crate::bpf::{ARCH, MAX_INSNS, NR};
use crate::graph::{Graph, Next};
use crate::numbers::PRIVATE;
use crate::rules::{self, Call, Chain, Condition, ERRNO, KILL_THREAD, Rules};
use crate::{Error, Filter, flag};

const ENOSYS: u32 = 38;

/// [`crate::compile`], with (`hide`) or without making newer system calls look absent.
pub(crate) fn compile(profile: &Seccomp, native: SeccompArch, hide: bool) -> Result<Filter, Error> {
    let abis = rules::abis(profile, native)?;
    let rules = Rules::check(profile, &abis)?;
    // An agent that is named is told of the container even where no rule will ever ask it.
    let listener = rules.notifies || !profile.listener_path.as_os_str().is_empty();
    let flags = flags(profile, listener)?;
    let hide = hide && rules::hides_newer(profile.default_action);

    let mut compiler = Compiler { rules: &rules, hide, graph: Graph::default(), chains: BTreeMap::new() };
    // x86_64 and x32 are one architecture to the kernel; the first of the two stands for both.
    let mut root = Next::Return(KILL_THREAD);
    for (i, abi) in abis.iter().enumerate().rev() {
        if !abis[..i].iter().any(|other| other.audit == abi.audit) {
            let ranges = compiler.ranges(abi.audit, &abis);
            let calls = compiler.dispatch(&ranges, u32::MAX);
            root = compiler.graph.equal(ARCH, abi.audit, calls, root);
        }
    }
    let program = assemble(&compiler.graph, root);
    if program.len() > MAX_INSNS {
        let problem = format!("needs {} BPF instructions, but the kernel takes {MAX_INSNS}", program.len());
        return Err(Error::new("syscalls", problem));
    }
    Ok(Filter { program, flags, listener, warnings: rules.warnings, unknown: rules.unknown })
}

/// The flags of seccomp(2).
fn flags(profile: &Seccomp, listener: bool) -> Result<u32, Error> {
    let mut flags = if listener { flag::NEW_LISTENER } else { 0 };
    if profile.flags.is_none() {
        flags |= flag::SPEC_ALLOW;
    }
    for (i, flag) in profile.flags.iter().flatten().enumerate() {
        flags |= match flag {
            // The filter is loaded by a process of one thread: there is nothing to synchronise, and with a listener
            // the kernel refuses the flag.
            SeccompFlag::Tsync => 0,
            SeccompFlag::Log => flag::LOG,
            SeccompFlag::SpecAllow => flag::SPEC_ALLOW,
            SeccompFlag::WaitKillableRecv if listener => flag::WAIT_KILLABLE_RECV,
            SeccompFlag::WaitKillableRecv => {
                let problem = format!("{} needs listenerPath", flag.as_str());
                return Err(Error::new(format!("flags[{i}]"), problem));
            }
        };
    }
    Ok(flags)
}

/// What becomes of the system calls from a number on, up to where the next range begins.
type Range = (u32, Next);

struct Compiler<'a> {
    rules: &'a Rules<'a>,
    hide: bool,
    graph: Graph,
    /// Chains that have been turned into a graph; architectures share them.
    chains: BTreeMap<(bool, bool, Chain), Next>,
}

impl Compiler<'_> {
    /// What becomes of every number of the architectures with one audit number.
    fn ranges(&mut self, audit: u32, abis: &[Abi]) -> Vec<Range> {
        let mut ranges = Vec::new();
        let x86_64 = Abi::of(SeccompArch::X86_64);
        if audit != x86_64.audit {
            for abi in abis.iter().filter(|abi| abi.audit == audit) {
                self.table(abi, &mut ranges);
            }
            return ranges;
        }
        if abis.contains(&x86_64) {
            self.table(&x86_64, &mut ranges);
        } else {
            push(&mut ranges, 0, Next::Return(KILL_THREAD));
        }
        let x32 = Abi::of(SeccompArch::X32);
        if abis.contains(&x32) {
            self.table(&x32, &mut ranges);
        } else {
            push(&mut ranges, X32_BIT, Next::Return(KILL_THREAD));
            // A tracer sets the number to -1 to skip a call.
            push(&mut ranges, u32::MAX, Next::Return(self.rules.default));
        }
        ranges
    }

    /// Adds the ranges of one ABI, from its base to the end.
    fn table(&mut self, abi: &Abi, ranges: &mut Vec<Range>) {
        let default = Next::Return(self.rules.default);
        let absent = Next::Return(ERRNO | ENOSYS);
        let mut table = self.rules.table(abi);
        let hide = self.hide && table.newest > 0;
        if hide && matches!(abi.arch, SeccompArch::S390 | SeccompArch::S390x) {
            // There, number 0 is what the kernel makes of numbers that are too large for an svc instruction and that
            // it does not know. The call that once was number 0 (setup) has long been gone.
            table.calls[0] = Call::Always(ERRNO | ENOSYS);
        }

        push(ranges, if abi.base == X32_BIT { X32_BIT } else { 0 }, default);
        for (entry, call) in table.calls.iter().enumerate() {
            let entry = entry as u16;
            if entry == PRIVATE && hide {
                push(ranges, abi.number(table.newest) + 1, absent);
                if abi.arch == SeccompArch::Arm {
                    push(ranges, ARM_PRIVATE, default);
                }
            }
            let next = match call {
                Call::Default => continue,
                Call::Always(verdict) => Next::Return(*verdict),
                Call::Depends(chain) => self.chain(abi, chain),
            };
            push(ranges, abi.number(entry), next);
            push(ranges, abi.number(entry) + 1, default);
        }
    }

    /// The decisions of a chain of rules.
    fn chain(&mut self, abi: &Abi, chain: &Chain) -> Next {
        let key = (abi.wide, abi.little_endian(), chain.clone());
        if let Some(&known) = self.chains.get(&key) {
            return known;
        }
        let mut next = Next::Return(self.rules.default);
        for (conditions, verdict) in chain.iter().rev() {
            let otherwise = next;
            next = Next::Return(*verdict);
            for condition in conditions.iter().rev() {
                next = self.condition(abi, condition, next, otherwise);
            }
        }
        next = self.graph.simplify(next);
        self.chains.insert(key, next);
        next
    }

    /// One comparison, word by word.
    fn condition(&mut self, abi: &Abi, condition: &Condition, yes: Next, no: Next) -> Next {
        let Condition { index, op, value, mask } = *condition;
        let graph = &mut self.graph;
        let low = abi.word(index, false);
        let (high_value, low_value) = ((value >> 32) as u32, value as u32);
        // A 32-bit ABI compares the low words as if the high ones were equal.
        let high = abi.wide.then(|| abi.word(index, true));
        let (yes, no) = match op {
            SeccompOp::Ne | SeccompOp::Lt | SeccompOp::Le => (no, yes),
            _ => (yes, no),
        };
        match op {
            SeccompOp::Eq | SeccompOp::Ne => {
                let next = graph.equal(low, low_value, yes, no);
                high.map_or(next, |high| graph.equal(high, high_value, next, no))
            }
            SeccompOp::MaskedEq => {
                let next = graph.masked(low, mask as u32, low_value, yes, no);
                high.map_or(next, |high| graph.masked(high, (mask >> 32) as u32, high_value, next, no))
            }
            SeccompOp::Ge | SeccompOp::Lt | SeccompOp::Gt | SeccompOp::Le => {
                let next = match (op, low_value.checked_add(1)) {
                    (SeccompOp::Ge | SeccompOp::Lt, _) => graph.at_least(low, low_value, yes, no),
                    (_, Some(least)) => graph.at_least(low, least, yes, no),
                    (_, None) => no,
                };
                let Some(high) = high else { return next };
                let above = if high_value == 0 { yes } else { no };
                let next = graph.equal(high, high_value, next, above);
                match high_value.checked_add(1) {
                    Some(least) if high_value > 0 => graph.at_least(high, least, yes, next),
                    _ => next,
                }
            }
        }
    }

    /// Finds the range of a number: halving, until one default with few exceptions is left.
    ///
    /// Balanced by the number of ranges and not by how often a call is made: the kernel remembers which calls a
    /// program always allows (since 5.11) and runs it for the others only.
    fn dispatch(&mut self, ranges: &[Range], last: u32) -> Next {
        if let Some(next) = self.exceptions(ranges, last) {
            return next;
        }
        let (below, above) = ranges.split_at(ranges.len() / 2);
        let start = above[0].0;
        let above = self.dispatch(above, last);
        let below = self.dispatch(below, start - 1);
        self.graph.at_least(NR, start, above, below)
    }

    /// Ranges that are all alike but for a few numbers: one comparison for each of these.
    fn exceptions(&mut self, ranges: &[Range], last: u32) -> Option<Next> {
        const MOST: u32 = 3;
        let ends = ranges.iter().skip(1).map(|range| range.0 - 1).chain([last]);
        let spans: Vec<(u32, u32, Next)> =
            ranges.iter().zip(ends).map(|(range, end)| (range.0, end, range.1)).collect();
        let &(_, _, usual) = spans.iter().max_by_key(|(start, end, _)| end - start)?;
        let others = || spans.iter().filter(|span| span.2 != usual);
        let count = others().try_fold(0u32, |sum, (start, end, _)| sum.checked_add(end - start)?.checked_add(1))?;
        if count > MOST {
            return None;
        }
        let mut next = usual;
        for &(start, end, other) in others().rev() {
            for number in start..=end {
                next = self.graph.equal(NR, number, other, next);
            }
        }
        Some(next)
    }
}

/// Adds a range, which ends the one before it and may replace or continue it.
fn push(ranges: &mut Vec<Range>, start: u32, next: Next) {
    if ranges.last().is_some_and(|last| last.0 == start) {
        ranges.pop();
    }
    if ranges.last().is_none_or(|last| last.1 != next) {
        ranges.push((start, next));
    }
}

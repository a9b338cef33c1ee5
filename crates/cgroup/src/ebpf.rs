//! Device rules as a program for the kernel's BPF machine.
//!
//! The kernel runs it at each open or mknod of a device with the kind, the numbers and the wanted permissions, and
//! takes 1 as allowed. It walks the rules from the last to the first and strikes out each permission at the first
//! rule that speaks of it: deny ends it, allow goes on until nothing is wanted any more. Single devices that are
//! allowed altogether, the bulk of most lists, take one comparison each: the kernel's checks at load time follow every
//! jump, and are the most costly part of limits at a container's start. Pure: loads nothing.

use crate::devices::{ALL, Kind, Rule};

// Registers.
const RESULT: u64 = 0;
const CONTEXT: u64 = 1; // also scratch, once the context is read
const KIND: u64 = 2;
const WANTED: u64 = 3;
const MAJOR: u64 = 4;
const MINOR: u64 = 5;
const DEVICE: u64 = 6; // major and minor in one, as the kernel packs them
// Operations: on 32 bits, except the jumps.
const LOAD: u64 = 0x61;
const AND: u64 = 0x54;
const OR_REGISTER: u64 = 0x4c;
const SHIFT_LEFT: u64 = 0x64;
const SHIFT_RIGHT: u64 = 0x74;
const SET: u64 = 0xb4;
const COPY: u64 = 0xbc;
const JUMP_IF_EQUAL: u64 = 0x15;
const JUMP_UNLESS_EQUAL: u64 = 0x55;
const JUMP_IF_EQUAL_32: u64 = 0x16; // Linux 5.1
const JUMP: u64 = 0x05;
const EXIT: u64 = 0x95;
// BPF_DEVCG_DEV_…
const BLOCK: u32 = 1;
const CHAR: u32 = 2;

/// The program, or `None` where the rules allow everything and none is needed.
pub(crate) fn compile(rules: &[Rule]) -> Option<Vec<u64>> {
    let total = rules.iter().rposition(Rule::is_total);
    let (otherwise, rules) = total.map_or((false, rules), |at| (rules[at].allow, &rules[at + 1..]));
    if otherwise && rules.iter().all(|r| r.allow) {
        return None;
    }
    // struct bpf_cgroup_dev_ctx { u32 access_type; u32 major; u32 minor; }, kind in the low half of access_type.
    let mut code = vec![
        op(LOAD, KIND, CONTEXT, 0, 0),
        op(COPY, WANTED, KIND, 0, 0),
        op(AND, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT, WANTED, 0, 0, 16),
        op(LOAD, MAJOR, CONTEXT, 4, 0),
        op(LOAD, MINOR, CONTEXT, 8, 0),
        op(COPY, DEVICE, MAJOR, 0, 0),
        op(SHIFT_LEFT, DEVICE, 0, 0, MINOR_BITS),
        op(OR_REGISTER, DEVICE, MINOR, 0, 0),
    ];
    let mut rules = rules.iter().rev().peekable();
    while let Some(rule) = rules.next() {
        let Some(single) = single(rule) else {
            block(&mut code, rule);
            continue;
        };
        // One after the other, rules that allow all are in no order among themselves.
        let mut devices = vec![single];
        while devices.len() < MOST_AT_ONCE
            && let Some(next) = rules.next_if(|r| r.kind == rule.kind && self::single(r).is_some())
        {
            devices.extend(self::single(next));
        }
        allowed(&mut code, rule, &devices);
    }
    code.extend(answer(otherwise));
    Some(code)
}

/// Bits of a minor number in a device number; a major one has the other twelve (linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// A jump has fifteen bits of distance.
const MOST_AT_ONCE: usize = 10_000;

/// What is compared to know a device, and with what, where a rule allows all for one device or one major number.
fn single(rule: &Rule) -> Option<(u64, u32)> {
    if !rule.allow || rule.access != ALL || rule.kind.is_none() {
        return None;
    }
    match (rule.major?, rule.minor) {
        (major, Some(minor)) if major < 1 << 12 && minor < 1 << MINOR_BITS => Some((DEVICE, major << MINOR_BITS | minor)),
        (_, Some(_)) => None,
        (major, None) => Some((MAJOR, major)),
    }
}

/// Devices of one kind, of which all is allowed.
fn allowed(code: &mut Vec<u64>, rule: &Rule, devices: &[(u64, u32)]) {
    let [set, exit] = answer(true);
    let number = if rule.kind == Some(Kind::Block) { BLOCK } else { CHAR };
    // Each comparison leads to the answer after the last one, from which the others are kept by a jump over it.
    code.push(op(JUMP_UNLESS_EQUAL, KIND, 0, devices.len() as u16 + 3, number));
    for (n, (register, value)) in devices.iter().enumerate() {
        code.push(op(JUMP_IF_EQUAL_32, *register, 0, (devices.len() - n) as u16, *value));
    }
    code.extend([op(JUMP, 0, 0, 2, 0), set, exit]);
}

/// One rule. The jumps to the next rule are written with no distance and get it at the end.
fn block(code: &mut Vec<u64>, rule: &Rule) {
    let start = code.len();
    if let Some(kind) = rule.kind {
        let kind = match kind {
            Kind::Block => BLOCK,
            Kind::Char => CHAR,
        };
        code.push(op(JUMP_UNLESS_EQUAL, KIND, 0, 0, kind));
    }
    for (register, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        if let Some(number) = number {
            code.push(op(JUMP_UNLESS_EQUAL, register, 0, 0, number));
        }
    }
    match (rule.allow, rule.access) {
        (_, ALL) => {}
        (true, access) => {
            code.push(op(AND, WANTED, 0, 0, u32::from(ALL & !access)));
            code.push(op(JUMP_UNLESS_EQUAL, WANTED, 0, 0, 0));
        }
        (false, access) => {
            code.push(op(COPY, CONTEXT, WANTED, 0, 0));
            code.push(op(AND, CONTEXT, 0, 0, u32::from(access)));
            code.push(op(JUMP_IF_EQUAL, CONTEXT, 0, 0, 0));
        }
    }
    code.extend(answer(rule.allow));
    let end = code.len();
    for (at, word) in code.iter_mut().enumerate().skip(start) {
        if matches!(*word & 0xff, JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL) {
            *word |= ((end - at - 1) as u64) << 16;
        }
    }
}

fn answer(allow: bool) -> [u64; 2] {
    [op(SET, RESULT, 0, 0, allow.into()), op(EXIT, 0, 0, 0, 0)]
}

/// struct bpf_insn: code, destination and source register, offset, immediate value.
fn op(code: u64, to: u64, from: u64, offset: u16, value: u32) -> u64 {
    code | to << 8 | from << 12 | u64::from(offset) << 16 | u64::from(value) << 32
}

#[cfg(test)]
mod tests {
    use hull_spec::config::DeviceRule;

    use super::*;
    use crate::devices::{MKNOD, READ, WRITE, rules};

    /// What the kernel would answer.
    fn run(code: &[u64], kind: u32, access: u8, major: u32, minor: u32) -> bool {
        let context = [kind | u32::from(access) << 16, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0;
        loop {
            let word = code[at];
            let (to, from) = ((word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, value) = ((word >> 16) as u16, (word >> 32) as u32);
            at += 1;
            let extended = i64::from(value as i32) as u64;
            match word & 0xff {
                LOAD => registers[to] = context[usize::from(offset) / 4].into(),
                AND => registers[to] = u64::from(registers[to] as u32 & value),
                SHIFT_RIGHT => registers[to] = u64::from(registers[to] as u32 >> value),
                SHIFT_LEFT => registers[to] = u64::from((registers[to] as u32) << value),
                OR_REGISTER => registers[to] = u64::from(registers[to] as u32 | registers[from] as u32),
                JUMP => at += usize::from(offset),
                JUMP_IF_EQUAL_32 if registers[to] as u32 == value => at += usize::from(offset),
                JUMP_IF_EQUAL_32 => {}
                SET => registers[to] = value.into(),
                COPY => registers[to] = u64::from(registers[from] as u32),
                JUMP_IF_EQUAL if registers[to] == extended => at += usize::from(offset),
                JUMP_UNLESS_EQUAL if registers[to] != extended => at += usize::from(offset),
                JUMP_IF_EQUAL | JUMP_UNLESS_EQUAL => {}
                EXIT => return registers[0] == 1,
                other => panic!("operation {other:#x}"),
            }
        }
    }

    /// The meaning of the rules, said another way: each permission by itself, the last rule that speaks of it.
    fn meant(rules: &[Rule], kind: Kind, access: u8, major: u32, minor: u32) -> bool {
        [MKNOD, READ, WRITE].into_iter().filter(|bit| access & bit != 0).all(|bit| {
            let speaks = |r: &&Rule| {
                r.access & bit != 0
                    && r.kind.is_none_or(|k| k == kind)
                    && r.major.is_none_or(|n| n == major)
                    && r.minor.is_none_or(|n| n == minor)
            };
            rules.iter().rfind(speaks).is_some_and(|r| r.allow)
        })
    }

    #[test]
    fn the_program_means_what_the_rules_mean() {
        // A small generator of rule lists over few numbers, so that rules meet often.
        let mut seed = 42u64;
        let mut next = |below: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % below
        };
        for _ in 0..2000 {
            let mut list = Vec::new();
            for _ in 0..next(7) {
                let number = |n: u64| if n == 0 { None } else { Some(n as u32) };
                list.push(Rule {
                    allow: next(2) == 1,
                    kind: [None, Some(Kind::Block), Some(Kind::Char)][next(3) as usize],
                    major: number(next(3)),
                    minor: number(next(3)),
                    access: [1, 2, 3, 4, 5, 6, 7, 7][next(8) as usize],
                });
            }
            let code = compile(&list);
            for (kind, number) in [(Kind::Block, BLOCK), (Kind::Char, CHAR)] {
                for (major, minor) in [(0, 0), (1, 1), (1, 2), (2, 1), (2, 2)] {
                    for access in 1..=ALL {
                        let got = code.as_ref().is_none_or(|c| run(c, number, access, major, minor));
                        assert_eq!(got, meant(&list, kind, access, major, minor), "{list:?} {kind:?} {access}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_empty_list_denies_disks_and_allows_the_defaults() {
        let code = compile(&rules(&[]).unwrap()).unwrap();
        assert!(!run(&code, BLOCK, READ, 8, 0));
        assert!(run(&code, BLOCK, MKNOD, 8, 0));
        assert!(run(&code, CHAR, READ | WRITE, 1, 3));
        assert!(run(&code, CHAR, READ | WRITE, 136, 77));
        assert!(!run(&code, CHAR, READ, 1, 1));
    }

    #[test]
    fn everything_allowed_needs_no_program() {
        let all = DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() };
        assert_eq!(compile(&rules(&[all]).unwrap()), None);
    }
}

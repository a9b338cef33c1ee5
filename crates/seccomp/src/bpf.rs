//! Classic BPF as seccomp(2) takes it: the instruction, the opcodes in use, an interpreter.
//!
//! Owns the encoding. Knows no profile and loads nothing into a kernel.

/// One instruction: `struct sock_filter` of linux/filter.h.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip when the comparison holds.
    pub jt: u8,
    /// Instructions to skip when it does not.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// Longest program that the kernel takes (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;

/// `A = data[k]`, a word of `struct seccomp_data`.
pub(crate) const LOAD: u16 = 0x20;
/// `A &= k`.
pub(crate) const AND: u16 = 0x54;
/// Skip k instructions.
pub(crate) const JUMP: u16 = 0x05;
/// `A == k`.
pub(crate) const JEQ: u16 = 0x15;
/// `A > k`; not emitted here, but understood.
pub(crate) const JGT: u16 = 0x25;
/// `A >= k`.
pub(crate) const JGE: u16 = 0x35;
/// `A & k != 0`.
pub(crate) const JSET: u16 = 0x45;
/// Return k.
pub(crate) const RETURN: u16 = 0x06;

/// Offset of the system call's number in `struct seccomp_data`.
pub(crate) const NR: u8 = 0;
/// Offset of the architecture.
pub(crate) const ARCH: u8 = 4;
/// Offset of the instruction pointer.
const POINTER: u8 = 8;
/// Offset of the first argument; each has 8 bytes.
pub(crate) const ARGS: u8 = 16;

/// `SECCOMP_RET_KILL_PROCESS`.
pub(crate) const KILL_PROCESS: u32 = 0x8000_0000;
/// `__AUDIT_ARCH_LE`.
pub(crate) const LITTLE_ENDIAN: u32 = 0x4000_0000;

/// Runs a program as the kernel would for one system call and returns its verdict (`SECCOMP_RET_*` and data).
///
/// `arch` is an `AUDIT_ARCH_*`, which also says in which order the halves of `ip` and `args` lie in memory. A program
/// that the kernel would refuse (unknown opcode, load off the data, jump off the end) gives
/// `SECCOMP_RET_KILL_PROCESS`. Ends always, as jumps only lead forward.
pub fn evaluate(program: &[Insn], arch: u32, nr: u32, ip: u64, args: [u64; 6]) -> u32 {
    run(program, arch, nr, ip, args).0
}

/// As [`evaluate`], with the number of instructions that ran.
pub(crate) fn run(program: &[Insn], arch: u32, nr: u32, ip: u64, args: [u64; 6]) -> (u32, u32) {
    let half = |value: u64, second: bool| {
        let high = second == (arch & LITTLE_ENDIAN != 0);
        if high { (value >> 32) as u32 } else { value as u32 }
    };
    let mut a = 0u32;
    let mut pc = 0usize;
    let mut steps = 0;
    while let Some(insn) = program.get(pc) {
        pc += 1;
        steps += 1;
        let holds = match insn.code {
            LOAD => {
                let second = insn.k % 8 == 4;
                a = match u8::try_from(insn.k) {
                    Ok(k) if k % 4 != 0 => return (KILL_PROCESS, steps),
                    Ok(NR) => nr,
                    Ok(ARCH) => arch,
                    Ok(k) if k < ARGS => half(ip, k - POINTER == 4),
                    Ok(k) if k < ARGS + 48 => half(args[usize::from((k - ARGS) / 8)], second),
                    _ => return (KILL_PROCESS, steps),
                };
                continue;
            }
            AND => {
                a &= insn.k;
                continue;
            }
            JUMP => {
                pc = pc.saturating_add(insn.k as usize);
                continue;
            }
            RETURN => return (insn.k, steps),
            JEQ => a == insn.k,
            JGT => a > insn.k,
            JGE => a >= insn.k,
            JSET => a & insn.k != 0,
            _ => return (KILL_PROCESS, steps),
        };
        pc += usize::from(if holds { insn.jt } else { insn.jf });
    }
    (KILL_PROCESS, steps)
}

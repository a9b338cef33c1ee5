//! What a system call ABI is to a filter: its audit number, its table, how wide and in which order arguments lie.
//!
//! Owns these facts alone; rules and programs are elsewhere.

use hull_spec::SeccompArch;

use crate::bpf::{ARGS, LITTLE_ENDIAN};
use crate::numbers as n;

/// Bit that marks a system call of x32 (`__X32_SYSCALL_BIT`).
pub(crate) const X32_BIT: u32 = 0x4000_0000;
/// Where 32-bit ARM's own system calls begin (`__ARM_NR_BASE`).
pub(crate) const ARM_PRIVATE: u32 = 0xf_0000;
/// socketcall(2), on every architecture that has it.
pub(crate) const SOCKETCALL: u16 = 102;
/// ipc(2), likewise.
pub(crate) const IPC: u16 = 117;

/// `__AUDIT_ARCH_64BIT`.
const WIDE: u32 = 0x8000_0000;
/// `__AUDIT_ARCH_CONVENTION_MIPS64_N32`.
const N32: u32 = 0x2000_0000;

/// One system call ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abi {
    /// Its name in a profile.
    pub(crate) arch: SeccompArch,
    /// `AUDIT_ARCH_*`; x86_64 and x32 share one.
    pub(crate) audit: u32,
    /// Its column in the table of numbers.
    pub(crate) column: usize,
    /// Number of its first system call.
    pub(crate) base: u32,
    /// Whether arguments have 64 bits; of others the low 32 are compared.
    pub(crate) wide: bool,
    /// Whether socketcall(2) and ipc(2) are a second way to calls that also have numbers of their own.
    pub(crate) multiplexes: bool,
}

impl Abi {
    /// The ABI of an architecture of the specification.
    pub(crate) fn of(arch: SeccompArch) -> Abi {
        use SeccompArch::*;
        // Machine numbers of linux/elf-em.h.
        let (audit, column) = match arch {
            X86 => (3 | LITTLE_ENDIAN, n::X86),
            X86_64 => (62 | WIDE | LITTLE_ENDIAN, n::X86_64),
            X32 => (62 | WIDE | LITTLE_ENDIAN, n::X32),
            Arm => (40 | LITTLE_ENDIAN, n::ARM),
            Aarch64 => (183 | WIDE | LITTLE_ENDIAN, n::AARCH64),
            Loongarch64 => (258 | WIDE | LITTLE_ENDIAN, n::LOONGARCH64),
            M68k => (4, n::M68K),
            Mips => (8, n::MIPS),
            Mipsel => (8 | LITTLE_ENDIAN, n::MIPS),
            Mips64 => (8 | WIDE, n::MIPS64),
            Mipsel64 => (8 | WIDE | LITTLE_ENDIAN, n::MIPS64),
            Mips64n32 => (8 | WIDE | N32, n::MIPS64N32),
            Mipsel64n32 => (8 | WIDE | LITTLE_ENDIAN | N32, n::MIPS64N32),
            Parisc => (15, n::PARISC),
            Parisc64 => (15 | WIDE, n::PARISC64),
            Ppc => (20, n::PPC),
            Ppc64 => (21 | WIDE, n::PPC64),
            Ppc64le => (21 | WIDE | LITTLE_ENDIAN, n::PPC64),
            S390 => (22, n::S390),
            S390x => (22 | WIDE, n::S390X),
            Sh => (42 | LITTLE_ENDIAN, n::SH),
            Sheb => (42, n::SH),
            Riscv64 => (243 | WIDE | LITTLE_ENDIAN, n::RISCV64),
        };
        let base = match arch {
            X32 => X32_BIT,
            Mips | Mipsel => 4000,
            Mips64 | Mipsel64 => 5000,
            Mips64n32 | Mipsel64n32 => 6000,
            _ => 0,
        };
        let wide = audit & WIDE != 0 && !matches!(arch, X32 | Mips64n32 | Mipsel64n32);
        let multiplexes = matches!(arch, X86 | M68k | Mips | Mipsel | Ppc | Ppc64 | Ppc64le | S390 | S390x | Sh | Sheb);
        Abi { arch, audit, column, base, wide, multiplexes }
    }

    /// Whether words lie with the low half first.
    pub(crate) fn little_endian(&self) -> bool {
        self.audit & LITTLE_ENDIAN != 0
    }

    /// Offset in `struct seccomp_data` of the high or low half of an argument.
    pub(crate) fn word(&self, index: u32, high: bool) -> u8 {
        let second = high == self.little_endian();
        ARGS + index as u8 * 8 + if second { 4 } else { 0 }
    }

    /// The number that the kernel sees for an entry of this ABI's column.
    pub(crate) fn number(&self, entry: u16) -> u32 {
        match entry.checked_sub(n::PRIVATE) {
            Some(offset) => ARM_PRIVATE + u32::from(offset),
            None => self.base + u32::from(entry),
        }
    }
}

/// The architecture that this program was built for.
pub fn native_arch() -> SeccompArch {
    const LITTLE: bool = cfg!(target_endian = "little");
    const WIDE: bool = cfg!(target_pointer_width = "64");
    match std::env::consts::ARCH {
        "x86" => SeccompArch::X86,
        "x86_64" if WIDE => SeccompArch::X86_64,
        "x86_64" => SeccompArch::X32,
        "arm" => SeccompArch::Arm,
        "aarch64" => SeccompArch::Aarch64,
        "loongarch64" => SeccompArch::Loongarch64,
        "m68k" => SeccompArch::M68k,
        "mips" if LITTLE => SeccompArch::Mipsel,
        "mips" => SeccompArch::Mips,
        "mips64" => match (WIDE, LITTLE) {
            (true, true) => SeccompArch::Mipsel64,
            (true, false) => SeccompArch::Mips64,
            (false, true) => SeccompArch::Mipsel64n32,
            (false, false) => SeccompArch::Mips64n32,
        },
        "powerpc" => SeccompArch::Ppc,
        "powerpc64" if LITTLE => SeccompArch::Ppc64le,
        "powerpc64" => SeccompArch::Ppc64,
        "riscv64" => SeccompArch::Riscv64,
        "s390x" => SeccompArch::S390x,
        other => panic!("hull does not know the system calls of {other}"),
    }
}

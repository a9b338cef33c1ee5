#!/usr/bin/env python3
"""Writes src/numbers.rs from the tables of a Linux source tree.

Usage: python3 numbers.py LINUX-6.12-SOURCE > src/numbers.rs
"""

import sys

# Column, table, and the ABIs of that table that belong to the column (arch/*/kernel/Makefile.syscalls).
COLUMNS = [
    ("X86", "arch/x86/entry/syscalls/syscall_32.tbl", "i386"),
    ("X86_64", "arch/x86/entry/syscalls/syscall_64.tbl", "common 64"),
    ("X32", "arch/x86/entry/syscalls/syscall_64.tbl", "common x32"),
    ("ARM", "arch/arm/tools/syscall.tbl", "common eabi"),
    ("AARCH64", "scripts/syscall.tbl", "common 64 renameat rlimit memfd_secret"),
    ("LOONGARCH64", "scripts/syscall.tbl", "common 64"),
    ("M68K", "arch/m68k/kernel/syscalls/syscall.tbl", "common"),
    ("MIPS", "arch/mips/kernel/syscalls/syscall_o32.tbl", "o32"),
    ("MIPS64", "arch/mips/kernel/syscalls/syscall_n64.tbl", "n64 common"),
    ("MIPS64N32", "arch/mips/kernel/syscalls/syscall_n32.tbl", "n32"),
    ("PARISC", "arch/parisc/kernel/syscalls/syscall.tbl", "common 32"),
    ("PARISC64", "arch/parisc/kernel/syscalls/syscall.tbl", "common 64"),
    ("PPC", "arch/powerpc/kernel/syscalls/syscall.tbl", "common nospu 32"),
    ("PPC64", "arch/powerpc/kernel/syscalls/syscall.tbl", "common nospu 64"),
    ("RISCV64", "scripts/syscall.tbl", "common 64 riscv rlimit memfd_secret"),
    ("S390", "arch/s390/kernel/syscalls/syscall.tbl", "common 32"),
    ("S390X", "arch/s390/kernel/syscalls/syscall.tbl", "common 64"),
    ("SH", "arch/sh/kernel/syscalls/syscall.tbl", "common"),
]

# Newer than the tables; since 5.1 a new call has one number everywhere.
NEWER = [
    "setxattrat", "getxattrat", "listxattrat", "removexattrat", "open_tree_attr", "file_getattr", "file_setattr",
    "listns", "rseq_slice_yield",
]
FIRST_NEWER = 463
# Calls of 32-bit ARM that are beyond its table (arch/arm/include/uapi/asm/unistd.h), by offset from 0xf0000.
ARM_PRIVATE = ["breakpoint", "cacheflush", "usr26", "usr32", "set_tls", "get_tls"]
# First argument of socketcall(2) (include/uapi/linux/net.h), from 1, and of ipc(2) (include/uapi/linux/ipc.h).
SOCKETCALL = (
    "socket bind connect listen accept getsockname getpeername socketpair send recv sendto recvfrom shutdown "
    "setsockopt getsockopt sendmsg recvmsg accept4 recvmmsg sendmmsg"
).split()
IPC = {
    "semop": 1, "semget": 2, "semctl": 3, "semtimedop": 4, "msgsnd": 11, "msgrcv": 12, "msgget": 13, "msgctl": 14,
    "shmat": 21, "shmdt": 22, "shmget": 23, "shmctl": 24,
}

HEADER = '''//! System calls by name: their number on each architecture. Written by numbers.py, not by hand.
//!
//! Owns the numbers, which are those of the tables of Linux 6.12 and, beyond them, of Linux 7.1. Knows no rule.

/// Marks a call that an architecture does not have.
pub(crate) const NONE: u16 = u16::MAX;
/// From here on an entry is not an offset from the architecture's base, but (less this) one from `0xf0000`, where
/// 32-bit ARM has calls of its own.
pub(crate) const PRIVATE: u16 = 1024;
/// In [`Row::multiplexed`]: the rest is the first argument of ipc(2), otherwise of socketcall(2).
pub(crate) const IPC: u8 = 0x80;

/// One system call.
pub(crate) struct Row {
    /// Name, as in `__NR_…`.
    pub(crate) name: &'static str,
    /// Number on each architecture, by column, less the architecture's base.
    pub(crate) numbers: [u16; COLUMNS],
    /// How socketcall(2) or ipc(2) names it; 0 when neither does.
    pub(crate) multiplexed: u8,
}

const fn row(name: &'static str, multiplexed: u8, numbers: [u16; COLUMNS]) -> Row {
    Row { name, numbers, multiplexed }
}
'''


def read(root, path, abis):
    table = {}
    for line in open(f"{root}/{path}"):
        field = line.split()
        if len(field) >= 3 and field[0].isdigit() and field[1] in abis.split():
            if not field[2].startswith(("reserved", "unused")):
                table[field[2]] = int(field[0])
    return table


def main():
    columns = {}
    for column, path, abis in COLUMNS:
        table = columns[column] = read(sys.argv[1], path, abis)
        for offset, name in enumerate(NEWER):
            table[name] = FIRST_NEWER + offset
    for column in ("X86_64", "X32"):
        columns[column]["uprobe"] = 336
    for offset, name in enumerate(ARM_PRIVATE):
        columns["ARM"][name] = 1024 + offset + 1

    print(HEADER)
    for i, column in enumerate(columns):
        print(f"pub(crate) const {column}: usize = {i};")
    print(f"pub(crate) const COLUMNS: usize = {len(columns)};\n")
    print("const N: u16 = NONE;\n\n/// Every system call, sorted by name.\n#[rustfmt::skip]")
    print("pub(crate) static ROWS: &[Row] = &[")
    for name in sorted(set().union(*columns.values())):
        multiplexed = SOCKETCALL.index(name) + 1 if name in SOCKETCALL else 0
        if name in IPC:
            multiplexed = 0x80 | IPC[name]
        numbers = ",".join(str(table.get(name, "N")) for table in columns.values())
        print(f'    row("{name}", {multiplexed}, [{numbers}]),')
    print("];")


main()

//! Tests of the whole: profile in, verdicts out.

mod oracle;
mod semantics;

use hull_spec::{Seccomp, SeccompAction, SeccompArch, SeccompArg, SeccompOp, SeccompRule};

use crate::arch::Abi;
use crate::numbers::{NONE, ROWS};
use crate::{Filter, evaluate};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KILL_THREAD: u32 = 0;

/// A profile on x86_64 alone.
fn profile(default_action: SeccompAction, syscalls: Vec<SeccompRule>) -> Seccomp {
    Seccomp {
        default_action,
        default_errno_ret: None,
        architectures: Vec::new(),
        flags: None,
        listener_path: Default::default(),
        listener_metadata: String::new(),
        syscalls,
    }
}

fn rule(names: &[&str], action: SeccompAction, args: &[SeccompArg]) -> SeccompRule {
    let names = names.iter().map(|name| name.to_string()).collect();
    SeccompRule { names, action, errno_ret: None, args: args.to_vec() }
}

fn arg(index: u32, op: SeccompOp, value: u64, value_two: u64) -> SeccompArg {
    SeccompArg { index, op, value, value_two }
}

/// The number of a system call, if the architecture has it.
fn number(arch: SeccompArch, name: &str) -> Option<u32> {
    let abi = Abi::of(arch);
    let row = ROWS.binary_search_by(|row| row.name.cmp(name)).expect("a known name");
    Some(ROWS[row].numbers[abi.column]).filter(|&entry| entry != NONE).map(|entry| abi.number(entry))
}

/// The verdict on a call by name.
fn ask(filter: &Filter, arch: SeccompArch, name: &str, args: [u64; 6]) -> u32 {
    evaluate(&filter.program, Abi::of(arch).audit, number(arch, name).expect("a call of that architecture"), 0, args)
}

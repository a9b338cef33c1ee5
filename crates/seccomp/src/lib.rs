//! OCI seccomp profiles compiled to classic BPF.
//!
//! Owns the meaning of `linux.seccomp`: which verdict each system call gets. Loads no filter, opens no socket, reads
//! no file: a profile goes in, a program comes out. docs/seccomp.md has the semantics and the measured sizes.

mod arch;
mod assemble;
mod bpf;
mod compile;
mod default;
mod graph;
mod numbers;
mod rules;
#[cfg(test)]
mod tests;

use hull_spec::{Seccomp, SeccompAction, SeccompArch, SeccompFlag, SeccompOp};

pub use arch::native_arch;
pub use bpf::{Insn, MAX_INSNS, evaluate};
pub use default::default_profile;

/// Flags of seccomp(2) (linux/seccomp.h).
mod flag {
    pub(crate) const LOG: u32 = 1 << 1;
    pub(crate) const SPEC_ALLOW: u32 = 1 << 2;
    pub(crate) const NEW_LISTENER: u32 = 1 << 3;
    pub(crate) const WAIT_KILLABLE_RECV: u32 = 1 << 5;
}

/// What to load, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The program, at most [`MAX_INSNS`] long.
    pub program: Vec<Insn>,
    /// All flags for `seccomp(SECCOMP_SET_MODE_FILTER, …)`, `SECCOMP_FILTER_FLAG_NEW_LISTENER` among them.
    pub flags: u32,
    /// Whether seccomp(2) will return a descriptor, which belongs to the agent at `listenerPath`.
    pub listener: bool,
    /// What was let pass: system calls that hull does not know, values cut to 32 bits.
    pub warnings: Vec<String>,
    /// The names among them that are of no system call that hull knows.
    pub unknown: Vec<String>,
}

/// Why a profile can't be compiled: the field and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    field: String,
    problem: String,
}

impl Error {
    /// `field` is relative to `linux.seccomp`.
    fn new(field: impl Into<String>, problem: impl Into<String>) -> Error {
        Error { field: field.into(), problem: problem.into() }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "linux.seccomp.{}: {}", self.field, self.problem)
    }
}

impl std::error::Error for Error {}

/// Compiles a profile for a machine whose own architecture is `native`, which the program covers whether or not the
/// profile lists it.
///
/// Errors name the field of config.json. Where the default action refuses, calls newer than the newest that the
/// profile names give `ENOSYS` instead, so that a program falls back as on a kernel that lacks them.
pub fn compile(profile: &Seccomp, native: SeccompArch) -> Result<Filter, Error> {
    compile::compile(profile, native, true)
}

/// The actions that [`compile`] knows, sorted.
pub fn actions() -> Vec<&'static str> {
    sorted(SeccompAction::ALL, SeccompAction::as_str)
}

/// The operators that [`compile`] knows, sorted.
pub fn operators() -> Vec<&'static str> {
    sorted(SeccompOp::ALL, SeccompOp::as_str)
}

/// The architectures that [`compile`] knows, sorted.
pub fn archs() -> Vec<&'static str> {
    sorted(SeccompArch::ALL, SeccompArch::as_str)
}

/// The flags that [`compile`] knows, sorted; whether the kernel knows them is for the kernel to say.
pub fn flags() -> Vec<&'static str> {
    sorted(SeccompFlag::ALL, SeccompFlag::as_str)
}

fn sorted<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    let mut names: Vec<_> = all.iter().map(|&one| name(one)).collect();
    names.sort_unstable();
    names
}

//! Rule by rule: what each part of a profile comes to, and how a bad one is refused.

use hull_spec::{SeccompAction, SeccompArch, SeccompFlag, SeccompOp, SeccompRule};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::{ALLOW, ENOSYS, EPERM, KILL_THREAD, arg, ask, number, profile, rule};
use crate::arch::Abi;
use crate::bpf::{JEQ, JGE, JSET, JUMP, RETURN};
use crate::numbers::ROWS;
use crate::{Insn, compile, default_profile, evaluate};

use SeccompAction::{Allow, Errno, KillProcess, KillThread, Log, Notify, Trace, Trap};
use SeccompArch::{Aarch64, Arm, S390x, X32, X86, X86_64};

const ANY: [u64; 6] = [0; 6];

#[test]
fn each_action_has_its_number() {
    let verdicts = [
        (SeccompAction::Kill, KILL_THREAD),
        (KillThread, KILL_THREAD),
        (KillProcess, 0x8000_0000),
        (Trap, 0x3_0000),
        (Errno, EPERM),
        (Trace, 0x7ff0_0001),
        (Allow, ALLOW),
        (Log, 0x7ffc_0000),
        (Notify, 0x7fc0_0000),
    ];
    for (action, verdict) in verdicts {
        let mut profile = profile(if action == Errno { Allow } else { Errno }, vec![rule(&["read"], action, &[])]);
        profile.listener_path = if action == Notify { "/agent".into() } else { "".into() };
        let filter = compile(&profile, X86_64).unwrap();
        assert_eq!(ask(&filter, X86_64, "read", ANY), verdict, "{action:?}");
        assert_eq!(filter.listener, action == Notify);
    }
}

#[test]
fn error_numbers_go_with_two_actions_and_fit() {
    for (action, errno, verdict) in [(Errno, 38, ENOSYS), (Errno, 0, 0x5_0000), (Trace, 65535, 0x7ff0_ffff)] {
        let rules = vec![SeccompRule { errno_ret: Some(errno), ..rule(&["read"], action, &[]) }];
        let filter = compile(&profile(Allow, rules), X86_64).unwrap();
        assert_eq!(ask(&filter, X86_64, "read", ANY), verdict);
    }
    for (action, errno, message) in [
        (Errno, 4096, "linux.seccomp.syscalls[0].errnoRet: 4096: must be 0 to 4095"),
        (Trace, 65536, "linux.seccomp.syscalls[0].errnoRet: 65536: must be 0 to 65535"),
        (Log, 1, "linux.seccomp.syscalls[0].errnoRet: SCMP_ACT_LOG takes no error number"),
    ] {
        let rules = vec![SeccompRule { errno_ret: Some(errno), ..rule(&["read"], action, &[]) }];
        assert_eq!(compile(&profile(Allow, rules), X86_64).unwrap_err().to_string(), message);
    }
    let mut bad = profile(Allow, Vec::new());
    bad.default_errno_ret = Some(1);
    let message = "linux.seccomp.defaultErrnoRet: SCMP_ACT_ALLOW takes no error number";
    assert_eq!(compile(&bad, X86_64).unwrap_err().to_string(), message);
}

#[test]
fn bad_profiles_are_refused_by_field() {
    let refuse = |change: &dyn Fn(&mut hull_spec::Seccomp), message: &str| {
        let mut profile = profile(Allow, vec![rule(&["read"], Errno, &[]), rule(&["open"], Errno, &[])]);
        change(&mut profile);
        assert_eq!(compile(&profile, X86_64).unwrap_err().to_string(), format!("linux.seccomp.{message}"));
    };
    refuse(&|p| p.default_action = Notify, "defaultAction: SCMP_ACT_NOTIFY cannot be used as default action");
    refuse(&|p| p.syscalls[1].names.clear(), "syscalls[1].names: must name at least one system call");
    refuse(&|p| p.syscalls[1].names.push("".into()), "syscalls[1].names[1]: the empty string is not a system call");
    refuse(
        &|p| p.syscalls[1] = rule(&["write"], Notify, &[]),
        "syscalls[1].names[0]: SCMP_ACT_NOTIFY cannot be used for the write syscall",
    );
    refuse(&|p| p.syscalls[1].action = Notify, "listenerPath: must be set, as a rule has the action SCMP_ACT_NOTIFY");
    refuse(&|p| p.listener_metadata = "x".into(), "listenerMetadata: must not be set without listenerPath");
    refuse(
        &|p| p.syscalls[1].args = vec![arg(0, SeccompOp::Eq, 1, 0), arg(7, SeccompOp::Eq, 1, 0)],
        "syscalls[1].args[1].index: 7: must be 0 to 5",
    );
    refuse(
        &|p| p.architectures = vec![X86, S390x],
        "architectures[1]: SCMP_ARCH_S390X: its byte order is not that of SCMP_ARCH_X86_64",
    );
    refuse(
        &|p| p.flags = Some(vec![SeccompFlag::WaitKillableRecv]),
        "flags[0]: SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs listenerPath",
    );
    let many = (0..5000).map(|n| rule(&["read"], Errno, &[arg(0, SeccompOp::Eq, n * 2, 0)])).collect();
    let error = compile(&profile(Allow, many), X86_64).unwrap_err().to_string();
    assert!(error.starts_with("linux.seccomp.syscalls: needs "), "{error}");
    assert!(error.ends_with(" BPF instructions, but the kernel takes 4096"), "{error}");
}

/// Found by fuzzing: the call that stands for another was taken for one newer than the profile, out of order.
#[test]
fn a_call_that_stands_for_another_is_not_newer_than_the_profile() {
    let filter = compile(&profile(Errno, vec![rule(&["recv", "write"], Allow, &[])]), S390x).unwrap();
    let recv = [10, 0, 0, 0, 0, 0];
    assert_eq!(ask(&filter, S390x, "socketcall", recv), ALLOW);
    assert_eq!(ask(&filter, S390x, "write", ANY), ALLOW);
    assert_eq!(ask(&filter, S390x, "socketcall", ANY), EPERM);
    assert_eq!(ask(&filter, S390x, "clone3", ANY), 0x0005_0000 | 38);
}

#[test]
fn flags_are_those_of_seccomp() {
    let flags = |flags: &[SeccompFlag], notify: bool| {
        let mut profile = profile(Allow, vec![rule(&["read"], if notify { Notify } else { Errno }, &[])]);
        profile.listener_path = if notify { "/agent".into() } else { "".into() };
        profile.flags = (!flags.is_empty()).then(|| flags.to_vec());
        compile(&profile, X86_64).unwrap().flags
    };
    assert_eq!(flags(&[], false), 4);
    assert_eq!(flags(&[], true), 4 | 8);
    assert_eq!(flags(&[SeccompFlag::Tsync], false), 0);
    assert_eq!(flags(&[SeccompFlag::Log, SeccompFlag::SpecAllow], false), 2 | 4);
    assert_eq!(flags(&[SeccompFlag::WaitKillableRecv], true), 8 | 32);
    let mut asked_never = profile(Allow, vec![]);
    asked_never.listener_path = "/agent".into();
    assert!(compile(&asked_never, X86_64).unwrap().listener);
}

#[test]
fn what_is_not_understood_is_told() {
    let rules = vec![rule(&["read", "no_such_call"], Errno, &[arg(1, SeccompOp::Eq, 1 << 32, 0)])];
    let mut profile = profile(Allow, rules);
    profile.architectures = vec![X86];
    let warnings = compile(&profile, X86_64).unwrap().warnings;
    assert_eq!(
        warnings,
        [
            "linux.seccomp.syscalls[0].args[0].value: 0x100000000: for SCMP_ARCH_X86 only its low 32 bits count",
            "linux.seccomp.syscalls[0].names[1]: unknown system call \"no_such_call\" ignored",
        ]
    );
}

#[test]
fn rules_about_one_call_are_alternatives() {
    let rules = vec![
        rule(&["read"], Allow, &[arg(0, SeccompOp::Eq, 1, 0), arg(1, SeccompOp::Gt, 1 << 40, 0)]),
        // The same argument twice: one of the conditions is enough.
        rule(&["read"], Trap, &[arg(2, SeccompOp::Eq, 5, 0), arg(2, SeccompOp::Ge, 1 << 33, 0)]),
        rule(&["write"], Allow, &[arg(0, SeccompOp::Eq, 1, 0)]),
        rule(&["write"], Trap, &[]),
        rule(&["write"], Log, &[]),
        // As the default says: it does not stand in the way of the next.
        rule(&["open"], Errno, &[]),
        rule(&["open"], Allow, &[]),
    ];
    let filter = compile(&profile(Errno, rules), X86_64).unwrap();
    let read = |args| ask(&filter, X86_64, "read", args);
    assert_eq!(read([1, (1 << 40) + 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(read([1, 1 << 40, 0, 0, 0, 0]), EPERM);
    assert_eq!(read([1, 1 << 40, 5, 0, 0, 0]), 0x3_0000);
    assert_eq!(read([1, 0, 1 << 33, 0, 0, 0]), 0x3_0000);
    assert_eq!(read([1, 1 << 41, 5, 0, 0, 0]), ALLOW, "the first that matches decides");
    assert_eq!(ask(&filter, X86_64, "write", [1, 0, 0, 0, 0, 0]), 0x3_0000, "one without conditions outranks");
    assert_eq!(ask(&filter, X86_64, "open", ANY), ALLOW);
}

#[test]
fn newer_calls_look_absent_where_the_default_refuses() {
    let rules = || vec![rule(&["close_range", "read"], Allow, &[]), rule(&["faccessat2"], Errno, &[])];
    for (default, hides) in
        [(Errno, true), (KillProcess, true), (Trap, true), (Allow, false), (Log, false), (Trace, false)]
    {
        let filter = compile(&profile(default, rules()), X86_64).unwrap();
        // 439 is named, though to no effect; 440 is not.
        let ask = |nr| evaluate(&filter.program, Abi::of(X86_64).audit, nr, 0, ANY);
        assert_ne!(ask(439), ENOSYS, "{default:?}");
        assert_eq!(ask(440) == ENOSYS, hides, "{default:?}");
        assert_eq!(ask(0x3fff_ffff) == ENOSYS, hides, "{default:?}");
        assert_ne!(ask(u32::MAX), ENOSYS, "a skipped call, {default:?}");
        assert_eq!(ask(0x4000_0000), KILL_THREAD, "x32, {default:?}");
    }
}

#[test]
fn each_architecture_has_its_newest_call() {
    let mut both = profile(Errno, vec![rule(&["open", "set_tls"], Allow, &[])]);
    both.architectures = vec![Arm];
    let filter = compile(&both, Aarch64).unwrap();
    let arm = |nr| evaluate(&filter.program, Abi::of(Arm).audit, nr, 0, ANY);
    assert_eq!([5, 4, 6, 0xe_ffff].map(arm), [ALLOW, EPERM, ENOSYS, ENOSYS]);
    assert_eq!([0xf_0000, 0xf_0004, 0xf_0005, 0xf_0006].map(arm), [EPERM, EPERM, ALLOW, EPERM], "its own calls");
    // aarch64 has neither: nothing to go by.
    assert_eq!(evaluate(&filter.program, Abi::of(Aarch64).audit, 1000, 0, ANY), EPERM);
    assert_eq!(evaluate(&filter.program, Abi::of(X86_64).audit, 0, 0, ANY), KILL_THREAD);

    let mut x32 = profile(Errno, vec![rule(&["open", "getpid"], Allow, &[])]);
    x32.architectures = vec![X32];
    let filter = compile(&x32, X86_64).unwrap();
    let x86_64 = |nr| evaluate(&filter.program, Abi::of(X86_64).audit, nr, 0, ANY);
    assert_eq!([2, 40, 3, 0x3fff_ffff].map(x86_64), [ALLOW, ENOSYS, EPERM, ENOSYS]);
    assert_eq!([0x4000_0002, 0x4000_0028, 0x4000_0003, u32::MAX].map(x86_64), [ALLOW, ENOSYS, EPERM, ENOSYS]);
}

#[test]
fn on_s390_the_call_that_stands_for_unknown_ones_looks_absent() {
    let filter = compile(&profile(Errno, vec![rule(&["read"], Allow, &[])]), S390x).unwrap();
    assert_eq!(
        [0, 1, 3, 4].map(|nr| evaluate(&filter.program, Abi::of(S390x).audit, nr, 0, ANY)),
        [ENOSYS, EPERM, ALLOW, ENOSYS]
    );
}

#[test]
fn multiplexed_calls_are_found_both_ways() {
    let rules = vec![rule(&["socket"], Allow, &[arg(0, SeccompOp::Ne, 40, 0)]), rule(&["shmat"], Trap, &[])];
    let mut profile = profile(Errno, rules);
    profile.architectures = vec![X86];
    let filter = compile(&profile, X86_64).unwrap();
    assert_eq!(ask(&filter, X86_64, "socket", [40, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&filter, X86, "socket", [40, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&filter, X86, "socket", [2, 0, 0, 0, 0, 0]), ALLOW);
    // socketcall(SYS_SOCKET, arguments): what is in memory can't be seen.
    assert_eq!(ask(&filter, X86, "socketcall", [1, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask(&filter, X86, "socketcall", [2, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask(&filter, X86, "ipc", [21, 0, 0, 0, 0, 0]), 0x3_0000);
    assert_eq!(ask(&filter, X86, "ipc", [22, 0, 0, 0, 0, 0]), EPERM);
}

/// A cut through the table by which each call gets a condition of its own needs jumps beyond 255 instructions.
#[test]
fn long_programs_jump_far() {
    let names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    let rules = names.iter().enumerate().map(|(i, name)| rule(&[name], Allow, &[arg(3, SeccompOp::Eq, i as u64, 0)]));
    let mut profile = profile(Errno, rules.collect());
    profile.architectures = vec![X86];
    let filter = compile(&profile, X86_64).unwrap();
    assert!(filter.program.len() > 2000, "{}", filter.program.len());
    for arch in [X86_64, X86] {
        for (i, name) in names.iter().enumerate().filter(|(_, name)| number(arch, name).is_some()) {
            let i = i as u64;
            assert_eq!(ask(&filter, arch, name, [0, 0, 0, i, 0, 0]), ALLOW, "{name} {arch:?}");
            assert_eq!(ask(&filter, arch, name, [0, 0, 0, i + 1, 0, 0]), EPERM, "{name} {arch:?}");
        }
    }
}

#[test]
fn tables_are_sorted_and_multiplexers_where_they_are_expected() {
    assert!(ROWS.is_sorted_by(|a, b| a.name < b.name));
    for &arch in SeccompArch::ALL {
        let abi = Abi::of(arch);
        if abi.multiplexes {
            assert_eq!(number(arch, "socketcall"), Some(abi.base + 102), "{arch:?}");
            assert_eq!(number(arch, "ipc"), Some(abi.base + 117), "{arch:?}");
        }
    }
}

#[test]
fn the_default_profile_confines() {
    let filter = compile(&default_profile(&[]), crate::native_arch()).unwrap();
    assert_eq!(filter.warnings, [""; 0]);
    let native = crate::native_arch();
    let ask = |name, args| ask(&filter, native, name, args);
    for name in ["read", "execve", "openat", "mmap", "futex", "ptrace", "socketpair", "memfd_create", "rseq", "statx"] {
        assert_eq!(ask(name, ANY), ALLOW, "{name}");
    }
    for name in ["mount", "umount2", "bpf", "keyctl", "kexec_load", "init_module", "userfaultfd", "perf_event_open"] {
        assert_eq!(ask(name, ANY), EPERM, "{name}");
    }
    for name in ["unshare", "setns", "io_uring_setup", "reboot", "open_by_handle_at", "fsopen", "move_mount"] {
        assert_eq!(ask(name, ANY), EPERM, "{name}");
    }
    assert_eq!(ask("clone3", ANY), ENOSYS);
    assert_eq!(ask("clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask("clone", [0x1000_0011, 0, 0, 0, 0, 0]), EPERM);
    assert_eq!(ask("personality", [8, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask("personality", [0x40_0000, 0, 0, 0, 0, 0]), EPERM);
    for (family, verdict) in [(1, ALLOW), (10, ALLOW), (38, EPERM), (39, ALLOW), (40, EPERM), (41, ALLOW)] {
        assert_eq!(ask("socket", [family, 0, 0, 0, 0, 0]), verdict, "address family {family}");
    }

    let filter = compile(&default_profile(&["CAP_SYS_ADMIN", "CAP_SYS_BOOT"]), native).unwrap();
    for name in ["mount", "unshare", "clone3", "reboot"] {
        assert_eq!(super::ask(&filter, native, name, ANY), ALLOW, "{name}");
    }
    assert_eq!(super::ask(&filter, native, "init_module", ANY), EPERM);
}

/// The kernel's own checks (bpf_check_classic, seccomp_check_filter).
fn check(program: &[Insn]) {
    assert!((1..=crate::MAX_INSNS).contains(&program.len()));
    for (at, insn) in program.iter().enumerate() {
        let left = program.len() - at - 1;
        match insn.code {
            JEQ | JGE | JSET => assert!(usize::from(insn.jt.max(insn.jf)) < left),
            JUMP => assert!((insn.k as usize) < left),
            _ => {}
        }
    }
    assert_eq!(program[program.len() - 1].code, RETURN);
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::default() })]

    /// Every comparison with every value, next to the value and far from it, at both widths.
    #[test]
    fn comparisons_are_those_of_numbers(
        value in prop_oneof![
            any::<u64>(), 0..3u64, Just(u64::MAX), (0..3u64).prop_map(|n| n << 32), 0xffff_fffe..0x1_0000_0002u64
        ],
        two in any::<u64>(),
        other in any::<u64>(),
        index in 0..6u32,
    ) {
        for &op in SeccompOp::ALL {
            let mut profile = profile(Errno, vec![rule(&["read"], Allow, &[arg(index, op, value, two)])]);
            profile.architectures = vec![X86];
            let filter = compile(&profile, X86_64).unwrap();
            check(&filter.program);
            let near = [value, value.wrapping_add(1), value.wrapping_sub(1), value ^ 1 << 32, value << 32, value >> 32];
            for actual in near.into_iter().chain([other, two & value, two | !value, 0, u64::MAX]) {
                for (arch, width) in [(X86_64, u64::MAX), (X86, 0xffff_ffff)] {
                    let mut args = ANY;
                    args[index as usize] = actual;
                    let (left, right) = (actual & width, value & width);
                    let holds = match op {
                        SeccompOp::Ne => left != right,
                        SeccompOp::Lt => left < right,
                        SeccompOp::Le => left <= right,
                        SeccompOp::Eq => left == right,
                        SeccompOp::Ge => left >= right,
                        SeccompOp::Gt => left > right,
                        SeccompOp::MaskedEq => left & right == two & right,
                    };
                    let expected = if holds { ALLOW } else { EPERM };
                    prop_assert_eq!(ask(&filter, arch, "read", args), expected, "{:?} {:x} {:x}", op, actual, value);
                }
            }
        }
    }
}

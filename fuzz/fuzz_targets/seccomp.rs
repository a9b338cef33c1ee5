//! Any profile either is refused by field or becomes a program that the kernel would take.
#![no_main]

use hull_seccomp::{MAX_INSNS, compile, evaluate};
use hull_spec::{Seccomp, SeccompArch};
use libfuzzer_sys::fuzz_target;

/// `AUDIT_ARCH_*` of x86_64, i386, aarch64 and s390x.
const ARCHS: [u32; 4] = [0xc000_003e, 0x4000_0003, 0xc000_00b7, 0x8000_0016];

fuzz_target!(|data: &[u8]| {
    let Ok(profile) = serde_json::from_slice::<Seccomp>(data) else { return };
    for native in [SeccompArch::X86_64, SeccompArch::Aarch64, SeccompArch::S390x] {
        let filter = match compile(&profile, native) {
            Ok(filter) => filter,
            Err(error) => {
                assert!(error.to_string().starts_with("linux.seccomp."));
                continue;
            }
        };
        let program = &filter.program;
        assert!(!program.is_empty() && program.len() <= MAX_INSNS);
        for (at, insn) in program.iter().enumerate() {
            let furthest = match insn.code {
                0x05 => insn.k as usize,
                0x15 | 0x35 | 0x45 => usize::from(insn.jt.max(insn.jf)),
                0x20 | 0x54 => 0,
                0x06 => continue,
                other => panic!("opcode {other:#x} at {at}"),
            };
            assert!(at + 1 + furthest < program.len(), "jump off the end at {at}");
        }
        // Numbers and arguments from the input, so that it can steer into every branch.
        for words in data.chunks(12).take(64) {
            let mut bytes = [0; 12];
            bytes[..words.len()].copy_from_slice(words);
            let nr = u32::from_le_bytes([bytes[0], bytes[1] & 3, 0, bytes[3] & 0x40]);
            let arg = u64::from_le_bytes(bytes[4..].try_into().unwrap());
            for arch in ARCHS {
                evaluate(program, arch, nr, 0, [arg; 6]);
            }
        }
    }
});

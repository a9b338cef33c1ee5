//! What runs before the C library: executing the program again from a read-only view of its own file.
//!
//! A container can reach the file of the process that enters it (CVE-2019-5736), so commands that make such a process
//! execute hull a second time, from a detached read-only mount of its file. The first execution has nothing else to
//! do; yet by the time `main` is reached it has asked the processor for its features (slow in a virtual machine),
//! relocated itself and set up the C library, a tenth of the time that a container takes to start. So the ELF entry
//! point is `hull_start` (see the build script of the CLI), which does only this and goes on to the C library's
//! `_start` where there is nothing to do or anything fails; `seal` in the CLI then has another way, or refuses.
//!
//! No code here may use what does not exist yet: relocations (no tables of pointers, so no lists of strings), the C
//! library (no memcmp either, hence [`same`]), thread-local variables, the heap, panics. An unoptimised build does, so
//! it begins at `_start` as other programs do.

use core::arch::{asm, global_asm};

use crate::mount::{MountAttr, OPEN_TREE_CLONE, attr};

// The stack pointer tells where arguments and environment are, and is left as it was found; so is rdx, which has the
// address of a function for the C library.
global_asm!(
    ".globl hull_start",
    ".type hull_start, @function",
    "hull_start:",
    "xor ebp, ebp",
    "mov rdi, rsp",
    "push rdx",
    "sub rsp, 8",
    "call {early}",
    "add rsp, 8",
    "pop rdx",
    "jmp _start",
    ".size hull_start, . - hull_start",
    early = sym early,
);

/// Whether `arg`, ended by a zero byte, is `word`, which has one too.
///
/// # Safety
/// `arg` must point at a zero-ended string.
#[inline(always)]
unsafe fn same<const N: usize>(arg: *const u8, word: &[u8; N]) -> bool {
    let mut i = 0;
    while i < N {
        // SAFETY: all bytes before this one were equal to those of `word` and so not the end of `arg`. The read is
        // volatile lest the loop be made a call of memcmp, which the C library has not chosen yet.
        if unsafe { arg.add(i).read_volatile() } != word[i] {
            return false;
        }
        i += 1;
    }
    true
}

/// A system call without the C library.
///
/// # Safety
/// As of the system call.
#[inline(always)]
unsafe fn call(number: libc::c_long, args: [usize; 5]) -> isize {
    let result: isize;
    // SAFETY: the kernel's calling convention; it changes rax, rcx and r11 alone.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") args[0], in("rsi") args[1], in("rdx") args[2], in("r10") args[3], in("r8") args[4],
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// Executes the program again if it is to make a process in a container. Returns where it need not, and on failure.
///
/// # Safety
/// `stack` must be the stack pointer as the kernel set it: argc, argv and envp, each list ended by a null pointer.
unsafe extern "C" fn early(stack: *const usize) {
    const CWD: usize = libc::AT_FDCWD as usize;
    const EMPTY_PATH: usize = libc::AT_EMPTY_PATH as usize;
    let path = c"/proc/self/exe".as_ptr() as usize;
    // SAFETY: as the kernel laid it out; the descriptors used are those that these calls return, and the structures
    // are as large as the kernel writes or reads.
    unsafe {
        let argc = *stack;
        let argv = stack.add(1);
        let envp = argv.add(argc + 1);
        let mut wanted = false;
        let mut i = 1;
        while i < argc {
            let arg = *argv.add(i) as *const u8;
            // Where such a word is not the command, little is lost.
            wanted |= same(arg, b"create\0") || same(arg, b"run\0") || same(arg, b"exec\0") || same(arg, b"do\0");
            wanted |= same(arg, b"mounts\0");
            i += 1;
        }
        if !wanted {
            return;
        }
        // struct statfs of x86-64: fifteen words, of which this one has the flags of the mount.
        const F_FLAGS: usize = 10;
        let mut stat = core::mem::MaybeUninit::<[usize; 15]>::uninit();
        if call(libc::SYS_statfs, [path, stat.as_mut_ptr() as usize, 0, 0, 0]) < 0 {
            return;
        }
        if (*stat.as_ptr())[F_FLAGS] & libc::ST_RDONLY as usize != 0 {
            return;
        }
        let flags = OPEN_TREE_CLONE as usize | libc::O_CLOEXEC as usize;
        let tree = call(libc::SYS_open_tree, [CWD, path, flags, 0, 0]);
        if tree < 0 {
            return;
        }
        let tree = tree as usize;
        let change = MountAttr { attr_set: attr::RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
        let empty = c"".as_ptr() as usize;
        let size = size_of::<MountAttr>();
        let set = [tree, empty, EMPTY_PATH, &raw const change as usize, size];
        if call(libc::SYS_mount_setattr, set) == 0 {
            call(libc::SYS_execveat, [tree, empty, argv as usize, envp as usize, EMPTY_PATH]);
        }
        call(libc::SYS_close, [tree, 0, 0, 0, 0]);
    }
}

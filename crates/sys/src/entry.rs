//! The program's first steps, in place of the standard library's.
//!
//! Rust's own start of a program reads /proc/self/maps, sets up an alternate stack and handlers for stack overflows,
//! all of which exec throws away again; hull executes itself a second time on every start of a container (see the
//! CLI's `seal`), so that it would be paid twice. Owns what has to be kept of it; decides nothing.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// Defines the program's `main`, which runs `$run` and ends with its exit code.
///
/// The standard library finds arguments and environment without its own start (glibc passes them to initialisers).
#[macro_export]
macro_rules! entry {
    ($run:path) => {
        /// Called by the C library.
        // SAFETY: the one symbol of this name, with the signature that the C library calls.
        #[unsafe(no_mangle)]
        pub extern "C" fn main(_argc: std::ffi::c_int, _argv: *const *const std::ffi::c_char) -> std::ffi::c_int {
            $crate::entry::prepare();
            let code: i32 = $run();
            // Flushes standard output.
            std::process::exit(code)
        }
    };
}

/// Makes sure that 0, 1 and 2 are open, lest a file of ours be taken for standard output, and that a reader which
/// goes away is an error of write and not the end of the program.
pub fn prepare() {
    for fd in 0..3 {
        // SAFETY: only asks about the number.
        let fd = unsafe { std::os::fd::BorrowedFd::borrow_raw(fd) };
        if rustix::io::fcntl_getfd(fd) == Err(Errno::BADF) {
            // The lowest free number is this one. Without /dev/null there is nothing better to do.
            if let Ok(null) = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty()) {
                std::mem::forget(null);
            }
        }
    }
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}

//! Session keyrings (keyctl(2)).

use std::ffi::CStr;
use std::io;

use crate::check;

/// Joins a new session keyring of that name and lets its owner's user id search it.
///
/// # Errors
/// ENOSYS without key support; EDQUOT at the user's key quota.
pub fn new_session_keyring(name: &CStr) -> io::Result<()> {
    const JOIN_SESSION_KEYRING: i32 = 1;
    const SETPERM: i32 = 5;
    const DESCRIBE: i32 = 6;
    const USER_SEARCH: u32 = 0x0008_0000;
    // SAFETY: name is a C string that outlives the call.
    let id = check(unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, name.as_ptr()) })?;
    let mut text = [0u8; 256];
    // SAFETY: the pointer and length describe text.
    let n = check(unsafe { libc::syscall(libc::SYS_keyctl, DESCRIBE, id, text.as_mut_ptr(), text.len()) })? as usize;
    // "keyring;uid;gid;perm;name", perm in hexadecimal.
    let text = String::from_utf8_lossy(&text[..n.min(text.len())]);
    let Some(perm) = text.split(';').nth(3).and_then(|p| u32::from_str_radix(p, 16).ok()) else { return Ok(()) };
    // SAFETY: no memory is passed.
    check(unsafe { libc::syscall(libc::SYS_keyctl, SETPERM, id, perm | USER_SEARCH) }).map(drop)
}

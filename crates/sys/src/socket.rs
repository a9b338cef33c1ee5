//! Unix sockets that carry descriptors beside messages.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

use crate::{check, retry};

/// Most descriptors that one message carries here.
const MAX_FDS: usize = 8;
const CONTROL: usize = 64;

/// The control buffer of a message, aligned as cmsghdr wants.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// A pair of connected sockets that keep message boundaries (SOCK_SEQPACKET).
///
/// # Errors
/// EMFILE and the like.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the kernel writes two descriptors into fds.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) }.into())?;
    // SAFETY: both were just made.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// Sends one message, with descriptors.
///
/// # Errors
/// EPIPE where the other end is closed (no signal is raised); EMSGSIZE.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<usize> {
    assert!(fds.len() <= MAX_FDS, "at most {MAX_FDS} descriptors a message");
    let mut control = Control([0; CONTROL]);
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data for which zeroes are valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    if !fds.is_empty() {
        let raw: Vec<RawFd> = fds.iter().map(|f| f.as_raw_fd()).collect();
        let len = size_of_val(raw.as_slice());
        msg.msg_control = (&raw mut control).cast();
        // SAFETY: CMSG_* compute addresses inside control, which is large enough for MAX_FDS descriptors and
        // aligned for cmsghdr.
        unsafe {
            msg.msg_controllen = libc::CMSG_SPACE(len as u32) as usize;
            let c = libc::CMSG_FIRSTHDR(&raw const msg);
            (*c).cmsg_level = libc::SOL_SOCKET;
            (*c).cmsg_type = libc::SCM_RIGHTS;
            (*c).cmsg_len = libc::CMSG_LEN(len as u32) as usize;
            std::ptr::copy_nonoverlapping(raw.as_ptr().cast(), libc::CMSG_DATA(c), len);
        }
    }
    // SAFETY: msg points at iov and control, which outlive the call.
    retry(|| check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const msg, libc::MSG_NOSIGNAL) } as libc::c_long))
        .map(|n| n as usize)
}

/// Receives one message into `bytes`; its length (0 at the end) and its descriptors.
///
/// # Errors
/// ECONNRESET and the like.
pub fn receive(socket: BorrowedFd<'_>, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut control = Control([0; CONTROL]);
    let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: msghdr is plain data for which zeroes are valid.
    let mut msg: libc::msghdr = unsafe { std::mem::zeroed() };
    msg.msg_iov = &raw mut iov;
    msg.msg_iovlen = 1;
    msg.msg_control = (&raw mut control).cast();
    msg.msg_controllen = CONTROL;
    let n = retry(|| {
        // SAFETY: msg points at iov and control, which outlive the call.
        check(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut msg, libc::MSG_CMSG_CLOEXEC) } as libc::c_long)
    })?;
    let mut fds = Vec::new();
    // SAFETY: CMSG_* walk the control buffer within the length that the kernel set; SCM_RIGHTS holds descriptors
    // that it just made for us.
    unsafe {
        let mut c = libc::CMSG_FIRSTHDR(&raw const msg);
        while !c.is_null() {
            if (*c).cmsg_level == libc::SOL_SOCKET && (*c).cmsg_type == libc::SCM_RIGHTS {
                let count = ((*c).cmsg_len - libc::CMSG_LEN(0) as usize) / size_of::<RawFd>();
                for i in 0..count {
                    let fd = libc::CMSG_DATA(c).cast::<RawFd>().add(i).read_unaligned();
                    fds.push(OwnedFd::from_raw_fd(fd));
                }
            }
            c = libc::CMSG_NXTHDR(&raw const msg, c);
        }
    }
    Ok((n as usize, fds))
}

fn address(path: &OsStr) -> io::Result<libc::sockaddr_un> {
    // SAFETY: sockaddr_un is plain data for which zeroes are valid.
    let mut addr: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    addr.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_bytes();
    if bytes.len() >= addr.sun_path.len() {
        return Err(io::Error::from_raw_os_error(libc::ENAMETOOLONG));
    }
    for (to, from) in addr.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(addr)
}

/// The path of `name` in `dir` by way of the caller's own descriptor table, short enough for any socket address.
fn short_path(dir: impl AsFd, name: &str) -> String {
    format!("/proc/self/fd/{}/{name}", dir.as_fd().as_raw_fd())
}

fn stream() -> io::Result<OwnedFd> {
    // SAFETY: no memory is passed.
    let fd = check(unsafe { libc::socket(libc::AF_UNIX, libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: the kernel just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Listens on a new socket `name` in the directory `dir`; messages keep their boundaries.
///
/// # Errors
/// EADDRINUSE where the name exists.
pub fn listen_at(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let addr = address(OsStr::new(&short_path(dir, name)))?;
    let socket = stream()?;
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: addr is a whole sockaddr_un.
    check(unsafe { libc::bind(socket.as_raw_fd(), (&raw const addr).cast(), len) }.into())?;
    // SAFETY: no memory is passed.
    check(unsafe { libc::listen(socket.as_raw_fd(), 8) }.into())?;
    Ok(socket)
}

/// Connects to the socket `name` in the directory `dir`, made by [`listen_at`].
///
/// # Errors
/// ENOENT, ECONNREFUSED.
pub fn connect_at(dir: impl AsFd, name: &str) -> io::Result<OwnedFd> {
    let addr = address(OsStr::new(&short_path(dir, name)))?;
    let socket = stream()?;
    let len = size_of::<libc::sockaddr_un>() as libc::socklen_t;
    // SAFETY: addr is a whole sockaddr_un.
    check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const addr).cast(), len) }.into())?;
    Ok(socket)
}

/// Waits for one connection.
///
/// # Errors
/// Those of accept4(2).
pub fn accept(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = retry(|| {
        // SAFETY: null addresses are allowed.
        check(unsafe {
            libc::accept4(socket.as_raw_fd(), std::ptr::null_mut(), std::ptr::null_mut(), libc::SOCK_CLOEXEC)
        }.into())
    })?;
    // SAFETY: the kernel just made this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

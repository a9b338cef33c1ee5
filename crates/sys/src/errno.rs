//! Names of error numbers, since an operator searches for EPERM, not for its translation.

/// The symbolic name, such as "EPERM"; "errno" for those that no call in hull returns.
pub fn name(errno: i32) -> &'static str {
    macro_rules! table {
        ($($name:ident)*) => { match errno { $(libc::$name => stringify!($name),)* _ => "errno" } };
    }
    table!(EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY
        EEXIST EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK
        EPIPE EDOM ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP EUSERS ENOTSOCK EMSGSIZE
        EPROTONOSUPPORT EOPNOTSUPP EAFNOSUPPORT EADDRINUSE EADDRNOTAVAIL ENETDOWN ECONNRESET ENOTCONN ETIMEDOUT
        ECONNREFUSED EALREADY EINPROGRESS ESTALE EDQUOT ENOKEY EKEYEXPIRED EKEYREVOKED EOVERFLOW EBADMSG ENODATA
        ECANCELED EHOSTUNREACH ELIBBAD ENOMEDIUM EREMOTEIO EBADE)
}

/// What the C library says of it, beginning in lower case: "operation not permitted".
pub fn describe(errno: i32) -> String {
    let text = std::io::Error::from_raw_os_error(errno).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

//! Keeping hull's executable out of reach of containers (CVE-2019-5736).
//!
//! A container whose program is, or is interpreted by, /proc/self/exe executes hull's own file inside, from where it
//! could be opened and written. So commands that make a process in a container first execute hull again from a
//! read-only view of its file: a detached read-only mount, or where that may not be made, a sealed copy in memory.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use hull_runtime::{Context as _, Error, Result};
use hull_sys::{mount, sealed};
use rustix::fs::{Mode, OFlags};

/// Returns if the executable is out of reach already; else executes it anew and does not return.
pub(crate) fn protect() -> Result<()> {
    let doing = || "cannot protect hull's own executable";
    let own = rustix::fs::open("/proc/self/exe", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).what(doing)?;
    let read_only = mount::flags_of(&own).what(doing)? & libc::ST_RDONLY != 0;
    if read_only || rustix::fs::fcntl_get_seals(&own).is_ok_and(|s| s.contains(sealed::SEALS)) {
        return Ok(());
    }
    let sealed = match sealed::view(c"/proc/self/exe") {
        Ok(fd) => fd,
        Err(_) => sealed::copy(c"hull", std::fs::File::from(own)).what(doing)?,
    };
    let strings = |list: Vec<Vec<u8>>| -> Result<hull_sys::exec::Strings> {
        let list: std::result::Result<Vec<_>, _> = list.into_iter().map(CString::new).collect();
        Ok(hull_sys::exec::Strings::new(list.map_err(|_| Error::new("an argument has a NUL byte"))?))
    };
    let args = strings(std::env::args_os().map(OsStringExt::into_vec).collect())?;
    let env = strings(
        std::env::vars_os()
            .map(|(k, v)| [k.into_vec(), v.into_vec()].join(&b'='))
            .collect(),
    )?;
    Err(hull_sys::exec::execveat(Some(sealed.as_fd()), c"", &args, &env)).what(doing)
}

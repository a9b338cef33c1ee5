//! Guests' engines and compilers: finding the executables, and giving engines what they boot with.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use hull_guest::Guest;
use hull_jail::process::ProcessPlan;
use hull_jail::program::{Engine, GivenModule};
use hull_spec::Spec;
use hull_sys::sealed;

use crate::{Context as _, Error, Result, Runtime};

/// What runs in a container, for the answer to a process that has to be given what its engine boots with.
#[derive(Clone, Copy)]
pub(crate) struct Booted<'a> {
    pub(crate) guest: &'a dyn Guest,
    pub(crate) spec: &'a Spec,
}

/// An executable of a guest's on this host.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
}

/// A module that is no file of the container, such as one of an artifact; `process.args` begins with a name for it.
#[derive(Debug)]
pub struct Module {
    file: OwnedFd,
    function: String,
}

impl Module {
    /// A module with these bytes. The function is called in place of the usual entry point, unless it is empty.
    ///
    /// # Errors
    /// Where reading fails, or there is no memory for it.
    pub fn new(bytes: impl std::io::Read, function: impl Into<String>) -> Result<Module> {
        let file = sealed::data(c"module", bytes).map_err(|e| match e.raw_os_error() {
            Some(libc::EFBIG) => Error::of(e, "cannot copy the module (RLIMIT_FSIZE is smaller)"),
            Some(_) => Error::of(e, "cannot copy the module"),
            None => Error::new(e.to_string()),
        })?;
        Ok(Module { file, function: function.into() })
    }

    fn given(&self) -> Result<GivenModule> {
        let file = self.file.try_clone().what(|| "cannot hand out the module")?;
        Ok(GivenModule { file, function: self.function.clone() })
    }
}

impl Runtime {
    /// Names of the isolations that can be had here: those of this build that have installed what they need.
    pub fn isolations(&self) -> Vec<&'static str> {
        let there = |guest: &&dyn Guest| {
            let mut programs = guest.engine().into_iter().chain(guest.compiler());
            programs.all(|program| self.installed(guest.name(), program).is_ok())
        };
        hull_guest::built().filter(there).map(|g| g.name()).collect()
    }

    /// Has a process run by the guest's engine, if it has one. The engine needs no right but that of config.json to
    /// bind low ports: it gives what it has to the module by way of WASI alone.
    pub(crate) fn engage(
        &self,
        guest: &dyn Guest,
        spec: &Spec,
        plan: &mut ProcessPlan,
        module: Option<&Module>,
    ) -> Result<()> {
        guest.check(spec).map_err(|e| Error::new(e.to_string()))?;
        let Some(program) = guest.engine() else {
            return match module {
                None => Ok(()),
                Some(_) => Err(Error::new(format!("isolation \"{}\" runs no module", guest.name()))),
            };
        };
        let installed = self.installed(guest.name(), program)?;
        let module = module.map(Module::given).transpose()?;
        let name = CString::new(program).map_err(|_| Error::new("a NUL byte"))?;
        let file = sealed::read_only(&name, installed.file.as_fd()).what(|| format!("cannot open \"{program}\""))?;
        plan.engine = Some(Engine { file, name, module });
        plan.caps = plan.caps.map(|sets| sets.only(hull_jail::caps::NET_BIND_SERVICE));
        plan.no_new_privs = true;
        Ok(())
    }

    /// Answers for an engine's process: the boot message, and the module, a sealed copy, as code.
    pub(crate) fn boot(&self, booted: &Booted<'_>, module: OwnedFd, name: &str, function: &str) -> Result<[OwnedFd; 2]> {
        let compiler = booted.guest.compiler().ok_or_else(|| Error::new("a process without a compiler asked for one"))?;
        let compiler = self.installed(booted.guest.name(), compiler)?;
        if !sealed::is_sealed(module.as_fd()).unwrap_or(false) {
            return Err(Error::new(format!("module \"{name}\": it is no sealed copy")));
        }
        let settings = booted.guest.settings(booted.spec);
        let code = self.compiled(&compiler, &settings, module.into()).map_err(|e| e.during(&format!("module \"{name}\"")))?;
        let text = booted.guest.message(booted.spec, function);
        let message = sealed::data(c"boot", text.as_bytes()).what(|| "cannot write the boot message")?;
        let code = sealed::read_only(c"code", code.as_fd()).what(|| "cannot hand out the code")?;
        Ok([message, code])
    }

    fn installed(&self, isolation: &str, program: &str) -> Result<Installed> {
        let usual = if self.guests.is_empty() { usual_places(self.called.as_deref()) } else { Vec::new() };
        let dirs = || self.guests.iter().chain(&usual);
        for dir in dirs() {
            let path = dir.join(program);
            let Ok(file) = File::open(&path) else { continue };
            // It runs other people's code: nobody but root and the caller may have a hand in it.
            let ours = |meta: &std::fs::Metadata| {
                [0, rustix::process::geteuid().as_raw()].contains(&meta.uid()) && meta.mode() & 0o022 == 0
            };
            let doing = || format!("cannot examine \"{}\"", path.display());
            let (meta, around) = (file.metadata().what(doing)?, std::fs::metadata(dir).what(doing)?);
            if !meta.is_file() || !ours(&meta) || !ours(&around) {
                let problem = "must be a file of root's or the caller's that nobody else can write to, in a directory like that";
                return Err(Error::new(format!("\"{}\" {problem}", path.display())));
            }
            if !is_static(&file).what(doing)? {
                // It would take its libraries from the container.
                return Err(Error::new(format!("\"{}\" must be a static executable", path.display())));
            }
            return Ok(Installed { path, file });
        }
        let dirs: Vec<_> = dirs().map(|d| d.display().to_string()).collect();
        Err(Error::new(format!("isolation \"{isolation}\" is not installed: there is no \"{program}\" in {}", dirs.join(", "))))
    }
}

/// Whether a file is an executable that asks for no interpreter (elf(5), PT_INTERP).
fn is_static(file: &File) -> std::io::Result<bool> {
    const INTERPRETER: u32 = 3;
    const ENTRY: usize = 56;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0)?;
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |n, b| n << 8 | u64::from(*b));
    // 64 bits, lowest byte first: all that an engine is built for.
    if !head.starts_with(b"\x7fELF\x02\x01") || number(&head[54..56]) != ENTRY as u64 {
        return Ok(false);
    }
    let mut table = vec![0; number(&head[56..58]) as usize * ENTRY];
    file.read_exact_at(&mut table, number(&head[32..40]))?;
    Ok(!table.chunks(ENTRY).any(|entry| number(&entry[..4]) == u64::from(INTERPRETER)))
}

/// Where engines are looked for: beside the running program, then where packages put what is no command.
fn usual_places(called: Option<&Path>) -> Vec<PathBuf> {
    let packaged = ["/usr/local/libexec/hull", "/usr/libexec/hull"].map(PathBuf::from);
    called.and_then(directory_of).into_iter().chain(packaged).collect()
}

/// The directory of the program's file, by the name that it was called by: the file itself, executed anew, tells none.
fn directory_of(called: &Path) -> Option<PathBuf> {
    if called.is_absolute() {
        return Some(called.canonicalize().ok()?.parent()?.to_owned());
    }
    let search = std::env::var_os("PATH")?;
    let found = std::env::split_paths(&search).filter(|d| d.is_absolute()).map(|d| d.join(called)).find(|p| p.is_file())?;
    Some(found.canonicalize().ok()?.parent()?.to_owned())
}

/// The name that this program was called by, as long as a relative one means anything: a bare one, to be found in
/// $PATH, or an absolute one.
pub(crate) fn called() -> Option<PathBuf> {
    let name = PathBuf::from(std::env::args_os().next()?);
    if name.is_absolute() || name.components().count() == 1 { Some(name) } else { std::path::absolute(name).ok() }
}

/// Borrowed, to be sent.
pub(crate) fn both(fds: &[OwnedFd; 2]) -> [std::os::fd::BorrowedFd<'_>; 2] {
    fds.each_ref().map(AsFd::as_fd)
}

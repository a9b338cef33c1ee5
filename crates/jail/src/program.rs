//! What the jail's last step executes: a file of the container, or a guest engine that runs one.
//!
//! Owns the search for the file, by the rights that the workload will have, and the exec. What a module is turned into
//! before an engine gets it is the parent's, who is asked for it by descriptor.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, Mode, OFlags};
use rustix::io::{Errno, FdFlags};

use hull_sys::creds::CapSets;

use crate::error::{Context as _, Error, Result};
use crate::process::{ProcessPlan, Strings, with_effective};
use crate::root::{Root, kind_of};
use crate::sync::{Ask, Sync};

/// Modules that are larger than any real one are refused before they fill memory.
pub const LARGEST_MODULE: u64 = 1 << 28;

/// A guest engine, to be executed in place of the program.
#[derive(Debug)]
pub struct Engine {
    /// Its executable, which nobody in the container can write to.
    pub file: OwnedFd,
    /// Its name.
    pub name: CString,
    /// The module to be run, where it is no file of the container.
    pub module: Option<GivenModule>,
}

/// A module that the caller holds. What `process.args` begins with is but its name.
#[derive(Debug)]
pub struct GivenModule {
    /// A sealed copy.
    pub file: OwnedFd,
    /// The function that is to be called, if not the usual one.
    pub function: String,
}

impl Engine {
    /// The descriptors that its process needs.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        [self.file.as_raw_fd()].into_iter().chain(self.module.iter().map(|m| m.file.as_raw_fd()))
    }
}

/// A program found, to be executed.
#[derive(Debug)]
pub(crate) enum Program {
    /// By the kernel.
    File(CString),
    /// By an engine that has yet to be given what the module was turned into.
    Module {
        /// Open for reading; for the parent, a sealed copy is made of it.
        file: OwnedFd,
        /// As process.args has it.
        name: String,
        /// The function that is to be called, if not the usual one.
        function: String,
    },
    /// By an engine, with descriptors for it: the boot message and what goes with it.
    Engine(CString, Vec<OwnedFd>),
}

impl Program {
    /// Has the parent turn a module into what the engine takes.
    pub(crate) fn boot(self, plan: &ProcessPlan, sync: &Sync) -> Result<Program> {
        let Program::Module { file, name, function } = self else { return Ok(self) };
        let copy = seal(file.into()).map_err(|e| e.during(&format!("module \"{name}\"")))?;
        sync.ask(&Ask::Module(copy, name, function))?;
        let given = sync.answer()?.ok_or_else(|| Error::new("the runtime is gone"))?;
        let engine = plan.engine.as_ref().map(|e| e.name.clone()).unwrap_or_default();
        Ok(Program::Engine(engine, given))
    }

    /// The arguments of what is executed, those of config.json given.
    pub(crate) fn arguments(&self, args: &[CString]) -> Vec<CString> {
        let Program::Engine(name, given) = self else { return args.to_vec() };
        let numbers = given.iter().filter_map(|fd| CString::new(fd.as_raw_fd().to_string()).ok());
        [name.clone(), c"run".to_owned()].into_iter().chain(numbers).chain(args.iter().cloned()).collect()
    }

    /// Has the engine inherit its descriptors, and find signals that came before it did.
    pub(crate) fn keep_open(&self) -> Result<()> {
        let Program::Engine(_, given) = self else { return Ok(()) };
        // The engine's to take: one that comes before it can would be lost on the first process of a PID namespace.
        hull_sys::signal::Waiter::new();
        given.iter().try_for_each(|fd| rustix::io::fcntl_setfd(fd, FdFlags::empty()).what(|| "cannot keep a descriptor open"))
    }
}

impl ProcessPlan {
    /// Looks the program up as the shell would, with the workload's rights.
    pub(crate) fn find_program(&self, final_sets: CapSets, have: CapSets) -> Result<Program> {
        let Some(name) = self.args.first() else { return Err(Error::new("process.args: must not be empty")) };
        if self.engine.is_some() {
            return self.find_module(name, final_sets, have);
        }
        let shown = name.to_string_lossy().into_owned();
        if name.to_bytes().contains(&b'/') {
            let path = name.clone();
            return match with_effective(final_sets, have, || may_execute(&path))? {
                Ok(()) => Ok(Program::File(path)),
                Err(Errno::ISDIR) => Err(Error::new(format!("exec: \"{shown}\": is a directory"))),
                Err(e) => Err(exec_error(&format!("exec: \"{shown}\": stat {shown}"), e)),
            };
        }
        let search = self.env.iter().rev().find_map(|v| v.to_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
        let mut denied = None;
        for dir in search.split(|b| *b == b':') {
            let dir = if dir.is_empty() { Path::new(".") } else { Path::new(OsStr::from_bytes(dir)) };
            let path = dir.join(OsStr::from_bytes(name.to_bytes())).into_os_string().into_vec();
            let Ok(path) = CString::new(path) else { continue };
            match with_effective(final_sets, have, || may_execute(&path))? {
                Ok(()) => return Ok(Program::File(path)),
                Err(Errno::ACCESS) => denied = Some(path),
                Err(_) => {}
            }
        }
        match denied {
            Some(path) => Err(exec_error(&format!("exec: \"{}\"", path.to_string_lossy()), Errno::ACCESS)),
            None => Err(Error::new(format!("exec: \"{shown}\": executable file not found in $PATH"))),
        }
    }

    /// Looks a module up as a program, but that it is read and not executed. `#function` after its name is split off,
    /// unless that is part of a file's name.
    fn find_module(&self, name: &CStr, final_sets: CapSets, have: CapSets) -> Result<Program> {
        /// As the kernel has it for a path (PATH_MAX); a longer one would not fit in the message to the parent.
        const LONGEST: usize = 4096;
        let name = name.to_string_lossy().into_owned();
        if name.len() > LONGEST {
            return Err(Error::new(format!("process.args[0]: longer than {LONGEST} bytes")));
        }
        if let Some(module) = self.engine.as_ref().and_then(|e| e.module.as_ref()) {
            let file = module.file.try_clone().what(|| format!("exec: \"{name}\": cannot open the module"))?;
            return Ok(Program::Module { file, name, function: module.function.clone() });
        }
        let mut error = None;
        for (path, function) in [Some((name.as_str(), "")), name.rsplit_once('#')].into_iter().flatten() {
            let search = self.env.iter().rev().find_map(|v| v.to_bytes().strip_prefix(b"PATH=")).unwrap_or_default();
            // A bare name is one of the working directory too: that is how images of modules name theirs.
            let dirs = search.split(|b| *b == b':').filter(|_| !path.contains('/'));
            for dir in [OsStr::new(".")].into_iter().chain(dirs.map(OsStr::from_bytes)) {
                match with_effective(final_sets, have, || open_module(&Path::new(dir).join(path)))? {
                    Ok(file) => return Ok(Program::Module { file, name: path.to_owned(), function: function.to_owned() }),
                    Err(e) => error = error.or(Some(e)),
                }
            }
        }
        Err(exec_error(&format!("exec: \"{name}\": cannot open the module"), error.unwrap_or(Errno::NOENT)))
    }

    /// Executes the program. Returns only on failure, which the parent hears as [`Ask::NotExecuted`].
    pub(crate) fn exec(&self, program: &Program, strings: &Strings, sync: &Sync) -> ! {
        let (file, path) = match (program, &self.engine) {
            (Program::File(path), _) => (None, path.as_c_str()),
            (_, engine) => (engine.as_ref().map(|e| e.file.as_fd()), c""),
        };
        let error = hull_sys::exec::execveat(file, path, &strings.0, &strings.1);
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::INVAL);
        let name = if let Program::Engine(name, _) = program { name } else { path };
        let error = exec_error(&format!("exec {}", name.to_string_lossy()), errno);
        // Where the parent is gone there is nobody left to tell.
        let _ = sync.ask(&Ask::NotExecuted(error.to_string()));
        hull_sys::clone::exit_now(255)
    }

}

/// Whether the program of a process is a binary Wasm module, as far as the root file system tells before anything is
/// mounted in it.
pub fn is_module(rootfs: &Path, process: &hull_spec::Process) -> bool {
    const MAGIC: &[u8; 4] = b"\0asm";
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(root) = rustix::fs::open(rootfs, flags, Mode::empty()).map(Root::new) else { return false };
    let Some(name) = process.args.first() else { return false };
    let name = name.rsplit_once('#').map_or(name.as_str(), |(file, _)| file);
    let search = process.env.iter().rev().find_map(|v| v.strip_prefix("PATH=")).unwrap_or_default();
    let dirs = search.split(':').filter(|_| !name.contains('/')).map(Path::new);
    std::iter::once(process.cwd.as_path()).chain(dirs).any(|dir| {
        // Opened to be looked at first: it may be a device, which does something when it is opened for reading.
        let found = root.open(&dir.join(name), OFlags::PATH).ok();
        let found = found.filter(|f| kind_of(f).is_ok_and(|k| k == FileType::RegularFile));
        let again = |f: OwnedFd| std::fs::File::open(format!("/proc/self/fd/{}", f.as_raw_fd())).ok();
        let mut head = [0; 4];
        found.and_then(again).is_some_and(|mut f| std::io::Read::read_exact(&mut f, &mut head).is_ok()) && &head == MAGIC
    })
}

/// Copies a module, so that neither the file system that it lies in nor who may write to it keeps the parent waiting or
/// changes what it has read. The copy is this process's to pay for. What is a sealed copy already is taken as it
/// is.
fn seal(mut file: File) -> Result<OwnedFd> {
    let large = || Err(Error::new(format!("is larger than {LARGEST_MODULE} bytes")));
    let doing = || "cannot read it";
    if file.metadata().what(doing)?.len() > LARGEST_MODULE {
        return large();
    }
    if hull_sys::sealed::is_sealed(file.as_fd()).unwrap_or(false) {
        file.rewind().what(doing)?;
        return Ok(file.into());
    }
    let copy = match hull_sys::sealed::data(c"module", file.take(LARGEST_MODULE + 1)) {
        Err(e) if e.raw_os_error() == Some(libc::EFBIG) => {
            return Err(Error::new("cannot be copied: it is larger than process.rlimits lets a file be (RLIMIT_FSIZE)"));
        }
        other => File::from(other.what(doing)?),
    };
    if copy.metadata().what(doing)?.len() > LARGEST_MODULE { large() } else { Ok(copy.into()) }
}

fn open_module(path: &Path) -> rustix::io::Result<OwnedFd> {
    // A device may do something when it is opened.
    let found = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice {
        return Err(Errno::ACCESS);
    }
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty())?;
    match FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::ACCESS),
    }
}

fn may_execute(path: &CStr) -> rustix::io::Result<()> {
    let st = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(st.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS)
}

/// Engines read the cause of a failed exec in words ("no such file or directory", "permission denied").
fn exec_error(what: &str, errno: Errno) -> Error {
    Error::new(format!("{what}: {}", hull_sys::errno::describe(errno.raw_os_error())))
}

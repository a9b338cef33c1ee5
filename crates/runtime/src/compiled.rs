//! Compiled modules: each is compiled once, outside of any container, and kept below the state directory.
//!
//! The name of one is a digest of the module and of all that its code depends on. No container can write what another
//! runs: the directory is the caller's alone, and what goes out is read-only. What is found there is believed only if it
//! is a file of the caller's that nobody else could have written.

use std::fs::{DirBuilder, File};
use std::io::{Read, Seek as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, flock, fstat, linkat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::engine::Installed;
use crate::{Context as _, Error, Result, Runtime};

/// Directory below the state directory; no container's id has such a character.
const DIRECTORY: &str = "@code";

/// What all code may take together: the state directory may well be in memory.
const ROOM: u64 = 1 << 30;

/// How long a compiler may take, however busy the host is, and how long one is waited for.
const PATIENCE: Duration = Duration::from_secs(240);

impl Runtime {
    /// The code of a module, compiled now if it never was. The module is a sealed copy; `settings` are arguments for the
    /// compiler.
    pub(crate) fn compiled(&self, compiler: &Installed, settings: &[&str], mut module: File) -> Result<File> {
        let store = Store::open(&self.root.join(DIRECTORY))?;
        let name = digest(compiler, settings, &mut module)?;
        if let Some(code) = store.kept(&name)? {
            return Ok(code);
        }
        // Not more at once than the host has processors; and who wants the same waits for it to be done.
        let _turn = store.turn(&name)?;
        if let Some(code) = store.kept(&name)? {
            return Ok(code);
        }
        module.rewind().what(|| "cannot read it")?;
        let out = store.begin()?;
        compile(compiler, settings, module, out.file()?)?;
        let code = store.name(out, &name)?;
        store.shrink(&name);
        Ok(code)
    }
}

/// The directory of code, known to be the caller's alone, and held, lest another come to be there.
struct Store {
    path: PathBuf,
    dir: OwnedFd,
}

/// A file of code that has no name yet, or a preliminary one where the file system can't do that.
struct Draft<'a> {
    file: File,
    named: Option<(&'a Store, String)>,
}

impl Draft<'_> {
    fn file(&self) -> Result<File> {
        self.file.try_clone().what(|| "cannot write its code")
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if let Some((store, name)) = &self.named {
            let _ = unlinkat(&store.dir, name.as_str(), AtFlags::empty());
        }
    }
}

impl Store {
    fn open(path: &Path) -> Result<Store> {
        let doing = || format!("cannot keep code in \"{}\"", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).what(doing)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = openat(CWD, path, flags, Mode::empty()).what(doing)?;
        let st = fstat(&dir).what(doing)?;
        if st.st_uid != rustix::process::geteuid().as_raw() || st.st_mode & 0o077 != 0 {
            return Err(Error::new(format!("{}: it is not the caller's alone", doing())));
        }
        Ok(Store { path: path.to_owned(), dir })
    }

    fn kept(&self, name: &str) -> Result<Option<File>> {
        let shown = || format!("cannot open its code \"{}\"", self.path.join(name).display());
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => None,
            other => Some(File::from(other.what(shown)?)),
        };
        if let Some(file) = file {
            let meta = file.metadata().what(shown)?;
            let own = meta.uid() == rustix::process::geteuid().as_raw();
            if meta.is_file() && own && meta.mode() & 0o222 == 0 && meta.nlink() == 1 {
                // Its time tells when it was used last; where it can't be set, it counts as older than it is.
                let _ = file.set_modified(std::time::SystemTime::now());
                return Ok(Some(file));
            }
        }
        // Not as it was made: to be made anew.
        unlinkat(&self.dir, name, AtFlags::empty()).what(shown)?;
        Ok(None)
    }

    /// Waits until the code of that name may be compiled. The turn ends with the file.
    ///
    /// # Errors
    /// Where others keep the compilers busy for too long.
    fn turn(&self, name: &str) -> Result<File> {
        /// flock(2) knows no end of waiting; this is how often it is tried, where somebody else compiles.
        const AGAIN: Duration = Duration::from_millis(20);
        let doing = || format!("cannot wait for a turn to compile in \"{}\"", self.path.display());
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let number = usize::from_str_radix(&name[..4], 16).unwrap_or(0) % processors;
        let (flags, mode) = (OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR);
        let file = openat(&self.dir, format!("turn.{number}"), flags, mode).what(doing)?;
        let begun = std::time::Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file.into()),
                Err(Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => std::thread::sleep(AGAIN),
                Err(Errno::WOULDBLOCK) => {
                    return Err(Error::new(format!("{}: other modules kept the compilers busy for {} seconds", doing(), PATIENCE.as_secs())));
                }
                Err(Errno::INTR) => {}
                Err(e) => return Err(e).what(doing),
            }
        }
    }

    /// A file that is gone if this process is before it is named.
    fn begin(&self) -> Result<Draft<'_>> {
        let doing = || format!("cannot keep code in \"{}\"", self.path.display());
        let (flags, mode) = (OFlags::WRONLY | OFlags::CLOEXEC, Mode::RUSR);
        match openat(&self.dir, ".", flags | OFlags::TMPFILE, mode) {
            Ok(file) => Ok(Draft { file: file.into(), named: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let name = format!("{}.{}", std::process::id(), now.as_nanos());
                let file = openat(&self.dir, name.as_str(), flags | OFlags::CREATE | OFlags::EXCL, mode).what(doing)?;
                Ok(Draft { file: file.into(), named: Some((self, name)) })
            }
            Err(e) => Err(e).what(doing),
        }
    }

    /// Removes what was not used for longest where there is too much, but not `last`. Who runs it keeps it.
    fn shrink(&self, last: &str) {
        let mut entries: Vec<_> = Dir::read_from(&self.dir).into_iter().flatten().flatten().collect();
        // Neither turns nor drafts.
        entries.retain(|e| e.file_name().to_bytes().len() == last.len() && e.file_name().to_bytes().iter().all(u8::is_ascii_hexdigit));
        let mut all: Vec<_> = entries
            .iter()
            .filter_map(|e| Some((statat(&self.dir, e.file_name(), AtFlags::SYMLINK_NOFOLLOW).ok()?, e.file_name())))
            .filter(|(st, _)| FileType::from_raw_mode(st.st_mode) == FileType::RegularFile)
            .map(|(st, name)| (st.st_mtime, st.st_mtime_nsec, st.st_size as u64, name))
            .collect();
        all.sort();
        let mut total: u64 = all.iter().map(|f| f.2).sum();
        for (_, _, size, name) in all {
            if total <= ROOM {
                break;
            }
            if name.to_bytes() != last.as_bytes() && unlinkat(&self.dir, name, AtFlags::empty()).is_ok() {
                total -= size;
            }
        }
    }

    /// Names it, and opens it to be read: the name may be gone again soon, where there is little room.
    fn name(&self, mut draft: Draft<'_>, name: &str) -> Result<File> {
        let doing = || format!("cannot keep code in \"{}\"", self.path.display());
        draft.file.sync_all().what(doing)?;
        let path = format!("/proc/self/fd/{}", draft.file.as_raw_fd());
        let code = File::open(&path).what(doing)?;
        match &draft.named {
            Some((_, from)) => {
                renameat(&self.dir, from, &self.dir, name).what(doing)?;
                draft.named = None;
            }
            None => match linkat(CWD, &path, &self.dir, name, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(e) => return Err(e).what(doing),
            },
        }
        Ok(code)
    }
}

/// A file's name for a module's code: what it was made of, by what, and for which processor.
fn digest(compiler: &Installed, settings: &[&str], module: &mut File) -> Result<String> {
    let mut hash = Sha256::new();
    let meta = compiler.file.metadata().what(|| "cannot examine the compiler")?;
    let made = [meta.dev(), meta.ino(), meta.size(), meta.mtime() as u64, meta.mtime_nsec() as u64, meta.ctime() as u64];
    made.iter().chain([processor()].iter()).for_each(|n| hash.update(n.to_le_bytes()));
    settings.iter().for_each(|s| hash.update(format!("{s}\0")));
    // An end of the list that no setting can be mistaken for.
    hash.update([0]);
    let mut buffer = vec![0; 1 << 16];
    loop {
        match module.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).what(|| "cannot read it"),
        }
    }
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// What the compiler may make use of: state directories can move to another machine with their host.
fn processor() -> u64 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::is_x86_feature_detected as has;
        let bits = [
            has!("sse3"), has!("ssse3"), has!("sse4.1"), has!("sse4.2"), has!("popcnt"), has!("avx"), has!("avx2"), has!("fma"),
            has!("bmi1"), has!("bmi2"), has!("lzcnt"), has!("avx512f"), has!("avx512bitalg"), has!("avx512dq"),
            has!("avx512vl"), has!("avx512vbmi"), has!("cmpxchg16b"),
        ];
        bits.iter().enumerate().map(|(n, bit)| u64::from(*bit) << n).sum()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

fn compile(compiler: &Installed, settings: &[&str], module: File, out: File) -> Result<()> {
    /// What a pipe holds: the compiler says no more, lest it wait for a reader.
    const LONGEST: u64 = 1 << 16;
    let doing = || format!("cannot run \"{}\"", compiler.path.display());
    // The very file that was examined.
    let mut command = Command::new(format!("/proc/self/fd/{}", compiler.file.as_raw_fd()));
    command.arg0(&compiler.path).arg("compile").args(settings).env_clear();
    let mut child = command.stdin(module).stdout(out).stderr(Stdio::piped()).spawn().what(doing)?;
    let process = hull_sys::pidfd::open(child.id() as i32).what(doing)?;
    // It ended, or it is made to: it runs on a stranger's module, and may be in that one's hands.
    let ended = hull_sys::pidfd::wait_end(process.as_fd(), Some(PATIENCE));
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait().what(doing)?;
    if !ended.what(doing)? {
        return Err(Error::new(format!("cannot be compiled within {} seconds", PATIENCE.as_secs())));
    }
    if status.success() {
        return Ok(());
    }
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        // What the pipe holds and no more: another process may have come to hold its other end.
        rustix::io::ioctl_fionbio(&stderr, true).what(doing)?;
        let _ = stderr.take(LONGEST).read_to_end(&mut said);
    }
    Err(Error::new(match String::from_utf8_lossy(&said).trim() {
        "" => format!("cannot be compiled: the compiler ended with {status}"),
        said => format!("cannot be compiled: {said}"),
    }))
}

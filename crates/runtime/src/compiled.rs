//! Compiled modules: each is compiled once, outside of any container, and kept below the state directory.
//!
//! The name of one is a digest of the module and of all that its code depends on. No container can write what another
//! runs: the directory is the caller's alone, and what goes out is read-only. What is found there is believed only if it
//! is a file of the caller's that nobody else could have written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek as _};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::engine::Installed;
use crate::{Context as _, Error, Result, Runtime};

/// Directory below the state directory; no container's id has such a character.
const DIRECTORY: &str = "@code";

/// Larger modules than any real one are refused before they fill memory.
const LARGEST: u64 = 1 << 28;

impl Runtime {
    /// The code of a module, compiled now if it never was.
    pub(crate) fn compiled(&self, engine: &Installed, mut module: File) -> Result<File> {
        let dir = self.root.join(DIRECTORY);
        let name = digest(engine, &mut module)?;
        if let Some(code) = kept(&dir.join(&name))? {
            return Ok(code);
        }
        // The file is the container's and may change under our hands: what is compiled is what is named.
        module.rewind().what(|| "cannot read it")?;
        let copy = hull_sys::sealed::copy(c"module", module.take(LARGEST)).what(|| "cannot read it")?;
        let mut copy = File::from(copy);
        let name = digest(engine, &mut copy)?;
        copy.rewind().what(|| "cannot read it")?;
        let dir = Store::open(&dir)?;
        let out = dir.begin()?;
        compile(engine, copy, out.file()?)?;
        dir.name(out, &name)?;
        kept(&dir.path.join(&name))?.ok_or_else(|| Error::new("its code is gone"))
    }
}

/// The directory of code, known to be the caller's alone.
struct Store {
    path: PathBuf,
}

/// A file of code that has no name yet, or a preliminary one where the file system can't do that.
struct Draft {
    file: File,
    path: Option<PathBuf>,
}

impl Draft {
    fn file(&self) -> Result<File> {
        self.file.try_clone().what(|| "cannot write its code")
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        self.path.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

impl Store {
    fn open(path: &Path) -> Result<Store> {
        let doing = || format!("cannot keep code in \"{}\"", path.display());
        DirBuilder::new().recursive(true).mode(0o700).create(path).what(doing)?;
        let meta = std::fs::symlink_metadata(path).what(doing)?;
        let own = meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o077 == 0;
        if !meta.is_dir() || !own {
            return Err(Error::new(format!("{}: it is not a directory of the caller's alone", doing())));
        }
        Ok(Store { path: path.to_owned() })
    }

    /// A file that is gone if this process is before it is named.
    fn begin(&self) -> Result<Draft> {
        let doing = || format!("cannot keep code in \"{}\"", self.path.display());
        let mut options = OpenOptions::new();
        options.write(true).mode(0o400);
        match options.clone().custom_flags(libc::O_TMPFILE).open(&self.path) {
            Ok(file) => Ok(Draft { file, path: None }),
            Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
                let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
                let path = self.path.join(format!("{}.{}", std::process::id(), now.as_nanos()));
                let file = options.create_new(true).open(&path).what(doing)?;
                Ok(Draft { file, path: Some(path) })
            }
            Err(e) => Err(e).what(doing),
        }
    }

    /// Names it; another hull may have done the same work meanwhile.
    fn name(&self, mut draft: Draft, name: &str) -> Result<()> {
        use rustix::fs::{AtFlags, CWD, linkat};
        let doing = || format!("cannot keep code in \"{}\"", self.path.display());
        draft.file.sync_all().what(doing)?;
        let to = self.path.join(name);
        match draft.path.take() {
            Some(path) => std::fs::rename(path, to).what(doing),
            None => match linkat(CWD, format!("/proc/self/fd/{}", draft.file.as_raw_fd()), CWD, to, AtFlags::SYMLINK_FOLLOW) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
                Err(e) => Err(e).what(doing),
            },
        }
    }
}

/// A file's name for a module's code: what it was made of, by what, and for which processor.
fn digest(engine: &Installed, module: &mut File) -> Result<String> {
    let mut hash = Sha256::new();
    let meta = engine.file.metadata().what(|| "cannot examine the engine")?;
    let made = [meta.dev(), meta.ino(), meta.size(), meta.mtime() as u64, meta.mtime_nsec() as u64, meta.ctime() as u64];
    made.iter().chain([processor()].iter()).for_each(|n| hash.update(n.to_le_bytes()));
    let mut buffer = vec![0; 1 << 16];
    let mut total = 0;
    loop {
        let n = match module.read(&mut buffer) {
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other.what(|| "cannot read it")?,
        };
        if n == 0 {
            break;
        }
        total += n as u64;
        if total > LARGEST {
            return Err(Error::new(format!("is larger than {LARGEST} bytes")));
        }
        hash.update(&buffer[..n]);
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

fn kept(path: &Path) -> Result<Option<File>> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    let shown = || format!("cannot open its code \"{}\"", path.display());
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.what(shown)?,
    };
    let meta = file.metadata().what(shown)?;
    let own = meta.uid() == rustix::process::geteuid().as_raw();
    if meta.is_file() && own && meta.mode() & 0o222 == 0 && meta.nlink() == 1 {
        return Ok(Some(file));
    }
    Err(Error::new(format!("\"{}\" is not as hull made it: remove it", path.display())))
}

fn compile(engine: &Installed, module: File, out: File) -> Result<()> {
    /// More is not worth reading.
    const LONGEST: u64 = 1 << 14;
    let doing = || format!("cannot run \"{}\"", engine.path.display());
    let mut command = Command::new(&engine.path);
    command.arg("compile").env_clear().stdin(module).stdout(out).stderr(Stdio::piped());
    let mut child = command.spawn().what(doing)?;
    let mut said = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(LONGEST).read_to_end(&mut said).what(doing)?;
    }
    let status = child.wait().what(doing)?;
    if status.success() {
        return Ok(());
    }
    Err(Error::new(match String::from_utf8_lossy(&said).trim() {
        "" => format!("cannot be compiled: the compiler ended with {status}"),
        said => format!("cannot be compiled: {said}"),
    }))
}

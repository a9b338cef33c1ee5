//! Compiled modules: each is compiled once, outside of any container, and kept below the state directory.
//!
//! The name of one is a digest of the module and of all that its code depends on. No container can write what another
//! runs: the directory is the caller's alone, and what goes out is read-only. What is found there is believed only if it
//! is a file of the caller's that nobody else could have written.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::engine::Installed;
use crate::{Context as _, Error, Result, Runtime};

/// Directory below the state directory; no container's id has such a character.
const DIRECTORY: &str = "@code";

/// Larger modules than any real one are refused before they fill memory.
const LARGEST: u64 = 1 << 30;

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
        let doing = || format!("cannot keep its code in \"{}\"", dir.display());
        DirBuilder::new().recursive(true).mode(0o700).create(&dir).what(doing)?;
        let temporary = dir.join(format!("{name}.{}", std::process::id()));
        let _ = std::fs::remove_file(&temporary);
        let out = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&temporary).what(doing)?;
        let done = compile(engine, copy, out).and_then(|()| std::fs::rename(&temporary, dir.join(&name)).what(doing));
        if let Err(e) = done {
            let _ = std::fs::remove_file(&temporary);
            return Err(e);
        }
        kept(&dir.join(&name))?.ok_or_else(|| Error::new("its code is gone"))
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

fn compile(engine: &Installed, module: File, mut out: File) -> Result<()> {
    let doing = || format!("cannot run \"{}\"", engine.path.display());
    let mut command = Command::new(&engine.path);
    command.arg("compile").env_clear().stdin(module).stdout(Stdio::piped()).stderr(Stdio::piped());
    let result = command.output().what(doing)?;
    if !result.status.success() {
        let said = String::from_utf8_lossy(&result.stderr);
        return Err(Error::new(match said.trim() {
            "" => format!("cannot be compiled: the compiler ended with {}", result.status),
            said => format!("cannot be compiled: {said}"),
        }));
    }
    out.write_all(&result.stdout).and_then(|()| out.sync_all()).what(|| "cannot write its code")
}

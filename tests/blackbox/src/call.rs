//! One run of a command with its input and output in files, so that nothing can block on a pipe.
//!
//! Owns spawning, extra descriptors, users, terminals of a child. Knows nothing of containers.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use crate::case::Stop;

/// What a finished command left.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    /// Exit code, or 128 + signal.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Output {
    /// Fails the case unless the command ended with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Result<Output, Stop> {
        self.code(0)
    }

    /// Fails the case unless the command ended with `want`.
    #[track_caller]
    pub(crate) fn code(self, want: i32) -> Result<Output, Stop> {
        if self.code == want {
            return Ok(self);
        }
        Err(format!("exit code {}, want {want}; {}", self.code, self.text()).into())
    }

    /// Fails the case if the command succeeded or said nothing about why it did not.
    #[track_caller]
    pub(crate) fn fails(self) -> Result<Output, Stop> {
        if self.code == 0 {
            return Err(format!("succeeded, though it had to fail; {}", self.text()).into());
        }
        if self.err.trim().is_empty() {
            return Err(format!("failed with code {} and no message", self.code).into());
        }
        Ok(self)
    }

    /// Fails the case unless standard error holds one of `words`, in any case of letters.
    #[track_caller]
    pub(crate) fn names(self, words: &[&str]) -> Result<Output, Stop> {
        let said = self.err.to_lowercase();
        if words.iter().any(|w| said.contains(&w.to_lowercase())) {
            return Ok(self);
        }
        Err(format!("the message names none of {words:?}; {}", self.text()).into())
    }

    /// Standard output without its last newline.
    pub(crate) fn line(&self) -> &str {
        self.out.trim_end_matches(['\n', '\r'])
    }

    /// The value after `key` at the start of a line of standard output (`CapEff:\t00ff` or `key value`).
    #[track_caller]
    pub(crate) fn field(&self, key: &str) -> Result<String, Stop> {
        for line in self.out.lines() {
            if let Some(rest) = line.strip_prefix(key)
                && rest.starts_with([':', ' ', '\t', '='])
            {
                return Ok(rest.trim_start_matches([':', '=']).trim().to_owned());
            }
        }
        Err(format!("no line {key:?}; {}", self.text()).into())
    }

    /// A hexadecimal field.
    #[track_caller]
    pub(crate) fn hex(&self, key: &str) -> Result<u64, Stop> {
        let text = self.field(key)?;
        u64::from_str_radix(text.trim_start_matches("0x"), 16).map_err(|e| format!("{key} {text:?}: {e}").into())
    }

    pub(crate) fn text(&self) -> String {
        let cut = |s: &str| s.trim().chars().take(600).collect::<String>();
        format!("stdout {:?}, stderr {:?}", cut(&self.out), cut(&self.err))
    }
}

/// 128 + n for a signal, like a shell.
pub(crate) fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(127))
}

/// What is sent to the user's eye when a case hangs: the last command begun.
pub(crate) static LAST: std::sync::Mutex<String> = std::sync::Mutex::new(String::new());

/// Children that this process waits for itself; every other child was orphaned by one of them.
static OWN: std::sync::Mutex<Vec<i32>> = std::sync::Mutex::new(Vec::new());

/// Reaps adopted processes, as whoever takes a runtime's orphans must: the end of a pid namespace waits for it.
pub(crate) fn reap_adopted() -> ! {
    let me = std::process::id() as i32;
    loop {
        {
            let own = OWN.lock().unwrap();
            for (pid, parent, state) in crate::host::processes() {
                if parent == me && state == 'Z' && !own.contains(&pid) {
                    // Not to be waited for: another thread of it may be what waits for the end of its PID namespace, and
                    // so for the next in this list.
                    // SAFETY: waitpid with no status pointer, for a child that nobody else waits for.
                    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::WNOHANG) };
                }
            }
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
}

/// A command about to be run.
pub(crate) struct Call {
    cmd: Command,
    out: PathBuf,
    err: PathBuf,
    stdin: Option<Vec<u8>>,
    stdio_set: bool,
}

impl Call {
    /// `program` with an almost empty environment; its output goes to `stem.out` and `stem.err`.
    pub(crate) fn new(program: impl AsRef<OsStr>, stem: &std::path::Path) -> Call {
        let mut cmd = Command::new(program);
        cmd.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Call {
            cmd,
            out: stem.with_extension("out"),
            err: stem.with_extension("err"),
            stdin: None,
            stdio_set: false,
        }
    }

    pub(crate) fn args<S: AsRef<OsStr>>(mut self, args: &[S]) -> Call {
        self.cmd.args(args);
        self
    }

    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Call {
        self.cmd.arg(arg);
        self
    }

    pub(crate) fn env(mut self, key: &str, value: impl AsRef<OsStr>) -> Call {
        self.cmd.env(key, value);
        self
    }

    pub(crate) fn cwd(mut self, dir: impl AsRef<std::path::Path>) -> Call {
        self.cmd.current_dir(dir);
        self
    }

    /// Standard input; without it, /dev/null.
    pub(crate) fn stdin(mut self, bytes: &[u8]) -> Call {
        self.stdin = Some(bytes.to_owned());
        self
    }

    /// Run as this user and group, with no further groups.
    pub(crate) fn user(mut self, id: u32) -> Call {
        self.cmd.uid(id).gid(id);
        self
    }

    /// Make `fd` descriptor `n` of the child.
    pub(crate) fn fd(mut self, n: RawFd, fd: OwnedFd) -> Call {
        // SAFETY: between fork and exec only dup2 is called, which is async-signal-safe.
        unsafe {
            self.cmd.pre_exec(move || match libc::dup2(fd.as_raw_fd(), n) {
                -1 => Err(io::Error::last_os_error()),
                _ if fd.as_raw_fd() == n => match libc::fcntl(n, libc::F_SETFD, 0) {
                    -1 => Err(io::Error::last_os_error()),
                    _ => Ok(()),
                },
                _ => Ok(()),
            });
        }
        self
    }

    /// Runs `hook` in the child before it executes the program.
    pub(crate) fn pre(mut self, hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static) -> Call {
        // SAFETY: every hook of this suite makes bare system calls only.
        unsafe { self.cmd.pre_exec(hook) };
        self
    }

    /// The slave of a terminal as standard input, output and error and as controlling terminal of a new session.
    pub(crate) fn tty(mut self, slave: OwnedFd) -> Call {
        self.stdio_set = true;
        let (a, b) = (slave.try_clone().expect("dup"), slave.try_clone().expect("dup"));
        self.cmd.stdin(slave).stdout(a).stderr(b);
        self.pre(|| {
            // SAFETY: setsid and the ioctl touch no memory; descriptor 0 is the terminal's slave by now.
            if unsafe { libc::setsid() == -1 || libc::ioctl(0, libc::TIOCSCTTY, 0) == -1 } {
                return Err(io::Error::last_os_error());
            }
            Ok(())
        })
    }

    /// Starts it and returns at once.
    #[track_caller]
    pub(crate) fn spawn(mut self) -> Result<Running, Stop> {
        *LAST.lock().unwrap() = format!("{:?}", self.cmd);
        if !self.stdio_set {
            let input = match &self.stdin {
                None => Stdio::null(),
                Some(bytes) => {
                    let path = self.out.with_extension("in");
                    File::create(&path)?.write_all(bytes)?;
                    File::open(&path)?.into()
                }
            };
            // A runtime that kills "its" process group must not reach the suite's.
            self.cmd.process_group(0);
            self.cmd.stdin(input).stdout(File::create(&self.out)?).stderr(File::create(&self.err)?);
        }
        let mut own = OWN.lock().unwrap();
        let child = self.cmd.spawn().map_err(|e| format!("cannot start {:?}: {e}", self.cmd))?;
        own.push(child.id() as i32);
        drop(own);
        Ok(Running { child, out: self.out, err: self.err })
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub(crate) fn run(self) -> Result<Output, Stop> {
        self.spawn()?.wait()
    }
}

/// A command that runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) out: PathBuf,
    pub(crate) err: PathBuf,
}

impl Running {
    pub(crate) fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Result<Output, Stop> {
        let status = self.child.wait()?;
        let read = |p| String::from_utf8_lossy(&fs::read(p).unwrap_or_default()).into_owned();
        Ok(Output { code: code_of(status), out: read(&self.out), err: read(&self.err) })
    }

    /// What it wrote to standard output so far.
    pub(crate) fn so_far(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }
}

//! A process's standard streams: between its pipes, or its terminal, and the named pipes, files and loggers that
//! containerd names.
//!
//! The process never gets those themselves, which are the host's files. What flows from pipe to pipe is spliced. Where
//! nobody reads, the process waits, and the shim doesn't.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

use crate::{log, logger};
use crate::worker::Stdio;

/// How much is moved at once.
const PIECE: usize = 1 << 16;

/// What containerd named: empty for none.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    pub(crate) stdin: String,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) terminal: bool,
}

/// The shim's side of them.
#[derive(Default)]
pub(crate) struct Streams {
    /// Ends when the process's input is closed.
    input: Option<JoinHandle<()>>,
    /// An end that nobody writes to: without it, the first client to go away would close the process's input.
    open: Option<OwnedFd>,
    outputs: Vec<JoinHandle<()>>,
    terminal: Option<Terminal>,
    /// Where it is to arrive.
    listener: Option<UnixListener>,
}

/// A terminal: on its way first, then there.
enum Terminal {
    /// What goes through it comes from and goes to these.
    Expected { input: Option<Fd>, output: Option<Sink> },
    There(Arc<Fd>),
}

pub(crate) type Fd = AsyncFd<OwnedFd>;

/// A descriptor that nobody waits in.
pub(crate) fn asynchronous(fd: impl Into<OwnedFd>) -> io::Result<Fd> {
    let fd = fd.into();
    rustix::io::ioctl_fionbio(&fd, true)?;
    // SAFETY: an OwnedFd has the same descriptor for as long as it lives.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// What is wrong with a stream's name.
fn named(name: &str, e: &dyn std::fmt::Display) -> String {
    format!("cannot open \"{name}\" for a process's stream: {e}")
}

impl Streams {
    /// Makes the pipes, or a place for the terminal to come to: a socket in `dir`. What the process gets is the second.
    ///
    /// # Errors
    /// For names that can't be opened, with that name.
    pub(crate) async fn open(names: &Names, context: &logger::Context<'_>) -> Result<(Streams, Stdio), String> {
        let mut streams = Streams::default();
        let mut stdio = Stdio::default();
        let fail = |e: io::Error| format!("cannot make a pipe: {e}");
        if names.terminal {
            let input = (!names.stdin.is_empty()).then(|| streams.source(&names.stdin)).transpose()?;
            let output = match logger::Binary::named(&names.stdout) {
                Some(logger) => Some(Sink::Pipe(asynchronous(logger?.begin(context).await?.0).map_err(fail)?)),
                None if names.stdout.is_empty() => None,
                None => Some(Sink::open(&names.stdout)?),
            };
            streams.terminal = Some(Terminal::Expected { input, output });
            return Ok((streams, stdio));
        }
        if !names.stdin.is_empty() {
            let (theirs, ours) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
            let from = streams.source(&names.stdin)?;
            let to = asynchronous(ours).map_err(fail)?;
            streams.input = Some(tokio::spawn(async move { drop(spliced(&from, &to).await) }));
            stdio.0[0] = Some(theirs);
        }
        if let Some(loggers) = logger::Binary::named(&names.stdout) {
            // One program for both.
            let (out, err) = loggers?.begin(context).await?;
            stdio.0[1] = Some(out);
            stdio.0[2] = Some(err);
            return Ok((streams, stdio));
        }
        for (number, name) in [(1, &names.stdout), (2, &names.stderr)] {
            if name.is_empty() {
                continue;
            }
            let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| fail(e.into()))?;
            let (from, to) = (asynchronous(ours).map_err(fail)?, Sink::open(name)?);
            streams.outputs.push(tokio::spawn(async move { drop(to.take(&from).await) }));
            stdio.0[number] = Some(theirs);
        }
        Ok((streams, stdio))
    }

    /// A socket for the terminal to be sent to, by a worker that keeps the descriptor of the directory: its path there.
    ///
    /// # Errors
    /// Those of bind(2).
    pub(crate) fn await_terminal(&mut self, dir: &OwnedFd) -> io::Result<PathBuf> {
        // By the directory's descriptor: its own path may be longer than a socket's may be.
        // That is no other's, too, for as long as it is open.
        let path = PathBuf::from(format!("/proc/self/fd/{0}/tty{0}.sock", dir.as_raw_fd()));
        let _ = fs::remove_file(&path);
        self.listener = Some(UnixListener::bind(&path)?);
        Ok(path)
    }

    /// Takes the terminal that a worker has sent, and begins to pass on what goes through it.
    ///
    /// # Errors
    /// Where none came.
    pub(crate) fn take_terminal(&mut self, path: &Path) -> Result<(), String> {
        let fail = |e: io::Error| format!("the process's terminal did not arrive: {e}");
        let _ = fs::remove_file(path);
        let (Some(listener), Some(Terminal::Expected { input, output })) = (self.listener.take(), self.terminal.take()) else {
            return Err(fail(io::ErrorKind::NotConnected.into()));
        };
        listener.set_nonblocking(true).map_err(fail)?;
        let (socket, _) = listener.accept().map_err(fail)?;
        let mut name = [0; 256];
        let (_, fds) = hull_sys::socket::receive(socket.as_fd(), &mut name).map_err(fail)?;
        let master = fds.into_iter().next().ok_or_else(|| fail(io::ErrorKind::UnexpectedEof.into()))?;
        let master = Arc::new(asynchronous(master).map_err(fail)?);
        if let Some(from) = input {
            let to = Arc::clone(&master);
            self.input = Some(tokio::spawn(async move { drop(copied(&from, &to).await) }));
        }
        if let Some(to) = output {
            let from = Arc::clone(&master);
            self.outputs.push(tokio::spawn(async move { drop(to.take_by_copy(&from).await) }));
        }
        self.terminal = Some(Terminal::There(master));
        Ok(())
    }

    /// Sets the terminal's size, if there is one by now: engines ask for it of any process, and before its start.
    ///
    /// # Errors
    /// Those of tcsetwinsize(3).
    pub(crate) fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let Some(Terminal::There(master)) = &self.terminal else { return Ok(()) };
        let size = rustix::termios::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(rustix::termios::tcsetwinsize(master.get_ref(), size)?)
    }

    /// Closes the process's input, once what was written has been passed on and no client has it open any more.
    pub(crate) fn close_input(&mut self) {
        self.open = None;
    }

    /// The end of a named pipe that clients write to.
    fn source(&mut self, name: &str) -> Result<Fd, String> {
        let open = |write: bool| OpenOptions::new().read(!write).write(write).custom_flags(libc::O_NONBLOCK).open(name);
        let from = open(false).map_err(|e| named(name, &e))?;
        self.open = Some(open(true).map_err(|e| named(name, &e))?.into());
        asynchronous(from).map_err(|e| named(name, &e))
    }

    /// What passes on the process's output: to be waited for.
    pub(crate) fn outputs(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.outputs)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.input.iter().chain(&self.outputs).for_each(JoinHandle::abort);
    }
}

/// Waits until all that was written has been passed on, but no longer than a client that reads nothing deserves.
pub(crate) async fn drain(outputs: Vec<JoinHandle<()>>) {
    // As long as containerd's own shim has. What is lost at its end is what a pipe holds.
    const PATIENCE: Duration = Duration::from_secs(2);
    let end = tokio::time::Instant::now() + PATIENCE;
    for mut output in outputs {
        if tokio::time::timeout_at(end, &mut output).await.is_err() {
            output.abort();
        }
    }
}

/// Where output goes to.
enum Sink {
    /// A named pipe.
    Pipe(Fd),
    /// A regular file, which is appended to.
    File(File),
}

impl Sink {
    fn open(name: &str) -> Result<Sink, String> {
        let fail = |e: io::Error| named(name, &e);
        let as_file = name.strip_prefix("file://").map(Path::new);
        if let (None, Some((scheme, _))) = (as_file, name.split_once("://")) {
            return Err(format!("cannot open \"{name}\" for a process's stream: the scheme \"{scheme}\" is none of file, binary"));
        }
        if let Some(dir) = as_file.and_then(Path::parent) {
            fs::create_dir_all(dir).map_err(fail)?;
        }
        let path = as_file.unwrap_or(Path::new(name));
        if fs::metadata(path).is_ok_and(|meta| meta.file_type().is_fifo()) {
            // For both, so that it neither waits for one who reads nor ends with one: another may come.
            let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(fail)?;
            return Ok(Sink::Pipe(asynchronous(file).map_err(fail)?));
        }
        Ok(Sink::File(OpenOptions::new().append(true).create(as_file.is_some()).mode(0o644).open(path).map_err(fail)?))
    }

    async fn take(self, from: &Fd) -> io::Result<()> {
        match &self {
            Sink::Pipe(to) => spliced(from, to).await,
            Sink::File(_) => self.take_by_copy(from).await,
        }
    }

    async fn take_by_copy(self, from: &Fd) -> io::Result<()> {
        match &self {
            Sink::Pipe(to) => copied(from, to).await,
            Sink::File(file) => {
                let (mut buffer, mut lost) = (vec![0; PIECE], false);
                loop {
                    let n = read(from, &mut buffer).await?;
                    if n == 0 {
                        return Ok(());
                    }
                    // A disk that is full is no reason for the process to end, as a pipe that nobody reads would be.
                    let written = io::Write::write_all(&mut &*file, &buffer[..n]);
                    if let (Err(e), false) = (&written, lost) {
                        log::warn(format_args!("output of a process is lost: {e}"));
                    }
                    lost = written.is_err();
                }
            }
        }
    }
}

/// From pipe to pipe until the first one's end.
async fn spliced(from: &Fd, to: &Fd) -> io::Result<()> {
    loop {
        let (mut readable, mut writable) = (from.readable().await?, to.writable().await?);
        match splice(from, None, to, None, PIECE, SpliceFlags::NONBLOCK | SpliceFlags::MOVE) {
            Ok(0) => return Ok(()),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // Either of them may be why, and no more by now: neither may be waited for that is ready, since no event of it
            // would come.
            Err(rustix::io::Errno::AGAIN) if !is_ready(to, PollFlags::OUT)? => writable.clear_ready(),
            Err(rustix::io::Errno::AGAIN) if !is_ready(from, PollFlags::IN)? => readable.clear_ready(),
            Err(rustix::io::Errno::AGAIN) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a descriptor is ready at this moment, or has come to its end.
fn is_ready(fd: &Fd, what: PollFlags) -> rustix::io::Result<bool> {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(fd, what)], Some(&now))? > 0)
}

/// The like for terminals, which can't be spliced.
async fn copied(from: &Fd, to: &Fd) -> io::Result<()> {
    let mut buffer = vec![0; PIECE / 8];
    loop {
        let n = read(from, &mut buffer).await?;
        if n == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..n];
        while !rest.is_empty() {
            let mut writable = to.writable().await?;
            match writable.try_io(|to| Ok(rustix::io::write(to, rest)?)) {
                Ok(written) => rest = &rest[written?..],
                Err(_would_block) => {}
            }
        }
    }
}

async fn read(from: &Fd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let mut readable = from.readable().await?;
        match readable.try_io(|from| Ok(rustix::io::read(from, &mut *buffer)?)) {
            // The end of a terminal that no process has any more.
            Ok(Err(e)) if e.raw_os_error() == Some(libc::EIO) => return Ok(0),
            Ok(done) => return done,
            Err(_would_block) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn what_is_spliced_never_stands_still() {
        // So many that some come at just the wrong moment.
        const PIECES: usize = 300_000;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ((from, write), (read, to)) = (pipe_with(PipeFlags::CLOEXEC).unwrap(), pipe_with(PipeFlags::CLOEXEC).unwrap());
        let writer = std::thread::spawn(move || {
            let mut write = File::from(write);
            (0..PIECES).for_each(|n| write.write_all(&[n as u8]).unwrap());
        });
        let reader = std::thread::spawn(move || {
            let mut all = Vec::new();
            File::from(read).read_to_end(&mut all).unwrap();
            all
        });
        runtime.block_on(async {
            let (from, to) = (asynchronous(from).unwrap(), asynchronous(to).unwrap());
            tokio::time::timeout(Duration::from_secs(60), spliced(&from, &to)).await.expect("it stands still").unwrap();
        });
        writer.join().unwrap();
        let all = reader.join().unwrap();
        assert!(all.len() == PIECES && all.iter().enumerate().all(|(n, byte)| *byte == n as u8));
    }

    #[test]
    fn a_file_that_takes_nothing_ends_nobody() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (from, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let writer = std::thread::spawn(move || File::from(write).write_all(&[0; 4 * PIECE]));
        runtime.block_on(async {
            let from = asynchronous(from).unwrap();
            Sink::open("file:///dev/full").unwrap().take(&from).await.unwrap();
        });
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_named_pipe_is_no_file_whatever_it_is_called() {
        let path = std::env::temp_dir().join(format!("hull-shim-fifo-{}", std::process::id()));
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let _inside = runtime.enter();
        // As a file it would wait for one who reads.
        let sink = Sink::open(&format!("file://{}", path.display()));
        fs::remove_file(&path).unwrap();
        assert!(matches!(sink, Ok(Sink::Pipe(_))));
    }
}

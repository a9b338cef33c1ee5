//! What a server prints: its instances and itself.
//!
//! Owns a queue for each of standard output and error, and a thread that writes it, so that nobody who serves waits for
//! a reader. An instance waits for its own output, by itself: until there is room for it, and, where it asks for that,
//! until it has been written.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::io::AsyncWrite;
use tokio::sync::watch;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

/// How much may wait to be written, beside what every instance was given leave to write before that.
const MOST: u64 = 64 << 10;

/// What a stream may write at a time.
const PIECE: usize = 4096;

/// A queue for standard output or error.
#[derive(Clone)]
pub(super) struct Output(Arc<Queue>);

struct Queue {
    to: Box<dyn AsFd + Send + Sync>,
    state: Mutex<State>,
    /// More has come.
    more: Condvar,
    /// Something was written.
    moved: watch::Sender<()>,
    /// Held by who writes, where there is no thread for it.
    in_place: Option<Mutex<()>>,
    /// Beyond this, who writes did not ask whether there is room.
    bound: u64,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Bytes that were ever put in.
    queued: u64,
    /// Bytes that went out, or were given up.
    done: u64,
    /// What was given up last, and why.
    failed: Option<(Range<u64>, Errno)>,
    /// Messages of the server's that there was no room for.
    lost: usize,
}

impl State {
    fn backlog(&self) -> u64 {
        self.queued - self.done
    }

    fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
        self.queued += bytes.len() as u64;
    }

    /// The error of what ended here, told once.
    fn error(&self, end: &mut u64) -> io::Result<()> {
        match &self.failed {
            Some((range, errno)) if range.start < *end && *end <= range.end => {
                *end = 0;
                Err((*errno).into())
            }
            _ => Ok(()),
        }
    }
}

impl Output {
    /// For a server with so many instances at a time. Without a thread, whoever prints writes, and waits if it must.
    ///
    /// # Errors
    /// Where no thread can be made.
    pub(super) fn new(to: impl AsFd + Send + Sync + 'static, instances: u32, threaded: bool) -> io::Result<Output> {
        let queue = Arc::new(Queue {
            to: Box::new(to),
            state: Mutex::default(),
            more: Condvar::new(),
            moved: watch::Sender::new(()),
            in_place: (!threaded).then(Mutex::default),
            bound: MOST + u64::from(instances) * 4 * PIECE as u64,
        });
        if threaded {
            let writer = queue.clone();
            std::thread::Builder::new().name("writer".into()).stack_size(crate::signals::STACK).spawn(move || {
                loop {
                    drop(writer.more.wait_while(writer.state(), |s| s.waiting.is_empty()));
                    writer.write();
                }
            })?;
        }
        Ok(Output(queue))
    }

    /// A message of the server's own. It never waits: where too much does already, it is counted in place of told.
    pub(super) fn log(&self, line: std::fmt::Arguments<'_>) {
        let mut state = self.0.state();
        if state.backlog() >= 2 * MOST {
            state.lost += 1;
            return;
        }
        let lost = std::mem::take(&mut state.lost);
        if lost > 0 {
            state.push(format!("Error: nobody read this, and {lost} messages were left out here\n").as_bytes());
        }
        state.push(format!("{line}\n").as_bytes());
        self.0.put(state);
    }

    /// Waits until all that was printed has been written.
    pub(super) async fn written(&self) {
        self.0.clone().until(|s| s.backlog() == 0).await;
    }

    fn stream(&self) -> Stream {
        Stream { queue: self.0.clone(), end: 0, flushing: false, wait: None }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has what was pushed be written.
    fn put(&self, state: MutexGuard<'_, State>) {
        drop(state);
        match &self.in_place {
            None => self.more.notify_one(),
            Some(turn) => {
                let _turn = turn.lock();
                self.write();
            }
        }
    }

    /// Writes what waits, by one thread at a time.
    fn write(&self) {
        let bytes = std::mem::take(&mut self.state().waiting);
        let (mut rest, to) = (&bytes[..], self.to.as_fd());
        while !rest.is_empty() {
            let (n, error) = match rustix::io::write(to, rest) {
                Ok(n) if n > 0 => (n, None),
                Err(Errno::INTR) => continue,
                // Somebody else made it so.
                Err(Errno::AGAIN) => match poll(&mut [PollFd::from_borrowed_fd(to, PollFlags::OUT)], None) {
                    Ok(_) | Err(Errno::INTR) => continue,
                    Err(e) => (rest.len(), Some(e)),
                },
                Ok(_) => (rest.len(), Some(Errno::IO)),
                Err(e) => (rest.len(), Some(e)),
            };
            rest = &rest[n..];
            let mut state = self.state();
            let from = state.done;
            state.done += n as u64;
            if let Some(errno) = error {
                // One that has not looked yet is to find its own among them.
                let from = state.failed.take().filter(|(range, _)| range.end == from).map_or(from, |(range, _)| range.start);
                state.failed = Some((from..state.done, errno));
            }
            drop(state);
            self.moved.send_replace(());
        }
    }

    async fn until(self: Arc<Queue>, ready: impl Fn(&State) -> bool) {
        let mut moved = self.moved.subscribe();
        while !ready(&self.state()) {
            // The sender is in the queue.
            let _ = moved.changed().await;
        }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        std::io::IsTerminal::is_terminal(&self.0.to.as_fd())
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.stream())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.stream())
    }
}

/// What an instance writes by.
struct Stream {
    queue: Arc<Queue>,
    /// Where in the queue its own last byte is.
    end: u64,
    flushing: bool,
    /// While an [`AsyncWrite`] waits.
    wait: Option<Pin<Box<dyn Future<Output = ()> + Send + Sync>>>,
}

impl Stream {
    /// Whether it may write. If so, nothing of its own is being flushed.
    fn may(end: u64, flushing: bool) -> impl Fn(&State) -> bool + Send + Sync + 'static {
        move |s| !(flushing && s.done < end) && s.backlog() < MOST
    }

    fn poll(&mut self, cx: &mut Context<'_>, is: impl Fn(&State) -> bool) -> Poll<()> {
        while !is(&self.queue.state()) {
            let wait = self.wait.get_or_insert_with(|| {
                let mut moved = self.queue.moved.subscribe();
                Box::pin(async move { drop(moved.changed().await) })
            });
            // What moved before that is none of its news.
            if is(&self.queue.state()) {
                break;
            }
            ready!(wait.as_mut().poll(cx));
            self.wait = None;
        }
        self.wait = None;
        Poll::Ready(())
    }
}

fn told(e: io::Error) -> StreamError {
    if e.kind() == io::ErrorKind::BrokenPipe { StreamError::Closed } else { StreamError::LastOperationFailed(e.into()) }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {
        self.queue.clone().until(Stream::may(self.end, self.flushing)).await;
    }
}

#[wasmtime_wasi::async_trait]
impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut state = self.queue.state();
        state.error(&mut self.end).map_err(told)?;
        if state.backlog() + bytes.len() as u64 > self.queue.bound {
            return Err(StreamError::trap("too much output at once"));
        }
        state.push(&bytes);
        self.end = state.queued;
        self.queue.put(state);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.flushing = true;
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let state = self.queue.state();
        if !Stream::may(self.end, self.flushing)(&state) {
            return Ok(0);
        }
        self.flushing = false;
        state.error(&mut self.end).map_err(told)?;
        Ok(PIECE)
    }

    /// However often others are faster.
    async fn write_ready(&mut self) -> StreamResult<usize> {
        loop {
            self.ready().await;
            match self.check_write()? {
                0 => {}
                n => return Ok(n),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll(cx, |s| s.backlog() < MOST));
        let this = &mut *self;
        let (mut state, n) = (this.queue.state(), bytes.len().min(PIECE));
        state.error(&mut this.end)?;
        state.push(&bytes[..n]);
        this.end = state.queued;
        this.queue.put(state);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let end = self.end;
        ready!(self.poll(cx, move |s| s.done >= end));
        let this = &mut *self;
        Poll::Ready(this.queue.state().error(&mut this.end))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead as _, Read as _};
    use std::time::Duration;

    use tokio::io::AsyncWriteExt as _;
    use wasmtime_wasi::cli::StdoutStream as _;

    use super::*;

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
    }

    /// Whether it is still waiting a little later.
    async fn waits(what: impl Future) -> bool {
        tokio::time::timeout(Duration::from_millis(100), what).await.is_err()
    }

    fn output() -> (File, Output) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (reader.into(), Output::new(writer, 1, true).unwrap())
    }

    #[test]
    fn who_writes_waits_for_room_and_who_flushes_for_the_reader() {
        run(async {
            let (mut reader, output) = output();
            let long: Vec<u8> = (0..400_000_u32).map(|n| n as u8).collect();
            let mut first = Box::into_pin(output.async_stream());
            // A pipe holds as much as the queue.
            assert!(waits(first.write_all(&long)).await);
            let mut second = Box::into_pin(output.async_stream());
            assert!(waits(second.write_all(b"x")).await);
            let mut third = output.p2_stream();
            assert!(waits(third.ready()).await && matches!(third.check_write(), Ok(0)));
            assert!(waits(first.flush()).await && waits(output.written()).await);
            let mut text = vec![0; 40_000];
            reader.read_exact(&mut text).unwrap();
            assert_eq!(text, long[..40_000]);
            third.ready().await;
            assert_eq!(third.check_write().unwrap(), PIECE);
            third.write(Bytes::from_static(b"third")).unwrap();
            third.flush().unwrap();
            assert!(waits(third.ready()).await && matches!(third.check_write(), Ok(0)));
            // How much of the first got in nobody knows.
            std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
            third.ready().await;
            first.flush().await.unwrap();
            output.written().await;
        });
    }

    #[test]
    fn who_lost_it_is_told_once() {
        run(async {
            let (reader, output) = output();
            drop(reader);
            let (mut first, mut other) = (output.p2_stream(), output.p2_stream());
            first.write(Bytes::from_static(b"x")).unwrap();
            output.written().await;
            assert!(matches!(first.check_write(), Err(StreamError::Closed)));
            assert!(first.check_write().is_ok() && other.check_write().is_ok());
            let mut stream = Box::into_pin(output.async_stream());
            stream.write_all(b"x").await.unwrap();
            assert_eq!(stream.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        });
    }

    #[test]
    fn a_message_never_waits_and_what_is_lost_is_counted() {
        run(async {
            let (reader, output) = output();
            for n in 0..100_000 {
                output.log(format_args!("message {n}"));
            }
            assert!(output.0.state().backlog() < 3 * MOST);
            let mut lines = io::BufReader::new(reader).lines().map(Result::unwrap);
            let reading = std::thread::spawn(move || {
                let told = lines.by_ref().take_while(|l| !l.starts_with("Error")).count();
                (told, lines.next())
            });
            output.written().await;
            let lost = output.0.state().lost;
            output.log(format_args!("after"));
            assert_eq!(reading.join().unwrap(), (100_000 - lost, Some("after".to_owned())));
        });
    }

    #[test]
    fn who_asks_for_no_room_is_stopped() {
        run(async {
            let (_reader, output) = output();
            let mut stream = output.p2_stream();
            let written = (0..1000).take_while(|_| stream.write(Bytes::from_static(&[0; PIECE])).is_ok()).count();
            assert!(written < 100, "{written}");
        });
    }
}

//! A client of HTTP/1.1 that believes nothing, and the way into a container's network.

use std::fs;
use std::io::Read as _;
use std::net::TcpStream;
use std::os::fd::AsFd as _;

use crate::case::{Done, Stop};

/// Does that in the network namespace of a process.
pub(crate) fn inside<T: Send>(pid: i32, what: impl FnOnce() -> T + Send) -> Result<T, Stop> {
    use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
    let namespace = fs::File::open(format!("/proc/{pid}/ns/net"))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| -> Result<T, Stop> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(what())
        });
        thread.join().map_err(|_| "the thread panicked")?
    })
}

/// An answer that was read to the connection's end.
pub(crate) struct Answer {
    pub(crate) status: u32,
    pub(crate) head: String,
    pub(crate) body: String,
    /// All that was announced has come.
    pub(crate) whole: bool,
}

/// Reads to the end.
pub(crate) fn read(mut stream: TcpStream) -> Result<Answer, Stop> {
    let mut bytes = Vec::new();
    // What came before an error is looked at, too.
    let _ = stream.read_to_end(&mut bytes);
    parse(&String::from_utf8_lossy(&bytes))
}

/// Takes an answer apart.
pub(crate) fn parse(text: &str) -> Result<Answer, Stop> {
    let Some((head, rest)) = text.split_once("\r\n\r\n") else {
        return Ok(Answer { status: 0, head: String::new(), body: text.to_owned(), whole: false });
    };
    let head = head.to_lowercase();
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).ok_or_else(|| format!("no status in {head:?}"))?;
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse::<usize>().ok());
    let (body, whole) = match length {
        Some(length) => (rest.to_owned(), rest.len() == length),
        None => pieces(rest),
    };
    Ok(Answer { status, head, body, whole })
}

/// The body that comes in chunks, and whether the last one was there.
fn pieces(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    while let Some((size, more)) = rest.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size, 16) else { break };
        if size == 0 {
            return (body, true);
        }
        let Some(piece) = more.get(..size) else { break };
        body.push_str(piece);
        rest = more.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

impl Answer {
    /// Fails the case unless it is that, and whole.
    #[track_caller]
    pub(crate) fn is(&self, status: u32, body: &str) -> Done {
        let at = std::panic::Location::caller();
        if self.status == status && self.body == body && self.whole {
            return Ok(());
        }
        Err(format!("{}: got {} {:?} (whole: {}), want {status} {body:?}", at.line(), self.status, self.body, self.whole).into())
    }
}

//! Isolation "wasm": components that answer HTTP requests, and those that send them.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::bundle::{Bundle, Container};
use crate::call::Running;
use crate::case::{Case, Done, Stop, case, check, same, skip};
use crate::ctx::Ctx;
use crate::host;
use crate::http::{Answer, inside, parse, read};

pub(crate) const CASES: &[Case] = &[
    case!(answers, "a request is answered: headers and body come and go, long or in pieces too"),
    case!(kept_alive, "a connection serves more than one request"),
    case!(each_its_own, "each request has an instance of its own"),
    case!(at_once, "requests are answered at the same time"),
    case!(larger_than_a_place, "a component that needs more than the places made for instances have is served, too"),
    case!(requests, "no more than the limit at a time; others wait, but not longer than a request may take"),
    case!(timeout_in_loop, "a loop is cut off when its time is over, while others are answered"),
    case!(timeout_asleep, "so is one that waits"),
    case!(trap, "a trap is answered with 500 and told with its backtrace, and the server goes on"),
    case!(cut_short, "an answer that a trap cuts short does not pass for a whole one"),
    case!(client_gone, "a client that goes ends its request, and one that has said all gets its answer"),
    case!(goes_on, "an instance may go on once it has answered"),
    case!(bad_requests, "a request without a host, with two, or two lengths, is a bad one"),
    case!(headers_too_large, "the head of a request is bounded, by annotation"),
    case!(slow_head, "a client that takes long over its head, or is idle, is not waited for"),
    case!(connections, "no more connections than the limit; others wait"),
    case!(memory, "all instances together have what the container's limit leaves, and give it back"),
    case!(no_room, "where there is no memory for one more instance, the answer is 503"),
    case!(term, "TERM lets a running request end, takes no new one, and ends with 0"),
    case!(unread, "where nobody reads the output, those that print wait for it, and nobody else"),
    case!(term_when_idle, "TERM ends a server that has nothing to do at once, whatever connections it has"),
    case!(term_cut_off, "what takes too long after TERM is cut off, and the code tells"),
    case!(term_unread, "TERM ends a server whose output nobody reads"),
    case!(term_twice, "a second TERM ends it at once, unless both are one that came twice; so does the first QUIT"),
    case!(import_missing, "an import that nobody has is named when the container is created; so is a handler that is none"),
    case!(handler_of_another_type, "a handler that takes or gives something else is refused when the container is created"),
    case!(address_in_use, "an address that another has is named"),
    case!(address_from_environment, "the address comes from runwasi's variables, or is its own"),
    case!(bad_values, "an annotation with a bad value is an error with its name"),
    case!(handler_or_command, "of a component that is both, the command is run, unless an address is given"),
    case!(exec, "exec runs a command beside the server"),
    case!(asks, "a handler and a command send requests, in the container's network"),
    case!(asks_for_names, "names are looked up by files and DNS, by nothing that the image brings"),
    case!(asks_secretly, "https trusts whom the container trusts, and nobody else"),
    case!(low_port, "a low port is for those that have the capability to bind one"),
    case!(few_threads, "with few processes allowed it serves by fewer threads, and says so where there can be none"),
    case!(nothing_left_over, "requests leave neither descriptors nor threads nor memory behind"),
    case!(cve_2026_27572, "CVE-2026-27572: fields without end are refused, and end no server"),
    case!(ghsa_xjhv, "GHSA-xjhv-v822-pf94: a call that is dropped while it runs ends no server"),
];

const HTTP: &str = include_str!("../../wasm/http.wat");

/// What stands in place of a comment at its end.
const RUN: &str = "(func $run (result (result)) (canon lift (core func $main \"run\")))
    (instance $run (export \"run\" (func $run))) (export \"wasi:cli/run@0.2.0\" (instance $run))";

fn both() -> String {
    HTTP.replace(";; and a command", RUN)
}

/// A bundle with a component, and annotations after `dev.hull.wasm.`.
fn app<'a>(ctx: &'a Ctx, text: &str, annotations: &[(&str, &str)]) -> Result<Bundle<'a>, Stop> {
    let mut b = super::wasm::module(ctx)?.args(&["/app.wat"]);
    for (name, value) in annotations {
        b = b.set(&format!("/annotations/dev.hull.wasm.{name}"), json!(value));
    }
    super::wasm::write(&b, "app.wat", text)?;
    Ok(b)
}

/// A container that serves.
struct Server<'a> {
    c: Container<'a>,
    running: Running,
    address: &'static str,
}

fn serve<'a>(ctx: &'a Ctx, annotations: &[(&str, &str)]) -> Result<Server<'a>, Stop> {
    start(app(ctx, HTTP, annotations)?, "127.0.0.1:8080")
}

fn start<'a>(b: Bundle<'a>, address: &'static str) -> Result<Server<'a>, Stop> {
    let (c, running) = b.spawn()?;
    let server = Server { c, running, address };
    host::wait_for("a server", 8, || server.said("Serving HTTP on http://"))?;
    Ok(server)
}

impl Server<'_> {
    fn said(&self, text: &str) -> bool {
        fs::read_to_string(&self.running.err).is_ok_and(|t| t.contains(text))
    }

    fn connect(&self) -> Result<TcpStream, Stop> {
        let address = self.address;
        let stream = inside(self.c.pid()?, || TcpStream::connect(address))??;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(stream)
    }

    /// Sends a request without a body; the connection is to end with the answer.
    fn send(&self, path: &str) -> Result<TcpStream, Stop> {
        let mut stream = self.connect()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
        Ok(stream)
    }

    fn get(&self, path: &str) -> Result<Answer, Stop> {
        read(self.send(path)?)
    }

    /// The answers to requests that are sent at once, in that order.
    fn all(&self, paths: &[&str]) -> Result<Vec<Answer>, Stop> {
        let streams = paths.iter().map(|path| self.send(path)).collect::<Result<Vec<_>, _>>()?;
        streams.into_iter().map(read).collect()
    }

    /// Ends it.
    fn end(self) -> Result<crate::call::Output, Stop> {
        self.c.kill("TERM")?;
        self.running.wait()?.ok()
    }
}

fn within<T>(limit: Duration, what: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    let begun = Instant::now();
    let done = what()?;
    check!(begun.elapsed() < limit, "it took {:?}", begun.elapsed());
    Ok(done)
}

const SOON: Duration = Duration::from_secs(6);

fn answers(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    let ask = |head: &str, body: &str| -> Result<Answer, Stop> {
        let mut stream = server.connect()?;
        write!(stream, "POST /echo?a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Test: a value\r\n{head}\r\n\r\n")?;
        let mut sender = stream.try_clone()?;
        let body = body.to_owned();
        let send = std::thread::spawn(move || sender.write_all(body.as_bytes()));
        let answer = read(stream)?;
        send.join().map_err(|_| "the sender panicked")??;
        Ok(answer)
    };
    let answer = ask("Content-Length: 5", "hello")?;
    answer.is(200, "hello")?;
    check!(answer.head.contains("x-echo: a value"), "{}", answer.head);
    ask("Transfer-Encoding: chunked", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")?.is(200, "abcde")?;
    let long = "0123456789abcdef".repeat(200_000);
    let answer = ask(&format!("Content-Length: {}", long.len()), &long)?;
    check!(answer.status == 200 && answer.whole && answer.body == long, "{} of {} bytes came", answer.body.len(), long.len());
    server.get("/p")?.is(200, "printed\n")?;
    same!(server.end()?.out, "printed\n", "standard output");
    Ok(())
}

fn kept_alive(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    let mut stream = server.connect()?;
    for _ in 0..3 {
        stream.write_all(b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n")?;
        let (mut text, mut buffer) = (String::new(), [0; 4096]);
        while !text.ends_with("0\r\n\r\n") {
            let n = stream.read(&mut buffer)?;
            check!(n > 0, "the connection ended: {text:?}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        parse(&text)?.is(200, "1\n")?;
    }
    server.end().map(drop)
}

fn each_its_own(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    for _ in 0..3 {
        server.get("/c")?.is(200, "1\n")?;
    }
    server.end().map(drop)
}

fn at_once(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    let all = within(Duration::from_secs(4), || server.all(&["/s9"; 20]))?;
    all.iter().try_for_each(|a| a.is(200, "slept\n"))?;
    server.end().map(drop)
}

fn larger_than_a_place(ctx: &Ctx) -> Done {
    let more = "(core module $more (memory 1)) (core instance (instantiate $more)) (core instance (instantiate $more))
        (core instance (instantiate $more))";
    let server = start(app(ctx, &HTTP.replace(";; and a command", more), &[])?, "127.0.0.1:8080")?;
    server.all(&["/"; 4])?.iter().try_for_each(|a| a.is(200, "root\n"))?;
    server.end().map(drop)
}

fn requests(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.requests", "1")])?;
    let begun = Instant::now();
    server.all(&["/s5"; 3])?.iter().try_for_each(|a| a.is(200, "slept\n"))?;
    check!(begun.elapsed() >= Duration::from_millis(1500), "they took {:?}", begun.elapsed());
    server.end()?;
    let server = serve(ctx, &[("http.requests", "1"), ("http.timeout", "1")])?;
    let all = within(SOON, || server.all(&["/l"; 6]))?;
    check!(all.iter().all(|a| matches!(a.status, 503 | 504)), "{:?}", all.iter().map(|a| a.status).collect::<Vec<_>>());
    check!(all.iter().any(|a| a.status == 504), "none was begun");
    server.end().map(drop)
}

fn timeout_in_loop(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.timeout", "2")])?;
    // More than there are processors.
    let loops = ["/l"; 6].iter().map(|path| server.send(path)).collect::<Result<Vec<_>, _>>()?;
    let begun = Instant::now();
    server.get("/c")?.is(200, "1\n")?;
    check!(begun.elapsed() < Duration::from_millis(1800), "another waited {:?}", begun.elapsed());
    for stream in loops {
        read(stream)?.is(504, "504 Gateway Timeout\n")?;
    }
    check!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    server.get("/c")?.is(200, "1\n")?;
    let out = server.end()?;
    check!(out.err.contains("(GET /l)") && out.err.contains("longer than 2 seconds") && out.err.contains("backtrace"), "{}", out.text());
    Ok(())
}

fn timeout_asleep(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.timeout", "1")])?;
    // Seven seconds.
    within(SOON, || server.get("/sz"))?.is(504, "504 Gateway Timeout\n")?;
    server.get("/s2")?.is(200, "slept\n")?;
    server.end().map(drop)
}

fn trap(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    server.get("/t?secret=1")?.is(500, "500 Internal Server Error\n")?;
    server.get("/n")?.is(500, "500 Internal Server Error\n")?;
    server.get("/c")?.is(200, "1\n")?;
    let out = server.end()?;
    check!(out.err.contains("(GET /t)") && out.err.contains("unreachable") && out.err.contains("backtrace"), "{}", out.text());
    check!(out.err.contains("(GET /n): it was not answered"), "{}", out.text());
    check!(!out.err.contains("secret"), "a query is told: {}", out.text());
    Ok(())
}

fn cut_short(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    for _ in 0..8 {
        let answer = server.get("/T")?;
        check!(!answer.whole, "{} {:?} passes for a whole answer", answer.status, answer.body);
    }
    server.get("/c")?.is(200, "1\n")?;
    server.end().map(drop)
}

fn goes_on(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    server.get("/a")?.is(200, "answered\n")?;
    server.c.wait_out("later")?;
    // The end waits for it, too.
    server.get("/a")?.is(200, "answered\n")?;
    same!(server.end()?.out, "later\nlater\n", "standard output");
    Ok(())
}

fn client_gone(ctx: &Ctx) -> Done {
    // One that waits or computes, and behind it one that has not begun.
    let server = serve(ctx, &[("http.requests", "1")])?;
    for path in ["/sz", "/l"] {
        let (gone, waits) = (server.send(path)?, server.send("/sz")?);
        std::thread::sleep(Duration::from_millis(200));
        drop((gone, waits));
        within(SOON, || server.get("/c"))?.is(200, "1\n")?;
    }
    // A body that nobody reads does not hide the end behind it, if that can come through.
    let mut stream = server.connect()?;
    write!(stream, "POST /sz HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(60_000))?;
    drop(stream);
    within(SOON, || server.get("/c"))?.is(200, "1\n")?;
    // Half of the connection is open yet.
    let stream = server.send("/s5")?;
    stream.shutdown(std::net::Shutdown::Write)?;
    read(stream)?.is(200, "slept\n")?;
    // What comes after the answer is not the client's business.
    drop(server.get("/a")?);
    server.c.wait_out("later")?;
    let out = server.end()?;
    check!(!out.err.contains("Error"), "{}", out.text());
    Ok(())
}

fn bad_requests(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    for head in [
        "GET /c HTTP/1.1\r\n\r\n",
        "GET /c HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\na",
        "GET /c\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /c HTTP/1.1\r\nHost: a\r\nA name: x\r\n\r\n",
    ] {
        let mut stream = server.connect()?;
        stream.write_all(head.as_bytes())?;
        stream.shutdown(std::net::Shutdown::Write)?;
        same!(read(stream)?.status, 400, "status of {head:?}");
    }
    let mut stream = server.connect()?;
    stream.write_all(b"GET /c HTTP/1.0\r\n\r\n")?;
    same!(read(stream)?.status, 200, "status of HTTP/1.0 without a host");
    server.end().map(drop)
}

fn headers_too_large(ctx: &Ctx) -> Done {
    let size = |server: &Server<'_>, bytes: usize| -> Result<u32, Stop> {
        let mut stream = server.connect()?;
        let head = format!("GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: {}\r\n\r\n", "x".repeat(bytes));
        // It may be refused before it is all there.
        let _ = stream.write_all(head.as_bytes());
        Ok(read(stream)?.status)
    };
    let server = serve(ctx, &[])?;
    same!((size(&server, 30_000)?, size(&server, 34_000)?), (200, 431), "status");
    let mut stream = server.connect()?;
    let many: String = (0..200).map(|n| format!("X-{n}: {n}\r\n")).collect();
    write!(stream, "GET /c HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{many}\r\n")?;
    same!(read(stream)?.status, 431, "status with 200 headers");
    server.end()?;
    let server = serve(ctx, &[("http.header-bytes", "8192")])?;
    same!((size(&server, 7_000)?, size(&server, 9_000)?), (200, 431), "status");
    server.end().map(drop)
}

fn slow_head(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.header-timeout", "1")])?;
    let (mut slow, mut idle) = (server.connect()?, server.connect()?);
    slow.write_all(b"GET /c HTTP/1.1\r\nHost:")?;
    server.get("/c")?.is(200, "1\n")?;
    for stream in [&mut slow, &mut idle] {
        within(SOON, || Ok(stream.read_to_end(&mut Vec::new())?))?;
    }
    server.end().map(drop)
}

fn connections(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.connections", "2")])?;
    let (first, second) = (server.connect()?, server.connect()?);
    let mut third = server.send("/c")?;
    third.set_read_timeout(Some(Duration::from_millis(400)))?;
    check!(third.read(&mut [0]).is_err(), "a third connection was served");
    drop(first);
    third.set_read_timeout(Some(Duration::from_secs(20)))?;
    read(third)?.is(200, "1\n")?;
    drop(second);
    server.end().map(drop)
}

fn memory(ctx: &Ctx) -> Done {
    // Less than the engine takes, 60 MiB are the instances'.
    let b = app(ctx, HTTP, &[])?.set("/linux/resources/memory/limit", json!(80 << 20));
    let server = start(b, "127.0.0.1:8080")?;
    for _ in 0..3 {
        // 24 MiB each.
        let all = server.all(&["/m3"; 6])?;
        let count = |body: &str| all.iter().filter(|a| a.status == 200 && a.body == body).count();
        let (got, none) = (count("got\n"), count("none\n"));
        check!((1..=2).contains(&got) && got + none == 6, "{got} of 6 got 24 MiB each, and {none} did not");
    }
    server.get("/m5")?.is(200, "got\n")?;
    server.get("/m9")?.is(200, "none\n")?;
    server.end().map(drop)
}

fn no_room(ctx: &Ctx) -> Done {
    // Three pages for each.
    let server = serve(ctx, &[("memory", "300000")])?;
    let first = server.send("/s9")?;
    std::thread::sleep(Duration::from_millis(200));
    server.get("/c")?.is(503, "503 Service Unavailable\n")?;
    read(first)?.is(200, "slept\n")?;
    server.get("/c")?.is(200, "1\n")?;
    let out = server.end()?;
    check!(out.err.contains("no memory for an instance"), "{}", out.text());
    // A quarter of it, which is less than instances take that do nothing.
    let server = start(app(ctx, HTTP, &[])?.set("/linux/resources/memory/limit", json!(32 << 20)), "127.0.0.1:8080")?;
    let all = server.all(&["/s9"; 30])?;
    let count = |status: u32| all.iter().filter(|a| a.status == status).count();
    check!((1..=12).contains(&count(200)) && count(200) + count(503) == 30, "{} of 30 were answered, and {} not", count(200), count(503));
    server.end().map(drop)
}

fn term(ctx: &Ctx) -> Done {
    for signal in ["TERM", "INT"] {
        let server = serve(ctx, &[])?;
        let (pid, running) = (server.c.pid()?, server.send("/s9")?);
        host::wait_for("the request", 8, || waiting(pid))?;
        server.c.kill(signal)?;
        let refused = || inside(pid, || TcpStream::connect("127.0.0.1:8080")).is_ok_and(|c| c.is_err());
        host::wait_for("the end of listening", 2, refused)?;
        read(running)?.is(200, "slept\n")?;
        server.running.wait()?.ok()?;
    }
    Ok(())
}

/// Whether a server has taken all that was sent to it. Its own end of the connection is in its table.
fn waiting(pid: i32) -> bool {
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    // State 01 is an established connection; the receive queue is the second half of the fifth field.
    let mut rows = table.lines().filter_map(|l| Some((l.split_whitespace().nth(3)?, l.split_whitespace().nth(4)?)));
    rows.any(|(state, _)| state == "01") && table.lines().skip(1).all(|l| l.split_whitespace().nth(4).is_some_and(|q| q.ends_with(":00000000")))
}

/// A server whose standard output is a pipe that is full. The second is the pipe's other end, the third what is in it.
fn serve_unread<'a>(b: Bundle<'a>) -> Result<(Server<'a>, fs::File, usize), Stop> {
    let (unread, output) = rustix::pipe::pipe()?;
    rustix::io::ioctl_fionbio(&output, true)?;
    let mut full = 0;
    while let Ok(n) = rustix::io::write(&output, &[b'x'; 4096]) {
        full += n;
    }
    rustix::io::ioctl_fionbio(&output, false)?;
    let (c, running) = b.spawn_to(output)?;
    let server = Server { c, running, address: "127.0.0.1:8080" };
    host::wait_for("a server", 8, || server.said("Serving HTTP on http://"))?;
    Ok((server, unread.into(), full))
}

fn term_unread(ctx: &Ctx) -> Done {
    // With as few threads as there may be, those that serve write themselves.
    for threads in [100, 4] {
        let b = app(ctx, HTTP, &[("http.timeout", "3"), ("http.grace", "1")])?.set("/linux/resources/pids/limit", json!(threads));
        let (server, _unread, _) = serve_unread(b)?;
        let asked = (0..4).map(|_| server.send("/p")).collect::<Result<Vec<_>, _>>()?;
        std::thread::sleep(Duration::from_secs(1));
        server.c.kill("TERM")?;
        let begun = Instant::now();
        server.running.wait()?.code(143)?;
        check!(begun.elapsed() < Duration::from_secs(7), "it took {:?}", begun.elapsed());
        drop(asked);
    }
    Ok(())
}

fn unread(ctx: &Ctx) -> Done {
    let (server, mut output, full) = serve_unread(app(ctx, HTTP, &[])?)?;
    // More than there are threads.
    let asked = (0..40).map(|_| server.send("/p")).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(Duration::from_millis(500));
    within(SOON, || server.get("/c"))?.is(200, "1\n")?;
    asked[0].set_nonblocking(true)?;
    check!(asked[0].peek(&mut [0]).is_err(), "one that prints was answered");
    asked[0].set_nonblocking(false)?;
    let mut text = vec![0; full + 40 * "printed\n".len()];
    output.read_exact(&mut text)?;
    check!(text[full..] == *"printed\n".repeat(40).as_bytes(), "{:?}", String::from_utf8_lossy(&text[full..]));
    for stream in asked {
        read(stream)?.is(200, "printed\n")?;
    }
    server.end().map(drop)
}

fn term_when_idle(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.header-timeout", "60"), ("http.grace", "60")])?;
    let mut used = server.connect()?;
    used.write_all(b"GET /c HTTP/1.1\r\nHost: x\r\n\r\n")?;
    check!(used.read(&mut [0; 100])? > 0, "no answer");
    let unused = server.connect()?;
    let out = within(SOON, || server.end())?;
    drop((used, unused));
    check!(!out.err.contains("Error"), "{}", out.text());
    Ok(())
}

fn term_cut_off(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.grace", "1")])?;
    let (pid, running) = (server.c.pid()?, server.send("/l")?);
    host::wait_for("the request", 8, || waiting(pid))?;
    server.c.kill("TERM")?;
    let begun = Instant::now();
    let out = server.running.wait()?.code(143)?;
    check!((1..6).contains(&begun.elapsed().as_secs()), "it took {:?}", begun.elapsed());
    check!(out.err.contains("cut off"), "{}", out.text());
    check!(!read(running)?.whole, "the request was answered");
    Ok(())
}

fn term_twice(ctx: &Ctx) -> Done {
    // Two at once are one that came by two ways.
    let server = serve(ctx, &[])?;
    let (pid, running) = (server.c.pid()?, server.send("/s9")?);
    host::wait_for("the request", 8, || waiting(pid))?;
    for _ in 0..2 {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).ok_or("no pid")?, rustix::process::Signal::TERM)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    read(running)?.is(200, "slept\n")?;
    server.running.wait()?.ok()?;
    for (signals, code) in [(&["TERM", "TERM"][..], 143), (&["INT", "TERM"], 143), (&["QUIT"], 131)] {
        let server = serve(ctx, &[("http.grace", "60")])?;
        let (pid, _running) = (server.c.pid()?, server.send("/l")?);
        host::wait_for("the request", 8, || waiting(pid))?;
        let begun = Instant::now();
        for signal in signals {
            server.c.kill(signal)?;
            std::thread::sleep(Duration::from_millis(400));
        }
        server.running.wait()?.code(code)?;
        check!(begun.elapsed() < SOON, "it took {:?}", begun.elapsed());
    }
    Ok(())
}

fn import_missing(ctx: &Ctx) -> Done {
    let nowhere = HTTP.replace("[method]fields.get\"", "[method]fields.nowhere\"");
    let b = app(ctx, &nowhere, &[])?;
    b.try_create()?.fails()?.names(&["[method]fields.nowhere"])?;
    b.nothing_left()?;
    // It is told before anything of the component is compiled: this has the wrong type, too.
    let b = app(ctx, &nowhere.replace(";; and a command", "(core module (func (result i32)))"), &[])?;
    b.try_create()?.fails()?.names(&["[method]fields.nowhere"])?;
    let another = "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m))
        (func $f (canon lift (core func $i \"f\"))) (instance $h (export \"f\" (func $f)))
        (export \"wasi:http/incoming-handler@0.2.0\" (instance $h)))";
    let b = app(ctx, another, &[])?;
    b.try_create()?.fails()?.names(&["incoming-handler"])?;
    b.nothing_left()
}

fn handler_of_another_type(ctx: &Ctx) -> Done {
    const HANDLE: &str = "(func $handle (param \"request\" (own $incoming-request)) (param \"response-out\" (own $response-outparam))";
    const EXPORT: &str = "(instance $handler (export \"handle\" (func $handle)))\n  (export \"wasi:http/incoming-handler@0.2.0\"";
    let newer = EXPORT.replace("incoming-handler@0.2.0", "handler@0.3.0");
    for (old, new) in [
        // Something else, in another order, or of another kind.
        (HANDLE, "(func $handle (param \"a\" u32) (param \"b\" u32)"),
        (HANDLE, "(func $handle (param \"response-out\" (own $response-outparam)) (param \"request\" (own $incoming-request))"),
        (HANDLE, "(func $handle (param \"request\" (own $incoming-request)) (param \"response-out\" (own $incoming-request))"),
        (EXPORT, &newer),
    ] {
        check!(HTTP.contains(old), "there is no {old}");
        let b = app(ctx, &HTTP.replace(old, new), &[])?;
        b.try_create()?.fails()?.names(&["handler@0", "\"handle\"", "type"])?;
        b.nothing_left()?;
    }
    Ok(())
}

fn address_in_use(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    let out = server.c.exec(&["/app.wat"])?.code(1)?;
    check!(out.err.contains("cannot listen at 0.0.0.0:8080: Address") && out.err.contains("in use"), "{}", out.text());
    server.get("/c")?.is(200, "1\n")?;
    server.end().map(drop)
}

fn address_from_environment(ctx: &Ctx) -> Done {
    let with = |env: Value, annotations: &[(&str, &str)]| -> Result<Bundle<'_>, Stop> {
        Ok(app(ctx, HTTP, annotations)?.set("/process/env", env))
    };
    let named = "WASMTIME_HTTP_PROXY_SOCKET_ADDR=127.0.0.1:8081";
    for (env, annotations, address) in [
        (json!([named, "WASMTIME_HTTP_PROXY_BACKLOG=7"]), &[][..], "127.0.0.1:8081"),
        (json!([named, "WASMTIME_HTTP_BACKLOG=7"]), &[("http.listen", "127.0.0.1:8082")], "127.0.0.1:8082"),
        (json!([]), &[("http.listen", "8083")], "127.0.0.1:8083"),
        (json!([]), &[("http.listen", "[::1]:8084")], "[::1]:8084"),
    ] {
        let server = start(with(env, annotations)?, address)?;
        server.get("/c")?.is(200, "1\n")?;
        server.end()?;
    }
    for bad in ["WASMTIME_HTTP_PROXY_SOCKET_ADDR=here", "WASMTIME_HTTP_PROXY_BACKLOG=many", "WASMTIME_HTTP_BACKLOG=-1"] {
        let name = bad.split('=').next().unwrap_or_default();
        with(json!([bad]), &[])?.run()?.code(1)?.names(&[name])?;
    }
    Ok(())
}

fn bad_values(ctx: &Ctx) -> Done {
    for (name, value) in [
        ("http.listen", "localhost"), ("http.listen", "80.1"), ("http.requests", "0"), ("http.connections", "x"), ("http.timeout", "1s"),
        ("http.header-timeout", "0"), ("http.header-bytes", "100"), ("http.grace", "-1"), ("http.liste", "80"),
    ] {
        let b = app(ctx, HTTP, &[(name, value)])?;
        b.try_create()?.fails()?.names(&[&format!("dev.hull.wasm.{name}")])?;
        b.nothing_left()?;
    }
    Ok(())
}

fn handler_or_command(ctx: &Ctx) -> Done {
    same!(app(ctx, &both(), &[])?.run()?.ok()?.out, "command\n", "output of the command");
    let server = start(app(ctx, &both(), &[("http.listen", "8080")])?, "127.0.0.1:8080")?;
    server.get("/c")?.is(200, "1\n")?;
    same!(server.end()?.out, "", "output of the handler");
    Ok(())
}

fn exec(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    same!(server.c.exec(&["/bin/probe.wasm", "args", "x"])?.ok()?.out, "/bin/probe.wasm\nargs\nx\n", "arguments");
    server.get("/c")?.is(200, "1\n")?;
    server.end().map(drop)
}

fn asks(ctx: &Ctx) -> Done {
    let b = app(ctx, HTTP, &[])?;
    super::wasm::write(&b, "both.wat", &both())?;
    let server = start(b, "127.0.0.1:8080")?;
    same!(server.c.exec(&["/both.wat"])?.ok()?.out, "command\nroot\n", "what a command gets from the server beside it");
    // From a server that is not a component.
    let pid = server.c.pid()?;
    let listener = inside(pid, || TcpListener::bind("127.0.0.1:0"))??;
    let port = listener.local_addr()?.port();
    let other = std::thread::spawn(move || -> std::io::Result<String> {
        let (mut stream, _) = listener.accept()?;
        let (mut text, mut buffer) = (String::new(), [0; 1000]);
        while !text.contains("\r\n\r\n") {
            let n = stream.read(&mut buffer)?;
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nlocal\n")?;
        Ok(text)
    });
    server.get(&format!("/o127.0.0.1:{port}/path?q"))?.is(200, "local\n")?;
    let asked = other.join().map_err(|_| "the other server panicked")??;
    check!(asked.starts_with("GET /path?q HTTP/1.1\r\n") && asked.to_lowercase().contains(&format!("host: 127.0.0.1:{port}\r\n")), "{asked}");
    // The port is closed now: connection-refused is the seventh of the errors.
    server.get(&format!("/o127.0.0.1:{port}/"))?.is(200, "error 6\n")?;
    // What the host has is not there.
    let outside = TcpListener::bind("127.0.0.1:0")?;
    server.get(&format!("/o{}/", outside.local_addr()?))?.is(200, "error 6\n")?;
    // DNS-error is the second, and HTTP-request-URI-invalid the twentieth; TLS-protocol-error the thirteenth.
    server.get("/onowhere.invalid/")?.is(200, "error 1\n")?;
    server.get("/ouser@127.0.0.1:8080/")?.is(200, "error 19\n")?;
    server.get("/h127.0.0.1:8080/")?.is(200, "error 12\n")?;
    server.end().map(drop)
}

fn asks_for_names(ctx: &Ctx) -> Done {
    use std::os::unix::net::UnixListener;
    let b = app(ctx, HTTP, &[])?;
    super::wasm::write(&b, "etc/nsswitch.conf", "hosts: evil files\n")?;
    super::wasm::write(&b, "etc/hosts", "127.0.0.1 itself.example\n")?;
    // Whoever opens one waits for ever.
    for dir in ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64", "lib", "usr/lib"] {
        fs::create_dir_all(b.rootfs().join(dir))?;
        let library = b.rootfs().join(dir).join("libnss_evil.so.2");
        rustix::fs::mknodat(rustix::fs::CWD, library, rustix::fs::FileType::Fifo, 0o666.into(), 0)?;
    }
    fs::create_dir_all(b.rootfs().join("var/run/nscd"))?;
    let daemon = UnixListener::bind(b.rootfs().join("var/run/nscd/socket"))?;
    daemon.set_nonblocking(true)?;
    let server = start(b, "127.0.0.1:8080")?;
    server.get("/oitself.example:8080/")?.is(200, "root\n")?;
    check!(daemon.accept().is_err(), "a daemon of the image's was asked");
    server.end().map(drop)
}

fn asks_secretly(ctx: &Ctx) -> Done {
    let dir = ctx.host_dir("tls");
    let openssl = |args: &[&str]| ctx.program("openssl").cwd(&dir).args(args).run();
    if openssl(&["version"]).is_err() {
        skip!("no openssl");
    }
    let make = |name: &str, more: &[&str]| {
        let usual = format!("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -keyout {name}.key -out {name}.pem -subj /CN={name}");
        openssl(&usual.split(' ').chain(more.iter().copied()).collect::<Vec<_>>())?.ok()
    };
    make("authority", &[])?;
    make("server", &["-CA", "authority.pem", "-CAkey", "authority.key", "-extensions", "usr_cert", "-addext", "subjectAltName=IP:127.0.0.1"])?;
    for trusted in [true, false] {
        let b = app(ctx, HTTP, &[])?;
        let list = b.rootfs().join("etc/ssl/certs");
        if trusted {
            fs::create_dir_all(&list)?;
            fs::copy(dir.join("authority.pem"), list.join("ca-certificates.crt"))?;
        }
        let server = start(b, "127.0.0.1:8080")?;
        let pid = server.c.pid()?;
        let call = ctx.program("nsenter").cwd(&dir).args(&["-t", &pid.to_string(), "-n", "openssl", "s_server", "-quiet", "-www"]);
        let mut tls = call.args(&["-accept", "127.0.0.1:8443", "-key", "server.key", "-cert", "server.pem"]).spawn()?;
        let there = || inside(pid, || TcpStream::connect("127.0.0.1:8443")).is_ok_and(|c| c.is_ok());
        let up = host::wait_for("openssl", 8, there);
        let answer = server.get("/h127.0.0.1:8443/");
        tls.child.kill()?;
        tls.wait()?;
        up?;
        let answer = answer?;
        if trusted {
            check!(answer.status == 200 && answer.body.contains("TLSv1.3"), "{} {}", answer.status, answer.body);
        } else {
            // TLS-certificate-error is the fourteenth.
            answer.is(200, "error 13\n")?;
        }
        server.end()?;
    }
    Ok(())
}

fn low_port(ctx: &Ctx) -> Done {
    let with = |names: Value| -> Result<Bundle<'_>, Stop> {
        let sets = json!({ "bounding": names, "permitted": names, "effective": names });
        Ok(app(ctx, HTTP, &[("http.listen", "80")])?.set("/process/capabilities", sets))
    };
    let server = start(with(json!(["CAP_NET_BIND_SERVICE"]))?, "127.0.0.1:80")?;
    server.get("/c")?.is(200, "1\n")?;
    server.end()?;
    let out = with(json!([]))?.run()?.code(1)?;
    check!(out.err.contains("cannot listen at 0.0.0.0:80"), "{}", out.text());
    Ok(())
}

fn few_threads(ctx: &Ctx) -> Done {
    let with = |limit: u32| -> Result<Bundle<'_>, Stop> {
        Ok(app(ctx, HTTP, &[("http.timeout", "2")])?.set("/linux/resources/pids/limit", json!(limit)))
    };
    let out = with(2)?.run()?.code(1)?;
    check!(out.err.contains("threads"), "{}", out.text());
    let server = start(with(4)?, "127.0.0.1:8080")?;
    let all = server.all(&["/c", "/l", "/c"])?;
    same!(all.iter().map(|a| a.status).collect::<Vec<_>>(), [200, 504, 200], "status");
    server.end().map(drop)
}

fn nothing_left_over(ctx: &Ctx) -> Done {
    let b = app(ctx, HTTP, &[("http.timeout", "3")])?.set("/linux/resources/memory/limit", json!(128 << 20));
    let server = start(b, "127.0.0.1:8080")?;
    let pid = server.c.pid()?;
    let has = |what: &str| -> Result<usize, Stop> { Ok(fs::read_dir(format!("/proc/{pid}/{what}"))?.count()) };
    let round = || server.all(&["/c", "/t", "/n", "/T", "/m3", "/sz", "/f", "/o127.0.0.1:1/", "/o127.0.0.1:8080/c"]).map(drop);
    round()?;
    let before = has("fd")?;
    for _ in 0..2 {
        round()?;
    }
    // Connections are closed a little later.
    host::wait_for("descriptors to be closed", 4, || has("fd").is_ok_and(|now| now <= before))?;
    check!(has("task")? <= 40, "{} threads", has("task")?);
    server.get("/m9")?.is(200, "got\n")?;
    server.end().map(drop)
}

fn cve_2026_27572(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[])?;
    within(SOON, || server.get("/f"))?.is(500, "500 Internal Server Error\n")?;
    server.get("/c")?.is(200, "1\n")?;
    let out = server.end()?;
    check!(out.err.contains("total size of fields exceeds limit"), "{}", out.text());
    Ok(())
}

fn ghsa_xjhv(ctx: &Ctx) -> Done {
    let server = serve(ctx, &[("http.timeout", "1")])?;
    for path in ["/sz", "/l"] {
        let all = within(SOON, || server.all(&[path; 8]))?;
        all.iter().try_for_each(|a| a.is(504, "504 Gateway Timeout\n"))?;
    }
    server.get("/c")?.is(200, "1\n")?;
    server.end().map(drop)
}

//! Components that answer HTTP requests: which they are, and the server around them.
//!
//! Owns the socket, the connections and the way to the end. What becomes of one request is `request`'s; requests that
//! a component sends are `client`'s. No state outlives a request but what the files of the container keep.

pub(crate) mod client;
mod output;
mod request;
mod shared;
mod ticker;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hull_guest::wasm::BootMessage;
use hull_sys::signal::Waiter;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::Interest;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, oneshot, watch};
use wasmtime::component::{Component, InstancePre};
#[cfg(feature = "compiler")]
use wasmtime::component::Linker;
use wasmtime::{Engine, Error, Result};
use wasmtime_wasi_http::handler::ProxyPre;
use wasmtime_wasi_http::io::TokioIo;

use crate::host;
use output::Output;
use request::Server;

/// What runwasi's shim for wasmtime looks at; the last is the name that its documentation has for the second.
const ADDRESS: &str = "WASMTIME_HTTP_PROXY_SOCKET_ADDR";
const BACKLOG: &str = "WASMTIME_HTTP_BACKLOG";
const DOCUMENTED_BACKLOG: &str = "WASMTIME_HTTP_PROXY_BACKLOG";

const COMMAND: &str = "wasi:cli/run@";
pub(crate) const HANDLERS: [&str; 2] = ["wasi:http/incoming-handler@0.2", "wasi:http/handler@0.3"];

/// How long a client may leave what was sent to it unread.
const UNREAD: Duration = Duration::from_secs(60);

fn exports(engine: &Engine, component: &Component, prefixes: &[&str]) -> bool {
    component.component_type().exports(engine).any(|(name, _)| prefixes.iter().any(|p| name.starts_with(p)))
}

/// Whether this component is to be served, and not run as a command.
pub(crate) fn serves(engine: &Engine, component: &Component, boot: &BootMessage) -> bool {
    let as_command = || boot.http.listen.is_none() && exports(engine, component, &[COMMAND]);
    boot.function.is_none() && exports(engine, component, &HANDLERS) && !as_command()
}

/// Looks whether the handler that will be served is one.
///
/// # Errors
/// For one that has another type than it should have.
#[cfg(feature = "compiler")]
pub(crate) fn check(linker: &Linker<host::Component>, linked: &InstancePre<host::Component>) -> Result<()> {
    use wasmtime::component::Resource;
    use wasmtime::component::types::ComponentItem;
    use wasmtime_wasi_http::p2::types::{HostIncomingRequest, HostResponseOutparam};
    use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
    use wasmtime_wasi_http::p3::{Request, Response};
    let (engine, component) = (linked.engine(), linked.component());
    if !exports(engine, component, &HANDLERS) {
        return Ok(());
    }
    handler(linked.clone())?;
    let newer = exports(engine, component, &HANDLERS[1..]);
    // With the resources of its imports being the engine's own.
    let whole = linker.substituted_component_type(component)?;
    for (name, export) in whole.exports(engine).filter(|(name, _)| name.starts_with(HANDLERS[usize::from(newer)])) {
        let wrong = |why: String| Error::msg(format!("the component exports \"{name}\", but {why}"));
        let handle = match export.ty {
            ComponentItem::ComponentInstance(instance) => instance.get_export(engine, "handle").map(|e| e.ty),
            _ => None,
        };
        let Some(ComponentItem::ComponentFunc(handle)) = handle else {
            return Err(wrong("it has no function \"handle\"".into()));
        };
        let types = whole.instance_type();
        let right = match newer {
            true => handle.typecheck::<(Resource<Request>,), (Result<Resource<Response>, ErrorCode>,)>(&types),
            false => handle.typecheck::<(Resource<HostIncomingRequest>, Resource<HostResponseOutparam>), ()>(&types),
        };
        right.map_err(|e| wrong(format!("its function \"handle\" has another type: {e:#}")))?;
    }
    Ok(())
}

/// The newer one, of two.
fn handler(component: InstancePre<host::Component>) -> Result<ProxyPre<host::Component>> {
    if exports(component.engine(), component.component(), &HANDLERS[1..]) {
        return wasmtime_wasi_http::p3::bindings::ServicePre::new(component).map(ProxyPre::P3);
    }
    wasmtime_wasi_http::p2::bindings::ProxyPre::new(component).map(ProxyPre::P2)
}

/// Serves until a signal ends it. The result is the exit code: 0 where every request was answered, and otherwise 128 and
/// the signal's number.
///
/// # Errors
/// Where it can't listen, or has no threads to work with.
pub(crate) fn serve(engine: &Engine, component: &Component, boot: BootMessage, args: Vec<String>, signals: Waiter) -> Result<i32> {
    let mut environment = crate::run::environment();
    let mut take = |name: &str| environment.iter().position(|(key, _)| key == name).map(|at| environment.remove(at).1);
    let (address, backlog, documented) = (take(ADDRESS), take(BACKLOG), take(DOCUMENTED_BACKLOG));
    let address = match (boot.http.listen, address) {
        (Some(address), _) => address,
        (None, Some(text)) => parse(ADDRESS, &text)?,
        (None, None) => SocketAddr::from(([0, 0, 0, 0], 8080)),
    };
    let backlog = match (backlog, documented) {
        (Some(text), _) => parse(BACKLOG, &text)?,
        (None, Some(text)) => parse(DOCUMENTED_BACKLOG, &text)?,
        (None, None) => 100,
    };
    let linked = host::component_linker(engine, component)?.instantiate_pre(component)?;
    // A moment more than running requests have.
    let grace = Duration::from_secs(boot.http.grace) + Duration::from_secs(1);
    let stop = crate::signals::watch_server(signals, grace).map_err(no_thread)?;
    let ticker = ticker::Ticker::start(engine).map_err(no_thread)?;
    let (workers, writers) = threads().map_err(no_thread)?;
    let instances = boot.http.requests;
    let stdout = Output::new(std::io::stdout(), instances, writers).map_err(no_thread)?;
    let stderr = Output::new(std::io::stderr(), instances, writers).map_err(no_thread)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(32)
        .thread_stack_size(1 << 20)
        // What computes gives way every few milliseconds: who waits must not do so for many of these turns.
        .event_interval(4)
        .enable_all()
        .build()?;
    let server = Server::new(handler(linked)?, boot, args, environment, [stdout, stderr], ticker);
    let code = runtime.block_on(async {
        let listener = listen(address, backlog).map_err(|e| Error::msg(format!("cannot listen at {address}: {e}")))?;
        server.log(format_args!("Serving HTTP on http://{}/", listener.local_addr()?));
        Ok(accept(Arc::new(server), listener, stop).await)
    });
    // Whatever still runs was given its time.
    runtime.shutdown_background();
    code
}

fn no_thread(e: impl std::fmt::Display) -> Error {
    Error::msg(format!("cannot make the threads that a server needs: {e}"))
}

/// How many threads are to work: as many as there are processors, if so many can be made and one more beside them, for
/// files; and whether there can be two more then, that write. tokio would not take a refusal.
///
/// # Errors
/// Where there can't be even one.
fn threads() -> std::io::Result<(usize, bool)> {
    const WRITERS: usize = 2;
    let wanted = std::thread::available_parallelism().map_or(1, usize::from);
    let (gate, mut made) = (Mutex::new(()), 0);
    std::thread::scope(|scope| {
        let _closed = gate.lock();
        while made < wanted + 1 + WRITERS {
            let wait = || drop(gate.lock());
            match std::thread::Builder::new().stack_size(crate::signals::STACK).spawn_scoped(scope, wait) {
                Ok(_) => made += 1,
                Err(e) if made == 0 => return Err(e),
                Err(_) => break,
            }
        }
        // One that works and one for files come first.
        let writers = made >= 2 + WRITERS;
        let others = if writers { made - WRITERS } else { made };
        Ok((others.saturating_sub(1).clamp(1, wanted), writers))
    })
}

fn parse<T: std::str::FromStr>(name: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| Error::msg(format!("environment: {name}=\"{text}\" is not what it should be")))
}

fn listen(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // Connections of one that served here before may linger.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}

/// Takes connections until it is to stop, and then waits for what runs, though not for ever.
async fn accept(server: Arc<Server>, listener: TcpListener, mut stop: oneshot::Receiver<i32>) -> i32 {
    let http = server.http().clone();
    let connections = Arc::new(Semaphore::new(http.connections as usize));
    let (stopping, stopped) = watch::channel(());
    let next = async || {
        let place = connections.clone().acquire_owned().await.ok()?;
        match listener.accept().await {
            Ok((stream, _)) => Some((place, stream)),
            Err(e) => {
                // Of one that has gone already there is nothing to say; what there is too little of may come back.
                if !matches!(e.kind(), std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset) {
                    server.log(format_args!("Error: cannot accept a connection: {e}"));
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                None
            }
        }
    };
    let signal = loop {
        tokio::select! {
            biased;
            signal = &mut stop => break signal.unwrap_or_default(),
            taken = next() => if let Some((place, stream)) = taken {
                let (server, stopped) = (server.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(server, stream, stopped).await;
                    drop(place);
                });
            },
        }
    };
    drop((listener, stopping));
    let all = async {
        let _ = connections.acquire_many(http.connections).await;
        // What goes on once it has answered.
        server.idle().await;
    };
    let end = Instant::now() + Duration::from_secs(http.grace);
    let ended = tokio::time::timeout_at(end.into(), all).await.is_ok();
    if !ended {
        server.log(format_args!("Error: requests were cut off, as {} seconds after signal {signal} they had not ended", http.grace));
    }
    // What was said just now has a moment, too.
    let end = end.max(Instant::now() + Duration::from_millis(500));
    let written = tokio::time::timeout_at(end.into(), server.written()).await.is_ok();
    if ended && written { 0 } else { 128 + signal }
}

/// One connection, with all its requests. What is wrong with it is its client's business.
async fn connection(server: Arc<Server>, stream: TcpStream, mut stopped: watch::Receiver<()>) {
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD.as_millis() as u32);
    let http = server.http();
    let mut settings = http1::Builder::new();
    settings
        .timer(Timer)
        .header_read_timeout(Duration::from_secs(http.header_timeout))
        .max_header_size(http.header_bytes)
        .max_buf_size(http.header_bytes)
        // One that has said all may still listen; see left().
        .half_close(true);
    let stream = Arc::new(stream);
    let answer = service_fn(|request| server.clone().answer(request, left(stream.clone())));
    let mut connection = pin!(settings.serve_connection(TokioIo::new(shared::Shared(stream.clone())), answer));
    tokio::select! {
        _ = connection.as_mut() => {}
        // Nothing is ever sent: this is the other side's end.
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
}

/// Comes when the other side has closed the connection. Whether one that will send nothing more still listens can't be
/// seen: there is a moment for its answer.
async fn left(stream: Arc<TcpStream>) {
    /// That which it has.
    const MOMENT: Duration = Duration::from_secs(1);
    // Of what this is for, urgent data and an end, the socket is asked for the latter alone. An end is seen behind data
    // that nobody has read.
    match stream.ready(Interest::PRIORITY).await {
        Ok(_) => tokio::time::sleep(MOMENT).await,
        // The runtime is ending.
        Err(_) => std::future::pending().await,
    }
}

/// The clock that hyper waits by.
struct Timer;

struct Sleep(Pin<Box<tokio::time::Sleep>>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl hyper::rt::Sleep for Sleep {}

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep(duration))))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn hyper::rt::Sleep>> {
        Box::pin(Sleep(Box::pin(tokio::time::sleep_until(deadline.into()))))
    }
}

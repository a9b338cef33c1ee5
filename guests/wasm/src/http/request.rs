//! One request: an instance of its own that answers it, and what is answered where that fails.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hull_guest::wasm::{BootMessage, Http};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_TYPE, HOST, HeaderValue};
use hyper::http::uri::Authority;
use hyper::{Request, Response, StatusCode, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use wasmtime::{AsContextMut as _, Error, Result, Store, UpdateDeadline};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::handler::{Prepared, Proxy, ProxyPre};
use wasmtime_wasi_http::p2::bindings::http::types::Scheme;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

use super::output::Output;
use super::ticker::{TICK, Ticker};
use crate::host;

/// What an instance takes of the container's memory beside its memories: a stack, and what is on its way in and out.
const OVERHEAD: usize = 1 << 20;

/// What all requests have in common.
pub(super) struct Server {
    handler: ProxyPre<host::Component>,
    boot: BootMessage,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    stdout: Output,
    stderr: Output,
    pool: host::Pool,
    ticker: Ticker,
    places: Arc<Semaphore>,
    next: AtomicU64,
}

/// One request took longer than it may.
#[derive(Debug)]
struct TooLong(u64);

impl std::fmt::Display for TooLong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "it took longer than {} seconds", self.0)
    }
}

impl std::error::Error for TooLong {}

/// The client has gone before there was an answer.
#[derive(Debug)]
pub(super) struct Gone;

impl std::fmt::Display for Gone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client has gone")
    }
}

impl std::error::Error for Gone {}

/// There is no memory for one more instance.
#[derive(Debug)]
struct NoRoom(Error);

impl std::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "there is no memory for an instance: {:#}", self.0)
    }
}

impl std::error::Error for NoRoom {}

impl Server {
    pub(super) fn new(
        handler: ProxyPre<host::Component>,
        boot: BootMessage,
        args: Vec<String>,
        environment: Vec<(String, String)>,
        [stdout, stderr]: [Output; 2],
        ticker: Ticker,
    ) -> Server {
        let (pool, places) = (host::Pool::new(&boot), Arc::new(Semaphore::new(boot.http.requests as usize)));
        Server { handler, boot, args, environment, stdout, stderr, pool, ticker, places, next: AtomicU64::new(0) }
    }

    pub(super) fn http(&self) -> &Http {
        &self.boot.http
    }

    /// A line on standard error, whether anybody reads it or not.
    pub(super) fn log(&self, line: std::fmt::Arguments<'_>) {
        self.stderr.log(line);
    }

    /// Waits until all that was printed has been written.
    pub(super) async fn written(&self) {
        self.stdout.written().await;
        self.stderr.written().await;
    }

    /// Waits until no instance is left.
    pub(super) async fn idle(&self) {
        let _ = self.places.acquire_many(self.http().requests).await;
    }

    /// The answer to a request, whatever becomes of it, unless `gone` comes first. What has no place yet waits for one, as
    /// long as it may take.
    pub(super) async fn answer(self: Arc<Server>, request: Request<Incoming>, gone: impl Future<Output = ()>) -> Result<Response<Whole>, Gone> {
        tokio::select! {
            biased;
            answer = self.answered(request) => Ok(answer),
            () = gone => Err(Gone),
        }
    }

    async fn answered(self: Arc<Server>, mut request: Request<Incoming>) -> Response<Whole> {
        if !name_host(&mut request) {
            return failure(StatusCode::BAD_REQUEST);
        }
        let deadline = Instant::now() + Duration::from_secs(self.http().timeout);
        let Ok(Ok(place)) = tokio::time::timeout_at(deadline.into(), self.places.clone().acquire_owned()).await else {
            return failure(StatusCode::SERVICE_UNAVAILABLE);
        };
        let (sender, receiver) = oneshot::channel();
        let cut = Arc::new(AtomicBool::new(false));
        let reply = Reply { sender: Arc::new(Mutex::new(Some(sender))), cut: cut.clone() };
        tokio::spawn(self.instance(place, request, reply, deadline));
        // The sender is used before it is dropped.
        match receiver.await.unwrap_or(Err(StatusCode::INTERNAL_SERVER_ERROR)) {
            Ok(response) => response.map(|body| Whole { body, cut }),
            Err(status) => failure(status),
        }
    }

    /// Runs an instance to its end, which may come after it has answered.
    async fn instance(self: Arc<Server>, place: OwnedSemaphorePermit, request: Request<Incoming>, reply: Reply, deadline: Instant) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let what = describe(&request);
        let running = self.ticker.run();
        let mut store = None;
        // One that computes is told by the store itself, which also knows where.
        let patience = deadline + 10 * TICK;
        let done = tokio::time::timeout_at(patience.into(), self.handle(&mut store, id, request, &reply, deadline));
        let error = tokio::select! {
            biased;
            // There is nobody to tell.
            () = reply.unwanted() => None,
            done = done => match done {
                Ok(Ok(())) => None,
                Ok(Err(e)) => Some(e),
                Err(_) => Some(TooLong(self.http().timeout).into()),
            },
        };
        match &error {
            None => reply.fail(StatusCode::INTERNAL_SERVER_ERROR, || self.log(format_args!("Error: request {id} ({what}): it was not answered"))),
            // An instance that has answered may end as it likes.
            Some(e) if e.downcast_ref::<I32Exit>().is_some() => {
                let exit = e.downcast_ref::<I32Exit>().map_or(0, |exit| exit.0);
                reply.fail(StatusCode::INTERNAL_SERVER_ERROR, || {
                    self.log(format_args!("Error: request {id} ({what}): it was not answered, but ended with code {exit}"));
                });
            }
            Some(e) => {
                self.log(format_args!("Error: request {id} ({what}): {e:?}"));
                reply.cut.store(true, Ordering::SeqCst);
                let status = match e {
                    e if e.downcast_ref::<TooLong>().is_some() => StatusCode::GATEWAY_TIMEOUT,
                    e if e.downcast_ref::<NoRoom>().is_some() => StatusCode::SERVICE_UNAVAILABLE,
                    _ => StatusCode::INTERNAL_SERVER_ERROR,
                };
                reply.fail(status, || {});
            }
        }
        // Only now is the end of the body what it is.
        drop(store);
        drop((running, place));
    }

    async fn handle(
        &self,
        place: &mut Option<Store<host::Component>>,
        id: u64,
        request: Request<Incoming>,
        reply: &Reply,
        deadline: Instant,
    ) -> Result<()> {
        let store = place.insert(self.store(id, deadline)?);
        let proxy = match self.handler.instantiate_async(&mut *store).await {
            Err(e) if store.data().limits.refused => return Err(NoRoom(e).into()),
            proxy => proxy?,
        };
        let request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        match &proxy {
            Proxy::P2(handler) => {
                let input = store.data_mut().http().new_incoming_request(Scheme::Http, request)?;
                let (answer, stderr) = (reply.clone(), self.stderr.clone());
                let output = store.data_mut().http().new_response_outparam_from_callback(move |response| match response {
                    Ok(response) => answer.give(Ok(response)),
                    Err(code) => answer.fail(StatusCode::INTERNAL_SERVER_ERROR, || stderr.log(format_args!("Error: request {id}: it was answered with {code}"))),
                })?;
                handler.wasi_http_incoming_handler().call_handle(&mut *store, input, output).await
            }
            Proxy::P3(_) => {
                let (sender, receiver) = futures_channel::oneshot::channel();
                let prepared = Prepared::new(store.as_context_mut(), &proxy, request, host::Component::http, sender)?;
                let run = store.run_concurrent(async |accessor| {
                    prepared.run(accessor, std::future::pending()).await?;
                    reply.give(Ok(receiver.await.map_err(|_| Error::msg("it was not answered"))??));
                    // What it said it will do after that.
                    std::future::poll_fn(|cx| accessor.poll_no_interesting_tasks(cx)).await;
                    Ok(())
                });
                run.await?
            }
        }
    }

    fn store(&self, id: u64, deadline: Instant) -> Result<Store<host::Component>> {
        let mut wasi = crate::run::wasi(&self.boot, &self.args, &self.environment)?;
        // As runwasi's shim counts them. Nobody is at the other end of standard input.
        wasi.env("REQUEST_ID", id.to_string()).stdout(self.stdout.clone()).stderr(self.stderr.clone());
        let mut limits = host::Limits::new(&self.boot, &self.pool);
        if self.boot.memory.is_some() && !limits.reserve(OVERHEAD) {
            return Err(NoRoom(Error::msg(format!("{OVERHEAD} bytes are not left"))).into());
        }
        let state = host::Component::new(wasi.build(), limits);
        let mut store = crate::run::store(self.handler_engine(), &self.boot, state)?;
        store.limiter(|host| &mut host.limits);
        let timeout = self.http().timeout;
        store.epoch_deadline_callback(move |_| {
            if Instant::now() >= deadline {
                return Err(TooLong(timeout).into());
            }
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
        });
        Ok(store)
    }

    fn handler_engine(&self) -> &wasmtime::Engine {
        match &self.handler {
            ProxyPre::P2(pre) => pre.engine(),
            ProxyPre::P3(pre) => pre.engine(),
        }
    }
}

/// Where the answer goes, of which there is one.
#[derive(Clone)]
struct Reply {
    sender: Arc<Mutex<Option<oneshot::Sender<Result<Response<WasiBody>, StatusCode>>>>>,
    /// Whether the instance ended before its work did.
    cut: Arc<AtomicBool>,
}

impl Reply {
    fn give(&self, answer: Result<Response<WasiBody>, StatusCode>) {
        if let Some(sender) = self.sender.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // The client may be gone.
            let _ = sender.send(answer);
        }
    }

    /// Comes when nobody waits for the answer any more, and never once it was given.
    async fn unwanted(&self) {
        std::future::poll_fn(|cx| match &mut *self.sender.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(sender) => sender.poll_closed(cx),
            None => Poll::Pending,
        })
        .await;
    }

    /// Answers with this, and tells it, unless there was an answer or nobody waits for one.
    fn fail(&self, status: StatusCode, tell: impl FnOnce()) {
        let waiting = self.sender.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|s| !s.is_closed());
        if waiting {
            tell();
            self.give(Err(status));
        }
    }
}

/// The body of an answer. Where the instance was cut off, what came till then must not pass for the whole.
pub(super) struct Whole {
    body: WasiBody,
    cut: Arc<AtomicBool>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = wasmtime_wasi_http::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            None if self.cut.swap(false, Ordering::SeqCst) => Poll::Ready(Some(Err(wasmtime_wasi_http::Error::HttpResponseIncomplete))),
            frame => Poll::Ready(frame),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer that is not the component's.
fn failure(status: StatusCode) -> Response<Whole> {
    let body = Full::new(Bytes::from(format!("{status}\n"))).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(Whole { body, cut: Arc::default() });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// Sees to it that one host is named, as from HTTP/1.1 on a request must (RFC 9112, 3.2).
fn name_host(request: &mut Request<Incoming>) -> bool {
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        // It may be empty, where the target has no authority; it names a host and a port, and no user.
        (Some(host), None) => host.to_str().is_ok_and(|h| h.is_empty() || !h.contains('@') && h.parse::<Authority>().is_ok()),
        (None, _) if request.uri().authority().is_some() => request.version() < Version::HTTP_11,
        (None, _) if request.version() < Version::HTTP_11 => {
            request.headers_mut().insert(HOST, HeaderValue::from_static("localhost"));
            true
        }
        _ => false,
    }
}

/// What a log may say of a request: no query, which has secrets in it, and not much.
fn describe(request: &Request<Incoming>) -> String {
    const LONGEST: usize = 200;
    let path = request.uri().path();
    let shown = &path[..path.floor_char_boundary(LONGEST)];
    // A terminal may read it.
    format!("{} {}{}", request.method(), shown.escape_default(), if shown.len() < path.len() { "..." } else { "" })
}

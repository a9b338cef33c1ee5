//! Requests that a component sends, over the container's network.
//!
//! HTTP/1.1, a connection for each request, plain or under TLS. Whom TLS trusts is the container's to say; where it has
//! nothing to say, Mozilla's list as the engine was built with it.

use std::fs::File;
use std::future::Future;
use std::io::{self, Read as _};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper::{Request, Response, Uri};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use wasmtime_wasi_http::io::TokioIo;
use wasmtime_wasi_http::{Error, RequestOptions, Result, WasiBody, WasiHttpHooks};

/// As long as wasmtime waits for each step, where the component doesn't say.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is kept of a body on its way out. Twice as much may wait.
const CHUNK: usize = 64 << 10;

/// Where the lists of Debian, Fedora, SUSE and Alpine are.
const LISTS: [&str; 4] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"];

/// A list is no longer.
const LONGEST_LIST: u64 = 16 << 20;

/// How a component's requests go out.
pub(crate) struct Outgoing;

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<()>> + Send>);

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _processed: Box<dyn Future<Output = Result<()>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent>> + Send> {
        Box::new(send(request, options.unwrap_or_default()))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }
}

async fn send(mut request: Request<WasiBody>, options: RequestOptions) -> Result<Sent> {
    let secure = request.uri().scheme_str() == Some("https");
    let authority = request.uri().authority().filter(|a| !a.as_str().contains('@')).ok_or(Error::HttpRequestUriInvalid)?;
    let (host, port) = (authority.host().to_owned(), authority.port_u16().unwrap_or(if secure { 443 } else { 80 }));
    // What is left names no host: the request goes to a server, and not to a proxy.
    let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).parse::<Uri>();
    *request.uri_mut() = path.map_err(|_| Error::HttpRequestUriInvalid)?;
    let connected = timeout(options.connect_timeout.unwrap_or(PATIENCE), async {
        let stream = connect(&host, port).await?;
        if secure { handshake(secured(&host, stream).await?).await } else { handshake(stream).await }
    });
    let (mut sender, connection) = connected.await.map_err(|_| Error::ConnectionTimeout)??;
    let answer = timeout(options.first_byte_timeout.unwrap_or(PATIENCE), sender.send_request(request)).await;
    let response = answer.map_err(|_| Error::ConnectionReadTimeout)??;
    let most = options.between_bytes_timeout.unwrap_or(PATIENCE);
    Ok((response.map(|body| Paced { body, most, waiting: None }.boxed_unsync()), connection))
}

/// Looks a name up, not too many at a time: one takes a thread for as long as its servers keep silent, even when nobody
/// waits for the answer any more, and files need threads too.
async fn look_up(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    static PLACES: Semaphore = Semaphore::const_new(8);
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let place = PLACES.acquire().await.map_err(io::Error::other)?;
    let look = move || {
        let found = (name.as_str(), port).to_socket_addrs().map(Iterator::collect);
        drop(place);
        found
    };
    tokio::task::spawn_blocking(look).await.map_err(io::Error::other)?
}

async fn connect(host: &str, port: u16) -> Result<TcpStream> {
    // An IPv6 address stands in brackets.
    let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let unknown = |e: io::Error| Error::DnsError { rcode: Some(e.to_string()), info_code: None };
    let addresses = look_up(name.to_owned(), port).await.map_err(unknown)?;
    let stream = TcpStream::connect(&*addresses).await.map_err(|e| match e.kind() {
        io::ErrorKind::ConnectionRefused => Error::ConnectionRefused,
        io::ErrorKind::TimedOut => Error::ConnectionTimeout,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Error::DestinationIpUnroutable,
        _ => Error::Connect(e),
    })?;
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

async fn secured(host: &str, stream: TcpStream) -> Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let name = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| Error::HttpRequestUriInvalid)?;
    let settings = tokio::task::spawn_blocking(settings).await.map_err(|_| Error::ConfigurationError)?;
    let settings = settings.map_err(|e| Error::InternalError(Some(e)))?;
    tokio_rustls::TlsConnector::from(settings).connect(name, stream).await.map_err(|e| {
        match e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(_)) => Error::TlsCertificateError,
            _ => Error::Tls(e),
        }
    })
}

type Connection = Box<dyn Future<Output = Result<()>> + Send>;

async fn handshake<S>(stream: S) -> Result<(http1::SendRequest<WasiBody>, Connection)>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new().handshake(TokioIo::new(stream)).await?;
    // It does its work from now on, and ends with whoever holds the result.
    let connection = wasmtime_wasi::runtime::spawn(connection);
    Ok((sender, Box::new(async { connection.await.map_err(Error::from) })))
}

/// Read once: what a container trusts doesn't change while it runs.
fn settings() -> Result<Arc<ClientConfig>, String> {
    static SETTINGS: OnceLock<Result<Arc<ClientConfig>, String>> = OnceLock::new();
    let read = || {
        let mut roots = rustls::RootCertStore::empty();
        match list()? {
            Some(pem) => {
                let certificates = CertificateDer::pem_slice_iter(&pem).flatten();
                roots.add_parsable_certificates(certificates);
            }
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let settings = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let settings = settings.map_err(|e| e.to_string())?.with_root_certificates(roots).with_no_client_auth();
        Ok(Arc::new(settings))
    };
    SETTINGS.get_or_init(read).clone()
}

/// The container's own list of whom to trust: the one that SSL_CERT_FILE names, or one at a usual place.
fn list() -> Result<Option<Vec<u8>>, String> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let must = named.is_some();
    let places = named.map_or_else(|| LISTS.map(PathBuf::from).to_vec(), |path| vec![path]);
    for path in places {
        let read = || {
            if !std::fs::metadata(&path)?.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            let mut bytes = Vec::new();
            File::open(&path)?.take(LONGEST_LIST).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        match read() {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(e) if must || e.kind() != io::ErrorKind::NotFound => return Err(format!("{}: {e}", path.display())),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The body of a response, of which something must come every now and then.
struct Paced {
    body: Incoming,
    most: Duration,
    /// While nothing comes.
    waiting: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = None;
            return Poll::Ready(frame.map(|f| f.map_err(Error::from)));
        }
        let most = this.most;
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(most)));
        waiting.as_mut().poll(cx).map(|()| Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The way to an endpoint: over TCP, over a Unix socket, or through a proxy.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tower_service::Service;

use super::Address;
use crate::export::settings::{Proxy, Settings, SettingsError};

/// How long a connection may be idle before its other end is asked for a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

#[derive(Clone)]
enum Way {
    Direct,
    Socket(PathBuf),
    /// The proxy is asked for the endpoint's URL.
    Forwarded(Uri),
    /// The proxy is asked for a connection (`CONNECT`), which it does not look into.
    Tunnel(Uri, Option<HeaderValue>),
}

/// Connects to one endpoint. What TLS does comes on top.
#[derive(Clone)]
pub(super) struct Connector {
    way: Way,
    tcp: HttpConnector,
}

impl Connector {
    /// The way to `address`, and the `Proxy-Authorization` of each request where a proxy is to forward them. `tunnel`: a
    /// proxy cannot forward what is spoken.
    pub(super) fn new(
        address: &Address,
        settings: &Settings,
        tunnel: bool,
    ) -> Result<(Self, Option<HeaderValue>), SettingsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEP_ALIVE));
        tcp.set_connect_timeout(Some(settings.timeout));
        let proxy = match &address.socket {
            Some(_) => None,
            None => matcher(&settings.proxy)?
                .intercept(&address.uri)
                .filter(|_| !is_loopback(&address.uri)),
        };
        let mut authorization = None;
        let way = match (&address.socket, proxy) {
            (Some(path), _) => Way::Socket(path.clone()),
            (None, None) => Way::Direct,
            (None, Some(proxy)) if tunnel || address.is_tls() => {
                Way::Tunnel(proxy.uri().clone(), proxy.basic_auth().cloned())
            }
            (None, Some(proxy)) => {
                authorization = proxy.basic_auth().cloned();
                Way::Forwarded(proxy.uri().clone())
            }
        };
        Ok((Self { way, tcp }, authorization))
    }
}

/// What is on this host is never behind a proxy, as Go has it.
fn is_loopback(uri: &Uri) -> bool {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// # Errors
/// A proxy that is no HTTP proxy.
fn matcher(proxy: &Proxy) -> Result<Matcher, SettingsError> {
    let mut matcher = Matcher::builder().no(proxy.except.clone());
    if let Some(url) = &proxy.http {
        matcher = matcher.http(checked("http", url)?);
    }
    if let Some(url) = &proxy.https {
        matcher = matcher.https(checked("https", url)?);
    }
    Ok(matcher.build())
}

/// A URL of a proxy that is spoken to without TLS, as nearly all are; `HOST:PORT` is one, too.
fn checked(scheme: &'static str, url: &str) -> Result<String, SettingsError> {
    let whole = if url.contains("://") {
        url.to_owned()
    } else {
        format!("http://{url}")
    };
    let is_usable = whole
        .parse::<Uri>()
        .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some_and(|host| !host.is_empty()));
    if is_usable {
        Ok(whole)
    } else {
        Err(SettingsError::Proxy { scheme })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { way, mut tcp } = self.clone();
        Box::pin(async move {
            Ok(match way {
                Way::Direct => {
                    poll_fn(|context| tcp.poll_ready(context)).await?;
                    Stream::Tcp(tcp.call(uri).await?)
                }
                Way::Socket(path) => {
                    let stream = UnixStream::connect(&path).await;
                    let named = |error| io::Error::other(format!("{}: {error}", path.display()));
                    Stream::Unix(TokioIo::new(stream.map_err(named)?))
                }
                Way::Forwarded(proxy) => {
                    poll_fn(|context| tcp.poll_ready(context)).await?;
                    Stream::Forwarded(tcp.call(proxy).await?)
                }
                Way::Tunnel(proxy, authorization) => {
                    let mut tunnel = Tunnel::new(proxy, tcp);
                    if let Some(authorization) = authorization {
                        tunnel = tunnel.with_auth(authorization);
                    }
                    poll_fn(|context| tunnel.poll_ready(context)).await?;
                    Stream::Tcp(tunnel.call(uri).await?)
                }
            })
        })
    }
}

/// A connection to the endpoint, or to what leads there.
pub(super) enum Stream {
    Tcp(TokioIo<TcpStream>),
    Unix(TokioIo<UnixStream>),
    Forwarded(TokioIo<TcpStream>),
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        // Requests to a proxy name the whole URL (RFC 9112, section 3.2.2).
        Connected::new().proxy(matches!(self, Self::Forwarded(_)))
    }
}

impl Read for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) | Self::Forwarded(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl Write for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) | Self::Forwarded(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) | Self::Forwarded(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) | Self::Forwarded(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) | Self::Forwarded(stream) => {
                Pin::new(stream).poll_write_vectored(context, slices)
            }
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_one_for_http_without_tls() {
        for url in ["proxy:3128", "http://proxy:3128", "http://me:pw@proxy:3128/"] {
            assert!(checked("https", url).is_ok(), "{url}");
        }
        for url in ["https://proxy", "socks5://proxy:1080", "http://", "http://a b"] {
            assert!(
                matches!(
                    checked("https", url),
                    Err(SettingsError::Proxy { scheme: "https" })
                ),
                "{url}"
            );
        }
    }

    #[test]
    fn this_host_is_not_behind_a_proxy() {
        for (endpoint, expect) in [
            ("http://localhost:1", true),
            ("http://127.0.0.2/", true),
            ("https://[::1]:4317", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_loopback(&Uri::from_static(endpoint)), expect, "{endpoint}");
        }
    }

    #[test]
    fn which_endpoints_go_through_which_proxy() {
        let proxy = Proxy {
            http: Some("plain:1".to_owned()),
            https: Some("http://secret:2".to_owned()),
            except: "localhost,10.0.0.0/8,.internal".to_owned(),
        };
        let matcher = matcher(&proxy).unwrap();
        for (endpoint, expect) in [
            ("http://collector:4318/v1/traces", Some("plain")),
            ("https://collector:4318/v1/traces", Some("secret")),
            ("http://localhost:4318", None),
            ("https://10.1.2.3:4317", None),
            ("https://otel.internal", None),
            ("https://11.1.2.3:4317", Some("secret")),
        ] {
            let found = matcher.intercept(&Uri::from_static(endpoint));
            let host = found.as_ref().and_then(|found| found.uri().host());
            assert_eq!(host, expect, "{endpoint}");
        }
        assert!(
            super::matcher(&Proxy::default())
                .unwrap()
                .intercept(&Uri::from_static("http://a"))
                .is_none()
        );
    }
}

//! TLS with a private authority, and with a certificate of one's own, over both transports.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use super::*;

/// Files of an authority, and of a server and a client that it vouches for; gone when dropped.
pub(super) struct Files {
    folder: PathBuf,
}

impl Files {
    pub(super) fn new(name: &str) -> Self {
        Self::valid_until(name, 4000)
    }

    /// Whose certificates of server and client end with that year.
    pub(super) fn valid_until(name: &str, year: i32) -> Self {
        let folder = std::env::temp_dir().join(format!("spanwire-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Self { folder };
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        files.put("authority", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for end in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 12, 31);
            files.put(end, &params.signed_by(&key, &issuer).unwrap().pem());
            files.put(&format!("{end}-key"), &key.serialize_pem());
        }
        files
    }

    pub(super) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name).with_extension("pem")
    }

    pub(super) fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn tls(&self) -> Tls {
        Tls {
            certificate: Some(self.path("authority")),
            client_certificate: Some(self.path("client")),
            client_key: Some(self.path("client-key")),
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

/// A server that wants a certificate from its client, and takes one request a connection.
fn serve(files: &Files) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    serve_on(listener, files, &[], usize::MAX);
    address
}

/// The same, which speaks these protocols, and is gone after so many connections.
pub(super) fn serve_on(
    listener: std::net::TcpListener,
    files: &Files,
    protocols: &[&str],
    connections: usize,
) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(certificates(&files.path("authority")).remove(0))
        .unwrap();
    let clients = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone())
        .build()
        .unwrap();
    let key = PrivateKeyDer::from_pem_file(files.path("server-key")).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates(&files.path("server")), key)
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().take(connections) {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            let mut request = [0; 64 * 1024];
            if stream.read(&mut request).is_ok_and(|read| read > 0) {
                let _ = stream.write_all(OK.as_bytes());
            }
        }
    });
}

pub(super) fn secured(files: &Files, address: SocketAddr, protocol: Protocol) -> Settings {
    Settings {
        tls: files.tls(),
        ..settings(
            &format!("https://localhost:{}/v1/traces", address.port()),
            protocol,
        )
    }
}

#[tokio::test]
async fn both_transports_know_their_authority_and_show_their_certificate() {
    let files = Files::new("mutual");
    let (listener, grpc_address) = listen().await;
    let collector = Grpc::new(&[Ok(taken())]);
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(files.text("server"), files.text("server-key")))
        .client_ca_root(Certificate::from_pem(files.text("authority")));
    let server = Server::builder()
        .tls_config(tls)
        .unwrap()
        .add_service(TraceServiceServer::new(collector.clone()));
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    for (address, protocol) in [
        (grpc_address, Protocol::Grpc),
        (serve(&files), Protocol::HttpProtobuf),
    ] {
        let (handle, health) = start(secured(&files, address, protocol));
        handle.push(&spans(5));
        until("exported", || counts(&health) == [5, 0, 0]).await;
        handle.shutdown(LIMIT).await;
    }
    assert_eq!(collector.requests(), 1);
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_gets_nothing() {
    let (files, others) = (Files::new("ours"), Files::new("theirs"));
    let (listener, grpc_address) = listen().await;
    let identity = Identity::from_pem(others.text("server"), others.text("server-key"));
    let collector = Grpc::new(&[Ok(taken())]);
    let service = TraceServiceServer::new(collector.clone());
    let server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    for (address, protocol) in [
        (grpc_address, Protocol::Grpc),
        (serve(&others), Protocol::HttpProtobuf),
    ] {
        let (handle, health) = start(secured(&files, address, protocol));
        handle.push(&spans(5));
        assert_eq!(handle.shutdown(LIMIT).await, 0);
        assert_eq!(counts(&health), [0, 5, 0]);
    }
    assert_eq!(collector.requests(), 0);
}

#[tokio::test]
async fn certificates_are_read_again_when_they_are_rotated() {
    for protocol in [Protocol::Grpc, Protocol::HttpProtobuf] {
        let name = format!("rotated-{protocol:?}");
        let (theirs, ours) = (
            Files::new(&format!("{name}-theirs")),
            Files::new(&format!("{name}-ours")),
        );
        let address = match protocol {
            Protocol::Grpc => {
                let (listener, address) = listen().await;
                let tls = ServerTlsConfig::new()
                    .identity(Identity::from_pem(
                        theirs.text("server"),
                        theirs.text("server-key"),
                    ))
                    .client_ca_root(Certificate::from_pem(theirs.text("authority")));
                let server = Server::builder()
                    .tls_config(tls)
                    .unwrap()
                    .add_service(TraceServiceServer::new(Grpc::new(&[Ok(taken())])));
                tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
                address
            }
            _ => serve(&theirs),
        };
        let (handle, health) = start(secured(&ours, address, protocol));
        handle.push(&spans(5));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(counts(&health), [0, 0, 0]);
        // One file after the other, so that there are times at which they do not fit together.
        for file in ["authority", "client", "client-key"] {
            ours.put(file, &theirs.text(file));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        until("exported", || counts(&health) == [5, 0, 0]).await;
        handle.shutdown(LIMIT).await;
    }
}

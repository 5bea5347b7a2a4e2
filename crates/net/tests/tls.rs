//! A listener with TLS and clients of rustls, on real sockets.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bowline_net::tls::Files;
use bowline_net::{Limit, Listener, Stream, Tls};
use bytes::{Buf, BytesMut};
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::sync::watch;

struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Authority { certificate, issuer: Issuer::new(params, key) }
    }

    /// A certificate for `name`, and its key.
    fn issue(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Knots, Ltd");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

struct Served {
    dir: tempfile::TempDir,
    authority: Authority,
    tls: Tls,
    port: u16,
    stop: watch::Sender<bool>,
}

fn write_pair(dir: &Path, (certificate, key): &(rcgen::Certificate, KeyPair)) {
    std::fs::write(dir.join("cert.pem"), certificate.pem()).unwrap();
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
}

impl Served {
    /// Answers every octet with itself; first of all comes the client's name and a line feed.
    async fn start(asks: bool, must_show: bool) -> Served {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        write_pair(dir.path(), &authority.issue("localhost"));
        std::fs::write(dir.path().join("ca.pem"), authority.certificate.pem()).unwrap();
        let tls = Tls::load(Files {
            certificate: dir.path().join("cert.pem"),
            key: dir.path().join("key.pem"),
            client_authorities: asks.then(|| dir.path().join("ca.pem")),
            client_must_show: must_show,
        })
        .unwrap();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let (stop, shutdown) = watch::channel(false);
        let listener = Listener { socket, tls: Some(tls.clone()) };
        tokio::spawn(bowline_net::serve(listener, Limit::new(10), shutdown, |stream, _| async move {
            let _ = echo(stream).await;
        }));
        Served { dir, authority, tls, port, stop }
    }

    fn connect(&self, certificate: Option<&str>) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.certificate.der().clone()).unwrap();
        let builder =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots);
        let config = match certificate.map(|name| self.authority.issue(name)) {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut stream = StreamOwned::new(connection, socket);
        stream.flush()?;
        Ok(stream)
    }
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    let identity = stream.identity();
    let name = identity.map_or(String::new(), |identity| {
        assert_eq!(identity.common_name.as_deref(), Some("app"));
        identity.distinguished_name.clone()
    });
    let mut held = BytesMut::from(format!("{name}\n").as_bytes());
    loop {
        while held.has_remaining() || !stream.is_flushed() {
            match stream.try_write_vectored(&[io::IoSlice::new(&held)]) {
                Ok(written) => held.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
                Err(error) => return Err(error),
            }
            stream.try_flush()?;
        }
        stream.readable().await?;
        held.reserve(10_000);
        match stream.try_read_buf(&mut held) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    stream.shutdown().await?;
    stream.discard().await
}

/// The first line that the server sends.
fn line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut octet = [0];
    loop {
        stream.read_exact(&mut octet)?;
        if octet[0] == b'\n' {
            return Ok(String::from_utf8(line).unwrap());
        }
        line.push(octet[0]);
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn octets_come_back_as_they_were() {
    let served = Served::start(false, false).await;
    blocking(move || {
        let mut stream = served.connect(None).unwrap();
        assert_eq!(line(&mut stream).unwrap(), "");
        let sent: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        // Pieces of many TLS records, larger than what the server reads at a time.
        for piece in sent.chunks(100_000) {
            stream.write_all(piece).unwrap();
            let mut back = vec![0; piece.len()];
            stream.read_exact(&mut back).unwrap();
            assert!(back == piece);
        }
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "and an orderly end");
        served.stop.send_replace(true);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_says_who_comes() {
    let served = Served::start(true, false).await;
    blocking(move || {
        let mut known = served.connect(Some("app")).unwrap();
        assert_eq!(line(&mut known).unwrap(), "CN=app,O=Knots\\, Ltd");
        let mut unknown = served.connect(None).unwrap();
        assert_eq!(line(&mut unknown).unwrap(), "");
        let stranger = Served { authority: Authority::new(), ..served };
        let refused = stranger.connect(Some("app")).and_then(|mut stream| line(&mut stream));
        assert!(refused.is_err(), "another authority's word means nothing");
    })
    .await;
}

#[tokio::test]
async fn who_must_show_a_certificate_and_does_not_is_told() {
    let served = Served::start(true, true).await;
    blocking(move || {
        let refused = served.connect(None).and_then(|mut stream| line(&mut stream)).unwrap_err();
        assert!(refused.to_string().contains("CertificateRequired"), "{refused}");
        assert!(line(&mut served.connect(Some("app")).unwrap()).is_ok());
        // Somebody who does not speak TLS at all gets an alert and the end.
        let mut plain = TcpStream::connect(("127.0.0.1", served.port)).unwrap();
        plain.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        assert_eq!(answer.first(), Some(&21), "{answer:?}");
    })
    .await;
}

#[tokio::test]
async fn certificates_are_renewed_while_it_runs() {
    let served = Served::start(false, false).await;
    blocking(move || {
        let shown = |served: &Served| {
            let mut stream = served.connect(None).unwrap();
            line(&mut stream).unwrap();
            stream.conn.peer_certificates().unwrap()[0].to_vec()
        };
        let first = shown(&served);
        assert!(!served.tls.reload().unwrap(), "nothing has changed");
        std::fs::write(served.dir.path().join("cert.pem"), "no certificate").unwrap();
        assert!(served.tls.reload().is_err());
        assert_eq!(shown(&served), first, "what was there stays");
        write_pair(served.dir.path(), &served.authority.issue("localhost"));
        assert!(served.tls.reload().unwrap());
        assert_ne!(shown(&served), first);
    })
    .await;
}

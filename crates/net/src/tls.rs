//! TLS of a listener: certificates from PEM files, read again when they change.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::RwLock;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use x509_parser::prelude::FromDer;

use crate::Stream;
use crate::encrypted::Encrypted;

/// A client has to be through the handshake in this time (as RabbitMQ's `ssl_handshake_timeout`).
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Where the certificates are, and what is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The server's certificate and those that lead to its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
    pub key: PathBuf,
    /// Authorities that clients' certificates come from, PEM. `None`: clients are not asked for any.
    pub client_authorities: Option<PathBuf>,
    /// A client without a certificate is turned away.
    pub client_must_show: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{}: {error}", path.display())]
    File { path: PathBuf, error: pem::Error },
    #[error("{}: {error}", path.display())]
    Read { path: PathBuf, error: io::Error },
    #[error("{}: there is no certificate in it", .0.display())]
    Empty(PathBuf),
    #[error("{}: {error}", path.display())]
    Authorities { path: PathBuf, error: String },
    #[error("the certificate and the key: {0}")]
    Unusable(rustls::Error),
}

/// TLS as it is configured now. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Shared>);

struct Shared {
    files: Files,
    current: RwLock<Current>,
}

struct Current {
    config: Arc<ServerConfig>,
    /// The files that it was made of.
    stamps: Vec<Stamp>,
}

/// A file's time and size.
type Stamp = Option<(SystemTime, u64)>;

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.files.fmt(f)
    }
}

impl Tls {
    /// Reads the files.
    pub fn load(files: Files) -> Result<Tls, Error> {
        let current = Current { stamps: stamps(&files), config: config(&files)? };
        Ok(Tls(Arc::new(Shared { files, current: RwLock::new(current) })))
    }

    /// Reads the files again if one of them has changed; connections from now on see what they say. True if they had.
    ///
    /// # Errors
    /// They are unusable now: what was in force stays, and they are read when they change again.
    pub fn reload(&self) -> Result<bool, Error> {
        let stamps = stamps(&self.0.files);
        if self.0.current.read().stamps == stamps {
            return Ok(false);
        }
        let config = config(&self.0.files);
        let mut current = self.0.current.write();
        current.stamps = stamps;
        current.config = config?;
        Ok(true)
    }

    /// Shakes hands with a client.
    pub async fn accept(&self, tcp: TcpStream) -> io::Result<Stream> {
        let config = self.0.current.read().config.clone();
        match tokio::time::timeout(HANDSHAKE, Encrypted::accept(tcp, config)).await {
            Ok(stream) => Ok(Stream::Tls(Box::new(stream?))),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// What a certificate says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The subject's common name (the last, if there are several).
    pub common_name: Option<String>,
    /// The subject as RFC 4514 writes it, the last part first: `CN=app,O=Example`.
    pub distinguished_name: String,
}

/// What of a certificate is its user's name, as RabbitMQ's `ssl_cert_login_from`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CertificateUser {
    /// The subject's common name.
    #[default]
    CommonName,
    /// The whole subject, as RFC 4514 writes it.
    DistinguishedName,
}

impl Identity {
    /// The name under which its owner is known here, if the certificate has one.
    pub fn user(&self, named_by: CertificateUser) -> Option<String> {
        match named_by {
            CertificateUser::CommonName => self.common_name.clone(),
            CertificateUser::DistinguishedName => Some(self.distinguished_name.clone()),
        }
    }

    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Identity> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
        let subject = certificate.subject();
        let common_name = subject.iter_common_name().filter_map(|name| name.as_str().ok()).last();
        let registry = x509_parser::objects::oid_registry();
        let mut parts: Vec<String> = Vec::new();
        for attribute in subject.iter_attributes() {
            let kind = attribute.attr_type();
            let name = registry.get(kind).map_or_else(|| kind.to_id_string(), |entry| short(entry.sn()));
            parts.push(format!("{name}={}", escaped(attribute.as_str().ok()?)));
        }
        parts.reverse();
        Some(Identity { common_name: common_name.map(str::to_owned), distinguished_name: parts.join(",") })
    }
}

/// The names of RFC 4514, section 3; others as the registry has them.
fn short(name: &str) -> String {
    match name {
        "commonName" => "CN",
        "localityName" => "L",
        "stateOrProvinceName" => "ST",
        "organizationName" => "O",
        "organizationalUnitName" => "OU",
        "organizationalUnit" => "OU",
        "countryName" => "C",
        "streetAddress" => "STREET",
        "domainComponent" => "DC",
        "userId" => "UID",
        other => other,
    }
    .to_owned()
}

/// RFC 4514, section 2.4.
fn escaped(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for (at, char) in value.char_indices() {
        let edge = (at == 0 && (char == ' ' || char == '#')) || (at + 1 == value.len() && char == ' ');
        if edge || matches!(char, '"' | '+' | ',' | ';' | '<' | '>' | '\\') {
            out.push('\\');
        }
        out.push(char);
    }
    out
}

fn stamps(files: &Files) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let found = fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len()))
    };
    let authorities = files.client_authorities.as_deref().map(stamp);
    [stamp(&files.certificate), stamp(&files.key)].into_iter().chain(authorities).collect()
}

fn config(files: &Files) -> Result<Arc<ServerConfig>, Error> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| Error::File { path: files.key.clone(), error })?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(Error::Unusable)?;
    let builder = match &files.client_authorities {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let bad = |error: String| Error::Authorities { path: path.clone(), error };
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if files.client_must_show { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| bad(error.to_string()))?)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(Error::Unusable)?;
    // Clients reconnect all at once when a broker comes back; a ticket spares them the signature.
    if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
        config.ticketer = ticketer;
    }
    Ok(Arc::new(config))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let bad = |error| match error {
        pem::Error::Io(error) => Error::Read { path: path.to_owned(), error },
        error => Error::File { path: path.to_owned(), error },
    };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(bad)?.collect();
    let found = found.map_err(bad)?;
    if found.is_empty() { Err(Error::Empty(path.to_owned())) } else { Ok(found) }
}

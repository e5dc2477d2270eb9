//! TLS without an authority: a certificate that the server makes once, and a fingerprint that its clients
//! pin.
//!
//! The lesson: a room of hosts that boot has no authority to sign names and often no names. What it has is
//! whoever sets it up, who can carry 32 bytes from the server's screen to the clients' command line. A
//! pinned fingerprint says more than any authority would: exactly this certificate, and the handshake's
//! signature proves that the far end has its key. So names and dates of a pinned certificate are not looked
//! at. Whoever has an authority gives its PEM file instead, and then names and dates count. There is no way
//! to trust just anybody.
//!
//! Left out: client certificates ([`super::access`] has tokens), revocation (make a new identity), the
//! system's authorities (they sign no hosts in clusters).

use crate::limits::MAX_PEM_BYTES;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// The identity's file in the state directory: certificate and key together, so that they always fit.
pub const IDENTITY_FILE: &str = "identity.pem";

/// Why there is no TLS. Whoever runs this program can mend each of them.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Others could pretend to be this server.
    #[error(
        "{0}: its mode {mode:03o} opens the server's private key to group or others; make it yours \
         alone with: chmod 600 '{0}'", path.display()
    )]
    Readable {
        /// Which.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file does not hold what it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// What was given is no fingerprint.
    #[error(
        "{0:?} is no fingerprint: give the 64 hexadecimal digits that the image server shows when it starts"
    )]
    Fingerprint(String),
    /// The TLS library's own.
    #[error("TLS cannot be set up: {0}")]
    Library(String),
}

/// SHA-256 of a certificate, as `openssl x509 -fingerprint -sha256` has it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    fn of(certificate: &CertificateDer<'_>) -> Fingerprint {
        Fingerprint(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    /// 64 hexadecimal digits, with colons between the bytes or not, `sha256:` before them or not.
    fn from_str(text: &str) -> Result<Fingerprint, Error> {
        let refuse = || Error::Fingerprint(text.chars().take(100).collect());
        let digits = text.trim();
        let digits = digits.strip_prefix("sha256:").unwrap_or(digits);
        let digits: Vec<u8> = if digits.len() == 95 {
            let pairs: Option<Vec<&[u8]>> =
                digits.as_bytes().split(|b| *b == b':').map(|p| (p.len() == 2).then_some(p)).collect();
            pairs.ok_or_else(refuse)?.concat()
        } else {
            digits.as_bytes().to_vec()
        };
        let digits: [u8; 64] = digits.try_into().map_err(|_| refuse())?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_chunks::<2>().0) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            let (Some(high), Some(low)) = (high, low) else { return Err(refuse()) };
            *byte = (high * 16 + low) as u8;
        }
        Ok(Fingerprint(bytes))
    }
}

/// What the server proves to its clients.
pub struct Identity {
    fingerprint: Fingerprint,
    config: Arc<ServerConfig>,
}

impl Identity {
    /// The identity kept in `state`, made there if there is none, for these names and addresses of the
    /// server. A certificate of the user's own may be put in its place: its chain, then its key.
    ///
    /// # Errors
    /// When the file cannot be read or written, is readable by others, or holds no identity.
    pub fn load_or_make(state: &Path, names: &[String]) -> Result<Identity, Error> {
        let path = state.join(IDENTITY_FILE);
        let there = fs::symlink_metadata(&path);
        if there.is_err_and(|e| e.kind() == io::ErrorKind::NotFound) {
            make(state, &path, names)?;
        }
        load(&path)
    }

    /// What clients pin.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// For [`super::http::Server::start`].
    pub fn server_config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.config)
    }
}

fn make(state: &Path, path: &Path, names: &[String]) -> Result<(), Error> {
    let library = |e: rcgen::Error| Error::Library(e.to_string());
    let failed = |source| Error::File { path: path.to_owned(), source };
    let mut parameters = rcgen::CertificateParams::new(names).map_err(library)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "offload image server");
    let key = rcgen::KeyPair::generate().map_err(library)?;
    let certificate = parameters.self_signed(&key).map_err(library)?;
    // Readable by its owner alone from the first byte on, and there whole or not at all.
    let mut file = tempfile::NamedTempFile::new_in(state).map_err(failed)?;
    let text = certificate.pem() + &key.serialize_pem();
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        // Another server of the same state directory was faster: its identity is as good.
        Err(e) if e.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(failed(e.error)),
    }
}

fn load(path: &Path) -> Result<Identity, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let wrong = |what: String| Error::Content {
        path: path.to_owned(),
        reason: format!("{what}; move it away and start again to have a new one made"),
    };
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Error::Readable { path: path.to_owned(), mode });
    }
    let text = read_bounded(file).map_err(failed)?;
    let chain = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let chain = chain.map_err(|e| wrong(e.to_string()))?;
    let first = chain.first().ok_or_else(|| wrong("it holds no certificate".to_owned()))?;
    let fingerprint = Fingerprint::of(first);
    let key =
        PrivateKeyDer::from_pem_slice(&text).map_err(|_| wrong("it holds no private key".to_owned()))?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Library(e.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|e| wrong(e.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Identity { fingerprint, config: Arc::new(config) })
}

fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_PEM_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_PEM_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for a PEM file"));
    }
    Ok(text)
}

/// The same on both sides, whatever another part of the program has made the process's default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Whom a client takes for the server.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Who has the key of exactly this certificate.
    Pin(Fingerprint),
    /// Who has a certificate for the server's name by an authority of this PEM file.
    Authority(PathBuf),
}

impl Trust {
    /// How a client connects.
    ///
    /// # Errors
    /// When the PEM file cannot be read or holds no certificate.
    pub fn client_config(&self) -> Result<Arc<ClientConfig>, Error> {
        let provider = provider();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::Library(e.to_string()))?;
        let builder = match self {
            Trust::Pin(fingerprint) => {
                let verifier = Pinned { fingerprint: *fingerprint, provider };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            Trust::Authority(path) => builder.with_root_certificates(authorities(path)?),
        };
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let wrong = |what: String| Error::Content {
        path: path.to_owned(),
        reason: format!("{what}; give a PEM file with the authority's certificate"),
    };
    let text = File::open(path).and_then(read_bounded).map_err(failed)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Accepts one certificate. That the far end has its key is proved by the handshake's signature, which is
/// verified as always.
#[derive(Debug)]
struct Pinned {
    fingerprint: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(end_entity) == self.fingerprint {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<String> {
        vec!["localhost".to_owned(), "127.0.0.1".to_owned()]
    }

    fn shown(result: Result<Identity, Error>) -> String {
        result.err().unwrap().to_string()
    }

    #[test]
    fn an_identity_is_made_once_and_is_its_owners_alone() {
        let state = tempfile::tempdir().unwrap();
        let first = Identity::load_or_make(state.path(), &names()).unwrap().fingerprint();
        let again = Identity::load_or_make(state.path(), &[]).unwrap().fingerprint();
        assert_eq!(first, again);
        let path = state.path().join(IDENTITY_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Identity::load_or_make(other.path(), &names()).unwrap().fingerprint(), first);
        // Nothing else is left there.
        assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_identity_that_others_can_read_or_that_is_none_is_refused() {
        let state = tempfile::tempdir().unwrap();
        Identity::load_or_make(state.path(), &names()).unwrap();
        let path = state.path().join(IDENTITY_FILE);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(
            shown(Identity::load_or_make(state.path(), &names())),
            format!(
                "{0}: its mode 640 opens the server's private key to group or others; make it yours \
                 alone with: chmod 600 '{0}'",
                path.display()
            )
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        let (certificate, key) = whole.split_at(whole.find("-----BEGIN PRIVATE").unwrap());
        for (text, says) in
            [("", "no certificate"), (certificate, "no private key"), (key, "no certificate")]
        {
            fs::write(&path, text).unwrap();
            let message = shown(Identity::load_or_make(state.path(), &names()));
            assert!(message.contains(says) && message.contains("move it away"), "{message}");
        }
        fs::write(&path, vec![b'-'; MAX_PEM_BYTES as usize + 1]).unwrap();
        assert!(shown(Identity::load_or_make(state.path(), &names())).contains("too long"));
    }

    #[test]
    fn a_fingerprint_reads_as_it_is_shown_and_as_openssl_shows_it() {
        let fingerprint = Fingerprint(std::array::from_fn(|i| (i * 9) as u8));
        let text = fingerprint.to_string();
        let colons = text.as_bytes().chunks(2).map(|p| str::from_utf8(p).unwrap().to_uppercase());
        let colons = colons.collect::<Vec<_>>().join(":");
        for accepted in [&text, &format!(" sha256:{text}\n"), &colons] {
            assert_eq!(accepted.parse::<Fingerprint>().unwrap(), fingerprint);
        }
        let shifted = format!("{}:{}", &colons[..1], &colons[2..]);
        for wrong in ["", &text[1..], &text.replace('0', "g"), &"é".repeat(32), &shifted] {
            let message = wrong.parse::<Fingerprint>().unwrap_err().to_string();
            assert!(message.contains("64 hexadecimal digits"), "{message}");
        }
    }

    #[test]
    fn a_file_without_authorities_is_no_trust() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let config = |path: &Path| Trust::Authority(path.to_owned()).client_config();
        assert!(config(&path).unwrap_err().to_string().contains("ca.pem: No such file"));
        fs::write(&path, "nothing").unwrap();
        let message = config(&path).unwrap_err().to_string();
        assert!(message.contains("it holds no certificate; give a PEM file"), "{message}");
    }
}

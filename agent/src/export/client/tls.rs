//! The PEM files of [`Tls`], read and checked once for both transports.

use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::export::settings::{SettingsError, Tls};

/// Contents of the files, each known to hold what it should.
pub(super) struct Files {
    /// Certificates to trust, `None` for the system's.
    pub(super) certificate: Option<Pem<Vec<CertificateDer<'static>>>>,
    /// Own chain and key.
    pub(super) identity: Option<(Pem<Vec<CertificateDer<'static>>>, Pem<PrivateKeyDer<'static>>)>,
}

/// A file's bytes, and what is in them.
pub(super) struct Pem<T> {
    /// As read.
    pub(super) text: Vec<u8>,
    /// Decoded.
    pub(super) parsed: T,
}

/// Reads what `tls` names.
///
/// # Errors
/// A file that is not there, not readable or not what it should be; half an identity.
pub(super) fn read(tls: &Tls) -> Result<Files, SettingsError> {
    let certificate = tls.certificate.as_deref().map(certificates).transpose()?;
    let identity = match (&tls.client_certificate, &tls.client_key) {
        (Some(certificate), Some(key)) => Some((certificates(certificate)?, private_key(key)?)),
        (None, None) => None,
        _ => return Err(SettingsError::HalfIdentity),
    };
    Ok(Files {
        certificate,
        identity,
    })
}

fn certificates(path: &Path) -> Result<Pem<Vec<CertificateDer<'static>>>, SettingsError> {
    let invalid = |reason| SettingsError::Pem {
        path: path.to_owned(),
        expected: "certificate",
        reason,
    };
    let text = bytes(path)?;
    let parsed: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|error: rustls::pki_types::pem::Error| invalid(error.to_string()))?;
    if parsed.is_empty() {
        return Err(invalid("there is no CERTIFICATE section".to_owned()));
    }
    Ok(Pem { text, parsed })
}

fn private_key(path: &Path) -> Result<Pem<PrivateKeyDer<'static>>, SettingsError> {
    let text = bytes(path)?;
    let parsed = PrivateKeyDer::from_pem_slice(&text).map_err(|error| SettingsError::Pem {
        path: path.to_owned(),
        expected: "private key",
        reason: error.to_string(),
    })?;
    Ok(Pem { text, parsed })
}

fn bytes(path: &Path) -> Result<Vec<u8>, SettingsError> {
    std::fs::read(path).map_err(|source| SettingsError::Read {
        path: path.to_owned(),
        source,
    })
}

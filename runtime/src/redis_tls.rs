//! CA certificates for a Redis at a `rediss://` URL.

use crate::settings::{SettingError, Settings};

const VARIABLE: &str = "REDIS_TLS_CA_FILE";

/// The certificates (PEM) in the file `REDIS_TLS_CA_FILE`, if it is set: Redis' own must be signed by one of them.
/// Otherwise those of the system apply.
///
/// # Errors
/// When the file can't be read or has no certificate.
pub fn ca(settings: &Settings) -> Result<Option<Vec<u8>>, SettingError> {
    let Some(path) = settings.get(VARIABLE) else { return Ok(None) };
    let pem = std::fs::read(path).map_err(|error| SettingError::malformed(VARIABLE, error))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(SettingError::malformed(VARIABLE, "the file has no certificate (PEM)"));
    }
    Ok(Some(pem))
}

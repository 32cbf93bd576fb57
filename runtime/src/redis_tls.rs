//! Whom a Redis that is reached by `rediss://` is trusted through.

use crate::settings::{SettingError, Settings};

const VARIABLE: &str = "REDIS_TLS_CA_FILE";

/// The certificates (PEM) that `REDIS_TLS_CA_FILE` names, if it is set: Redis' own must be signed by one of them. Without,
/// those of the system count.
///
/// # Errors
/// When the file can't be read or holds no certificate.
pub fn ca(settings: &Settings) -> Result<Option<Vec<u8>>, SettingError> {
    let Some(path) = settings.get(VARIABLE) else { return Ok(None) };
    let pem = std::fs::read(path).map_err(|error| SettingError::malformed(VARIABLE, error))?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        return Err(SettingError::malformed(VARIABLE, "the file holds no certificate (PEM)"));
    }
    Ok(Some(pem))
}

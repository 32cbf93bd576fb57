//! The encryption keys of secrets in payloads, as `JOB_ENCRYPTION_KEY` lists them: the first encrypts,
//! all decrypt. XChaCha20-Poly1305, whose nonces are long enough to be random.

use std::{str::FromStr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

use super::PayloadError;

const NONCE: usize = 24;
const KEY: usize = 32;
const LONGEST_ID: usize = 32;

/// Keys by their ids, the encrypting one first. None: secrets can neither be written nor read.
#[derive(Clone, Default)]
pub struct PayloadKeys(Arc<[(String, XChaCha20Poly1305)]>);

/// The text is no list of keys. Doesn't quote it, since it may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("needs keys as id:64 hexadecimal digits, separated by commas, each id once")]
pub struct MalformedKeys;

impl PayloadKeys {
    /// Encrypts for one place: `id.nonce and ciphertext`.
    pub(crate) fn seal(&self, plain: &[u8], place: &str) -> Result<String, PayloadError> {
        let (id, cipher) = self.0.first().ok_or(PayloadError::NoKey)?;
        let nonce: [u8; NONCE] = rand::random();
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), Payload { msg: plain, aad: place.as_bytes() })
            .map_err(|_| PayloadError::Unreadable("a secret is too long to be encrypted".to_owned()))?;
        Ok(format!("{id}.{}", URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())))
    }

    /// Decrypts a value of that place.
    pub(crate) fn open(&self, sealed: &str, place: &str) -> Result<Vec<u8>, PayloadError> {
        let broken = || PayloadError::Unreadable("a secret in it was altered".to_owned());
        let (id, text) = sealed.split_once('.').ok_or_else(broken)?;
        let (_, cipher) = self
            .0
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| PayloadError::UnknownKey(id.to_owned()))?;
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| broken())?;
        let (nonce, sealed) = bytes.split_first_chunk::<NONCE>().ok_or_else(broken)?;
        cipher
            .decrypt(&XNonce::from(*nonce), Payload { msg: sealed, aad: place.as_bytes() })
            .map_err(|_| broken())
    }
}

impl FromStr for PayloadKeys {
    type Err = MalformedKeys;

    fn from_str(list: &str) -> Result<Self, MalformedKeys> {
        let mut keys: Vec<(String, XChaCha20Poly1305)> = Vec::new();
        for item in list.split(',') {
            let (id, digits) = item.trim().split_once(':').ok_or(MalformedKeys)?;
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if id.is_empty() || id.len() > LONGEST_ID || !id.chars().all(plain) {
                return Err(MalformedKeys);
            }
            let mut key = [0; KEY];
            hex::decode_to_slice(digits, &mut key).map_err(|_| MalformedKeys)?;
            if keys.iter().any(|(known, _)| known == id) {
                return Err(MalformedKeys);
            }
            keys.push((id.to_owned(), XChaCha20Poly1305::new(&key.into())));
        }
        Ok(Self(keys.into()))
    }
}

impl std::fmt::Debug for PayloadKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_none_is_refused_without_repeating_it() {
        let good = "7f".repeat(32);
        for bad in [
            String::new(),
            good.clone(),
            format!("a:{}", &good[2..]),
            format!("a:{good}7f"),
            format!(":{good}"),
            format!("a b:{good}"),
            format!("a:{good},a:{good}"),
            format!("a:{good},"),
            format!("a:{}zz", &good[2..]),
        ] {
            let refused = bad.parse::<PayloadKeys>().unwrap_err();
            assert!(!refused.to_string().contains("7f"), "{refused}");
        }
        let keys: PayloadKeys = format!("2026-b:{good}, 2026-a:{good}").parse().unwrap();
        assert_eq!(format!("{keys:?}"), r#"["2026-b", "2026-a"]"#);
    }
}

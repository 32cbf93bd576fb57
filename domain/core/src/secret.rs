//! Secrets that are shown once and stored as their hash: refresh tokens, sign-up tokens, links.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A new secret of 256 bits, in characters that need no escaping in URLs.
#[must_use]
pub fn generate() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Number of characters of a credential that are shown later on, for telling keys apart.
pub const SHOWN: usize = 12;

/// The salt that derives one secret from another: neither is of use without the other.
pub type Salt = [u8; 32];

/// A new salt.
pub fn salt() -> Salt {
    rand::random()
}

/// The successor of a secret: always the same with the same salt.
///
/// # Panics
/// Never: HMAC takes keys of any length.
pub fn successor(secret: &str, salt: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(salt);
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// The stored form of a secret. A secret this long needs no salt and no slow hash.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// A secret derived from another one, for one purpose: without them, it can't be distinguished from a new one.
///
/// # Panics
/// Never: HMAC takes a key of any length.
#[must_use]
pub fn derive(secret: &str, purpose: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
    mac.update(purpose.as_bytes());
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_long_and_never_the_same() {
        let (one, other) = (generate(), generate());
        assert_eq!(one.len(), 43);
        assert_ne!(one, other);
        assert_ne!(hash(&one), hash(&other));
    }

    #[test]
    fn a_successor_is_the_same_with_the_same_salt_and_no_other_secrets() {
        let (one, other, with) = (generate(), generate(), salt());
        let next = successor(&one, &with);
        assert_eq!((next.len(), &next), (43, &successor(&one, &with)));
        assert_ne!(next, successor(&other, &with));
        assert_ne!(next, successor(&one, &salt()));
    }
}

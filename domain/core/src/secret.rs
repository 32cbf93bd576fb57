//! Secrets that we hand out once and know again by their hash: refresh tokens, sign-up tokens, links.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A fresh secret of 256 bits, in characters that URLs take.
#[must_use]
pub fn generate() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// How many characters of a credential are shown of it later on: by its beginning people tell keys apart.
pub const SHOWN: usize = 12;

/// What makes one secret out of another, with the other at hand: neither is worth anything without it.
pub type Salt = [u8; 32];

/// A fresh salt.
pub fn salt() -> Salt {
    rand::random()
}

/// The secret that follows on another: always the same with the same salt.
///
/// # Panics
/// Never: HMAC takes keys of any length.
pub fn successor(secret: &str, salt: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(salt);
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

/// What is stored instead of it. A secret this long needs no salt and no slow hash.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
}

/// A secret made of another one, for one purpose: whoever has neither can't tell it from a fresh one.
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

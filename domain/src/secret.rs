//! Secrets that we hand out once and know again by their hash: refresh tokens, sign-up tokens, links.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// A fresh secret of 256 bits, in characters that URLs take.
#[must_use]
pub fn generate() -> String {
    let bytes: [u8; 32] = rand::random();
    URL_SAFE_NO_PAD.encode(bytes)
}

/// What is stored instead of it. A secret this long needs no salt and no slow hash.
#[must_use]
pub fn hash(secret: &str) -> Vec<u8> {
    Sha256::digest(secret.as_bytes()).to_vec()
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
}

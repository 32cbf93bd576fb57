//! A secret that a caller shares with this installation: presenting it proves the caller's identity.

use std::{fmt, str::FromStr};

use runtime::settings::MIN_SECRET_LENGTH;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// A secret from the settings, kept as a digest.
#[derive(Clone, PartialEq, Eq)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    fn digest(secret: &str) -> [u8; 32] {
        Sha256::digest(secret.as_bytes()).into()
    }

    /// Whether it is this one. Compares in constant time.
    #[must_use]
    pub fn is(&self, secret: &str) -> bool {
        self.0.ct_eq(&Self::digest(secret)).into()
    }

    /// Distinguishes it from the previous and the next one.
    pub(crate) fn fingerprint(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for SharedSecret {
    type Err = String;

    fn from_str(secret: &str) -> Result<Self, String> {
        if secret.chars().count() < MIN_SECRET_LENGTH {
            return Err(format!("needs {MIN_SECRET_LENGTH} characters or more"));
        }
        Ok(Self(Self::digest(secret)))
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_itself_and_nothing_else_and_never_shows() {
        let text = "0123456789abcdef0123456789abcdef";
        let secret: SharedSecret = text.parse().unwrap();
        assert!(secret.is(text));
        assert!(!secret.is("0123456789abcdef0123456789abcdeF") && !secret.is(""));
        assert!(!format!("{secret:?}").contains("0123") && !secret.fingerprint().contains("0123"));
        let other: SharedSecret = text.to_uppercase().parse().unwrap();
        assert_ne!(secret.fingerprint(), other.fingerprint());
        assert!("short".parse::<SharedSecret>().is_err());
    }
}

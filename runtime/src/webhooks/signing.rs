//! Signatures of webhooks, and their secrets. A secret is derived from the
//! installation's and never stored.

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// The key from which secrets of webhooks are derived.
#[derive(Clone)]
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// The key of an installation, from `MILLRACE_SECRET`.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        Self(mac(secret.as_bytes(), &[b"webhooks"]))
    }

    /// The secret that signs the requests of one source, in the form for its receiver.
    #[must_use]
    pub fn secret_of(&self, source: Uuid) -> String {
        format!("whsec_{}", STANDARD.encode(mac(&self.0, &[source.as_bytes()])))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SigningKey")
    }
}

/// The signature of a request, for the header `webhook-signature`.
pub(super) fn sign(secret: &str, id: &str, timestamp: i64, body: &[u8]) -> String {
    let key = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = STANDARD.decode(key).unwrap_or_else(|_| key.as_bytes().to_vec());
    let timestamp = timestamp.to_string();
    let signature = mac(&key, &[id.as_bytes(), b".", timestamp.as_bytes(), b".", body]);
    format!("v1,{}", STANDARD.encode(signature))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_that_of_the_specifications_example() {
        let signed = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn each_source_has_a_secret_of_its_own() {
        let key = SigningKey::new("a secret for tests, and for nothing else");
        assert_ne!(key.secret_of(Uuid::from_u128(1)), key.secret_of(Uuid::from_u128(2)));
        assert_ne!(SigningKey::new("another").secret_of(Uuid::nil()), key.secret_of(Uuid::nil()));
        assert!(key.secret_of(Uuid::nil()).starts_with("whsec_"));
    }
}

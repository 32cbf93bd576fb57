//! Authentication of Stripe's webhook events: the header `Stripe-Signature` has a time `t` and signatures `v1`,
//! one of which is the HMAC-SHA256 of `t.payload` under the endpoint's secret.

use std::str::FromStr;

use chrono::{DateTime, Duration, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Maximum difference of its time from ours: an older one may be a replay.
const TOLERANCE: Duration = Duration::minutes(5);

/// The secret with which Stripe signs its webhook events for one endpoint.
#[derive(Clone)]
pub struct WebhookSecret(String);

/// The event is not signed by Stripe, or too old.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is invalid")]
pub struct SignatureError;

impl FromStr for WebhookSecret {
    type Err = &'static str;

    /// The secret as Stripe shows it (`whsec_…`).
    fn from_str(secret: &str) -> Result<Self, Self::Err> {
        let good = secret.strip_prefix("whsec_").is_some_and(|rest| !rest.is_empty());
        if good { Ok(Self(secret.to_owned())) } else { Err("expected whsec_…, as Stripe shows it") }
    }
}

impl WebhookSecret {
    /// Checks the signature of an event.
    ///
    /// # Errors
    /// [`SignatureError`], whatever is wrong with it.
    ///
    /// # Panics
    /// Never: HMAC takes keys of any length.
    pub fn check(&self, header: &str, payload: &[u8], now: DateTime<Utc>) -> Result<(), SignatureError> {
        let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
        let value = |name: &'static str| parts().filter(move |(key, _)| *key == name).map(|(_, value)| value);
        let time = value("t").next().ok_or(SignatureError)?;
        let at = time.parse().ok().and_then(|seconds| DateTime::<Utc>::from_timestamp(seconds, 0));
        if now.signed_duration_since(at.ok_or(SignatureError)?).abs() > TOLERANCE {
            return Err(SignatureError);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).map_err(|_| SignatureError)?;
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(payload);
        let is_good = |signature: &str| {
            // Constant time.
            hex::decode(signature).is_ok_and(|bytes| mac.clone().verify_slice(&bytes).is_ok())
        };
        if value("v1").any(is_good) { Ok(()) } else { Err(SignatureError) }
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: i64 = 1_700_000_000;
    const PAYLOAD: &[u8] = br#"{"id":"evt_1"}"#;

    fn signed(secret: &str, at: i64) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(PAYLOAD);
        hex::encode(mac.finalize().into_bytes())
    }

    fn check(header: &str, payload: &[u8], seconds_later: i64) -> Result<(), SignatureError> {
        let now = DateTime::from_timestamp(AT + seconds_later, 0).unwrap();
        WebhookSecret::from_str("whsec_mine").unwrap().check(header, payload, now)
    }

    #[test]
    fn one_good_signature_of_several_is_enough() {
        let good = signed("whsec_mine", AT);
        let header = format!("t={AT}, v1={}, v1={good}, v0=old", "00".repeat(32));
        assert_eq!(check(&header, PAYLOAD, 0), Ok(()));
    }

    #[test]
    fn another_secret_payload_time_or_scheme_is_refused() {
        let good = signed("whsec_mine", AT);
        for (header, payload) in [
            (format!("t={AT},v1={}", signed("whsec_other", AT)), PAYLOAD),
            (format!("t={AT},v1={good}"), &b"{}"[..]),
            (format!("t={},v1={good}", AT + 1), PAYLOAD),
            (format!("t={AT},v0={good}"), PAYLOAD),
            (format!("v1={good}"), PAYLOAD),
            (format!("t={AT},v1=not hex"), PAYLOAD),
            (String::new(), PAYLOAD),
        ] {
            assert_eq!(check(&header, payload, 0), Err(SignatureError), "{header}");
        }
    }

    #[test]
    fn a_notice_is_good_for_five_minutes() {
        let header = format!("t={AT},v1={}", signed("whsec_mine", AT));
        assert_eq!(check(&header, PAYLOAD, 300), Ok(()));
        assert_eq!(check(&header, PAYLOAD, -300), Ok(()));
        assert_eq!(check(&header, PAYLOAD, 301), Err(SignatureError));
        assert_eq!(check(&header, PAYLOAD, -301), Err(SignatureError));
    }
}

//! Signed links: a download that a browser can fetch without headers, until a time, for one thing.

use chrono::{DateTime, TimeDelta, Utc};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use uuid::Uuid;

/// Signs and checks links. One key per installation.
#[derive(Clone)]
pub struct LinkSigner {
    keyed: Hmac<Sha256>,
}

/// The link's signature is wrong or its time is over; which of the two is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the link is not valid any more")]
pub struct Expired;

impl crate::DomainError for Expired {
    fn refusal(&self) -> crate::Refusal {
        crate::Refusal::Forbidden
    }
}

impl LinkSigner {
    /// With the installation's secret.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes keys of any length, so this has no error to give.
        let keyed = Hmac::new_from_slice(secret).unwrap_or_else(|_| unreachable!("any length will do"));
        Self { keyed }
    }

    /// The query of a link to `thing` for `purpose`, valid for a while from `now`: `exp=…&sig=…`.
    #[must_use]
    pub fn query(&self, purpose: &str, thing: Uuid, now: DateTime<Utc>, valid: TimeDelta) -> String {
        let expires = (now + valid).timestamp();
        let signature = hex::encode(self.mac(purpose, thing, expires).finalize().into_bytes());
        format!("exp={expires}&sig={signature}")
    }

    /// Checks what came back.
    ///
    /// # Errors
    /// [`Expired`].
    pub fn verify(
        &self,
        purpose: &str,
        thing: Uuid,
        now: DateTime<Utc>,
        expires: i64,
        signature: &str,
    ) -> Result<(), Expired> {
        let signature = hex::decode(signature).map_err(|_| Expired)?;
        self.mac(purpose, thing, expires)
            .verify_slice(&signature)
            .map_err(|_| Expired)?;
        if now.timestamp() >= expires {
            Err(Expired)
        } else {
            Ok(())
        }
    }

    fn mac(&self, purpose: &str, thing: Uuid, expires: i64) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(format!("link\n{purpose}\n{thing}\n{expires}").as_bytes());
        mac
    }
}

impl std::fmt::Debug for LinkSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LinkSigner")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(query: &str) -> (i64, String) {
        let (expires, signature) = query.split_once('&').unwrap();
        (
            expires.strip_prefix("exp=").unwrap().parse().unwrap(),
            signature.strip_prefix("sig=").unwrap().into(),
        )
    }

    #[test]
    fn a_link_opens_its_own_thing_until_its_time() {
        let signer = LinkSigner::new(b"secret");
        let (thing, other) = (Uuid::now_v7(), Uuid::now_v7());
        let now = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let (expires, signature) = parts(&signer.query("report", thing, now, TimeDelta::seconds(60)));

        assert_eq!(signer.verify("report", thing, now, expires, &signature), Ok(()));
        let later = now + TimeDelta::seconds(60);
        assert_eq!(
            signer.verify("report", thing, later, expires, &signature),
            Err(Expired)
        );
        assert_eq!(
            signer.verify("report", thing, now, expires + 60, &signature),
            Err(Expired)
        );
        assert_eq!(
            signer.verify("report", other, now, expires, &signature),
            Err(Expired)
        );
        assert_eq!(
            signer.verify("export", thing, now, expires, &signature),
            Err(Expired)
        );
        assert_eq!(signer.verify("report", thing, now, expires, "00"), Err(Expired));
        assert_eq!(
            signer.verify("report", thing, now, expires, "no hex"),
            Err(Expired)
        );
        assert_eq!(
            LinkSigner::new(b"x").verify("report", thing, now, expires, &signature),
            Err(Expired)
        );
    }
}

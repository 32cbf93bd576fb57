//! Signatures of the process: access tokens, tickets for streams, links to one download. Each purpose
//! has a key of its own, derived from the installation's secret, so that a signature made for one is
//! invalid for another.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Duration, Utc};
use domain::{SessionId, UserId, WorkspaceId, callers::Credential};
use hmac::{Hmac, KeyInit, Mac};
use jobs::JobId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use runtime::webhooks::SigningKey;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use crate::{device::DeviceKeys, impersonation::ImpersonationKeys};

/// Signs and checks. The secret itself is not kept.
pub struct Signer {
    sign_access: EncodingKey,
    check_access: DecodingKey,
    access_rules: Validation,
    tickets: [u8; 32],
    downloads: [u8; 32],
    webhooks: SigningKey,
    pub(crate) devices: DeviceKeys,
    pub(crate) impersonation: ImpersonationKeys,
}

/// The claims of an access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// User id.
    pub sub: UserId,
    /// Session id; the token is valid only while the session is.
    pub sid: SessionId,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it expires, in seconds since 1970.
    pub exp: i64,
    /// Always `access`.
    pub typ: TokenType,
}

/// The kinds of JWT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenType {
    /// For requests.
    Access,
}

/// The streams that a ticket gives access to, for reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opens {
    /// Those of one job.
    #[serde(rename = "job")]
    Job(JobId),
    /// That of all jobs of a workspace.
    #[serde(rename = "jobs_of")]
    JobsOf(WorkspaceId),
}

/// The content of a ticket. Its acceptance also requires that the credential still has that permission in the
/// workspace of the streams.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// Streams that it gives access to.
    #[serde(flatten)]
    pub opens: Opens,
    /// Credential that it was made for, and with which it ends.
    #[serde(flatten)]
    pub credential: Credential,
    /// Permission by which it was given, and with which it ends.
    #[serde(rename = "may")]
    pub permission: Cow<'static, str>,
    /// Expiry time, in seconds since 1970; null if the end of the job determines it.
    #[serde(default, rename = "exp", skip_serializing_if = "Option::is_none")]
    pub expires: Option<i64>,
}

impl Signer {
    /// Keys derived from the installation's secret.
    #[must_use]
    pub fn new(secret: &str) -> Self {
        let access = derive(secret, "access tokens");
        let mut access_rules = Validation::new(Algorithm::HS256);
        access_rules.leeway = 0;
        Self {
            sign_access: EncodingKey::from_secret(&access),
            check_access: DecodingKey::from_secret(&access),
            access_rules,
            tickets: derive(secret, "job tickets"),
            downloads: derive(secret, "downloads"),
            webhooks: SigningKey::new(secret),
            devices: DeviceKeys::new(&derive(secret, "device tokens")),
            impersonation: ImpersonationKeys::new(&derive(secret, "impersonation tokens")),
        }
    }

    /// The secret with which the webhooks of one source are signed, for their receiver.
    #[must_use]
    pub fn webhook_secret(&self, source: Uuid) -> String {
        self.webhooks.secret_of(source)
    }

    /// An access token for a session, and when it expires.
    ///
    /// # Errors
    /// When the claims can't be serialised, which they always can.
    pub fn access_token(
        &self,
        user: UserId,
        session: SessionId,
        lifetime: std::time::Duration,
    ) -> Result<(String, DateTime<Utc>), jsonwebtoken::errors::Error> {
        self.access_token_of(user, session, jobs::clock::now(), lifetime)
    }

    /// The same as of a given time: repeated calls give the same token.
    ///
    /// # Errors
    /// As of [`Signer::access_token`].
    pub fn access_token_of(
        &self,
        user: UserId,
        session: SessionId,
        now: DateTime<Utc>,
        lifetime: std::time::Duration,
    ) -> Result<(String, DateTime<Utc>), jsonwebtoken::errors::Error> {
        let expires = now + Duration::from_std(lifetime).unwrap_or(Duration::MAX);
        let claims = AccessClaims {
            sub: user,
            sid: session,
            iat: now.timestamp(),
            exp: expires.timestamp(),
            typ: TokenType::Access,
        };
        Ok((jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.sign_access)?, expires))
    }

    /// The claims of a token that this installation signed and that has not expired.
    pub fn check_access_token(&self, token: &str) -> Option<AccessClaims> {
        jsonwebtoken::decode(token, &self.check_access, &self.access_rules).ok().map(|token| token.claims)
    }

    /// A ticket, for URLs without headers.
    #[must_use]
    pub fn ticket(&self, ticket: &Ticket) -> String {
        // Ids and names: serialising them can't fail.
        let body = serde_json::to_vec(ticket).unwrap_or_default();
        let signature = sign(&self.tickets, &body);
        format!("{}.{}", URL_SAFE_NO_PAD.encode(body), URL_SAFE_NO_PAD.encode(signature))
    }

    /// The content of a ticket that this installation signed and that has not expired.
    pub fn check_ticket(&self, ticket: &str) -> Option<Ticket> {
        let (body, signature) = ticket.split_once('.')?;
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        if !is_signature(&self.tickets, &body, &signature) {
            return None;
        }
        let ticket: Ticket = serde_json::from_slice(&body).ok()?;
        ticket.expires.is_none_or(|expires| expires > jobs::clock::now().timestamp()).then_some(ticket)
    }

    /// The path with `exp` and `sig`, by which every holder of the link may download it until then, regardless
    /// of the caller that it was made for. The path must have no query of its own.
    #[must_use]
    pub fn download_link(&self, path: &str, expires: DateTime<Utc>) -> String {
        let exp = expires.timestamp();
        let signature = sign(&self.downloads, format!("{path}\n{exp}").as_bytes());
        format!("{path}?exp={exp}&sig={}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Whether this installation signed that path until `exp`, which has not passed.
    #[must_use]
    pub fn check_download(&self, path: &str, exp: i64, sig: &str) -> bool {
        let Ok(signature) = URL_SAFE_NO_PAD.decode(sig) else {
            return false;
        };
        exp > jobs::clock::now().timestamp()
            && is_signature(&self.downloads, format!("{path}\n{exp}").as_bytes(), &signature)
    }
}

impl Signer {
    /// The same, for as long as a credential is valid, which `sig` names.
    #[must_use]
    pub fn bound_link(&self, path: &str, expires: DateTime<Utc>, credential: Credential) -> String {
        let exp = expires.timestamp();
        // An id and its kind: serialising them can't fail.
        let bound_to = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&credential).unwrap_or_default());
        let signature = sign(&self.downloads, format!("{path}\n{exp}\n{bound_to}").as_bytes());
        format!("{path}?exp={exp}&sig={bound_to}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The credential for which this installation signed that path until `exp`, which has not passed. The
    /// credential's validity is checked elsewhere.
    #[must_use]
    pub fn check_bound_link(&self, path: &str, exp: i64, sig: &str) -> Option<Credential> {
        let (bound_to, signature) = sig.split_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let is_ours =
            is_signature(&self.downloads, format!("{path}\n{exp}\n{bound_to}").as_bytes(), &signature);
        if !is_ours || exp <= jobs::clock::now().timestamp() {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(bound_to).ok()?).ok()
    }
}

/// The key of a purpose.
fn derive(secret: &str, purpose: &str) -> [u8; 32] {
    sign(secret.as_bytes(), purpose.as_bytes())
}

fn mac(key: &[u8], message: &[u8]) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message);
    mac
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    mac(key, message).finalize().into_bytes().into()
}

/// Compares in constant time.
fn is_signature(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    mac(key, message).verify_slice(signature).is_ok()
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> Signer {
        Signer::new("a secret of at least thirty-two characters")
    }

    fn ticket() -> Ticket {
        Ticket {
            opens: Opens::Job(JobId::new()),
            credential: Credential::Session(SessionId::new()),
            permission: "jobs:view".into(),
            expires: None,
        }
    }

    #[test]
    fn a_ticket_says_what_it_was_made_for() {
        let now = jobs::clock::now().timestamp();
        let of_workspace = Opens::JobsOf(WorkspaceId::new());
        for ticket in [ticket(), Ticket { opens: of_workspace, expires: Some(now + 60), ..ticket() }] {
            assert_eq!(signer().check_ticket(&signer().ticket(&ticket)), Some(ticket));
        }
        let expired = Ticket { expires: Some(now - 1), ..ticket() };
        assert_eq!(signer().check_ticket(&signer().ticket(&expired)), None);
    }

    #[test]
    fn a_ticket_that_was_tampered_with_or_signed_elsewhere_is_refused() {
        let ticket = signer().ticket(&ticket());
        assert_eq!(Signer::new("another secret").check_ticket(&ticket), None);
        let forged = format!("{}.{}", URL_SAFE_NO_PAD.encode("{}"), ticket.split_once('.').unwrap().1);
        assert_eq!(signer().check_ticket(&forged), None);
        assert_eq!(signer().check_ticket("no.ticket"), None);
    }

    #[test]
    fn a_download_link_is_good_for_its_path_until_it_expires() {
        let later = jobs::clock::now() + Duration::minutes(5);
        let link = signer().download_link("/files/1", later);
        let sig = link.split_once("sig=").unwrap().1;
        assert!(signer().check_download("/files/1", later.timestamp(), sig));
        assert!(!signer().check_download("/files/2", later.timestamp(), sig));
        assert!(!signer().check_download("/files/1", later.timestamp() + 1, sig));
        let past = jobs::clock::now() - Duration::seconds(1);
        let link = signer().download_link("/files/1", past);
        assert!(!signer().check_download("/files/1", past.timestamp(), link.split_once("sig=").unwrap().1));
    }

    #[test]
    fn a_bound_link_names_its_credential_until_it_expires() {
        let later = jobs::clock::now() + Duration::minutes(5);
        let credential = Credential::Session(SessionId::new());
        let link = signer().bound_link("/files/1", later, credential);
        let sig = link.split_once("sig=").unwrap().1;
        let check = |path, exp, sig: &str| signer().check_bound_link(path, exp, sig);
        assert_eq!(check("/files/1", later.timestamp(), sig), Some(credential));
        assert_eq!(check("/files/2", later.timestamp(), sig), None);
        assert_eq!(check("/files/1", later.timestamp() + 1, sig), None);
        let other = signer().bound_link("/files/1", later, Credential::Session(SessionId::new()));
        let forged = format!(
            "{}.{}",
            other.split_once("sig=").unwrap().1.split_once('.').unwrap().0,
            sig.split_once('.').unwrap().1
        );
        assert_eq!(check("/files/1", later.timestamp(), &forged), None);
        let unbound = signer().download_link("/files/1", later);
        assert_eq!(check("/files/1", later.timestamp(), unbound.split_once("sig=").unwrap().1), None);
        assert!(!signer().check_download("/files/1", later.timestamp(), sig));
    }

    #[test]
    fn an_access_token_names_its_user_and_session_until_it_expires() {
        let (user, session) = (UserId::new(), SessionId::new());
        let (token, expires) =
            signer().access_token(user, session, std::time::Duration::from_mins(1)).unwrap();
        let claims = signer().check_access_token(&token).unwrap();
        assert_eq!((claims.sub, claims.sid, claims.exp), (user, session, expires.timestamp()));
        assert!(Signer::new("another secret").check_access_token(&token).is_none());
    }

    #[test]
    fn an_unsigned_access_token_is_refused() {
        let claims = serde_json::json!({"sub": UserId::new(), "sid": SessionId::new(), "iat": 0,
            "exp": i64::from(u32::MAX), "typ": "access"});
        let body = URL_SAFE_NO_PAD.encode(claims.to_string());
        let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(signer().check_access_token(&format!("{head}.{body}.")).is_none());
    }
}

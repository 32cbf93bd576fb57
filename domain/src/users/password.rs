//! Passwords: the rules for new ones, and argon2id for all.

use std::sync::LazyLock;

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use super::Email;

/// A hash takes 19 MiB and a core for a while: as many at once as there are cores, the rest wait.
static HASHERS: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(2, usize::from)));

/// What a password is compared with when there is no user: nobody's password, hashed like all others.
static NOBODYS: LazyLock<Option<String>> = LazyLock::new(|| hash_now(&crate::secret::generate()).ok());

/// A password that someone chose, within the rules.
pub struct Password(String);

/// A password could not be hashed: a fault of ours.
#[derive(Debug, thiserror::Error)]
#[error("argon2: {0}")]
pub struct HashError(String);

impl Password {
    /// Takes a password that is long enough and is not the address.
    pub fn parse(text: String, email: Option<&Email>) -> Result<Self, &'static str> {
        match text.chars().count() {
            0..10 => return Err("must have at least 10 characters"),
            10..=1024 => {}
            _ => return Err("must have at most 1024 characters"),
        }
        let is = |other: &str| text.trim().to_lowercase() == other.to_lowercase();
        if email.is_some_and(|email| is(email.as_str()) || is(email.local_part())) {
            return Err("must not be the email address");
        }
        let mut chars = text.chars();
        let first = chars.next();
        if chars.all(|c| Some(c) == first) {
            return Err("must not be one character over and over");
        }
        Ok(Self(text))
    }

    /// Its argon2id hash in PHC form, computed on a blocking thread.
    pub async fn hash(self) -> Result<String, HashError> {
        off_thread(move || hash_now(&self.0)).await?
    }
}

/// Whether the hash is that of the password. Without a hash it takes as long and is false.
pub(super) async fn verify(hash: Option<String>, password: String) -> bool {
    off_thread(move || {
        // Made on the first call whoever that is for, so that it doesn't tell known from unknown.
        let nobodys = NOBODYS.as_deref().unwrap_or_default();
        let parsed = PasswordHash::new(hash.as_deref().unwrap_or(nobodys));
        let matches =
            parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        matches && hash.is_some()
    })
    .await
    .unwrap_or(false)
}

fn hash_now(password: &str) -> Result<String, HashError> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| HashError(error.to_string()))
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
    let _permit = HASHERS.acquire().await.map_err(|error| HashError(error.to_string()))?;
    tokio::task::spawn_blocking(work).await.map_err(|error| HashError(error.to_string()))
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Password, &'static str> {
        Password::parse(text.to_owned(), Some(&"analytical@example.com".parse().unwrap()))
    }

    #[test]
    fn a_weak_password_is_refused_with_its_reason() {
        assert_eq!(parse("short").unwrap_err(), "must have at least 10 characters");
        assert_eq!(parse(&"ab".repeat(513)).unwrap_err(), "must have at most 1024 characters");
        assert_eq!(parse("Analytical@Example.com").unwrap_err(), "must not be the email address");
        assert_eq!(parse("ANALYTICAL").unwrap_err(), "must not be the email address");
        assert_eq!(parse("aaaaaaaaaaaa").unwrap_err(), "must not be one character over and over");
        assert!(parse(&"ab".repeat(512)).is_ok());
        assert!(parse("ünïcödé wörds").is_ok());
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hash = parse("correct horse battery").unwrap().hash().await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify(Some(hash.clone()), "correct horse battery".into()).await);
        assert!(!verify(Some(hash), "correct horse".into()).await);
        assert!(!verify(None, "correct horse battery".into()).await);
    }

    #[test]
    fn a_password_never_shows_itself() {
        assert_eq!(format!("{:?}", parse("correct horse battery").unwrap()), "Password(…)");
    }
}

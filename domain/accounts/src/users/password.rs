//! Passwords: the rules for new ones, and argon2id for all.

use std::{borrow::Cow, sync::LazyLock};

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use domain::{Email, Error};
use runtime::heavy::{HeavyPool, Whose, heavy};
use zxcvbn::{Score, zxcvbn};

/// Minimum number of characters of a password, unless a workspace requires more.
pub const FEWEST: usize = 10;
/// Maximum number of characters.
const MOST: usize = 1024;
/// Number of characters that are considered in the estimate of guesses. Further ones can't make a password
/// easier to guess, and the time of the estimate grows faster than their number.
const JUDGED: usize = 64;

/// Maximum number of hashes that wait: some seconds' worth.
const QUEUE: usize = 128;

/// A hash takes 19 MiB and a core for a while: as many at once as there are cores.
static HASHERS: LazyLock<HeavyPool> = LazyLock::new(|| {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    HeavyPool::new("hashing", cores.max(2), QUEUE, 0)
});

/// The hash to compare with if there is no user: that of a random password.
static NOBODYS: LazyLock<Option<String>> = LazyLock::new(|| hash_now(&domain::secret::generate()).ok());

/// A password within the rules.
pub struct Password(String);

impl Password {
    /// Accepts a password that is long enough, is not the address and is not easily guessed.
    pub fn parse(text: String, email: Option<&Email>) -> Result<Self, &'static str> {
        match text.chars().count() {
            0..FEWEST => return Err("must have at least 10 characters"),
            FEWEST..=MOST => {}
            _ => return Err("must have at most 1024 characters"),
        }
        let is = |other: &str| text.trim().to_lowercase() == other.to_lowercase();
        if email.is_some_and(|email| is(email.as_str()) || is(email.local_part())) {
            return Err("must not be the email address");
        }
        let mut chars = text.chars();
        let first = chars.next();
        if chars.all(|c| Some(c) == first) {
            return Err("must not be one character repeated");
        }
        if is_easily_guessed(&text, email) {
            return Err("is too easily guessed: use several words, or a password manager");
        }
        Ok(Self(text))
    }

    /// The same, for a given minimum number of characters.
    pub fn parse_at_least(
        text: String,
        email: Option<&Email>,
        fewest: usize,
    ) -> Result<Self, Cow<'static, str>> {
        if text.chars().count() < fewest {
            return Err(format!("must have at least {fewest} characters").into());
        }
        Self::parse(text, email).map_err(Cow::Borrowed)
    }

    /// Its argon2id hash in PHC form, computed on a thread for that.
    pub async fn hash(self) -> Result<String, Error> {
        heavy(&HASHERS, Whose::client(), move |_| hash_now(&self.0)).await?
    }
}

/// Whether a million guesses would suffice, by lists of common passwords, words, names, dates and rows of
/// keys; the user's own address counts as such a word.
fn is_easily_guessed(text: &str, email: Option<&Email>) -> bool {
    let judged: String = text.chars().take(JUDGED).collect();
    let own = email.map_or([""; 2], |email| [email.as_str(), email.local_part()]);
    zxcvbn(&judged, &own).score() <= Score::One
}

/// Whether the hash is that of the password. Without a hash it takes as long and is false.
pub(super) async fn verify(hash: Option<String>, password: String) -> Result<bool, Error> {
    let verified = heavy(&HASHERS, Whose::client(), move |_| {
        // Computed at the first call for any address, so that the time doesn't tell known from unknown.
        let nobodys = NOBODYS.as_deref().unwrap_or_default();
        let parsed = PasswordHash::new(hash.as_deref().unwrap_or(nobodys));
        let matches =
            parsed.is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
        matches && hash.is_some()
    });
    Ok(verified.await?)
}

fn hash_now(password: &str) -> Result<String, Error> {
    Argon2::default()
        .hash_password(password.as_bytes())
        .map(|hash| hash.to_string())
        .map_err(|error| Error::internal(format!("argon2: {error}")))
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
        assert_eq!(parse(&"x y".repeat(342)).unwrap_err(), "must have at most 1024 characters");
        assert_eq!(parse("Analytical@Example.com").unwrap_err(), "must not be the email address");
        assert_eq!(parse("ANALYTICAL").unwrap_err(), "must not be the email address");
        assert_eq!(parse("aaaaaaaaaaaa").unwrap_err(), "must not be one character repeated");
        assert!(parse(&"correct horse battery staple ".repeat(35)).is_ok());
        assert!(parse("ünïcödé wörds").is_ok());
    }

    #[test]
    fn a_password_that_many_people_have_is_refused_however_it_is_dressed_up() {
        for common in ["password123", "qwertyuiop", "1234567890", "P@ssw0rd123", "iloveyou1234", "ababababab"]
        {
            assert!(parse(common).unwrap_err().starts_with("is too easily guessed"), "{common}");
        }
        assert!(parse("analytical1").unwrap_err().starts_with("is too easily guessed"));
        assert!(parse("correct horse battery staple").is_ok());
    }

    #[test]
    fn a_workspace_may_ask_for_more_characters() {
        let parse = |fewest| Password::parse_at_least("a stitch in time".to_owned(), None, fewest);
        assert!(parse(16).is_ok());
        assert_eq!(parse(17).unwrap_err(), "must have at least 17 characters");
    }

    #[tokio::test]
    async fn a_hash_knows_its_password_and_no_other() {
        let hash = parse("correct horse battery").unwrap().hash().await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(verify(Some(hash.clone()), "correct horse battery".into()).await.unwrap());
        assert!(!verify(Some(hash), "correct horse".into()).await.unwrap());
        assert!(!verify(None, "correct horse battery".into()).await.unwrap());
    }

    #[test]
    fn a_password_never_shows_itself() {
        assert_eq!(format!("{:?}", parse("correct horse battery").unwrap()), "Password(…)");
    }
}

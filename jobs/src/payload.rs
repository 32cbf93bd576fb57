//! A payload at rest: in the shape of its kind's version, with its secrets encrypted.
//!
//! A kind names its secret fields ([`crate::JobKind::SECRETS`]). Enqueueing replaces each by an encrypted value,
//! the runner decrypts them for the handler, and code in between can't: a payload is shown
//! [`masked`]. An encrypted value is valid in its own job and place only.

mod keys;

pub use keys::{MalformedKeys, PayloadKeys};

use serde_json::{Value, json};

use crate::JobId;

/// The only member of an encrypted value.
const SEALED: &str = "$sealed";
/// The replacement of a secret in shown payloads.
const MASK: &str = "***";

/// The reason why a payload can't be written or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The kind has changed since, and can't upgrade such a payload.
    #[error(
        "the payload is of version {found}; this release reads version {current} and upgrades none as old as that"
    )]
    UnsupportedVersion {
        /// Version of the payload.
        found: i16,
        /// Version of the kind.
        current: i16,
    },
    /// It doesn't have the shape of its kind and version. The reason must not repeat a secret.
    #[error("this release can't read the job's payload: {0}")]
    Unreadable(String),
    /// This process has no key to encrypt with.
    #[error("the job's payload has secrets, and no JOB_ENCRYPTION_KEY is set to encrypt them with")]
    NoKey,
    /// This process doesn't have the key that a secret was encrypted with.
    #[error("JOB_ENCRYPTION_KEY lacks the key {0}, with which the job's secrets are encrypted")]
    UnknownKey(String),
}

impl PayloadError {
    /// The error code of a job that ends for that reason.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsupportedVersion { .. } => "unsupported_version",
            Self::Unreadable(_) => "unreadable_payload",
            Self::NoKey | Self::UnknownKey(_) => "encryption_key_missing",
        }
    }

    /// Whether another worker, or this one after its next start, may be able to read it.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(self, Self::NoKey | Self::UnknownKey(_))
    }
}

/// Encrypts the fields at the dotted paths. A missing one is a mistake in its kind, and is refused
/// lest a secret stays in clear text; null needs no encryption.
pub(crate) fn seal(
    keys: &PayloadKeys,
    job: JobId,
    secrets: &[&str],
    payload: &mut Value,
) -> Result<(), PayloadError> {
    for path in secrets {
        let mut slot = &mut *payload;
        for name in path.split('.') {
            if slot.is_null() {
                break;
            }
            slot = slot.get_mut(name).ok_or_else(|| {
                PayloadError::Unreadable(format!(
                    "its kind says that {path} is secret, and it has no such field"
                ))
            })?;
        }
        if !slot.is_null() {
            let sealed = keys.seal(slot.to_string().as_bytes(), &place(job, path))?;
            *slot = json!({ SEALED: sealed });
        }
    }
    Ok(())
}

/// Decrypts all encrypted values, wherever they are: an older version's secrets may have been elsewhere.
pub(crate) fn open(keys: &PayloadKeys, job: JobId, payload: &mut Value) -> Result<(), PayloadError> {
    if is_sealed_anywhere(payload) { open_below(keys, job, "", payload) } else { Ok(()) }
}

fn is_sealed_anywhere(value: &Value) -> bool {
    sealed(value).is_some()
        || value.as_object().is_some_and(|members| members.values().any(is_sealed_anywhere))
}

fn open_below(keys: &PayloadKeys, job: JobId, path: &str, value: &mut Value) -> Result<(), PayloadError> {
    if let Some(sealed) = sealed(value) {
        let plain = keys.open(sealed, &place(job, path))?;
        *value = serde_json::from_slice(&plain)
            .map_err(|_| PayloadError::Unreadable(format!("the encrypted value in {path} is not JSON")))?;
        return Ok(());
    }
    let Value::Object(members) = value else { return Ok(()) };
    for (name, member) in members {
        let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        open_below(keys, job, &below, member)?;
    }
    Ok(())
}

/// The payload in the form for display.
#[must_use]
pub(crate) fn masked(mut payload: Value) -> Value {
    mask(&mut payload);
    payload
}

fn mask(value: &mut Value) {
    if sealed(value).is_some() {
        *value = MASK.into();
    } else if let Value::Object(members) = value {
        members.values_mut().for_each(mask);
    }
}

/// The ciphertext of an encrypted value.
fn sealed(value: &Value) -> Option<&str> {
    let members = value.as_object().filter(|members| members.len() == 1)?;
    members.get(SEALED)?.as_str()
}

/// The place of an encrypted value; it can't be decrypted elsewhere.
fn place(job: JobId, path: &str) -> String {
    format!("{job}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(list: &str) -> PayloadKeys {
        list.parse().unwrap()
    }

    fn key(id: &str) -> String {
        format!("{id}:{}", hex::encode([id.as_bytes()[0]; 32]))
    }

    fn payload() -> Value {
        json!({"to": "ada@example.com", "auth": {"token": "hunter2", "user": "ada"}, "text": {"a": [1]}})
    }

    #[test]
    fn what_is_sealed_can_be_opened_and_not_be_read() {
        let (keys, job) = (keys(&key("a")), JobId::new());
        let mut at_rest = payload();
        seal(&keys, job, &["auth.token", "text"], &mut at_rest).unwrap();

        assert!(!at_rest.to_string().contains("hunter2"));
        assert_eq!(
            masked(at_rest.clone()),
            json!({"to": "ada@example.com", "auth": {"token": "***", "user": "ada"}, "text": "***"})
        );
        open(&keys, job, &mut at_rest).unwrap();
        assert_eq!(at_rest, payload());
    }

    #[test]
    fn two_seals_of_one_secret_have_nothing_in_common() {
        let (keys, job) = (keys(&key("a")), JobId::new());
        let (mut one, mut other) = (payload(), payload());
        seal(&keys, job, &["auth.token"], &mut one).unwrap();
        seal(&keys, job, &["auth.token"], &mut other).unwrap();
        assert_ne!(one, other);
    }

    #[test]
    fn a_sealed_value_is_good_in_its_own_job_and_place_only() {
        let (keys, job) = (keys(&key("a")), JobId::new());
        let mut at_rest = payload();
        seal(&keys, job, &["auth.token"], &mut at_rest).unwrap();

        let refused = open(&keys, JobId::new(), &mut at_rest.clone()).unwrap_err();
        assert_eq!(refused.code(), "unreadable_payload");
        let mut moved = at_rest.clone();
        moved["to"] = moved["auth"]["token"].take();
        assert_eq!(open(&keys, job, &mut moved).unwrap_err().code(), "unreadable_payload");
        let mut changed = at_rest.clone();
        let text = changed["auth"]["token"][SEALED].as_str().unwrap();
        let last = if text.ends_with('A') { "B" } else { "A" };
        changed["auth"]["token"][SEALED] = format!("{}{last}", &text[..text.len() - 1]).into();
        assert_eq!(open(&keys, job, &mut changed).unwrap_err().code(), "unreadable_payload");
    }

    #[test]
    fn a_new_key_comes_first_and_the_old_one_still_opens() {
        let job = JobId::new();
        let mut old = payload();
        seal(&keys(&key("a")), job, &["auth.token"], &mut old).unwrap();
        let rotated = keys(&format!("{}, {}", key("b"), key("a")));
        let mut new = payload();
        seal(&rotated, job, &["auth.token"], &mut new).unwrap();

        for at_rest in [&old, &new] {
            let mut opened = at_rest.clone();
            open(&rotated, job, &mut opened).unwrap();
            assert_eq!(opened, payload());
        }
        assert_eq!(open(&keys(&key("b")), job, &mut old), Err(PayloadError::UnknownKey("a".into())));
    }

    #[test]
    fn nothing_secret_is_written_without_a_key() {
        let none = PayloadKeys::default();
        assert_eq!(seal(&none, JobId::new(), &["auth.token"], &mut payload()), Err(PayloadError::NoKey));
        let mut without = json!({"auth": null, "text": null});
        seal(&none, JobId::new(), &["auth.token", "text"], &mut without).unwrap();
        assert_eq!(without, json!({"auth": null, "text": null}));
    }

    #[test]
    fn a_secret_that_its_kind_names_wrongly_is_refused() {
        let refused = seal(&keys(&key("a")), JobId::new(), &["auth.tokn"], &mut payload()).unwrap_err();
        assert_eq!(refused.code(), "unreadable_payload");
    }

    #[test]
    fn what_was_written_before_it_was_secret_is_read_as_it_is() {
        let mut plain = payload();
        open(&PayloadKeys::default(), JobId::new(), &mut plain).unwrap();
        assert_eq!(plain, payload());
    }
}

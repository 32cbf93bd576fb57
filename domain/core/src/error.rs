//! The error of the domain: its kind, a sentence for the caller and, for failures, the cause.
//!
//! A function returns it by a constructor, `Error::conflict("team_has_children", "…")`, or by `?` on what the database
//! answers: `From<sqlx::Error>` is the one mapping of absent rows, constraints and outages. One place in `api` turns the
//! [`ErrorKind`] into an answer per surface. An enum is right only where Rust code handles one of its variants in its own
//! way; it converts into this error where it can reach a client.

mod of_database;
mod of_runtime;

use std::{borrow::Cow, collections::BTreeMap, error::Error as StdError};

use jobs::JobError;

/// The code of what can't be done since PostgreSQL is out of reach, or takes no writes.
pub const DATABASE_UNREACHABLE: &str = "database_unreachable";

/// Reasons by field, in a stable order.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

type Cause = Box<dyn StdError + Send + Sync>;

/// The kind of an error: its status, its code where the status has several, and what else the answer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// It doesn't exist, or the caller may not see it. 404 `record_not_found`.
    NotFound,
    /// Values that break a rule, by field. 422 `record_invalid`.
    Invalid(FieldErrors),
    /// Unknown members, by path, with the known ones. 422 `parameter_unknown`.
    Unknown(FieldErrors),
    /// Required values that are absent, by name. 422 `parameter_missing`.
    Missing(FieldErrors),
    /// The resource's state does not allow it. 409, with the code given here.
    Conflict(Cow<'static, str>),
    /// The caller lacks the permission. 403 `forbidden`.
    Forbidden,
    /// The credential is invalid or has expired. 401 `token_invalid`.
    Unauthenticated,
    /// The address and the password, or the access code, don't belong together. 401 `credentials_invalid`.
    WrongCredentials,
    /// A limit was exceeded. 429 with the code given here, with the seconds to wait.
    TooMany(&'static str, u64),
    /// The payment method was refused. 402 `payment_refused`.
    PaymentRefused,
    /// The plan's limit is reached. 402 `limit_exceeded`.
    LimitExceeded,
    /// The body is too large for the route. 413 `payload_too_large`.
    TooLarge,
    /// It existed and was permanently removed. 410 `gone`.
    Gone,
    /// An external service is not configured or unreachable. 503, with the code given here.
    Unavailable(&'static str),
    /// Too much work is under way. 503 `overloaded`, with the seconds to wait.
    Overloaded(u64),
    /// An internal error. 500 `internal`, its cause only in the log.
    Internal,
}

/// An error of the domain. Its `Display` is a sentence for the caller, unless its kind is [`ErrorKind::Internal`].
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    source: Option<Cause>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// It doesn't exist in this workspace, was deleted, or the caller may not see it. 404 `record_not_found`.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(ErrorKind::NotFound, "not found")
    }

    /// One field, one reason. 422 `record_invalid`.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::invalid_fields(FieldErrors::from([(field.into(), vec![reason.into()])]))
    }

    /// Reasons by field. 422 `record_invalid`.
    #[must_use]
    pub fn invalid_fields(errors: FieldErrors) -> Self {
        let named = errors.iter().map(|(name, reasons)| format!("{name}: {}", reasons.join(", ")));
        let message = named.collect::<Vec<_>>().join("; ");
        Self::new(ErrorKind::Invalid(errors), message)
    }

    /// Unknown members, by path, with the known ones. 422 `parameter_unknown`.
    #[must_use]
    pub fn unknown(errors: FieldErrors) -> Self {
        let names = errors.keys().map(String::as_str).collect::<Vec<_>>();
        let message = format!("unknown: {}", names.join(", "));
        Self::new(ErrorKind::Unknown(errors), message)
    }

    /// Required values that are absent, by name. 422 `parameter_missing`.
    pub fn missing(names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let reasons = || vec!["is required".to_owned()];
        let fields: FieldErrors = names.into_iter().map(|name| (name.into(), reasons())).collect();
        let names = fields.keys().map(String::as_str).collect::<Vec<_>>();
        let message = format!("required and missing: {}", names.join(", "));
        Self::new(ErrorKind::Missing(fields), message)
    }

    /// The resource's state does not allow it. 409 with a code.
    pub fn conflict(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Conflict(code.into()), message)
    }

    /// Another one has this value of that field. 409 `<field>_taken`.
    #[must_use]
    pub fn taken(field: &str) -> Self {
        let message = format!("this {field} is already taken");
        Self::new(ErrorKind::Conflict(format!("{field}_taken").into()), message)
    }

    /// Another account has this address. 409 `email_taken`.
    #[must_use]
    pub fn email_taken() -> Self {
        Self::conflict("email_taken", "an account with this email address already exists")
    }

    /// The workspace would be left without an active owner. 409 `last_owner`.
    #[must_use]
    pub fn last_owner() -> Self {
        Self::conflict("last_owner", "a workspace needs an owner: make another member an owner first")
    }

    /// The caller lacks the permission. 403 `forbidden`.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Forbidden, message)
    }

    /// The credential is invalid or has expired. 401 `token_invalid`.
    pub fn unauthenticated(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unauthenticated, message)
    }

    /// The email address or the password is wrong. 401 `credentials_invalid`.
    pub fn wrong_credentials(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::WrongCredentials, message)
    }

    /// A limit was exceeded. 429 with a code, and the seconds to wait.
    pub fn too_many(code: &'static str, seconds: u64, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::TooMany(code, seconds), message)
    }

    /// Too many failed sign-in attempts. 429 `sign_in_locked`, with the seconds to wait.
    #[must_use]
    pub fn sign_in_locked(seconds: u64) -> Self {
        let message = format!("too many failed attempts: try again in {seconds} s");
        Self::too_many("sign_in_locked", seconds, message)
    }

    /// The payment method was refused. 402 `payment_refused`.
    pub fn payment_refused(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::PaymentRefused, message)
    }

    /// The plan's limit is reached. 402 `limit_exceeded`.
    pub fn limit_exceeded(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::LimitExceeded, message)
    }

    /// The body is too large for the route. 413 `payload_too_large`.
    pub fn too_large(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::TooLarge, message)
    }

    /// It existed and was permanently removed. 410 `gone`.
    pub fn gone(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Gone, message)
    }

    /// An external service is not configured or unreachable. 503 with a code; the cause goes to the log.
    pub fn unavailable(code: &'static str, cause: impl Into<Cause>) -> Self {
        let source = Some(cause.into());
        Self { source, ..Self::new(ErrorKind::Unavailable(code), "temporarily unavailable: retry later") }
    }

    /// Too much work is under way. 503 `overloaded`, with the seconds to wait.
    pub fn overloaded(seconds: u64, cause: impl Into<Cause>) -> Self {
        let message = "the server is overloaded: retry after the seconds in Retry-After";
        Self { source: Some(cause.into()), ..Self::new(ErrorKind::Overloaded(seconds), message) }
    }

    /// An internal error. 500 `internal`; the cause goes to the log only.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        let source = Some(cause.into());
        Self { source, ..Self::new(ErrorKind::Internal, "an internal error occurred") }
    }

    /// The same with its fields under other names, for a request that has other names for them.
    #[must_use]
    pub fn rename_fields(self, renamed: impl Fn(String) -> String) -> Self {
        match self.kind {
            ErrorKind::Invalid(errors) => Self::invalid_fields(
                errors.into_iter().map(|(field, reasons)| (renamed(field), reasons)).collect(),
            ),
            kind => Self { kind, ..self },
        }
    }

    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// Whether it doesn't exist, or the caller may not see it.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.kind == ErrorKind::NotFound
    }

    /// Whether the installation failed, which may be different next time, rather than refused.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self.kind, ErrorKind::Internal | ErrorKind::Unavailable(_) | ErrorKind::Overloaded(_))
    }

    /// The kind, the sentence and the cause, for display.
    #[must_use]
    pub fn into_parts(self) -> (ErrorKind, Cow<'static, str>, Option<Cause>) {
        (self.kind, self.message, self.source)
    }
}

/// In a job, a failure of the database stays one; any other error is retried.
impl From<Error> for JobError {
    fn from(error: Error) -> Self {
        let Some(cause) = error.source else { return Self::retry(error.message) };
        match cause.downcast::<sqlx::Error>() {
            Ok(error) => Self::Database(*error),
            Err(cause) => Self::retry(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_internal_error_tells_its_cause_only_to_the_log() {
        let error = Error::from(sqlx::Error::Protocol("select password from users".into()));
        assert_eq!(error.to_string(), "an internal error occurred");
        assert!(error.source().unwrap().to_string().contains("select password"));
    }

    #[test]
    fn a_job_meets_a_failure_of_the_database_as_one() {
        let failed = JobError::from(Error::from(sqlx::Error::PoolTimedOut));
        assert!(matches!(failed, JobError::Database(sqlx::Error::PoolTimedOut)), "{failed}");
        let refused = JobError::from(Error::limit_exceeded("the plan allows no more"));
        assert!(matches!(&refused, JobError::Retry(said) if said == "the plan allows no more"), "{refused}");
    }
}

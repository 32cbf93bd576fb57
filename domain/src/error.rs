//! How the domain says no. Each area has an enum of its own; what all of them share is that they can
//! tell a [`Refusal`], which one place in `api` turns into an answer per surface.

use std::collections::BTreeMap;

/// Reasons by field, in a stable order.
pub type FieldErrors = BTreeMap<String, Vec<String>>;

/// What kind of no it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It doesn't exist, or the caller may not see it. 404 `record_not_found`.
    NotFound,
    /// Values that break a rule, by field. 422 `record_invalid`.
    Invalid(FieldErrors),
    /// Required values that are absent, by name. 422 `parameter_missing`.
    Missing(Vec<String>),
    /// The state it is in doesn't allow that. 409, with the code given here.
    Conflict(&'static str),
    /// The caller is known and may not. 403 `forbidden`.
    Forbidden,
    /// The credential is not good. 401 `token_invalid`.
    Unauthenticated,
    /// Too often. 429 `rate_limited`, with the seconds to wait.
    RateLimited(u64),
    /// More than the plan allows. 402 `limit_exceeded`.
    LimitExceeded,
    /// More bytes than a route takes. 413 `payload_too_large`.
    TooLarge,
    /// It was there, and is gone for good. 410 `gone`.
    Gone,
    /// Something outside is not configured or not reachable. 503, with the code given here.
    Unavailable(&'static str),
    /// A fault of ours. 500 `internal`, its cause only in the log.
    Internal,
}

impl Refusal {
    /// One field, one reason.
    pub fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Invalid(FieldErrors::from([(field.into(), vec![reason.into()])]))
    }
}

/// An error of an area of the domain. Its `Display` is a sentence for the caller, unless the refusal
/// is [`Refusal::Internal`].
pub trait DomainError: std::error::Error + Send + Sync + 'static {
    /// What kind of no it is.
    fn refusal(&self) -> Refusal;
}

/// The database failing is never the caller's business.
impl DomainError for sqlx::Error {
    fn refusal(&self) -> Refusal {
        match self {
            Self::PoolTimedOut => Refusal::Unavailable("overloaded"),
            _ => Refusal::Internal,
        }
    }
}

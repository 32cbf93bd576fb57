//! What the errors of the runtime are to callers.

use runtime::{
    heavy::{COME_BACK, HeavyError},
    storage::StorageError,
    stripe::{NotConfigured, StripeError},
};

use super::{DomainError, Refusal};

impl DomainError for StorageError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::TooLarge(_) => Refusal::TooLarge,
            Self::Interrupted(_) => Refusal::invalid("file", "the upload was aborted: send it again"),
            Self::Full => Refusal::Unavailable("storage_full"),
            Self::BadUrl(_) | Self::OutOfReach(_) | Self::Failed(_) => Refusal::Internal,
        }
    }
}

impl DomainError for HeavyError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Overloaded => Refusal::Overloaded(COME_BACK),
            Self::BrokenOff(_) => Refusal::Internal,
        }
    }
}

impl DomainError for StripeError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Refused(_) => Refusal::PaymentRefused,
            Self::NotNow(_) | Self::Misconfigured(_) => Refusal::Unavailable("stripe_unavailable"),
        }
    }
}

impl DomainError for NotConfigured {
    fn refusal(&self) -> Refusal {
        Refusal::Unavailable("stripe_not_configured")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_work_beyond_the_queue_is_refused_for_a_while_and_broken_off_work_is_a_fault() {
        assert_eq!(HeavyError::Overloaded.refusal(), Refusal::Overloaded(COME_BACK));
        assert_eq!(HeavyError::BrokenOff("test").refusal(), Refusal::Internal);
    }
}

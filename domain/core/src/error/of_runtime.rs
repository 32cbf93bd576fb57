//! What the errors of the runtime are to callers.

use runtime::{
    heavy::{COME_BACK, HeavyError},
    storage::StorageError,
    stripe::{NotConfigured, StripeError},
};

use super::Error;

impl From<StorageError> for Error {
    fn from(error: StorageError) -> Self {
        match error {
            StorageError::NotFound => Self::not_found(),
            StorageError::TooLarge(_) => Self::too_large(error.to_string()),
            StorageError::Interrupted(_) => Self::invalid("file", "the upload was aborted: send it again"),
            StorageError::Full => Self::unavailable("storage_full", error),
            StorageError::BadUrl(_) | StorageError::OutOfReach(_) | StorageError::Failed(_) => {
                Self::internal(error)
            }
        }
    }
}

impl From<HeavyError> for Error {
    fn from(error: HeavyError) -> Self {
        match error {
            HeavyError::Overloaded => Self::overloaded(COME_BACK, error),
            HeavyError::BrokenOff(_) => Self::internal(error),
        }
    }
}

impl From<StripeError> for Error {
    fn from(error: StripeError) -> Self {
        match error {
            StripeError::Refused(message) => Self::payment_refused(message),
            StripeError::NotNow(_) | StripeError::Misconfigured(_) => {
                Self::unavailable("stripe_unavailable", error)
            }
        }
    }
}

impl From<NotConfigured> for Error {
    fn from(error: NotConfigured) -> Self {
        Self::unavailable("stripe_not_configured", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn heavy_work_beyond_the_queue_is_refused_for_a_while_and_broken_off_work_is_a_fault() {
        assert_eq!(Error::from(HeavyError::Overloaded).kind(), &ErrorKind::Overloaded(COME_BACK));
        assert_eq!(Error::from(HeavyError::BrokenOff("test")).kind(), &ErrorKind::Internal);
    }
}

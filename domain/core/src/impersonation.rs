//! Impersonation: staff act as another user, with a token issued by an operator.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::UserId;

/// The claims of an impersonation token with a valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Impersonation {
    /// Id of the token, which can be used once.
    pub id: Uuid,
    /// User to act as.
    pub user: UserId,
    /// Staff account.
    pub staff: UserId,
    /// Expiry time of the token.
    pub expires: DateTime<Utc>,
}

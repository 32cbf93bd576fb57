//! Impersonation: a member of staff acts as a person, with a token that an operator handed out.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::UserId;

/// What an impersonation token says, its signature checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Impersonation {
    /// The token's own id: it is good once.
    pub id: Uuid,
    /// Whom somebody acts as.
    pub user: UserId,
    /// The member of staff who does.
    pub staff: UserId,
    /// Until when the token may be exchanged.
    pub expires: DateTime<Utc>,
}

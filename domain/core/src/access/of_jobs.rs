//! Permissions for jobs of a kind: a job belongs to its feature, and needs the feature's permissions,
//! whatever route it is reached by.

use jobs::{Act, kinds};

use super::{Held, Lacking, Reach};
use crate::Error;

/// The refusal for staff acting as another user.
pub const IN_PERSON: &str =
    "only the user can do this, not staff acting as the user: it would outlast the session";

/// A required permission that the caller lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", .lacking.of(.permission))]
pub struct Denied {
    /// Name of the permission.
    pub permission: &'static str,
    /// Reason for the refusal.
    pub lacking: Lacking,
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::forbidden(denied.to_string())
    }
}

impl Lacking {
    /// The message of the refusal for that permission.
    #[must_use]
    pub fn of(self, permission: &str) -> String {
        match self {
            Self::Permission => format!("the permission {permission} is required"),
            Self::Scope(scope) => format!("the scope {scope} is required"),
            Self::InPerson => IN_PERSON.to_owned(),
        }
    }
}

impl Held {
    /// Requires a permission, for all resources.
    ///
    /// # Errors
    /// [`Denied`], if the caller lacks it.
    pub fn need(&self, permission: &'static str) -> Result<(), Denied> {
        match self.reach(permission) {
            Ok(Reach::All) => Ok(()),
            Ok(Reach::Own) => Err(Denied { permission, lacking: Lacking::Permission }),
            Err(lacking) => Err(Denied { permission, lacking }),
        }
    }

    /// Requires the permissions of jobs of a kind, in addition to those of jobs in general.
    ///
    /// # Errors
    /// [`Denied`], with the first that the caller lacks.
    pub fn need_for_job(&self, kind: &str, act: Act) -> Result<(), Denied> {
        kinds::needs(kind, act).iter().try_for_each(|permission| self.need(permission))
    }

    /// The job kinds for which the caller may not do that: lists leave them out.
    #[must_use]
    pub fn kinds_denied(&self, act: Act) -> kinds::Denied {
        kinds::Denied::of(act, |permission| self.need(permission).is_ok())
    }
}

//! What a caller may do with jobs of a kind: a job is the feature's that it belongs to, and touches what that
//! feature touches, by whatever route one comes to it.

use jobs::{Act, kinds};

use super::{Held, Lacking, Reach};
use crate::Error;

/// The refusal for staff who act as a person.
pub const IN_PERSON: &str =
    "only the person can do this, not staff who act as the person: it would outlast that";

/// A permission that something asks for and that is not held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", .lacking.of(.permission))]
pub struct Denied {
    /// Which.
    pub permission: &'static str,
    /// Why it isn't held.
    pub lacking: Lacking,
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::forbidden(denied.to_string())
    }
}

impl Lacking {
    /// The refusal of what takes that permission.
    #[must_use]
    pub fn of(self, permission: &str) -> String {
        match self {
            Self::Permission => format!("this needs the permission {permission}"),
            Self::Scope(scope) => format!("this needs the scope {scope}"),
            Self::InPerson => IN_PERSON.to_owned(),
        }
    }
}

impl Held {
    /// Holds a permission, to everything.
    ///
    /// # Errors
    /// [`Denied`], when it isn't held so far.
    pub fn need(&self, permission: &'static str) -> Result<(), Denied> {
        match self.reach(permission) {
            Ok(Reach::All) => Ok(()),
            Ok(Reach::Own) => Err(Denied { permission, lacking: Lacking::Permission }),
            Err(lacking) => Err(Denied { permission, lacking }),
        }
    }

    /// Holds the permissions that jobs of a kind ask for, beside those of jobs in general.
    ///
    /// # Errors
    /// [`Denied`], with the first that isn't held.
    pub fn need_for_job(&self, kind: &str, act: Act) -> Result<(), Denied> {
        kinds::needs(kind, act).iter().try_for_each(|permission| self.need(permission))
    }

    /// The kinds with whose jobs that may not be done: lists leave them out.
    #[must_use]
    pub fn kinds_denied(&self, act: Act) -> kinds::Denied {
        kinds::Denied::of(act, |permission| self.need(permission).is_ok())
    }
}

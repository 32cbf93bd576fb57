//! What a caller may do with jobs of a kind: a job is the feature's that it belongs to, and touches what that
//! feature touches, by whatever route one comes to it.

use jobs::{Act, kinds};

use super::{Held, Lacking, Reach, is_listed};
use crate::{DomainError, Refusal};

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

impl DomainError for Denied {
    fn refusal(&self) -> Refusal {
        Refusal::Forbidden
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
    pub fn kinds_denied(&self, act: Act) -> Vec<String> {
        let denied = kinds::NEEDS.iter().filter(|(kind, _)| self.need_for_job(kind, act).is_err());
        denied.map(|(kind, _)| (*kind).to_owned()).collect()
    }
}

/// Every permission that kinds of jobs ask for is one of the catalogue's.
const _: () = {
    let mut i = 0;
    while i < kinds::NEEDS.len() {
        let needs = &kinds::NEEDS[i].1;
        assert!(
            all_listed(needs.view) && all_listed(needs.start),
            "a kind asks for a permission that isn't listed"
        );
        assert!(
            all_listed(needs.cancel) && all_listed(needs.delete),
            "a kind asks for a permission that isn't listed"
        );
        i += 1;
    }
};

const fn all_listed(permissions: &[&str]) -> bool {
    let mut i = 0;
    while i < permissions.len() {
        if !is_listed(permissions[i]) {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use jobs::{
        JobKind,
        kinds::{ExportRecords, ImportRecords, NoOp},
    };

    use super::*;
    use crate::access::{Override, Role, Scope};

    #[test]
    fn jobs_ask_for_what_their_feature_asks_for_and_for_what_they_touch() {
        let denied = vec![Override { permission: "records:view".to_owned(), granted: false }];
        let member = Held::of_role(Role::Member, denied);
        let refused = member.need_for_job(ExportRecords::NAME, Act::Start);
        assert_eq!(refused, Err(Denied { permission: "records:view", lacking: Lacking::Permission }));
        assert_eq!(member.need_for_job(ImportRecords::NAME, Act::Start), Ok(()));
        assert_eq!(member.need_for_job(NoOp::NAME, Act::Delete), Ok(()));
        assert!(member.kinds_denied(Act::View).is_empty());
        let files = Held::of_role(Role::Admin, vec![]).within(vec![Scope::Files]);
        let refused = files.need_for_job(ImportRecords::NAME, Act::Start);
        assert_eq!(
            refused,
            Err(Denied { permission: "records:create", lacking: Lacking::Scope(Scope::Write) })
        );
    }
}

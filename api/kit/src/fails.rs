//! Error codes that an operation declares beside its route, as tags: `tag = "Fails::SlugTaken"`.
//!
//! Most errors of an operation follow from its parameters: a body can be unreadable, a credential expired.
//! Errors about state (402, 409, 410) follow from its effect, which only its author knows; so do refusals of
//! credentials and ids in bodies by operations that need no sign-in. [`crate::document`] documents these only
//! where they are declared, and removes the tags. The tests' client fails on an answer that is not documented.

use poem_openapi::Tags;

/// A code that an operation can fail with. The names are those of [`crate::document`]'s list of codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Tags)]
#[oai(rename_all = "snake_case")]
#[allow(missing_docs)] // the list of codes says what each means
pub enum Fails {
    AccountDeactivated,
    AccountNotManaged,
    AddressNotVerified,
    AlreadyInTeam,
    AlreadyMember,
    ClerkIdTaken,
    CredentialsInvalid,
    DuplicateJob,
    EmailTaken,
    ExportNotFinished,
    Forbidden,
    Gone,
    InOtherWorkspaces,
    JobNotFailed,
    JobNotOver,
    JobNotWaiting,
    JobOver,
    KeyExpired,
    KeyRevoked,
    LastOwner,
    LimitExceeded,
    ModuleTaken,
    NameTaken,
    OwnerImmutable,
    PaymentRefused,
    ProvisioningFailed,
    RecordNotFound,
    SignupFailed,
    SignupPending,
    SlugTaken,
    TeamHasChildren,
    TokenInvalid,
    TokenRevoked,
    UserInactive,
    VersionConflict,
    WorkerLeaving,
}

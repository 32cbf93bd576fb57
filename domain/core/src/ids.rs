//! Ids as types, so that a record's id can't be taken for a user's. UUIDv7 in storage.

/// Declares ids: each a transparent UUIDv7 with `new()` and `Display`. A section declares its own beside what they
/// name; here are those of the core.
#[macro_export]
macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize, sqlx::Type, poem_openapi::NewType)]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub uuid::Uuid);

        impl $name {
            /// A new id, later in order than those before it.
            #[must_use]
            #[allow(clippy::new_without_default)] // a default id would be a fresh one each time
            pub fn new() -> Self {
                Self(uuid::Uuid::now_v7())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }
    )* };
}

ids! {
    /// A person who can sign in.
    UserId,
    /// One sign-in of a person.
    SessionId,
    /// A tenant.
    WorkspaceId,
    /// A key of a workspace, for programs.
    ApiKeyId,
    /// A table of records.
    RecordsetId,
    /// A record.
    RecordId,
}

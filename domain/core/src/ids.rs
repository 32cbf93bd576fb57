//! Ids as types, so that a record's id can't be confused with a user's. UUIDv7 in storage.

/// Declares ids: each a transparent UUIDv7 with `new()` and `Display`. A section declares its own beside their
/// resources; here are those of the core.
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
    /// Id of a user account.
    UserId,
    /// Id of a session.
    SessionId,
    /// Id of a workspace.
    WorkspaceId,
    /// Id of an API key.
    ApiKeyId,
    /// Id of a recordset.
    RecordsetId,
    /// Id of a record.
    RecordId,
}

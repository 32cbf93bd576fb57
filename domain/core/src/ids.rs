//! Ids that several areas refer to. A section declares its own beside its resources.

/// Declares ids, one a line with the prefix of its `TypeID`: each a UUIDv7 in SQL and JSON, and in the paths, queries and
/// schemas of the OpenAPI documents.
#[macro_export]
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident = $prefix:literal),* $(,)?) => {
        jobs::ids! { $($(#[$meta])* #[derive(poem_openapi::NewType)] $name = $prefix),* }
    };
}

ids! {
    /// Id of a user account.
    UserId = "usr",
    /// Id of a session.
    SessionId = "session",
    /// Id of a workspace.
    WorkspaceId = "tn",
    /// A person in a workspace.
    MemberId = "member",
    /// Id of an API key.
    ApiKeyId = "key",
    /// A token of a person, for programs.
    PersonalTokenId = "personal_token",
    /// Id of a recordset.
    RecordsetId = "recordset",
    /// Id of a record.
    RecordId = "obj",
}

//! Ids of what several areas name. A section declares its own beside what they name.

/// Declares ids, one a line with the prefix of its `TypeID`: each a UUIDv7 in SQL and JSON, and in the paths, queries and
/// schemas of the OpenAPI documents.
#[macro_export]
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident = $prefix:literal),* $(,)?) => {
        jobs::ids! { $($(#[$meta])* #[derive(poem_openapi::NewType)] $name = $prefix),* }
    };
}

ids! {
    /// A person who can sign in.
    UserId = "usr",
    /// One sign-in of a person.
    SessionId = "session",
    /// A tenant.
    WorkspaceId = "tn",
    /// A person in a workspace.
    MemberId = "member",
    /// A key of a workspace, for programs.
    ApiKeyId = "key",
    /// A token of a person, for programs.
    PersonalTokenId = "personal_token",
    /// A table of records.
    RecordsetId = "recordset",
    /// A record.
    RecordId = "obj",
}

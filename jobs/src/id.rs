//! Ids as types, so that a record's id can't be confused with a user's: UUIDv7, so that they sort by creation.

use uuid::Uuid;

/// A type of ids, declared by [`ids!`](crate::ids).
pub trait Id: Copy + Send + Sync + 'static {
    /// Prefix of the id as a `TypeID`, before the underscore.
    const PREFIX: &'static str;

    /// The UUID in storage.
    fn uuid(self) -> Uuid;

    /// The id of a UUID.
    fn of(id: Uuid) -> Self;
}

/// Declares ids, one a line with the prefix of its `TypeID`: each a transparent UUID in SQL and JSON. Attributes are
/// passed on, such as the derive of an OpenAPI schema.
#[macro_export]
macro_rules! ids {
    ($($(#[$meta:meta])* $name:ident = $prefix:literal),* $(,)?) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[derive(serde::Serialize, serde::Deserialize, sqlx::Type)]
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

        impl $crate::Id for $name {
            const PREFIX: &'static str = $prefix;

            fn uuid(self) -> uuid::Uuid {
                self.0
            }

            fn of(id: uuid::Uuid) -> Self {
                Self(id)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::str::FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }

        impl From<$name> for uuid::Uuid {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl From<$name> for Option<uuid::Uuid> {
            fn from(id: $name) -> Self {
                Some(id.0)
            }
        }
    )* };
}

ids! {
    /// A job, live or finished.
    #[cfg_attr(feature = "openapi", derive(poem_openapi::NewType))]
    JobId = "job",
    /// A schedule.
    #[cfg_attr(feature = "openapi", derive(poem_openapi::NewType))]
    ScheduleId = "sjob",
    /// A worker process.
    #[cfg_attr(feature = "openapi", derive(poem_openapi::NewType))]
    WorkerId = "worker",
    /// A pause of jobs.
    #[cfg_attr(feature = "openapi", derive(poem_openapi::NewType))]
    PauseId = "job_pause",
    /// A limit on jobs.
    #[cfg_attr(feature = "openapi", derive(poem_openapi::NewType))]
    LimitId = "job_limit",
}

/// For rows of the ledger.
impl From<Uuid> for JobId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

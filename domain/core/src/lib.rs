//! The core that the areas of the domain share: permissions, events, audit, tenants' schemas, migrations, email.
//! No HTTP and no queue internals: `api` shapes the answers, `workers` runs the long work. The areas are
//! crates of their own beside this one, and depend on it and not on each other.
//!
//! Every area works on a [`WorkspaceDb`] (one tenant's schema, under its role) or on a
//! [`jobs::Tx`] (the shared schemas), and refuses with the one [`Error`].

pub mod access;
pub mod acting;
pub mod audit;
pub mod callers;
pub mod details;
pub mod event;
pub mod governance;
pub mod handed_keys;
pub mod idempotency;
pub mod impersonation;
pub mod installation;
pub mod invitation_link;
pub mod job_kinds;
pub mod leaving;
pub mod mail;
pub mod makers;
pub mod migrations;
pub mod networks;
pub mod page;
pub mod pictures;
pub mod rate_limits;
pub mod secret;
pub mod standing;
pub mod storage_use;
pub mod tenant_scope;
pub mod text;
pub mod throttle;
pub mod usage;
pub mod workspace_schema;

mod email;
mod error;
mod ids;
mod json_object;
mod new_file;
mod patch;
mod workspace_db;

pub use acting::Acting;
pub use email::Email;
pub use error::{DATABASE_UNREACHABLE, Error, ErrorKind, FieldErrors};
pub use event::Event;
pub use ids::{ApiKeyId, MemberId, PersonalTokenId, RecordId, RecordsetId, SessionId, UserId, WorkspaceId};
pub use json_object::JsonObject;
pub use new_file::NewFile;
pub use page::{PageOf, PageRequest};
pub use patch::Patch;
pub use text::{Name, Text};
pub use workspace_db::{Accounts, Actor, CredentialType, WorkspaceDb};

// A change of the file rebuilds the crate.
const _: &str = include_str!("../sqlx.toml");

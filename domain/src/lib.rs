//! Entities, rules and SQL, by area. No HTTP and no queue internals: `api` shapes what it answers,
//! `workers` drives what takes long.
//!
//! Every area works on a [`WorkspaceDb`] (one tenant's schema, under its role) or on a
//! [`jobs::Tx`] (the shared schemas), and says no with an error that has a [`Refusal`]: [`EntityError`],
//! or one of its own.

pub mod access;
pub mod account_tokens;
pub mod acting;
pub mod api_keys;
pub mod audit;
pub mod avatars;
pub mod callers;
pub mod event;
pub mod exports;
pub mod files;
pub mod governance;
pub mod heavy;
pub mod idempotency;
pub mod imports;
pub mod installation;
pub mod invitations;
pub mod mail;
pub mod members;
pub mod migrations;
pub mod modules;
pub mod page;
pub mod permissions;
pub mod personal_tokens;
pub mod policies;
pub mod process;
pub mod rate_limits;
pub mod records;
pub mod recordsets;
pub mod redis_tls;
pub mod scheduled_jobs;
pub mod secret;
pub mod servers;
pub mod sessions;
pub mod settings;
pub mod signups;
pub mod storage;
pub mod storage_use;
pub mod stripe;
pub mod teams;
pub mod tenant_scope;
pub mod tenants;
pub mod throttle;
pub mod token_api;
pub mod upkeep;
pub mod usage;
pub mod users;
pub mod web_app;
pub mod webhooks;
pub mod workspace_health;
pub mod workspaces;

mod csv;
mod error;
mod ids;
mod json_object;
mod networks;
mod telemetry;
mod workspace_db;

pub use acting::Acting;
pub use error::{DATABASE_UNREACHABLE, DomainError, EntityError, FieldErrors, Refusal};
pub use event::Event;
pub use ids::{ApiKeyId, RecordId, RecordsetId, SessionId, UserId, WorkspaceId};
pub use json_object::JsonObject;
pub use page::{PageOf, PageRequest};
pub use workspace_db::{Actor, CredentialType, WorkspaceDb};

//! Accounts and their ways into workspaces: users, sessions, sign-ups, invitations, keys, payments; and the
//! operator's view of tenants.

pub mod account_tokens;
pub mod api_keys;
pub mod avatars;
pub mod invitations;
pub mod job_kinds;
pub mod permissions;
pub mod personal_tokens;
pub mod policies;
pub mod sessions;
pub mod signups;
pub mod stripe;
pub mod tenants;
pub mod token_api;
pub mod upkeep;
pub mod users;
pub mod workspaces;

// A change of the file rebuilds the crate.
const _: &str = include_str!("../sqlx.toml");

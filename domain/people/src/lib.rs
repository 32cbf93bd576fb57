//! A workspace's people: members and their tours, teams; and how its database stands.

pub mod job_kinds;
pub mod members;
pub mod teams;
pub mod workspace_health;

// A change of the file rebuilds the crate.
const _: &str = include_str!("../sqlx.toml");

//! The people of a workspace: members and their tours, teams; and the health of the workspace's database.

pub mod job_kinds;
pub mod members;
pub mod teams;
pub mod workspace_health;

// A change of the file rebuilds the crate.
const _: &str = include_str!("../sqlx.toml");

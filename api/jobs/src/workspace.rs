//! The sections of the Workspace API about jobs.

pub mod dead_letters;
pub mod jobs;

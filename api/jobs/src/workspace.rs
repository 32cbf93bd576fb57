//! The Workspace API's sections about jobs.

pub mod dead_letters;
pub mod jobs;

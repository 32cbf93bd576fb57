//! The Workspace API's sections about jobs.

pub mod jobs;

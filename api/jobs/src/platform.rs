//! The sections of the Platform API about jobs.

pub mod dlq;
pub mod jobs;
pub mod scheduled_jobs;

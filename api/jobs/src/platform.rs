//! The Platform API's sections about jobs.

pub mod dlq;
pub mod jobs;
pub mod scheduled_jobs;

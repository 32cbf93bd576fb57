//! The Platform API's sections about jobs.

pub mod dlq;
pub mod jobs;

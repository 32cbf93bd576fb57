//! The Platform API's sections about jobs.

pub mod jobs;

//! Jobs as clients set them up: scheduled jobs.

pub mod scheduled_jobs;

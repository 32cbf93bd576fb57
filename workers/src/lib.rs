//! Handlers of jobs, one module per area. Each says what happens when it is killed at any line.

pub mod export;
pub mod import;
pub mod maintenance;

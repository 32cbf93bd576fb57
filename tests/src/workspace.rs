//! The Workspace API, by section.

mod jobs;

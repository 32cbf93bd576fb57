//! Every pool in one process, for small installations and development.
//!
//! usage: all-workers            serves every pool
//!        all-workers --kinds    lists the kinds of job, with their pools and policies

use std::process::ExitCode;

use runtime::process::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve_all().await
}

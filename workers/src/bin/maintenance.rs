//! The worker of the `maintenance` pool, and of each pool that has no program of its own.

use std::process::ExitCode;

use runtime::process::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve_others().await
}

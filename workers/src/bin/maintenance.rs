//! The worker of the `maintenance` pool.

use std::process::ExitCode;

use runtime::process::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[jobs::Pool::MAINTENANCE]).await
}

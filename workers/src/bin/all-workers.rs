//! Every pool in one process, for small installations and development.

use std::process::ExitCode;

use runtime::process::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve_all().await
}

//! The worker of the `exports` pool.

use std::process::ExitCode;

use runtime::process::Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[domain_data::job_kinds::EXPORTS]).await
}

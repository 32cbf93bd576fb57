//! The worker of the `imports` pool.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[jobs::Pool::Imports]).await
}

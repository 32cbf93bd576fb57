//! The worker of the `exports` pool.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[jobs::Pool::Exports]).await
}

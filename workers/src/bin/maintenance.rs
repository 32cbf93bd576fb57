//! The worker of the `maintenance` pool.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[jobs::Pool::Maintenance]).await
}

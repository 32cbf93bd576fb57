//! The worker of the `provisioning` pool.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[jobs::Pool::Provisioning]).await
}

//! The worker of the `deliveries` pool.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&[jobs::Pool::Deliveries]).await
}

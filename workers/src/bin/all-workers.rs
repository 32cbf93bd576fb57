//! Every pool in one process, for small installations and development.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::serve(&jobs::Pool::ALL).await
}

//! The scheduler: leads dispatch, or stands by to lead.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    workers::process::schedule().await
}

//! The measurements behind `script/bench`: each prints one JSON line per figure. They drive the real
//! binaries of a release build as processes of their own.
//!
//! usage: bench engine|import...      (`script/bench` sets the environment)

mod client;
mod engine;
mod figure;
mod import;
mod process;

use std::process::ExitCode;

use domain::settings::Settings;

/// A variable that `script/bench` sets.
fn variable(name: &'static str) -> Result<String, Failure> {
    Ok(Settings::of_process().required(name)?.to_owned())
}

/// What a measurement may fail with: anything, said once.
type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let mut result = Ok(());
    for name in std::env::args().skip(1) {
        result = match name.as_str() {
            "engine" => engine::measure().await,
            "import" => import::measure().await,
            other => Err(format!("there is no bench named {other}").into()),
        };
        if result.is_err() {
            break;
        }
    }
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

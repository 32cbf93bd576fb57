//! The `api` process.
//!
//! usage: api                                   serves
//!        api openapi workspace|platform|ops    prints a surface's OpenAPI document

use std::{process::ExitCode, time::Duration};

use api_server::{Config, documents, endpoint_until, figures, listen, serve, start};
use domain::installation::{Installation, Unfit, inspect_once};
use jobs::Surface;
use runtime::{
    process::{
        Allocator, Logging, asked_to_stop, cannot_start, end_within, keep_files_private, start_logging,
        use_small_pages,
    },
    settings::{SettingError, Settings},
};
use tokio_util::sync::CancellationToken;

/// Grace period of requests in flight after SIGTERM. Streams and long polls end at once; their clients reconnect to
/// another process.
const GRACE: Duration = Duration::from_secs(10);
/// Additional time after which the process exits regardless.
const BEYOND_GRACE: Duration = Duration::from_secs(3);

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run().await,
        ["openapi", "workspace"] => print(Surface::Workspace),
        ["openapi", "platform"] => print(Surface::Platform),
        ["openapi", "ops"] => print(Surface::Ops),
        _ => {
            eprintln!("usage: api [openapi workspace|platform|ops]");
            ExitCode::from(2)
        }
    }
}

fn print(surface: Surface) -> ExitCode {
    match documents::document(surface) {
        Ok(document) => {
            println!("{document:#}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("openapi: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(settings: &Settings) -> Result<(Logging, Config), SettingError> {
    Ok((start_logging(settings, "api")?, Config::read(settings)?))
}

async fn run() -> ExitCode {
    use_small_pages();
    keep_files_private();
    let started = Settings::of_process().and_then(|settings| read(&settings));
    let (_logging, config) = match started {
        Ok(started) => started,
        Err(error) => {
            eprintln!("{error}");
            return error.exit_code();
        }
    };
    let figures = match figures() {
        Ok(figures) => figures,
        Err(error) => return cannot_start(&error),
    };
    let app = match start(&config).await {
        Ok(app) => app,
        Err(error) => return cannot_start(&error),
    };
    // With missing migrations it serves all the same: `/ready` reports what to do.
    match inspect_once(&app.database.pool).await {
        Ok(Installation::Restored) => return cannot_start(&Unfit::Restored),
        Ok(Installation::Behind) => {
            tracing::warn!("not ready: the database lacks migrations of this release; run `migrate`");
        }
        Ok(Installation::Newer) => {
            tracing::info!("a newer release has migrated the database; this one continues beside it");
        }
        Ok(Installation::Ready) => {}
        Err(error) => return cannot_start(&error),
    }
    let listener = match listen(config.listen) {
        Ok(listener) => listener,
        Err(error) => return cannot_start(&format_args!("{}: {error}", config.listen)),
    };
    tracing::info!(listen = %config.listen, "serving");
    let (hub, leaving) = (app.hub.clone(), CancellationToken::new());
    let (left, delay) = (leaving.clone(), config.shutdown_delay);
    let stop = async move {
        asked_to_stop().await;
        end_within(delay + GRACE + BEYOND_GRACE);
        // A load balancer must learn first that no more requests should come here.
        left.cancel();
        tokio::time::sleep(delay).await;
        hub.close();
    };
    serve(listener, endpoint_until(app, figures, leaving), config.crowd(), stop, GRACE).await;
    ExitCode::SUCCESS
}

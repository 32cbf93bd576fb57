//! The operator's routes, below `/ops`: a document of their own, for whoever holds the operator's token.
//! They look across all workspaces, and change how jobs are run and who may sign in, never what workspaces hold.

mod dead_letters;
mod jobs;
mod limits;
mod pauses;
mod personal_tokens;
mod queues;
mod scaling;
mod shares;
mod throughput;
mod users;
mod workers;

use poem_openapi::OpenApi;

/// Every section. Handlers need a [`jobs::queues::Gauge`](::jobs::queues::Gauge) among the request's data.
#[must_use]
pub fn api() -> impl OpenApi {
    (
        queues::QueuesApi,
        scaling::ScalingApi,
        workers::WorkersApi,
        pauses::PausesApi,
        limits::LimitsApi,
        shares::SharesApi,
        throughput::ThroughputApi,
        jobs::JobsApi,
        dead_letters::DeadLettersApi,
        users::UsersApi,
        personal_tokens::PersonalTokensApi,
    )
}

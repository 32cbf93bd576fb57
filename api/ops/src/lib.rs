//! The operator's routes, below `/ops`: a document of their own, for holders of the operator's token.
//! They cover all workspaces, and change how jobs run and which accounts may sign in, never the data of workspaces.

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

/// All sections. Handlers need a [`jobs::queues::Gauge`](::jobs::queues::Gauge) among the request's data.
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

//! Rate limits as data: the table `rate_limits`, which operators change without a deployment.

use std::collections::HashMap;

use sqlx::PgExecutor;

/// Kinds of counted callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// An unauthenticated caller.
    Visitor,
    /// A signed-in user.
    User,
    /// A program of a workspace.
    ApiKey,
    /// A program of a user.
    PersonalToken,
    /// Any caller that watches jobs: polls and streams are counted separately.
    Watching,
    /// A supervisor that probes a process.
    Probe,
    /// A browser's CORS preflight request, which never has a credential.
    Preflight,
}

/// A counter of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// The caller.
    Principal,
    /// All keys of a workspace together, by its plan.
    Plan,
    /// All tokens of a company together.
    Company,
    /// The client's address.
    Ip,
    /// All keys of a workspace together, over a day.
    Day,
}

impl Bucket {
    /// All buckets, the caller's first.
    pub const ALL: [Self; 5] = [Self::Principal, Self::Plan, Self::Day, Self::Company, Self::Ip];

    /// The name in the database and in headers.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Plan => "plan",
            Self::Company => "company",
            Self::Ip => "ip",
            Self::Day => "day",
        }
    }
}

impl Counted {
    /// All kinds.
    pub const ALL: [Self; 7] = [
        Self::Visitor,
        Self::User,
        Self::ApiKey,
        Self::PersonalToken,
        Self::Watching,
        Self::Probe,
        Self::Preflight,
    ];

    /// The name in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Visitor => "visitor",
            Self::User => "user",
            Self::ApiKey => "api_key",
            Self::PersonalToken => "personal_token",
            Self::Watching => "watching",
            Self::Probe => "probe",
            Self::Preflight => "preflight",
        }
    }
}

/// A number of requests in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Maximum number of requests.
    pub requests: u32,
    /// Length of the window in seconds.
    pub seconds: u32,
}

/// All limits, as of their last reading.
#[derive(Debug, Clone, Default)]
pub struct Limits(HashMap<(Counted, Bucket, String), Rate>);

impl Limits {
    /// The limit of a bucket; for a plan, or where plans make no difference. None: not limited.
    #[must_use]
    pub fn rate(&self, counted: Counted, bucket: Bucket, plan: &str) -> Option<Rate> {
        let of = |plan: &str| self.0.get(&(counted, bucket, plan.to_owned())).copied();
        of(plan).or_else(|| of(""))
    }
}

/// Reads the limits. Rows with names unknown to this release are left out.
pub async fn load(executor: impl PgExecutor<'_>) -> Result<Limits, sqlx::Error> {
    let rows = sqlx::query!("select principal, plan, bucket, requests, seconds from rate_limits")
        .fetch_all(executor)
        .await?;
    let known = rows.into_iter().filter_map(|row| {
        let counted = Counted::ALL.into_iter().find(|counted| counted.name() == row.principal)?;
        let bucket = Bucket::ALL.into_iter().find(|bucket| bucket.name() == row.bucket)?;
        let rate = Rate { requests: row.requests.try_into().ok()?, seconds: row.seconds.try_into().ok()? };
        Some(((counted, bucket, row.plan), rate))
    });
    Ok(Limits(known.collect()))
}

//! How often who may ask, as data: the table `rate_limits`, which operators change without a deploy.

use std::collections::HashMap;

use sqlx::PgExecutor;

/// Who is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counted {
    /// Someone who isn't known.
    Visitor,
    /// A person who has signed in.
    User,
    /// A program of a workspace.
    ApiKey,
    /// A program of a person.
    PersonalToken,
    /// Whoever looks at a job: polls and streams are counted apart, whoever it is.
    Watching,
    /// A supervisor that asks whether a process is up.
    Probe,
    /// A browser's CORS preflight request, which never has a credential.
    Preflight,
}

/// One of the things that are counted for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bucket {
    /// The caller.
    Principal,
    /// All the keys of a workspace together, by its plan.
    Plan,
    /// All the tokens of a company together.
    Company,
    /// The client's address.
    Ip,
    /// All the keys of a workspace together, over a day.
    Day,
}

impl Bucket {
    /// All of them, the caller's first.
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
    /// All of them.
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

/// So many requests in a window of so many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At the most.
    pub requests: u32,
    /// How long a window is.
    pub seconds: u32,
}

/// All limits, as they were when they were read.
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

/// Reads them. A row of this release's future is left out.
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

//! Rate limits: fixed windows, anchored at a bucket's first request. A request is counted in several
//! buckets; all of them are checked before any is charged, so that a refused request charges none,
//! and the strictest wins. Redis counts for all processes, by its own clock; while it is unreachable, each
//! process counts for itself.

mod local;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{
    callers::{self, Credential, Found, Principal},
    rate_limits::{self, Bucket, Counted, Limits, Rate},
};
use jobs::Database;
use poem::{
    Request,
    http::{HeaderMap, HeaderName, HeaderValue},
};
use redis::Script;
use tokio::time::Instant;

use crate::{ApiError, ClientAddress};
use local::Local;

/// Maximum age of the limits in use by a process.
const FRESH: Duration = Duration::from_secs(5);
/// Timeout of Redis, after which a process counts for itself.
const PATIENCE: Duration = Duration::from_millis(250);
/// Time for which Redis is not used after a failure.
const PAUSE: Duration = Duration::from_secs(1);
/// Maximum number of companies that one request of a personal token is counted for.
const MAX_COMPANIES: usize = 20;

/// Counts requests, for one process.
#[derive(Debug)]
pub struct RateLimiter {
    limits: RwLock<(Option<Instant>, Arc<Limits>)>,
    script: Script,
    local: Local,
    /// End of the time for which Redis is not used.
    away_until: RwLock<Option<Instant>>,
}

/// A bucket to be charged.
#[derive(Debug, Clone)]
struct Want {
    bucket: Bucket,
    key: String,
    rate: Rate,
}

/// State of a bucket's window.
#[derive(Debug, Clone, Copy)]
struct Window {
    used: u32,
    left: Duration,
}

/// Result of charging.
#[derive(Debug)]
struct Taken {
    allowed: bool,
    windows: Vec<Window>,
}

/// Whether a request has been counted, and the headers about its limits: set when it is
/// charged, sent by the edge.
#[derive(Debug, Clone, Default)]
pub(crate) struct Standing(Arc<Stood>);

#[derive(Debug, Default)]
struct Stood {
    charged: AtomicBool,
    headers: OnceLock<[(HeaderName, HeaderValue); 2]>,
}

impl Standing {
    /// Adds the headers to an answer.
    pub(crate) fn show(&self, headers: &mut HeaderMap) {
        for (name, value) in self.0.headers.get().into_iter().flatten() {
            headers.insert(name.clone(), value.clone());
        }
    }

    /// Whether the request has been counted, or is exempt.
    pub(crate) fn is_charged(&self) -> bool {
        self.0.charged.load(Ordering::Relaxed)
    }

    fn charge(&self) {
        self.0.charged.store(true, Ordering::Relaxed);
    }
}

/// The properties of a request that counting needs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    /// Client address.
    pub(crate) ip: Option<IpAddr>,
    /// Counting state of the request.
    pub(crate) standing: Option<&'a Standing>,
}

impl<'a> Asking<'a> {
    fn of(request: &'a Request) -> Self {
        let ip = request.data::<ClientAddress>().map(|address| address.0);
        Self { ip, standing: request.data::<Standing>() }
    }

    /// The bucket of the address: unauthenticated requests and members at one address have separate ones.
    fn address(&self, counted: Counted) -> Option<String> {
        self.ip.map(|ip| format!("ip:{}:{}", counted.name(), network_of(ip)))
    }
}

/// The network that is counted as one address: of IPv6, a client usually has a /64.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX))),
    }
}

/// Marks requests that watch jobs: set on routes by [`crate::watching`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watching;

impl Default for RateLimiter {
    fn default() -> Self {
        Self {
            limits: RwLock::default(),
            script: Script::new(include_str!("rate_limit/take.lua")),
            local: Local::default(),
            away_until: RwLock::default(),
        }
    }
}

impl RateLimiter {
    /// Counts an unauthenticated request by its address, unless the edge has done so.
    ///
    /// # Errors
    /// 429 beyond the limit.
    pub(crate) async fn charge_visitor(
        &self,
        database: &Database,
        request: &Request,
    ) -> Result<(), ApiError> {
        let asking = Asking::of(request);
        if asking.standing.is_some_and(Standing::is_charged) {
            return Ok(());
        }
        self.charge_stranger(database, asking).await
    }

    /// The same, at the edge.
    pub(crate) async fn charge_stranger(
        &self,
        database: &Database,
        asking: Asking<'_>,
    ) -> Result<(), ApiError> {
        self.charge_address(database, asking, Counted::Visitor).await
    }

    /// Counts a browser's preflight request: separately, so that unauthenticated requests from an address don't
    /// use up those that members at the same address need.
    pub(crate) async fn charge_preflight(
        &self,
        database: &Database,
        asking: Asking<'_>,
    ) -> Result<(), ApiError> {
        self.charge_address(database, asking, Counted::Preflight).await
    }

    async fn charge_address(
        &self,
        database: &Database,
        asking: Asking<'_>,
        counted: Counted,
    ) -> Result<(), ApiError> {
        self.charge(database, asking, counted, "", None, |bucket| match bucket {
            Bucket::Ip => asking.address(counted).into_iter().collect(),
            _ => Vec::new(),
        })
        .await
    }

    /// Counts a probe of this process, in this process alone.
    pub(crate) async fn charge_probe(&self, database: &Database, asking: Asking<'_>) -> Result<(), ApiError> {
        let limits = self.limits(database).await;
        let (Some(rate), Some(key)) =
            (limits.rate(Counted::Probe, Bucket::Ip, ""), asking.address(Counted::Probe))
        else {
            self.pass(asking);
            return Ok(());
        };
        let wants = [Want { bucket: Bucket::Ip, key, rate }];
        settle(asking, &wants, &self.local.take(&wants))
    }

    /// Exempts a request from all limits.
    pub(crate) fn let_pass(&self, request: &Request) {
        self.pass(Asking::of(request));
    }

    #[allow(clippy::unused_self)] // counting is the responsibility of this type
    fn pass(&self, asking: Asking<'_>) {
        if let Some(standing) = asking.standing {
            standing.charge();
        }
    }

    /// Counts a request of a caller.
    ///
    /// # Errors
    /// 429 beyond the limit.
    pub(crate) async fn charge_caller(
        &self,
        database: &Database,
        request: &Request,
        found: &Found,
    ) -> Result<(), ApiError> {
        let who = name_of(found.principal.credential(), &found.principal);
        if request.data::<Watching>().is_some() {
            return self.charge_watcher(database, request, &who).await;
        }
        let counted = match found.principal {
            Principal::Session { .. } => Counted::User,
            Principal::ApiKey { .. } => Counted::ApiKey,
            Principal::PersonalToken { .. } => Counted::PersonalToken,
        };
        let workspace = found.workspace;
        let companies = match (workspace, &found.principal) {
            (Some(workspace), _) => vec![workspace],
            // A token without a workspace acts in all of its user's workspaces.
            (None, Principal::PersonalToken { .. }) => {
                let all = callers::entries(&database.pool, found.principal.credential(), None).await?;
                all.into_iter().map(|(workspace, _)| workspace).take(MAX_COMPANIES).collect()
            }
            (None, _) => Vec::new(),
        };
        // A plan's limits are the workspace's, however many keys it has.
        let plans = match found.principal {
            Principal::ApiKey { workspace, .. } => Some(workspace),
            _ => None,
        };
        let asking = Asking::of(request);
        self.charge(database, asking, counted, &found.plan, found.rate_per_minute, |bucket| match bucket {
            Bucket::Principal => vec![who.clone()],
            Bucket::Plan => plans.map(|workspace| format!("plan:{workspace}")).into_iter().collect(),
            Bucket::Day => plans.map(|workspace| format!("plan:{workspace}:day")).into_iter().collect(),
            Bucket::Company => companies.iter().map(|workspace| format!("company:{workspace}")).collect(),
            Bucket::Ip => asking.address(counted).into_iter().collect(),
        })
        .await
    }

    /// Counts a request by ticket as one of the credential that the ticket was made for.
    pub(crate) async fn charge_ticket(
        &self,
        database: &Database,
        request: &Request,
        credential: Credential,
    ) -> Result<(), ApiError> {
        self.charge_watcher(database, request, &format!("ticket:{}", credential.id())).await
    }

    async fn charge_watcher(
        &self,
        database: &Database,
        request: &Request,
        who: &str,
    ) -> Result<(), ApiError> {
        let asking = Asking::of(request);
        self.charge(database, asking, Counted::Watching, "", None, |bucket| {
            (bucket == Bucket::Principal).then(|| format!("watch:{who}")).into_iter().collect()
        })
        .await
    }

    async fn charge(
        &self,
        database: &Database,
        asking: Asking<'_>,
        counted: Counted,
        plan: &str,
        per_minute: Option<u32>,
        keys: impl Fn(Bucket) -> Vec<String>,
    ) -> Result<(), ApiError> {
        let limits = self.limits(database).await;
        let wants: Vec<_> = Bucket::ALL
            .into_iter()
            .filter_map(|bucket| {
                // A key's own rate is a bucket within its plan's.
                let own = per_minute.filter(|_| bucket == Bucket::Principal);
                let own = own.map(|requests| Rate { requests, seconds: 60 });
                Some((bucket, own.or_else(|| limits.rate(counted, bucket, plan))?))
            })
            .flat_map(|(bucket, rate)| keys(bucket).into_iter().map(move |key| Want { bucket, key, rate }))
            .collect();
        if wants.is_empty() {
            self.pass(asking);
            return Ok(());
        }
        let taken = self.take(database, &wants).await;
        settle(asking, &wants, &taken)
    }

    /// The limits, not older than a few seconds while the database answers.
    async fn limits(&self, database: &Database) -> Arc<Limits> {
        let now = Instant::now();
        {
            let (read_at, limits) = &*read(&self.limits);
            if read_at.is_some_and(|at| now < at + FRESH) {
                return limits.clone();
            }
        }
        {
            // One request reads them anew, the others use the last known; at first there are none, and all read.
            let mut kept = self.limits.write().unwrap_or_else(PoisonError::into_inner);
            match &mut kept.0 {
                Some(at) if now < *at + FRESH => return kept.1.clone(),
                Some(at) => *at = now,
                None => {}
            }
        }
        let loaded = rate_limits::load(&database.pool).await;
        let mut kept = self.limits.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(loaded) => *kept = (Some(now), Arc::new(loaded)),
            Err(error) => tracing::warn!(%error, "could not read the rate limits; using the last known"),
        }
        kept.1.clone()
    }

    async fn take(&self, database: &Database, wants: &[Want]) -> Taken {
        let now = Instant::now();
        if read(&self.away_until).is_some_and(|until| now < until) {
            return self.take_alone(wants);
        }
        match tokio::time::timeout(PATIENCE, self.take_in_redis(database, wants)).await {
            Ok(Ok(taken)) => taken,
            outcome => {
                let error = match outcome {
                    Ok(Err(error)) => error.to_string(),
                    _ => format!("no answer within {PATIENCE:?}"),
                };
                tracing::warn!(error, "Redis is unreachable: this process counts requests by itself");
                *self.away_until.write().unwrap_or_else(PoisonError::into_inner) = Some(now + PAUSE);
                self.take_alone(wants)
            }
        }
    }

    fn take_alone(&self, wants: &[Want]) -> Taken {
        metrics::counter!("millrace_rate_limits_counted_alone_total").increment(1);
        self.local.take(wants)
    }

    async fn take_in_redis(&self, database: &Database, wants: &[Want]) -> redis::RedisResult<Taken> {
        let mut call = self.script.prepare_invoke();
        for want in wants {
            call.key(database.bus.rate_key(&want.key));
            call.arg(want.rate.requests).arg(u64::from(want.rate.seconds) * 1000);
        }
        let answer: Vec<i64> = call.invoke_async(&mut database.bus.connection()).await?;
        let (&allowed, windows) = answer.split_first().unwrap_or((&0, &[]));
        let windows = windows.chunks_exact(2).map(|pair| Window {
            used: pair[0].try_into().unwrap_or(u32::MAX),
            left: Duration::from_millis(pair[1].try_into().unwrap_or(0)),
        });
        Ok(Taken { allowed: allowed == 1, windows: windows.collect() })
    }
}

/// Sets the client's headers, and refuses requests beyond the limit.
fn settle(asking: Asking<'_>, wants: &[Want], taken: &Taken) -> Result<(), ApiError> {
    if let Some(standing) = asking.standing {
        standing.charge();
        // A request is charged once; a second charge would concern the same buckets.
        let _ = standing.0.headers.set(headers(wants, taken));
    }
    if taken.allowed { Ok(()) } else { Err(refusal(wants, taken)) }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// The bucket of a principal: a user has one for all sessions.
fn name_of(credential: Credential, principal: &Principal) -> String {
    match (credential, principal.user()) {
        (Credential::Session(_), Some(user)) => format!("user:{user}"),
        (Credential::Session(session), None) => format!("session:{session}"),
        (Credential::ApiKey(key), _) => format!("key:{key}"),
        (Credential::PersonalToken(token), _) => format!("token:{token}"),
    }
}

/// Whole seconds until a window ends, at least one.
fn seconds(left: Duration) -> u64 {
    left.as_millis().div_ceil(1000).max(1).try_into().unwrap_or(u64::MAX)
}

/// 429 with the seconds after which all of the empty buckets are full again.
fn refusal(wants: &[Want], taken: &Taken) -> ApiError {
    let empty = wants.iter().zip(&taken.windows).filter(|(want, window)| window.used >= want.rate.requests);
    let wait = empty.map(|(_, window)| seconds(window.left)).max().unwrap_or(1);
    ApiError::rate_limited(wait, format!("rate limit exceeded; retry after {wait} seconds"))
}

/// `RateLimit-Policy` lists the buckets, `RateLimit` has the state of the strictest one
/// (draft-ietf-httpapi-ratelimit-headers-10).
fn headers(wants: &[Want], taken: &Taken) -> [(HeaderName, HeaderValue); 2] {
    let mut policies: Vec<_> = wants
        .iter()
        .map(|Want { bucket, rate, .. }| {
            format!("\"{}\";q={};w={}", bucket.name(), rate.requests, rate.seconds)
        })
        .collect();
    // Several companies are one policy.
    policies.dedup();
    let remaining = |(want, window): &(&Want, &Window)| want.rate.requests.saturating_sub(window.used);
    let strictest = wants.iter().zip(&taken.windows).min_by_key(remaining).map_or_else(String::new, |pair| {
        format!("\"{}\";r={};t={}", pair.0.bucket.name(), remaining(&pair), seconds(pair.1.left))
    });
    let value = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    [
        (HeaderName::from_static("ratelimit-policy"), value(policies.join(", "))),
        (HeaderName::from_static("ratelimit"), value(strictest)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(bucket: Bucket, requests: u32, seconds: u32) -> Want {
        Want { bucket, key: bucket.name().to_owned(), rate: Rate { requests, seconds } }
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_request_charges_no_bucket_and_a_window_begins_with_its_first() {
        let local = Local::default();
        let wants = [want(Bucket::Principal, 2, 60), want(Bucket::Ip, 10, 3600)];
        assert!(local.take(&wants).allowed);
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(local.take(&wants).allowed);
        let refused = local.take(&wants);
        assert!(!refused.allowed);
        assert_eq!(refused.windows[1].used, 2, "the address is not charged for it");
        assert_eq!(seconds(refused.windows[0].left), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(local.take(&wants).allowed);
    }

    #[test]
    fn the_headers_name_all_buckets_and_the_strictest() {
        let wants = [want(Bucket::Principal, 30, 60), want(Bucket::Day, 500, 86400)];
        let left = Duration::from_millis(1500);
        let windows = vec![Window { used: 10, left }, Window { used: 499, left }];
        let [policy, standing] = headers(&wants, &Taken { allowed: true, windows });
        assert_eq!(policy.1, r#""principal";q=30;w=60, "day";q=500;w=86400"#);
        assert_eq!(standing.1, r#""day";r=1;t=2"#);
    }
}

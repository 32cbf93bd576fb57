//! Throttling of guesses: failed sign-ins are counted per account and per client address, in PostgreSQL, so
//! that all processes count together.
//!
//! An account is counted by its address as it was typed, hashed, whether or not there is one: what is locked
//! tells nothing about who exists. What has been tried is judged *after* the password was checked, under the
//! lock of both rows: of any number of guesses at once, no more are answered than the policy allows, and
//! people who sign in rightly at the same time don't lock each other out.

use std::net::IpAddr;

use chrono::{DateTime, Duration, Utc};
use jobs::{Database, Tx};
use sha2::{Digest, Sha256};
use sqlx::PgExecutor;

use crate::users::Email;

/// How many failures are let pass, and what comes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Policy {
    /// The failure that locks; each one after it locks for twice as long as the one before.
    failures: i32,
}

/// Guesses at one account.
const ACCOUNT: Policy = Policy { failures: 5 };
/// Guesses from one address, behind which there may be a whole company.
const ADDRESS: Policy = Policy { failures: 50 };
/// Letters to one address: whoever asks for them needn't be who gets them.
const LETTERS: Policy = Policy { failures: 5 };
/// How long the first lock holds.
const SHORTEST_LOCK: Duration = Duration::minutes(1);
/// How long a lock holds at the most.
const LONGEST_LOCK: Duration = Duration::minutes(15);
/// A count begins anew after that.
const WINDOW: Duration = Duration::hours(1);

/// What failures are counted by. Holds a hash only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    hash: Vec<u8>,
    failures: i32,
}

/// Whom an attempt concerns: an account, and where it comes from.
#[derive(Clone)]
pub struct Subjects(Vec<Subject>);

/// Whether an attempt may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may.
    Open,
    /// It failed, and was counted; now the account, or the address, is locked.
    NowLocked,
    /// It may not be answered, right or wrong, for so many seconds.
    Locked(u64),
}

/// A subject's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    failures: i32,
    since: DateTime<Utc>,
    locked_until: Option<DateTime<Utc>>,
}

impl Subjects {
    /// A sign-in with that email address, from there.
    #[must_use]
    pub fn sign_in(email: &str, ip: Option<&str>) -> Self {
        let mut subjects = vec![Subject::of("account", &key(email), ACCOUNT)];
        // Of an IPv6 client the network counts: it has more addresses than there is time.
        subjects.extend(ip.map(|ip| Subject::of("address", &network(ip), ADDRESS)));
        // Locks are taken in one order by all.
        subjects.sort();
        Self(subjects)
    }

    /// A letter to that email address.
    #[must_use]
    pub fn letter(email: &str) -> Self {
        Self(vec![Subject::of("letters", &key(email), LETTERS)])
    }

    fn hashes(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|subject| subject.hash.clone()).collect()
    }
}

impl Subject {
    fn of(kind: &str, name: &str, policy: Policy) -> Self {
        let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize();
        Self { hash: hash.to_vec(), failures: policy.failures }
    }
}

impl Count {
    /// For how long it is locked.
    fn locked_for(&self, now: DateTime<Utc>) -> Option<Duration> {
        self.locked_until.map(|until| until - now).filter(|left| *left > Duration::zero())
    }

    /// With one failure more.
    fn failed(self, now: DateTime<Utc>, most: i32) -> Self {
        let begins_anew = now - self.since > WINDOW;
        let (failures, since) = if begins_anew { (1, now) } else { (self.failures + 1, self.since) };
        let beyond = failures - most;
        let locked_until = (beyond >= 0).then(|| {
            let doubled = SHORTEST_LOCK * 2_i32.pow(u32::try_from(beyond.min(10)).unwrap_or(0));
            now + doubled.min(LONGEST_LOCK)
        });
        Self { failures, since, locked_until }
    }
}

/// What an address is counted by. What isn't one is nobody's, and is counted as it is.
fn key(email: &str) -> String {
    Email::key_of(email).unwrap_or_else(|| email.trim().to_owned())
}

/// The network that a client's address stands for.
fn network(ip: &str) -> String {
    match ip.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_none() => {
            let [a, b, c, d, ..] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        _ => ip.to_owned(),
    }
}

/// Seconds to wait, rounded up.
fn seconds(left: Duration) -> u64 {
    u64::try_from(left.num_milliseconds()).unwrap_or(0).div_ceil(1000).max(1)
}

/// Whether an attempt is worth the work: an early word, which [`failed`] and [`succeeded`] have the last on.
pub async fn look(database: impl PgExecutor<'_>, subjects: &Subjects) -> Result<Verdict, sqlx::Error> {
    let left = sqlx::query_scalar!(
        r#"select extract(epoch from max(locked_until) - clock_timestamp())::float8 as "left"
             from login_failures where subject = any($1) and locked_until > clock_timestamp()"#,
        &subjects.hashes(),
    )
    .fetch_one(database)
    .await?;
    #[allow(clippy::cast_possible_truncation)] // minutes
    let left = left.map(|left| Duration::milliseconds((left * 1000.0) as i64));
    Ok(left.map_or(Verdict::Open, |left| Verdict::Locked(seconds(left))))
}

/// Counts a failed attempt. [`Verdict::Locked`]: others came first, nothing was counted, and it must not be
/// said that it failed.
pub async fn failed(tx: &mut Tx, subjects: &Subjects) -> Result<Verdict, sqlx::Error> {
    for subject in &subjects.0 {
        sqlx::query!(
            "insert into login_failures (subject, since) values ($1, clock_timestamp())
             on conflict (subject) do nothing",
            subject.hash,
        )
        .execute(tx.conn())
        .await?;
    }
    let (now, counts) = lock(tx, subjects).await?;
    if let Some(left) = counts.iter().filter_map(|(_, count)| count.locked_for(now)).max() {
        return Ok(Verdict::Locked(seconds(left)));
    }
    let mut verdict = Verdict::Open;
    for (hash, count) in counts {
        let most = subjects.0.iter().find(|subject| subject.hash == hash).map_or(i32::MAX, |s| s.failures);
        let count = count.failed(now, most);
        if count.locked_until.is_some() {
            verdict = Verdict::NowLocked;
        }
        sqlx::query!(
            "update login_failures set failures = $2, since = $3, locked_until = $4 where subject = $1",
            hash,
            count.failures,
            count.since,
            count.locked_until,
        )
        .execute(tx.conn())
        .await?;
    }
    Ok(verdict)
}

/// Whether a right attempt may be answered as such; then its account's count is forgotten. That of the address
/// stays: whoever guesses at others has an account of their own to sign in to.
pub async fn succeeded(tx: &mut Tx, subjects: &Subjects, email: &str) -> Result<Verdict, sqlx::Error> {
    let (now, counts) = lock(tx, subjects).await?;
    if let Some(left) = counts.iter().filter_map(|(_, count)| count.locked_for(now)).max() {
        return Ok(Verdict::Locked(seconds(left)));
    }
    forget(tx, email).await?;
    Ok(Verdict::Open)
}

/// Forgets the failures of an account, for whoever has shown otherwise that it is theirs.
pub async fn forget(tx: &mut Tx, email: &str) -> Result<(), sqlx::Error> {
    let account = Subjects::sign_in(email, None);
    sqlx::query!("delete from login_failures where subject = any($1)", &account.hashes())
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Forgets counts that would begin anew; answers how many those were.
pub async fn sweep(database: &Database) -> Result<u64, sqlx::Error> {
    let mut tx = database.begin().await?;
    let swept = sqlx::query!(
        "delete from login_failures
          where since < $1 and (locked_until is null or locked_until < clock_timestamp())",
        jobs::clock::now() - WINDOW,
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(swept.rows_affected())
}

/// Holds what is counted until the end of the transaction.
async fn lock(
    tx: &mut Tx,
    subjects: &Subjects,
) -> Result<(DateTime<Utc>, Vec<(Vec<u8>, Count)>), sqlx::Error> {
    let rows = sqlx::query!(
        "select subject, failures, since, locked_until from login_failures
          where subject = any($1) order by subject for update",
        &subjects.hashes(),
    )
    .fetch_all(tx.conn())
    .await?;
    let now = sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#).fetch_one(tx.conn()).await?;
    let counts = rows.into_iter().map(|row| {
        let count = Count { failures: row.failures, since: row.since, locked_until: row.locked_until };
        (row.subject, count)
    });
    Ok((now, counts.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + Duration::minutes(minute)
    }

    fn none() -> Count {
        Count { failures: 0, since: at(0), locked_until: None }
    }

    #[test]
    fn the_fifth_failure_locks_for_a_minute_and_each_further_one_for_twice_as_long() {
        let mut count = none();
        let mut locks = Vec::new();
        for _ in 0..11 {
            count = count.failed(at(1), 5);
            locks.push(count.locked_for(at(1)).map_or(0, |left| left.num_minutes()));
        }
        assert_eq!(locks, [0, 0, 0, 0, 1, 2, 4, 8, 15, 15, 15]);
    }

    #[test]
    fn a_count_begins_anew_after_an_hour() {
        let count = (0..4).fold(none(), |count, _| count.failed(at(0), 5));
        assert!(count.failed(at(60), 5).locked_until.is_some());
        assert_eq!(count.failed(at(61), 5), Count { failures: 1, since: at(61), locked_until: None });
    }

    #[test]
    fn a_lock_is_over_when_its_time_is() {
        let locked = Count { locked_until: Some(at(2)), ..none() };
        assert_eq!(locked.locked_for(at(1)), Some(Duration::minutes(1)));
        assert_eq!(locked.locked_for(at(2)), None);
        assert_eq!(seconds(Duration::milliseconds(59_001)), 60);
        assert_eq!(seconds(Duration::milliseconds(1)), 1);
    }

    #[test]
    fn the_same_account_is_the_same_however_it_is_written_and_no_other() {
        let of = |email: &str| Subjects::sign_in(email, None).hashes();
        assert_eq!(of("Ada@Example.com "), of("ada@example.com"));
        assert_ne!(of("ada@example.com"), of("ida@example.com"));
        assert_ne!(of("ada@example.com"), Subjects::letter("ada@example.com").hashes());
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), network("2001:db8:1:2::1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}

//! Throttling of guesses at passwords and access codes, in PostgreSQL, so that all processes count together.
//!
//! A failure is counted by three subjects: the account together with the network that the guess came from, the
//! account alone, and the network alone. The first locks after a few failures, so that an attacker locks an
//! account for their own network and not for its owner elsewhere. The second, for guesses from many networks,
//! and the third allow more. A device that has signed in before sends its device token ([`Device`]) and is
//! counted by that alone: guesses by others can't lock it out (OWASP, "Slow Down Online Guessing Attacks with
//! Device Cookies").
//!
//! An account is counted by its id; an address without an account by its key, which behaves alike: locks don't
//! reveal whether an account exists. Subjects are stored as hashes. Attempts are judged *after* the password
//! was checked, under the lock of all rows: of any number of concurrent guesses, no more are answered than the
//! policy allows, and users who sign in correctly at the same time do not lock each other out.

use chrono::{DateTime, Duration, Utc};
use jobs::{Database, Tx};
use sha2::{Digest, Sha256};
use sqlx::PgExecutor;
use uuid::Uuid;

use crate::{Email, UserId, networks};

/// Number of failures that lock an account for a network, or a device.
const MAX_FAILURES: i32 = 5;
/// Number of failures that lock an account for all networks, except for known devices.
const MAX_FAILURES_ANYWHERE: i32 = 100;
/// Number of failures that lock a network, which may be shared by a whole company.
const MAX_FAILURES_OF_NETWORK: i32 = 50;
/// Duration of the first lock.
const SHORTEST_LOCK: Duration = Duration::minutes(1);
/// Maximum duration of a lock.
const LONGEST_LOCK: Duration = Duration::minutes(15);
/// Time after which a count starts anew.
const WINDOW: Duration = Duration::hours(1);

/// A subject of the count of failures. Holds a hash only.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Subject {
    hash: Vec<u8>,
    failures: i32,
}

/// The subjects of an attempt.
#[derive(Clone)]
pub struct Subjects(Vec<Subject>);

/// Whether an attempt may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The attempt may be answered.
    Open,
    /// The attempt failed and was counted; the account or the address is locked now.
    NowLocked,
    /// The attempt may not be answered, correct or not, for so many seconds.
    Locked(u64),
}

/// A subject's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Count {
    failures: i32,
    since: DateTime<Utc>,
    locked_until: Option<DateTime<Utc>>,
}

/// A device on which an account's owner has signed in before, proved by its token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Account of the device.
    pub user: UserId,
    /// Device id.
    pub id: Uuid,
}

/// The target of a guess.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The password of an account.
    Account(UserId),
    /// The password of an address without an account, as typed.
    Nobody(&'a str),
    /// The access code of an address.
    AccessCode(&'a str),
}

impl Target<'_> {
    fn name(self) -> String {
        match self {
            Self::Account(user) => user.to_string(),
            Self::Nobody(text) => key(text),
            Self::AccessCode(text) => format!("access code {}", key(text)),
        }
    }
}

impl Subjects {
    /// A guess from a network, or from a device, whose token is only valid for its own account.
    #[must_use]
    pub fn of(target: Target<'_>, ip: Option<&str>, device: Option<Device>) -> Self {
        let is_own = |device: &Device| matches!(target, Target::Account(user) if user == device.user);
        if let Some(device) = device.filter(is_own) {
            return Self(vec![Subject::of("device", &device.id.to_string(), MAX_FAILURES)]);
        }
        let (target, network) = (target.name(), networks::of_client(ip.unwrap_or_default()));
        let mut subjects = vec![
            Subject::of("target and network", &format!("{target} {network}"), MAX_FAILURES),
            Subject::of("target", &target, MAX_FAILURES_ANYWHERE),
            Subject::of("network", &network, MAX_FAILURES_OF_NETWORK),
        ];
        // Locks are taken in one order everywhere.
        subjects.sort();
        Self(subjects)
    }

    fn hashes(&self) -> Vec<Vec<u8>> {
        self.0.iter().map(|subject| subject.hash.clone()).collect()
    }
}

impl Subject {
    fn of(kind: &str, name: &str, failures: i32) -> Self {
        let hash = Sha256::new().chain_update(kind).chain_update([0]).chain_update(name).finalize();
        Self { hash: hash.to_vec(), failures }
    }
}

impl Count {
    /// Remaining duration of the lock.
    fn locked_for(&self, now: DateTime<Utc>) -> Option<Duration> {
        self.locked_until.map(|until| until - now).filter(|left| *left > Duration::zero())
    }

    /// The count after another failure.
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

/// The subject of an address. A text that is no address has no account, and is counted as it is.
fn key(email: &str) -> String {
    Email::key_of(email).unwrap_or_else(|| email.trim().to_owned())
}

/// Seconds to wait, rounded up.
fn seconds(left: Duration) -> u64 {
    u64::try_from(left.num_milliseconds()).unwrap_or(0).div_ceil(1000).max(1)
}

/// Whether an attempt is worth the work: preliminary; [`failed`] and [`succeeded`] decide.
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

/// Counts a failed attempt. [`Verdict::Locked`]: others came first, nothing was counted, and the answer must
/// not reveal that it failed.
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

/// Whether a correct attempt may be answered as such; then the count of the target, from there, is removed. The
/// counts of the account anywhere and of the network stay: they include guesses at others, or by others.
pub async fn succeeded(tx: &mut Tx, subjects: &Subjects) -> Result<Verdict, sqlx::Error> {
    let (now, counts) = lock(tx, subjects).await?;
    if let Some(left) = counts.iter().filter_map(|(_, count)| count.locked_for(now)).max() {
        return Ok(Verdict::Locked(seconds(left)));
    }
    let narrow = subjects.0.iter().filter(|subject| subject.failures == MAX_FAILURES);
    forget_all(tx, &narrow.map(|subject| subject.hash.clone()).collect::<Vec<_>>()).await?;
    Ok(Verdict::Open)
}

/// Removes the failures of an account, from there and in total, after another proof of its ownership.
pub async fn forget(tx: &mut Tx, user: UserId, ip: Option<&str>) -> Result<(), sqlx::Error> {
    let own = Subjects::of(Target::Account(user), ip, None);
    let own = own.0.iter().filter(|subject| subject.failures != MAX_FAILURES_OF_NETWORK);
    forget_all(tx, &own.map(|subject| subject.hash.clone()).collect::<Vec<_>>()).await
}

async fn forget_all(tx: &mut Tx, subjects: &[Vec<u8>]) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from login_failures where subject = any($1)", subjects).execute(tx.conn()).await?;
    Ok(())
}

/// Removes counts that would start anew; answers their number.
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

/// Locks the subjects' rows until the end of the transaction.
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
    fn a_guess_counts_for_its_target_and_network_and_a_known_device_for_itself() {
        let (ada, bob) = (UserId::new(), UserId::new());
        let of = |target, ip| Subjects::of(target, Some(ip), None).hashes();
        let shared =
            |one: Vec<Vec<u8>>, other: Vec<Vec<u8>>| one.iter().filter(|it| other.contains(it)).count();
        let here = of(Target::Account(ada), "192.0.2.1");
        assert_eq!(shared(here.clone(), of(Target::Account(ada), "192.0.2.1")), 3);
        assert_eq!(shared(here.clone(), of(Target::Account(ada), "192.0.2.2")), 1, "the account");
        assert_eq!(shared(here.clone(), of(Target::Account(bob), "192.0.2.1")), 1, "the network");
        let device = |user| Some(Device { user, id: Uuid::nil() });
        let known = Subjects::of(Target::Account(ada), Some("192.0.2.1"), device(ada)).hashes();
        assert_eq!((known.len(), shared(known, here.clone())), (1, 0));
        let anothers = Subjects::of(Target::Account(ada), Some("192.0.2.1"), device(bob)).hashes();
        assert_eq!(shared(anothers, here), 3, "another's device counts for nothing");
    }

    #[test]
    fn an_address_is_counted_by_its_key() {
        let of = |email| Subjects::of(Target::Nobody(email), None, None).hashes();
        assert_eq!(of("Ada@Example.com "), of("ada@example.com"));
        assert_ne!(of("ada@example.com"), of("ida@example.com"));
        assert_ne!(
            of("ada@example.com"),
            Subjects::of(Target::AccessCode("ada@example.com"), None, None).hashes()
        );
    }
}

//! Requests with an `Idempotency-Key`: the key, its caller, the request and the answer. The
//! row is written in the transaction of the effect, so that there is one if and only if there is the other.

use jobs::{Database, JobId, Tx};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::{PgExecutor, types::Json};

/// Retention of keys: a day.
const REMEMBERED: &str = "24 hours";
/// Number of keys that maintenance removes at once.
const BATCH: i64 = 5_000;

/// Identity of a request: caller, address, method, path and key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId([u8; 32]);

impl KeyId {
    /// The parts are separated by their lengths.
    #[must_use]
    pub fn of(parts: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part.as_bytes());
        }
        Self(hash.finalize().into())
    }

    fn place(self) -> String {
        format!("idempotency {}", hex::encode(self.0))
    }

    /// The number of an advisory lock. Two keys with the same number only wait for each other's requests.
    fn lock(self) -> i64 {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&self.0[..8]);
        i64::from_be_bytes(bytes)
    }
}

/// Digest of a request's body.
pub type RequestHash = [u8; 32];

/// Position of a ticket for a job in an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptTicket {
    /// The member with the ticket, as a JSON pointer (RFC 6901).
    pub member: String,
    /// The path before the ticket.
    pub path: String,
    /// Job that it is valid for.
    pub job: JobId,
    /// Permission with which it was given.
    pub permission: String,
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Digest of the request that it answers.
    pub request: RequestHash,
    /// Status.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
    /// Tickets in the body.
    pub tickets: Vec<KeptTicket>,
}

/// The digest of a body.
#[must_use]
pub fn digest(body: &[u8]) -> RequestHash {
    Sha256::digest(body).into()
}

/// The stored answer to a request, if it is not older than a day.
pub async fn find(database: &Database, key: KeyId) -> Result<Option<Remembered>, sqlx::Error> {
    let Some(row) = row(&database.pool, key).await? else { return Ok(None) };
    let body = database.unseal(&row.answer, &key.place());
    let request = row.request_hash.try_into();
    Ok(Some(Remembered {
        request: request.map_err(|_| sqlx::Error::Decode("a digest has 32 bytes".into()))?,
        status: row.status.try_into().unwrap_or(500),
        body: body.map_err(|error| sqlx::Error::Decode(error.into()))?,
        tickets: row.tickets.0,
    }))
}

struct Row {
    request_hash: Vec<u8>,
    status: i16,
    answer: String,
    tickets: Json<Vec<KeptTicket>>,
}

async fn row(executor: impl PgExecutor<'_>, key: KeyId) -> Result<Option<Row>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        r#"select request_hash, status, answer, tickets as "tickets: Json<Vec<KeptTicket>>"
             from idempotency_keys
            where id = $1 and created_at > now() - $2::text::interval"#,
        &key.0,
        REMEMBERED,
    )
    .fetch_optional(executor)
    .await
}

/// The reason why a request must not continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The same request is in progress elsewhere.
    Running,
    /// The request has been answered meanwhile.
    Answered,
}

/// Makes a transaction, before it does anything else, the only one in which this request is in progress. None: it is.
pub async fn claim(tx: &mut Tx, key: KeyId) -> Result<Option<Taken>, sqlx::Error> {
    let locked = sqlx::query_scalar!(r#"select pg_try_advisory_xact_lock($1) as "locked!""#, key.lock())
        .fetch_one(tx.conn())
        .await?;
    if !locked {
        return Ok(Some(Taken::Running));
    }
    // The previous holder of the lock may have answered since this request was first looked up.
    Ok(row(tx.conn(), key).await?.map(|_| Taken::Answered))
}

/// Stores an answer, in the transaction of its effect. False: another one was stored before.
pub async fn remember(tx: &mut Tx, key: KeyId, answer: &Remembered) -> Result<bool, sqlx::Error> {
    let sealed =
        tx.database().seal(&answer.body, &key.place()).map_err(|error| sqlx::Error::Encode(error.into()))?;
    // A row that is older than a day has expired and may be overwritten.
    let stored = sqlx::query!(
        "insert into idempotency_keys as k (id, request_hash, status, answer, tickets)
         values ($1, $2, $3, $4, $5)
         on conflict (id) do update
            set request_hash = excluded.request_hash, status = excluded.status, answer = excluded.answer,
                tickets = excluded.tickets, created_at = now()
          where k.created_at <= now() - $6::text::interval",
        &key.0,
        &answer.request,
        i16::try_from(answer.status).unwrap_or(500),
        sealed,
        Json(&answer.tickets) as _,
        REMEMBERED,
    )
    .execute(tx.conn())
    .await?;
    Ok(stored.rows_affected() == 1)
}

/// Removes a batch of keys that are older than a day. Answers their number.
pub async fn prune(database: &Database) -> Result<u64, sqlx::Error> {
    let pruned = sqlx::query!(
        "delete from idempotency_keys where id in (
            select id from idempotency_keys where created_at <= now() - $1::text::interval limit $2)",
        REMEMBERED,
        BATCH,
    )
    .execute(&database.pool)
    .await?;
    Ok(pruned.rows_affected())
}

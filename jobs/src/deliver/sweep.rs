//! Sweeping: the remains of deliveries in Redis after a worker was killed, or a connection lost, in between.
//!
//! Workers remove the remains of the tasks that they take. This removes those of workers that are gone, and data of
//! tasks that are in no queue, so that Redis returns to the same size after any crash. Nothing
//! that is removed here is needed: an id that is due and unclaimed is pushed again under a new task.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use redis::AsyncCommands;
use uuid::Uuid;

use super::{BATCH, config};
use crate::{Bus, Database, Pool, ledger::interval};

/// Interval of the leader's sweeps.
const EVERY: Duration = Duration::from_secs(10);
/// Number of leases without a heartbeat after which a worker is gone. If it is not, its next fetch finds itself
/// unregistered, and it registers anew.
const GONE_AFTER: u32 = 4;
/// Time after which a task in no queue and with no worker is considered a remain.
const LEFT_AFTER: Duration = Duration::from_secs(20);
/// Expiry of all data of one worker, renewed by each sweep.
const EXPIRY: Duration = Duration::from_secs(3600);

/// Sweeps for as long as it is polled.
pub(crate) async fn keep_swept(database: Database, lease: Duration) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let alive = match alive(&database, lease).await {
            Ok(alive) => alive,
            Err(error) => {
                tracing::debug!(%error, "not swept: could not read the live workers from the ledger");
                continue;
            }
        };
        for &pool in Pool::all() {
            match sweep(&database.bus, pool, &alive).await {
                Ok(0) => {}
                Ok(swept) => {
                    metrics::counter!("millrace_delivery_swept_total", "pool" => pool.name())
                        .increment(swept as u64);
                    tracing::info!(%pool, swept, "removed remains of deliveries from Redis");
                }
                Err(error) => tracing::debug!(%error, %pool, "not swept; trying again soon"),
            }
        }
    }
}

async fn alive(database: &Database, lease: Duration) -> Result<HashSet<Uuid>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        "select id from workers where heartbeat_at > now() - $1::interval",
        interval(lease * GONE_AFTER),
    )
    .fetch_all(&database.pool)
    .await?;
    Ok(ids.into_iter().map(|id| id.0).collect())
}

/// Removes a pool's remains; answers the number of workers and tasks.
async fn sweep(bus: &Bus, pool: Pool, alive: &HashSet<Uuid>) -> Result<usize, redis::RedisError> {
    let mut connection = bus.connection();
    let config = config(bus, pool, BATCH);
    let (workers, inflight) = (config.workers_set(), config.inflight_jobs_set());
    let registered: Vec<String> = connection.zrange(&workers, 0, -1).await?;
    let (stay, gone) = sorted(registered, alive);

    let mut held = HashSet::new();
    let mut pipe = redis::pipe();
    for name in &stay {
        let expiry = i64::try_from(EXPIRY.as_secs()).unwrap_or(i64::MAX);
        held.extend(connection.smembers::<_, Vec<String>>(format!("{inflight}:{name}")).await?);
        pipe.expire(format!("{inflight}:{name}"), expiry).ignore();
        pipe.expire(format!("{workers}:metadata:{name}"), expiry).ignore();
    }
    for name in &gone {
        pipe.unlink(format!("{inflight}:{name}")).ignore();
        pipe.unlink(format!("{workers}:metadata:{name}")).ignore();
        pipe.zrem(&workers, name).ignore();
    }
    if !stay.is_empty() || !gone.is_empty() {
        pipe.query_async::<()>(&mut connection).await?;
    }

    // The queue is read last. A task that moves meanwhile is found there, or has just been taken by a worker,
    // which has its data by now.
    let (data, meta) = (config.job_data_hash(), config.job_meta_hash());
    let known: Vec<String> = connection.hkeys(&data).await?;
    if known.is_empty() {
        return Ok(gone.len());
    }
    held.extend(connection.lrange::<_, Vec<String>>(config.active_jobs_list(), 0, -1).await?);
    let left: Vec<String> = known.into_iter().filter(|task| !held.contains(task) && is_old(task)).collect();
    for tasks in left.chunks(1000) {
        let keys: Vec<_> = tasks.iter().map(|task| format!("{meta}:{task}")).collect();
        let mut pipe = redis::pipe();
        pipe.hdel(&data, tasks).ignore().unlink(keys).ignore();
        pipe.query_async::<()>(&mut connection).await?;
    }
    Ok(gone.len() + left.len())
}

/// Splits registrations (`<worker>/<start of taking jobs>/<build>`) into those that stay and those of
/// workers that are gone, or that have registered anew since.
fn sorted(registered: Vec<String>, alive: &HashSet<Uuid>) -> (Vec<String>, Vec<String>) {
    let of = |name: &str| {
        let mut parts = name.split('/');
        let worker = parts.next()?.parse::<Uuid>().ok()?;
        Some((worker, (parts.next()?.parse::<Uuid>().ok()?, parts.next()?.parse::<u32>().ok()?)))
    };
    let mut newest: HashMap<Uuid, (Uuid, u32)> = HashMap::new();
    for (worker, turn) in registered.iter().filter_map(|name| of(name)) {
        let known = newest.entry(worker).or_insert(turn);
        *known = turn.max(*known);
    }
    registered.into_iter().partition(|name| {
        of(name).is_some_and(|(worker, turn)| alive.contains(&worker) && newest.get(&worker) == Some(&turn))
    })
}

/// Whether a task was pushed long ago, by its id, which is a UUIDv7. A task with another name is not ours.
fn is_old(task: &str) -> bool {
    let Some(pushed) = task.parse::<Uuid>().ok().and_then(|id| id.get_timestamp()) else {
        return true;
    };
    let (seconds, _) = pushed.to_unix();
    let now = u64::try_from(crate::clock::now().timestamp()).unwrap_or(0);
    seconds + LEFT_AFTER.as_secs() < now
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_registration_of_a_living_worker_stays() {
        let (living, dead, first, second) = (Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7());
        let newest = format!("{living}/{second}/2");
        let others = vec![
            format!("{living}/{first}/3"),
            format!("{living}/{second}/1"),
            format!("{dead}/{first}/1"),
            "another-worker".to_owned(),
        ];
        let registered = [vec![newest.clone()], others.clone()].concat();
        assert_eq!(sorted(registered, &HashSet::from([living])), (vec![newest], others));
    }

    #[test]
    fn a_task_that_was_just_pushed_is_not_left_over() {
        assert!(!is_old(&Uuid::now_v7().to_string()));
        assert!(is_old("018f3c1e-7b00-7000-8000-000000000000"));
    }
}

//! The cost of each common rule for a request: the difference of two medians, on one
//! connection at a time so that requests don't wait for each other. Where a header makes the difference, the two
//! requests take turns one by one; where a setting does, in blocks.

use std::time::Duration;

use jobs::Database;

use super::{
    load::{Connection, Target},
    ours::Millrace,
};
use crate::{
    Failure,
    figure::{median, print, quantile},
    generous_limits,
};

/// Requests of each of the two, when they take turns.
const PAIRS: usize = 1500;
/// Blocks of each of the two.
const BLOCKS: usize = 5;
/// How long a block is measured.
const BLOCK: Duration = Duration::from_millis(1500);

/// What every audited change calls.
const AUDIT: &str = "shard_api.append_audit(uuid, jsonb, text, text, uuid, jsonb)";

pub async fn measure(mut millrace: Millrace) -> Result<(), Failure> {
    let costs = [
        ("rate_limit", rate_limit(&mut millrace).await?),
        // Without limits from here on, so that none is part of another difference.
        ("authentication", in_turns(&millrace.refused_when_known(), &millrace.refused_when_unknown()).await?),
        ("idempotency", in_turns(&millrace.write_once(), &millrace.write()).await?),
        ("audit", audit(&millrace).await?),
    ];
    generous_limits(&millrace.database).await?;
    for (name, cost) in costs {
        print("api", &format!("{name}_adds_p50_ms"), cost, "ms");
    }
    print("api", "rules_add_p50_ms", costs.iter().map(|(_, cost)| cost).sum(), "ms");
    millrace.stop()
}

/// How much longer the first takes than the second, in milliseconds.
async fn in_turns(with: &Target, without: &Target) -> Result<f64, Failure> {
    let mut both = [Connection::open(with).await?, Connection::open(without).await?];
    let mut waits = [Vec::new(), Vec::new()];
    for n in 0..PAIRS * 2 {
        let wait = both[n % 2].ask().await?;
        // The first quarter warms up.
        if n > PAIRS / 2 {
            waits[n % 2].push(wait);
        }
    }
    let [with, without] = waits.map(middle);
    Ok(with - without)
}

fn middle(mut waits: Vec<f64>) -> f64 {
    waits.sort_by(f64::total_cmp);
    quantile(&waits, 0.5)
}

/// Reading oneself, with limits that are never reached and without any. Ends without.
async fn rate_limit(millrace: &mut Millrace) -> Result<f64, Failure> {
    let rows = "create temp table rows as select * from control.rate_limits";
    let mut rows_kept = millrace.database.pool.acquire().await?;
    sqlx::raw_sql(rows).execute(&mut *rows_kept).await?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        sqlx::raw_sql("insert into control.rate_limits select * from rows on conflict do nothing")
            .execute(&mut *rows_kept)
            .await?;
        millrace.restart_api().await?;
        with.push(millrace.me().load(1, BLOCK).await?.p50);
        sqlx::raw_sql("delete from control.rate_limits").execute(&mut *rows_kept).await?;
        millrace.restart_api().await?;
        without.push(millrace.me().load(1, BLOCK).await?.p50);
    }
    Ok(median(&mut with) - median(&mut without))
}

/// Writing a record, with its entry in the audit and without.
async fn audit(millrace: &Millrace) -> Result<f64, Failure> {
    let pool = &millrace.database.pool;
    let as_it_is: String = sqlx::query_scalar("select pg_get_functiondef($1::text::regprocedure)")
        .bind(AUDIT)
        .fetch_one(pool)
        .await?;
    let blocks = audit_in_blocks(millrace, &as_it_is).await;
    define(&millrace.database, &as_it_is).await?;
    blocks
}

async fn audit_in_blocks(millrace: &Millrace, as_it_is: &str) -> Result<f64, Failure> {
    // The same head with a body that does nothing.
    let head = as_it_is.split_once("AS $function$").ok_or("not a function as PostgreSQL shows one")?.0;
    let silent = format!("{head} AS 'begin end'");
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..BLOCKS {
        define(&millrace.database, as_it_is).await?;
        with.push(millrace.write().load(1, BLOCK).await?.p50);
        define(&millrace.database, &silent).await?;
        without.push(millrace.write().load(1, BLOCK).await?.p50);
    }
    Ok(median(&mut with) - median(&mut without))
}

async fn define(database: &Database, function: &str) -> Result<(), Failure> {
    sqlx::raw_sql(sqlx::AssertSqlSafe(function.to_owned())).execute(&database.pool).await?;
    Ok(())
}

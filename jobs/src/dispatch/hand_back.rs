//! Makes room: when a tenant has no running job and has waited a second for a slot, a job of the largest
//! holder that can checkpoint is signalled to hand back.

use std::{collections::HashMap, time::Duration};

use uuid::Uuid;

use super::{lanes::Running, turns::Holding};
use crate::{Database, JobId, Pool, ledger::interval};

/// Minimum running time of a holder's last job of a pool before it has to share the slot in turns.
const SLICE: Duration = Duration::from_secs(30);

/// Signals one job to hand back, of the tenant that holds the most for its weight. A tenant that would be
/// left with none keeps its slot for [`SLICE`]. Answers the signalled job.
pub(crate) async fn ask(
    database: &Database,
    pool: Pool,
    running: &HashMap<Uuid, Running>,
    holdings: &HashMap<Uuid, Holding>,
) -> Result<Option<JobId>, sqlx::Error> {
    let share = |tenant: &Uuid, jobs: usize| {
        let weight = holdings.get(tenant).map_or(1, |holding| holding.weight.max(1));
        #[allow(clippy::cast_precision_loss)]
        let share = jobs as f64 / f64::from(weight);
        share
    };
    let mut holders: Vec<_> = running.iter().filter(|(_, r)| r.jobs > r.leaving).collect();
    holders.sort_by(|(a, held_by_a), (b, held_by_b)| {
        share(b, held_by_b.jobs).total_cmp(&share(a, held_by_a.jobs))
    });
    for (tenant, held) in holders {
        let slice = if held.jobs > 1 { Duration::ZERO } else { SLICE };
        let asked = sqlx::query_scalar!(
            "update jobs
                set hand_back = true
              where id = (select j.id from jobs j
                           where j.id in (select id from running_jobs
                                           where pool = $1 and tenant = $2 and checkpoints and not hand_back
                                             and not cancel_requested and claimed_at <= now() - $3::interval)
                             and j.state = 'running' and not j.hand_back and not j.cancel_requested
                           order by j.claimed_at desc
                           limit 1
                             for update skip locked)
             returning id",
            pool.name(),
            tenant,
            interval(slice),
        )
        .fetch_optional(&database.pool)
        .await?;
        if let Some(id) = asked {
            let told = redis::cmd("PUBLISH")
                .arg(database.bus.control_channel())
                .arg(format!("{id} hand-back"))
                .query_async::<()>(&mut database.bus.connection())
                .await;
            if let Err(error) = told {
                tracing::debug!(%error, "the worker will find the request in the ledger");
            }
            return Ok(Some(JobId(id)));
        }
    }
    Ok(None)
}

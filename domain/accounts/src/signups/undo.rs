//! Taking a sign-up back that has failed for good: what it reserved is free again, and of what it made nothing
//! is left that anybody could enter.

use domain::{UserId, WorkspaceId, workspace_schema};
use jobs::{Database, Tx};

use super::{Signup, SignupId};
use crate::stripe::StripeInviteId;

/// Gives the address and the invite free again: the job will not make an account of them.
pub async fn abandon(database: &Database, id: SignupId) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    sweep(&mut tx, &[id]).await?;
    tx.commit().await
}

/// The same for a sign-up that has made something already: its schema goes first, so that a kill in between
/// leaves a sign-up that is made, or taken back, from the beginning.
pub async fn undo(database: &Database, signup: &Signup) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    workspace_schema::remove(&mut tx, signup.workspace_id).await?;
    tx.commit().await?;
    abandon(database, signup.id).await
}

/// Takes back what holds an address although its job has ended without success. A schema that it made stays,
/// entered by nobody: this is within somebody's request.
pub(super) async fn give_back(tx: &mut Tx, email_key: &str) -> Result<(), sqlx::Error> {
    let failed = sqlx::query_scalar!(
        "select s.id from signups s join finished_jobs f on f.id = s.job_id
          where s.email_key = $1 and s.state = 'pending' and f.state in ('failed', 'cancelled')",
        email_key,
    )
    .fetch_all(tx.conn())
    .await?;
    if failed.is_empty() { Ok(()) } else { sweep(tx, &failed).await }
}

/// Takes back what sign-ups hold that will never be made: the addresses, the invites, and workspaces and accounts that
/// nobody has entered.
pub(crate) async fn sweep(tx: &mut Tx, ids: &[SignupId]) -> Result<(), sqlx::Error> {
    let abandoned = sqlx::query!(
        "update signups set state = 'abandoned', password_hash = null
          where id = any($1) and state = 'pending'
         returning user_id, makes_user, workspace_id, stripe_invite_id",
        ids as &[SignupId],
    )
    .fetch_all(tx.conn())
    .await?;
    let invites: Vec<StripeInviteId> =
        abandoned.iter().filter_map(|signup| signup.stripe_invite_id).collect();
    sqlx::query!(
        "update stripe_invites set used_at = null where id = any($1)",
        &invites as &[StripeInviteId]
    )
    .execute(tx.conn())
    .await?;
    let workspaces: Vec<WorkspaceId> = abandoned.iter().map(|signup| signup.workspace_id).collect();
    sqlx::query!(
        "delete from workspaces where id = any($1) and state = 'provisioning'",
        &workspaces as &[WorkspaceId]
    )
    .execute(tx.conn())
    .await?;
    let users: Vec<UserId> =
        abandoned.iter().filter(|signup| signup.makes_user).map(|signup| signup.user_id).collect();
    // Held first, so that the next statement sees what whoever held them before has committed.
    sqlx::query!("select id from users where id = any($1) for update", &users as &[UserId])
        .fetch_all(tx.conn())
        .await?;
    sqlx::query!(
        "delete from users u
          where u.id = any($1)
            and not exists (select from memberships m where m.user_id = u.id)
            and not exists (select from invitations i where i.email_key = u.email_key and i.cancelled_at is null)
            and not exists (select from sessions s where s.user_id = u.id)
            and not exists (select from signups p where p.user_id = u.id and p.state = 'pending')",
        &users as &[UserId],
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

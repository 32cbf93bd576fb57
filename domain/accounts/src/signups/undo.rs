//! Undoing a sign-up that has failed finally: its reservations are released, and nothing that it created
//! remains accessible.

use domain::{UserId, WorkspaceId, workspace_schema};
use jobs::{Database, Tx};

use super::{Signup, SignupId};
use crate::stripe::StripeInviteId;

/// Releases the address and the invite: the job will create no account of them.
pub async fn abandon(database: &Database, id: SignupId) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    sweep(&mut tx, &[id]).await?;
    tx.commit().await
}

/// The same for a sign-up that has created something already: its schema is removed first, so that a kill in between
/// leaves a sign-up that can be completed, or undone, from the start.
pub async fn undo(database: &Database, signup: &Signup) -> Result<(), sqlx::Error> {
    let mut tx = database.begin().await?;
    workspace_schema::remove(&mut tx, signup.workspace_id).await?;
    tx.commit().await?;
    abandon(database, signup.id).await
}

/// Undoes a sign-up that holds an address although its job has ended without success. A schema that it created stays,
/// inaccessible: this runs within another request.
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

/// Undoes sign-ups that will never be completed: their addresses, their invites, and workspaces and accounts without
/// a sign-in.
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
    // Locked first, so that the next statement sees what the previous holders of the locks have committed.
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

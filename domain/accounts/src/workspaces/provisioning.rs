//! The steps by which a sign-up becomes an account with a workspace. Each looks at what is there
//! first, so that it can be run again after a kill at any line; `workers` runs them in order. Paying is a
//! step of its own ([`start_billing`]), and so is the end ([`finish()`]).

mod billing;
mod finish;

pub use billing::start_billing;
pub use finish::finish;

use domain::{
    Actor, EntityError, Event, MemberId, WorkspaceDb, WorkspaceId,
    access::Role,
    audit::{self, Entry},
    migrations::{self, MigrationError},
    workspace_schema,
};
use jobs::Database;
use runtime::stripe::{NotConfigured, StripeError};
use serde_json::json;
use sqlx::migrate::MigrateError;

use super::slug;
use crate::signups::Signup;

/// Why a sign-up can't be finished, for good.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    /// Somebody else has the address by now.
    #[error("there is an account with this email address already")]
    EmailTaken,
    /// It was given up meanwhile.
    #[error("the sign-up was given up")]
    Abandoned,
    /// Stripe did not do as it was asked.
    #[error(transparent)]
    Stripe(#[from] StripeError),
    /// It is to be paid, and this process can't ask for that.
    #[error(transparent)]
    NotConfigured(#[from] NotConfigured),
    /// The schema's migrations failed.
    #[error(transparent)]
    Migration(MigrationError),
    /// What a workspace starts with is not valid, which would be a bug.
    #[error(transparent)]
    Seed(EntityError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<MigrationError> for ProvisioningError {
    /// A database that fails in a migration fails like in any other step: it may have been away.
    fn from(error: MigrationError) -> Self {
        match error {
            MigrationError::Database(error)
            | MigrationError::Failed {
                source: MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _),
                ..
            } => Self::Database(error),
            other => Self::Migration(other),
        }
    }
}

/// The account. Someone else has the address only if, after all that was under way has ended, the account
/// is not ours: an insert that conflicts may have met a killed attempt's, whose row only a later statement
/// can see. The address is verified only where a code that was mailed there was needed to sign up.
pub async fn create_user(
    database: &Database,
    signup: &Signup,
    actor: &Actor,
) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    let created = sqlx::query!(
        "insert into users (id, email, email_key, email_verified_at, name, password_hash, clerk_id, activated_at)
         select user_id, email, email_key, case when door = 'stripe_invite' then now() end, full_name,
                password_hash, clerk_id, now()
           from signups
          where id = $1 and password_hash is not null
         on conflict do nothing",
        signup.id.0,
    )
    .execute(tx.conn())
    .await?;
    if created.rows_affected() == 1 {
        let entry = Entry::new("user", "created", signup.user_id, json!({ "by": "signup" }));
        audit::record(&mut tx, None, actor, entry).await?;
    }
    tx.commit().await?;
    let is_ours = sqlx::query_scalar!(
        r#"select exists (select from users where id = $1) as "there!""#,
        signup.user_id.0,
    )
    .fetch_one(&database.pool)
    .await?;
    if is_ours { Ok(()) } else { Err(ProvisioningError::EmailTaken) }
}

/// The workspace's row, with what has been paid for it, and its owner's membership. It isn't entered before
/// it is ready.
pub async fn create_workspace(database: &Database, signup: &Signup) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    let plain = slug::of_name(&signup.company_name);
    // The second is free unless someone has guessed an id.
    for slug in [plain.clone(), format!("{plain}-{}", &signup.workspace_id.0.simple().to_string()[20..])] {
        sqlx::query!(
            "insert into workspaces (id, name, slug, plan, stripe_customer_id, stripe_subscription_id)
             select s.workspace_id, s.company_name, $2, coalesce(i.plan, 'free'), i.stripe_customer_id,
                    i.stripe_subscription_id
               from signups s left join stripe_invites i on i.id = s.stripe_invite_id
              where s.id = $1
             on conflict do nothing",
            signup.id.0,
            slug,
        )
        .execute(tx.conn())
        .await?;
    }
    sqlx::query!(
        "insert into memberships (id, workspace_id, user_id, role) values ($1, $2, $3, $4)
         on conflict do nothing",
        MemberId::new().0,
        signup.workspace_id.0,
        signup.user_id.0,
        Role::Owner.name(),
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(())
}

/// The schema, its roles and grants.
pub async fn create_schema(database: &Database, workspace: WorkspaceId) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    workspace_schema::create(&mut tx, workspace).await?;
    tx.commit().await?;
    Ok(())
}

/// The tables.
pub async fn run_migrations(database: &Database, workspace: WorkspaceId) -> Result<(), ProvisioningError> {
    Ok(migrations::migrate_workspace(&database.pool.connect_options(), workspace).await?)
}

/// The owner's member, which has the membership's id.
pub async fn create_member(
    database: &Database,
    signup: &Signup,
    actor: Actor,
) -> Result<(), ProvisioningError> {
    let membership = sqlx::query_scalar!(
        "select id from memberships where workspace_id = $1 and user_id = $2",
        signup.workspace_id.0,
        signup.user_id.0,
    )
    .fetch_one(&database.pool)
    .await?;
    let mut db = WorkspaceDb::write(database, signup.workspace_id, actor).await?;
    let created = sqlx::query_scalar!(
        "insert into members (id, user_id, name, email) values ($1, $2, $3, $4)
         on conflict (user_id) do nothing returning id",
        membership.0,
        signup.user_id.0,
        signup.full_name,
        signup.email,
    )
    .fetch_optional(db.conn())
    .await?;
    if let Some(member) = created {
        db.record(Event::new("member", "created", member, json!({ "user_id": signup.user_id }))).await?;
    }
    db.commit().await?;
    Ok(())
}

/// What a new workspace starts with, where the sign-up asks for that: `seed` makes it, if an attempt before has not.
pub async fn seed_defaults(
    database: &Database,
    signup: &Signup,
    actor: Actor,
    seed: impl AsyncFnOnce(&mut WorkspaceDb) -> Result<(), EntityError>,
) -> Result<(), ProvisioningError> {
    if signup.skip_seed {
        return Ok(());
    }
    let mut db = WorkspaceDb::write(database, signup.workspace_id, actor).await?;
    match seed(&mut db).await {
        // An attempt before this one has made it.
        Ok(()) | Err(EntityError::Taken(_)) => {}
        // The plan has no room for it, and a workspace is made without.
        Err(EntityError::LimitExceeded(_)) => return Ok(()),
        Err(EntityError::Database(error)) => return Err(error.into()),
        Err(error) => return Err(ProvisioningError::Seed(error)),
    }
    db.commit().await?;
    Ok(())
}

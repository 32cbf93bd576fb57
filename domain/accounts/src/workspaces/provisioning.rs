//! The steps from a sign-up to an account with a workspace. Each checks the present state
//! first, so that it can be repeated after a kill at any line; `workers` runs them in order. Billing is a
//! step of its own ([`start_billing`]), and so is the end ([`finish()`]).

mod billing;
mod finish;

pub use billing::start_billing;
pub use finish::finish;

use domain::{
    Actor, Error, ErrorKind, Event, MemberId, WorkspaceDb, WorkspaceId,
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

/// The reason why a sign-up fails finally.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    /// Another account has the address by now.
    #[error("an account with this email address already exists")]
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
    /// The initial content of the workspace could not be created.
    #[error(transparent)]
    Seed(Error),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl From<MigrationError> for ProvisioningError {
    /// A database failure in a migration is like one in any other step: temporary.
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

/// Creates the account. Another account has the address only if, after all concurrent transactions have ended, the
/// account is not ours: an insert that conflicts may have met a killed attempt's, whose row only a later statement
/// can see. The address is verified only if a code that was sent there was needed to sign up.
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

/// Creates the workspace's row, with its paid plan, and its owner's membership. It can't be entered before
/// it is ready.
pub async fn create_workspace(database: &Database, signup: &Signup) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    let plain = slug::of_name(&signup.company_name);
    // The second is free unless an id was guessed.
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

/// Creates the schema, its roles and grants.
pub async fn create_schema(database: &Database, workspace: WorkspaceId) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    workspace_schema::create(&mut tx, workspace).await?;
    tx.commit().await?;
    Ok(())
}

/// Creates the tables.
pub async fn run_migrations(database: &Database, workspace: WorkspaceId) -> Result<(), ProvisioningError> {
    Ok(migrations::migrate_workspace(&database.pool.connect_options(), workspace).await?)
}

/// Creates the owner's member, which has the membership's id.
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

/// Creates the default content of a new workspace, where the sign-up asks for it: `seed` does so, unless a previous
/// attempt has.
pub async fn seed_defaults(
    database: &Database,
    signup: &Signup,
    actor: Actor,
    seed: impl AsyncFnOnce(&mut WorkspaceDb) -> Result<(), Error>,
) -> Result<(), ProvisioningError> {
    if signup.skip_seed {
        return Ok(());
    }
    let mut db = WorkspaceDb::write(database, signup.workspace_id, actor).await?;
    match seed(&mut db).await {
        Ok(()) => {}
        Err(error) => match error.kind() {
            // A previous attempt has created it.
            ErrorKind::Conflict(_) => {}
            // The plan has no room for it, and the workspace is created without.
            ErrorKind::LimitExceeded => return Ok(()),
            _ => return Err(ProvisioningError::Seed(error)),
        },
    }
    db.commit().await?;
    Ok(())
}

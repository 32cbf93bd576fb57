//! The steps by which a sign-up becomes an account with a workspace. Each looks at what is there
//! first, so that it can be run again after a kill at any line; `workers` runs them in order.

use jobs::{Database, NewJob, Origin, Tx, kinds::SendMail};
use serde_json::json;
use sqlx::migrate::MigrateError;
use uuid::Uuid;

use super::slug;
use crate::{
    Actor, Event, UserId, WorkspaceDb, WorkspaceId,
    access::Role,
    mail::{Brand, Letter},
    migrations,
    migrations::MigrationError,
    signups::Signup,
    workspaces::schema,
};

/// Why a sign-up can't be finished, for good.
#[derive(Debug, thiserror::Error)]
pub enum ProvisioningError {
    /// Somebody else has the address by now.
    #[error("there is an account with this email address already")]
    EmailTaken,
    /// The schema's migrations failed.
    #[error(transparent)]
    Migration(MigrationError),
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
/// can see.
pub async fn create_user(database: &Database, signup: &Signup) -> Result<(), ProvisioningError> {
    sqlx::query!(
        "insert into users (id, email, name, password_hash, activated_at)
         select user_id, email, full_name, password_hash, now() from signups
          where id = $1 and password_hash is not null
         on conflict do nothing",
        signup.id,
    )
    .execute(&database.pool)
    .await?;
    let is_ours = sqlx::query_scalar!(
        r#"select exists (select from users where id = $1) as "there!""#,
        signup.user_id,
    )
    .fetch_one(&database.pool)
    .await?;
    if is_ours { Ok(()) } else { Err(ProvisioningError::EmailTaken) }
}

/// The workspace's row and its owner's membership. It isn't entered before it is ready.
pub async fn create_workspace(database: &Database, signup: &Signup) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    let plain = slug::of_name(&signup.company_name);
    // The second is free unless someone has guessed an id.
    for slug in [plain.clone(), format!("{plain}-{}", &signup.workspace_id.simple().to_string()[20..])] {
        sqlx::query!(
            "insert into workspaces (id, name, slug) values ($1, $2, $3) on conflict do nothing",
            signup.workspace_id,
            signup.company_name,
            slug,
        )
        .execute(tx.conn())
        .await?;
    }
    sqlx::query!(
        "insert into memberships (id, workspace_id, user_id, role) values ($1, $2, $3, $4)
         on conflict do nothing",
        Uuid::now_v7(),
        signup.workspace_id,
        signup.user_id,
        Role::Owner.name(),
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(())
}

/// The schema, its roles and grants.
pub async fn create_schema(database: &Database, workspace: Uuid) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    schema::create(&mut tx, WorkspaceId(workspace)).await?;
    tx.commit().await?;
    Ok(())
}

/// The tables.
pub async fn run_migrations(database: &Database, workspace: Uuid) -> Result<(), ProvisioningError> {
    Ok(migrations::migrate_workspace(&database.pool.connect_options(), WorkspaceId(workspace)).await?)
}

/// The owner's member, which has the membership's id.
pub async fn create_member(
    database: &Database,
    signup: &Signup,
    actor: Actor,
) -> Result<(), ProvisioningError> {
    let membership = sqlx::query_scalar!(
        "select id from memberships where workspace_id = $1 and user_id = $2",
        signup.workspace_id,
        signup.user_id,
    )
    .fetch_one(&database.pool)
    .await?;
    let mut db = WorkspaceDb::write(database, WorkspaceId(signup.workspace_id), actor).await?;
    let created = sqlx::query_scalar!(
        "insert into members (id, user_id, name, email) values ($1, $2, $3, $4)
         on conflict (user_id) do nothing returning id",
        membership,
        signup.user_id,
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

/// What a new workspace starts with.
pub async fn seed_defaults(
    database: &Database,
    signup: &Signup,
    actor: Actor,
) -> Result<(), ProvisioningError> {
    let mut db = WorkspaceDb::write(database, WorkspaceId(signup.workspace_id), actor).await?;
    sqlx::query!(
        "insert into settings (key, value) values ('general', $1) on conflict (key) do nothing",
        json!({ "locale": "en", "time_zone": "UTC" }),
    )
    .execute(db.conn())
    .await?;
    db.commit().await?;
    Ok(())
}

/// Opens the workspace, ends the sign-up, forgets the password's second copy and welcomes the person,
/// in one commit. Does nothing when that has happened before.
pub async fn finish(database: &Database, signup: &Signup, origin: Origin) -> Result<(), ProvisioningError> {
    let mut tx = database.begin().await?;
    let ended = sqlx::query!(
        "update signups set state = 'completed', password_hash = null where id = $1 and state = 'pending'",
        signup.id,
    )
    .execute(tx.conn())
    .await?;
    if ended.rows_affected() == 0 {
        return Ok(());
    }
    sqlx::query!(
        "update workspaces set state = 'ready', updated_at = now() where id = $1",
        signup.workspace_id,
    )
    .execute(tx.conn())
    .await?;
    announce(&mut tx, signup).await?;
    let mail = welcome(signup);
    // Of the installation, not of the workspace: nobody there has it in their list to cancel.
    jobs::enqueue(&mut tx, NewJob::new(&mail).origin(origin)).await?;
    tx.commit().await?;
    Ok(())
}

async fn announce(tx: &mut Tx, signup: &Signup) -> Result<(), sqlx::Error> {
    let actor = Actor { user_id: Some(UserId(signup.user_id)), ..Actor::default() };
    sqlx::query!(
        "select append_event($1, 'workspace.created', $2, 'workspace', $1, null, $3)",
        signup.workspace_id,
        serde_json::to_value(actor).map_err(|error| sqlx::Error::Encode(error.into()))?,
        json!({ "name": signup.company_name }),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

fn welcome(signup: &Signup) -> SendMail {
    let letter = Letter {
        to: signup.email.clone(),
        name: signup.full_name.clone(),
        subject: format!("Your workspace {} is ready", signup.company_name),
        lines: vec![format!(
            "your workspace \"{}\" is ready. You are its owner: sign in with this email address and the \
             password that you chose.",
            signup.company_name
        )],
        action: None,
        after: vec![],
    };
    letter.dressed(&Brand::default())
}

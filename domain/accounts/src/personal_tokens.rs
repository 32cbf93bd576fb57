//! Personal tokens: how programs of a person come in, wherever that person may, or in one workspace. A person
//! makes read-only ones; what one may do beyond that is granted by the operator. Shown once, kept as a hash.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Email, Error, FieldErrors, UserId, WorkspaceId,
    access::Scope,
    audit::{self, Entry},
    callers::{Authority, PERSONAL_TOKEN_PREFIX, scopes},
    networks, secret,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::signups;

/// Tokens of one person that are neither revoked nor expired.
pub const MOST_LIVE: i64 = 50;

/// A personal token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PersonalToken {
    /// Its id.
    pub id: Uuid,
    /// The person.
    pub user_id: Uuid,
    /// The only workspace that it is good in; none: all of the person's.
    pub workspace_id: Option<Uuid>,
    /// What it is called.
    pub name: String,
    /// Its first characters, by which people tell tokens apart.
    pub prefix: String,
    /// What it may do: `read`, unless it was granted more.
    pub scopes: Vec<Scope>,
    /// Networks that it may be used from; empty: from anywhere.
    pub ip_allowlist: Vec<String>,
    /// When it is over by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Since when there is this token.
    pub created_at: DateTime<Utc>,
    /// When it was revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A token to make.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct NewToken {
    /// What it is called: one line, at most 200 characters.
    pub name: String,
    /// The only workspace that it is to be good in.
    pub workspace_id: Option<Uuid>,
    /// When it is over by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Addresses, and networks in CIDR notation, that it may be used from; at most 100. Empty: from anywhere.
    #[oai(default)]
    pub ip_allowlist: Vec<String>,
}

/// A row, as it is read.
struct Row {
    id: Uuid,
    user_id: Uuid,
    workspace_id: Option<Uuid>,
    name: String,
    prefix: String,
    scopes: Vec<String>,
    ip_allowlist: Vec<String>,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    created_at: DateTime<Utc>,
    revoked_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for PersonalToken {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: row.id,
            user_id: row.user_id,
            workspace_id: row.workspace_id,
            name: row.name,
            prefix: row.prefix,
            scopes: scopes(&row.scopes)?,
            ip_allowlist: row.ip_allowlist,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
    }
}

/// A person's tokens that were not revoked, the newest first.
pub async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<PersonalToken>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select id, user_id, workspace_id, name, prefix, scopes, ip_allowlist, expires_at, last_used_at,
                created_at, revoked_at
           from personal_tokens where user_id = $1 and revoked_at is null order by id desc limit 500",
        user.0,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(PersonalToken::try_from).collect()
}

/// The tokens of whoever has an address, revoked ones too, the newest first.
pub async fn by_email(conn: &mut PgConnection, email: &str) -> Result<Vec<PersonalToken>, sqlx::Error> {
    let rows = sqlx::query_as!(
        Row,
        "select t.id, t.user_id, t.workspace_id, t.name, t.prefix, t.scopes, t.ip_allowlist, t.expires_at,
                t.last_used_at, t.created_at, t.revoked_at
           from personal_tokens t join users u on u.id = t.user_id
          where u.email_key = $1 order by t.id desc limit 500",
        Email::key_of(email),
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(PersonalToken::try_from).collect()
}

/// Revokes all of a person's tokens; answers what they are called.
pub(crate) async fn revoke_all(tx: &mut Tx, user: UserId, actor: &Actor) -> Result<Vec<String>, sqlx::Error> {
    let revoked = sqlx::query!(
        "update personal_tokens set revoked_at = now() where user_id = $1 and revoked_at is null
         returning id, name",
        user.0,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut names = Vec::with_capacity(revoked.len());
    for token in revoked {
        audit::record(tx, None, actor, Entry::new("personal_token", "revoked", token.id, json!({}))).await?;
        names.push(token.name);
    }
    Ok(names)
}

async fn get(conn: &mut PgConnection, id: Uuid) -> Result<PersonalToken, Error> {
    let row = sqlx::query_as!(
        Row,
        "select id, user_id, workspace_id, name, prefix, scopes, ip_allowlist, expires_at, last_used_at,
                created_at, revoked_at
           from personal_tokens where id = $1",
        id,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.ok_or_else(Error::not_found)?.try_into()?)
}

/// Makes a read-only token for the acting person, good in the workspace that they have authority in, or in all of
/// theirs. Answers it, and its secret, which is shown now and never again.
///
/// # Errors
/// `record_invalid` with all that is wrong, `limit_exceeded`, `forbidden`.
pub async fn create(
    tx: &mut Tx,
    user: UserId,
    actor: &Actor,
    within: Option<&Authority>,
    new: NewToken,
) -> Result<(PersonalToken, String), Error> {
    // It would outlive what the member of staff was let in for.
    if actor.impersonator_id.is_some() {
        return Err(Error::forbidden("whoever acts as somebody else makes no tokens for them"));
    }
    let mut errors = FieldErrors::new();
    let mut note = |field: &str, reason: &str| errors.insert(field.to_owned(), vec![reason.to_owned()]);
    let name = signups::name(&new.name).unwrap_or_else(|reason| {
        note("name", reason);
        String::new()
    });
    if new.expires_at.is_some_and(|at| at <= jobs::clock::now()) {
        note("expires_at", "must be in the future");
    }
    let workspace = within.map(|authority| authority.workspace().0);
    if new.workspace_id != workspace {
        note("workspace_id", "is none of the caller's workspaces");
    }
    let ip_allowlist = networks::checked(&new.ip_allowlist, "ip_allowlist", &mut errors);
    if !errors.is_empty() {
        return Err(Error::invalid_fields(errors));
    }
    make_room(tx, user).await?;
    let (id, secret) = (Uuid::now_v7(), format!("{PERSONAL_TOKEN_PREFIX}{}", secret::generate()));
    let shown: String = secret.chars().take(secret::SHOWN).collect();
    sqlx::query!(
        "insert into personal_tokens (id, user_id, workspace_id, name, prefix, hash, ip_allowlist, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        id,
        user.0,
        workspace,
        name,
        shown,
        secret::hash(&secret),
        &ip_allowlist,
        new.expires_at,
    )
    .execute(tx.conn())
    .await?;
    let told = json!({ "name": name, "prefix": shown, "expires_at": new.expires_at });
    let entry = Entry::new("personal_token", "created", id, told);
    audit::record(tx, workspace.map(WorkspaceId), actor, entry).await?;
    Ok((get(tx.conn(), id).await?, secret))
}

/// Sees to it that there is room for one more token, until the transaction is over.
async fn make_room(tx: &mut Tx, user: UserId) -> Result<(), Error> {
    sqlx::query!("select id from users where id = $1 for no key update", user.0)
        .fetch_optional(tx.conn())
        .await?;
    let live = sqlx::query_scalar!(
        r#"select count(*) as "live!" from personal_tokens
            where user_id = $1 and revoked_at is null and (expires_at is null or expires_at > now())"#,
        user.0,
    )
    .fetch_one(tx.conn())
    .await?;
    if live >= MOST_LIVE {
        return Err(Error::limit_exceeded(format!(
            "a person has at most {MOST_LIVE} personal tokens at a time"
        )));
    }
    Ok(())
}

/// Ends one of a person's tokens for good.
///
/// # Errors
/// `record_not_found`, also for one that was revoked before.
pub async fn revoke(tx: &mut Tx, user: UserId, actor: &Actor, id: Uuid) -> Result<(), Error> {
    let gone = sqlx::query!(
        "update personal_tokens set revoked_at = now()
          where id = $1 and user_id = $2 and revoked_at is null returning workspace_id, name, prefix",
        id,
        user.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let entry =
        Entry::new("personal_token", "revoked", id, json!({ "name": gone.name, "prefix": gone.prefix }));
    Ok(audit::record(tx, gone.workspace_id.map(WorkspaceId), actor, entry).await?)
}

/// Says what a token may do: for the operator.
///
/// # Errors
/// `record_not_found`, `token_revoked`; `record_invalid` without a scope.
pub async fn grant(tx: &mut Tx, actor: &Actor, id: Uuid, granted: &[Scope]) -> Result<PersonalToken, Error> {
    if granted.is_empty() {
        return Err(Error::invalid("scopes", "must have at least one"));
    }
    let names: Vec<_> = Scope::EACH
        .iter()
        .filter(|scope| granted.contains(scope))
        .map(|scope| scope.name().to_owned())
        .collect();
    let changed = sqlx::query!(
        "update personal_tokens set scopes = $2 where id = $1 and revoked_at is null returning workspace_id",
        id,
        &names,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(changed) = changed else {
        get(tx.conn(), id).await?;
        return Err(Error::conflict("token_revoked", "the token is revoked, and stays so"));
    };
    let entry = Entry::new("personal_token", "granted", id, json!({ "scopes": names }));
    audit::record(tx, changed.workspace_id.map(WorkspaceId), actor, entry).await?;
    get(tx.conn(), id).await
}

//! Personal tokens: the credentials of a user's programs, in all of the user's workspaces, or in one. A user
//! creates read-only ones; further scopes are granted by the operator. Shown once, stored as a hash.

use chrono::{DateTime, Utc};
use domain::{
    Actor, Email, Error, FieldErrors, PersonalTokenId, UserId, WorkspaceId,
    access::Scope,
    audit::{self, Entry},
    callers::{Authority, PERSONAL_TOKEN_PREFIX},
    networks, secret,
};
use jobs::Tx;
use poem_openapi::Object;
use serde_json::json;
use sqlx::PgConnection;

use crate::signups;

/// Maximum number of a user's tokens that are neither revoked nor expired.
pub const MAX_ACTIVE_TOKENS: i64 = 50;

/// A personal token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PersonalToken {
    /// Personal token id.
    pub id: PersonalTokenId,
    /// Account id.
    pub user_id: UserId,
    /// Id of the only workspace that the token is valid in; null if it is valid in all of the user's workspaces.
    pub workspace_id: Option<WorkspaceId>,
    /// Name.
    pub name: String,
    /// First characters of the token, for telling tokens apart.
    pub prefix: String,
    /// Granted scopes: `read`, unless more were granted.
    pub scopes: Vec<Scope>,
    /// Networks that the token may be used from; empty for any address.
    pub ip_allowlist: Vec<String>,
    /// Expiry time; null if the token does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// Time of the last use, to the minute; null if the token has not been used.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Revocation time; null if the token is not revoked.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A personal token to create.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct NewToken {
    /// Name: one line, at most 200 characters.
    pub name: String,
    /// Id of the only workspace that the token is valid in; null for all of the user's workspaces.
    pub workspace_id: Option<WorkspaceId>,
    /// Expiry time; null if the token does not expire.
    pub expires_at: Option<DateTime<Utc>>,
    /// IP addresses, and networks in CIDR notation, that the token may be used from; at most 100. Empty for any
    /// address.
    #[oai(default)]
    pub ip_allowlist: Vec<String>,
}

/// Filter of tokens.
#[derive(Debug, Clone, Default)]
struct Filter {
    id: Option<PersonalTokenId>,
    /// Tokens of a user that were not revoked.
    live_of: Option<UserId>,
    /// Tokens of the account with that key of its address.
    email_key: Option<String>,
}

/// At most 500 tokens, the newest first.
async fn find(conn: &mut PgConnection, filter: Filter) -> Result<Vec<PersonalToken>, sqlx::Error> {
    sqlx::query_as!(
        PersonalToken,
        "select t.id, t.user_id, t.workspace_id, t.name, t.prefix, t.scopes, t.ip_allowlist, t.expires_at,
                t.last_used_at, t.created_at, t.revoked_at
           from personal_tokens t join users u on u.id = t.user_id
          where ($1::uuid is null or t.id = $1)
            and ($2::uuid is null or (t.user_id = $2 and t.revoked_at is null))
            and ($3::text is null or u.email_key = $3)
          order by t.id desc limit 500",
        filter.id.map(|id| id.0),
        filter.live_of.map(|id| id.0),
        filter.email_key,
    )
    .fetch_all(conn)
    .await
}

/// A user's tokens that were not revoked, the newest first.
pub async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<PersonalToken>, sqlx::Error> {
    find(conn, Filter { live_of: Some(user), ..Filter::default() }).await
}

/// The tokens of the account with an address, including revoked ones, the newest first.
pub async fn by_email(conn: &mut PgConnection, email: &str) -> Result<Vec<PersonalToken>, sqlx::Error> {
    // A malformed address belongs to no account.
    let Some(email_key) = Email::key_of(email) else { return Ok(Vec::new()) };
    find(conn, Filter { email_key: Some(email_key), ..Filter::default() }).await
}

/// Revokes all of a user's tokens; answers their names.
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

async fn get(conn: &mut PgConnection, id: PersonalTokenId) -> Result<PersonalToken, Error> {
    let found = find(conn, Filter { id: Some(id), ..Filter::default() }).await?;
    found.into_iter().next().ok_or_else(Error::not_found)
}

/// Creates a read-only token for the acting user, valid in the workspace of the given authority, or in all of the
/// user's. Answers it, and its secret, which is shown only now.
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
    // It would outlive the impersonation.
    if actor.impersonator_id.is_some() {
        return Err(Error::forbidden("staff acting as another user cannot create personal tokens"));
    }
    let mut errors = FieldErrors::new();
    let mut note = |field: &str, reason: &str| errors.insert(field.to_owned(), vec![reason.to_owned()]);
    let name = signups::name(&new.name).unwrap_or_else(|reason| {
        note("name", &reason);
        String::new()
    });
    if new.expires_at.is_some_and(|at| at <= jobs::clock::now()) {
        note("expires_at", "must be in the future");
    }
    let workspace = within.map(Authority::workspace);
    if new.workspace_id != workspace {
        note("workspace_id", "is none of the caller's workspaces");
    }
    let ip_allowlist = networks::checked(&new.ip_allowlist, "ip_allowlist", &mut errors);
    if !errors.is_empty() {
        return Err(Error::invalid_fields(errors));
    }
    make_room(tx, user).await?;
    let (id, secret) = (PersonalTokenId::new(), format!("{PERSONAL_TOKEN_PREFIX}{}", secret::generate()));
    let shown: String = secret.chars().take(secret::SHOWN).collect();
    sqlx::query!(
        "insert into personal_tokens (id, user_id, workspace_id, name, prefix, hash, ip_allowlist, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8)",
        id.0,
        user.0,
        workspace.map(|id| id.0),
        name,
        shown,
        secret::hash(&secret),
        &ip_allowlist,
        new.expires_at,
    )
    .execute(tx.conn())
    .await?;
    let details = json!({ "name": name, "prefix": shown, "expires_at": new.expires_at });
    let entry = Entry::new("personal_token", "created", id, details);
    audit::record(tx, workspace, actor, entry).await?;
    Ok((get(tx.conn(), id).await?, secret))
}

/// Ensures that there is room for one more token, until the transaction ends.
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
    if live >= MAX_ACTIVE_TOKENS {
        return Err(Error::limit_exceeded(format!(
            "an account may have at most {MAX_ACTIVE_TOKENS} active personal tokens: revoke one first"
        )));
    }
    Ok(())
}

/// Revokes one of a user's tokens permanently.
///
/// # Errors
/// `record_not_found`, also for one that was revoked before.
pub async fn revoke(tx: &mut Tx, user: UserId, actor: &Actor, id: PersonalTokenId) -> Result<(), Error> {
    let gone = sqlx::query!(
        "update personal_tokens set revoked_at = now()
          where id = $1 and user_id = $2 and revoked_at is null returning workspace_id, name, prefix",
        id.0,
        user.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let entry =
        Entry::new("personal_token", "revoked", id, json!({ "name": gone.name, "prefix": gone.prefix }));
    Ok(audit::record(tx, gone.workspace_id, actor, entry).await?)
}

/// Sets a token's scopes: for the operator.
///
/// # Errors
/// `record_not_found`, `token_revoked`; `record_invalid` without a scope.
pub async fn grant(
    tx: &mut Tx,
    actor: &Actor,
    id: PersonalTokenId,
    granted: &[Scope],
) -> Result<PersonalToken, Error> {
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
        id.0,
        &names,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(changed) = changed else {
        get(tx.conn(), id).await?;
        return Err(Error::conflict("token_revoked", "the token has been revoked: create another one"));
    };
    let entry = Entry::new("personal_token", "granted", id, json!({ "scopes": names }));
    audit::record(tx, changed.workspace_id, actor, entry).await?;
    get(tx.conn(), id).await
}

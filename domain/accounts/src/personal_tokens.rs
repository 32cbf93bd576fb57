//! Personal tokens: how programs of a person come in, wherever that person may, or in one workspace. A person
//! makes read-only ones; what one may do beyond that is granted by the operator. Shown once, kept as a hash.

use chrono::{DateTime, Utc};
use domain::{
    Actor, DomainError, Email, FieldErrors, PersonalTokenId, Refusal, UserId, WorkspaceId,
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

/// Tokens of one person that are neither revoked nor expired.
pub const MOST_LIVE: i64 = 50;

/// A personal token, without the secret.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub struct PersonalToken {
    /// Its id.
    pub id: PersonalTokenId,
    /// The person.
    pub user_id: UserId,
    /// The only workspace that it is good in; none: all of the person's.
    pub workspace_id: Option<WorkspaceId>,
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
    pub workspace_id: Option<WorkspaceId>,
    /// When it is over by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Addresses, and networks in CIDR notation, that it may be used from; at most 100. Empty: from anywhere.
    #[oai(default)]
    pub ip_allowlist: Vec<String>,
}

/// Why something about a token didn't happen.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// There is no such token, or it is somebody else's. 404.
    #[error("there is no such thing here")]
    NotFound,
    /// Values that break a rule, by field. 422.
    #[error("some values are not valid")]
    Invalid(FieldErrors),
    /// It is over for good. 409 `token_revoked`.
    #[error("the token is revoked, and stays so")]
    Revoked,
    /// The person has [`MOST_LIVE`]. 402.
    #[error("a person has at most {MOST_LIVE} personal tokens at a time")]
    TooMany,
    /// Somebody else acts as the person. 403.
    #[error("whoever acts as somebody else makes no tokens for them")]
    Impersonated,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for TokenError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::NotFound => Refusal::NotFound,
            Self::Invalid(errors) => Refusal::Invalid(errors.clone()),
            Self::Revoked => Refusal::Conflict("token_revoked".into()),
            Self::TooMany => Refusal::LimitExceeded,
            Self::Impersonated => Refusal::Forbidden,
            Self::Database(error) => error.refusal(),
        }
    }
}

/// Which tokens.
#[derive(Debug, Clone, Default)]
struct Filter {
    id: Option<PersonalTokenId>,
    /// Those of a person that were not revoked.
    live_of: Option<UserId>,
    /// Those of whoever has the address with that key.
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

/// A person's tokens that were not revoked, the newest first.
pub async fn of_user(conn: &mut PgConnection, user: UserId) -> Result<Vec<PersonalToken>, sqlx::Error> {
    find(conn, Filter { live_of: Some(user), ..Filter::default() }).await
}

/// The tokens of whoever has an address, revoked ones too, the newest first.
pub async fn by_email(conn: &mut PgConnection, email: &str) -> Result<Vec<PersonalToken>, sqlx::Error> {
    // What is no address is nobody's.
    let Some(email_key) = Email::key_of(email) else { return Ok(Vec::new()) };
    find(conn, Filter { email_key: Some(email_key), ..Filter::default() }).await
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

async fn get(conn: &mut PgConnection, id: PersonalTokenId) -> Result<PersonalToken, TokenError> {
    let found = find(conn, Filter { id: Some(id), ..Filter::default() }).await?;
    found.into_iter().next().ok_or(TokenError::NotFound)
}

/// Makes a read-only token for the acting person, good in the workspace that they have authority in, or in all of
/// theirs. Answers it, and its secret, which is shown now and never again.
///
/// # Errors
/// [`TokenError::Invalid`] with all that is wrong, [`TokenError::TooMany`], [`TokenError::Impersonated`].
pub async fn create(
    tx: &mut Tx,
    user: UserId,
    actor: &Actor,
    within: Option<&Authority>,
    new: NewToken,
) -> Result<(PersonalToken, String), TokenError> {
    // It would outlive what the member of staff was let in for.
    if actor.impersonator_id.is_some() {
        return Err(TokenError::Impersonated);
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
    let workspace = within.map(Authority::workspace);
    if new.workspace_id != workspace {
        note("workspace_id", "is none of the caller's workspaces");
    }
    let ip_allowlist = networks::checked(&new.ip_allowlist, "ip_allowlist", &mut errors);
    if !errors.is_empty() {
        return Err(TokenError::Invalid(errors));
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
    let told = json!({ "name": name, "prefix": shown, "expires_at": new.expires_at });
    let entry = Entry::new("personal_token", "created", id, told);
    audit::record(tx, workspace, actor, entry).await?;
    Ok((get(tx.conn(), id).await?, secret))
}

/// Sees to it that there is room for one more token, until the transaction is over.
async fn make_room(tx: &mut Tx, user: UserId) -> Result<(), TokenError> {
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
    if live < MOST_LIVE { Ok(()) } else { Err(TokenError::TooMany) }
}

/// Ends one of a person's tokens for good.
///
/// # Errors
/// [`TokenError::NotFound`], also for one that was revoked before.
pub async fn revoke(tx: &mut Tx, user: UserId, actor: &Actor, id: PersonalTokenId) -> Result<(), TokenError> {
    let gone = sqlx::query!(
        "update personal_tokens set revoked_at = now()
          where id = $1 and user_id = $2 and revoked_at is null returning workspace_id, name, prefix",
        id.0,
        user.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(TokenError::NotFound)?;
    let entry =
        Entry::new("personal_token", "revoked", id, json!({ "name": gone.name, "prefix": gone.prefix }));
    Ok(audit::record(tx, gone.workspace_id, actor, entry).await?)
}

/// Says what a token may do: for the operator.
///
/// # Errors
/// [`TokenError::NotFound`], [`TokenError::Revoked`]; [`TokenError::Invalid`] without a scope.
pub async fn grant(
    tx: &mut Tx,
    actor: &Actor,
    id: PersonalTokenId,
    granted: &[Scope],
) -> Result<PersonalToken, TokenError> {
    if granted.is_empty() {
        let reason = vec!["must have at least one".to_owned()];
        return Err(TokenError::Invalid(FieldErrors::from([("scopes".to_owned(), reason)])));
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
        return Err(TokenError::Revoked);
    };
    let entry = Entry::new("personal_token", "granted", id, json!({ "scopes": names }));
    audit::record(tx, changed.workspace_id, actor, entry).await?;
    get(tx.conn(), id).await
}

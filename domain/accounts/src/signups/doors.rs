//! The requests by which someone comes to a workspace. Each is one transaction: a row of `signups`, what it
//! reserves, and its job.

use domain::{
    Actor, Email, UserId, WorkspaceId,
    audit::{self, Entry},
    secret,
};
use jobs::{JobId, NewJob, Origin, Tx};
use serde_json::json;
use sqlx::PgPool;

use super::{Door, Reader, SignupError, Started, undo};
use crate::signups::SignupId;
use crate::stripe::StripeInviteId;
use crate::{
    job_kinds::ProvisionWorkspace,
    sessions::Client,
    stripe::invites::{self, InviteError},
    users::Password,
};

/// What someone who wants an account says.
#[derive(Debug)]
pub struct NewSignup {
    email: Email,
    password: Password,
    full_name: String,
    company_name: String,
    payment_method_id: Option<String>,
    skip_seed: bool,
}

/// What someone who has paid and wants an account says. What they leave out is as they told Stripe.
#[derive(Debug, Default)]
pub struct NewInvitedSignup {
    /// The invite's code.
    pub invite_code: String,
    /// Needed without an identity at Clerk.
    pub password: Option<String>,
    /// What they are called.
    pub full_name: Option<String>,
    /// What the workspace will be called.
    pub company_name: Option<String>,
    /// Who they are at Clerk, by which they will sign in.
    pub clerk_id: Option<String>,
    /// Whether the workspace begins without an example of a recordset.
    pub skip_seed: bool,
}

/// A workspace that someone who has an account wants.
#[derive(Debug, Clone)]
pub struct NewOwnedWorkspace<'a> {
    /// Who.
    pub owner: UserId,
    /// What it will be called.
    pub name: &'a str,
    /// Whether it begins without an example of a recordset.
    pub skip_seed: bool,
    /// How many workspaces one person may own.
    pub at_most: i64,
    /// The code of an invite by which it is paid already.
    pub invite_code: Option<&'a str>,
}

/// A workspace that staff makes for somebody.
#[derive(Debug, Clone)]
pub struct NewProvision<'a> {
    /// The owner's address; their account is made if there is none.
    pub email: &'a str,
    /// What a new owner is called.
    pub full_name: &'a str,
    /// What the workspace will be called.
    pub workspace_name: &'a str,
    /// Whether it begins without an example of a recordset.
    pub skip_seed: bool,
}

impl NewSignup {
    /// Reads what was sent; all that is wrong is said at once.
    pub fn parse(
        email: &str,
        password: String,
        full_name: &str,
        company_name: &str,
    ) -> Result<Self, SignupError> {
        let mut reader = Reader::default();
        let email = reader.email(email);
        let password = reader.password(password, email.as_ref());
        let full_name = reader.name("full_name", full_name);
        let company_name = reader.name("company_name", company_name);
        let read = (|| {
            Some(Self {
                email: email?,
                password: password?,
                full_name: full_name?,
                company_name: company_name?,
                payment_method_id: None,
                skip_seed: false,
            })
        })();
        reader.finish(read)
    }

    /// The same, to be paid with that after a trial.
    ///
    /// # Errors
    /// [`SignupError::Invalid`] when that can't be an id at Stripe.
    pub fn paid_with(self, payment_method_id: &str) -> Result<Self, SignupError> {
        let mut reader = Reader::default();
        let id = reader.foreign_id("payment_method_id", payment_method_id);
        let id = reader.finish(id)?;
        Ok(Self { payment_method_id: Some(id), ..self })
    }

    /// The same, with or without an example of a recordset.
    #[must_use]
    pub fn skip_seed(self, skip_seed: bool) -> Self {
        Self { skip_seed, ..self }
    }
}

/// A row of `signups` about to be.
struct Reservation<'a> {
    door: Door,
    email: &'a Email,
    full_name: &'a str,
    company_name: &'a str,
    password_hash: Option<String>,
    user: UserId,
    makes_user: bool,
    skip_seed: bool,
    clerk_id: Option<&'a str>,
    stripe_invite_id: Option<StripeInviteId>,
    payment_method_id: Option<&'a str>,
}

/// Inserts the row and enqueues its job; none when another one that is pending makes an account of the address.
async fn reserve(
    tx: &mut Tx,
    new: Reservation<'_>,
    client: &Client,
    origin: Origin,
) -> Result<Option<Started>, sqlx::Error> {
    let started = Started { token: secret::generate(), job: JobId::new(), workspace_id: WorkspaceId::new() };
    let id = SignupId::new();
    let reserved = sqlx::query!(
        "insert into signups (id, token_hash, door, email, email_key, full_name, company_name, password_hash, user_id, makes_user,
                              workspace_id, job_id, skip_seed, clerk_id, stripe_invite_id, payment_method_id,
                              user_agent, ip)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
         on conflict do nothing",
        id.0,
        secret::hash(&started.token),
        new.door as Door,
        new.email.as_str(),
        new.email.key(),
        new.full_name,
        new.company_name,
        new.password_hash,
        new.user.0,
        new.makes_user,
        started.workspace_id.0,
        started.job.0,
        new.skip_seed,
        new.clerk_id,
        new.stripe_invite_id.map(|id| id.0),
        new.payment_method_id,
        client.user_agent,
        client.ip,
    )
    .execute(tx.conn())
    .await?;
    if reserved.rows_affected() == 0 {
        return Ok(None);
    }
    let kind = ProvisionWorkspace { signup_id: id };
    jobs::enqueue(tx, NewJob::new(&kind).id(started.job).origin(origin)).await?;
    Ok(Some(started))
}

/// Whether an account has the address.
async fn has_account(tx: &mut Tx, email: &Email) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select exists (select from users where email_key = $1) as "taken!""#, email.key(),)
        .fetch_one(tx.conn())
        .await
}

/// An address as it is stored, which was one when it was stored.
fn stored(email: &str) -> Result<Email, sqlx::Error> {
    email.parse().map_err(|reason: &str| sqlx::Error::Decode(reason.into()))
}

async fn hash(password: Password) -> Result<String, SignupError> {
    Ok(password.hash().await?)
}

/// A sign-up whose password is hashed, which takes too long for a transaction.
pub struct HashedSignup {
    email: Email,
    password_hash: String,
    full_name: String,
    company_name: String,
    payment_method_id: Option<String>,
    skip_seed: bool,
}

impl NewSignup {
    /// Hashes the password.
    ///
    /// # Errors
    /// [`SignupError::Hash`].
    pub async fn hashed(self) -> Result<HashedSignup, SignupError> {
        let Self { email, password, full_name, company_name, payment_method_id, skip_seed } = self;
        let password_hash = hash(password).await?;
        Ok(HashedSignup { email, password_hash, full_name, company_name, payment_method_id, skip_seed })
    }
}

/// Reserves the address and enqueues the job that makes the account.
///
/// # Errors
/// [`SignupError::EmailTaken`] when an account or another live sign-up has the address.
pub async fn start(
    tx: &mut Tx,
    new: HashedSignup,
    client: &Client,
    origin: Origin,
) -> Result<Started, SignupError> {
    undo::give_back(tx, new.email.key()).await?;
    let reservation = Reservation {
        door: Door::Signup,
        email: &new.email,
        full_name: &new.full_name,
        company_name: &new.company_name,
        password_hash: Some(new.password_hash),
        user: UserId::new(),
        makes_user: true,
        skip_seed: new.skip_seed,
        clerk_id: None,
        stripe_invite_id: None,
        payment_method_id: new.payment_method_id.as_deref(),
    };
    let started = reserve(tx, reservation, client, origin).await?.ok_or(SignupError::EmailTaken)?;
    // After the reservation: whoever held it before has committed the account by now.
    if has_account(tx, &new.email).await? {
        return Err(SignupError::EmailTaken);
    }
    // The job makes the entries of what it makes.
    tx.mark_noted();
    Ok(started)
}

/// An invited sign-up, read, with the password hashed.
pub struct ReadInvitedSignup {
    invite_code: String,
    password_hash: String,
    full_name: Option<String>,
    company_name: Option<String>,
    clerk_id: Option<String>,
    skip_seed: bool,
}

/// Reads an invited sign-up; all that is wrong is said at once.
///
/// # Errors
/// [`SignupError::Invite`] when there is no such invite; [`SignupError::Invalid`] and [`SignupError::Missing`].
pub async fn read_invited(pool: &PgPool, new: NewInvitedSignup) -> Result<ReadInvitedSignup, SignupError> {
    // Looked at before anything costs us a hash; used when the sign-up starts.
    let invite = invites::find(pool, &new.invite_code).await;
    let seen = match invite {
        // One that a failed sign-up has used is given back then.
        Err(InviteError::Over) | Ok(_) => invite.ok(),
        Err(error) => return Err(error.into()),
    };
    let mut reader = Reader::default();
    let email = seen.as_ref().map(address).transpose()?;
    let clerk_id = new.clerk_id.as_deref().and_then(|id| reader.foreign_id("clerk_id", id));
    let password = match new.password {
        Some(password) => reader.password(password, email.as_ref()),
        // Nobody knows it: they sign in by Clerk.
        None if clerk_id.is_some() => Password::parse(secret::generate(), None).ok(),
        None if new.clerk_id.is_none() => return Err(SignupError::Missing(vec!["password".to_owned()])),
        None => None,
    };
    let full_name = new.full_name.as_deref().and_then(|name| reader.name("full_name", name));
    let company_name = new.company_name.as_deref().and_then(|name| reader.name("company_name", name));
    let password_hash = hash(reader.finish(password)?).await?;
    let NewInvitedSignup { invite_code, skip_seed, .. } = new;
    Ok(ReadInvitedSignup { invite_code, password_hash, full_name, company_name, clerk_id, skip_seed })
}

/// The address that has paid.
fn address(invite: &invites::Invite) -> Result<Email, InviteError> {
    invite.email.parse().map_err(|_| InviteError::NotFound)
}

/// Uses an invite, reserves its address and enqueues the job that makes the account.
///
/// # Errors
/// [`SignupError::Invite`] when the invite is not there or was used; [`SignupError::EmailTaken`] and
/// [`SignupError::ClerkIdTaken`].
pub async fn start_invited(
    tx: &mut Tx,
    new: ReadInvitedSignup,
    client: &Client,
    origin: Origin,
) -> Result<Started, SignupError> {
    let wanted = invites::wanted(tx, &new.invite_code).await?;
    let email = address(&wanted.invite)?;
    undo::give_back(tx, email.key()).await?;
    invites::mark_used(tx, wanted.id).await?;
    let (full_name, company_name) =
        (new.full_name.or(wanted.invite.name), new.company_name.or(wanted.invite.company_name));
    let (Some(full_name), Some(company_name)) = (&full_name, &company_name) else {
        let absent = [("full_name", full_name.is_none()), ("company_name", company_name.is_none())];
        let names = absent.into_iter().filter(|(_, is_absent)| *is_absent);
        return Err(SignupError::Missing(names.map(|(name, _)| name.to_owned()).collect()));
    };
    let reservation = Reservation {
        door: Door::StripeInvite,
        email: &email,
        full_name,
        company_name,
        password_hash: Some(new.password_hash),
        user: UserId::new(),
        makes_user: true,
        skip_seed: new.skip_seed,
        clerk_id: new.clerk_id.as_deref(),
        stripe_invite_id: Some(wanted.id),
        payment_method_id: None,
    };
    let started = reserve(tx, reservation, client, origin).await?.ok_or(SignupError::EmailTaken)?;
    if has_account(tx, &email).await? {
        return Err(SignupError::EmailTaken);
    }
    let is_known = sqlx::query_scalar!(
        r#"select exists (select from users where clerk_id = $1) as "known!""#,
        new.clerk_id.as_deref(),
    )
    .fetch_one(tx.conn())
    .await?;
    if is_known {
        return Err(SignupError::ClerkIdTaken);
    }
    // The job makes the entries of what it makes.
    tx.mark_noted();
    Ok(started)
}

/// Enqueues the job that makes another workspace for someone who has an account.
///
/// # Errors
/// [`SignupError::Invalid`]; [`SignupError::Invite`] for a code that is not good; [`SignupError::TooManyWorkspaces`], also when those under way would be too many.
pub async fn create_workspace(
    tx: &mut Tx,
    new: NewOwnedWorkspace<'_>,
    actor: &Actor,
) -> Result<Started, SignupError> {
    let mut reader = Reader::default();
    let name = reader.name("name", new.name);
    let name = reader.finish(name)?;
    let email_key = sqlx::query_scalar!("select email_key from users where id = $1", new.owner.0)
        .fetch_optional(tx.conn())
        .await?;
    if let Some(email_key) = email_key {
        undo::give_back(tx, &email_key).await?;
    }
    // One at a time for one person, so that they are counted right.
    let owner = sqlx::query!(
        "select email, name from users where id = $1 and is_active for no key update",
        new.owner.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(SignupError::UserInactive)?;
    let owned = sqlx::query_scalar!(
        r#"select (select count(*) from live_memberships where user_id = $1 and role = 'owner')
                  + (select count(*) from signups s
                      where s.user_id = $1 and s.door = 'create' and s.state = 'pending'
                        and not exists (select from live_memberships m where m.workspace_id = s.workspace_id)
                        and not exists (select from finished_jobs f where f.id = s.job_id)) as "owned!""#,
        new.owner.0,
    )
    .fetch_one(tx.conn())
    .await?;
    // A workspace that is paid for is not one of those that anybody may have.
    if owned >= new.at_most && new.invite_code.is_none() {
        return Err(SignupError::TooManyWorkspaces(owned));
    }
    let invite = match new.invite_code {
        None => None,
        Some(code) => {
            let wanted = invites::wanted(tx, code).await?;
            invites::mark_used(tx, wanted.id).await?;
            Some(wanted.id)
        }
    };
    let reservation = Reservation {
        door: Door::Create,
        email: &stored(&owner.email)?,
        full_name: &owner.name,
        company_name: &name,
        password_hash: None,
        user: new.owner,
        makes_user: false,
        skip_seed: new.skip_seed,
        clerk_id: None,
        stripe_invite_id: invite,
        payment_method_id: None,
    };
    request(tx, reservation, actor).await
}

/// Finds or makes the owner's account, and enqueues the job that makes their workspace. A new
/// account has no password: its owner is written to when the workspace is ready.
///
/// # Errors
/// [`SignupError::Invalid`]; [`SignupError::UserInactive`]; [`SignupError::AddressNotVerified`];
/// [`SignupError::SignupPending`].
pub async fn provision(tx: &mut Tx, new: NewProvision<'_>, actor: &Actor) -> Result<Started, SignupError> {
    let mut reader = Reader::default();
    let email = reader.email(new.email);
    let full_name = reader.name("full_name", new.full_name);
    let name = reader.name("workspace_name", new.workspace_name);
    let (email, full_name, name) =
        reader.finish(email.zip(full_name).zip(name).map(|((e, f), n)| (e, f, n)))?;

    undo::give_back(tx, email.key()).await?;
    // Of two at once, the second waits for the first's commit, and then finds its account.
    let made = sqlx::query_scalar!(
        "insert into users (id, email, email_key, name) values ($1, $2, $3, $4)
         on conflict (email_key) do nothing returning id",
        UserId::new().0,
        email.as_str(),
        email.key(),
        full_name,
    )
    .fetch_optional(tx.conn())
    .await?;
    let owner = sqlx::query!(
        r#"select id, email, name, is_active,
                  (email_verified_at is null and password_hash is not null) as "is_unproved!"
             from users where email_key = $1 for key share"#,
        email.key(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(SignupError::SignupPending)?;
    if !owner.is_active {
        return Err(SignupError::UserInactive);
    }
    // Whoever signed up under the address has not shown that it is theirs.
    if owner.is_unproved {
        return Err(SignupError::AddressNotVerified);
    }
    if let Some(user) = made {
        audit::record(tx, None, actor, Entry::new("user", "created", user, json!({ "by": "provision" })))
            .await?;
    }
    let reservation = Reservation {
        door: Door::Provision,
        email: &stored(&owner.email)?,
        full_name: &owner.name,
        company_name: &name,
        password_hash: None,
        user: owner.id,
        makes_user: made.is_some(),
        skip_seed: new.skip_seed,
        clerk_id: None,
        stripe_invite_id: None,
        payment_method_id: None,
    };
    request(tx, reservation, actor).await
}

/// Reserves a workspace for an account that exists, and notes the request.
async fn request(tx: &mut Tx, new: Reservation<'_>, actor: &Actor) -> Result<Started, SignupError> {
    let client = Client { user_agent: actor.user_agent.clone(), ip: actor.ip.clone() };
    let started = reserve(tx, new, &client, actor.origin()).await?.ok_or(SignupError::SignupPending)?;
    let entry = Entry::new("workspace", "requested", started.workspace_id, json!({}));
    audit::record(tx, None, actor, entry).await?;
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let refused = NewSignup::parse("ada", "short".into(), " ", "Two\nlines").unwrap_err();
        let SignupError::Invalid(fields) = refused else { panic!("{refused:?}") };
        assert_eq!(
            fields.into_iter().collect::<Vec<_>>(),
            [
                ("company_name".to_owned(), vec!["must be one line".to_owned()]),
                ("email".to_owned(), vec!["must be an email address".to_owned()]),
                ("full_name".to_owned(), vec!["must not be empty".to_owned()]),
                ("password".to_owned(), vec!["must have at least 10 characters".to_owned()]),
            ]
        );
    }
}

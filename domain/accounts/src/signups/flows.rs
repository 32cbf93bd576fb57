//! The requests of the sign-up flows. Each is one transaction: a row of `signups`, its
//! reservations, and its job.

use domain::{
    Actor, Email, Error, ErrorKind, UserId, WorkspaceId,
    audit::{self, Entry},
    secret,
};
use jobs::{JobId, NewJob, Origin, Tx};
use serde_json::json;
use sqlx::PgPool;

use super::{Reader, SignupFlow, Started, undo};
use crate::signups::SignupId;
use crate::stripe::StripeInviteId;
use crate::{job_kinds::ProvisionWorkspace, sessions::Client, stripe::invites, users::Password};

/// A sign-up for an account.
#[derive(Debug)]
pub struct NewSignup {
    email: Email,
    password: Password,
    full_name: String,
    company_name: String,
    payment_method_id: Option<String>,
    skip_seed: bool,
}

/// A sign-up after a payment. Absent values are those known to Stripe.
#[derive(Debug, Default)]
pub struct NewInvitedSignup {
    /// Invite code.
    pub invite_code: String,
    /// Password; required without a Clerk id.
    pub password: Option<String>,
    /// Full name.
    pub full_name: Option<String>,
    /// Name of the new workspace.
    pub company_name: Option<String>,
    /// User id at Clerk, for signing in by it.
    pub clerk_id: Option<String>,
    /// Whether the workspace is created without the example recordset.
    pub skip_seed: bool,
}

/// Another workspace for an existing account.
#[derive(Debug, Clone)]
pub struct NewOwnedWorkspace<'a> {
    /// Owner.
    pub owner: UserId,
    /// Name of the workspace.
    pub name: &'a str,
    /// Whether it is created without the example recordset.
    pub skip_seed: bool,
    /// Maximum number of workspaces that one user may own.
    pub at_most: i64,
    /// Code of an invite with which it has been paid.
    pub invite_code: Option<&'a str>,
}

/// A workspace that staff creates for another user.
#[derive(Debug, Clone)]
pub struct NewProvision<'a> {
    /// Email address of the owner, whose account is created if there is none.
    pub email: &'a str,
    /// Full name of a new owner.
    pub full_name: &'a str,
    /// Name of the workspace.
    pub workspace_name: &'a str,
    /// Whether it is created without the example recordset.
    pub skip_seed: bool,
}

impl NewSignup {
    /// Parses the request; all errors are reported together.
    pub fn parse(email: &str, password: String, full_name: &str, company_name: &str) -> Result<Self, Error> {
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

    /// The same, to be paid with that method after a trial.
    ///
    /// # Errors
    /// `record_invalid` if that can't be an id at Stripe.
    pub fn paid_with(self, payment_method_id: &str) -> Result<Self, Error> {
        let mut reader = Reader::default();
        let id = reader.foreign_id("payment_method_id", payment_method_id);
        let id = reader.finish(id)?;
        Ok(Self { payment_method_id: Some(id), ..self })
    }

    /// The same, with or without the example recordset.
    #[must_use]
    pub fn skip_seed(self, skip_seed: bool) -> Self {
        Self { skip_seed, ..self }
    }
}

/// A row of `signups` to be inserted.
struct Reservation<'a> {
    door: SignupFlow,
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

/// Inserts the row and enqueues its job; none if another pending sign-up creates an account with the address.
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
        new.door as SignupFlow,
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

/// The account has been closed.
fn user_inactive() -> Error {
    Error::conflict("user_inactive", "the account with this email address is deactivated")
}

/// Another sign-up with the address has not ended yet.
fn signup_pending() -> Error {
    let message = "a sign-up with this email address is pending: retry in a moment";
    Error::conflict("signup_pending", message)
}

/// A stored address, which was valid when it was stored.
fn stored(email: &str) -> Result<Email, sqlx::Error> {
    email.parse().map_err(|reason: &str| sqlx::Error::Decode(reason.into()))
}

/// A sign-up with a hashed password; hashing takes too long for a transaction.
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
    /// `overloaded`.
    pub async fn hashed(self) -> Result<HashedSignup, Error> {
        let Self { email, password, full_name, company_name, payment_method_id, skip_seed } = self;
        let password_hash = password.hash().await?;
        Ok(HashedSignup { email, password_hash, full_name, company_name, payment_method_id, skip_seed })
    }
}

/// Reserves the address and enqueues the job that creates the account.
///
/// # Errors
/// `email_taken` if an account or another pending sign-up has the address.
pub async fn start(
    tx: &mut Tx,
    new: HashedSignup,
    client: &Client,
    origin: Origin,
) -> Result<Started, Error> {
    undo::give_back(tx, new.email.key()).await?;
    let reservation = Reservation {
        door: SignupFlow::Signup,
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
    let started = reserve(tx, reservation, client, origin).await?.ok_or_else(Error::email_taken)?;
    // After the reservation: its previous holder has committed the account by now.
    if has_account(tx, &new.email).await? {
        return Err(Error::email_taken());
    }
    // The job adds the audit entries of what it creates.
    tx.mark_noted();
    Ok(started)
}

/// A parsed sign-up with an invite, with the password hashed.
pub struct ReadInvitedSignup {
    invite_code: String,
    password_hash: String,
    full_name: Option<String>,
    company_name: Option<String>,
    clerk_id: Option<String>,
    skip_seed: bool,
}

/// Parses a sign-up with an invite; all errors are reported together.
///
/// # Errors
/// `record_not_found` if there is no such invite; `record_invalid` and `parameter_missing`.
pub async fn read_invited(pool: &PgPool, new: NewInvitedSignup) -> Result<ReadInvitedSignup, Error> {
    // Checked before the cost of a hash; redeemed when the sign-up starts.
    let seen = match invites::find(pool, &new.invite_code).await {
        // One redeemed by a sign-up that fails becomes valid again then.
        Err(error) if *error.kind() == ErrorKind::Gone => None,
        found => Some(found?),
    };
    let mut reader = Reader::default();
    let email = seen.as_ref().map(address).transpose()?;
    let clerk_id = new.clerk_id.as_deref().and_then(|id| reader.foreign_id("clerk_id", id));
    let password = match new.password {
        Some(password) => reader.password(password, email.as_ref()),
        // A random one: the user signs in by Clerk.
        None if clerk_id.is_some() => Password::parse(secret::generate(), None).ok(),
        None if new.clerk_id.is_none() => return Err(Error::missing(["password"])),
        None => None,
    };
    let full_name = new.full_name.as_deref().and_then(|name| reader.name("full_name", name));
    let company_name = new.company_name.as_deref().and_then(|name| reader.name("company_name", name));
    let password_hash = reader.finish(password)?.hash().await?;
    let NewInvitedSignup { invite_code, skip_seed, .. } = new;
    Ok(ReadInvitedSignup { invite_code, password_hash, full_name, company_name, clerk_id, skip_seed })
}

/// The address of the payment.
fn address(invite: &invites::Invite) -> Result<Email, Error> {
    invite.email.parse().map_err(|_| Error::not_found())
}

/// Redeems an invite, reserves its address and enqueues the job that creates the account.
///
/// # Errors
/// `record_not_found` if the invite doesn't exist, `gone` when it was used; `email_taken` and
/// `clerk_id_taken`.
pub async fn start_invited(
    tx: &mut Tx,
    new: ReadInvitedSignup,
    client: &Client,
    origin: Origin,
) -> Result<Started, Error> {
    let wanted = invites::wanted(tx, &new.invite_code).await?;
    let email = address(&wanted.invite)?;
    undo::give_back(tx, email.key()).await?;
    invites::mark_used(tx, wanted.id).await?;
    let (full_name, company_name) =
        (new.full_name.or(wanted.invite.name), new.company_name.or(wanted.invite.company_name));
    let (Some(full_name), Some(company_name)) = (&full_name, &company_name) else {
        let absent = [("full_name", full_name.is_none()), ("company_name", company_name.is_none())];
        let names = absent.into_iter().filter(|(_, is_absent)| *is_absent);
        return Err(Error::missing(names.map(|(name, _)| name)));
    };
    let reservation = Reservation {
        door: SignupFlow::StripeInvite,
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
    let started = reserve(tx, reservation, client, origin).await?.ok_or_else(Error::email_taken)?;
    if has_account(tx, &email).await? {
        return Err(Error::email_taken());
    }
    let is_known = sqlx::query_scalar!(
        r#"select exists (select from users where clerk_id = $1) as "known!""#,
        new.clerk_id.as_deref(),
    )
    .fetch_one(tx.conn())
    .await?;
    if is_known {
        return Err(Error::conflict("clerk_id_taken", "an account with this Clerk identity already exists"));
    }
    // The job adds the audit entries of what it creates.
    tx.mark_noted();
    Ok(started)
}

/// Enqueues the job that creates another workspace for an existing account.
///
/// # Errors
/// `record_invalid`; `record_not_found` and `gone` for an invalid code; `limit_exceeded`,
/// counting pending ones.
pub async fn create_workspace(
    tx: &mut Tx,
    new: NewOwnedWorkspace<'_>,
    actor: &Actor,
) -> Result<Started, Error> {
    let mut reader = Reader::default();
    let name = reader.name("name", new.name);
    let name = reader.finish(name)?;
    let email_key = sqlx::query_scalar!("select email_key from users where id = $1", new.owner.0)
        .fetch_optional(tx.conn())
        .await?;
    if let Some(email_key) = email_key {
        undo::give_back(tx, &email_key).await?;
    }
    // One at a time for one user, so that they are counted correctly.
    let owner = sqlx::query!(
        "select email, name from users where id = $1 and is_active for no key update",
        new.owner.0,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(user_inactive)?;
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
    // A paid workspace doesn't count towards the limit.
    if owned >= new.at_most && new.invite_code.is_none() {
        return Err(Error::limit_exceeded(format!(
            "you already own {owned} workspaces, which is the maximum"
        )));
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
        door: SignupFlow::Create,
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

/// Finds or creates the owner's account, and enqueues the job that creates their workspace. A new
/// account has no password: its owner is notified by email when the workspace is ready.
///
/// # Errors
/// `record_invalid`; `user_inactive`; `address_not_verified`;
/// `signup_pending`.
pub async fn provision(tx: &mut Tx, new: NewProvision<'_>, actor: &Actor) -> Result<Started, Error> {
    let mut reader = Reader::default();
    let email = reader.email(new.email);
    let full_name = reader.name("full_name", new.full_name);
    let name = reader.name("workspace_name", new.workspace_name);
    let (email, full_name, name) =
        reader.finish(email.zip(full_name).zip(name).map(|((e, f), n)| (e, f, n)))?;

    undo::give_back(tx, email.key()).await?;
    // Of two concurrent requests, the second waits for the first's commit, and then finds its account.
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
    .ok_or_else(signup_pending)?;
    if !owner.is_active {
        return Err(user_inactive());
    }
    // A sign-up under the address has not proved to own it.
    if owner.is_unproved {
        return Err(Error::conflict(
            "address_not_verified",
            "the account with this email address has not verified it; it must be verified first",
        ));
    }
    if let Some(user) = made {
        audit::record(tx, None, actor, Entry::new("user", "created", user, json!({ "by": "provision" })))
            .await?;
    }
    let reservation = Reservation {
        door: SignupFlow::Provision,
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

/// Reserves a workspace for an existing account, and records the request.
async fn request(tx: &mut Tx, new: Reservation<'_>, actor: &Actor) -> Result<Started, Error> {
    let client = Client { user_agent: actor.user_agent.clone(), ip: actor.ip.clone() };
    let started = reserve(tx, new, &client, actor.origin()).await?.ok_or_else(signup_pending)?;
    let entry = Entry::new("workspace", "requested", started.workspace_id, json!({}));
    audit::record(tx, None, actor, entry).await?;
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_reported_at_once() {
        let refused = NewSignup::parse("ada", "short".into(), " ", "Two\nlines").unwrap_err();
        let (ErrorKind::Invalid(fields), ..) = refused.into_parts() else { panic!("must be refused") };
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

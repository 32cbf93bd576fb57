//! Invites: for people who have paid through Stripe and have no account yet. The holder of an invite's code may
//! create one, once. The code is in an email, beside a short access code that finds the invite together with
//! the address; both are stored as hashes.

use chrono::{DateTime, Duration, Utc};
use domain::{
    Email, Error, secret,
    throttle::{self, Subjects, Target, Verdict},
};
use jobs::{Database, Tx};
use poem_openapi::Object;
use sqlx::PgPool;

use crate::stripe::StripeInviteId;

/// Lifetime of an invite.
pub(super) const LIFETIME: Duration = Duration::days(90);
/// Letters and digits that are not easily confused.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Number of letters and digits of an access code: 60 bits.
const ACCESS_CODE_LENGTH: usize = 12;
/// Number of digits of an invite's id, when a code begins with it.
const ID_LENGTH: usize = 32;

/// An invite, as the holder of its code sees it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
#[oai(rename = "StripeInvite")]
pub struct Invite {
    /// Email address of the payment and of the future account.
    pub email: String,
    /// Name of the payer; absent if not given.
    #[oai(skip_serializing_if_is_none)]
    pub name: Option<String>,
    /// Company of the payer; absent if not given.
    #[oai(skip_serializing_if_is_none)]
    pub company_name: Option<String>,
    /// Plan that was paid for.
    pub plan: String,
    /// Expiry time.
    pub expires_at: DateTime<Utc>,
}

/// The error of an invite that was used or has expired.
fn over() -> Error {
    Error::gone("the invite has been used or is no longer valid")
}

/// A new access code, in groups of four.
pub(super) fn access_code() -> String {
    let bytes: [u8; ACCESS_CODE_LENGTH] = rand::random();
    let code: String = bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
    format!("{}-{}-{}", &code[..4], &code[4..8], &code[8..])
}

/// The stored form of an access code, however it is written.
pub(super) fn access_code_hash(written: &str) -> Vec<u8> {
    secret::hash(&plain(written))
}

/// An access code without its groups, with letters replaced by the digits that they are confused with.
fn plain(written: &str) -> String {
    let letters = written.chars().filter(char::is_ascii_alphanumeric);
    letters
        .map(|c| match c.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            other => other,
        })
        .collect()
}

/// A code for an invite and its access code, for the result of a lookup.
fn looked_up_code(id: StripeInviteId, access_code: &str) -> String {
    format!("{}{}", id.0.simple(), plain(access_code))
}

/// The two ways to parse a code: as an emailed one, and as one from a lookup.
struct Code {
    hash: Vec<u8>,
    id: Option<StripeInviteId>,
    access_code_hash: Option<Vec<u8>>,
}

impl Code {
    fn read(code: &str) -> Self {
        let parts = code.split_at_checked(ID_LENGTH).filter(|(_, rest)| rest.len() == ACCESS_CODE_LENGTH);
        let found = parts.and_then(|(id, rest)| Some((id.parse().ok()?, access_code_hash(rest))));
        let (id, access_code_hash) = found.unzip();
        Self { hash: secret::hash(code), id, access_code_hash }
    }
}

/// The invite with this code.
///
/// # Errors
/// `record_not_found`; `gone` once it was used or has expired.
pub async fn find(pool: &PgPool, code: &str) -> Result<Invite, Error> {
    let code = Code::read(code);
    let row = sqlx::query!(
        r#"select email, name, company_name, plan, expires_at,
                  (used_at is null and expires_at > now()) as "good!"
             from stripe_invites
            where code_hash = $1 or (id = $2 and access_code_hash = $3)"#,
        code.hash,
        code.id.map(|id| id.0),
        code.access_code_hash,
    )
    .fetch_optional(pool)
    .await?
    .ok_or_else(Error::not_found)?;
    if !row.good {
        return Err(over());
    }
    Ok(Invite {
        email: row.email,
        name: row.name,
        company_name: row.company_name,
        plan: row.plan,
        expires_at: row.expires_at,
    })
}

/// The invite of an address and its access code, with a code for the sign-up. The answer is the same
/// for an address without an invite and for a wrong access code, and both count like failed sign-ins.
///
/// # Errors
/// `record_not_found`; `sign_in_locked`.
pub async fn look_up(
    database: &Database,
    email: &str,
    access_code: &str,
    ip: Option<&str>,
) -> Result<(String, Invite), Error> {
    let subjects = Subjects::of(Target::AccessCode(email), ip, None);
    if let Verdict::Locked(seconds) = throttle::look(&database.pool, &subjects).await? {
        return Err(Error::sign_in_locked(seconds));
    }
    let found = of_access_code(&database.pool, email, access_code).await?;
    let mut tx = database.begin().await?;
    let verdict = match &found {
        Some(_) => throttle::succeeded(&mut tx, &subjects).await?,
        None => throttle::failed(&mut tx, &subjects).await?,
    };
    tx.commit().await?;
    match (verdict, found) {
        (Verdict::Locked(seconds), _) => Err(Error::sign_in_locked(seconds)),
        (_, Some((id, invite))) => Ok((looked_up_code(id, access_code), invite)),
        (_, None) => Err(Error::not_found()),
    }
}

async fn of_access_code(
    pool: &PgPool,
    email: &str,
    access_code: &str,
) -> Result<Option<(StripeInviteId, Invite)>, sqlx::Error> {
    let row = sqlx::query!(
        "select id, email, name, company_name, plan, expires_at
           from stripe_invites
          where email_key = $1 and access_code_hash = $2 and used_at is null and expires_at > now()
          order by created_at desc limit 1",
        Email::key_of(email),
        access_code_hash(access_code),
    )
    .fetch_optional(pool)
    .await?;
    Ok(row.map(|row| {
        let invite = Invite {
            email: row.email,
            name: row.name,
            company_name: row.company_name,
            plan: row.plan,
            expires_at: row.expires_at,
        };
        (row.id, invite)
    }))
}

/// An invite to be redeemed by a sign-up.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Invite id.
    pub id: StripeInviteId,
    /// The invite.
    pub invite: Invite,
}

/// The invite with this code, valid or not.
pub(crate) async fn wanted(tx: &mut Tx, code: &str) -> Result<Wanted, Error> {
    let code = Code::read(code);
    let row = sqlx::query!(
        "select id, email, name, company_name, plan, expires_at
           from stripe_invites
          where code_hash = $1 or (id = $2 and access_code_hash = $3)",
        code.hash,
        code.id.map(|id| id.0),
        code.access_code_hash,
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(Error::not_found)?;
    let invite = Invite {
        email: row.email,
        name: row.name,
        company_name: row.company_name,
        plan: row.plan,
        expires_at: row.expires_at,
    };
    Ok(Wanted { id: row.id, invite })
}

/// Redeems an invite: of several concurrent calls, one succeeds. A sign-up that fails makes it valid again.
///
/// # Errors
/// `gone`.
pub(crate) async fn mark_used(tx: &mut Tx, id: StripeInviteId) -> Result<(), Error> {
    let marked = sqlx::query!(
        "update stripe_invites set used_at = now()
          where id = $1 and used_at is null and expires_at > now()",
        id.0,
    )
    .execute(tx.conn())
    .await?;
    if marked.rows_affected() == 1 { Ok(()) } else { Err(over()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_code_is_known_however_people_write_it() {
        let code = access_code();
        assert_eq!(code.len(), ACCESS_CODE_LENGTH + 2);
        let sloppy =
            format!(" {} ", code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l"));
        assert_eq!(access_code_hash(&sloppy), access_code_hash(&code));
        assert_ne!(access_code_hash(&access_code()), access_code_hash(&code));
    }

    #[test]
    fn a_code_that_was_looked_up_names_the_invite_and_a_mailed_one_does_not() {
        let (id, access_code) = (StripeInviteId::new(), access_code());
        let code = looked_up_code(id, &access_code);
        assert!(code.len() >= 40, "long enough to be masked in logs");
        let read = Code::read(&code);
        assert_eq!((read.id, read.access_code_hash), (Some(id), Some(access_code_hash(&access_code))));
        assert_eq!(Code::read(&secret::generate()).id, None);
        assert_eq!(Code::read("ünïcödé").id, None);
    }
}

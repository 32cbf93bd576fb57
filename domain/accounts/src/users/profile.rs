//! What people say of themselves. A person's profile is a row of `users`. Name and address are copied into the row
//! that they have in each of their workspaces, in the transaction of the change, so that a workspace's own SQL finds
//! its people without leaving its schema. What a workspace says of a member is in that row only ([`edit_member`]).

use domain::{
    Actor, Email, Event, FieldErrors, Patch, SessionId, UserId, WorkspaceId,
    audit::{self, Entry},
    pictures, standing,
    tenant_scope::TenantScope,
};
use jobs::{Database, Tx};
use poem_openapi::Object;
use serde_json::json;
use url::Url;

use super::{User, UserError, addresses, find, passwords};
use crate::signups;

/// The longest title and phone number, in characters.
const LONGEST_LINE: usize = 200;
/// The longest text about oneself, in characters.
const LONGEST_BIO: usize = 5000;
/// The longest link to a picture, in characters.
const LONGEST_LINK: usize = 2000;

/// What is to be different in a profile; what is absent stays as it is, and what is null goes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Object)]
pub struct ProfileChanges {
    /// What they are called; one line of at most 200 characters. Null leaves a member's name to the account, and is
    /// refused for an account.
    pub name: Patch<String>,
    /// The address to sign in with. Another one takes effect when the link that is mailed there is used.
    pub email: Option<String>,
    /// What they do; at most 200 characters.
    pub title: Patch<String>,
    /// Their telephone; at most 200 characters.
    pub phone: Patch<String>,
    /// A few words about them; at most 5,000 characters.
    pub bio: Patch<String>,
    /// An https link to their picture, in place of one that was uploaded.
    pub avatar_url: Patch<String>,
}

impl ProfileChanges {
    /// The same without space around values, and with null for what is empty.
    ///
    /// # Errors
    /// [`UserError::Invalid`] with all that is wrong.
    fn checked(self) -> Result<Self, UserError> {
        let mut invalid = FieldErrors::new();
        let mut note = |field: &str, reason: String| {
            invalid.entry(field.to_owned()).or_default().push(reason);
        };
        let name = match self.name {
            Patch::Value(name) => match signups::name(&name) {
                Ok(name) => Patch::Value(name),
                Err(reason) => {
                    note("name", reason.to_owned());
                    Patch::Absent
                }
            },
            absent => absent,
        };
        let email = self
            .email
            .and_then(|email| email.parse::<Email>().map_err(|reason| note("email", reason.to_owned())).ok());
        let mut text = |field: &str, value: Patch<String>, most: usize, is_line: bool| {
            let Patch::Value(text) = value else { return value };
            let text = text.trim();
            if text.chars().count() > most {
                note(field, format!("must have at most {most} characters"));
            } else if is_line && text.chars().any(char::is_control) {
                note(field, "must be one line".to_owned());
            }
            if text.is_empty() { Patch::Null } else { Patch::Value(text.to_owned()) }
        };
        let title = text("title", self.title, LONGEST_LINE, true);
        let phone = text("phone", self.phone, LONGEST_LINE, true);
        let bio = text("bio", self.bio, LONGEST_BIO, false);
        let avatar_url = text("avatar_url", self.avatar_url, LONGEST_LINK, true);
        if let Patch::Value(link) = &avatar_url
            && !Url::parse(link).is_ok_and(|url| url.scheme() == "https" && url.has_host())
        {
            note("avatar_url", "must be an https link".to_owned());
        }
        if invalid.is_empty() {
            Ok(Self { name, email: email.map(|email| email.to_string()), title, phone, bio, avatar_url })
        } else {
            Err(UserError::Invalid(invalid))
        }
    }

    /// The same for an account, which has a name.
    ///
    /// # Errors
    /// [`UserError::Invalid`] of the name, if it is null.
    fn of_account(self) -> Result<Self, UserError> {
        if self.name.is_null() {
            return Err(UserError::invalid("name", "cannot be null: an account has a name"));
        }
        self.checked()
    }

    /// Whether the address is to be another one than that, however it is written.
    pub(super) fn moves_from(&self, before: &str) -> bool {
        self.email.as_deref().is_some_and(|email| Email::key_of(email) != Email::key_of(before))
    }

    /// The names of what is to be different, for the audit.
    fn fields(&self) -> Vec<&'static str> {
        let all = [
            ("name", self.name.is_given()),
            ("email", self.email.is_some()),
            ("title", self.title.is_given()),
            ("phone", self.phone.is_given()),
            ("bio", self.bio.is_given()),
            ("avatar_url", self.avatar_url.is_given()),
        ];
        all.into_iter().filter(|(_, is_given)| *is_given).map(|(name, _)| name).collect()
    }
}

/// A profile after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The person.
    pub user: User,
    /// The key of a picture that nobody has any more, for [`crate::avatars::remove`] after the commit.
    pub dropped_picture: Option<String>,
}

/// Checks that the person who asks may make those changes of their own profile: another address takes their password.
/// Wrong ones are counted at once, whatever comes of the request.
///
/// # Errors
/// [`UserError::Missing`] of the password; [`UserError::Invalid`]; [`UserError::Throttled`].
pub async fn check_own(
    database: &Database,
    (user, session): (UserId, SessionId),
    changes: &ProfileChanges,
    current_password: Option<String>,
    actor: &Actor,
) -> Result<(), UserError> {
    let before = passwords::owner(&database.pool, user).await?.email;
    if changes.moves_from(&before) {
        let password = current_password.ok_or_else(|| UserError::Missing(vec!["current_password".into()]))?;
        passwords::confirm(database, user, session, password, actor).await?;
    }
    Ok(())
}

/// Edits a person's profile, wherever it is kept, in a transaction on the shared schemas. Another address waits until
/// it is confirmed ([`addresses`]); another spelling of the same one is kept at once, and gives up a change that waits.
/// The caller has checked that the actor may.
///
/// # Errors
/// [`UserError::NotFound`], [`UserError::Invalid`], [`UserError::EmailTaken`], [`UserError::Mail`].
pub async fn edit(
    tx: &mut Tx,
    user: UserId,
    changes: ProfileChanges,
    link: &str,
    actor: &Actor,
) -> Result<Edited, UserError> {
    let changes = changes.of_account()?;
    let before = passwords::owner(tx.conn(), user).await?.email;
    let moves = changes.moves_from(&before);
    let email = changes.email.as_deref().and_then(|email| email.parse::<Email>().ok());
    let respelled = email.as_ref().filter(|_| !moves).map(Email::as_str);
    let edited = sqlx::query!(
        r#"update users u
              set name = coalesce($2, u.name),
                  email = coalesce($3, u.email),
                  title = case when $4 then $5 else u.title end,
                  phone = case when $6 then $7 else u.phone end,
                  bio = case when $8 then $9 else u.bio end,
                  avatar_url = case when $10 then $11 else u.avatar_url end,
                  avatar_key = case when $10 then null else u.avatar_key end,
                  updated_at = now()
             from (select id, avatar_key, avatar_url, title, phone, bio
                     from users where id = $1 and is_active for update) before
            where u.id = before.id
        returning before.avatar_key as picture_before,
                  (before.avatar_key, before.avatar_url) is distinct from (u.avatar_key, u.avatar_url)
                      as "is_new_picture!",
                  before.title is distinct from u.title as "is_new_title!",
                  before.phone is distinct from u.phone as "is_new_phone!",
                  before.bio is distinct from u.bio as "is_new_bio!""#,
        user.0,
        changes.name.value(),
        respelled,
        changes.title.is_given(),
        changes.title.value(),
        changes.phone.is_given(),
        changes.phone.value(),
        changes.bio.is_given(),
        changes.bio.value(),
        changes.avatar_url.is_given(),
        changes.avatar_url.value(),
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    let new = New {
        picture: edited.is_new_picture,
        title: edited.is_new_title,
        phone: edited.is_new_phone,
        bio: edited.is_new_bio,
    };
    copy_to_members(tx, user, new, actor).await?;
    audit::record(
        tx,
        None,
        actor,
        Entry::new("user", "updated", user.0, json!({ "fields": changes.fields() })),
    )
    .await?;
    match &email {
        Some(new) if moves => addresses::ask(tx, user, new, link, actor).await?,
        Some(_) => addresses::forget_change(tx, user).await?,
        None => {}
    }
    let person = find(tx.conn(), user).await?.ok_or(UserError::NotFound)?;
    let dropped_picture = edited.picture_before.filter(|_| changes.avatar_url.is_given());
    Ok(Edited { user: person, dropped_picture })
}

/// Edits how a person is shown in one workspace: their member there, and nothing of their account. What is null is
/// left to the account.
///
/// # Errors
/// [`UserError::NotFound`], [`UserError::Invalid`].
pub(super) async fn edit_member(
    tx: &mut Tx,
    (workspace, user): (WorkspaceId, UserId),
    changes: ProfileChanges,
    actor: &Actor,
) -> Result<(), UserError> {
    let changes = changes.checked()?;
    let mut scope = TenantScope::enter(tx, workspace).await?;
    let edited = sqlx::query!(
        "update members m
            set display_name = case when $11 then $2 else m.display_name end,
                title = case when $3 then $4 else m.title end,
                phone = case when $5 then $6 else m.phone end,
                bio = case when $7 then $8 else m.bio end,
                avatar_url = case when $9 then $10 else m.avatar_url end,
                updated_at = now()
           from (select id, avatar_url from members where user_id = $1 for update) before
          where m.id = before.id
      returning m.id, before.avatar_url as picture_before",
        user.0,
        changes.name.value(),
        changes.title.is_given(),
        changes.title.value(),
        changes.phone.is_given(),
        changes.phone.value(),
        changes.bio.is_given(),
        changes.bio.value(),
        changes.avatar_url.is_given(),
        changes.avatar_url.value(),
        changes.name.is_given(),
    )
    .fetch_optional(scope.conn())
    .await?
    .ok_or(UserError::NotFound)?;
    let told = json!({ "user_id": user, "fields": changes.fields() });
    scope.record(Event::new("member", "updated", edited.id, told), workspace, actor).await?;
    scope.leave().await?;
    if changes.avatar_url.is_given() {
        pictures::note_stray(tx.conn(), edited.picture_before.as_deref()).await?;
    }
    Ok(())
}

/// What is new in an account, beside name and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // flags of different things
pub struct New {
    /// The picture.
    pub picture: bool,
    /// The title.
    pub title: bool,
    /// The phone number.
    pub phone: bool,
    /// The text about the person.
    pub bio: bool,
}

/// Copies a person's name and address into their member of every workspace that they belong to (what is said of
/// them there stays, and where nothing is the account's is shown). A new picture of theirs is shown in all of
/// them, also where an admin has set another. `member.updated` is appended in each that shows the person otherwise than
/// before. The transaction is on the shared schemas before and after.
pub async fn copy_to_members(tx: &mut Tx, user: UserId, new: New, actor: &Actor) -> Result<(), sqlx::Error> {
    let profile =
        sqlx::query!("select name, email from users where id = $1", user.0).fetch_one(tx.conn()).await?;
    let keeping = standing::keeping(tx.conn(), user).await?;
    for workspace in keeping.into_iter().filter(|it| it.is_ready).map(|it| it.workspace) {
        let mut scope = TenantScope::enter(tx, workspace).await?;
        let member = sqlx::query!(
            "update members m
                set name = $2, email = $3, avatar_url = case when $4 then null else m.avatar_url end,
                    updated_at = now()
               from (select id, avatar_url from members where user_id = $1 for update) before
              where m.id = before.id
                and ($4 or (m.name, m.email) is distinct from ($2, $3)
                     or ($5 and m.title is null) or ($6 and m.phone is null) or ($7 and m.bio is null))
          returning m.id, before.avatar_url as picture_before",
            user.0,
            profile.name,
            profile.email,
            new.picture,
            new.title,
            new.phone,
            new.bio,
        )
        .fetch_optional(scope.conn())
        .await?;
        if let Some(member) = &member {
            let event =
                Event::new("member", "updated", member.id, json!({ "user_id": user, "name": profile.name }));
            scope.record(event, workspace, actor).await?;
        }
        scope.leave().await?;
        let replaced = member.and_then(|member| member.picture_before).filter(|_| new.picture);
        pictures::note_stray(tx.conn(), replaced.as_deref()).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let changes = ProfileChanges {
            name: Patch::Value(" ".to_owned()),
            email: Some("ada".to_owned()),
            title: Patch::Value("two\nlines".to_owned()),
            phone: Patch::Value("1".repeat(201)),
            bio: Patch::Value("b".repeat(5001)),
            avatar_url: Patch::Value("javascript:alert(1)".to_owned()),
        };
        let Err(UserError::Invalid(fields)) = changes.checked() else { panic!("must be refused") };
        let names: Vec<_> = fields.keys().map(String::as_str).collect();
        assert_eq!(names, ["avatar_url", "bio", "email", "name", "phone", "title"]);
    }

    #[test]
    fn what_is_empty_goes_and_what_is_absent_stays() {
        let changes = ProfileChanges { title: Patch::Value("  ".to_owned()), ..ProfileChanges::default() };
        let checked = changes.checked().unwrap();
        assert!(checked.title.is_null() && !checked.bio.is_given());
        assert_eq!(checked.fields(), ["title"]);
    }
}

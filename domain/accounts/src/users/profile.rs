//! Profiles of users. A profile is a row of `users`. Name and address are copied into the rows of the user's
//! members, in the transaction of the change, so that a workspace's own SQL finds its members without leaving
//! its schema. A workspace's own profile of a member is in that row only ([`edit_member`]).

use domain::{
    Actor, Email, Error, Event, FieldErrors, Patch, SessionId, UserId, WorkspaceId,
    audit::{self, Entry},
    pictures, standing,
    tenant_scope::TenantScope,
    text,
};
use jobs::{Database, Tx};
use poem_openapi::Object;
use serde_json::json;
use url::Url;

use super::{User, addresses, find, passwords};
use crate::signups;

/// Maximum length of a title and a phone number, in characters.
const LONGEST_LINE: usize = 200;
/// Maximum length of a biography, in characters.
const LONGEST_BIO: usize = 5000;
/// Maximum length of an avatar URL, in characters.
const LONGEST_LINK: usize = 2000;

/// Changes to a profile; absent fields stay unchanged, and null clears a value.
#[derive(Debug, Clone, PartialEq, Eq, Default, Object)]
pub struct ProfileChanges {
    /// Full name; one line of at most 200 characters. Null restores the account's name for a member, and is
    /// refused for an account.
    pub name: Patch<String>,
    /// Email address to sign in with. A new one takes effect when the link sent there is used.
    pub email: Option<String>,
    /// Job title; at most 200 characters. Null clears it.
    pub title: Patch<String>,
    /// Phone number; at most 200 characters. Null clears it.
    pub phone: Patch<String>,
    /// Short biography; at most 5,000 characters. Null clears it.
    pub bio: Patch<String>,
    /// URL of the avatar image (https), in place of an uploaded one. Null clears it.
    pub avatar_url: Patch<String>,
}

impl ProfileChanges {
    /// The same without space around values, and with null for empty ones.
    ///
    /// # Errors
    /// `record_invalid` with all that is wrong.
    fn checked(self) -> Result<Self, Error> {
        let mut invalid = FieldErrors::new();
        let mut note = |field: &str, reason: String| {
            invalid.entry(field.to_owned()).or_default().push(reason);
        };
        let name = match self.name {
            Patch::Value(name) => match signups::name(&name) {
                Ok(name) => Patch::Value(name),
                Err(reason) => {
                    note("name", reason.into_owned());
                    Patch::Absent
                }
            },
            absent => absent,
        };
        let email = self
            .email
            .and_then(|email| email.parse::<Email>().map_err(|reason| note("email", reason.to_owned())).ok());
        let mut read = |field: &str, value: Patch<String>, most: usize, is_line: bool| {
            let Patch::Value(text) = value else { return value };
            if let Err(invalid) = text::check(&text, 0, most, is_line) {
                note(field, invalid.to_string());
            }
            let text = text.trim();
            if text.is_empty() { Patch::Null } else { Patch::Value(text.to_owned()) }
        };
        let title = read("title", self.title, LONGEST_LINE, true);
        let phone = read("phone", self.phone, LONGEST_LINE, true);
        let bio = read("bio", self.bio, LONGEST_BIO, false);
        let avatar_url = read("avatar_url", self.avatar_url, LONGEST_LINK, true);
        if let Patch::Value(link) = &avatar_url
            && !Url::parse(link).is_ok_and(|url| url.scheme() == "https" && url.has_host())
        {
            note("avatar_url", "must be an https URL".to_owned());
        }
        if invalid.is_empty() {
            Ok(Self { name, email: email.map(|email| email.to_string()), title, phone, bio, avatar_url })
        } else {
            Err(Error::invalid_fields(invalid))
        }
    }

    /// The same for an account, which must have a name.
    ///
    /// # Errors
    /// `record_invalid` of the name, if it is null.
    fn of_account(self) -> Result<Self, Error> {
        if self.name.is_null() {
            return Err(Error::invalid("name", "cannot be null: an account has a name"));
        }
        self.checked()
    }

    /// Whether the address changes from that one, regardless of its spelling.
    pub(super) fn moves_from(&self, before: &str) -> bool {
        self.email.as_deref().is_some_and(|email| Email::key_of(email) != Email::key_of(before))
    }

    /// The names of the changed fields, for the audit log.
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
    /// The user.
    pub user: User,
    /// The key of an image that is no longer referenced, for [`crate::avatars::remove`] after the commit.
    pub dropped_picture: Option<String>,
}

/// Checks that the caller may make those changes to the own profile: a new address needs the password.
/// Wrong ones are counted at once, whatever the result of the request.
///
/// # Errors
/// `parameter_missing` of the password; `record_invalid`; `sign_in_locked`.
pub async fn check_own(
    database: &Database,
    (user, session): (UserId, SessionId),
    changes: &ProfileChanges,
    current_password: Option<String>,
    actor: &Actor,
) -> Result<(), Error> {
    let before = passwords::owner(&database.pool, user).await?.email;
    if changes.moves_from(&before) {
        let password = current_password.ok_or_else(|| Error::missing(["current_password"]))?;
        passwords::confirm(database, user, session, password, actor).await?;
    }
    Ok(())
}

/// Changes a user's profile, wherever it is kept, in a transaction on the shared schemas. A new address is
/// pending until it is confirmed ([`addresses`]); another spelling of the same one is stored at once, and
/// cancels a pending change. The caller has checked the actor's permissions.
///
/// # Errors
/// `record_not_found`, `record_invalid`, `email_taken`, `mail_limit_reached`.
pub async fn edit(
    tx: &mut Tx,
    user: UserId,
    changes: ProfileChanges,
    link: &str,
    actor: &Actor,
) -> Result<Edited, Error> {
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
    .ok_or_else(Error::not_found)?;
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
    let person = find(tx.conn(), user).await?.ok_or_else(Error::not_found)?;
    let dropped_picture = edited.picture_before.filter(|_| changes.avatar_url.is_given());
    Ok(Edited { user: person, dropped_picture })
}

/// Changes how a user is shown in one workspace: the member there, and nothing of the account. Null restores
/// the account's value.
///
/// # Errors
/// `record_not_found`, `record_invalid`.
pub(super) async fn edit_member(
    tx: &mut Tx,
    (workspace, user): (WorkspaceId, UserId),
    changes: ProfileChanges,
    actor: &Actor,
) -> Result<(), Error> {
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
    .ok_or_else(Error::not_found)?;
    let told = json!({ "user_id": user, "fields": changes.fields() });
    scope.record(Event::new("member", "updated", edited.id, told), workspace, actor).await?;
    scope.leave().await?;
    if changes.avatar_url.is_given() {
        pictures::note_stray(tx.conn(), edited.picture_before.as_deref()).await?;
    }
    Ok(())
}

/// The changed values of an account, beside name and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(clippy::struct_excessive_bools)] // flags of different things
pub struct New {
    /// The avatar image.
    pub picture: bool,
    /// The title.
    pub title: bool,
    /// The phone number.
    pub phone: bool,
    /// The biography.
    pub bio: bool,
}

/// Copies a user's name and address into the user's member of every workspace (values set there
/// stay, and unset ones are the account's). A new image of the user's is shown in all of
/// them, also where an admin has set another. `member.updated` is appended in each where the shown profile
/// changes. The transaction is on the shared schemas before and after.
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
    use domain::ErrorKind;

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
        let refused = changes.checked().unwrap_err();
        let ErrorKind::Invalid(fields) = refused.kind() else { panic!("{refused:?}") };
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

//! Stripe's webhook events: a paid checkout, a changed subscription. Each event may arrive
//! several times and in any order: it only names an object, whose present state is fetched from Stripe.

use domain::{
    Actor, Email, Error,
    audit::{self, Entry},
    mail::{self, Action, Letter},
    secret,
};
use jobs::{Database, Tx};
use runtime::stripe::{Account, CurrentSubscription, Payments, StripeError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::invites;
use crate::stripe::StripeInviteId;

/// The error of a payload that is not a webhook event of Stripe.
fn unreadable(_: serde_json::Error) -> Error {
    Error::invalid("body", "is not a webhook event of Stripe")
}

/// Maximum number of fetches while a subscription keeps changing.
const MAX_ROUNDS: usize = 5;

/// A page of the web app on which an invite's code is redeemed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// For users without an account.
    Register,
    /// For users with an account.
    NewWorkspace,
}

#[derive(Deserialize)]
struct Notice {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    data: NoticeData,
}

#[derive(Deserialize)]
struct NoticeData {
    object: Value,
}

/// A checkout, as far as it is read.
#[derive(Deserialize)]
struct Checkout {
    id: String,
    #[serde(default)]
    mode: String,
    #[serde(default)]
    payment_status: String,
    customer: Option<String>,
    subscription: Option<String>,
    customer_details: Option<CustomerDetails>,
    customer_email: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct CustomerDetails {
    email: Option<String>,
    name: Option<String>,
}

/// Our metadata on an object, or that of the creator of a payment link.
#[derive(Default, Deserialize)]
struct Metadata {
    plan: Option<String>,
    company_name: Option<String>,
}

/// Any object with an id, which is the subject of an event.
#[derive(Deserialize)]
struct Named {
    id: String,
}

/// Processes an event with a valid signature. `link` makes the link to a page of the web app, with an invite's code.
///
/// # Errors
/// `record_invalid`; `stripe_unavailable` if Stripe can't be reached: it will send the event again. An
/// event about something else is accepted without effect.
pub async fn take(
    database: &Database,
    payments: &Payments,
    payload: &[u8],
    actor: &Actor,
    link: impl Fn(Page, &str) -> String,
) -> Result<(), Error> {
    let notice: Notice = serde_json::from_slice(payload).map_err(unreadable)?;
    let account = payments.account()?;
    tracing::info!(id = notice.id, kind = notice.kind, "received a webhook event of Stripe");
    match notice.kind.as_str() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            let checkout = read::<Checkout>(notice.data.object)?;
            // Paid by a method that takes days: another event follows with the money.
            let is_settled = checkout.mode == "subscription" && checkout.payment_status != "unpaid";
            if is_settled { paid(database, account, &checkout, actor, link).await } else { Ok(()) }
        }
        kind if kind.starts_with("customer.subscription.") => {
            let named = read::<Named>(notice.data.object)?;
            follow(database, account, &named.id, actor).await
        }
        _ => Ok(()),
    }
}

fn read<T: for<'a> Deserialize<'a>>(object: Value) -> Result<T, Error> {
    serde_json::from_value(object).map_err(unreadable)
}

/// A name, if an account or a workspace may have it.
fn one_line(text: Option<&str>) -> Option<&str> {
    text.map(str::trim)
        .filter(|text| !text.is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control))
}

/// Processes a paid checkout: of a known workspace, or of a payer who may create a workspace with it.
async fn paid(
    database: &Database,
    account: &Account,
    checkout: &Checkout,
    actor: &Actor,
    link: impl Fn(Page, &str) -> String,
) -> Result<(), Error> {
    let (Some(customer), Some(id)) = (&checkout.customer, &checkout.subscription) else {
        return unmatched(database, checkout, "it names no customer or no subscription", actor).await;
    };
    let Some(subscription) = account.billing.subscription(id).await? else {
        return unmatched(database, checkout, "there is no such subscription", actor).await;
    };
    let noted = account.sold(checkout.metadata.plan.as_deref()).map(str::to_owned);
    let Some(plan) = account.plan_for(&subscription).or(noted) else {
        return unmatched(database, checkout, "it is for a plan that is not sold here", actor).await;
    };
    // A late event may concern a subscription that has ended since.
    if subscription.is_live() {
        let ours = sqlx::query!(
            "select id, stripe_subscription_id from workspaces where stripe_customer_id = $1 order by id",
            customer,
        )
        .fetch_all(&database.pool)
        .await?;
        for workspace in &ours {
            let had = workspace.stripe_subscription_id.as_deref();
            if !is_newer(account, &subscription, had).await? {
                continue;
            }
            let mut tx = database.begin().await?;
            sqlx::query!(
                "update workspaces set stripe_subscription_id = $3, updated_at = now()
                  where id = $1 and stripe_subscription_id is not distinct from $2",
                workspace.id.0,
                had,
                id,
            )
            .execute(tx.conn())
            .await?;
            apply(&mut tx, &subscription, Some(&plan), actor).await?;
            tx.commit().await?;
        }
        if ours.is_empty() {
            let mut tx = database.begin().await?;
            invite(&mut tx, checkout, (customer, &plan), actor, link).await?;
            tx.commit().await?;
        }
    }
    follow(database, account, id, actor).await
}

/// Whether an active subscription replaces the present one of a workspace.
async fn is_newer(
    account: &Account,
    subscription: &CurrentSubscription,
    had: Option<&str>,
) -> Result<bool, StripeError> {
    match had {
        Some(had) if had != subscription.id => {
            let had = account.billing.subscription(had).await?.filter(CurrentSubscription::is_live);
            Ok(had.is_none_or(|had| had.created < subscription.created))
        }
        _ => Ok(true),
    }
}

/// Records a payment that matches nothing here: the operator has to handle it, and finds it in the audit log.
async fn unmatched(database: &Database, checkout: &Checkout, why: &str, actor: &Actor) -> Result<(), Error> {
    let mut tx = database.begin().await?;
    note_unmatched(&mut tx, checkout, why, actor).await?;
    tx.commit().await?;
    Ok(())
}

async fn note_unmatched(
    tx: &mut Tx,
    checkout: &Checkout,
    why: &str,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    tracing::error!(checkout = checkout.id, why, "a paid checkout matches nothing in this installation");
    let what = json!({ "checkout": checkout.id, "customer": checkout.customer, "why": why });
    // A repeated event is the same payment.
    let is_known = sqlx::query_scalar!(
        r#"select exists (select from audit_log where workspace_id is null and action = 'payment.unmatched'
                             and data->>'checkout' = $1) as "known!""#,
        checkout.id,
    )
    .fetch_one(tx.conn())
    .await?;
    if is_known {
        return Ok(());
    }
    audit::record(tx, None, actor, Entry::new("payment", "unmatched", None, what)).await
}

/// Invites the payer, once per checkout: to create an account with a workspace, or a workspace if they have
/// an account.
async fn invite(
    tx: &mut Tx,
    checkout: &Checkout,
    (customer, plan): (&str, &str),
    actor: &Actor,
    link: impl Fn(Page, &str) -> String,
) -> Result<(), Error> {
    let details = checkout.customer_details.as_ref();
    let written = details.and_then(|details| details.email.as_deref()).or(checkout.customer_email.as_deref());
    let Some(email) = written.and_then(|email| email.parse::<Email>().ok()) else {
        return Ok(note_unmatched(tx, checkout, "it names no address to write to", actor).await?);
    };
    let has_account = sqlx::query_scalar!(
        r#"select exists (select from users where email_key = $1) as "there!""#,
        email.key(),
    )
    .fetch_one(tx.conn())
    .await?;
    let name = details.and_then(|details| one_line(details.name.as_deref()));
    let (code, access_code) = (secret::generate(), invites::access_code());
    let id = StripeInviteId::new();
    let made = sqlx::query!(
        "insert into stripe_invites (id, code_hash, access_code_hash, email, email_key, name, company_name, plan,
                                     stripe_customer_id, stripe_subscription_id, checkout_session_id, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict on constraint stripe_invites_session_key do nothing",
        id.0,
        secret::hash(&code),
        invites::access_code_hash(&access_code),
        email.as_str(),
        email.key(),
        name,
        one_line(checkout.metadata.company_name.as_deref()),
        plan,
        customer,
        checkout.subscription,
        checkout.id,
        jobs::clock::now() + invites::LIFETIME,
    )
    .execute(tx.conn())
    .await?;
    if made.rows_affected() == 0 {
        return Ok(());
    }
    let what = json!({ "plan": plan, "checkout": checkout.id });
    audit::record(tx, None, actor, Entry::new("stripe_invite", "created", id, what)).await?;
    let letter = Letter {
        to: email.as_str().to_owned(),
        name: name.unwrap_or("and welcome").to_owned(),
        subject: "Your payment has arrived: create your workspace".to_owned(),
        lines: vec![if has_account {
            "Thank you, your payment has arrived. One thing is left to do: sign in and create the workspace that it \
             is for."
                .to_owned()
        } else {
            "Thank you, your payment has arrived. One thing is left to do: create your account and your \
             workspace."
                .to_owned()
        }],
        action: Some(Action {
            label: "Create your workspace".to_owned(),
            url: link(if has_account { Page::NewWorkspace } else { Page::Register }, &code),
        }),
        after: vec![format!(
            "If you are asked for an access code, it is {access_code}. It belongs to this email address and can be \
             used once."
        )],
    };
    Ok(mail::notify(tx, letter, actor).await?)
}

/// Applies the present state of a subscription. Events arrive several times and in any order, so their content
/// is not used: Stripe is asked. It is asked again after each change, until the answer is the state that was
/// applied; so the last of several concurrent calls for the same subscription has seen its newest state.
async fn follow(database: &Database, account: &Account, id: &str, actor: &Actor) -> Result<(), Error> {
    let mut applied = None;
    for _ in 0..MAX_ROUNDS {
        let now = account.billing.subscription(id).await?;
        if now == applied {
            return Ok(());
        }
        let Some(subscription) = now else { return Ok(()) };
        let plan = match account.plan_for(&subscription) {
            _ if !subscription.is_live() => Some("free".to_owned()),
            plan => plan,
        };
        let mut tx = database.begin().await?;
        apply(&mut tx, &subscription, plan.as_deref(), actor).await?;
        tx.commit().await?;
        applied = Some(subscription);
    }
    // It changes faster than it is read: each change sends another event.
    Ok(())
}

/// Applies a subscription to the workspace that it pays for, and to an unused invite.
/// An unknown plan changes nothing.
async fn apply(
    tx: &mut Tx,
    subscription: &CurrentSubscription,
    plan: Option<&str>,
    actor: &Actor,
) -> Result<(), sqlx::Error> {
    let trial_ends_at = subscription.trial_ends_at.filter(|_| !subscription.is_over());
    let changed = sqlx::query!(
        "update workspaces
            set plan = coalesce($2, plan), trial_ends_at = $3, updated_at = now()
          where stripe_subscription_id = $1
            and (plan, trial_ends_at) is distinct from (coalesce($2, plan), $3::timestamptz)
         returning id, plan",
        subscription.id,
        plan,
        trial_ends_at,
    )
    .fetch_all(tx.conn())
    .await?;
    for workspace in changed {
        let what = json!({ "plan": workspace.plan, "status": subscription.status });
        let entry = Entry::new("workspace", "plan_changed", workspace.id, what);
        audit::record(tx, Some(workspace.id), actor, entry).await?;
    }
    sqlx::query!(
        "update stripe_invites
            set plan = coalesce($2, plan),
                expires_at = case when $3 then least(expires_at, now()) else expires_at end
          where stripe_subscription_id = $1 and used_at is null",
        subscription.id,
        plan,
        subscription.is_over(),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

//! What Stripe tells us: that a checkout is paid, that a subscription has changed. Each notice may come
//! several times and in any order; what it says is done once, in one transaction.

use chrono::{DateTime, Utc};
use jobs::{Database, Tx};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Account, Payments, invites};
use crate::{
    Actor, DomainError, Refusal, WorkspaceId,
    audit::{self, Entry},
    mail::{self, Action, Letter},
    secret,
    users::Email,
};

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// It isn't one.
    #[error("this is no notice of Stripe's")]
    Unreadable,
    /// The database failed.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

impl DomainError for NoticeError {
    fn refusal(&self) -> Refusal {
        match self {
            Self::Unreadable => Refusal::invalid("body", "is no notice of Stripe's"),
            Self::Database(error) => error.refusal(),
        }
    }
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

/// A checkout, as far as we read it.
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

/// What we, or whoever set up a payment link, have noted on an object.
#[derive(Default, Deserialize)]
struct Metadata {
    plan: Option<String>,
    company_name: Option<String>,
}

/// A subscription, as far as we read it.
#[derive(Deserialize)]
struct Subscription {
    id: String,
    #[serde(default)]
    status: String,
    trial_end: Option<i64>,
    #[serde(default)]
    items: Items,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Items {
    #[serde(default)]
    data: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    price: ItemPrice,
}

#[derive(Deserialize)]
struct ItemPrice {
    id: String,
}

/// Takes a notice whose signature is good. `register_link` makes the link to the registration of an
/// invite's code.
///
/// # Errors
/// [`NoticeError::Unreadable`]. A notice that doesn't concern us is taken, and nothing done.
pub async fn take(
    database: &Database,
    payments: &Payments,
    payload: &[u8],
    actor: &Actor,
    register_link: impl Fn(&str) -> String,
) -> Result<(), NoticeError> {
    let notice: Notice = serde_json::from_slice(payload).map_err(|_| NoticeError::Unreadable)?;
    let account = payments.account().ok();
    tracing::info!(id = notice.id, kind = notice.kind, "Stripe tells");
    match notice.kind.as_str() {
        "checkout.session.completed" | "checkout.session.async_payment_succeeded" => {
            let checkout = read::<Checkout>(notice.data.object)?;
            // Paid by a way that takes days: another notice comes when the money is there.
            let is_settled = checkout.mode == "subscription" && checkout.payment_status != "unpaid";
            match &checkout.customer {
                Some(customer) if is_settled => {
                    paid(database, account, &checkout, customer, actor, register_link).await
                }
                _ => Ok(()),
            }
        }
        "customer.subscription.updated" => {
            let subscription = read::<Subscription>(notice.data.object)?;
            let plan = match subscription.status.as_str() {
                "active" | "trialing" | "past_due" => plan_of(account, &subscription),
                _ => Some("free".to_owned()),
            };
            subscription_changed(database, &subscription, plan.as_deref(), false, actor).await
        }
        "customer.subscription.deleted" => {
            let subscription = read::<Subscription>(notice.data.object)?;
            subscription_changed(database, &subscription, Some("free"), true, actor).await
        }
        _ => Ok(()),
    }
}

fn read<T: for<'a> Deserialize<'a>>(object: Value) -> Result<T, NoticeError> {
    serde_json::from_value(object).map_err(|_| NoticeError::Unreadable)
}

/// What a subscription is for; none when neither its price nor its metadata tells us.
fn plan_of(account: Option<&Account>, subscription: &Subscription) -> Option<String> {
    let by_price = account
        .and_then(|account| subscription.items.data.iter().find_map(|item| account.plan_of(&item.price.id)));
    by_price.map(str::to_owned).or_else(|| known_plan(subscription.metadata.plan.as_deref()))
}

/// A name, if it is one that an account or a workspace may have.
fn one_line(text: Option<&str>) -> Option<&str> {
    text.map(str::trim)
        .filter(|text| !text.is_empty() && text.chars().count() <= 200 && !text.chars().any(char::is_control))
}

fn known_plan(plan: Option<&str>) -> Option<String> {
    plan.filter(|plan| super::PAID_PLANS.contains(plan)).map(str::to_owned)
}

/// A checkout is paid: by a workspace that we know, or by someone who has no account yet.
async fn paid(
    database: &Database,
    account: Option<&Account>,
    checkout: &Checkout,
    customer: &str,
    actor: &Actor,
    register_link: impl Fn(&str) -> String,
) -> Result<(), NoticeError> {
    let plan = known_plan(checkout.metadata.plan.as_deref())
        .or_else(|| account.map(|account| account.sign_up_price().plan.clone()));
    let Some(plan) = plan else {
        tracing::error!(checkout = checkout.id, "a checkout is paid, and nothing says for which plan");
        return Ok(());
    };
    if account.is_some_and(|account| !account.sells(&plan)) {
        tracing::warn!(checkout = checkout.id, plan, "a checkout is paid for a plan without a price here");
    }
    let mut tx = database.begin().await?;
    let ours = sqlx::query_scalar!(
        "update workspaces
            set plan = $2, stripe_subscription_id = coalesce($3, stripe_subscription_id), updated_at = now()
          where stripe_customer_id = $1
         returning id",
        customer,
        plan,
        checkout.subscription,
    )
    .fetch_all(tx.conn())
    .await?;
    for workspace in &ours {
        let what = json!({ "plan": plan, "checkout": checkout.id });
        let entry = Entry::new("workspace", "plan_changed", *workspace, what);
        audit::record(&mut tx, Some(WorkspaceId(*workspace)), actor, entry).await?;
    }
    if ours.is_empty() {
        invite(&mut tx, checkout, customer, &plan, actor, register_link).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// Invites whoever has paid, once per checkout, unless they have an account.
async fn invite(
    tx: &mut Tx,
    checkout: &Checkout,
    customer: &str,
    plan: &str,
    actor: &Actor,
    register_link: impl Fn(&str) -> String,
) -> Result<(), NoticeError> {
    let details = checkout.customer_details.as_ref();
    let written = details.and_then(|details| details.email.as_deref()).or(checkout.customer_email.as_deref());
    let Some(email) = written.and_then(|email| email.parse::<Email>().ok()) else {
        tracing::error!(checkout = checkout.id, "a checkout is paid, and names no address to write to");
        return Ok(());
    };
    let has_account = sqlx::query_scalar!(
        r#"select exists (select from users where email_key = $1) as "there!""#,
        email.key(),
    )
    .fetch_one(tx.conn())
    .await?;
    if has_account {
        tracing::warn!(checkout = checkout.id, "a checkout is paid by someone who has an account already");
        return Ok(());
    }
    let name = details.and_then(|details| one_line(details.name.as_deref()));
    let (code, access_code) = (secret::generate(), invites::access_code());
    let id = Uuid::now_v7();
    let made = sqlx::query!(
        "insert into stripe_invites (id, code_hash, access_code_hash, email, email_key, name, company_name, plan,
                                     stripe_customer_id, stripe_subscription_id, checkout_session_id, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
         on conflict on constraint stripe_invites_session_key do nothing",
        id,
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
        subject: "Your payment has arrived: make your workspace".to_owned(),
        lines: vec![
            "thank you, your payment has arrived. One thing is left to do: make your account and your \
             workspace."
                .to_owned(),
        ],
        action: Some(Action { label: "Make your workspace".to_owned(), url: register_link(&code) }),
        after: vec![format!(
            "If you are asked for an access code, it is {access_code}. It belongs to this email address and is \
             good once."
        )],
    };
    Ok(mail::notify(tx, letter, actor).await?)
}

/// A subscription has changed, or is over: so do the workspace that it pays for, and an invite that nobody
/// has used yet.
async fn subscription_changed(
    database: &Database,
    subscription: &Subscription,
    plan: Option<&str>,
    is_over: bool,
    actor: &Actor,
) -> Result<(), NoticeError> {
    let trial_ends_at = subscription.trial_end.and_then(|at| DateTime::<Utc>::from_timestamp(at, 0));
    let mut tx = database.begin().await?;
    let changed = sqlx::query!(
        "update workspaces
            set plan = coalesce($2, plan), trial_ends_at = case when $3 then null else $4::timestamptz end, updated_at = now()
          where stripe_subscription_id = $1
         returning id, plan",
        subscription.id,
        plan,
        is_over,
        trial_ends_at,
    )
    .fetch_all(tx.conn())
    .await?;
    for workspace in changed {
        let what = json!({ "plan": workspace.plan, "status": subscription.status });
        let entry = Entry::new("workspace", "plan_changed", workspace.id, what);
        audit::record(&mut tx, Some(WorkspaceId(workspace.id)), actor, entry).await?;
    }
    sqlx::query!(
        "update stripe_invites
            set plan = coalesce($2, plan), expires_at = case when $3 then least(expires_at, now()) else expires_at end
          where stripe_subscription_id = $1 and used_at is null",
        subscription.id,
        plan,
        is_over,
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(())
}

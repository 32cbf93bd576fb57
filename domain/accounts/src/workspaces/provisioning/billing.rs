//! Billing of a new workspace: a customer at Stripe, and then either a subscription, if the owner has given
//! a payment method, or a checkout page.
//!
//! The objects that Stripe has created are recorded at once, each in a commit of its own, and never created
//! again. After a kill in between, the request is repeated under the same key, and Stripe answers the same
//! object.

use domain::{
    Actor,
    audit::{self, Entry},
};
use jobs::Database;
use runtime::{
    stripe::{Account, NewCheckout, NewCustomer, NewSubscription, Payments},
    web_app,
};
use serde_json::json;
use url::Url;

use super::ProvisioningError;
use crate::signups::{Door, Signup};

/// Sets up the billing of a sign-up's workspace, where payments are enabled.
///
/// # Errors
/// [`ProvisioningError::Stripe`]; [`ProvisioningError::NotConfigured`] if the owner has given a payment
/// method, and payments are not enabled in this process.
pub async fn start_billing(
    database: &Database,
    payments: &Payments,
    signup: &Signup,
    app_url: &Url,
    actor: &Actor,
) -> Result<(), ProvisioningError> {
    if signup.door != Door::Signup {
        return Ok(());
    }
    let account = match (payments.account(), &signup.payment_method_id) {
        (Ok(account), _) => account,
        (Err(_), None) => return Ok(()),
        (Err(error), Some(_)) => return Err(error.into()),
    };
    let noted = sqlx::query!(
        "select w.stripe_customer_id, w.stripe_subscription_id, s.checkout_url
           from signups s join workspaces w on w.id = s.workspace_id
          where s.id = $1",
        signup.id.0,
    )
    .fetch_one(&database.pool)
    .await?;
    let customer = match noted.stripe_customer_id {
        Some(customer) => customer,
        None => make_customer(database, account, signup).await?,
    };
    match &signup.payment_method_id {
        Some(method) if noted.stripe_subscription_id.is_none() => {
            subscribe(database, account, signup, &customer, method, actor).await
        }
        None if noted.checkout_url.is_none() => {
            open_checkout(database, account, signup, &customer, app_url).await
        }
        _ => Ok(()),
    }
}

async fn make_customer(
    database: &Database,
    account: &Account,
    signup: &Signup,
) -> Result<String, ProvisioningError> {
    let new = NewCustomer {
        email: &signup.email,
        name: &signup.company_name,
        workspace: signup.workspace_id.0,
        payment_method: signup.payment_method_id.as_deref(),
    };
    let customer = account.billing.create_customer(&format!("{}-customer", signup.id), &new).await?;
    let mut tx = database.begin().await?;
    sqlx::query!(
        "update workspaces set stripe_customer_id = $2, updated_at = now() where id = $1",
        signup.workspace_id.0,
        customer,
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(customer)
}

async fn subscribe(
    database: &Database,
    account: &Account,
    signup: &Signup,
    customer: &str,
    payment_method: &str,
    actor: &Actor,
) -> Result<(), ProvisioningError> {
    let price = account.sign_up_price();
    let new = NewSubscription {
        customer,
        price,
        workspace: signup.workspace_id.0,
        payment_method,
        trial_days: account.trial_days,
    };
    let subscription = account.billing.subscribe(&format!("{}-subscription", signup.id), &new).await?;
    let mut tx = database.begin().await?;
    sqlx::query!(
        "update workspaces
            set plan = $2, stripe_subscription_id = $3, trial_ends_at = $4, updated_at = now()
          where id = $1",
        signup.workspace_id.0,
        price.plan,
        subscription.id,
        subscription.trial_ends_at,
    )
    .execute(tx.conn())
    .await?;
    let what = json!({ "plan": price.plan, "trial_ends_at": subscription.trial_ends_at });
    let entry = Entry::new("workspace", "plan_changed", signup.workspace_id, what);
    audit::record(&mut tx, Some(signup.workspace_id), actor, entry).await?;
    tx.commit().await?;
    Ok(())
}

async fn open_checkout(
    database: &Database,
    account: &Account,
    signup: &Signup,
    customer: &str,
    app_url: &Url,
) -> Result<(), ProvisioningError> {
    let page = web_app::link(app_url, "billing", &[("workspace_id", &signup.workspace_id.to_string())]);
    let new = NewCheckout {
        customer,
        price: account.sign_up_price(),
        workspace: signup.workspace_id.0,
        trial_days: account.trial_days,
        // Not escaped: Stripe searches for exactly these characters.
        success_url: &format!("{page}&session_id={{CHECKOUT_SESSION_ID}}"),
        cancel_url: &page,
    };
    let url = account.billing.open_checkout(&format!("{}-checkout", signup.id), &new).await?;
    let mut tx = database.begin().await?;
    sqlx::query!("update signups set checkout_url = $2 where id = $1", signup.id.0, url)
        .execute(tx.conn())
        .await?;
    tx.commit().await?;
    Ok(())
}

//! Stripe: payments for workspaces. The requests of an installation are [`Billing`], which has one real
//! client; in an installation without a key payments are not enabled ([`NotConfigured`]).
//!
//! Nothing here is called inside a transaction of the database. Objects at Stripe are created under an
//! idempotency key that stays the same for all retries, so that a killed job creates one only once.

mod client;
mod signature;
mod transport;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use url::Url;
use uuid::Uuid;

use crate::settings::{SettingError, Settings};
use client::StripeClient;
pub use signature::{SignatureError, WebhookSecret};

/// URL of Stripe's API.
const API_URL: &str = "https://api.stripe.com";
/// Default length of the trial of a subscription, in days.
const TRIAL_DAYS: u32 = 3;
/// Maximum length of a trial at Stripe, in days.
const MAX_TRIAL_DAYS: u32 = 730;
/// Plans with a price.
const PAID_PLANS: [&str; 3] = ["starter", "growth", "enterprise"];

/// Requests to Stripe. Each `key` permanently names one object to create.
#[async_trait]
pub trait Billing: fmt::Debug + Send + Sync {
    /// Creates a customer; answers its id.
    async fn create_customer(&self, key: &str, customer: &NewCustomer<'_>) -> Result<String, StripeError>;

    /// Starts a subscription that charges the customer's payment method after its trial.
    async fn subscribe(&self, key: &str, new: &NewSubscription<'_>) -> Result<Subscription, StripeError>;

    /// Opens a page where the customer enters a payment method; answers its URL.
    async fn open_checkout(&self, key: &str, new: &NewCheckout<'_>) -> Result<String, StripeError>;

    /// The present state of a subscription; none if it doesn't exist.
    async fn subscription(&self, id: &str) -> Result<Option<CurrentSubscription>, StripeError>;
}

/// A customer to create.
#[derive(Debug, Clone, Copy)]
pub struct NewCustomer<'a> {
    /// Email address for receipts.
    pub email: &'a str,
    /// Name of the workspace.
    pub name: &'a str,
    /// Workspace id.
    pub workspace: Uuid,
    /// Id of the payment method, if given.
    pub payment_method: Option<&'a str>,
}

/// A subscription to start.
#[derive(Debug, Clone, Copy)]
pub struct NewSubscription<'a> {
    /// Customer id.
    pub customer: &'a str,
    /// Price.
    pub price: &'a Price,
    /// Workspace id.
    pub workspace: Uuid,
    /// Id of the payment method.
    pub payment_method: &'a str,
    /// Length of the trial in days.
    pub trial_days: u32,
}

/// A checkout page to open.
#[derive(Debug, Clone, Copy)]
pub struct NewCheckout<'a> {
    /// Customer id.
    pub customer: &'a str,
    /// Price.
    pub price: &'a Price,
    /// Workspace id.
    pub workspace: Uuid,
    /// Length of the trial in days.
    pub trial_days: u32,
    /// URL after the payment; Stripe replaces `{CHECKOUT_SESSION_ID}` by its session's id.
    pub success_url: &'a str,
    /// URL after cancelling.
    pub cancel_url: &'a str,
}

/// A new subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Subscription id.
    pub id: String,
    /// End of the trial.
    pub trial_ends_at: Option<DateTime<Utc>>,
}

/// The present state of a subscription at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentSubscription {
    /// Subscription id.
    pub id: String,
    /// Status, in Stripe's terms.
    pub status: String,
    /// Ids of its prices.
    pub prices: Vec<String>,
    /// Plan in its metadata.
    pub noted_plan: Option<String>,
    /// End of the trial.
    pub trial_ends_at: Option<DateTime<Utc>>,
    /// Start time, in seconds since 1970.
    pub created: i64,
}

impl CurrentSubscription {
    /// Whether it is active, paid or in its trial.
    pub fn is_live(&self) -> bool {
        matches!(self.status.as_str(), "active" | "trialing" | "past_due")
    }

    /// Whether it has ended permanently.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

/// A plan, and its price at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Plan: `starter`, `growth` or `enterprise`.
    pub plan: String,
    /// Price id.
    pub id: String,
}

impl std::str::FromStr for Price {
    type Err = &'static str;

    /// `plan=price_id`
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plan, id) = text.split_once('=').ok_or("expected plan=price_id, separated by commas")?;
        let (plan, id) = (plan.trim(), id.trim());
        if !PAID_PLANS.contains(&plan) {
            return Err("expected the plans starter, growth and enterprise");
        }
        if id.is_empty() {
            return Err("expected a price for each plan");
        }
        Ok(Self { plan: plan.to_owned(), id: id.to_owned() })
    }
}

/// The reason why a request to Stripe failed.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// The payment method was refused; with Stripe's reason for the payer.
    #[error("{0}")]
    Refused(String),
    /// It is unreachable, or busy.
    #[error("the payment service does not answer at present: {0}")]
    NotNow(String),
    /// The installation's key or prices are invalid.
    #[error("Stripe refuses this installation: {0}")]
    Misconfigured(String),
}

/// Payments are not enabled in this installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("payments are not enabled in this installation: Stripe is not configured")]
pub struct NotConfigured;

/// Access to payments; by default they are not enabled.
#[derive(Debug, Clone, Default)]
pub struct Payments {
    account: Option<Account>,
    webhook_secret: Option<WebhookSecret>,
}

/// An account at Stripe, and its prices.
#[derive(Debug, Clone)]
pub struct Account {
    /// Client.
    pub billing: Arc<dyn Billing>,
    /// Length of the trial in days.
    pub trial_days: u32,
    prices: Arc<[Price]>,
    sign_up: Price,
}

impl Account {
    /// Price of a sign-up.
    #[must_use]
    pub fn sign_up_price(&self) -> &Price {
        &self.sign_up
    }

    /// The plan that has this price.
    pub fn plan_of(&self, price: &str) -> Option<&str> {
        self.prices.iter().find(|known| known.id == price).map(|known| known.plan.as_str())
    }

    /// The plan of that name, if it has a price here.
    pub fn sold<'a>(&self, plan: Option<&'a str>) -> Option<&'a str> {
        plan.filter(|plan| self.prices.iter().any(|known| known.plan == *plan))
    }

    /// The plan of a subscription; none if it is for no price of this installation.
    pub fn plan_for(&self, subscription: &CurrentSubscription) -> Option<String> {
        let by_price = subscription.prices.iter().find_map(|price| self.plan_of(price));
        by_price.or_else(|| self.sold(subscription.noted_plan.as_deref())).map(str::to_owned)
    }
}

impl Payments {
    /// `STRIPE_SECRET_KEY` with `STRIPE_PRICES` (`plan=price_id` with commas between; a sign-up starts with the
    /// first), `STRIPE_TRIAL_DAYS` and `STRIPE_API_URL`; `STRIPE_WEBHOOK_SECRET` for Stripe's webhook events.
    ///
    /// # Errors
    /// The first variable that is missing or malformed. Without a key none is missing.
    ///
    /// # Panics
    /// Never: the address it expects is our own.
    pub fn from_settings(settings: &Settings) -> Result<Self, SettingError> {
        let webhook_secret = settings.optional("STRIPE_WEBHOOK_SECRET")?;
        let url = settings.base_url("STRIPE_API_URL")?;
        let prices: Vec<Price> = settings.list("STRIPE_PRICES")?;
        let trial_days = settings.within("STRIPE_TRIAL_DAYS", TRIAL_DAYS, 0..=MAX_TRIAL_DAYS)?;
        let Some(key) = settings.get("STRIPE_SECRET_KEY") else {
            // The subject of an event is fetched from Stripe.
            return match webhook_secret {
                Some(_) => Err(SettingError::Missing("STRIPE_SECRET_KEY")),
                None => Ok(Self::default()),
            };
        };
        let url = url.unwrap_or_else(|| Url::parse(API_URL).expect("a URL of our own"));
        let client = StripeClient::new(key.trim(), url)
            .map_err(|reason| SettingError::malformed("STRIPE_SECRET_KEY", reason))?;
        let sign_up = prices.first().cloned().ok_or(SettingError::Missing("STRIPE_PRICES"))?;
        let account = Account { billing: Arc::new(client), trial_days, prices: prices.into(), sign_up };
        Ok(Self { account: Some(account), webhook_secret })
    }

    /// The account.
    ///
    /// # Errors
    /// [`NotConfigured`].
    pub fn account(&self) -> Result<&Account, NotConfigured> {
        self.account.as_ref().ok_or(NotConfigured)
    }

    /// The secret with which Stripe signs its webhook events.
    ///
    /// # Errors
    /// [`NotConfigured`].
    pub fn webhook_secret(&self) -> Result<&WebhookSecret, NotConfigured> {
        self.webhook_secret.as_ref().ok_or(NotConfigured)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payments(pairs: &[(&str, &str)]) -> Result<Payments, SettingError> {
        let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Payments::from_settings(&settings)
    }

    #[test]
    fn without_a_key_no_payments_are_taken_and_nothing_is_missing() {
        assert_eq!(payments(&[]).unwrap().account().unwrap_err(), NotConfigured);
        let secret_only = payments(&[("STRIPE_WEBHOOK_SECRET", "whsec_1")]);
        assert_eq!(secret_only.unwrap_err(), SettingError::Missing("STRIPE_SECRET_KEY"));
    }

    #[test]
    fn a_key_needs_prices_of_plans_that_exist() {
        let key = ("STRIPE_SECRET_KEY", "sk_test_1");
        assert_eq!(payments(&[key]).unwrap_err(), SettingError::Missing("STRIPE_PRICES"));
        assert!(payments(&[key, ("STRIPE_PRICES", "free=price_1")]).is_err());
        assert!(payments(&[key, ("STRIPE_PRICES", "starter")]).is_err());
        let good = payments(&[key, ("STRIPE_PRICES", "growth=price_2, starter=price_1")]).unwrap();
        let account = good.account().unwrap();
        assert_eq!(account.sign_up_price().plan, "growth");
        assert_eq!((account.plan_of("price_1"), account.trial_days), (Some("starter"), 3));
    }
}

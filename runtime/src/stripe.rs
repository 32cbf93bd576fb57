//! Stripe: who pays for a workspace. What an installation may ask of it is [`Billing`], which has one real
//! client; an installation without a key takes no payments and says so ([`NotConfigured`]).
//!
//! Nothing here is called inside a transaction of the database. What is created at Stripe is created under an
//! idempotency key that stays the same however often it is asked for, so that a killed job makes it once.

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

/// Where Stripe is.
const API_URL: &str = "https://api.stripe.com";
/// How long a subscription is free at first, in days, unless the installation says otherwise.
const TRIAL_DAYS: u32 = 3;
/// The longest trial that Stripe takes.
const MAX_TRIAL_DAYS: u32 = 730;
/// The plans that one may pay for.
const PAID_PLANS: [&str; 3] = ["starter", "growth", "enterprise"];

/// What Millrace asks of Stripe. Each `key` names one thing to create, for ever.
#[async_trait]
pub trait Billing: fmt::Debug + Send + Sync {
    /// Makes a customer; answers its id.
    async fn create_customer(&self, key: &str, customer: &NewCustomer<'_>) -> Result<String, StripeError>;

    /// Starts a subscription that charges the customer's payment method after its trial.
    async fn subscribe(&self, key: &str, new: &NewSubscription<'_>) -> Result<Subscription, StripeError>;

    /// Opens a page where the customer says how they pay; answers its URL.
    async fn open_checkout(&self, key: &str, new: &NewCheckout<'_>) -> Result<String, StripeError>;

    /// A subscription as it is now; none when there is no such.
    async fn subscription(&self, id: &str) -> Result<Option<CurrentSubscription>, StripeError>;
}

/// Someone who is to pay.
#[derive(Debug, Clone, Copy)]
pub struct NewCustomer<'a> {
    /// Where receipts go.
    pub email: &'a str,
    /// What the workspace is called.
    pub name: &'a str,
    /// The workspace.
    pub workspace: Uuid,
    /// What they pay with, if they have said so.
    pub payment_method: Option<&'a str>,
}

/// A subscription to start.
#[derive(Debug, Clone, Copy)]
pub struct NewSubscription<'a> {
    /// Who pays.
    pub customer: &'a str,
    /// For what.
    pub price: &'a Price,
    /// For which workspace.
    pub workspace: Uuid,
    /// With what.
    pub payment_method: &'a str,
    /// How many days are free.
    pub trial_days: u32,
}

/// A page to pay on.
#[derive(Debug, Clone, Copy)]
pub struct NewCheckout<'a> {
    /// Who pays.
    pub customer: &'a str,
    /// For what.
    pub price: &'a Price,
    /// For which workspace.
    pub workspace: Uuid,
    /// How many days are free.
    pub trial_days: u32,
    /// Where the customer goes afterwards; Stripe puts its session's id in place of `{CHECKOUT_SESSION_ID}`.
    pub success_url: &'a str,
    /// Where they go when they change their mind.
    pub cancel_url: &'a str,
}

/// A subscription, as Stripe tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its id.
    pub id: String,
    /// Until when it is free.
    pub trial_ends_at: Option<DateTime<Utc>>,
}

/// A subscription, as it is at Stripe now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentSubscription {
    /// Its id.
    pub id: String,
    /// How it stands, in Stripe's words.
    pub status: String,
    /// The ids of the prices that it is for.
    pub prices: Vec<String>,
    /// The plan that its metadata names.
    pub noted_plan: Option<String>,
    /// Until when it is free.
    pub trial_ends_at: Option<DateTime<Utc>>,
    /// When it began, in seconds since 1970.
    pub created: i64,
}

impl CurrentSubscription {
    /// Whether it is paid for, or is to be: what it is for may be used.
    pub fn is_live(&self) -> bool {
        matches!(self.status.as_str(), "active" | "trialing" | "past_due")
    }

    /// Whether it has ended for good.
    pub fn is_over(&self) -> bool {
        matches!(self.status.as_str(), "canceled" | "incomplete_expired")
    }
}

/// A plan, and what it is called at Stripe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// `starter`, `growth` or `enterprise`.
    pub plan: String,
    /// The price's id.
    pub id: String,
}

impl std::str::FromStr for Price {
    type Err = &'static str;

    /// `plan=price_id`
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (plan, id) = text.split_once('=').ok_or("needs plan=price_id, separated by commas")?;
        let (plan, id) = (plan.trim(), id.trim());
        if !PAID_PLANS.contains(&plan) {
            return Err("knows the plans starter, growth and enterprise");
        }
        if id.is_empty() {
            return Err("needs a price for each plan");
        }
        Ok(Self { plan: plan.to_owned(), id: id.to_owned() })
    }
}

/// Why Stripe did not do as it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StripeError {
    /// What someone wants to pay with was refused; Stripe says why, to them.
    #[error("{0}")]
    Refused(String),
    /// It is away, or busy.
    #[error("the payment service does not answer just now: {0}")]
    NotNow(String),
    /// The installation's key or prices are not good.
    #[error("Stripe refuses this installation: {0}")]
    Misconfigured(String),
}

/// This installation takes no payments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this installation takes no payments: Stripe is not configured")]
pub struct NotConfigured;

/// How an installation takes payments; by default it takes none.
#[derive(Debug, Clone, Default)]
pub struct Payments {
    account: Option<Account>,
    webhook_secret: Option<WebhookSecret>,
}

/// An account at Stripe, and what it sells.
#[derive(Debug, Clone)]
pub struct Account {
    /// What asks Stripe.
    pub billing: Arc<dyn Billing>,
    /// How many days of a subscription are free.
    pub trial_days: u32,
    prices: Arc<[Price]>,
    sign_up: Price,
}

impl Account {
    /// What a sign-up starts with.
    #[must_use]
    pub fn sign_up_price(&self) -> &Price {
        &self.sign_up
    }

    /// The plan that has this price.
    pub fn plan_of(&self, price: &str) -> Option<&str> {
        self.prices.iter().find(|known| known.id == price).map(|known| known.plan.as_str())
    }

    /// The plan of that name, if it is sold here.
    pub fn sold<'a>(&self, plan: Option<&'a str>) -> Option<&'a str> {
        plan.filter(|plan| self.prices.iter().any(|known| known.plan == *plan))
    }

    /// The plan that a subscription is for; none when it is for nothing that is sold here.
    pub fn plan_for(&self, subscription: &CurrentSubscription) -> Option<String> {
        let by_price = subscription.prices.iter().find_map(|price| self.plan_of(price));
        by_price.or_else(|| self.sold(subscription.noted_plan.as_deref())).map(str::to_owned)
    }
}

impl Payments {
    /// `STRIPE_SECRET_KEY` with `STRIPE_PRICES` (`plan=price_id` with commas between; a sign-up starts with the
    /// first), `STRIPE_TRIAL_DAYS` and `STRIPE_API_URL`; `STRIPE_WEBHOOK_SECRET` for what Stripe tells us.
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
            // What a notice is about is asked of Stripe.
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

    /// What Stripe signs its notices with.
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

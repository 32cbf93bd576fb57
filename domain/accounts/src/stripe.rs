//! The effects of Stripe: invites after payments, and the webhook events about
//! subscriptions. The client is [`runtime::stripe`].

pub mod invites;
pub mod notices;

domain::ids! {
    /// An invitation to sign up that was paid for.
    StripeInviteId = "stripe_invite",
}

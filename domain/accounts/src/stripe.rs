//! The effects of Stripe: invites after payments, and the webhook events about
//! subscriptions. The client is [`runtime::stripe`].

pub mod invites;
pub mod notices;

domain::ids! {
    /// A paid invitation to sign up.
    StripeInviteId = "stripe_invite",
}

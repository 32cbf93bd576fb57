//! What Stripe brings about: invitations to sign up that were paid for, and what its webhook events say of
//! subscriptions. The client is [`runtime::stripe`].

pub mod invites;
pub mod notices;

domain::ids! {
    /// An invitation to sign up that was paid for.
    StripeInviteId = "stripe_invite",
}

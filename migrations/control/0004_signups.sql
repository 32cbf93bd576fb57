-- Doors: the ways to a workspace. Each of sign-up, paying through Stripe, creating and provisioning is a row of
-- signups and one provisioning job.
-- Runs with search_path = control, ext.

-- A sign-up reserves its email from the request until its job has ended.
create table signups (
    id                uuid primary key,
    door              text not null default 'signup'
                      check (door in ('signup', 'stripe_invite', 'create', 'provision')),
    token_hash        bytea,                      -- sha256 of the token that names it in URLs
    email             text not null,
    email_key         text not null,
    full_name         text not null,
    company_name      text not null,
    password_hash     text,                       -- gone once the account exists
    clerk_id          text,
    stripe_invite_id  uuid,
    payment_method_id text,
    checkout_url      text,                       -- where to pay, when Stripe says so
    makes_user        boolean not null default true,
    skip_seed         boolean not null default false,
    user_id           uuid not null,              -- chosen now, so that every attempt creates the same
    workspace_id      uuid not null,
    job_id            uuid not null,
    session_id        uuid,                       -- opened by the first delivery of its end
    state             text not null default 'pending' check (state in ('pending', 'completed', 'abandoned')),
    user_agent        text,
    ip                text,
    created_at        timestamptz not null default now(),
    constraint signups_token_key unique (token_hash)
);

create unique index signups_email_key on signups (email_key) where state = 'pending' and makes_user;
create index signups_by_job on signups (job_id);
-- Ended sign-ups and used invites go after a while: they hold addresses.
create index signups_ended on signups (created_at) where state <> 'pending';

-- Someone has paid through Stripe and has no account yet.
create table stripe_invites (
    id                     uuid primary key,
    code_hash              bytea not null,
    access_code_hash       bytea not null,
    email                  text not null,
    email_key              text not null,
    name                   text,
    company_name           text,
    plan                   text not null check (plan in ('free', 'starter', 'growth', 'enterprise')),
    stripe_customer_id     text not null,
    stripe_subscription_id text,
    checkout_session_id    text not null,
    created_at             timestamptz not null default now(),
    expires_at             timestamptz not null,
    used_at                timestamptz,
    constraint stripe_invites_code_key unique (code_hash),
    constraint stripe_invites_session_key unique (checkout_session_id)
);

create index stripe_invites_by_email on stripe_invites (email_key) where used_at is null;

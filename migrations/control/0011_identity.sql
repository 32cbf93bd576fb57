-- Identity: which links prove an address, changes of an address, and how much mail goes out.
-- Runs with search_path = control, ext.

-- A change of address waits here until its link, which was mailed to the new address, is used.
alter table users
    add column pending_email     text,
    add column pending_email_key text;

-- A link that was mailed proves the address of the account it is for; one that was handed over does not.
alter table account_tokens
    add column is_mailed boolean not null default false,
    drop constraint account_tokens_purpose_check,
    add constraint account_tokens_purpose_check check (purpose in ('activation', 'password_reset', 'email_change'));

alter table invitations
    add column is_mailed boolean not null default false; -- whether the newest token was mailed, and to nobody else

alter table sessions
    drop constraint sessions_revoked_for_check,
    add constraint sessions_revoked_for_check check (revoked_for in
        ('logout', 'token_reuse', 'revoked', 'password_changed', 'deactivated', 'email_changed'));

-- How much mail may be enqueued; changed here, it holds at once. A subject without a row has no limit.
create table mail_limits (
    subject text primary key check (subject in
        ('recipient', 'recipient_of_member', 'visitor', 'member', 'workspace')),
    mails   integer not null check (mails > 0),
    seconds integer not null check (seconds > 0)
);

insert into mail_limits (subject, mails, seconds) values
    ('recipient',           5,  3600),            -- to one address, asked for by anybody who names it
    ('recipient_of_member', 10, 3600),            -- to one address, by all members of all workspaces
    ('visitor',             60, 3600),            -- asked for by visitors from one network
    ('member',              100, 3600),           -- caused by one person or key
    ('workspace',           500, 86400);          -- sent in the name of one workspace

-- Mail enqueued in a window that began with its first mail, by subject (hashed).
create unlogged table mail_counts (
    subject bytea primary key,
    mails   integer not null,
    ends_at timestamptz not null
);

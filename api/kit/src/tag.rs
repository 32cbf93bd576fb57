//! The sections of the contract, as tags of the documents.

use poem_openapi::Tags;

/// A section of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Tags)]
pub enum Tag {
    /// Signing up, in and out.
    Authentication,
    /// Where people work together, and who they are.
    Workspaces,
    /// Which parts of the product are on, and how they are set up.
    #[oai(rename = "Module Settings")]
    ModuleSettings,
    /// The people of a workspace.
    Members,
    /// Groups of members.
    Teams,
    /// Whether a workspace is set up, and its tables are up to date.
    #[oai(rename = "Workspace Health")]
    WorkspaceHealth,
    /// What Stripe tells about payments.
    Billing,
    /// What each role may do.
    Permissions,
    /// Keys for programs: issue them, pause them, end them.
    #[oai(rename = "API Keys")]
    ApiKeys,
    /// Plan, limits and what is used of them.
    Tenants,
    /// Who did what.
    Audit,
    /// How a workspace wants to be kept.
    Governance,
    /// Who is behind a token, and what it opens.
    #[oai(rename = "Token API")]
    TokenApi,
    /// Tokens for people's programs.
    #[oai(rename = "Personal Tokens")]
    PersonalTokens,
    /// Tables of records, and their fields.
    Recordsets,
    /// The rows of recordsets.
    Records,
    /// Files into records.
    #[oai(rename = "Recordset Import")]
    RecordsetImport,
    /// Records into files.
    #[oai(rename = "Recordset Export")]
    RecordsetExport,
    /// Long work: watch it, cancel it, try it again.
    Jobs,
    /// Jobs that have failed for good: look why, try again, or put away.
    #[oai(rename = "Dead Letters")]
    DeadLetters,
    /// Jobs that have failed for good, as messages of a dead-letter queue.
    #[oai(rename = "DLQ")]
    Dlq,
    /// Work at times of your choice: once, or again and again.
    #[oai(rename = "Scheduled Jobs")]
    ScheduledJobs,
    /// Accounts: who may sign in, who is staff.
    Accounts,
    /// What waits and runs in each pool.
    Queues,
    /// The processes that run jobs.
    Workers,
    /// What is not to begin for now.
    Pauses,
    /// How many jobs may run at once, and start in a period.
    Limits,
    /// Tenants' parts of a busy pool.
    Shares,
    /// What ran in the past.
    Throughput,
    /// Whether the service is up, its documentation, and what apps ask before anybody has signed in.
    Public,
}

//! Jobs as clients configure them: scheduled jobs, and the set of job kinds.

pub mod job_kinds;
pub mod scheduled_jobs;

/// Registers the job kinds of all areas in the process. Every program does so at its start.
pub fn install_kinds() {
    jobs::kinds::install(&[
        domain::job_kinds::KINDS,
        domain_accounts::job_kinds::KINDS,
        domain_data::job_kinds::KINDS,
        domain_people::job_kinds::KINDS,
        job_kinds::KINDS,
    ]);
}

-- Why a schedule was disabled by the installation: who made it may not have it run any more.

alter table schedules
    add column disabled_reason text;                          -- null: enabled, or disabled by request

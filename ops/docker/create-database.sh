#!/bin/sh
# Runs once, when the database is made: what only a superuser can arrange.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$MILLRACE_PASSWORD" -U postgres <<'SQL'
create role millrace login createrole password :'password';
create database millrace owner millrace;
\connect millrace
create schema ext;
create extension postgis schema ext;
grant usage on schema ext to public;
SQL

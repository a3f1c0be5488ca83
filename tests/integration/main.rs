//! sessiond from outside: the real program, real sockets, real clients and servers.
//!
//! Every test starts what it needs on free ports and in a directory of its own,
//! and every wait in it has a deadline.

mod access;
mod activation;
mod admin;
mod conditions;
mod configuration;
mod control;
mod counting;
mod crawl;
mod databases;
mod delivery;
mod documents;
mod door;
mod endings;
mod events;
mod exposition;
mod health;
mod history;
mod hosts;
mod house;
mod killing;
mod limits;
mod logins;
mod maxctrl;
mod metrics;
mod mutation;
mod observe_databases;
mod observe_mariadb;
mod observe_postgresql;
mod openapi;
mod operator;
mod packaging;
mod page;
mod page_kill;
mod page_look;
mod probes;
mod property;
mod proxied;
mod proxy_headers;
mod query;
mod races;
mod reasons;
mod refusals;
mod relay;
mod reload;
mod soak;
mod starting;
mod stopping;
mod support;
mod systemd;
mod terminal;
mod top;
mod transparency;
mod unit;

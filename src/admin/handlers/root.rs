//! `/v1`: which program this is, where its collections are, and what whoever
//! asks may do.

use super::Context;
use crate::config::Role;
use crate::jsonapi::{Emit, Key, Query, View, Writer, key};
use crate::time::asctime;

const LINKS: [(&Key, &str); 5] = [
    (key!("self"), "/v1"),
    (key!("sessions"), "/v1/sessions/"),
    (key!("services"), "/v1/services/"),
    (key!("servers"), "/v1/servers/"),
    (key!("listeners"), "/v1/listeners/"),
];

pub(super) fn document(context: &Context, role: Role, query: &Query, view: &View) -> Vec<u8> {
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key(key!("links"));
    writer.begin_object();
    for (key, path) in LINKS {
        writer.key(key);
        view.links.write_path(&mut writer, path);
    }
    writer.end_object();
    writer.key(key!("meta"));
    writer.begin_object();
    writer.member(key!("name"), env!("CARGO_PKG_NAME"));
    writer.member(key!("version"), env!("CARGO_PKG_VERSION"));
    writer.member(key!("started"), &asctime(context.registry.started));
    writer.member_number(key!("uptime"), context.began.elapsed().as_secs());
    writer.member(key!("role"), role.as_str());
    writer.end_object();
    writer.end_object();
    writer.finish()
}

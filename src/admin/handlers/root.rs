//! `/v1`: which program this is, where its collections are, and what whoever
//! asks may do.

use super::Context;
use crate::config::Role;
use crate::jsonapi::{Emit, Query, View, Writer};
use crate::time::asctime;

const LINKS: [(&str, &str); 5] = [
    ("self", "/v1"),
    ("sessions", "/v1/sessions/"),
    ("services", "/v1/services/"),
    ("servers", "/v1/servers/"),
    ("listeners", "/v1/listeners/"),
];

pub(super) fn document(context: &Context, role: Role, query: &Query, view: &View) -> String {
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key("links");
    writer.begin_object();
    for (name, path) in LINKS {
        writer.key(name);
        view.links.write_path(&mut writer, path);
    }
    writer.end_object();
    writer.key("meta");
    writer.begin_object();
    writer.member("name", env!("CARGO_PKG_NAME"));
    writer.member("version", env!("CARGO_PKG_VERSION"));
    writer.member("started", &asctime(context.registry.started));
    writer.member_number("uptime", context.began.elapsed().as_secs());
    writer.member("role", role.as_str());
    writer.end_object();
    writer.end_object();
    writer.finish()
}

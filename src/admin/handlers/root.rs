//! `/` and `/v1`: which program this is, and where its collections are.

use super::Context;
use crate::admin::reply::asctime;
use crate::jsonapi::{Links, Query, Writer};

pub(super) fn document(context: &Context, query: &Query, links: &Links) -> String {
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key("links");
    writer.begin_object();
    for (name, path) in [("self", "/v1"), ("sessions", "/v1/sessions/")] {
        writer.key(name);
        links.write_path(&mut writer, path);
    }
    writer.end_object();
    writer.key("meta");
    writer.begin_object();
    writer.member("name", env!("CARGO_PKG_NAME"));
    writer.member("version", env!("CARGO_PKG_VERSION"));
    writer.member("started", &asctime(context.registry.started));
    writer.member_number("uptime", context.began.elapsed().as_secs());
    writer.end_object();
    writer.end_object();
    writer.finish()
}

//! Relationships: inside a resource, and on their own.

use crate::jsonapi::{Collection, Emit, Query, Resource, Tree, Value, View, Writer, key};

/// Writes a relationship of a resource, with a link to itself and to all that
/// it could lead to.
pub(super) fn write<'a>(
    out: &mut dyn Emit,
    collection: Collection,
    id: &str,
    name: &'static str,
    to: impl IntoIterator<Item = &'a str>,
    view: &View,
) {
    out.key_of(name);
    out.begin_object();
    out.key(key!("links"));
    out.begin_object();
    write_links(out, collection, id, name, view);
    out.end_object();
    write_data(out, name, to);
    out.end_object();
}

/// Writes what a relationship leads to, the type being its name.
pub(super) fn write_data<'a>(
    out: &mut (impl Emit + ?Sized),
    name: &'static str,
    to: impl IntoIterator<Item = &'a str>,
) {
    out.key(key!("data"));
    out.begin_array();
    for id in to {
        out.begin_object();
        out.member_plain(key!("id"), id);
        out.member_plain(key!("type"), name);
        out.end_object();
    }
    out.end_array();
}

fn write_links(
    out: &mut dyn Emit,
    collection: Collection,
    id: &str,
    name: &'static str,
    view: &View,
) {
    out.key(key!("self"));
    view.links
        .write_below(out, collection.path, id, &format!("/relationships/{name}"));
    out.key(key!("related"));
    view.links.write_path(out, &format!("/v1/{name}/"));
}

/// The document of a relationship on its own.
pub(super) fn document<R: Resource>(
    resource: &R,
    id: &str,
    name: &'static str,
    query: &Query,
    view: &View,
) -> Vec<u8> {
    let tree = Tree::of(|tree| resource.emit(tree, view));
    let relationship = tree
        .member("relationships")
        .and_then(|relationships| relationships.member(name));
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key(key!("links"));
    writer.begin_object();
    write_links(&mut writer, resource.collection(), id, name, view);
    writer.end_object();
    writer.key(key!("data"));
    relationship
        .and_then(|relationship| relationship.member("data"))
        .unwrap_or(&Value::Array(Vec::new()))
        .emit(&mut writer);
    writer.end_object();
    writer.finish()
}

//! Resources, one or many of them, as documents.
//!
//! The plain path writes row by row and never builds a tree. Only a parameter
//! that looks into rows (`filter`, `sort`, `fields`) makes trees, one at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use super::emit::Emit;
use super::key::{Key, key};
use super::link::Links;
use super::meter::{Meter, ROW, Stopped};
use super::path::Path;
use super::query::{Page, Query};
use super::tree::{Beginning, Tree};
use super::value::Value;
use super::writer::Writer;
use crate::time::LastAsctime;

/// All resources of a type.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    /// The type, as documents name it.
    pub of: &'static str,
    /// The path, with a slash at the end.
    pub path: &'static str,
}

/// Something that a document shows: a resource object of JSON:API.
pub trait Resource {
    /// The collection that it belongs to.
    fn collection(&self) -> Collection;

    /// Writes the resource object: `id`, `type`, `relationships`, `attributes`, `links`.
    fn emit<E: Emit>(&self, out: &mut E, view: &View);
}

/// What resources are seen with.
#[derive(Clone, Debug)]
pub struct View {
    /// Where links lead.
    pub links: Links,
    /// What time it is, for all rows of a document.
    pub now: Instant,
    /// The names of hosts, where they are wanted and known.
    pub hosts: HashMap<IpAddr, Arc<str>>,
    /// Times in the form that documents have for them.
    pub asctime: LastAsctime,
}

impl View {
    /// A view without names of hosts.
    #[must_use]
    pub fn new(links: Links, now: Instant) -> Self {
        Self {
            links,
            now,
            hosts: HashMap::new(),
            asctime: LastAsctime::default(),
        }
    }

    /// The name by which an address is to be shown, where there is one.
    #[must_use]
    pub fn host(&self, address: IpAddr) -> Option<&str> {
        self.hosts.get(&address).map(AsRef::as_ref)
    }
}

/// Writes a resource object, whose relationships and attributes are written by others.
pub fn write_object<E: Emit + ?Sized>(
    out: &mut E,
    collection: Collection,
    id: &str,
    view: &View,
    relationships: impl FnOnce(&mut E),
    attributes: impl FnOnce(&mut E),
) {
    out.begin_object();
    out.member(key!("id"), id);
    out.member_plain(key!("type"), collection.of);
    out.key(key!("relationships"));
    out.begin_object();
    relationships(out);
    out.end_object();
    out.key(key!("attributes"));
    out.begin_object();
    attributes(out);
    out.end_object();
    out.key(key!("links"));
    out.begin_object();
    out.key(key!("self"));
    view.links.write_resource(out, collection.path, id);
    out.end_object();
    out.end_object();
}

/// The document of one resource.
///
/// It needs no meter: of one row, with as many fields as a request may name, there
/// is never as much as a slice.
#[must_use]
pub fn document<R: Resource>(resource: &R, id: &str, query: &Query, view: &View) -> Vec<u8> {
    let mut writer = Writer::new(query.layout);
    writer.begin_object();
    writer.key(key!("links"));
    writer.begin_object();
    writer.key(key!("self"));
    let collection = resource.collection();
    view.links.write_resource(&mut writer, collection.path, id);
    writer.end_object();
    writer.key(key!("data"));
    write_row(&mut writer, resource, query, view);
    writer.end_object();
    writer.finish()
}

/// Writes what stands before the rows of a collection.
pub fn begin_collection(
    writer: &mut Writer,
    collection: Collection,
    query: &Query,
    total: usize,
    view: &View,
) {
    writer.begin_object();
    writer.key(key!("links"));
    writer.begin_object();
    let mut write_link = |key: &Key, parameters: &str| {
        writer.key(key);
        view.links.write_query(writer, collection.path, parameters);
    };
    match query.page {
        None => write_link(key!("self"), ""),
        Some(Page { size, number }) => {
            let last = total.saturating_sub(1) / size;
            write_link(key!("self"), &query.with_page(size, number));
            write_link(key!("first"), &query.with_page(size, 0));
            write_link(key!("last"), &query.with_page(size, last));
            if number > 0 {
                write_link(key!("prev"), &query.with_page(size, last.min(number - 1)));
            }
            if number < last {
                write_link(key!("next"), &query.with_page(size, number + 1));
            }
        }
    }
    writer.end_object();
    writer.key(key!("data"));
    writer.begin_array();
}

/// Writes what stands behind the rows of a collection.
pub fn end_collection(writer: &mut Writer, query: &Query, total: usize) {
    writer.end_array();
    if query.page.is_some() {
        writer.key(key!("meta"));
        writer.begin_object();
        writer.member_number(key!("total"), total as u64);
        writer.end_object();
    }
    writer.end_object();
}

/// The members of a resource object that are there whatever `fields` says.
const WHOLE: [&str; 3] = ["id", "type", "links"];

/// Those from whose members it chooses.
const CHOSEN: [&str; 2] = ["attributes", "relationships"];

/// Writes one resource object of a collection, or what is wanted of it. Where it is
/// stopped, the row is written nevertheless.
pub fn write_metered_row<R: Resource>(
    writer: &mut Writer,
    row: &R,
    query: &Query,
    view: &View,
    meter: &mut Meter<'_>,
) -> Result<(), Stopped> {
    let before = writer.len();
    let cost = write_row(writer, row, query, view);
    meter.spend(ROW + cost)?;
    meter.spend_bytes(writer.len() - before)
}

/// Writes one resource object, or what is wanted of it, and returns what it costs
/// to look into it for that.
fn write_row<R: Resource>(writer: &mut Writer, row: &R, query: &Query, view: &View) -> u64 {
    let Some(fields) = query.fields_of(row.collection().of) else {
        row.emit(writer, view);
        return 0;
    };
    let fields: Vec<&Path> = fields.iter().collect();
    let mut wanted: Vec<Beginning> = WHOLE.map(|name| [Some(name), None]).to_vec();
    for path in &fields {
        let [name, _] = path.beginning();
        wanted.extend(CHOSEN.map(|member| [Some(member), name]));
    }
    let (tree, cost) = Tree::with(&wanted, |tree| row.emit(tree, view));
    let Value::Object(members) = tree else {
        return cost;
    };
    let members = members.into_iter().filter_map(|(name, value)| {
        if CHOSEN.contains(&&name[..]) {
            Path::select(&fields, &value).map(|selected| (name, selected))
        } else {
            Some((name, value))
        }
    });
    Value::Object(members.collect()).emit(writer);
    // What was made is written, member by member.
    2 * cost
}

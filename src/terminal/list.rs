//! `list`: resources of a kind, a line each.

use miniserde::json;

use super::columns::{self, Column};
use super::document;
use super::failure::Failure;
use super::http::Client;
use super::show::json_for;
use super::table::{Look, Table};
use super::target::Target;
use super::{Collection, Form, Selection};

pub(super) fn list(
    client: &Client,
    collection: Collection,
    selection: &Selection,
    form: Form,
    look: Look,
) -> Result<String, Failure> {
    let mut target = Target::new(collection.as_str(), None);
    target.select(selection);
    if form == Form::Json {
        if look.room.is_some() {
            target.add("pretty", "true");
        }
        return Ok(json_for(look, client.get(target.as_str())?));
    }
    let columns = columns::of(collection, selection.lifetime);
    target.add(
        &format!("fields[{}]", collection.as_str()),
        &columns::fields(columns),
    );
    let document = client.get(target.as_str())?;
    let table = table(client, columns, &document)?;
    Ok(table.render(look, form == Form::Titled))
}

/// A table of the rows of a document.
pub(super) fn table(
    client: &Client,
    columns: &'static [Column],
    document: &str,
) -> Result<Table, Failure> {
    let mut table = Table::new(columns);
    let rows = document::rows(document);
    for row in rows.ok_or_else(|| client.garbled("something that is no list"))? {
        let row = json::from_str(row).map_err(|_| client.garbled("something that is not JSON"))?;
        table.add(&row);
    }
    Ok(table)
}

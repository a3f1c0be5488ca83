//! From a request to its answer: who may ask, what is there, in which form,
//! under which conditions; and only then what is read or done.

use std::sync::Arc;
use std::time::Instant;

use tiny_http::Request;

use super::access::{Access, Who};
use super::handlers::{Context, Found};
use super::negotiation::MediaType;
use super::precondition::{Outcome, Preconditions, Validators};
use super::refusal::Refusal;
use super::reply::Reply;
use super::route::{Deed, Route};
use super::{Asked, door};
use crate::jsonapi::{Layout, Links, Query, View};

/// Answers one request: whether it may come in, what its path means, what its
/// parameters ask, what the handler finds.
pub(super) fn answer(access: &Access, asked: &Asked<'_>, context: &Arc<Context>) -> Reply {
    let request = asked.request;
    let method = request.method().as_str();
    let writes = matches!(method, "DELETE" | "PUT");
    let host = door::host(request);
    let admitted = access.check(
        &asked.client.peer,
        host,
        door::authorization(request),
        writes,
        Instant::now(),
    );
    let who = match admitted {
        Ok(who) => who,
        Err(refusal) => return Reply::refuse(&refusal, Layout::Compact),
    };
    // A reader may follow a link of another site to what there is to read.
    let follows_link = !writes && door::destination(request) == Some("document");
    if is_of_another_site(door::site(request)) && !follows_link {
        return Reply::refuse(
            &Refusal::Forbidden("a page of another site asks for this (Sec-Fetch-Site)".to_owned()),
            Layout::Compact,
        );
    }
    if let Some(origin) = door::list(request, door::ORIGIN)
        && !is_our_origin(&origin, host)
    {
        return Reply::refuse(
            &Refusal::Forbidden(format!(
                "a page of another origin asks for this (Origin: {origin})"
            )),
            Layout::Compact,
        );
    }
    let target = request.url();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let looked_up = Route::parse(path).and_then(|route| {
        let route = route.for_accept(door::list(request, "Accept").as_deref());
        let allow = route.allow();
        if !allow.split(", ").any(|known| known == method) {
            return Err(Refusal::MethodNotAllowed {
                method: method.to_owned(),
                allow,
            });
        }
        match route.deed(method) {
            Some(deed) => act(request, &route, deed, query, &who, context),
            None if method == "OPTIONS" => Ok(Reply::options(allow)),
            None => read(request, &route, query, &who, context),
        }
    });
    looked_up.unwrap_or_else(|refusal| Reply::refuse(&refusal, Query::layout_of(query)))
}

/// Whether a browser says that the page which asks is not ours (Fetch Metadata,
/// section 2.3). It asks for nothing like that without our leave, which nobody
/// gets (CORS); this is for the one that does.
fn is_of_another_site(site: Option<&str>) -> bool {
    site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

/// Whether the page that asks has the host and the port that it asks for (RFC 6454,
/// section 7): a browser says so with everything that changes something. A proxy in
/// front may speak HTTPS.
fn is_our_origin(origin: &str, host: &str) -> bool {
    // A port that goes without saying is the same with it and without.
    let place = |place: &str, default: &str| {
        let without = place.strip_suffix(default).unwrap_or(place);
        without.to_ascii_lowercase()
    };
    let is_ours = |(scheme, default)| {
        let page = origin.strip_prefix(scheme);
        page.is_some_and(|page| place(page, default) == place(host, default))
    };
    [("http://", ":80"), ("https://", ":443")]
        .into_iter()
        .any(is_ours)
}

/// Answers a GET or a HEAD: what there is, in which form, whether the client
/// has it already, and only then the document.
fn read(
    request: &Request,
    route: &Route,
    query: &str,
    who: &Who,
    context: &Arc<Context>,
) -> Result<Reply, Refusal> {
    let found = context.find(route, who)?;
    let media_type = media_type(request, &found)?;
    let query = Query::parse(query, found.accepts()).map_err(Refusal::BadParameter)?;
    let validators = context.validators(&found, query.host_names);
    match preconditions(request).evaluate(&validators, true) {
        Outcome::Proceed => {}
        Outcome::NotModified => return Ok(Reply::not_modified().of(media_type, validators)),
        Outcome::Failed => return Err(Refusal::PreconditionFailed),
    }
    let links = Links::on(door::host(request));
    let (wait, layout, host_names) = (query.wait, query.layout, query.host_names);
    let (again, asker, transport) = (route.clone(), who.clone(), who.transport());
    let answer = move |context: &Context, validators: Validators| {
        // What is shown must not be older than what the client is told of its age.
        let found = context.find(&again, &asker)?;
        let view = View::new(links, Instant::now());
        let reply = context.render(found, query, view, media_type, transport);
        Ok(reply.of(media_type, validators))
    };
    let Some(wait) = wait.filter(|_| !found.is_over()) else {
        return answer(context, validators);
    };
    let (route, who) = (route.clone(), who.clone());
    context.wait(found, wait, transport, move |context| {
        // It may have changed since, or gone.
        let found = context.find(&route, &who);
        let validators = found.map(|found| context.validators(&found, host_names));
        validators
            .and_then(|validators| answer(context, validators))
            .unwrap_or_else(|refusal| Reply::refuse(&refusal, layout))
    })
}

/// Does what a DELETE or a PUT asks for, where it may be done as things are.
fn act(
    request: &Request,
    route: &Route,
    deed: Deed,
    query: &str,
    who: &Who,
    context: &Context,
) -> Result<Reply, Refusal> {
    let found = context.find(route, who)?;
    let query = Query::parse(query, deed.accepts()).map_err(Refusal::BadParameter)?;
    let media_type = media_type(request, &found)?;
    let validators = context.validators(&found, false);
    if preconditions(request).evaluate(&validators, false) != Outcome::Proceed {
        return Err(Refusal::PreconditionFailed);
    }
    let links = Links::on(door::host(request));
    let reply = context.act(deed, found, query, links, who)?;
    Ok(reply.under(media_type))
}

/// The form in which a client takes something.
fn media_type(request: &Request, found: &Found) -> Result<MediaType, Refusal> {
    let accept = door::list(request, "Accept");
    let media_type = found.media_type(accept.as_deref());
    media_type.ok_or(Refusal::NotAcceptable)
}

/// What a client knows of what it asks for.
fn preconditions(request: &Request) -> Preconditions {
    Preconditions {
        if_match: door::list(request, "If-Match"),
        if_none_match: door::list(request, "If-None-Match"),
        if_modified_since: door::list(request, "If-Modified-Since"),
        if_unmodified_since: door::list(request, "If-Unmodified-Since"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_ours_with_the_host_and_the_port_that_are_asked_for() {
        for (origin, host, is_ours) in [
            ("http://localhost:8989", "localhost:8989", true),
            ("http://LocalHost:8989", "localhost:8989", true),
            ("https://localhost:8989", "localhost:8989", true),
            ("http://localhost", "localhost:80", true),
            ("http://localhost:80", "localhost", true),
            ("https://gateway.example", "gateway.example:443", true),
            ("http://[::1]:8989", "[::1]:8989", true),
            ("http://localhost:8990", "localhost:8989", false),
            ("http://localhost", "localhost:8989", false),
            ("https://localhost", "localhost:80", false),
            ("http://127.0.0.1:8989", "localhost:8989", false),
            (
                "http://localhost:8989.evil.example",
                "localhost:8989",
                false,
            ),
            ("http://evil.example", "localhost:8989", false),
            (
                "http://localhost:8989, http://localhost:8989",
                "localhost:8989",
                false,
            ),
            ("null", "localhost:8989", false),
            ("null", "null", false),
            ("", "localhost:8989", false),
            ("localhost:8989", "localhost:8989", false),
            ("ftp://localhost:8989", "localhost:8989", false),
        ] {
            assert_eq!(is_our_origin(origin, host), is_ours, "{origin} {host}");
        }
    }
}

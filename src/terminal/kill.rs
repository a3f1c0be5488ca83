//! `kill`: the end of sessions, one after the other. One that cannot be killed
//! does not keep the others alive.

use super::failure::Failure;
use super::http::Client;
use super::target::Target;
use super::{Collection, Outcome};

pub(super) fn kill(client: &Client, ids: &[String], ttl: Option<&str>) -> Outcome {
    let mut failures = Vec::new();
    for id in ids {
        let mut target = Target::new(Collection::Sessions.as_str(), Some(id));
        if let Some(ttl) = ttl {
            target.add("ttl", ttl);
        }
        if let Err(failure) = client.delete(target.as_str()) {
            let in_vain = failure.is_of_way();
            failures.push(failure);
            if in_vain {
                break;
            }
        }
    }
    Outcome {
        output: String::new(),
        failure: Failure::of_all(failures),
    }
}

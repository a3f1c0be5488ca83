//! Targets of requests: a path and parameters, encoded.

use super::{Filter, Lifetime, Selection};
use crate::jsonapi::encode_percent;

/// A target, to which parameters are added.
pub(super) struct Target {
    text: String,
    separator: char,
}

impl Target {
    /// A collection, or a resource in it.
    pub(super) fn new(collection: &str, name: Option<&str>) -> Self {
        let mut text = format!("/v1/{collection}");
        if let Some(name) = name {
            text.push('/');
            text.push_str(&encode_percent(name));
        }
        Self {
            text,
            separator: '?',
        }
    }

    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.text.push(self.separator);
        self.separator = '&';
        self.text.push_str(&encode_percent(name));
        self.text.push('=');
        self.text.push_str(&encode_percent(value));
    }

    pub(super) fn filter(&mut self, filter: &Filter) {
        self.add(&filter.name, &filter.value);
    }

    pub(super) fn select(&mut self, selection: &Selection) {
        for filter in &selection.filters {
            self.filter(filter);
        }
        if let Some(sort) = &selection.sort {
            self.add("sort", sort);
        }
        if selection.lifetime != Lifetime::Open {
            self.add("state", selection.lifetime.as_str());
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_mean_something_in_a_target_is_encoded() {
        let mut target = Target::new("sessions", Some("a/b ?\r\n"));
        target.add("sort", "-idle,id");
        target.add("page[size]", "5");
        assert_eq!(
            target.as_str(),
            "/v1/sessions/a%2Fb%20%3F%0D%0A?sort=-idle%2Cid&page%5Bsize%5D=5"
        );
    }
}

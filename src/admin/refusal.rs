//! Why a request is not answered as it wished, and the one place that says
//! which status that is.

use crate::jsonapi::ParameterFault;

/// A request that gets an error document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is not HTTP as RFC 9112 has it, or not one that means anything here.
    BadRequest(String),
    /// A parameter is unknown, or has a value that does not parse.
    BadParameter(ParameterFault),
    /// No token is shown that an account has.
    Unauthorized,
    /// Whoever asks may not do that; the rest says who may.
    Forbidden(String),
    /// Nothing is there.
    NotFound(String),
    /// Something is there, but this cannot be done with it.
    MethodNotAllowed {
        /// What was asked.
        method: String,
        /// What there is, as the `Allow` header lists it.
        allow: &'static str,
    },
    /// The client accepts no media type that there is.
    NotAcceptable,
    /// It did not arrive in time.
    RequestTimeout(&'static str),
    /// It cannot be done as things are.
    Conflict(String),
    /// What it is about is not what the client thinks it is.
    PreconditionFailed,
    /// Its body is too long.
    ContentTooLarge(String),
    /// Its request line is too long.
    UriTooLong(String),
    /// It expects what we do not know.
    ExpectationFailed(String),
    /// It asks for a host that is not this one.
    Misdirected(String),
    /// It has too many header fields, or too long ones.
    HeadTooLarge(String),
    /// A handler panicked.
    Internal,
    /// Its body is in a transfer coding.
    NotImplemented(String),
    /// As many are at it as may be; the rest says at what, and what to do.
    Busy(&'static str),
    /// It is in a version of HTTP that is not spoken here.
    VersionNotSupported(String),
}

impl Refusal {
    /// The status code and its words (RFC 9110, section 15).
    #[must_use]
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            Self::BadRequest(_) | Self::BadParameter(_) => (400, "Bad Request"),
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden(_) => (403, "Forbidden"),
            Self::NotFound(_) => (404, "Not Found"),
            Self::MethodNotAllowed { .. } => (405, "Method Not Allowed"),
            Self::NotAcceptable => (406, "Not Acceptable"),
            Self::Conflict(_) => (409, "Conflict"),
            Self::PreconditionFailed => (412, "Precondition Failed"),
            Self::RequestTimeout(_) => (408, "Request Timeout"),
            Self::ContentTooLarge(_) => (413, "Content Too Large"),
            Self::UriTooLong(_) => (414, "URI Too Long"),
            Self::ExpectationFailed(_) => (417, "Expectation Failed"),
            Self::Misdirected(_) => (421, "Misdirected Request"),
            Self::HeadTooLarge(_) => (431, "Request Header Fields Too Large"),
            Self::Internal => (500, "Internal Server Error"),
            Self::NotImplemented(_) => (501, "Not Implemented"),
            Self::Busy(_) => (503, "Service Unavailable"),
            Self::VersionNotSupported(_) => (505, "HTTP Version Not Supported"),
        }
    }

    /// The thing, and what to do about it.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::BadRequest(detail)
            | Self::Forbidden(detail)
            | Self::NotFound(detail)
            | Self::Conflict(detail)
            | Self::ContentTooLarge(detail)
            | Self::UriTooLong(detail)
            | Self::ExpectationFailed(detail)
            | Self::HeadTooLarge(detail)
            | Self::NotImplemented(detail)
            | Self::VersionNotSupported(detail) => detail.clone(),
            Self::BadParameter(fault) => fault.detail.clone(),
            Self::MethodNotAllowed { method, allow } => {
                format!("{method} is not possible here; there are {allow}")
            }
            Self::RequestTimeout(detail) | Self::Busy(detail) => (*detail).to_owned(),
            Self::Unauthorized => {
                "show the token of an account, as Authorization: Bearer TOKEN or as the password of Basic".to_owned()
            }
            Self::Misdirected(host) => format!(
                "{host} is not a name of this server; ask for localhost, its address or one of admin_hostnames"
            ),
            Self::NotAcceptable => {
                "there are application/vnd.api+json, without parameters but profile, and application/json".to_owned()
            }
            Self::PreconditionFailed => {
                "it has changed since, or If-Match has other than *: tags are weak, and never match there".to_owned()
            }
            Self::Internal => {
                "the request met an error in sessiond, which is in its log".to_owned()
            }
        }
    }

    /// Header fields that the answer must have.
    #[must_use]
    pub fn fields(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Unauthorized => vec![
                ("WWW-Authenticate", "Bearer realm=\"sessiond\""),
                (
                    "WWW-Authenticate",
                    "Basic realm=\"sessiond\", charset=\"UTF-8\"",
                ),
            ],
            Self::MethodNotAllowed { allow, .. } => vec![("Allow", allow)],
            Self::Busy(_) => vec![("Retry-After", "1")],
            _ => Vec::new(),
        }
    }

    /// The parameter at fault, where one is.
    #[must_use]
    pub fn parameter(&self) -> Option<&str> {
        match self {
            Self::BadParameter(fault) => Some(&fault.parameter),
            _ => None,
        }
    }
}

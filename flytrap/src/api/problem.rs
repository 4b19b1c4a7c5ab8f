//! Errors of the API (RFC 9457).

use serde::{Deserialize, Serialize};

/// Why a request was not done: an `application/problem+json` body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// Names the kind of problem for programs: `urn:flytrap:problem:…`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind of problem in words.
    pub title: String,
    /// The HTTP status code, 400 to 599.
    pub status: u16,
    /// What happened this time.
    pub detail: String,
    /// What to do about it; may be empty.
    #[serde(default)]
    pub help: String,
}

impl Problem {
    fn new(kind: &str, title: &str, status: u16, detail: String, help: String) -> Self {
        Self {
            kind: format!("urn:flytrap:problem:{kind}"),
            title: title.to_owned(),
            status,
            detail,
            help,
        }
    }

    /// 400: the request isn't understood.
    pub fn bad_request(detail: impl Into<String>, help: impl Into<String>) -> Self {
        let title = "The request is not understood";
        Self::new("bad-request", title, 400, detail.into(), help.into())
    }

    /// 404: what the request names isn't there.
    pub fn not_found(detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self::new("not-found", "Not found", 404, detail.into(), help.into())
    }

    /// 405: the path doesn't know the method.
    pub(super) fn wrong_method(detail: impl Into<String>) -> Self {
        let title = "The path does not know this method";
        Self::new("wrong-method", title, 405, detail.into(), String::new())
    }

    /// 409: it contradicts what is in force, as banning an allowlisted address does.
    pub fn conflict(detail: impl Into<String>, help: impl Into<String>) -> Self {
        let title = "The request contradicts what is in force";
        Self::new("conflict", title, 409, detail.into(), help.into())
    }

    /// 413: the body is too large.
    pub(super) fn too_large(detail: impl Into<String>) -> Self {
        let title = "The body is too large";
        Self::new("too-large", title, 413, detail.into(), String::new())
    }

    /// 503: the part of the gateway that would do it can't at the moment.
    pub fn unavailable(detail: impl Into<String>, help: impl Into<String>) -> Self {
        let title = "The gateway can't do this now";
        Self::new("unavailable", title, 503, detail.into(), help.into())
    }
}

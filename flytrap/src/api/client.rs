//! The client side of the API: what the command line uses.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::problem::Problem;
use super::views::{BanRequest, BanView, Lifted, PolicyAnswer, PolicyQuestion, Status};
use crate::types::Prefix;

/// The largest answer that is read: room for some 100,000 bans.
const ANSWER_BYTES: usize = 32 * 1_024 * 1_024;
/// How long an answer may take. The gateway answers in milliseconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no gateway answers on {socket}")]
    Down {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The socket's permissions keep this user out.
    #[error("this user may not use {socket}")]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Whoever listens there doesn't speak this API.
    #[error("the answer on {socket} is not understood: {detail}")]
    Garbled {
        /// The socket.
        socket: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The gateway says no.
    #[error(transparent)]
    Problem(#[from] Problem),
}

/// Talks to one gateway; each request has a connection of its own.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// For the gateway that listens on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    /// The gateway at a glance.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/api/v1/status").await
    }

    /// The bans in force.
    pub async fn bans(&self) -> Result<Vec<BanView>, ClientError> {
        self.get("/api/v1/bans").await
    }

    /// Bans.
    pub async fn ban(&self, request: &BanRequest) -> Result<BanView, ClientError> {
        self.post("/api/v1/bans", request).await
    }

    /// Ends a ban.
    pub async fn lift(&self, target: Prefix) -> Result<Lifted, ClientError> {
        let path = format!("/api/v1/bans/{target}");
        self.send(Method::DELETE, &path, Bytes::new()).await
    }

    /// What the policy decides.
    pub async fn check(&self, question: &PolicyQuestion) -> Result<PolicyAnswer, ClientError> {
        self.post("/api/v1/policy/check", question).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(Method::GET, path, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.garbled(&error))?;
        self.send(Method::POST, path, body.into()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let exchange = tokio::time::timeout(PATIENCE, self.exchange(method, path, body));
        let (status, answer) = exchange
            .await
            .map_err(|_| self.garbled(&"nothing came for 30 seconds"))??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| self.garbled(&error));
        }
        match serde_json::from_slice::<Problem>(&answer) {
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(self.garbled(&format_args!("HTTP status {status}"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(hyper::StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(&error))?;
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "flytrap")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.garbled(&error))?;
        let answer = async {
            let answer = sender
                .send_request(request)
                .await
                .map_err(|error| self.garbled(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES)
                .collect()
                .await
                .map_err(|error| self.garbled(&error))?;
            Ok((status, body.to_bytes()))
        };
        // The connection moves the bytes; its own end only matters through the answer's.
        tokio::pin!(answer);
        tokio::select! {
            biased;
            result = &mut answer => result,
            _ = connection => answer.await,
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        if source.kind() == io::ErrorKind::PermissionDenied {
            ClientError::NotPermitted { socket, source }
        } else {
            ClientError::Down { socket, source }
        }
    }

    fn garbled(&self, detail: &impl std::fmt::Display) -> ClientError {
        ClientError::Garbled {
            socket: self.socket.clone(),
            detail: detail.to_string(),
        }
    }
}

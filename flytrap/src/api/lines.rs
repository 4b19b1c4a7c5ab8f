//! A response of one JSON object on each line, as they come.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame};
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;

use super::views::{DropLine, DropView, GeoLine};

/// How many lines wait for a connection to take them. What comes beyond waits in the broadcast,
/// which overwrites the oldest.
const WAITING: usize = 16;

/// A body that ends when the reports do.
pub(super) struct Lines(mpsc::Receiver<Bytes>);

impl Lines {
    /// Has to be called in a tokio runtime.
    pub(super) fn of(reports: Receiver<DropView>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            tokio::select! {
                () = pass_on(reports, &sender) => {}
                // The client is gone, and may be so long before the next drop.
                () = sender.closed() => {}
            }
        });
        Self(receiver)
    }

    /// The same of an update.
    pub(super) fn of_update(mut lines: UnboundedReceiver<GeoLine>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            while let Some(next) = lines.recv().await {
                if sender.send(line(&next)).await.is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }
}

fn line(value: &impl Serialize) -> Bytes {
    // Texts and numbers always have a JSON form.
    let mut line = serde_json::to_vec(value).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

async fn pass_on(mut reports: Receiver<DropView>, sender: &mpsc::Sender<Bytes>) {
    loop {
        let next = match reports.recv().await {
            Ok(drop) => DropLine::Drop(drop),
            Err(RecvError::Lagged(lost)) => DropLine::Lost { lost },
            Err(RecvError::Closed) => return,
        };
        if sender.send(line(&next)).await.is_err() {
            return;
        }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let line = self.get_mut().0.poll_recv(context);
        line.map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

//! An interface that lets nothing in, for the moment in which it has no XDP program.
//!
//! The kernel has no native and generic program on one interface at a time, so between two modes
//! there is none. Behind XDP comes tc: a program there drops what would pass unjudged, and with it,
//! for some milliseconds, what would have passed anyhow.

use std::time::Duration;

use aya::Ebpf;
use aya::programs::links::LinkOrder;
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{ProgramError, SchedClassifier, TcAttachType};
use flytrap_common::abi::CLOSED_PROGRAM;

use super::preflight::Interface;

/// What came in while there was no program may wait in a queue before tc still.
const DRAIN: Duration = Duration::from_millis(100);

/// Open again when it is dropped, or when the process ends.
pub(super) struct Closed {
    link: SchedClassifierLink,
}

impl Closed {
    /// Lets nothing in from here on. Needs Linux 6.6: before, a program at tc would stay where the
    /// process is killed, and keep the host shut.
    pub(super) fn close(ebpf: &mut Ebpf, interface: &Interface) -> Result<Self, ProgramError> {
        let program: &mut SchedClassifier = ebpf
            .program_mut(CLOSED_PROGRAM)
            .ok_or(ProgramError::NotLoaded)?
            .try_into()?;
        match program.load() {
            Ok(()) | Err(ProgramError::AlreadyLoaded) => {}
            Err(error) => return Err(error),
        }
        // Before programs of others, which may let packets in.
        let first = TcAttachOptions::TcxOrder(LinkOrder::first());
        let ingress = TcAttachType::Ingress;
        let link = program.attach_with_options(&interface.name, ingress, first)?;
        Ok(Self {
            link: program.take_link(link)?,
        })
    }

    /// Opens it once nothing that came in before can be waiting.
    pub(super) fn open(self) {
        std::thread::sleep(DRAIN);
        drop(self.link);
    }
}

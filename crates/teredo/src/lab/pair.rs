//! One pair of clients that have never heard of each other, and how long it takes them to meet: a
//! cell of the matrix.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use teredo_wire::TeredoAddress;

use super::nats::{Kind, Nats};
use super::observe::{self, Seen, Sent};
use super::ping::FirstAnswer;
use super::place::Host;
use super::results::{ClientResult, milliseconds};
use super::show::{Failure, Show};
use crate::exit::Exit;

/// What came of it; times are in milliseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct PairResult {
    /// From client 1's first packet to the first answer; none if there was none.
    pub(super) first_ms: Option<f64>,
    /// Which of its packets was answered first, counted from 0; other than 0, packets were lost.
    pub(super) answered: Option<u16>,
    /// What it was that connected them, if anything.
    pub(super) by: Option<Cow<'static, str>>,
    /// The same for client 2, after that.
    pub(super) back_ms: Option<f64>,
}

impl Show<'_> {
    /// Has client 1 reach client 2, and then client 2 client 1.
    pub(super) fn meet(&mut self, patience: Duration) -> Result<Exit, Failure> {
        self.serve(&[Host::Server])?;
        for client in Host::CLIENTS {
            self.qualify(client)?;
        }
        self.settle()?;
        let first = self.first_answer(Host::CLIENTS, patience)?;
        let pair = self.results.pair.insert(PairResult::default());
        let Some(first) = first else { return Ok(Exit::Failed) };
        pair.first_ms = Some(milliseconds(first.time));
        pair.answered = Some(first.sequence);
        let back = self.first_answer([Host::Client2, Host::Client1], BACK_MAX)?;
        let back_ms = back.map(|back| milliseconds(back.time));
        self.results.pair.get_or_insert_default().back_ms = back_ms;
        Ok(if back.is_some() { Exit::Ok } else { Exit::Failed })
    }

    fn first_answer(
        &mut self,
        [from, to]: [Host; 2],
        patience: Duration,
    ) -> anyhow::Result<Option<FirstAnswer>> {
        let from = self.ground.namespace(from).clone();
        let Some(to) = self.results.client(to).address else { return Ok(None) };
        FirstAnswer::wait(&from, to, patience, || self.check())
    }
}

/// What has connected the clients, by what they have sent.
pub(super) fn technique(
    nats: Nats,
    sent: &[Sent; 2],
    results: [&ClientResult; 2],
) -> Option<Cow<'static, str>> {
    let seen = |client: usize| {
        let result = results[client];
        let embedded = TeredoAddress::parse(result.address?)?.mapped;
        let is_open = nats.0[client].kinds().all(Kind::lets_in_everyone);
        let is_symmetric = result.nat_seen.as_deref() != Some("endpoint-independent");
        let is_mapped = result.external.is_some();
        Some(Seen { sent: &sent[client], embedded, is_symmetric, is_mapped, is_open })
    };
    let (a, b) = seen(0).zip(seen(1))?;
    Some(observe::technique([&a, &b]).into())
}

/// How long the way back may take, which is open.
const BACK_MAX: Duration = Duration::from_secs(3);

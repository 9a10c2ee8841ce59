//! One upstream resolver: how it wants to be asked, and how it has fared.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use hickory_proto::op::ResponseCode;

use super::{
    exchange,
    message::{Accepted, Asked, Manner, UpstreamReply},
};
use crate::{config::Identity, query::Query, stats::Counters};

/// One server and what was learnt about it.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    /// It answers with the name in another case than it was asked in, so 0x20 tells nothing about its answers.
    changes_case: AtomicBool,
    /// It does not know EDNS (RFC 6891 §6.2.2).
    lacks_edns: AtomicBool,
    answered: AtomicU64,
    failed: AtomicU64,
    failed_in_a_row: AtomicU64,
    last_micros: AtomicU64,
    last_trouble: AtomicU8,
}

/// Why one try of one server gave nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// Nothing came in time.
    #[error("no answer in time")]
    TimedOut,
    /// The socket failed; with UDP also an ICMP error that came back.
    #[error("the exchange failed")]
    Socket(#[source] io::Error),
    /// It answered with an error code: asking it again would not help.
    #[error("it answered {0}")]
    Code(ResponseCode),
    /// It answered with records that cannot be read: asking it again would not help.
    #[error("its answer cannot be read")]
    Broken,
    /// It sent so much that answered no question of ours that the try was given up.
    #[error("it sent only what answers no question of ours")]
    Strays,
    /// The question could not be written.
    #[error("the question cannot be written")]
    Question,
}

/// The last trouble an upstream had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// It did not answer in time.
    TimedOut,
    /// It could not be reached.
    Unreachable,
    /// It answered SERVFAIL or another error code: it is there, but could not help.
    ErrorCode,
    /// What it sent cannot be read or answered no question.
    Garbled,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TimedOut => "no answer in time",
            Self::Unreachable => "unreachable",
            Self::ErrorCode => "answered with an error code",
            Self::Garbled => "sent what cannot be read or answers no question",
        })
    }
}

/// How an upstream has fared, for people and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamHealth {
    /// The server.
    pub address: SocketAddr,
    /// Tries that gave an answer.
    pub answered: u64,
    /// Tries that gave none.
    pub failed: u64,
    /// Tries without a sign of life since the last one with: not 0 = down. An error code or a broken answer is a sign of life.
    pub failed_in_a_row: u64,
    /// How long the last answer took.
    pub last_answer: Option<Duration>,
    /// The last trouble, whether or not it is over.
    pub last_trouble: Option<Trouble>,
    /// Whether it keeps the case of names, so that 0x20 guards its answers.
    pub keeps_case: bool,
}

impl UpstreamHealth {
    /// Whether the last try showed that it lives. One never asked counts as up.
    pub fn is_up(&self) -> bool {
        self.failed_in_a_row == 0
    }
}

impl Server {
    /// A server nothing is known about.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            changes_case: AtomicBool::new(false),
            lacks_edns: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            failed_in_a_row: AtomicU64::new(0),
            last_micros: AtomicU64::new(u64::MAX),
            last_trouble: AtomicU8::new(0),
        }
    }

    /// Its address.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Asks once, or as often as it takes to learn how this server wants to be asked. The caller bounds the time.
    pub(super) async fn ask(&self, query: &Query, identity: Option<Identity>, counters: &Counters) -> Result<UpstreamReply, AskError> {
        let mut manner = Manner { mixed_case: !self.changes_case.load(Relaxed), edns: !self.lacks_edns.load(Relaxed) };
        // Two things can be learnt, each once: at most three questions.
        loop {
            let asked = Asked::new(query, manner).ok_or(AskError::Question)?;
            match self.exchange(&asked, identity, counters).await? {
                Accepted::OtherCase if manner.mixed_case => manner.mixed_case = false,
                Accepted::Broken => return Err(AskError::Broken),
                Accepted::OtherCase | Accepted::Truncated => return Err(AskError::Strays),
                Accepted::Whole(reply) => match reply.rcode() {
                    ResponseCode::NoError | ResponseCode::NXDomain => {
                        self.changes_case.fetch_or(!manner.mixed_case, Relaxed);
                        self.lacks_edns.fetch_or(!manner.edns, Relaxed);
                        return Ok(reply);
                    }
                    // 16 is BADVERS; the parser calls it by its other name.
                    ResponseCode::FormErr | ResponseCode::NotImp | ResponseCode::BADSIG if manner.edns => manner.edns = false,
                    other => return Err(AskError::Code(other)),
                },
            }
        }
    }

    /// One question over UDP, and over TCP if the answer did not fit.
    async fn exchange(&self, asked: &Asked, identity: Option<Identity>, counters: &Counters) -> Result<Accepted, AskError> {
        match exchange::udp(self.address, asked, identity, counters).await? {
            Accepted::Truncated => {
                counters.upstream_tcp.one();
                exchange::tcp(self.address, asked, identity, counters).await
            }
            accepted => Ok(accepted),
        }
    }

    /// Notes an answer.
    pub(super) fn answered(&self, after: Duration) {
        self.answered.fetch_add(1, Relaxed);
        self.failed_in_a_row.store(0, Relaxed);
        self.last_micros.store(u64::try_from(after.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Notes a try that gave none.
    pub(super) fn failed(&self, error: &AskError) {
        self.failed.fetch_add(1, Relaxed);
        let trouble = match error {
            AskError::TimedOut => 1,
            AskError::Socket(_) => 2,
            AskError::Code(_) => 3,
            AskError::Broken | AskError::Strays | AskError::Question => 4,
        };
        self.last_trouble.store(trouble, Relaxed);
        match error {
            AskError::Code(_) | AskError::Broken => self.failed_in_a_row.store(0, Relaxed),
            _ => {
                self.failed_in_a_row.fetch_add(1, Relaxed);
            }
        }
    }

    /// What is known of it.
    pub(super) fn health(&self) -> UpstreamHealth {
        UpstreamHealth {
            address: self.address,
            answered: self.answered.load(Relaxed),
            failed: self.failed.load(Relaxed),
            failed_in_a_row: self.failed_in_a_row.load(Relaxed),
            last_answer: match self.last_micros.load(Relaxed) {
                u64::MAX => None,
                micros => Some(Duration::from_micros(micros)),
            },
            last_trouble: match self.last_trouble.load(Relaxed) {
                1 => Some(Trouble::TimedOut),
                2 => Some(Trouble::Unreachable),
                3 => Some(Trouble::ErrorCode),
                4 => Some(Trouble::Garbled),
                _ => None,
            },
            keeps_case: !self.changes_case.load(Relaxed),
        }
    }
}

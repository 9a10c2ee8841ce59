//! One upstream resolver: how it wants to be asked, how fast it is, and whether it lives.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Time-outs in a row without any sign of life, from which a server counts as down.
const DOWN: u64 = 3;

/// First and longest wait between two probes of a server that is down.
const PROBE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));

/// The least time between two packets that only measure.
const MEASURE: Duration = Duration::from_secs(1);

/// How long it is remembered that a server changes the case, or knows no EDNS.
const REMEMBER: Duration = Duration::from_secs(3600);

/// The shortest wait for an answer before another server is asked as well.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// The last trouble an upstream had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
pub struct UpstreamHealth {
    /// The server.
    pub address: SocketAddr,
    /// Tries that gave an answer.
    pub answered: u64,
    /// Tries that gave none.
    pub failed: u64,
    /// Tries without a sign of life since the last one with. An error code or a broken answer is a sign of life.
    pub failed_in_a_row: u64,
    /// How long the last answer took.
    pub last_answer: Option<Duration>,
    /// The smoothed round-trip by which servers are ranked.
    pub round_trip: Option<Duration>,
    /// The last trouble, whether or not it is over.
    pub last_trouble: Option<Trouble>,
    /// Whether it keeps the case of names, so that 0x20 guards its answers.
    pub keeps_case: bool,
}

impl UpstreamHealth {
    /// Whether it is asked like any other. One never asked counts as up.
    pub fn is_up(&self) -> bool {
        self.failed_in_a_row < DOWN
    }
}

/// How a server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    /// The name in random case, which the answer must repeat (draft-vixie-dnsext-dns0x20): more bits for a forger to guess.
    pub(super) mixed_case: bool,
    /// With an OPT record: larger datagrams and DNSSEC records (RFC 6891).
    pub(super) edns: bool,
}

/// What a server seems not to know, learnt from a question that went well only without it.
///
/// It takes two such in a row, so that one forged refusal does not lower the guard for an hour; and it is not prolonged, so that after
/// an hour it is tried anew.
#[derive(Clone, Copy, Debug, Default)]
struct Habit {
    in_a_row: u8,
    until: Option<Instant>,
}

impl Habit {
    fn holds(self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Notes a question that went well, `without` it or with.
    fn note(&mut self, without: bool, now: Instant) {
        if !without {
            *self = Self::default();
        } else if !self.holds(now) {
            self.in_a_row += 1;
            if self.in_a_row >= 2 {
                *self = Self { in_a_row: 0, until: Some(now + REMEMBER) };
            }
        }
    }
}

/// One server and what was learnt about it.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Smoothed round-trip and its variance (RFC 6298 §2).
    round_trip: Option<(Duration, Duration)>,
    /// It answers with the name in another case than it was asked in, so 0x20 tells nothing about its answers.
    changes_case: Habit,
    /// It does not know EDNS, and is asked without OPT (RFC 6891 §6.2.2).
    lacks_edns: Habit,
    /// The last packet of its that answered a question.
    sign_of_life: Option<Instant>,
    silent_in_a_row: u64,
    errors_in_a_row: u64,
    /// Before that, nothing is sent to it that only measures or probes.
    next_extra: Option<Instant>,
    probe_wait: Duration,
    answered: u64,
    failed: u64,
    last_answer: Option<Duration>,
    last_trouble: Option<Trouble>,
}

impl Server {
    /// A server nothing is known about.
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            round_trip: None,
            changes_case: Habit::default(),
            lacks_edns: Habit::default(),
            sign_of_life: None,
            silent_in_a_row: 0,
            errors_in_a_row: 0,
            next_extra: None,
            probe_wait: PROBE.0,
            answered: 0,
            failed: 0,
            last_answer: None,
            last_trouble: None,
        }
    }

    /// Who is asked first: the least. Down is worse than erring, erring worse than slow. One not measured yet comes behind those that
    /// are: it is measured beside one of them, and no client waits for it.
    pub(super) fn rank(&self) -> (bool, bool, Duration) {
        (self.is_down(), self.errors_in_a_row >= DOWN, self.round_trip.map_or(Duration::MAX, |(smoothed, _)| smoothed))
    }

    /// Whether it gave no sign of life for several tries.
    pub(super) fn is_down(&self) -> bool {
        self.silent_in_a_row >= DOWN
    }

    /// How long to wait for it before another server is asked as well.
    pub(super) fn wait(&self, longest: Duration) -> Duration {
        match self.round_trip {
            Some((smoothed, variance)) => (smoothed + 4 * variance).clamp(SHORTEST_WAIT.min(longest), longest),
            None => longest * 4 / 5,
        }
    }

    /// How it is to be asked now.
    pub(super) fn manner(&self, now: Instant) -> Manner {
        Manner { mixed_case: !self.changes_case.holds(now), edns: !self.lacks_edns.holds(now) }
    }

    /// Whether a question that another server is asked should go to this one as well: to see whether it lives again, or how fast it is.
    /// `drawn` is true for one question in many.
    pub(super) fn wants_extra(&self, drawn: bool, now: Instant) -> bool {
        (drawn || self.round_trip.is_none() || self.is_down()) && self.next_extra.is_none_or(|next| next <= now)
    }

    /// Notes that such a copy is sent: the next one has to wait.
    pub(super) fn extra_sent(&mut self, now: Instant) {
        let mut pause = MEASURE;
        if self.is_down() {
            pause = self.probe_wait;
            self.probe_wait = (pause * 2).min(PROBE.1);
        }
        self.next_extra = Some(now + pause);
    }

    /// Notes an answer to a question asked in such a manner.
    pub(super) fn answered(&mut self, manner: Manner, now: Instant) {
        self.answered += 1;
        self.errors_in_a_row = 0;
        self.lives(now);
        self.changes_case.note(!manner.mixed_case, now);
        self.lacks_edns.note(!manner.edns, now);
    }

    /// Notes how long an answer in a datagram took (RFC 6298 §2.2, §2.3).
    pub(super) fn took(&mut self, after: Duration) {
        self.last_answer = Some(after);
        self.round_trip = Some(match self.round_trip {
            None => (after, after / 2),
            Some((smoothed, variance)) => (smoothed * 7 / 8 + after / 8, variance * 3 / 4 + smoothed.abs_diff(after) / 4),
        });
    }

    /// Notes an answer that helps nobody: an error code, or octets that cannot be read.
    pub(super) fn erred(&mut self, trouble: Trouble, now: Instant) {
        self.failed += 1;
        self.errors_in_a_row += 1;
        self.last_trouble = Some(trouble);
        self.lives(now);
    }

    /// Notes that a try, made at `sent`, got no answer. Nothing is held against a server that has answered something since.
    pub(super) fn silent(&mut self, trouble: Trouble, sent: Instant) {
        self.failed += 1;
        self.last_trouble = Some(trouble);
        if self.sign_of_life.is_none_or(|seen| seen <= sent) {
            self.silent_in_a_row += 1;
        }
    }

    /// Notes strays, of which nobody knows who sent them.
    pub(super) fn garbled(&mut self) {
        self.failed += 1;
        self.last_trouble = Some(Trouble::Garbled);
    }

    /// Notes a packet that answered a question of ours.
    pub(super) fn lives(&mut self, now: Instant) {
        self.sign_of_life = Some(now);
        self.silent_in_a_row = 0;
        self.probe_wait = PROBE.0;
    }

    /// What is known of it.
    pub(super) fn health(&self, now: Instant) -> UpstreamHealth {
        UpstreamHealth {
            address: self.address,
            answered: self.answered,
            failed: self.failed,
            failed_in_a_row: self.silent_in_a_row,
            last_answer: self.last_answer,
            round_trip: self.round_trip.map(|(smoothed, _)| smoothed),
            last_trouble: self.last_trouble,
            keeps_case: self.manner(now).mixed_case,
        }
    }
}

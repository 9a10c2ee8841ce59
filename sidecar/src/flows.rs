//! Every flow is told: what the kernel tells is joined with the address book as it is then, folded, and handed on; what is lost is counted.

mod ending;
pub mod folding;
pub mod kind;
pub mod living;
pub mod losses;
pub mod sources;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use dnsproxy::{Handle, NotTaken};
use nft::{Connection, Counters, ToldPacket};

use self::folding::Folding;
use self::kind::{Fold, Kind, Owner, Seen};
use self::living::Living;
use self::losses::{Came, Losses};
use self::sources::Heard;
pub use self::sources::Sources;
use crate::fence::Fence;
use crate::fence::upkeep::RefusedPacket;
use crate::metrics::labels;
use crate::questions::Questions;
use crate::record::{FlowEvent, FlowRecord, LostWhat, LostWhy, Record, Timestamp, Transport};
use crate::telling::{Of, Telling};

/// Different flows that are joined in one job of the resolver's thread. What is beyond waits for the next.
const AT_ONCE: usize = 256;
/// Different refused destinations of a job that are looked at for leases that have just ended. An app chooses how many it is refused at.
const LOOKED_AT: usize = 64;
/// Ends that wait for their beginning: an end is told at once, a beginning up to a hundredth of a second later.
const MOST_EARLY: usize = 4096;
/// For how long they wait.
const EARLY: Duration = Duration::from_millis(60);
/// How often windows and questions are looked at, in milliseconds.
const LOOK_MS: u16 = 250;
/// How often it is looked which flows are still there while there is no room for more.
const RECONCILED: Duration = Duration::from_secs(10);
/// How often the queues are read at the end: each is bounded, and empty by then unless a flood goes on.
const LAST_READS: usize = 64;
/// How long the resolver's thread may take for a job.
const PATIENCE: Duration = Duration::from_secs(10);

/// The telling thread; it is to be ended before the process is, or what is gathered is lost.
#[derive(Debug)]
pub struct Flows {
    thread: thread::JoinHandle<()>,
    ends: Arc<AtomicBool>,
}

impl Flows {
    /// Has everything that is gathered told, and ends; takes as long as a look does.
    pub fn end(self) {
        self.ends.store(true, Relaxed);
        // An error is a panic inside, after which there is nothing left to tell.
        let _ = self.thread.join();
    }
}

/// Tells flows, and what is gathered of questions, on a thread of its own until it or the resolver is ended. `before` is what the ruleset had
/// counted when the sources were opened: what it counts from then on comes out of them, or is told as lost.
///
/// # Errors
/// The system's, if it has no thread for it.
pub fn start(
    sources: Sources,
    before: Option<Counters>,
    resolver: Handle<Fence>,
    telling: Telling,
    questions: Arc<Questions>,
) -> std::io::Result<Flows> {
    let ends = Arc::new(AtomicBool::new(false));
    let mut losses = Losses::default();
    if let Some(before) = before {
        losses.look(&before, Came::default(), Came::default());
    }
    let teller = Teller {
        ends: Arc::clone(&ends),
        sources,
        resolver,
        telling,
        questions,
        folding: Folding::default(),
        living: Living::default(),
        losses,
        early: Vec::new(),
        started: Instant::now(),
    };
    let thread = thread::Builder::new().name("flows".into()).spawn(move || teller.run())?;
    Ok(Flows { thread, ends })
}

struct Teller {
    sources: Sources,
    resolver: Handle<Fence>,
    telling: Telling,
    questions: Arc<Questions>,
    folding: Folding,
    living: Living,
    losses: Losses,
    early: Vec<(Instant, Connection)>,
    started: Instant,
    ends: Arc<AtomicBool>,
}

/// The resolver has ended, and with it the worker.
struct Ended;

/// The kernel's telling cannot be read at all.
fn unheard(error: std::io::Error) -> Ended {
    tracing::error!(%error, "flows are not heard of any more");
    Ended
}

impl Teller {
    fn run(mut self) {
        // It fails only where the resolver has ended, which the loop finds too.
        let _ = self.adopt();
        let mut looked = Instant::now();
        let mut counted = looked;
        let mut overruns = 0;
        let mut reconciled: Option<Instant> = None;
        loop {
            if self.ends.load(Relaxed) {
                let _ = self.last();
                break;
            }
            if self.sources.wait(LOOK_MS).map_err(unheard).is_err() || self.read().is_err() {
                break;
            }
            let now = Instant::now();
            if now.duration_since(looked) >= Duration::from_millis(LOOK_MS.into()) {
                looked = now;
                self.look();
            }
            if now.duration_since(counted) >= Duration::from_secs(1) {
                counted = now;
                if self.count().is_err() {
                    break;
                }
                // A flow whose packet went no further, or has no connection, never ends: an app could fill the place with such.
                let full = self.living.is_full() && reconciled.is_none_or(|last| now.duration_since(last) >= RECONCILED);
                if self.sources.overruns() != overruns || full {
                    overruns = self.sources.overruns();
                    reconciled = Some(now);
                    self.reconcile();
                }
            }
        }
        let telling = self.telling.clone();
        self.folding.all(|record| telling.tell(Of::Flows, Record::Flow(record)));
        self.questions.due(Timestamp::from_millis(u64::MAX / 2), |record| telling.tell(Of::Questions, record));
    }

    /// Everything that was told by now, and what of it was lost, while the resolver still runs and knows the names.
    fn last(&mut self) -> Result<(), Ended> {
        // The kernel hands over what it has gathered after a hundredth of a second at the latest; an end waits as long for its beginning.
        thread::sleep(EARLY);
        for _ in 0..LAST_READS {
            if !self.read()? {
                break;
            }
        }
        // What the first look counts has come by the second, or never will.
        self.count()?;
        self.read()?;
        self.count()
    }

    /// Flows that began before this process: by the names of now.
    fn adopt(&mut self) -> Result<(), Ended> {
        let (mut part, mut outcome) = (Vec::with_capacity(AT_ONCE), Ok(()));
        let listed = nft::each_connection(|connection| {
            part.push(connection);
            if part.len() == AT_ONCE {
                outcome = if outcome.is_ok() { self.adopt_part(&part) } else { Err(Ended) };
                part.clear();
            }
        });
        if let Err(error) = listed {
            tracing::warn!(error = crate::exit::chain(&error), "flows that began before are told without their beginning");
        }
        outcome?;
        self.adopt_part(&part)
    }

    fn adopt_part(&mut self, part: &[Connection]) -> Result<(), Ended> {
        if self.living.is_full() {
            self.losses.note(LostWhat::EndedFlows, LostWhy::QueueFull, part.len() as u64);
            return Ok(());
        }
        let kinds = self.join(part.iter().map(Seen::of_connection).collect(), HashSet::new())?;
        for (connection, kind) in part.iter().zip(kinds) {
            let hash = self.living.of_connection(connection);
            self.remember(hash, kind);
        }
        Ok(())
    }

    /// Reads what has come, joins and tells it. Beginnings before ends. Whether there may be more.
    fn read(&mut self) -> Result<bool, Ended> {
        let Heard { packets, mut ends, more } = self.sources.receive().map_err(unheard)?;
        let now = Instant::now();
        if !packets.is_empty() {
            // An end whose beginning is known was before what begins now: the same addresses and ports may be in use again.
            let at = Timestamp::now();
            ends.retain(|connection| !self.ended_before(connection, at, now));
            self.packets(&packets)?;
        }
        let mut early = std::mem::take(&mut self.early);
        early.extend(ends.into_iter().map(|connection| (now, connection)));
        self.ends(early, now)?;
        Ok(more)
    }

    fn packets(&mut self, packets: &[ToldPacket]) -> Result<(), Ended> {
        // Equal ones are joined once.
        let mut places: HashMap<Seen, usize> = HashMap::new();
        let mut distinct: Vec<Seen> = Vec::new();
        let which: Vec<usize> = packets
            .iter()
            .map(|packet| {
                *places.entry(Seen::of_packet(packet)).or_insert_with_key(|seen| {
                    distinct.push(*seen);
                    distinct.len() - 1
                })
            })
            .collect();
        let mut kinds = Vec::with_capacity(distinct.len());
        for part in distinct.chunks(AT_ONCE) {
            let refused = part.iter().filter(|seen| seen.owner == Owner::Refused).filter_map(refused).take(LOOKED_AT).collect();
            let joined = self.join(part.to_vec(), refused)?;
            kinds.extend(joined.into_iter().map(|kind| self.folding.place(kind)));
        }
        let at = Timestamp::now();
        for (packet, place) in packets.iter().zip(which) {
            let refused = matches!(packet.what, nft::Told::Refused);
            let Some(id) = kinds.get(place).copied().flatten() else {
                let what = if refused { LostWhat::RefusedPackets } else { LostWhat::FirstPackets };
                self.losses.note(what, LostWhy::QueueFull, 1);
                continue;
            };
            let audit = self.folding.is_audit(id);
            let event = if refused && !audit { FlowEvent::Refused } else { FlowEvent::Began };
            if event == FlowEvent::Began {
                let hash = self.living.of_packet(&packet.packet);
                self.remember_id(hash, id);
            }
            let told = self.folding.add(id, event, &Fold::one(at, packet.packet.source_port), at.millis());
            self.tell(told);
        }
        Ok(())
    }

    fn remember(&mut self, hash: u64, kind: Kind) {
        match self.folding.place(kind) {
            Some(id) => self.remember_id(hash, id),
            None => self.losses.note(LostWhat::EndedFlows, LostWhy::QueueFull, 1),
        }
    }

    fn remember_id(&mut self, hash: u64, id: folding::KindId) {
        let at = self.ticks(Instant::now());
        match self.living.begin(hash, id, at) {
            Ok(before) => {
                self.folding.live(id, true);
                if let Some(before) = before {
                    self.folding.live(before.kind, false);
                }
            }
            Err(living::Full) => self.losses.note(LostWhat::EndedFlows, LostWhy::QueueFull, 1),
        }
    }

    fn ticks(&self, now: Instant) -> u32 {
        u32::try_from(now.duration_since(self.started).as_millis() / 100).unwrap_or(u32::MAX)
    }

    /// Has the fence say what these flows are, and ask again for leases of refused ones that have just ended.
    fn join(&self, seen: Vec<Seen>, refused: HashSet<RefusedPacket>) -> Result<Vec<Kind>, Ended> {
        let asking = self.resolver.clone();
        self.job(move |fence| {
            let now = Instant::now();
            let kinds: Vec<Kind> = seen.iter().map(|seen| fence.join(*seen, now)).collect();
            for ask in refused.iter().filter_map(|packet| fence.denied(packet, now)?.ask) {
                // What is not taken now is refused again, and asked then.
                let _ = asking.refresh(ask.name, ask.ipv6);
            }
            kinds
        })
    }

    fn job<R: Send + 'static>(&self, job: impl FnOnce(&mut Fence) -> R + Send + Clone + 'static) -> Result<R, Ended> {
        loop {
            let (to, from) = mpsc::sync_channel(1);
            let this = job.clone();
            match self.resolver.post(move |fence| drop(to.send(this(fence)))) {
                Ok(()) => {
                    return from.recv_timeout(PATIENCE).map_err(|error| {
                        if error == mpsc::RecvTimeoutError::Timeout {
                            tracing::error!("the resolver takes too long: flows are not told any more");
                        }
                        Ended
                    });
                }
                // What it has to do is bounded: the kernel's queues wait meanwhile.
                Err(NotTaken::Busy) => thread::sleep(Duration::from_millis(5)),
                Err(_) => return Err(Ended),
            }
        }
    }

    fn look(&mut self) {
        let telling = self.telling.clone();
        self.folding.due(Timestamp::now().millis(), |record| telling.tell(Of::Flows, Record::Flow(record)));
        self.questions.due(Timestamp::now(), |record| telling.tell(Of::Questions, record));
    }

    /// Compares the kernel's counters with what came, and tells what was lost.
    fn count(&mut self) -> Result<(), Ended> {
        let counters: Option<Counters> = self.job(Fence::counters)?;
        if let Some(counters) = counters {
            let (refused, began) = self.sources.came();
            self.losses.look(&counters, refused, began);
        }
        self.losses.note(LostWhat::Records, LostWhy::NotWritten, self.telling.take_unwritten());
        for lost in self.losses.take() {
            let (what, why) = (labels::kebab(&lost.what), labels::kebab(&lost.why));
            tracing::warn!(what, why, count = lost.count, "something was lost to the log of flows");
            self.telling.tell(Of::Flows, Record::Lost(lost));
        }
        Ok(())
    }

    fn tell(&self, record: Option<FlowRecord>) {
        if let Some(record) = record {
            self.telling.tell(Of::Flows, Record::Flow(record));
        }
    }
}

/// The packet as the fence knows it; `None` for a protocol that no rule can open.
fn refused(seen: &Seen) -> Option<RefusedPacket> {
    let protocol = Transport::from_number(seen.protocol).protocol()?;
    Some(RefusedPacket { destination: seen.destination, protocol, port: seen.port.unwrap_or(0) })
}

//! The pod's fence: one policy, one ruleset in the kernel and one account of its leases, changed together or not at all.

pub mod ids;
pub mod ruleset;
pub mod view;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dnsproxy::{OpenError, Opened};
use nft::{Answer, Change, CommitError, Firewall, InstallError, Kind, Lease};
use policies::{Grant, Policy, Verdict};

use self::ids::RuleIds;
use self::ruleset::Frame;
pub use self::view::FenceView;
use crate::addressbook::{AddressBook, Need, Place, element};

/// The most leases of one pod, over all rules: 135 bytes each in the kernel, about as much here.
pub const MOST_LEASES: usize = 32_768;

/// Why the fence could not be put up.
#[derive(Debug, thiserror::Error)]
pub enum EstablishError {
    /// What an earlier worker left could not be read.
    #[error("cannot read the ruleset that stands")]
    ReadBack(#[source] nft::ReadError),
    /// The kernel did not take the ruleset.
    #[error("cannot install the ruleset")]
    Install(#[source] InstallError),
}

/// One answer to open.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// What the policy permitted.
    pub grant: &'a Grant,
    /// The addresses of the answer.
    pub addresses: &'a [IpAddr],
    /// The TTL of the answer's chain.
    pub ttl: Duration,
}

/// The fence. All methods are synchronous: a batch takes the kernel microseconds.
#[derive(Debug)]
pub struct Fence {
    firewall: Firewall,
    frame: Frame,
    policy: Arc<Policy>,
    /// The keys of the policy's openings, by index.
    keys: Vec<Arc<str>>,
    ids: RuleIds,
    book: AddressBook,
    /// The kernel's word was lost and it could not be asked since: the book may lack what stands.
    unsure: bool,
    view: FenceView,
}

impl Fence {
    /// Takes over what stands in the kernel, or closes the pod where nothing does. Until [`Fence::load`] no lease is given.
    ///
    /// `nothing` is the policy that permits nothing.
    pub fn establish(firewall: Firewall, frame: Frame, nothing: Arc<Policy>) -> Result<Self, EstablishError> {
        let mut fence = Fence {
            firewall,
            frame,
            policy: nothing,
            keys: Vec::new(),
            ids: RuleIds::draw_first(),
            book: AddressBook::default(),
            unsure: false,
            view: FenceView::default(),
        };
        let stands = fence.adopt().map_err(EstablishError::ReadBack)?;
        if !stands {
            fence.install(fence.policy.clone()).map_err(EstablishError::Install)?;
        }
        Ok(fence)
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// How it stands.
    pub fn view(&mut self) -> FenceView {
        let now = Instant::now();
        self.view.leases = self.book.live(now).count();
        self.view.rules = self.keys.len();
        self.view.clone()
    }

    /// Puts `policy` in force: one batch. Leases that it still permits stay, with their time; the others are gone with it.
    ///
    /// On an error the kernel and the fence are as before.
    pub fn load(&mut self, policy: Arc<Policy>) -> Result<(), InstallError> {
        self.install(policy)?;
        self.view.loads += 1;
        Ok(())
    }

    /// Opens what the answers need, one batch for all, and says for each until when it holds.
    pub fn open(&mut self, wanted: &[Wanted<'_>]) -> Vec<Result<Opened, OpenError>> {
        let first = self.try_open(wanted);
        if !first.iter().any(|outcome| matches!(outcome, Err(NotOpened::Vanished))) {
            return first.into_iter().map(|outcome| outcome.map_err(NotOpened::told)).collect();
        }
        // Somebody deleted the table. It goes back with all that was leased, and then the answers have their turn again.
        if !self.restore() {
            return first.into_iter().map(|outcome| outcome.map_err(NotOpened::told)).collect();
        }
        self.try_open(wanted).into_iter().map(|outcome| outcome.map_err(NotOpened::told)).collect()
    }

    /// To be called every second: forgets what ended, puts a vanished table back, guards new devices.
    pub fn tend(&mut self) {
        self.book.sweep(Instant::now());
        match self.firewall.denied() {
            Err(nft::CountError::TableVanished) => {
                self.restore();
            }
            Ok(counted) => self.view.denied_packets = counted.packets,
            Err(error) => tracing::debug!(%error, "cannot read the counter of denied packets"),
        }
        match self.firewall.refresh_devices() {
            Ok(devices) if !devices.added.is_empty() => tracing::info!(devices = devices.added.join(" "), "raw guard on new devices"),
            Ok(_) => {}
            Err(nft::RefreshError::TableVanished) => {
                self.restore();
            }
            Err(error) => tracing::warn!(error = crate::exit::chain(&error), "cannot guard new devices against raw frames"),
        }
    }

    /// Reads the kernel's sets into the book; whether a table stands.
    fn adopt(&mut self) -> Result<bool, nft::ReadError> {
        // Before the reading: what it says is left is not left for longer than from here on.
        let now = Instant::now();
        let found = self.firewall.read_back()?;
        self.unsure = false;
        if !found.table_exists {
            // What the book has goes back with the table.
            return Ok(false);
        }
        self.ids.adopt(&found);
        self.book = AddressBook::default();
        for lease in &found.leases {
            for name in element::names(&lease.name) {
                let place = Place { key: Arc::from(lease.key.as_str()), address: lease.address };
                self.book.record(place, name, now + lease.left);
            }
        }
        Ok(true)
    }

    /// Asks the kernel what stands if its word was lost; whether the book can be relied on.
    fn make_sure(&mut self) -> bool {
        if self.unsure
            && let Err(error) = self.adopt()
        {
            self.view.complain(format!("cannot read the leases that stand: {}", crate::exit::chain(&error)));
        }
        !self.unsure
    }

    /// One batch to `policy`; on success everything here follows.
    fn install(&mut self, policy: Arc<Policy>) -> Result<(), InstallError> {
        if self.unsure {
            self.adopt().map_err(InstallError::Read)?;
        }
        let now = Instant::now();
        let book = self.leases_under(&policy, now);
        let ids = self.ids.under(&self.policy, &policy);
        let ruleset = self.frame.ruleset(&policy, &ids);
        let leases: Vec<Lease> = book
            .live(now)
            .map(|(place, element)| Lease {
                key: place.key.to_string(),
                address: place.address,
                name: element.label(now),
                left: element.until().saturating_duration_since(now),
            })
            .collect();
        let installed = self.firewall.install(&ruleset, &leases);
        // Which of the two stands is not known then: the kernel is asked before anything else is done.
        self.unsure |= matches!(installed, Err(InstallError::Unknown(_)));
        let installed = installed?;
        self.view.note(&installed);
        self.keys = policy.openings().iter().map(|opening| Arc::from(opening.key.as_str())).collect();
        self.ids = ids;
        self.book = book;
        self.policy = policy;
        Ok(())
    }

    /// What the leases of now become under `policy`: each name is judged anew, and an address is open for every rule that permits it.
    fn leases_under(&self, policy: &Policy, now: Instant) -> AddressBook {
        let mut book = AddressBook::default();
        let mut room: HashMap<(usize, bool), u32> = HashMap::new();
        for (place, element) in self.book.live(now) {
            for (name, until) in element.names().iter().filter(|(_, until)| *until > now) {
                let Verdict::Granted(grant) = policy.judge(name) else { continue };
                for index in grant.openings_for(place.address) {
                    let Some(opening) = policy.opening(index) else { continue };
                    let target = Place { key: Arc::from(opening.key.as_str()), address: place.address };
                    if book.until(&target).is_none() {
                        let taken = room.entry((index.get(), place.address.is_ipv4())).or_default();
                        if *taken >= self.frame.sizes.leases {
                            continue;
                        }
                        *taken += 1;
                    }
                    book.record(target, name.clone(), *until);
                }
            }
        }
        book
    }

    /// Puts a vanished table back; whether that worked.
    fn restore(&mut self) -> bool {
        tracing::error!("the table inet portreeve had vanished; putting it back");
        self.view.table_restored += 1;
        match self.install(self.policy.clone()) {
            Ok(()) => true,
            Err(error) => {
                self.view.complain(format!("cannot put the vanished table back: {}", crate::exit::chain(&error)));
                false
            }
        }
    }

    fn try_open(&mut self, wanted: &[Wanted<'_>]) -> Vec<Result<Opened, NotOpened>> {
        // On what is not known nothing is built: a plain add of an element that stands would not start its time anew.
        if !self.make_sure() {
            return wanted.iter().map(|_| Err(NotOpened::Failed)).collect();
        }
        let now = Instant::now();
        let mut plans: Vec<Result<Plan, NotOpened>> = Vec::with_capacity(wanted.len());
        let mut touched: HashMap<Place, Instant> = HashMap::new();
        for answer in wanted {
            plans.push(self.plan(answer, &mut touched, now));
        }
        let batch: Vec<Answer> = plans
            .iter()
            .filter_map(|plan| plan.as_ref().ok())
            .filter(|plan| !plan.changes.is_empty())
            .map(|plan| Answer { changes: plan.changes.clone() })
            .collect();
        let mut outcomes = if batch.is_empty() { Vec::new() } else { self.firewall.commit(&batch) }.into_iter();
        let opened = plans
            .into_iter()
            .map(|plan| {
                let plan = plan?;
                if !plan.changes.is_empty() {
                    match outcomes.next() {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            self.unsure |= matches!(error, CommitError::Unknown(_));
                            return Err(self.not_opened(&error));
                        }
                        None => return Err(NotOpened::Failed),
                    }
                }
                Ok(self.written(plan))
            })
            .collect();
        self.make_sure();
        opened
    }

    /// What one answer needs of the kernel.
    fn plan(&self, wanted: &Wanted<'_>, touched: &mut HashMap<Place, Instant>, now: Instant) -> Result<Plan, NotOpened> {
        if wanted.grant.generation() != self.policy.generation() {
            return Err(NotOpened::Stale);
        }
        let name = wanted.grant.name();
        let mut plan = Plan { changes: Vec::new(), records: Vec::new(), until: None };
        for address in wanted.addresses {
            for index in wanted.grant.openings_for(*address) {
                let (Some(opening), Some(key)) = (self.policy.opening(index), self.keys.get(index.get())) else {
                    return Err(NotOpened::Stale);
                };
                let terms = opening.lease;
                let until = now + wanted.ttl.clamp(terms.min, terms.max.max(terms.min)) + terms.grace;
                let place = Place { key: key.clone(), address: *address };
                let kind = match self.book.need(&place, name, until, now) {
                    Need::Nothing(end) => {
                        // The name's own time is written down all the same: the longer lease may be another name's.
                        plan.shorten(end);
                        plan.records.push((place, name.clone(), until));
                        continue;
                    }
                    // Where another answer of this batch adds it too, a plain add would not count: whatever becomes of the
                    // first, this one starts the timer anew.
                    Need::Add if !touched.contains_key(&place) => Kind::Add,
                    Need::Add | Need::Refresh => Kind::Refresh,
                };
                let known = self.book.until(&place).into_iter().chain(touched.get(&place).copied());
                let end = known.fold(until, Instant::max);
                plan.changes.push(Change {
                    key: key.to_string(),
                    address: *address,
                    name: self.book.label(&place, name, now),
                    timeout: end.saturating_duration_since(now),
                    kind,
                });
                touched.insert(place.clone(), end);
                plan.shorten(end);
                plan.records.push((place, name.clone(), until));
            }
        }
        if !plan.changes.is_empty() && self.book.elements() + plan.changes.len() > MOST_LEASES {
            return Err(NotOpened::Full);
        }
        Ok(plan)
    }

    fn written(&mut self, plan: Plan) -> Opened {
        for (place, name, until) in plan.records {
            self.book.record(place, name, until);
        }
        // An answer always has an address and a grant an opening; were there none, no time at all is promised.
        Opened { until: plan.until.unwrap_or_else(Instant::now) }
    }

    fn not_opened(&mut self, error: &CommitError) -> NotOpened {
        match error {
            CommitError::TableVanished => return NotOpened::Vanished,
            CommitError::NoSuchOpening { .. } => return NotOpened::Stale,
            CommitError::SetFull { key } => {
                self.view.full += 1;
                self.view.complain(format!(
                    "the lease set of {key} is full ({} addresses); its further answers are withheld",
                    self.frame.sizes.leases
                ));
                return NotOpened::Full;
            }
            _ => self.view.complain(format!("cannot open the addresses of an answer: {}", crate::exit::chain(error))),
        }
        NotOpened::Failed
    }
}

/// What one answer needs, and what is written down when the kernel has it.
struct Plan {
    changes: Vec<Change>,
    records: Vec<(Place, policies::Name, Instant)>,
    until: Option<Instant>,
}

impl Plan {
    fn shorten(&mut self, end: Instant) {
        self.until = Some(self.until.map_or(end, |until| until.min(end)));
    }
}

/// Why an answer was not opened, as the fence itself needs to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NotOpened {
    Stale,
    Full,
    Failed,
    Vanished,
}

impl NotOpened {
    fn told(self) -> OpenError {
        match self {
            NotOpened::Stale => OpenError::Stale,
            NotOpened::Full => OpenError::Full,
            NotOpened::Failed | NotOpened::Vanished => OpenError::Failed,
        }
    }
}

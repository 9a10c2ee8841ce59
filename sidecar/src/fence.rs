//! The pod's fence: one policy, one ruleset in the kernel and one account of its leases, changed together or not at all.

pub mod audited;
pub mod ids;
pub mod joining;
pub mod listing;
pub mod open;
pub mod past;
pub mod plan;
pub mod renewal;
pub mod ruleset;
pub mod upkeep;
pub mod view;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use nft::{Answers, Firewall, InstallError, Lease, OpeningHandle};
use policies::{Mode, Name, OpeningIndex, Policy, Reason, Verdict};

use self::audited::Audited;
use self::ids::RuleIds;
use self::joining::RuleNames;
use self::past::PastLeases;
pub use self::plan::Wanted;
use self::plan::{Now, Plans};
use self::renewal::Renewals;
use self::ruleset::Frame;
pub use self::view::FenceView;
use crate::addressbook::{AddressBook, Clock, Element, Place, Term, Tick, element};

/// The most leases of one pod, over all rules: 135 bytes each in the kernel, about as much here.
pub const MOST_LEASES: usize = 32_768;

/// The most leases of one rule and family: whatever names a wildcard brings, a quarter of the pod's room is left to the other rules.
pub const MOST_LEASES_OF_A_RULE: u32 = 24_576;

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

/// The fence. All methods are synchronous: a batch takes the kernel microseconds.
#[derive(Debug)]
pub struct Fence {
    firewall: Firewall,
    frame: Frame,
    policy: Arc<Policy>,
    ids: RuleIds,
    clock: Clock,
    book: AddressBook,
    /// Keys of openings that stand in the kernel and are none of the policy's: what an earlier worker left. Their indices in the book
    /// begin where the policy's end.
    strange_keys: Vec<String>,
    /// The sets of each opening, by its index in the book, as the firewall knows them since the last installation or reading.
    handles: Vec<Option<OpeningHandle>>,
    past: PastLeases,
    /// The rules by their ids, for who tells of flows.
    rules: RuleNames,
    audited: Audited,
    renewals: Renewals,
    /// The kernel's word was lost and it could not be asked since: the book may lack what stands.
    unsure: bool,
    epoch: u64,
    /// When the whole book was swept last.
    swept: Tick,
    /// Buffers of the batch.
    plans: Plans,
    batch: Answers,
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
            ids: RuleIds::draw_first(),
            clock: Clock::new(Instant::now()),
            book: AddressBook::default(),
            strange_keys: Vec::new(),
            handles: Vec::new(),
            past: PastLeases::default(),
            rules: RuleNames::default(),
            audited: Audited::default(),
            renewals: Renewals::default(),
            unsure: false,
            epoch: 0,
            swept: Tick::ZERO,
            plans: Plans::default(),
            batch: Answers::new(),
            view: FenceView::default(),
        };
        let stands = fence.adopt().map_err(EstablishError::ReadBack)?;
        if !stands {
            fence.install(fence.policy.clone(), None).map_err(EstablishError::Install)?;
        }
        Ok(fence)
    }

    /// The policy in force.
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Changes whenever a lease may be gone before the end that was told: another policy, a vanished table, a lost word of the kernel.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How it stands.
    pub fn view(&mut self) -> FenceView {
        self.view.leases = self.book.live(self.now().tick).count();
        self.view.rules = self.policy.openings().len();
        self.view.renewals.waiting = self.renewals.waiting();
        self.view.clone()
    }

    /// Puts `policy` in force: one batch. Leases that it still permits stay, with their time; the others are gone with it.
    ///
    /// On an error the kernel and the fence are as before.
    pub fn load(&mut self, policy: Arc<Policy>) -> Result<(), InstallError> {
        self.install(policy, None)?;
        self.view.loads += 1;
        Ok(())
    }

    /// The resolvers that may be asked are from now on `upstreams`, and the policy is `policy` if there is one: one batch, and on an
    /// error all is as before.
    pub fn load_upstreams(&mut self, upstreams: Vec<SocketAddr>, policy: Option<Arc<Policy>>) -> Result<(), InstallError> {
        let loads = u64::from(policy.is_some());
        self.install(policy.unwrap_or_else(|| self.policy.clone()), Some(upstreams))?;
        self.view.loads += loads;
        Ok(())
    }

    /// Reads the kernel's sets into the book; whether a table stands.
    fn adopt(&mut self) -> Result<bool, nft::ReadError> {
        // Before the reading: what it says is left is not left for longer than from here on.
        let now = self.now();
        let found = self.firewall.read_back()?;
        self.unsure = false;
        if !found.table_exists {
            // What the book has goes back with the table.
            return Ok(false);
        }
        self.ids.adopt(&found);
        self.remember_ended(now.tick);
        let mut indices: HashMap<&str, u32> =
            (0..).zip(self.policy.openings()).map(|(index, opening)| (opening.key.as_str(), index)).collect();
        self.book = AddressBook::default();
        self.strange_keys.clear();
        for lease in &found.leases {
            let next = u32::try_from(indices.len()).unwrap_or(u32::MAX);
            let opening = *indices.entry(&lease.key).or_insert_with(|| {
                self.strange_keys.push(lease.key.clone());
                next
            });
            let place = Place { opening, address: lease.address };
            // Down, not up: what the kernel says is left is all there is.
            let end = self.clock.tick(now.instant.checked_add(lease.left).unwrap_or(now.instant));
            // How long it was given is not told. Half of it gone is a guess that asks for a name in use rather too early: taken for a
            // lease that has just begun, one of a few seconds would end before its turn comes.
            let span = end.since(now.tick).saturating_mul(2);
            for name in element::names(&lease.name) {
                self.book.record(place, &name, Term { end, span });
            }
        }
        self.find_sets();
        Ok(true)
    }

    /// To be called before another book takes this one's place: it has no leases that have ended, and not all of them are swept yet.
    fn remember_ended(&mut self, now: Tick) {
        for element in self.book.ended(now) {
            self.past.remember(element);
        }
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

    /// The kernel's word on a batch was lost: until it has been asked, nothing told before counts.
    fn lose_word(&mut self) {
        self.unsure = true;
        self.epoch += 1;
    }

    /// One batch to `policy`, and to other resolvers if any are given; on success everything here follows.
    fn install(&mut self, policy: Arc<Policy>, upstreams: Option<Vec<SocketAddr>>) -> Result<(), InstallError> {
        if self.unsure {
            self.adopt().map_err(InstallError::Read)?;
        }
        let now = self.now();
        let mut frame = self.frame.clone();
        frame.proxy.upstreams = upstreams.unwrap_or(frame.proxy.upstreams);
        let book = self.leases_under(&policy, now.tick);
        let ids = self.ids.under(&self.policy, &policy);
        let leases: Vec<Lease> = book.live(now.tick).filter_map(|element| self.lease(element, &policy, now)).collect();
        let installed = self.firewall.install(&frame.ruleset(&policy, &ids), &leases);
        if matches!(installed, Err(InstallError::Unknown(_))) {
            // Which of the two stands is not known then: the kernel is asked before anything else is done.
            self.lose_word();
        }
        self.view.note(&installed?);
        if policy.generation() != self.policy.generation() {
            self.epoch += 1;
            self.renewals.forget_places();
        }
        self.strange_keys.clear();
        self.remember_ended(now.tick);
        self.frame = frame;
        self.ids = ids;
        self.book = book;
        self.policy = policy;
        self.rules.note(&self.policy, |opening| self.ids.of(opening));
        if self.policy.mode() == Mode::Enforce {
            self.audited.clear();
        }
        self.find_sets();
        Ok(())
    }

    /// Looks up where each opening's leases go: the sets are others, or may be, after each installation and each reading.
    fn find_sets(&mut self) {
        let keys = self.policy.openings().iter().map(|opening| &opening.key).chain(&self.strange_keys);
        self.handles = keys.map(|key| self.firewall.opening(key)).collect();
    }

    /// An element of a book that was made for `policy`, as the kernel is to have it.
    fn lease(&self, element: &element::Element, policy: &Policy, now: Now) -> Option<Lease> {
        let mut name = String::new();
        element::write_label(&mut name, &element.last().name, Some(element), now.tick);
        let key = policy.openings().get(element.place().opening as usize)?.key.clone();
        let left = self.clock.instant(element.until()).saturating_duration_since(now.instant);
        Some(Lease { key, address: element.address(), name, left })
    }

    /// What the leases of now become under `policy`: each name is judged anew, and an address is open for every rule that permits it.
    fn leases_under(&self, policy: &Policy, now: Tick) -> AddressBook {
        let mut book = AddressBook::default();
        let mut room: HashMap<(u32, bool), u32> = HashMap::new();
        for element in self.book.live(now) {
            let address = element.address();
            for named in element.names().filter(|named| named.term.end > now) {
                let indices: Vec<_> = match policy.judge(&named.name) {
                    Verdict::Granted(grant) => grant.openings_for(address).collect(),
                    Verdict::Refused(refusal) if refusal.reason() == Reason::Denied => continue,
                    Verdict::Refused(_) => self.kept_target(element, &named.name, policy).into_iter().collect(),
                };
                for index in indices {
                    let Ok(opening) = u32::try_from(index.get()) else { continue };
                    let place = Place { opening, address };
                    if book.find(place).is_none() {
                        let taken = room.entry((opening, address.is_ipv4())).or_default();
                        if *taken >= self.frame.sizes.leases || book.elements() >= MOST_LEASES {
                            continue;
                        }
                        *taken += 1;
                    }
                    book.record(place, &named.name, named.term);
                }
            }
        }
        book
    }

    /// The opening under which a lease goes on that no rule gives its name: it is a SRV record's target, which the answer led to.
    fn kept_target(&self, element: &Element, name: &Name, policy: &Policy) -> Option<OpeningIndex> {
        let older = self.policy.openings().get(element.place().opening as usize)?;
        // A name that the policy of before gives is no target: the new one takes it away.
        match self.policy.judge(name) {
            Verdict::Refused(_) => policy.keeps_target(older, name, element.address()),
            Verdict::Granted(_) => None,
        }
    }

    /// Where the leases of a place of the book go; `None` for an opening that takes none.
    fn sets(&self, place: Place) -> Option<OpeningHandle> {
        self.handles.get(place.opening as usize).copied().flatten()
    }

    fn now(&self) -> Now {
        let instant = Instant::now();
        Now { instant, tick: self.clock.tick(instant) }
    }

    /// Puts a vanished table back; whether that worked.
    fn restore(&mut self) -> bool {
        tracing::error!("the table inet portreeve had vanished; putting it back");
        self.view.table_restored += 1;
        self.epoch += 1;
        match self.install(self.policy.clone(), None) {
            Ok(()) => true,
            Err(error) => {
                self.view.complain(format!("cannot put the vanished table back: {}", crate::exit::chain(&error)));
                false
            }
        }
    }
}

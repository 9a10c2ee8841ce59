//! One policy file that was found to be free of errors: what it selects, allows, denies, limits and expects.
use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use ipnet::IpNet;
use serde::Serialize;

use crate::{
    budget::BudgetTerms,
    date::Date,
    host::HostPattern,
    ports::Ports,
    preset::Preset,
    problem::{Problem, Problems, Severity, Source},
    surroundings::Pod,
    target::Target,
};

/// Whether what is not permitted is held or only told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Held. What a file without `mode` means.
    #[default]
    Enforce,
    /// Told as it would have been, and let through.
    Audit,
}

/// What becomes of live connections when their rule goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Revoke {
    /// They are cut. What a file without `revoke` means: an author who takes a permission away means it.
    #[default]
    Cut,
    /// They live on; only new ones are refused.
    New,
}

/// How HTTPS and SVCB records of a rule's names are answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpsRecords {
    /// With no data: clients fall back to A and AAAA, nothing breaks.
    #[default]
    Nodata,
    /// Passed, without their address hints.
    Strip,
}

/// How long an address stays open for a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseTerms {
    /// The shortest lease, however short the TTL.
    pub min: Duration,
    /// The longest lease, however long the TTL.
    pub max: Duration,
    /// How much longer than the TTL told an address stays open: clients connect a moment after they asked.
    pub grace: Duration,
}

impl Default for LeaseTerms {
    /// 60 s, because records of 5 s are common and connection pools dial late; 1 h, because an address that changed hands must not
    /// stay open for a day; 30 s, because the slowest client seen connects well within that.
    fn default() -> Self {
        Self { min: Duration::from_secs(60), max: Duration::from_secs(3600), grace: Duration::from_secs(30) }
    }
}

/// Which pods a file is for. Every key that is given must hold; nothing given selects every pod that has the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Select {
    /// One of these namespaces, if any are given.
    pub namespaces: Vec<String>,
    /// All of these labels.
    pub labels: BTreeMap<String, String>,
}

impl Select {
    /// Whether the pod is selected.
    pub fn selects(&self, pod: &Pod) -> bool {
        let here = self.namespaces.is_empty() || self.namespaces.contains(&pod.namespace);
        here && self.labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value))
    }
}

/// The right of a rule's names to private and other special addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Private {
    /// None: such addresses are stripped from answers. What a rule without `private` means.
    #[default]
    No,
    /// Private, carrier-grade and unique local addresses; never loopback, link-local, metadata or multicast.
    Yes,
    /// What these ranges list. A metadata address only where it is listed by itself.
    Ranges(Vec<IpNet>),
}

/// An `[[allow]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allow {
    /// Its name: in sets, logs and metrics.
    pub name: String,
    /// The names it permits.
    pub hosts: Vec<HostPattern>,
    /// The address ranges it permits without any name.
    pub cidrs: Vec<IpNet>,
    /// The ports it opens.
    pub ports: Ports,
    /// Its names' right to private addresses.
    pub private: Private,
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it was asked for.
    pub ticket: Option<String>,
    /// The last day on which it holds.
    pub expires: Option<Date>,
    /// How HTTPS and SVCB records of its names are answered.
    pub https_records: HttpsRecords,
    /// Whether the targets of its names' SRV records are granted along.
    pub srv_targets: bool,
    /// How many names a minute its wildcards take; `None` in a rule without a wildcard.
    pub budget: Option<BudgetTerms>,
    /// The line it begins on, counted from 1.
    pub line: u32,
    pub(crate) expires_span: Range<usize>,
}

/// A `[[deny]]`: beats every allow, of any file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The names it denies.
    pub hosts: Vec<HostPattern>,
    /// The address ranges it denies, whatever name led there.
    pub cidrs: Vec<IpNet>,
    /// The ports it denies; `None` is all of them and the name itself.
    pub ports: Option<Ports>,
    /// The line it begins on, counted from 1.
    pub line: u32,
    pub(crate) cidr_spans: Vec<Range<usize>>,
}

/// A `[[limit]]` of a platform file: a grant counts only inside one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The names that may be granted. With neither hosts nor cidrs nor presets the limit is about ports alone.
    pub hosts: Vec<HostPattern>,
    /// The ranges that may be granted.
    pub cidrs: Vec<IpNet>,
    /// The presets that may be used.
    pub presets: Vec<Preset>,
    /// The ports that may be granted; `None` is all of them.
    pub ports: Option<Ports>,
    /// The line it begins on, counted from 1.
    pub line: u32,
}

/// What an `[[expect]]` wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// The target is permitted.
    Allow,
    /// The target is refused.
    Deny,
}

/// An `[[expect]]`: a test that the policy brings along.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// What must come out.
    pub expected: Expected,
    /// For what.
    pub target: Target,
    /// The line, counted from 1.
    pub line: u32,
}

/// A preset that a file uses, and where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Use {
    pub(crate) preset: Preset,
    pub(crate) line: u32,
    pub(crate) span: Range<usize>,
}

/// A policy file without errors. Made by [`parse`](crate::parse) alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    pub(crate) source: Arc<Source>,
    pub(crate) name: String,
    pub(crate) name_span: Range<usize>,
    pub(crate) mode: Mode,
    pub(crate) platform: bool,
    pub(crate) revoke: Revoke,
    pub(crate) lease: LeaseTerms,
    pub(crate) select: Select,
    pub(crate) uses: Vec<Use>,
    pub(crate) allows: Vec<Allow>,
    pub(crate) denies: Vec<Deny>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) expectations: Vec<Expectation>,
}

impl PolicyFile {
    /// How the file is named to people.
    pub fn path(&self) -> &str {
        &self.source.path
    }

    /// The text it was read from.
    pub fn text(&self) -> &str {
        &self.source.text
    }

    /// The policy's name; the file's stem where the file says none.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it wants to hold or only to tell.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Whether it is the platform's: only such a file may limit.
    pub fn is_platform(&self) -> bool {
        self.platform
    }

    /// What becomes of live connections when one of its rules goes.
    pub fn revoke(&self) -> Revoke {
        self.revoke
    }

    /// How long its leases last.
    pub fn lease(&self) -> LeaseTerms {
        self.lease
    }

    /// Which pods it is for.
    pub fn select(&self) -> &Select {
        &self.select
    }

    /// The presets it uses.
    pub fn presets(&self) -> impl Iterator<Item = Preset> {
        self.uses.iter().map(|used| used.preset)
    }

    /// What it allows.
    pub fn allows(&self) -> &[Allow] {
        &self.allows
    }

    /// What it denies.
    pub fn denies(&self) -> &[Deny] {
        &self.denies
    }

    /// What it limits all files to.
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// The tests it brings along.
    pub fn expectations(&self) -> &[Expectation] {
        &self.expectations
    }

    /// A pod that the file selects: for its expectations, which name none.
    pub fn selected_pod(&self) -> Pod {
        Pod {
            namespace: self.select.namespaces.first().cloned().unwrap_or_default(),
            name: self.name.clone(),
            labels: self.select.labels.clone(),
        }
    }

    /// Warnings that depend on the day: rules that have expired, or will within 14 days.
    pub fn warnings_on(&self, today: Date) -> Problems {
        const AHEAD: i64 = 14;
        let soon = self.allows.iter().filter_map(|rule| {
            let last = rule.expires?;
            let left = last.days_since(today);
            let (message, label) = match left {
                ..0 => (format!("rule `{}` expired on {last}: it permits nothing any more", rule.name), "expired".to_owned()),
                0 => (format!("rule `{}` expires today", rule.name), "its last day".to_owned()),
                1..=AHEAD => (
                    format!("rule `{}` expires in {left} day{}", rule.name, if left == 1 { "" } else { "s" }),
                    format!("{last} is its last day"),
                ),
                _ => return None,
            };
            let hint = Some(match &rule.owner {
                Some(owner) => format!("{owner} owns it: set a later day, or take the rule out"),
                None => "set a later day, or take the rule out".to_owned(),
            });
            Some(self.problem(Severity::Warning, rule.expires_span.clone(), message, label, hint))
        });
        Problems::from_list(soon.collect())
    }

    pub(crate) fn problem(&self, severity: Severity, span: Range<usize>, message: String, label: String, hint: Option<String>) -> Problem {
        Problem { severity, message, label, hint, span, source: Arc::clone(&self.source) }
    }
}

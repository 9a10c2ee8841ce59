//! The three apps of every discussion on egress, and what each tries.

use std::path::Path;

use super::attempt::{Attempt, Must, Try};

pub(super) struct App {
    pub(super) name: &'static str,
    pub(super) attempts: Vec<Attempt>,
}

impl App {
    /// The shipped example policy of this app.
    pub(super) fn policy(&self) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../policies/examples/{}.toml", self.name));
        std::fs::read_to_string(&path).unwrap_or_else(|cause| panic!("{}: {cause}", path.display()))
    }
}

pub(super) fn all() -> [App; 3] {
    [payment(), updates(), alerts()]
}

/// Nothing may leave.
fn payment() -> App {
    let attempts = vec![
        held("ssh to github.com", Try::Name("github.com", 22)),
        held("https to api.stripe.com", Try::Name("api.stripe.com", 443)),
        held("an address written into the app", Try::Address("198.51.100.80:443")),
        held("an IPv6 address", Try::Address("[2001:db8:ffff::80]:443")),
        held("UDP", Try::Datagram("198.51.100.80:9000")),
        held("a resolver written into the app", Try::Resolver("secrets.evil.example", false)),
        held("that resolver over TCP", Try::Resolver("secrets.evil.example", true)),
        held("the cloud's metadata", Try::Address("169.254.169.254:80")),
    ];
    App { name: "payment", attempts }
}

/// SSH to github.com.
fn updates() -> App {
    let attempts = vec![
        leaves("ssh to github.com", Try::Name("github.com", 22)),
        leaves("ssh to github.com over IPv6", Try::NameV6("github.com", 22)),
        held("https to github.com", Try::Name("github.com", 443)),
        held("UDP to the same address", Try::Datagram("198.51.100.22:22")),
        held("ssh to evilgithub.com", Try::Name("evilgithub.com", 22)),
        held("ssh to github.com.example.net", Try::Name("github.com.example.net", 22)),
        held("ssh to www.github.com, which is below", Try::Name("www.github.com", 22)),
        held("ssh to an address nobody asked for", Try::Address("198.51.100.66:22")),
        held("a resolver written into the app", Try::Resolver("secrets.evil.example", false)),
        held("the cloud's metadata", Try::Address("169.254.169.254:80")),
    ];
    App { name: "updates", attempts }
}

/// HTTPS to pagerduty.com and below.
fn alerts() -> App {
    let attempts = vec![
        leaves("https to pagerduty.com", Try::Name("pagerduty.com", 443)),
        leaves("https to events.pagerduty.com", Try::Name("events.pagerduty.com", 443)),
        leaves("the same over IPv6", Try::NameV6("events.pagerduty.com", 443)),
        held("plain http", Try::Name("events.pagerduty.com", 80)),
        held("QUIC (UDP 443)", Try::Datagram("198.51.100.43:443")),
        held("status.pagerduty.com, which a deny names", Try::Name("status.pagerduty.com", 443)),
        held("evilpagerduty.com", Try::Name("evilpagerduty.com", 443)),
        held("an IPv6 address nobody asked for", Try::Address("[2001:db8:ffff::80]:443")),
        held("DNS over TLS", Try::Address("203.0.113.53:853")),
        held("the cloud's metadata", Try::Address("169.254.169.254:80")),
    ];
    App { name: "alerts", attempts }
}

fn leaves(what: &'static str, how: Try) -> Attempt {
    Attempt { what, how, must: Must::Leave }
}

fn held(what: &'static str, how: Try) -> Attempt {
    Attempt { what, how, must: Must::BeHeld }
}

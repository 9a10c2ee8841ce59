//! What the policy opens: per opening its sets and the chain that its flows end in, per port the rules that open it.

use super::{
    Log, Opening, Ruleset, Sizes,
    dispatch::Block,
    line::{Ip, L4, line},
    names::Names,
    plan::{Extras, FLOW_TCP, PERMITTED, Plan, UDATA_KEY, UDATA_RECORD},
};
use crate::{
    RuleId,
    sys::{Element, Ident, UserData, Verdict},
};

/// The chain of flows whose rule is gone and that may go on.
const KEPT: &str = "flow_kept";

/// The record in an element of the map of live rules: key, fingerprint, and a comment for people.
fn record(opening: &Opening) -> UserData {
    let mut data = UserData::default();
    data.put(UDATA_RECORD, &opening.fingerprint.to_be_bytes());
    data.put(UDATA_KEY, opening.key.as_bytes());
    let room = UserData::MAX.saturating_sub(data.as_bytes().len() + 3).min(100);
    let mut comment = opening.comment.clone();
    while comment.len() > room {
        comment.pop();
    }
    data.put_comment(0, &comment);
    data
}

/// Reads a record back.
pub(crate) fn parse_record(user_data: &[u8]) -> Option<(u64, String)> {
    let fingerprint: [u8; 8] = UserData::find(user_data, UDATA_RECORD)?.try_into().ok()?;
    let key = std::str::from_utf8(UserData::find(user_data, UDATA_KEY)?).ok()?;
    Some((u64::from_be_bytes(fingerprint), key.to_owned()))
}

/// `ct mark : goto flow_KEY`
pub(crate) fn live_rules(ruleset: &Ruleset) -> Vec<Element> {
    let entry = |id: RuleId, chain: Ident, user_data| Element {
        key: id.mark().to_ne_bytes().to_vec(),
        verdict: Some(Verdict::Goto(chain)),
        user_data,
        ..Element::default()
    };
    let open = ruleset.openings.iter().map(|opening| entry(opening.id, Names::of(&opening.key).flow(), record(opening)));
    let kept = ruleset.retained.iter().map(|id| entry(*id, Ident::new(KEPT), UserData::default()));
    let mut all: Vec<Element> = open.chain(kept).collect();
    all.sort_by(|one, other| one.key.cmp(&other.key));
    all.dedup_by(|one, other| one.key == other.key);
    all
}

pub(crate) fn sets(plan: &mut Plan, opening: &Opening, sizes: Sizes) {
    for family in Ip::BOTH.into_iter().filter(|_| opening.leased) {
        plan.leases(&opening.key, family, sizes);
    }
}

/// Where a flow begins, or comes under another rule: it gets the rule's mark and is told, once. (Until a reply has come each packet of UDP is
/// new to conntrack, and a first segment may be sent again.)
pub(crate) fn begin(plan: &mut Plan, opening: &Opening, log: Log, extras: Extras) {
    let (id, names) = (opening.id, Names::of(&opening.key));
    let (chain, flow) = (names.begin(), names.flow());
    plan.regular(chain.as_str());
    let rule = || line(chain.as_str());
    plan.rule(rule().ct_mark(id.mark()).goto(flow.as_str()));
    if extras.ct_timeout {
        plan.rule(rule().l4(L4::Tcp).ct_timeout(FLOW_TCP).end());
    }
    plan.rule(rule().set_ct_mark(id.mark()).counter(PERMITTED).end());
    plan.rule(rule().limit(log.per_second, log.per_second).log_as(&prefix(id), log.began, log.snaplen).end());
    plan.rule(rule().goto(flow.as_str()));
}

/// How the log says by which rule a flow began: `r:0001`.
pub(crate) fn prefix(id: RuleId) -> String {
    format!("r:{:04x}", id.get())
}

/// Notes the use of a lease, and accepts.
pub(crate) fn flow(plan: &mut Plan, opening: &Opening) {
    let names = Names::of(&opening.key);
    let chain = names.flow();
    plan.regular(chain.as_str());
    if opening.leased {
        for family in Ip::BOTH {
            // The look-up keeps addresses out that no lease opened: a static range may be large.
            plan.rule(line(chain.as_str()).daddr_in(family, &names.leases(family)).update(family, &names.used(family)).end());
        }
    }
    plan.rule(line(chain.as_str()).accept());
}

pub(crate) fn kept(plan: &mut Plan) {
    plan.regular(KEPT);
    plan.rule(line(KEPT).accept());
}

/// Where a flow is new, or lost its rule: `ip daddr @KEY_v4 goto begin_KEY`.
fn open(plan: &mut Plan, opening: &Opening, chain: &str) {
    let names = Names::of(&opening.key);
    for family in Ip::BOTH {
        let leases = opening.leased.then(|| names.leases(family));
        let ranges = plan.ranges(names.ranges(family).as_str(), family, &opening.ranges);
        for set in leases.into_iter().chain(ranges) {
            plan.rule(line(chain).daddr_in(family, &set).goto(names.begin().as_str()));
        }
    }
}

/// The chain of each port.
pub(crate) fn ports(plan: &mut Plan, protocol: L4, blocks: &[Block], openings: &[Opening]) {
    for block in blocks {
        let chain = block.chain(if protocol == L4::Tcp { "tcp" } else { "udp" });
        plan.regular(&chain);
        for opening in block.openings.iter().filter_map(|index| openings.get(*index)) {
            open(plan, opening, &chain);
        }
        plan.rule(line(&chain).goto("tell"));
    }
}

/// The chain of echo requests.
pub(crate) fn echo(plan: &mut Plan, openings: &[Opening]) {
    plan.regular("echo");
    for opening in openings.iter().filter(|opening| opening.ports.icmp()) {
        open(plan, opening, "echo");
    }
    plan.rule(line("echo").goto("tell"));
}

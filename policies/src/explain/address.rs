//! Explaining a target that is an address: only ranges open one without a name.
use std::net::IpAddr;

use super::{Decision, Explanation, NearestKind, NearestMiss, permit};
use crate::{opening::Opening, policy::Policy, ports::Ports, target::Target, verdict::Reason};

pub(super) fn explain(policy: &Policy, target: &Target, address: IpAddr) -> Explanation {
    if address.is_loopback() {
        let because = "loopback stays inside the pod and is never held".to_owned();
        return Explanation { verdict: Decision::Permitted, ..Explanation::refused(policy, target, because) };
    }
    let wanted = |ports: &Ports| target.port.is_none_or(|(protocol, port)| ports.contains(protocol, port));
    let denied = policy.denies().iter().find(|deny| {
        let all_ports = deny.ports.is_none();
        (all_ports || target.port.is_some() && deny.ports.as_ref().is_some_and(wanted))
            && deny.ranges.iter().any(|range| range.contains(&address))
    });
    if let Some(deny) = denied {
        let because = if deny.line > 0 {
            format!("{address} is denied by policy {} in line {}; a deny beats every allow", deny.policy, deny.line)
        } else {
            format!("{address} is a cloud metadata address: held unless a rule lists that very address")
        };
        let explanation = Explanation::refused(policy, target, because).at(&deny.policy, "deny", &deny.file, deny.line);
        return Explanation { reason: Some(Reason::Denied), ..explanation };
    }
    let open: Vec<&Opening> =
        policy.openings().iter().filter(|opening| opening.cidrs.iter().any(|range| range.contains(&address))).collect();
    let ports = open.iter().fold(Ports::none(), |all, opening| all.union(&opening.ports));
    if let Some(opening) = open.iter().find(|opening| wanted(&opening.ports)) {
        let because = format!("{address} is permitted on {ports}, without a name");
        let explanation = Explanation::refused(policy, target, because).at(&opening.policy, &opening.rule, &opening.file, opening.line);
        return Explanation { verdict: Decision::Permitted, ports, ..explanation };
    }
    let because = match open.first() {
        Some(_) => format!("{address} is permitted on {ports}, and on no other port"),
        None => format!("no range permits {address}; it opens only while a permitted name leads there"),
    };
    let nearest = open.first().map(|opening| NearestMiss {
        kind: NearestKind::OtherPort,
        host: address.to_string(),
        ports: ports.clone(),
        policy: opening.policy.to_string(),
        rule: opening.rule.to_string(),
        file: opening.file.to_string(),
        line: opening.line,
    });
    let reason = if policy.files().is_empty() { Reason::NoPolicy } else { Reason::NotPermitted };
    let permit = permit::lines(policy, target, reason);
    Explanation { reason: Some(reason), ports, nearest, permit, ..Explanation::refused(policy, target, because) }
}

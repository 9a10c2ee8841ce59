//! Explaining a target that is a name.
use super::{BudgetReport, Decision, Explanation, NearestKind, NearestMiss, nearest, permit};
use crate::{
    name::Name,
    opening::Opening,
    policy::{Policy, Withheld},
    ports::Ports,
    target::Target,
    verdict::{Grant, Place, Reason, Refusal, Verdict},
};

pub(super) fn explain(policy: &Policy, target: &Target, name: &Name) -> Explanation {
    let mut explanation = match policy.judge(name) {
        Verdict::Granted(grant) => granted(policy, target, &grant),
        Verdict::Refused(refusal) => refused(policy, target, &refusal),
    };
    explanation.unicode = name.to_unicode();
    explanation
}

fn granted(policy: &Policy, target: &Target, grant: &Grant) -> Explanation {
    let openings: Vec<&Opening> = grant.openings().iter().filter_map(|&index| policy.opening(index)).collect();
    let ports = openings.iter().fold(Ports::none(), |all, opening| all.union(&opening.ports));
    let name = grant.name();
    let hit = openings.iter().find(|opening| target.port.is_none_or(|(protocol, port)| opening.ports.contains(protocol, port)));
    let mut explanation = match (hit, openings.first()) {
        (Some(opening), _) => {
            Explanation { verdict: Decision::Permitted, ..Explanation::refused(policy, target, format!("{name} is permitted on {ports}")) }
                .at(&opening.policy, &opening.rule, &opening.file, opening.line)
        }
        (None, Some(other)) => on_other_ports(policy, target, grant, &ports, other),
        (None, None) => Explanation::refused(policy, target, format!("{name}: nothing is open for it")),
    };
    explanation.ports = ports;
    explanation.budget = grant.granted.budget.and_then(|id| policy.inner.budgets.get(id.get())).map(|(terms, place)| BudgetReport {
        policy: place.policy().to_owned(),
        rule: place.rule().to_owned(),
        terms: *terms,
    });
    explanation
}

/// The name is permitted, and not on the port that was asked: something took the port, or no rule names it.
fn on_other_ports(policy: &Policy, target: &Target, grant: &Grant, ports: &Ports, other: &Opening) -> Explanation {
    let name = grant.name();
    let (protocol, port) = target.port.unwrap_or((crate::ports::Protocol::Tcp, 0));
    let taken = grant.granted.withheld.iter().find(|withheld| withheld.ports.contains(protocol, port));
    if let Some(Withheld { reason, place, .. }) = taken {
        let because = withheld_sentence(name, *reason, place);
        let explanation = Explanation::refused(policy, target, because).at(place.policy(), place.rule(), place.file(), place.line());
        return Explanation { reason: Some(*reason), permit: permit::lines(policy, target, *reason), ..explanation };
    }
    let mut explanation = Explanation::refused(policy, target, format!("{name} is permitted on {ports}, and on no other port"));
    explanation.nearest = Some(NearestMiss {
        kind: NearestKind::OtherPort,
        host: name.to_string(),
        ports: ports.clone(),
        policy: other.policy.to_string(),
        rule: other.rule.to_string(),
        file: other.file.to_string(),
        line: other.line,
    });
    explanation.permit = permit::lines(policy, target, Reason::NotPermitted);
    explanation
}

fn refused(policy: &Policy, target: &Target, refusal: &Refusal) -> Explanation {
    let (name, reason) = (refusal.name(), refusal.reason());
    let because = match (reason, refusal.place()) {
        (_, Some(place)) => withheld_sentence(name, reason, place),
        (Reason::NoPolicy, None) => "no policy file selects this pod, so nothing may leave".to_owned(),
        (Reason::AncestorOfPermitted, None) => format!("only names below {name} are permitted"),
        (Reason::SearchListStep, None) => format!("{name} is a step of the search list on the way to a permitted name"),
        (_, None) => format!("no rule permits {name}"),
    };
    let mut explanation = Explanation::refused(policy, target, because);
    if let Some(place) = refusal.place() {
        explanation = explanation.at(place.policy(), place.rule(), place.file(), place.line());
    }
    let nearest = if refusal.place().is_none() { nearest::nearest_miss(policy, name) } else { None };
    Explanation { reason: Some(reason), nearest, permit: permit::lines(policy, target, reason), ..explanation }
}

fn withheld_sentence(name: &Name, reason: Reason, place: &Place) -> String {
    let (policy, line) = (place.policy(), place.line());
    match reason {
        Reason::Denied => {
            format!("denied by policy {policy} in line {line}; a deny beats every allow, so only taking it out would permit {name}")
        }
        Reason::Expired(last) => format!("the rule that permitted {name} expired on {last}; set a later `expires`"),
        Reason::OutsideLimit => format!("rule {} permits {name}, but no limit of the platform holds it", place.rule()),
        _ => format!("no rule permits {name}"),
    }
}

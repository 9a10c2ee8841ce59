//! `portreeve explain`: what the running sidecar does with a target, what it leased and saw of it, and which lines would change that.

use crate::ask::lines::reading::passed_over;
use crate::ask::paint::leading;
use crate::ask::{dns, flows, leases};
use crate::cli::ExplainRunningArgs;
use crate::control::answers::Explained;
use crate::control::client;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::record::{Line, Record};

/// Why nothing can be asked about it.
#[derive(Debug, thiserror::Error)]
#[error("{text} is not HOST|IP[:PORT[/PROTO]] (examples: github.com, github.com:22, 198.51.100.7:53/udp, [2001:db8::1]:443)")]
struct TargetNotUnderstood {
    text: String,
    #[source]
    source: policies::TargetError,
}

/// Runs it; exit 0 permitted, 1 refused.
pub fn run(args: &ExplainRunningArgs) -> Result<Exit, Failure> {
    let _target: policies::Target =
        args.target.parse().map_err(|source| Failure::usage(TargetNotUnderstood { text: args.target.clone(), source }))?;
    let explained: Explained = client::ask(&args.running.control, &format!("explain {}", args.target)).map_err(Failure::usage)?;
    if args.running.json {
        output::json(&explained)?;
    } else {
        output::people(&render(&explained))?;
    }
    Ok(if explained.permitted { Exit::Success } else { Exit::Refused })
}

/// For people: each part says whose view it is.
pub fn render(explained: &Explained) -> String {
    let told = explained.recent.len();
    let recent: Vec<Line> = explained.recent.iter().filter_map(|line| serde_json::from_value(line.clone()).ok()).collect();
    let mut text = format!("{}\n(by the policy in force)\n\n{}", leading(&explained.text), leases::render(&explained.leases));
    let (asked, seen): (Vec<&Line>, Vec<&Line>) = recent.iter().partition(|line| matches!(line.record, Record::Dns(_)));
    if !asked.is_empty() {
        text.push_str(&format!("\n\n{}", dns::render(asked.into_iter())));
    }
    if !seen.is_empty() {
        text.push_str(&format!("\n\n{}", flows::render(seen.into_iter())));
    }
    if told == 0 {
        text.push_str("\n\nneither asked for nor dialled lately");
    }
    if let Some(count @ 1..) = told.checked_sub(recent.len()) {
        text.push_str(&format!("\n\n{}", passed_over(count as u64)));
    }
    text
}

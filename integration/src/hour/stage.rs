//! The policies that follow each other in the hour, and what they mean: the script's own model.

/// A policy in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Names on 443 and 9000/udp, other names on 8443, a range on 9091, a range denied.
    Wide,
    /// The same names by a rule of another name on 443 alone; the other names and the range are out.
    Narrow,
    /// The wide policy, as audit.
    Audit,
}

const BUDGET: &str = "budget = { names = 100000, bytes = \"16MiB\" }";

impl Stage {
    /// The stage of a round.
    #[must_use]
    pub const fn of(round: u32) -> Self {
        match round % 4 {
            0 | 1 => Stage::Wide,
            2 => Stage::Narrow,
            _ => Stage::Audit,
        }
    }

    /// The policy file.
    #[must_use]
    pub fn policy(self) -> String {
        let mode = self.mode();
        let head = format!("version = 1\nname = \"shop\"\nmode = \"{mode}\"\n[lease]\nmin = \"2s\"\ngrace = \"1s\"\n");
        let web =
            |name: &str, ports: &str| format!("[[allow]]\nname = \"{name}\"\nhosts = [\"*.example.com\"]\nports = [{ports}]\n{BUDGET}\n");
        let bad = "[[deny]]\nname = \"bad\"\ncidrs = [\"203.0.113.0/24\"]\n";
        match self {
            Stage::Narrow => format!("{head}{}{bad}", web("front", "\"443\"")),
            Stage::Wide | Stage::Audit => format!(
                "{head}{}[[allow]]\nname = \"alt\"\nhosts = [\"*.example.net\"]\nports = [\"8443\"]\n{BUDGET}\n\
                 [[allow]]\nname = \"metrics\"\ncidrs = [\"198.19.0.0/16\"]\nports = [\"9091\"]\n{bad}",
                web("web", "\"443\", \"9000/udp\"")
            ),
        }
    }

    /// As `mode` has it.
    #[must_use]
    pub const fn mode(self) -> &'static str {
        match self {
            Stage::Audit => "audit",
            Stage::Wide | Stage::Narrow => "enforce",
        }
    }

    /// The rule for names below example.com.
    #[must_use]
    pub const fn web(self) -> &'static str {
        match self {
            Stage::Narrow => "front",
            Stage::Wide | Stage::Audit => "web",
        }
    }

    /// The ports of that rule, as a policy writes them.
    #[must_use]
    pub const fn web_ports(self) -> &'static str {
        match self {
            Stage::Narrow => "443",
            Stage::Wide | Stage::Audit => "443, 9000/udp",
        }
    }

    /// Whether names below example.net and the range of metrics are permitted.
    #[must_use]
    pub const fn has_alt(self) -> bool {
        !matches!(self, Stage::Narrow)
    }
}

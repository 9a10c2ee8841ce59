//! How a rule ends: with a comment, a verdict, or an act that lets the next rule follow.

use super::Line;
use crate::sys::{Expr, Ident, Rule, UserData, Verdict};

impl Line {
    /// `comment "TEXT"`
    pub(crate) fn comment(mut self, text: &str) -> Self {
        self.user_data = UserData::default();
        self.user_data.put_comment(0, text);
        self
    }

    /// `notrack`
    pub(crate) fn notrack(self) -> Rule {
        self.push(Expr::NoTrack).end()
    }

    /// `redirect to :PORT`
    pub(crate) fn redirect(self, port: u16) -> Rule {
        self.push(Expr::ImmediatePort(port)).push(Expr::Redirect).end()
    }

    /// `reject with tcp reset`
    pub(crate) fn reject_tcp_reset(self) -> Rule {
        self.push(Expr::RejectTcpReset).end()
    }

    /// `reject with icmpx admin-prohibited`
    pub(crate) fn reject_admin_prohibited(self) -> Rule {
        self.push(Expr::RejectAdminProhibited).end()
    }

    /// `accept`
    pub(crate) fn accept(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Accept)).end()
    }

    /// `drop`
    pub(crate) fn drop(self) -> Rule {
        self.push(Expr::Verdict(Verdict::Drop)).end()
    }

    /// `jump CHAIN`
    pub(crate) fn jump(self, chain: &str) -> Rule {
        self.push(Expr::Verdict(Verdict::Jump(Ident::new(chain)))).end()
    }

    /// `goto CHAIN`
    pub(crate) fn goto(self, chain: &str) -> Rule {
        self.push(Expr::Verdict(Verdict::Goto(Ident::new(chain)))).end()
    }

    /// The rule as it is: without a verdict the next one follows.
    pub(crate) fn end(self) -> Rule {
        Rule { chain: self.chain, exprs: self.exprs, user_data: self.user_data }
    }
}

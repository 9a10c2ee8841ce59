//! Promise: whatever the resolver says within the 5 s for which stub resolvers wait reaches the app, from the address that it asked.
//!
//! The question was turned to the proxy: only while the kernel remembers that does the answer find its way back.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::time::Duration;

use integration::clients::dig;
use integration::{Behaviour, Setup, World};

const POLICY: &str = "version = 1\nname = \"web\"\n[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\n";

#[test]
fn an_answer_and_a_failure_that_take_seconds_reach_the_app() {
    let world = World::new();
    let authority = world.authority();
    let names = [("slow.example.com", Behaviour::Delay(Duration::from_secs(3))), ("silent.example.com", Behaviour::Drop)];
    for (name, behaviour) in names {
        authority.a(name, &["198.51.100.7"], 60);
        authority.behave(name, &[behaviour]);
    }
    let pod = world.pod("app");
    let portreeve = Setup::new(&pod).policy("web.toml", POLICY).start();
    std::thread::scope(|scope| {
        for (server, transport) in [("@10.96.0.10", "+notcp"), ("@2001:db8:ffff::53", "+notcp"), ("@10.96.0.10", "+tcp")] {
            for (name, status) in [("slow.example.com", "NOERROR"), ("silent.example.com", "SERVFAIL")] {
                let (pod, portreeve) = (&pod, &portreeve);
                scope.spawn(move || {
                    let answer = dig(pod, &[server, name, transport, "+time=6"]);
                    assert_eq!(answer.status, status, "{server} {transport} {name}: {}\n{}", answer.raw, portreeve.log());
                    assert_eq!(answer.answers.len(), usize::from(status == "NOERROR"), "{}", answer.raw);
                });
            }
        }
    });
}

//! What happens where there is no place for another lease: in the rule, then in the pod.

use super::*;

/// What one rule and family holds, and what a pod holds.
const OF_RULE: u32 = 24_576;
const OF_POD: u32 = 32_768;

/// The rule's share fills first; then what is left of the pod's.
#[test]
fn what_has_no_place_is_not_told_and_every_other_name_has_its_answer() {
    let Scene { world: _world, authority, pod, .. } = &scene();
    let rules: String = ["big", "other", "rest"].map(|name| rule(name, &format!("*.{name}.example.com"))).concat();
    let policy = format!("version = 1\nname = \"web\"\n{rules}");
    let portreeve = Setup::new(pod).policy("web.toml", &policy).start();
    let address = |n: u32| Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + n).to_string();
    let set = |name: &str, range: std::ops::Range<u32>| {
        let addresses: Vec<String> = range.map(address).collect();
        authority.a(name, &addresses.iter().map(String::as_str).collect::<Vec<_>>(), 3600);
    };
    let told = |name: &str| {
        let answer = dig(pod, &[name, "+tcp"]);
        (answer.status.clone(), answer.answers.len())
    };
    let servfail = ("SERVFAIL".to_owned(), 0);
    // Names with up to 256 addresses each, until one place of so many is left; that is too little for two and enough for one.
    let fill = |zone: &str, first: u32, places: u32| {
        for at in (0..places - 1).step_by(256) {
            let count = (places - 1 - at).min(256);
            let name = format!("n{}.{zone}.example.com", at / 256);
            set(&name, first + at..first + at + count);
            assert_eq!(told(&name), ("NOERROR".to_owned(), count as usize), "{name}: {}", portreeve.log());
        }
        let (two, one) = (format!("two.{zone}.example.com"), format!("one.{zone}.example.com"));
        set(&two, 130_000..130_002);
        assert_eq!(told(&two), servfail, "two addresses for one place");
        for n in [130_000, 130_001] {
            assert!(connect(pod, format!("{}:443", address(n)).parse().unwrap(), SECOND).is_err(), "half of an answer is open");
        }
        set(&one, first + places - 1..first + places);
        assert_eq!(told(&one), ("NOERROR".to_owned(), 1), "the last place");
    };
    // It tells what was within the last second.
    let says = |what: &str| {
        portreeve.wait_status(what, LIMIT, |status| {
            let said = status["last-error"]["what"].to_string();
            said.contains(what) && said.contains("full")
        })
    };
    fill("big", 0, OF_RULE);
    set("more.big.example.com", OF_RULE..OF_RULE + 1);

    // Full ones and others at the same time, so that they share batches.
    for n in 0..400 {
        set(&format!("n{n}.other.example.com"), 50_000 + n..50_001 + n);
    }
    std::thread::scope(|scope| {
        for asker in 0..8 {
            scope.spawn(move || {
                pod.run(|| {
                    for n in (asker * 50)..(asker * 50 + 50) {
                        let ask = |name: &str| {
                            ask_here((RESOLVER, 53).into(), name, Type::A, LIMIT).unwrap_or_else(|cause| panic!("{name}: {cause}"))
                        };
                        let full = ask("more.big.example.com");
                        assert_eq!((full.metadata.response_code, full.answers.len()), (ResponseCode::ServFail, 0));
                        assert_eq!(ask(&format!("n{n}.other.example.com")).answers.len(), 1, "another rule's name");
                    }
                });
            });
        }
    });
    let _said = says("web.big");
    assert_eq!(told("n3.big.example.com").1, 256, "what the full set holds is told");
    let standing = leases::leases(pod);
    let big = standing.iter().filter(|lease| lease.set == "web.big_v4").count();
    assert_eq!((big, standing.len()), (OF_RULE as usize, OF_RULE as usize + 400));

    fill("rest", 60_000, OF_POD - OF_RULE - 400);
    set("new.other.example.com", 51_000..51_001);
    assert_eq!(told("new.other.example.com"), servfail, "the pod is full, whatever room the rule has");
    let _said = says("the pod");
    assert!(connect(pod, format!("{}:443", address(51_000)).parse().unwrap(), SECOND).is_err());
    for (name, count) in [("n3.big.example.com", 256), ("n3.other.example.com", 1), ("n3.rest.example.com", 256)] {
        assert_eq!(told(name).1, count, "what the full pod holds is told");
    }
    assert_eq!(leases::leases(pod).len(), OF_POD as usize);
    // A name that loses its right makes room.
    portreeve.swap_policies(&[("web.toml", &format!("{policy}[[deny]]\nname = \"n0\"\nhosts = [\"n0.big.example.com\"]\n"))]);
    assert!(wait_until(LIMIT, || (told("more.big.example.com").1 == 1).then_some(())).is_some(), "{}", portreeve.log());
    assert_eq!(told("new.other.example.com").1, 1);
}

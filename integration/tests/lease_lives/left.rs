//! What becomes of an address that its name has left: used or not.

use super::*;

#[test]
fn an_address_that_its_name_has_left_and_nobody_uses_stays_only_for_its_lease() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 2);
    let _portreeve = Setup::new(&scene.pod).policy("short.toml", SHORT).start();
    // Before the question: dig takes its time to end after the answer, and the answer's own time runs meanwhile.
    let answered = Instant::now();
    scene.look_up("api.example.com");
    scene.authority.a("api.example.com", &["198.51.100.8"], 2);
    let moved = || dig(&scene.pod, &["api.example.com"]).addresses() == [IpAddr::from([198, 51, 100, 8])];
    assert!(wait_until(LIMIT, || moved().then_some(())).is_some(), "the answer kept is told beyond its time");
    assert!(answered.elapsed() >= SECOND, "the answer was not kept: it shows nothing of the address that left");
    let open = wait_until(LIMIT, || {
        // The name is looked up all the time: that renews what it has, not what it had.
        scene.look_up("api.example.com");
        assert!(scene.is_open("198.51.100.8:443"), "the address it has");
        leases::of(&scene.pod, "198.51.100.7").is_empty().then(|| answered.elapsed())
    });
    let open = open.expect("the address it had is open for ever");
    assert!(open >= 2 * SECOND && open <= 7 * SECOND, "open for {open:?}");
    // A refused packet has the name asked for once more, and it still has not that address.
    for _ in 0..5 {
        assert!(!scene.is_open("198.51.100.7:443"));
        std::thread::sleep(SECOND / 10);
    }
    assert_eq!(leases::of(&scene.pod, "198.51.100.7"), []);
}

#[test]
fn an_address_in_use_is_kept_when_its_name_leaves_it_and_the_new_one_opens_by_itself() {
    let scene = scene();
    scene.authority.a("api.example.com", &["198.51.100.7"], 12);
    scene.authority.a("idle.example.com", &["198.51.100.9"], 12);
    let _portreeve = Setup::new(&scene.pod).policy("short.toml", SHORT).start();
    scene.look_up("api.example.com");
    scene.look_up("idle.example.com");
    let answered = Instant::now();
    assert!(scene.is_open("198.51.100.7:443"));
    scene.authority.a("api.example.com", &["198.51.100.8"], 12);
    scene.authority.forget();
    let end = answered + 13 * SECOND;
    let new = wait_until(end - Instant::now(), || leases::of(&scene.pod, "198.51.100.8").first().cloned());
    assert!(new.is_some(), "nobody asked for the name in use before its lease ended");
    let kept = wait_until(LIMIT, || Some(scene.lease("198.51.100.7")).filter(|lease| lease.left > 60 * SECOND));
    assert!(kept.is_some(), "{:?}", leases::of(&scene.pod, "198.51.100.7"));
    std::thread::sleep(end.saturating_duration_since(Instant::now()) + SECOND);
    assert!(scene.is_open("198.51.100.7:443") && scene.is_open("198.51.100.8:443"));
    // What nobody uses is neither asked again nor kept.
    assert_eq!((scene.authority.asked("idle.example.com", Type::A), leases::of(&scene.pod, "198.51.100.9")), (0, Vec::new()));
}

//! How a server is asked that does not keep the case of names, or knows no EDNS.

use super::*;

#[test]
fn a_server_that_changes_the_case_is_asked_without_for_an_hour() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    let ask = |bed: &mut Bed| {
        bed.ask();
        let mut packets = 0;
        while bed.told.is_empty() {
            bed.until(|bed| bed.round(Duration::ZERO) || server.peek());
            for seen in server.drain() {
                packets += 1;
                let mut answer = seen.answer(1);
                answer[12..12 + NAME.len()].make_ascii_lowercase();
                server.say(&answer, &seen);
            }
            bed.round(Duration::from_millis(20));
        }
        assert_eq!(bed.told.remove(0).1.answer().0, 1);
        packets
    };
    // A spelling without capitals is drawn once in some ten thousand times.
    assert_eq!([ask(&mut bed), ask(&mut bed), ask(&mut bed), ask(&mut bed)], [2, 2, 1, 1]);
    assert!(!bed.health()[0].keeps_case);
    bed.pass(Duration::from_secs(3601));
    assert!(bed.health()[0].keeps_case);
    assert_eq!(ask(&mut bed), 2);
}

#[test]
fn a_server_without_edns_is_asked_without_for_an_hour() {
    for rcode in [1, 4, 16] {
        let server = Scripted::new();
        let mut bed = Bed::new(&[&server]);
        let ask = |bed: &mut Bed| {
            bed.ask();
            let mut packets = 0;
            while bed.told.is_empty() {
                bed.until(|bed| bed.round(Duration::ZERO) || server.peek());
                for seen in server.drain() {
                    packets += 1;
                    let mut refusal = seen.reply(rcode & 15);
                    if rcode == 16 {
                        refusal[11] = 1;
                        refusal.extend([0, 0, 41, 4, 0, 1, 0, 0, 0, 0, 0]);
                    }
                    server.say(&if seen.has_opt() { refusal } else { seen.answer(1) }, &seen);
                }
                bed.round(Duration::from_millis(20));
            }
            assert_eq!(bed.told.remove(0).1.answer().0, 1);
            packets
        };
        assert_eq!([ask(&mut bed), ask(&mut bed), ask(&mut bed)], [2, 2, 1], "{rcode}");
        bed.pass(Duration::from_secs(3601));
        assert_eq!(ask(&mut bed), 2);
    }
}

#[test]
fn one_answer_in_another_case_does_not_lower_the_guard() {
    let server = Scripted::new();
    let mut bed = Bed::new(&[&server]);
    for _ in 0..3 {
        bed.ask();
        let seen = server.take();
        server.say(&other_case(seen.answer(66)), &seen);
        bed.until(|bed| bed.round(Duration::ZERO) || server.peek());
        let seen = server.take_with(&mut bed);
        assert_eq!(seen.name(), NAME, "it is asked again without capitals");
        server.say(&seen.answer(1), &seen);
        assert_eq!(bed.outcome().1.answer().0, 1);
        // A question that went well with capitals.
        bed.answered_by(&server, Duration::ZERO);
    }
    assert!(bed.health()[0].keeps_case);
}

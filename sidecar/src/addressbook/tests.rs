use super::*;

const ZERO: Tick = Tick::ZERO;

fn place(opening: u32, last: u8) -> Place {
    Place { opening, address: IpAddr::from([198, 51, 100, last]) }
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn at(seconds: u32) -> Tick {
    ZERO.plus_seconds(seconds)
}

fn term(seconds: u32) -> Term {
    Term { end: at(seconds), span: seconds * 10 }
}

fn need(book: &AddressBook, name_text: &str, end: Tick, now: Tick) -> Need {
    book.find(place(0, 1)).map_or(Need::Add, |element| element.need(&name(name_text), end, now))
}

#[test]
fn a_longer_lease_is_never_cut_short_by_a_shorter_answer() {
    let mut book = AddressBook::default();
    assert_eq!(need(&book, "a.example", at(3600), ZERO), Need::Add);
    book.record(place(0, 1), &name("a.example"), term(3600));
    assert_eq!(need(&book, "a.example", at(60), ZERO), Need::Nothing(at(3600)));
    book.record(place(0, 1), &name("a.example"), term(60));
    assert_eq!(book.find(place(0, 1)).unwrap().until(), at(3600));
}

#[test]
fn a_lease_near_its_end_is_started_anew() {
    let mut book = AddressBook::default();
    book.record(place(0, 1), &name("a.example"), term(10));
    assert_eq!(need(&book, "a.example", at(60), ZERO), Need::Refresh);
    // Ended, and perhaps not swept yet.
    assert_eq!(need(&book, "a.example", at(60), at(10).plus(5)), Need::Refresh);
    assert_eq!(need(&book, "a.example", at(60), at(12)), Need::Add);
}

#[test]
fn a_second_name_is_written_down_even_when_the_lease_is_long_enough() {
    let mut book = AddressBook::default();
    book.record(place(0, 1), &name("a.example"), term(3600));
    assert_eq!(need(&book, "b.example", at(5), ZERO), Need::Refresh);
    let mut label = String::new();
    element::write_label(&mut label, &name("b.example"), book.find(place(0, 1)), ZERO);
    assert_eq!(label, "b.example a.example");
}

#[test]
fn a_name_whose_own_lease_has_ended_is_written_down_anew() {
    let mut book = AddressBook::default();
    book.record(place(0, 1), &name("a.example"), term(1));
    book.record(place(0, 1), &name("b.example"), term(3600));
    assert_eq!(need(&book, "b.example", at(3), at(2)), Need::Nothing(at(3600)));
    assert_eq!(need(&book, "a.example", at(3), at(2)), Need::Refresh);
}

#[test]
fn an_address_is_found_under_each_of_its_openings_and_only_there() {
    let mut book = AddressBook::default();
    let mapped = IpAddr::from([0, 0, 0, 0, 0, 0xffff, 0xc633, 0x6401]);
    for opening in 0..3 {
        book.record(place(opening, 1), &name("a.example"), term(10));
    }
    // The same number as an IPv6 address is another address.
    book.record(Place { opening: 0, address: mapped }, &name("b.example"), term(10));
    assert_eq!(book.elements(), 4);
    assert_eq!(book.of_address(place(0, 1).address).count(), 3);
    assert_eq!(book.of_address(mapped).count(), 1);
    assert!(book.find(place(3, 1)).is_none());
}

#[test]
fn what_ended_is_swept_and_the_others_are_still_found() {
    let mut book = AddressBook::default();
    for last in 0..200 {
        // Every third stays.
        book.record(place(0, last), &name("a.example"), term(if last % 3 == 0 { 3600 } else { 1 }));
    }
    let mut swept = 0;
    book.sweep_all(at(3), |element| {
        assert_eq!(element.until(), at(1));
        swept += 1;
    });
    assert_eq!((swept, book.elements()), (133, 67));
    for last in 0..200 {
        assert_eq!(book.find(place(0, last)).is_some(), last % 3 == 0, "{last}");
    }
    // What was forgotten can come again.
    book.record(place(0, 1), &name("b.example"), term(60));
    assert_eq!(book.find(place(0, 1)).unwrap().last().name, name("b.example"));
}

#[test]
fn a_sweep_goes_round_the_whole_book_in_steps() {
    let mut book = AddressBook::default();
    let count = u32::try_from(SWEEP_STEP).unwrap() * 2 + 10;
    for n in 0..count {
        book.record(Place { opening: 0, address: IpAddr::from(n.to_be_bytes()) }, &name("a.example"), term(1));
    }
    let mut swept = 0;
    book.sweep(at(3), |_| swept += 1);
    assert_eq!(swept, SWEEP_STEP);
    for _ in 0..4 {
        book.sweep(at(3), |_| swept += 1);
    }
    assert_eq!((swept, book.elements()), (SWEEP_STEP * 2 + 10, 0));
}

//! Names: what is read, what is refused, and what is the same.
use super::*;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn case_and_a_trailing_dot_make_no_difference() {
    assert_eq!(name("GitHub.COM."), name("github.com"));
    assert_eq!(name("github.com.").to_string(), "github.com");
    assert_eq!(Name::from_labels([b"GitHub".as_slice(), b"com"]).unwrap(), name("github.com"));
}

#[test]
fn the_root_is_a_dot() {
    assert!(name(".").is_root());
    assert_eq!(name(".").to_string(), ".");
    assert_eq!(Name::root().labels().count(), 0);
    assert_eq!(Name::root().parent(), None);
}

#[test]
fn names_are_compared_by_label_and_not_as_strings() {
    let github = name("github.com");
    assert!(name("api.github.com").is_under(&github));
    assert!(name("github.com").is_at_or_under(&github) && !name("github.com").is_under(&github));
    for other in ["evilgithub.com", "github.com.evil.net", "com", "hub.com", "github.co", "."] {
        assert!(!name(other).is_at_or_under(&github), "{other}");
    }
    assert!(github.is_under(&Name::root()));
}

#[test]
fn a_label_whose_octets_look_like_a_suffix_is_none() {
    // The octets of the label end in the wire form of `com`.
    let trap = Name::from_labels([b"x\x03com".as_slice()]).unwrap();
    assert!(!trap.is_at_or_under(&name("com")));
    assert_eq!(trap.to_string(), "x\\003com");
}

#[test]
fn underscores_and_leading_hyphens_occur_in_the_wild() {
    assert_eq!(name("_ldap._tcp.example.com").labels().next(), Some(b"_ldap".as_slice()));
    assert_eq!(name("-x-.example.com").to_string(), "-x-.example.com");
}

#[test]
fn internationalised_names_have_two_forms() {
    let buecher = name("Bücher.example");
    assert_eq!(buecher.to_string(), "xn--bcher-kva.example");
    assert_eq!(buecher, name("xn--bcher-kva.EXAMPLE"));
    assert_eq!(buecher.to_unicode().as_deref(), Some("bücher.example"));
    assert_eq!(buecher.both_forms(), "xn--bcher-kva.example (bücher.example)");
    assert_eq!(name("example.com").to_unicode(), None);
    // An ideographic full stop is a dot.
    assert_eq!(name("例え。jp"), name("xn--r8jz45g.jp"));
}

#[test]
fn what_is_no_name_is_said() {
    let long = "a".repeat(64);
    let cases = [
        ("", NameError::Empty),
        ("a..b", NameError::EmptyLabel),
        (".a", NameError::EmptyLabel),
        ("..", NameError::EmptyLabel),
        ("a.*", NameError::Star),
        ("＊.a", NameError::Star),
        ("a b.c", NameError::Character { character: ' ' }),
        ("a\u{0}b", NameError::Character { character: '\u{0}' }),
        ("a/b", NameError::Character { character: '/' }),
        ("xn--a.example", NameError::Idna),
        ("xn--\u{80}", NameError::Idna),
        (&long, NameError::LabelTooLong { octets: 64 }),
    ];
    for (text, error) in cases {
        assert_eq!(Name::parse(text), Err(error), "{text:?}");
    }
}

#[test]
fn labels_have_63_octets_and_names_255_at_most() {
    let label = "a".repeat(63);
    assert!(Name::parse(&label).is_ok());
    // 3 * 64 + 62 = 254 octets, 255 with the root's.
    let fits = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    assert_eq!(name(&fits).as_wire().len() + 1, 255);
    assert_eq!(Name::parse(&format!("{label}.{label}.{label}.{}", "b".repeat(62))), Err(NameError::NameTooLong));
    assert_eq!(Name::parse(&"a.".repeat(127)).unwrap().depth(), 127);
    assert_eq!(Name::parse(&"a.".repeat(128)), Err(NameError::NameTooLong));
    assert_eq!(Name::parse(&"ü".repeat(100_000)), Err(NameError::NameTooLong));
    assert_eq!(Name::from_labels([[b'a'; 64].as_slice()]), Err(NameError::LabelTooLong { octets: 64 }));
    assert_eq!(Name::from_labels([b"a".as_slice(), b""]), Err(NameError::EmptyLabel));
    assert_eq!(Name::from_labels([[0_u8; 300].as_slice()]), Err(NameError::LabelTooLong { octets: 300 }));
}

#[test]
fn a_name_is_its_octets() {
    let read = Name::from_wire(b"\x06GitHub\x03com").unwrap();
    assert_eq!((&read, read.as_wire()), (&name("github.com"), b"\x06github\x03com".as_slice()));
    assert_eq!(Name::from_wire(b"").unwrap(), Name::root());
    let (label, odd) = ([[63].as_slice(), &[b'a'; 63]].concat(), b"\x01\xff".as_slice());
    assert_eq!(Name::from_wire(odd).unwrap().as_wire(), odd);
    assert_eq!(Name::from_wire(&[&label[..], &label, &label, &[61], &[b'b'; 61]].concat()).unwrap().depth(), 4);
    for (octets, error) in [
        (b"\x03com\x00".as_slice(), NameError::EmptyLabel),
        (b"\x04com", NameError::CutOff),
        (b"\x03com\x01", NameError::CutOff),
        (b"\x03com\xc0\x0c", NameError::LabelTooLong { octets: 0xc0 }),
        (&[64; 65], NameError::LabelTooLong { octets: 64 }),
        (&[&label[..], &label, &label, &label].concat(), NameError::NameTooLong),
    ] {
        assert_eq!(Name::from_wire(octets), Err(error), "{octets:?}");
    }
}

#[test]
fn odd_octets_are_shown_escaped() {
    let odd = Name::from_labels([b"a.b\\\x1b[31m".as_slice(), b"\xff", b"com"]).unwrap();
    assert_eq!(odd.to_string(), "a\\.b\\\\\\027[31m.\\255.com");
}

#[test]
fn an_ancestor_stands_before_what_is_below_it() {
    let mut names = ["b.example", "a.b.example", "z.a.example", "example", "a.example"].map(name);
    names.sort();
    assert_eq!(names.map(|name| name.to_string()), ["example", "a.example", "z.a.example", "b.example", "a.b.example"]);
}

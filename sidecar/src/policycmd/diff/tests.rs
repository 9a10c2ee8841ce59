use policies::{Source, parse};

use super::*;

fn file(text: &str) -> PolicyFile {
    let parsed = parse(&Source::new("app.toml", format!("version = 1\nname = \"app\"\n{text}")));
    parsed.file.unwrap_or_else(|| panic!("{}", parsed.problems))
}

fn differences(old: &str, new: &str) -> Vec<String> {
    let (old, new) = ([file(old)], [file(new)]);
    let (before, after) = (compile(&old, &Pod::default()).unwrap(), compile(&new, &Pod::default()).unwrap());
    compare(&old, &new, &before, &after).into_iter().map(|found| format!("{} {}: {}", found.what, found.of, found.how)).collect()
}

const WEB: &str = "[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\", \"github.com\"]\nports = [\"443\", \"22\"]\n";

#[test]
fn another_text_of_the_same_meaning_is_no_difference() {
    let split = "[[allow]]\nname = \"two\"\nhosts = [\"github.com\"]\nports = [\"22\", \"443\"]\n\
        [[allow]]\nname = \"one\"\nhosts = [\"*.example.com\"]\nports = [\"22\"]\n\
        [[allow]]\nname = \"three\"\nhosts = [\"*.example.com\", \"api.example.com\"]\nports = [\"443\"]\n";
    // A host that is also named by itself has no budget: that one is a difference, and is taken out here.
    let split = split.replace(", \"api.example.com\"", "");
    assert_eq!(differences(WEB, &split), Vec::<String>::new());
    let ranges = |cidrs: &str| format!("[[allow]]\nname = \"net\"\ncidrs = [{cidrs}]\nports = [\"9091\"]\n");
    assert_eq!(differences(&ranges("\"10.40.0.0/15\""), &ranges("\"10.41.0.0/16\", \"10.40.0.0/16\"")), Vec::<String>::new());
}

#[test]
fn what_is_permitted_and_refused_anew_is_told_by_name_and_port() {
    let narrower = "[[allow]]\nname = \"web\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\n[[deny]]\nhosts = [\"bad.example.com\"]\n";
    assert_eq!(
        differences(WEB, narrower),
        ["refuses bad.example.com: 22, 443", "refuses github.com: 22, 443", "refuses *.example.com: 22"]
    );
    assert_eq!(differences(narrower, WEB).len(), 3);
    assert!(differences(narrower, WEB).iter().all(|line| line.starts_with("permits ")));
}

#[test]
fn ranges_are_told_by_the_stretch_that_changes() {
    let net = |cidr: &str| format!("[[allow]]\nname = \"net\"\ncidrs = [\"{cidr}\"]\nports = [\"9091\"]\n");
    assert_eq!(differences(&net("10.40.0.0/15"), &net("10.40.0.0/16")), ["refuses 10.41.0.0 - 10.41.255.255: 9091"]);
    let deny = format!("{}[[deny]]\ncidrs = [\"10.40.7.0/24\"]\n", net("10.40.0.0/15"));
    let told = differences(&net("10.40.0.0/15"), &deny);
    assert!(told.contains(&"refuses 10.40.7.0 - 10.40.7.255: 9091".to_owned()), "{told:?}");
    assert!(told.iter().any(|line| line.starts_with("refuses 10.40.7.0 - 10.40.7.255 whatever name leads there")), "{told:?}");
}

#[test]
fn terms_rights_and_mode_are_differences() {
    let with = |head: &str, more: &str| format!("{head}[[allow]]\nname = \"a\"\nhosts = [\"*.example.com\"]\nports = [\"443\"]\n{more}");
    let plain = with("", "");
    assert_eq!(differences(&plain, &with("mode = \"audit\"\n", ""))[0], "changes mode: enforce -> audit");
    let told = differences(&plain, &with("", "private = true\n"));
    assert!(told.iter().any(|line| line == "permits *.example.com: private addresses (10.0.0.0/8)"), "{told:?}");
    for (head, more, part) in [
        ("", "budget = { names = 10 }\n", "budget 10 names"),
        ("revoke = \"new\"\n", "", "revoke new"),
        ("", "https-records = \"strip\"\n", "https-records strip"),
        ("", "srv-targets = true\n", "srv-targets true"),
        ("[lease]\nmin = \"5s\"\n", "", "lease 5 to 3600 s"),
    ] {
        let told = differences(&plain, &with(head, more));
        assert!(told.len() == 1 && told[0].starts_with("changes *.example.com: ") && told[0].contains(part), "{part}: {told:?}");
    }
}

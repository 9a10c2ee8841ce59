//! What names are called on the map: a short label, and the domain that they are grouped by.

/// The most names that are written out in a label; an address of a content network has dozens.
const SPELT: usize = 2;

/// A label for people: `a or b`, `a and 39 more`.
pub fn label(names: &[String]) -> String {
    match names {
        [first, rest @ ..] if names.len() > SPELT => format!("{first} and {} more", rest.len()),
        few => few.join(" or "),
    }
}

/// The domain that all of these names belong to, if it is one.
pub fn domain(names: &[String]) -> Option<String> {
    let mut domains = names.iter().map(|name| of_one(name));
    let first = domains.next()??;
    domains.all(|other| other.as_deref() == Some(first.as_str())).then_some(first)
}

/// The registrable domain of a name. Services of a cluster have none, and `cluster.local` would be one box for all of them: theirs is the namespace.
fn of_one(name: &str) -> Option<String> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    if let Some((_, above)) = name.split_once('.')
        && above.split('.').nth(1) == Some("svc")
    {
        return Some(above.to_owned());
    }
    psl::domain_str(&name).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_label_is_short_however_many_names_share_an_address() {
        assert_eq!(label(&names(&["a.example"])), "a.example");
        assert_eq!(label(&names(&["a.example", "b.example"])), "a.example or b.example");
        let many: Vec<String> = (0..40).map(|n| format!("n{n}.example")).collect();
        assert_eq!(label(&many), "n0.example and 39 more");
    }

    #[test]
    fn names_are_grouped_by_what_one_party_registered() {
        let of = |list: &[&str]| domain(&names(list));
        assert_eq!(of(&["www.shop.example.com"]).as_deref(), Some("example.com"));
        assert_eq!(of(&["a.shop.co.uk"]).as_deref(), Some("shop.co.uk"), "co.uk is nobody's");
        assert_eq!(of(&["a.github.io"]).as_deref(), Some("a.github.io"), "names of strangers");
        assert_eq!(of(&["db.data.svc.cluster.local"]).as_deref(), Some("data.svc.cluster.local"));
        assert_eq!(of(&["db.data.svc"]).as_deref(), Some("data.svc"));
        assert_eq!(of(&["a.example.com", "b.example.com"]).as_deref(), Some("example.com"));
        assert_eq!(of(&["a.example.com", "b.example.org"]), None);
        assert_eq!((of(&["co.uk"]), of(&["localhost"]), of(&[])), (None, None, None));
    }
}

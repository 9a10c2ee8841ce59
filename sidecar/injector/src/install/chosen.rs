//! `--set KEY=VALUE` over a file of settings: a key that is none is an error that names the one that was meant.

use thiserror::Error;
use toml::{Table, Value};

use crate::settings::{NamespaceSettings, Settings};

/// Why a setting is not taken.
#[derive(Debug, Error)]
pub enum ChooseError {
    /// Not KEY=VALUE.
    #[error("--set {0}: a setting is KEY=VALUE")]
    NoValue(String),
    /// There is no such key.
    #[error("there is no setting `{key}`")]
    Unknown {
        /// The key, from the top.
        key: String,
        /// The nearest one there is.
        meant: Option<String>,
    },
    /// A key of a setting that has none below it.
    #[error("the setting `{0}` is one value; it has no keys below it")]
    NoTable(String),
    /// The file is no TOML.
    #[error("the settings are not TOML")]
    Toml(#[source] toml::de::Error),
    /// A value is of another type, or not one of those there are.
    #[error("a setting has a value that it cannot have")]
    Value(#[source] toml::de::Error),
    /// The settings have no form as a table: a fault of the program.
    #[error("cannot list the settings there are")]
    List(#[source] toml::ser::Error),
}

impl ChooseError {
    /// What to do about it.
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            ChooseError::Unknown { meant: Some(meant), .. } => Some(format!("did you mean `{meant}`?")),
            ChooseError::Unknown { .. } => Some("the README of the injector lists the settings".to_owned()),
            // Only a shell's number in place of a text can be meant.
            ChooseError::Value(cause) if cause.message().contains("expected a string") => {
                Some("a text that looks like a number is quoted twice: --set 'resources.cpu-limit=\"1\"'".to_owned())
            }
            ChooseError::Value(_) | ChooseError::NoValue(_) | ChooseError::NoTable(_) | ChooseError::Toml(_) | ChooseError::List(_) => None,
        }
    }
}

/// The settings of a text, then what has an option of its own, then each `--set`; the last word counts.
pub(super) fn settings<'a>(text: &str, named: impl Iterator<Item = (&'a str, &'a str)>, set: &[String]) -> Result<Settings, ChooseError> {
    let mut table: Table = toml::from_str(text).map_err(ChooseError::Toml)?;
    for (key, value) in named {
        insert(&mut table, key, Value::String(value.to_owned()))?;
    }
    for assignment in set {
        let (key, value) = assignment.split_once('=').ok_or_else(|| ChooseError::NoValue(assignment.clone()))?;
        insert(&mut table, key.trim(), read(value.trim()))?;
    }
    check_keys("", &table, &known()?)?;
    Settings::parse(&toml::to_string(&table).map_err(ChooseError::List)?).map_err(ChooseError::Value)
}

/// A value as TOML writes it; what is none is text, as a shell leaves it.
fn read(value: &str) -> Value {
    let document: Result<Table, _> = toml::from_str(&format!("value = {value}"));
    // Only one value: a line break would smuggle in keys.
    match document {
        Ok(mut table) if table.len() == 1 => table.remove("value").unwrap_or_else(|| Value::String(value.to_owned())),
        _ => Value::String(value.to_owned()),
    }
}

fn insert(table: &mut Table, key: &str, value: Value) -> Result<(), ChooseError> {
    let Some((first, rest)) = key.split_once('.') else {
        table.insert(key.to_owned(), value);
        return Ok(());
    };
    match table.entry(first.to_owned()).or_insert_with(|| Value::Table(Table::new())) {
        Value::Table(below) => insert(below, rest, value),
        _ => Err(ChooseError::NoTable(first.to_owned())),
    }
}

/// Every key there is; `namespace` has one entry, which stands for each.
fn known() -> Result<Table, ChooseError> {
    let defaults = Settings::default();
    let own = NamespaceSettings {
        resources: Some(defaults.resources.clone()),
        opt_out: Some(defaults.opt_out),
        unsafe_pods: Some(defaults.unsafe_pods),
        resolvers: Some(defaults.resolvers.clone()),
    };
    Table::try_from(Settings { namespace: [("*".to_owned(), own)].into(), ..defaults }).map_err(ChooseError::List)
}

fn check_keys(path: &str, given: &Table, known: &Table) -> Result<(), ChooseError> {
    for (key, value) in given {
        let whole = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let Some(there) = known.get(key).or_else(|| known.get("*")) else {
            let near = known.keys().map(|there| (strsim::damerau_levenshtein(there, key), there)).min();
            let near = near.filter(|(distance, there)| *distance <= there.len().div_ceil(3)).map(|(_, there)| there);
            let meant = near.map(|there| if path.is_empty() { there.clone() } else { format!("{path}.{there}") });
            return Err(ChooseError::Unknown { key: whole, meant });
        };
        match (value, there) {
            (Value::Table(given), Value::Table(known)) => check_keys(&whole, given, known)?,
            (Value::Table(_), _) => return Err(ChooseError::NoTable(whole)),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Namespaces, UnsafePods};

    fn chosen(text: &str, set: &[&str]) -> Result<Settings, ChooseError> {
        let set: Vec<String> = set.iter().map(|it| (*it).to_owned()).collect();
        settings(text, std::iter::empty(), &set)
    }

    #[test]
    fn the_last_word_counts() {
        assert_eq!(chosen("", &[]).unwrap(), Settings::default());
        let text = "port = 6000\nimage = \"a:1\"";
        let set = ["image=b:2", "opt-out=true", "namespaces=all", "more-images=[\"a:1\"]", "resources.cpu-limit=\"1\""];
        let settings = chosen(text, &set).unwrap();
        assert_eq!((settings.port, settings.image.as_str(), settings.opt_out), (6000, "b:2", true));
        assert_eq!((settings.namespaces, settings.more_images), (Namespaces::All, vec!["a:1".to_owned()]));
        assert_eq!((settings.resources.cpu_limit.as_str(), settings.resources.cpu_request.as_str()), ("1", "10m"));
        let settings = chosen("", &["namespace.shop.unsafe-pods=warn"]).unwrap();
        assert_eq!((settings.unsafe_pods_in("shop"), settings.unsafe_pods_in("bank")), (UnsafePods::Warn, UnsafePods::Refuse));
    }

    #[test]
    fn what_is_no_setting_is_an_error() {
        let said = |set: &str| {
            let error = chosen("", &[set]).unwrap_err();
            format!("{error} | {}", error.hint().unwrap_or_default())
        };
        assert_eq!(said("imgae=x"), "there is no setting `imgae` | did you mean `image`?");
        assert_eq!(said("resources.cpu-limits=2"), "there is no setting `resources.cpu-limits` | did you mean `resources.cpu-limit`?");
        assert_eq!(
            said("namespace.shop.optout=true"),
            "there is no setting `namespace.shop.optout` | did you mean `namespace.shop.opt-out`?"
        );
        assert!(said("colour=blue").starts_with("there is no setting `colour` | the README"));
        assert_eq!(said("image"), "--set image: a setting is KEY=VALUE | ");
        assert_eq!(said("image.tag=1"), "the setting `image` is one value; it has no keys below it | ");
        assert!(said("port=many").starts_with("a setting has a value that it cannot have"));
        assert!(said("resources.cpu-limit=1").contains("quoted twice"));
        assert!(said("namespaces=some").starts_with("a setting has a value"));
        assert!(matches!(chosen("port = ", &[]), Err(ChooseError::Toml(_))));
        // A line break adds no keys.
        assert!(chosen("", &["opt-out=true\nport=1"]).is_err());
    }
}

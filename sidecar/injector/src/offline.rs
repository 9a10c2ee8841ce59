//! `inject -f`: the injection without a cluster, on manifests as files, for GitOps and review.

mod manifests;
mod workloads;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use policies::Date;
use serde_json::Value;

use crate::configmaps;
use crate::inject::{Context, Decision, inject};
use crate::names;
use crate::platform::{Platform, ReadPlatformError};
use crate::settings::Settings;

pub use self::manifests::ReadManifestsError;

/// The most bytes of one file.
const MOST_BYTES: u64 = 64 << 20;

/// What `inject` takes.
#[derive(Debug, clap::Args)]
pub struct InjectArgs {
    /// The manifests, of any workload kind; `-` is stdin. Other objects pass; a ConfigMap portreeve-* is checked
    #[arg(long, short, value_name = "FILE", required = true)]
    pub filename: PathBuf,
    /// The namespace of objects that name none
    #[arg(long, short, value_name = "NS", default_value = "default", value_parser = names::namespace)]
    pub namespace: String,
    /// The injector's settings (TOML) [default: the defaults]
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// The platform's own policy (TOML), which goes into the sidecar's environment
    #[arg(long, value_name = "FILE")]
    pub platform_policy: Option<PathBuf>,
}

/// Why nothing was injected.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// A file could not be read.
    #[error("cannot read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings are wrong.
    #[error("the settings in {path} are not taken")]
    Settings {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: toml::de::Error,
    },
    /// The platform's policy is wrong.
    #[error("the platform's policy in {path} is not taken")]
    Platform {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ReadPlatformError,
    },
    /// The manifests are no YAML of Kubernetes.
    #[error("cannot take the manifests in {path}")]
    Manifests {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: ReadManifestsError,
    },
    /// The result could not be written.
    #[error("cannot write the result")]
    Write(#[source] io::Error),
}

/// Injects. The manifests go to `out` only if none is refused; sentences go to `told`. Returns whether they were written.
///
/// # Errors
/// [`InjectError`]: bad input.
pub fn run(args: &InjectArgs, stdin: &mut dyn Read, out: &mut dyn Write, told: &mut dyn Write) -> Result<bool, InjectError> {
    let settings = match &args.settings {
        None => Settings::default(),
        Some(path) => Settings::parse(&read(path, stdin)?).map_err(|source| InjectError::Settings { path: path.clone(), source })?,
    };
    let platform = match &args.platform_policy {
        None => Platform::default(),
        Some(path) => Platform::parse(&read(path, stdin)?).map_err(|source| InjectError::Platform { path: path.clone(), source })?,
    };
    let text = read(&args.filename, stdin)?;
    let unread = |source| InjectError::Manifests { path: args.filename.clone(), source };
    let mut objects = manifests::read(&text).map_err(unread)?;
    let mut outcome = Outcome::default();
    for object in &mut objects {
        each(object, &mut |object| outcome.on(&settings, &platform, &args.namespace, object));
    }
    for line in &outcome.told {
        writeln!(told, "{line}").map_err(InjectError::Write)?;
    }
    if outcome.refused {
        return Ok(false);
    }
    out.write_all(manifests::write(&objects).map_err(unread)?.as_bytes()).map_err(InjectError::Write)?;
    Ok(true)
}

/// The object, or each item of a List.
fn each(object: &mut Value, act: &mut dyn FnMut(&mut Value)) {
    let is_list = names::text(object, "/kind").is_some_and(|kind| kind.ends_with("List"));
    match object.pointer_mut("/items").and_then(Value::as_array_mut).filter(|_| is_list) {
        Some(items) => items.iter_mut().for_each(|item| each(item, act)),
        None => act(object),
    }
}

#[derive(Default)]
struct Outcome {
    refused: bool,
    told: Vec<String>,
}

impl Outcome {
    fn on(&mut self, settings: &Settings, platform: &Platform, namespace: &str, object: &mut Value) {
        let kind = names::text(object, "/kind").unwrap_or("").to_owned();
        let name = names::text(object, "/metadata/name").or_else(|| names::text(object, "/metadata/generateName")).unwrap_or("");
        let of = format!("{} {name}", kind.to_lowercase());
        let namespace = names::text(object, "/metadata/namespace").unwrap_or(namespace).to_owned();
        if kind == "ConfigMap" {
            let checked = configmaps::check(&namespace, object, platform, today());
            self.told.extend(checked.warnings.iter().map(|warning| format!("warning: {of}: {warning}")));
            self.refuse(checked.refused.map(|text| format!("{of}: {text}")));
            return;
        }
        let Some(template) = workloads::pod_of(object) else { return };
        let context = Context { namespace: &namespace, enforced: None, platform };
        match inject(settings, &context, template) {
            Decision::LeftAlone { warnings, .. } => self.told.extend(warnings.iter().map(|warning| format!("warning: {of}: {warning}"))),
            Decision::Held { pod, warnings } => {
                *template = pod;
                self.told.extend(warnings.iter().map(|warning| format!("warning: {of}: {warning}")));
            }
            Decision::Refused(refused) => self.refuse(refused.iter().map(|refusal| format!("{of}: {refusal}"))),
        }
    }

    fn refuse(&mut self, sentences: impl IntoIterator<Item = String>) {
        for sentence in sentences {
            self.refused = true;
            self.told.push(format!("refused: {sentence}"));
        }
    }
}

fn read(path: &PathBuf, stdin: &mut dyn Read) -> Result<String, InjectError> {
    let unreadable = |source| InjectError::Read { path: path.clone(), source };
    let mut bytes = Vec::new();
    let read = match path.as_os_str() == "-" {
        true => stdin.take(MOST_BYTES + 1).read_to_end(&mut bytes),
        false => File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes)),
    };
    read.map_err(unreadable)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(unreadable(io::Error::other(format!("it has more than {MOST_BYTES} bytes"))));
    }
    String::from_utf8(bytes).map_err(|_| unreadable(io::Error::other("it is not UTF-8 text")))
}

fn today() -> Date {
    Date::from_unix_seconds(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs())
}

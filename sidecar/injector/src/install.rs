//! `install` and `uninstall`: every object that a cluster needs, as YAML, from one place and without an API client.

mod chosen;
mod deployment;
mod openshift;
pub(crate) mod platform;
mod webhooks;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};
use thiserror::Error;

pub use chosen::ChooseError;

use crate::exit;
use crate::fence::{self, MakeFenceError};
use crate::settings::Settings;

/// What `install` takes.
#[derive(Debug, Clone, Args)]
#[command(after_help = "The CA's certificate, once `portreeve-injector ca | kubectl create -f -` has made it:\n  \
    kubectl get secret portreeve-ca -n portreeve-system -o jsonpath='{.data.tls\\.crt}' | base64 -d >ca.crt")]
pub struct InstallArgs {
    /// The certificate of the CA that signs for the webhook, in PEM; several in one file while one CA follows another.
    #[arg(long, value_name = "FILE")]
    pub ca_cert: PathBuf,
    /// The sidecar's image: the setting `image`.
    #[arg(long)]
    pub image: Option<String>,
    /// The injector's own image.
    #[arg(long, default_value_t = default_injector_image(), value_parser = crate::settings::image)]
    pub injector_image: String,
    /// The namespace that the injector runs in.
    #[arg(long, default_value = "portreeve-system", value_parser = crate::names::namespace)]
    pub namespace: String,
    /// A file of settings (TOML) to start from.
    #[arg(long, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// A setting: KEY=VALUE, the value as TOML has it or a bare word; `namespace.shop.opt-out=true` is of one namespace.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// The Pod Security level held for every container but the sidecar: the setting `pod-security`.
    #[arg(long, value_parser = ["baseline", "restricted"])]
    pub pod_security: Option<String>,
    /// Print OpenShift's SecurityContextConstraints too, and leave the injector's uid to it.
    #[arg(long)]
    pub openshift: bool,
}

/// What `uninstall` takes.
#[derive(Debug, Clone, Args)]
pub struct UninstallArgs {
    /// The namespace that the injector runs in.
    #[arg(long, default_value = "portreeve-system", value_parser = crate::names::namespace)]
    pub namespace: String,
    /// Name OpenShift's objects too.
    #[arg(long)]
    pub openshift: bool,
    /// Name the namespace too, and with it the CA and the platform's policy.
    #[arg(long)]
    pub all: bool,
}

/// The injector's image of this version.
pub fn default_injector_image() -> String {
    format!("ghcr.io/portreeve/portreeve-injector:{}", env!("CARGO_PKG_VERSION"))
}

/// Why nothing was printed.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The CA's certificate could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The settings' file could not be read.
    #[error("cannot read the settings in {}", path.display())]
    ReadSettings {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// The file holds the CA's key, which is not for everyone's eyes.
    #[error("{} holds a private key: a webhook configuration may be read by everyone", .0.display())]
    PrivateKey(PathBuf),
    /// A setting is not one.
    #[error("cannot take the settings")]
    Choose(#[from] ChooseError),
    /// The fence policy could not be made.
    #[error("cannot make the fence policy")]
    Fence(#[from] MakeFenceError),
    /// A value has no written form.
    #[error("cannot write the settings as TOML")]
    WriteSettings(#[from] toml::ser::Error),
    /// An object has no written form.
    #[error("cannot write an object as YAML")]
    WriteYaml(#[source] serde_saphyr::ser::Error),
    /// Nobody takes the output.
    #[error("cannot write to stdout")]
    Print(#[source] io::Error),
}

/// What every object is made of.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The settings, complete.
    pub settings: Settings,
    /// The CA's certificates, in PEM.
    pub ca: String,
    /// The namespace that the injector runs in.
    pub namespace: String,
    /// The injector's image.
    pub injector_image: String,
    /// Whether OpenShift's objects belong to it.
    pub openshift: bool,
}

impl Plan {
    /// Reads the files and takes the settings, or says what is wrong.
    pub fn read(args: &InstallArgs) -> Result<Plan, InstallError> {
        let ca = fs::read_to_string(&args.ca_cert).map_err(|source| InstallError::Read { path: args.ca_cert.clone(), source })?;
        if ca.contains("PRIVATE KEY-----") {
            return Err(InstallError::PrivateKey(args.ca_cert.clone()));
        }
        if !ca.contains("-----BEGIN CERTIFICATE-----") || !ca.contains("-----END CERTIFICATE-----") {
            return Err(InstallError::NoCertificate(args.ca_cert.clone()));
        }
        let text = match &args.settings {
            None => String::new(),
            Some(path) => fs::read_to_string(path).map_err(|source| InstallError::ReadSettings { path: path.clone(), source })?,
        };
        let named = [("image", &args.image), ("pod-security", &args.pod_security)];
        let named = named.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?)));
        let settings = chosen::settings(&text, named, &args.set)?;
        Ok(Plan { settings, ca, namespace: args.namespace.clone(), injector_image: args.injector_image.clone(), openshift: args.openshift })
    }

    /// The settings as the ConfigMap has them.
    fn settings_text(&self) -> Result<String, InstallError> {
        Ok(toml::to_string(&self.settings)?)
    }

    /// Every object, in the order in which it can be applied: the webhooks come after what answers them.
    pub fn objects(&self) -> Result<Vec<Value>, InstallError> {
        let bundle = STANDARD.encode(self.ca.trim().to_owned() + "\n");
        let mut objects = platform::objects(self)?;
        objects.extend(deployment::objects(self)?);
        if self.openshift {
            objects.extend(openshift::objects());
        }
        objects.extend(fence::policies(&self.settings, &self.namespace)?);
        objects.extend(webhooks::objects(self, &bundle));
        Ok(objects)
    }
}

/// Every object that `install` can have made, by name, the webhooks first: without what answers them they would stop every pod.
pub fn removed(args: &UninstallArgs) -> Result<Vec<Value>, InstallError> {
    let plan = Plan {
        settings: Settings::default(),
        ca: String::new(),
        namespace: args.namespace.clone(),
        injector_image: default_injector_image(),
        openshift: args.openshift,
    };
    let mut objects = plan.objects()?;
    for (policy, bindings) in fence::names()? {
        let kind =
            |kind: &str, name: &str| json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": name}});
        objects.push(kind("ValidatingAdmissionPolicy", &policy));
        objects.extend(bindings.iter().map(|name| kind("ValidatingAdmissionPolicyBinding", name)));
    }
    let mut names: Vec<Value> = Vec::new();
    for object in objects.iter().rev() {
        let field = |pointer: &str| object.pointer(pointer).cloned();
        let mut metadata = json!({"name": field("/metadata/name")});
        if let (Some(namespace), Some(metadata)) = (field("/metadata/namespace"), metadata.as_object_mut()) {
            metadata.insert("namespace".to_owned(), namespace);
        }
        let named = json!({"apiVersion": field("/apiVersion"), "kind": field("/kind"), "metadata": metadata});
        let is_namespace = named.get("kind").and_then(Value::as_str) == Some("Namespace");
        if !names.contains(&named) && (args.all || !is_namespace) {
            names.push(named);
        }
    }
    let is_webhook = |object: &Value| object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("WebhookConfiguration"));
    names.sort_by_key(|object| !is_webhook(object));
    Ok(names)
}

/// The objects as one YAML stream.
pub fn yaml(objects: &[Value]) -> Result<String, InstallError> {
    let mut text = String::new();
    for object in objects {
        let object = serde_saphyr::to_string(object).map_err(InstallError::WriteYaml)?;
        // A String takes whatever is written to it.
        let _ = write!(text, "---\n{}\n", object.trim_end());
    }
    Ok(text)
}

/// Prints what the cluster needs.
pub fn install(args: &InstallArgs) -> ExitCode {
    told(Plan::read(args).and_then(|plan| plan.objects()))
}

/// Prints the names of what must go.
pub fn uninstall(args: &UninstallArgs) -> ExitCode {
    told(removed(args))
}

fn told(objects: Result<Vec<Value>, InstallError>) -> ExitCode {
    let printed = objects
        .and_then(|objects| yaml(&objects))
        .and_then(|text| io::stdout().lock().write_all(text.as_bytes()).map_err(InstallError::Print));
    let Err(error) = printed else { return ExitCode::SUCCESS };
    let code = if matches!(error, InstallError::Print(_)) { 70 } else { 2 };
    exit::failed(&error, error.hint().as_deref(), code)
}

impl InstallError {
    /// What to do about it.
    fn hint(&self) -> Option<String> {
        match self {
            InstallError::Read { .. } | InstallError::NoCertificate(_) | InstallError::PrivateKey(_) => {
                Some("kubectl get secret portreeve-ca -n portreeve-system -o jsonpath='{.data.tls\\.crt}' | base64 -d >ca.crt".to_owned())
            }
            InstallError::Choose(error) => error.hint(),
            InstallError::ReadSettings { .. }
            | InstallError::Fence(_)
            | InstallError::WriteSettings(_)
            | InstallError::WriteYaml(_)
            | InstallError::Print(_) => None,
        }
    }
}

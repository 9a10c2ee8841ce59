//! The command `ca`: the injector's namespace, and in it a new certificate authority as a Secret that `kubectl create` refuses to put over an older one.

use std::io::{self, Write};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use crate::install::platform;

/// Ten years: the CA stands in webhook configurations, which nobody looks at in between; `…_ca_expires_timestamp_seconds` tells in time.
const LIFE: Duration = Duration::days(3652);
/// The clock of whoever runs this may be ahead of the API server's.
const BACK: Duration = Duration::hours(1);

/// What `ca` takes.
#[derive(Debug, Args)]
#[command(after_help = "Once:\n  portreeve-injector ca | kubectl create -f -\n\
    makes the namespace and the Secret in it. create refuses to overwrite; the key is nowhere but in the Secret. What `install --ca-cert` takes is read back from the cluster:\n  \
    kubectl get secret portreeve-ca -n portreeve-system -o jsonpath='{.data.tls\\.crt}' | base64 -d >ca.crt\n\
    Before it ends (ten years), and when the key is not safe any more: --next, and the steps of the README, \"Changing the CA\".")]
pub struct CaArgs {
    /// The injector's namespace.
    #[arg(long, default_value = "portreeve-system", value_parser = crate::names::namespace)]
    pub namespace: String,
    /// The CA that follows the one in use: keys next.crt and next.key of the same Secret, for `kubectl apply --server-side -f -`.
    #[arg(long)]
    pub next: bool,
}

/// Why no CA was printed.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The certificate.
    #[error("cannot make a CA")]
    Make(#[source] rcgen::Error),
    /// The kernel's generator, for the name.
    #[error("cannot name the CA: no random numbers")]
    Random(#[source] getrandom::Error),
    /// The namespace has no written form.
    #[error("cannot write the namespace as YAML")]
    Write(#[source] serde_saphyr::ser::Error),
    /// Stdout.
    #[error("cannot print the Secret")]
    Print(#[source] io::Error),
}

/// A CA's certificate and its key, both PEM.
pub struct NewCa {
    /// What webhook configurations trust.
    pub certificate: String,
    /// What signs; for the Secret alone.
    pub key: String,
}

/// A new CA on the curve P-256, valid from an hour ago for ten years from `now`.
///
/// # Errors
/// The certificate cannot be made.
pub fn make(now: SystemTime) -> Result<NewCa, CaError> {
    let key = KeyPair::generate().map_err(CaError::Make)?;
    let now = OffsetDateTime::from(now);
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (now - BACK, now + LIFE);
    // A name of its own for each: two CAs of one name in a bundle make verifiers try keys.
    let mut mark = [0; 4];
    getrandom::fill(&mut mark).map_err(CaError::Random)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, format!("portreeve-injector CA {:08x}", u32::from_be_bytes(mark)));
    // One CA below it: at a change of CAs the old one vouches for the new one.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key).map_err(CaError::Make)?;
    Ok(NewCa { certificate: certificate.pem(), key: key.serialize_pem() })
}

/// What is printed: the namespace, if this is the first CA, and the Secret. A `create` that finds the namespace there says so and goes on.
///
/// # Errors
/// The namespace has no written form.
pub fn manifest(ca: &NewCa, args: &CaArgs) -> Result<String, CaError> {
    match args.next {
        true => Ok(secret(ca, args)),
        false => Ok(format!("---\n{}\n---\n{}", namespace(&args.namespace)?.trim_end(), secret(ca, args))),
    }
}

/// As `install` prints it, so that nothing changes when that is applied; and with what `kubectl apply` keeps of an object that it made, or it
/// would warn that this one was made otherwise.
fn namespace(name: &str) -> Result<String, CaError> {
    let mut namespace = platform::namespace(name);
    let applied = namespace.to_string();
    if let Some(metadata) = namespace.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.insert("annotations".to_owned(), json!({"kubectl.kubernetes.io/last-applied-configuration": applied}));
    }
    serde_saphyr::to_string(&namespace).map_err(CaError::Write)
}

/// The Secret as YAML. Its type makes the API server hold that certificate and key are both there. `data` and not `stringData`: a
/// server-side apply owns keys by name, and those it adds must be the ones that are stored.
fn secret(ca: &NewCa, args: &CaArgs) -> String {
    let keys = if args.next { "next" } else { "tls" };
    format!(
        "apiVersion: v1\nkind: Secret\nmetadata:\n  name: portreeve-ca\n  namespace: {}\n  labels:\n    app.kubernetes.io/name: portreeve-injector\n\
         type: kubernetes.io/tls\ndata:\n  {keys}.crt: {}\n  {keys}.key: {}\n",
        args.namespace,
        STANDARD.encode(&ca.certificate),
        STANDARD.encode(&ca.key),
    )
}

/// Makes a CA and prints it.
///
/// # Errors
/// [`CaError`].
pub fn command(args: &CaArgs) -> Result<(), CaError> {
    let text = manifest(&make(SystemTime::now())?, args)?;
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(CaError::Print)
}

//! Zones below which strangers have names: a wildcard there permits more than its author means.
use crate::name::Name;

/// Why a wildcard is broad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Breadth {
    /// Anyone can register a name there.
    PublicSuffix,
    /// A provider gives its customers names there.
    SharedTenant,
    /// Every Service of the cluster.
    Cluster,
}

impl Breadth {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::PublicSuffix => "takes in names that anyone can register",
            Self::SharedTenant => "takes in names of every customer of that provider",
            Self::Cluster => "takes in every Service of the cluster",
        }
    }

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::PublicSuffix => "a public suffix",
            Self::SharedTenant => "a shared-tenant zone",
            Self::Cluster => "the whole cluster",
        }
    }

    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::PublicSuffix => "name the domain below it that the app needs",
            Self::SharedTenant => "name the app's own bucket, distribution or endpoint: data can be carried out to anyone else's",
            Self::Cluster => "name the Service, such as redis.shop.svc.cluster.local",
        }
    }
}

/// Zones of the large providers that are shared by their customers: what the private section of the public suffix list lacks, and
/// what stands above its entries.
const SHARED: &[&str] = &[
    "akadns.net",
    "akamai.net",
    "akamaized.net",
    "akamaihd.net",
    "amazonaws.com",
    "api.aws",
    "amplifyapp.com",
    "appspot.com",
    "auth0.com",
    "azure-api.net",
    "azurecr.io",
    "azureedge.net",
    "azurefd.net",
    "azurewebsites.net",
    "b-cdn.net",
    "backblazeb2.com",
    "blob.core.windows.net",
    "blob.storage.azure.net",
    "cdn77.org",
    "cloudapp.azure.com",
    "cloudapp.net",
    "cloudflarestorage.com",
    "cloudfront.net",
    "cloudfunctions.net",
    "core.windows.net",
    "database.windows.net",
    "ddns.net",
    "digitaloceanspaces.com",
    "duckdns.org",
    "edgekey.net",
    "edgesuite.net",
    "elasticbeanstalk.com",
    "elb.amazonaws.com",
    "fastly.net",
    "fastlylb.net",
    "firebaseapp.com",
    "firebaseio.com",
    "fly.dev",
    "github.io",
    "githubusercontent.com",
    "gitlab.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "hf.space",
    "ibmappdomain.cloud",
    "lambda-url.us-east-1.on.aws",
    "linodeobjects.com",
    "myqcloud.com",
    "netlify.app",
    "ngrok-free.app",
    "ngrok.app",
    "ngrok.io",
    "nip.io",
    "oraclecloud.com",
    "pages.dev",
    "r2.dev",
    "run.app",
    "s3.amazonaws.com",
    "servicebus.windows.net",
    "sharepoint.com",
    "sslip.io",
    "storage.googleapis.com",
    "supabase.co",
    "trafficmanager.net",
    "trycloudflare.com",
    "vault.azure.net",
    "vercel.app",
    "vultrobjects.com",
    "wasabisys.com",
    "web.app",
    "webhook.site",
    "windows.net",
    "workers.dev",
];

/// Why a wildcard below the zone is broad; `None` where it is not.
pub(super) fn breadth(zone: &Name) -> Option<Breadth> {
    let text = zone.to_string();
    // Whatever the cluster's domain is called, its Services live below `svc` in it.
    if text == "cluster.local" || zone.labels().next() == Some(b"svc") {
        return Some(Breadth::Cluster);
    }
    let shared =
        SHARED.iter().any(|shared| *shared == text || shared.strip_suffix(text.as_str()).is_some_and(|front| front.ends_with('.')));
    // A zone above a shared one, but no public suffix itself (`*.windows.net`), is as broad.
    let suffix = psl::suffix(text.as_bytes()).filter(|suffix| suffix.is_known() && suffix.as_bytes() == text.as_bytes());
    match suffix.map(|suffix| suffix.typ()) {
        Some(Some(psl::Type::Icann)) => Some(Breadth::PublicSuffix),
        Some(_) => Some(Breadth::SharedTenant),
        None => shared.then_some(Breadth::SharedTenant),
    }
}

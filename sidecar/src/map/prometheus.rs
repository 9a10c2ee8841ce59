//! Questions to a Prometheus over plain HTTP: bounded in time and size, and every way to fail is said with what to do about it.

use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::Uri;

/// From the first byte sent to the last received; Prometheus itself gives up after two minutes unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(130);
/// Until it is connected.
const CONNECTING: Duration = Duration::from_secs(10);
/// The largest answer: a hundred thousand rows take about 40 MiB.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Where a Prometheus is: `http://HOST[:PORT][/PATH]`, without a slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PrometheusUrl(String);

/// Why a text is not where a Prometheus is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// TLS is not in this binary.
    #[error(
        "it speaks TLS, and this binary does not: `kubectl -n monitoring port-forward svc/prometheus 9090`, then --prometheus http://127.0.0.1:9090"
    )]
    Https,
    /// Something else.
    #[error("not http://HOST[:PORT][/PATH] (example: http://127.0.0.1:9090)")]
    Form,
}

impl std::str::FromStr for PrometheusUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let uri: Uri = text.parse().map_err(|_| UrlError::Form)?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(UrlError::Https),
            _ => return Err(UrlError::Form),
        }
        // A name and a password before the host would not be sent; what follows a `?` would end up in the midst of ours.
        let plain = uri.query().is_none() && uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        let host = uri.host().is_some_and(|host| !host.is_empty());
        if plain && host { Ok(PrometheusUrl(text.trim_end_matches('/').to_owned())) } else { Err(UrlError::Form) }
    }
}

impl std::fmt::Display for PrometheusUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskPrometheusError {
    /// Nobody is there.
    #[error("cannot reach {url} (is it there? `kubectl -n monitoring port-forward svc/prometheus 9090` makes it http://127.0.0.1:9090)")]
    Reach {
        /// Where.
        url: PrometheusUrl,
        /// Why.
        #[source]
        source: ureq::Error,
    },
    /// It takes too long.
    #[error("{url} did not answer within {} s (a shorter --since is less work for it)", PATIENCE.as_secs())]
    Slow {
        /// Where.
        url: PrometheusUrl,
    },
    /// It began to answer.
    #[error("the answer of {url} broke off")]
    BrokenOff {
        /// Where.
        url: PrometheusUrl,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The answer is too large.
    #[error("{url} answers with more than {} MiB (a shorter --since has fewer rows)", MOST_BYTES / 1024 / 1024)]
    Large {
        /// Where.
        url: PrometheusUrl,
    },
    /// It leads on to TLS.
    #[error("{0} leads on to https, which this binary does not speak (`kubectl port-forward` leads to Prometheus itself)")]
    LeadsToHttps(PrometheusUrl),
    /// It wants to know who asks.
    #[error("{url} does not let just anybody ask (status {status}); PORTREEVE_PROMETHEUS_TOKEN is sent as a bearer token")]
    Unknown {
        /// Where.
        url: PrometheusUrl,
        /// 401 or 403.
        status: u16,
    },
    /// It is something else.
    #[error("what answers at {url} is no Prometheus: {url}/api/v1/query gave {got} and not its JSON")]
    Foreign {
        /// Where.
        url: PrometheusUrl,
        /// What came instead.
        got: String,
    },
    /// It refused the question.
    #[error("{url} did not answer the question: {said} (a shorter --since is less work for it)")]
    Refused {
        /// Where.
        url: PrometheusUrl,
        /// What it said, one line.
        said: String,
    },
}

/// A row of an answer.
#[derive(Debug, Deserialize)]
pub struct Row<L> {
    /// Its labels.
    #[serde(rename = "metric")]
    pub labels: L,
    /// When, and how much.
    value: (f64, String),
}

impl<L> Row<L> {
    /// How much, as a whole number: counts were, before Prometheus reckoned with them.
    pub fn count(&self) -> u64 {
        let value = self.value.1.parse::<f64>().unwrap_or_default();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and what is negative or no number is 0")]
        let whole = value.round() as u64;
        whole
    }
}

/// What Prometheus says. No enum by `status`: serde would hold all of the answer in a form of its own first.
#[derive(Deserialize)]
#[serde(bound = "L: DeserializeOwned")]
struct Answer<L> {
    status: String,
    error: Option<String>,
    data: Option<Data<L>>,
}

/// A vector: what else there is has rows of another form.
#[derive(Deserialize)]
#[serde(bound = "L: DeserializeOwned")]
struct Data<L> {
    result: Vec<Row<L>>,
}

/// Asks one Prometheus.
#[derive(Debug)]
pub struct Client {
    agent: ureq::Agent,
    url: PrometheusUrl,
    token: Option<String>,
    most_bytes: u64,
}

impl Client {
    /// Connects to nothing yet.
    pub fn new(url: PrometheusUrl, token: Option<String>) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(PATIENCE))
            .timeout_connect(Some(CONNECTING))
            .http_status_as_error(false)
            // Where it leads is said, not followed: the token is for this one.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .build();
        Client { agent: config.into(), url, token, most_bytes: MOST_BYTES }
    }

    /// Whom it asks.
    pub fn url(&self) -> &PrometheusUrl {
        &self.url
    }

    /// What a PromQL expression is now.
    ///
    /// # Errors
    /// [`AskPrometheusError`].
    pub fn query<L: DeserializeOwned>(&self, expression: &str) -> Result<Vec<Row<L>>, AskPrometheusError> {
        let mut request = self.agent.get(format!("{}/api/v1/query", self.url)).query("query", expression);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut answer = request.call().map_err(|error| self.failed(error))?;
        let status = answer.status();
        let leads = answer.headers().get("location").and_then(|to| to.to_str().ok()).unwrap_or_default();
        if status.is_redirection() && leads.starts_with("https:") {
            return Err(AskPrometheusError::LeadsToHttps(self.url.clone()));
        }
        if matches!(status.as_u16(), 401 | 403) {
            return Err(AskPrometheusError::Unknown { url: self.url.clone(), status: status.as_u16() });
        }
        let body = answer.body_mut().with_config().limit(self.most_bytes).read_to_vec().map_err(|error| match error {
            ureq::Error::Io(source) => AskPrometheusError::BrokenOff { url: self.url.clone(), source },
            other => self.failed(other),
        })?;
        match serde_json::from_slice::<Answer<L>>(&body) {
            Ok(Answer { status, data: Some(data), .. }) if status == "success" => Ok(data.result),
            Ok(Answer { error: Some(error), .. }) => {
                let said = error.lines().next().unwrap_or_default().chars().filter(|c| !c.is_control()).take(300).collect();
                Err(AskPrometheusError::Refused { url: self.url.clone(), said })
            }
            _ => Err(AskPrometheusError::Foreign { url: self.url.clone(), got: format!("status {}", status.as_u16()) }),
        }
    }

    fn failed(&self, error: ureq::Error) -> AskPrometheusError {
        let url = self.url.clone();
        match error {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => AskPrometheusError::Reach { url, source: error },
            ureq::Error::Timeout(_) => AskPrometheusError::Slow { url },
            ureq::Error::BodyExceedsLimit(_) => AskPrometheusError::Large { url },
            ureq::Error::Protocol(_) => AskPrometheusError::Foreign { url, got: "no HTTP".to_owned() },
            other => AskPrometheusError::Reach { url, source: other },
        }
    }
}

#[cfg(test)]
mod tests;

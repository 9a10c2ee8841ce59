//! `portreeve map`: which workloads use which outside names on which ports, permitted and refused, with volumes: a page in one file, or data.

pub mod graph;
pub mod logs;
pub mod owners;
pub mod prometheus;
pub mod scraped;
pub mod target;

use std::time::Duration;

use crate::cli::{MapArgs, MapFormat};
use crate::exit::{Exit, Failure};
use crate::output;

/// The page, with places for the data and the layout library.
const PAGE: &str = include_str!("../assets/map.html");
/// Graph layout (MIT, see its licence beside it): the maintained dagre, 50 kB, layered from left to right as such a map is read.
const DAGRE: &str = include_str!("../assets/vendor/dagre.min.js");

/// Its licence, which goes along with every copy.
const LICENCE: &str = include_str!("../assets/vendor/dagre.LICENSE.txt");

/// Why there is no map.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// Nothing to draw.
    #[error("no flow is in these logs ({lines} lines of flow log, {foreign} others)")]
    Nothing {
        /// Lines of ours.
        lines: u64,
        /// Lines that are something else.
        foreign: u64,
    },
    /// The file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// How far back Prometheus is asked unless something else is said.
const SINCE: Duration = Duration::from_secs(24 * 3600);

/// Runs it.
pub fn run(args: &MapArgs) -> Result<Exit, Failure> {
    let graph = match &args.prometheus {
        Some(url) => scraped(url, args)?,
        None => {
            let (graph, passed) = logs::read(&args.flows)?;
            if graph.edges.is_empty() {
                return Err(Failure::usage(MapError::Nothing { lines: passed.lines, foreign: passed.foreign }));
            }
            graph
        }
    };
    let text = match args.format {
        MapFormat::Json => serde_json::to_string_pretty(&graph).map_err(Failure::failed)?,
        MapFormat::Html => page(&serde_json::to_string(&graph).map_err(Failure::failed)?),
    };
    match &args.output {
        Some(path) => std::fs::write(path, text).map_err(|source| Failure::usage(MapError::Write { path: path.clone(), source }))?,
        None => output::line(&text)?,
    }
    Ok(Exit::Success)
}

fn scraped(url: &prometheus::PrometheusUrl, args: &MapArgs) -> Result<graph::Graph, Failure> {
    let client = prometheus::Client::new(url.clone(), args.prometheus_token.clone());
    let scraped = scraped::read(&client, args.since.unwrap_or(SINCE)).map_err(Failure::usage)?;
    if scraped.anonymous {
        output::complain(
            "portreeve: no row says which workload it is of: the scrape must add the labels namespace and app (images/README.md)",
        );
    }
    Ok(scraped.graph)
}

/// The page with the data in it. Names come from the network: in a script element `<` alone could end it.
fn page(json: &str) -> String {
    let data = json.replace('<', "\\u003c");
    // The library's map of its source is not there, and nothing may be fetched.
    let library = DAGRE.split("\n//# sourceMappingURL").next().unwrap_or_default();
    let (before, rest) = PAGE.split_once("/*DATA*/").unwrap_or((PAGE, ""));
    let (between, rest) = rest.split_once("/*LICENCE*/").unwrap_or((rest, ""));
    let (begin, after) = rest.split_once("/*DAGRE*/").unwrap_or((rest, ""));
    [before, &data, between, LICENCE, begin, library, after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_ends_the_script_that_it_stands_in() {
        let page = page("{\"label\":\"</script><img src=x>/*DAGRE*/\"}");
        assert!(page.contains("\\u003c/script>\\u003cimg src=x>/*DAGRE*/"));
        assert_eq!(page.matches("</script>").count(), 4, "those of the page");
        assert!(page.contains("var dagre=") && !page.contains("sourceMappingURL"));
        assert!(page.contains("Permission is hereby granted"), "the licence goes along");
    }

    #[test]
    fn the_library_is_the_one_that_was_looked_at() {
        // npm pack @dagrejs/dagre@3.1.3, dist/dagre.min.js
        assert_eq!(crate::sources::sha256(DAGRE), include_str!("../assets/vendor/dagre.sha256").trim());
    }
}

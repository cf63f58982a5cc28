//! What configuration says of names of spans, of those that are left out, and of traces that are kept, as the stages take it.

use crate::config::globs::{self, TooMany};
use crate::config::sampling::Ratio;
use crate::config::{Config, Sampler, value::ServicePattern};
use crate::span::rename::Rename;
use crate::span::route::{Routes, Templates};
use crate::trace::drop::{DropRule, DropRules};
use crate::trace::sampling::{Policy, Rule};
use globset::GlobSet;
use std::num::NonZeroU32;

/// Routes, known and learnt.
///
/// # Errors
/// There are too many patterns.
pub(crate) fn routes(config: &Config) -> Result<Routes, TooMany> {
    let section = &config.routes;
    let templates = section.templates.iter().flatten().map(|templates| {
        Ok(Templates {
            services: services("routes.templates", &templates.services)?,
            routes: templates.paths.iter().map(|path| path.0.clone()).collect(),
        })
    });
    let learns = section.learn.unwrap_or_default();
    let limit = section
        .max_per_service
        .filter(|_| learns)
        .map_or(0, std::num::NonZero::get);
    Ok(Routes::new(
        templates.collect::<Result<_, TooMany>>()?,
        limit as usize,
    ))
}

/// Names that are replaced.
///
/// # Errors
/// There are too many patterns.
pub(crate) fn renames(config: &Config) -> Result<Vec<Rename>, TooMany> {
    let rename = config.spans.rename.iter().flatten().map(|rule| {
        Ok(Rename {
            services: services("spans.rename", &rule.services)?,
            pattern: rule.pattern.regex().clone(),
            name: rule.name.clone(),
        })
    });
    rename.collect()
}

/// Requests that are left out.
///
/// # Errors
/// There are too many patterns.
pub(crate) fn drops(config: &Config) -> Result<DropRules, TooMany> {
    let drop = config.spans.drop.iter().flatten().map(|rule| {
        Ok(DropRule {
            services: services("spans.drop", &rule.services)?,
            paths: globs::compiled(
                "spans.drop",
                rule.paths.iter().map(crate::config::naming::TextPattern::glob),
            )?,
            user_agents: globs::compiled(
                "spans.drop",
                rule.user_agents
                    .iter()
                    .map(crate::config::naming::TextPattern::glob),
            )?,
        })
    });
    Ok(DropRules::new(drop.collect::<Result<_, TooMany>>()?))
}

/// Which traces are kept.
///
/// # Errors
/// There are too many patterns.
pub(crate) fn sampling(config: &Config) -> Result<Policy, TooMany> {
    let section = &config.sampling;
    let sampler = section.sampler.unwrap_or(Sampler::ParentBasedAlwaysOn);
    let rules = section.rules.iter().flatten().map(|rule| {
        Ok(Rule {
            services: services("sampling.rules", &rule.services)?,
            namespaces: services("sampling.rules", &rule.namespaces)?,
            ratio: rule.ratio.number(),
        })
    });
    let limit = |limit: Option<NonZeroU32>| limit.map(|limit| f64::from(limit.get()));
    Ok(Policy {
        parent_based: matches!(
            sampler,
            Sampler::ParentBasedAlwaysOn | Sampler::ParentBasedAlwaysOff | Sampler::ParentBasedTraceIdRatio
        ),
        ratio: match sampler {
            Sampler::AlwaysOn | Sampler::ParentBasedAlwaysOn => 1.0,
            Sampler::AlwaysOff | Sampler::ParentBasedAlwaysOff => 0.0,
            Sampler::TraceIdRatio | Sampler::ParentBasedTraceIdRatio => {
                section.ratio.map_or(1.0, Ratio::number)
            }
        },
        rules: rules.collect::<Result<_, TooMany>>()?,
        traces_per_second: limit(section.max_traces_per_second),
        spans_per_second: limit(section.spans_per_second),
    })
}

fn services(key: &'static str, patterns: &[ServicePattern]) -> Result<GlobSet, TooMany> {
    globs::compiled(key, patterns.iter().map(ServicePattern::glob))
}

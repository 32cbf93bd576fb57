//! Traces out of the process: spans go to an OpenTelemetry collector, by OTLP over HTTP.
//!
//! The standard `OTEL_…` variables configure it. Without an endpoint there is no exporter, and
//! spans cost as much as a disabled log line. Spans that the collector doesn't accept are dropped and logged: a
//! trace never delays work.

mod queries;

use std::{collections::HashMap, ops::RangeInclusive, time::Duration};

use opentelemetry::{KeyValue, global, trace::TracerProvider};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, ShouldSample},
};
use url::Url;

pub(crate) use self::queries::QuerySpans;
use crate::settings::{SettingError, Settings};

/// `service.namespace` of every process.
const NAMESPACE: &str = "millrace";
/// Range of a time in milliseconds: at most an hour.
const MILLISECONDS: RangeInclusive<u64> = 1..=3_600_000;
/// Maximum time for the remaining spans to be sent when the process ends.
const FLUSH: Duration = Duration::from_secs(3);

/// Configuration of the export.
#[derive(Clone, PartialEq)]
pub(crate) struct Export {
    endpoint: Url,
    headers: HashMap<String, String>,
    timeout: Duration,
    delay: Duration,
    sampler: Sampling,
    resource: Vec<(String, String)>,
}

/// Sampling of traces: `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Sampling {
    On,
    Off,
    Ratio(f64),
    ParentOr(Root),
}

/// The fallback of a parent-based sampler for spans without a parent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Root {
    On,
    Off,
    Ratio(f64),
}

impl Export {
    /// The configured export; `None`: no spans are exported.
    ///
    /// # Errors
    /// The first variable that is malformed, or not supported by this build.
    pub(crate) fn from_settings(settings: &Settings, service: &str) -> Result<Option<Self>, SettingError> {
        let disabled = settings.parsed("OTEL_SDK_DISABLED", false)?;
        match settings.get("OTEL_TRACES_EXPORTER") {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(_) => return Err(SettingError::malformed("OTEL_TRACES_EXPORTER", "expected otlp or none")),
        }
        let Some(endpoint) = endpoint(settings)?.filter(|_| !disabled) else { return Ok(None) };
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if settings.get(name).is_some_and(|protocol| protocol != "http/protobuf") {
                return Err(SettingError::malformed(name, "only http/protobuf is supported"));
            }
        }
        let timeout = settings.within("OTEL_EXPORTER_OTLP_TIMEOUT", 10_000, MILLISECONDS)?;
        let timeout = settings.within("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", timeout, MILLISECONDS)?;
        let mut resource = pairs(settings, "OTEL_RESOURCE_ATTRIBUTES")?;
        for (name, value) in [
            ("service.namespace", NAMESPACE.to_owned()),
            ("service.name", format!("{NAMESPACE}-{service}")),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ] {
            if !resource.iter().any(|(given, _)| given == name) {
                resource.push((name.to_owned(), value));
            }
        }
        if let Some(name) = settings.get("OTEL_SERVICE_NAME") {
            resource.retain(|(given, _)| given != "service.name");
            resource.push(("service.name".to_owned(), name.to_owned()));
        }
        let headers = match settings.get("OTEL_EXPORTER_OTLP_TRACES_HEADERS") {
            Some(_) => pairs(settings, "OTEL_EXPORTER_OTLP_TRACES_HEADERS")?,
            None => pairs(settings, "OTEL_EXPORTER_OTLP_HEADERS")?,
        };
        Ok(Some(Self {
            endpoint,
            headers: headers.into_iter().collect(),
            timeout: Duration::from_millis(timeout),
            delay: Duration::from_millis(settings.within("OTEL_BSP_SCHEDULE_DELAY", 5000, MILLISECONDS)?),
            sampler: Sampling::from_settings(settings)?,
            resource,
        }))
    }

    /// Starts exporting, on a thread of its own.
    ///
    /// # Errors
    /// When the HTTP client can't be built.
    pub(crate) fn start(self) -> Result<Traces, SettingError> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(self.endpoint.as_str())
            .with_protocol(Protocol::HttpBinary)
            .with_headers(self.headers)
            .with_timeout(self.timeout)
            .build()
            .map_err(|error| SettingError::malformed("OTEL_EXPORTER_OTLP_ENDPOINT", error))?;
        let batches = BatchConfigBuilder::default().with_scheduled_delay(self.delay).build();
        let resource = self.resource.into_iter().map(|(name, value)| KeyValue::new(name, value));
        let provider = SdkTracerProvider::builder()
            .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(batches).build())
            .with_sampler(self.sampler.sampler())
            .with_resource(Resource::builder_empty().with_attributes(resource).build())
            .build();
        global::set_tracer_provider(provider.clone());
        Ok(Traces(provider))
    }
}

/// The process's exporter. Dropped, it sends the remaining spans.
pub(crate) struct Traces(SdkTracerProvider);

impl Traces {
    pub(crate) fn tracer(&self) -> SdkTracer {
        self.0.tracer(jobs::trace::TRACER)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(FLUSH) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }
}

impl Sampling {
    fn from_settings(settings: &Settings) -> Result<Self, SettingError> {
        let ratio = || {
            let ratio: f64 = settings.parsed("OTEL_TRACES_SAMPLER_ARG", 1.0)?;
            if (0.0..=1.0).contains(&ratio) {
                Ok(ratio)
            } else {
                Err(SettingError::malformed("OTEL_TRACES_SAMPLER_ARG", "expected a number between 0 and 1"))
            }
        };
        Ok(match settings.get("OTEL_TRACES_SAMPLER") {
            None | Some("parentbased_always_on") => Self::ParentOr(Root::On),
            Some("parentbased_always_off") => Self::ParentOr(Root::Off),
            Some("parentbased_traceidratio") => Self::ParentOr(Root::Ratio(ratio()?)),
            Some("always_on") => Self::On,
            Some("always_off") => Self::Off,
            Some("traceidratio") => Self::Ratio(ratio()?),
            Some(_) => return Err(SettingError::malformed("OTEL_TRACES_SAMPLER", "unknown sampler")),
        })
    }

    fn sampler(self) -> Box<dyn ShouldSample> {
        Box::new(match self {
            Self::On => Sampler::AlwaysOn,
            Self::Off => Sampler::AlwaysOff,
            Self::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
            Self::ParentOr(root) => Sampler::ParentBased(Box::new(match root {
                Root::On => Sampler::AlwaysOn,
                Root::Off => Sampler::AlwaysOff,
                Root::Ratio(ratio) => Sampler::TraceIdRatioBased(ratio),
            })),
        })
    }
}

/// The URL for traces: the one for traces only unchanged, the one for all signals with its path.
fn endpoint(settings: &Settings) -> Result<Option<Url>, SettingError> {
    let (name, path) = match settings.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(_) => ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", ""),
        None => ("OTEL_EXPORTER_OTLP_ENDPOINT", "/v1/traces"),
    };
    let Some(text) = settings.get(name) else { return Ok(None) };
    let text =
        if path.is_empty() { text.to_owned() } else { format!("{}{path}", text.trim_end_matches('/')) };
    let url: Url = text.parse().map_err(|error| SettingError::malformed(name, error))?;
    if url.scheme() != "http" {
        return Err(SettingError::malformed(
            name,
            "only http:// is supported: run a collector beside the process",
        ));
    }
    Ok(Some(url))
}

/// `name=value` pairs, separated by commas, percent-encoded.
fn pairs(settings: &Settings, name: &'static str) -> Result<Vec<(String, String)>, SettingError> {
    let decoded = |text: &str| {
        // The form's decoder, without the form's meanings of `+` and `&`.
        let plain = text.trim().replace('+', "%2B").replace('&', "%26").replace('=', "%3D");
        url::form_urlencoded::parse(plain.as_bytes()).map(|(text, _)| text.into_owned()).collect::<String>()
    };
    settings
        .get(name)
        .unwrap_or_default()
        .split(',')
        .filter(|pair| !pair.trim().is_empty())
        .map(|pair| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| SettingError::malformed(name, "expected name=value,…"))?;
            Ok((decoded(key), decoded(value)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn export(pairs: &[(&str, &str)]) -> Result<Option<Export>, SettingError> {
        let settings = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Export::from_settings(&settings, "imports")
    }

    #[test]
    fn nothing_is_exported_unless_an_endpoint_is_set() {
        assert!(export(&[("OTEL_SERVICE_NAME", "x")]).unwrap().is_none());
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        assert!(export(&[endpoint, ("OTEL_SDK_DISABLED", "true")]).unwrap().is_none());
        assert!(export(&[endpoint, ("OTEL_TRACES_EXPORTER", "none")]).unwrap().is_none());
    }

    #[test]
    fn the_general_endpoint_gets_the_path_for_traces_and_the_special_one_wins() {
        let general = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/");
        let special = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/here");
        assert_eq!(export(&[general]).unwrap().unwrap().endpoint.as_str(), "http://collector:4318/v1/traces");
        assert_eq!(
            export(&[general, special]).unwrap().unwrap().endpoint.as_str(),
            "http://traces:4318/here"
        );
    }

    #[test]
    fn headers_and_attributes_are_pairs_and_the_service_has_a_name() {
        let export = export(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20YWI=, x-team=a+b"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(export.headers["authorization"], "Basic YWI=");
        assert_eq!(export.headers["x-team"], "a+b");
        let attribute = |name: &str| {
            export.resource.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
        };
        assert_eq!(attribute("deployment.environment"), Some("test"));
        assert_eq!(attribute("service.name"), Some("millrace-imports"));
    }

    #[test]
    fn what_is_not_spoken_is_refused_at_start() {
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "no pair"),
        ] {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
            let error = export(&[endpoint, (name, value)]).err().expect(name);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }

    #[test]
    fn samplers_go_by_their_standard_names() {
        let sampler = |name, argument| {
            let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
            export(&[endpoint, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)])
                .map(|export| export.unwrap().sampler)
        };
        assert_eq!(sampler("", ""), Ok(Sampling::ParentOr(Root::On)));
        assert_eq!(sampler("parentbased_traceidratio", "0.1"), Ok(Sampling::ParentOr(Root::Ratio(0.1))));
        assert!(sampler("traceidratio", "7").is_err());
    }
}

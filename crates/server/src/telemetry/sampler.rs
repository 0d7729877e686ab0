//! Which traces are recorded.

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue, TraceId};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, ShouldSample, TracerProviderBuilder,
};

/// The sampler that the settings name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpanSampler {
    base: Base,
    is_parent_based: bool,
    share: f64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Base {
    AlwaysOff,
    #[default]
    AlwaysOn,
    TraceIdRatio,
}

impl SpanSampler {
    /// Returns the sampler of a name in OpenTelemetry's specification; `always_on` for another
    /// name. `share` counts for samplers by ratio.
    pub fn new(name: &str, share: f64) -> Self {
        let base = name.strip_prefix("parentbased_");
        let is_parent_based = base.is_some();
        let base = match base.unwrap_or(name) {
            "always_off" => Base::AlwaysOff,
            "traceidratio" => Base::TraceIdRatio,
            _ => Base::AlwaysOn,
        };
        Self { base, is_parent_based, share }
    }

    /// Gives the sampler to a provider of tracers.
    pub fn install(self, builder: TracerProviderBuilder) -> TracerProviderBuilder {
        match self.is_parent_based {
            true => builder.with_sampler(Sampler::ParentBased(self.base())),
            false => match self.base {
                Base::AlwaysOff => builder.with_sampler(Sampler::AlwaysOff),
                Base::AlwaysOn => builder.with_sampler(Sampler::AlwaysOn),
                Base::TraceIdRatio => builder.with_sampler(TraceIdShare::new(self.share)),
            },
        }
    }

    fn base(self) -> Box<dyn ShouldSample> {
        match self.base {
            Base::AlwaysOff => Box::new(Sampler::AlwaysOff),
            Base::AlwaysOn => Box::new(Sampler::AlwaysOn),
            Base::TraceIdRatio => Box::new(TraceIdShare::new(self.share)),
        }
    }

    /// Returns its name in the specification.
    #[cfg(any(test, feature = "testing"))]
    pub fn name(self) -> &'static str {
        match (self.base, self.is_parent_based) {
            (Base::AlwaysOff, false) => "always_off",
            (Base::AlwaysOff, true) => "parentbased_always_off",
            (Base::AlwaysOn, false) => "always_on",
            (Base::AlwaysOn, true) => "parentbased_always_on",
            (Base::TraceIdRatio, false) => "traceidratio",
            (Base::TraceIdRatio, true) => "parentbased_traceidratio",
        }
    }

    /// Returns the share of traces that it records by ratio.
    #[cfg(feature = "testing")]
    pub fn share(self) -> f64 {
        self.share
    }
}

/// Records a share of traces, by the last 56 bits of their ids.
///
/// The edge's trace ids are UUIDs of version 4, whose bits 64 and 65 are fixed. The SDK's own
/// sampler compares these bits first, so it would record none of them below a half. Both servers
/// decide alike about a trace.
#[derive(Clone, Copy, Debug)]
struct TraceIdShare {
    /// A trace is recorded if its last 56 bits are below this.
    below: u64,
}

impl TraceIdShare {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn new(share: f64) -> Self {
        Self { below: (share * (1_u64 << 56) as f64) as u64 }
    }

    fn records(self, trace_id: TraceId) -> bool {
        let bytes = trace_id.to_bytes();
        let last = bytes.iter().skip(9).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        last < self.below
    }
}

impl ShouldSample for TraceIdShare {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        _name: &str,
        _kind: &SpanKind,
        _attributes: &[KeyValue],
        _links: &[Link],
    ) -> SamplingResult {
        let trace_state = parent.map(|parent| parent.span().span_context().trace_state().clone());
        SamplingResult {
            decision: match self.records(trace_id) {
                true => SamplingDecision::RecordAndSample,
                false => SamplingDecision::Drop,
            },
            attributes: Vec::new(),
            trace_state: trace_state.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_have_the_names_of_the_specification() {
        let names = ["always_on", "always_off", "traceidratio"];
        for name in names {
            let parent_based = format!("parentbased_{name}");
            assert_eq!(SpanSampler::new(name, 1.0).name(), name);
            assert_eq!(SpanSampler::new(&parent_based, 1.0).name(), parent_based);
        }
    }

    /// A multiplier that spreads the numbers from 0 over all bits, as random ids are.
    const SPREAD: u128 = 0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835;

    #[test]
    fn share_holds_for_random_ids_and_for_uuids() {
        let uuid = |number: u128| (number & !(0xF << 76 | 3 << 62)) | 4 << 76 | 2 << 62;
        for share in [0.0, 0.05, 0.5, 0.9, 1.0] {
            let sampler = TraceIdShare::new(share);
            for as_id in [|number: u128| number, uuid] {
                let ids = (1..=20_000).map(|n: u128| as_id(n.wrapping_mul(SPREAD)));
                let ids = ids.map(|id| TraceId::from_bytes(id.to_be_bytes()));
                let recorded = ids.filter(|id| sampler.records(*id)).count();
                let seen = f64::from(u32::try_from(recorded).unwrap()) / 20_000.0;
                assert!((seen - share).abs() < 0.02, "{share}: {seen}");
            }
        }
    }
}

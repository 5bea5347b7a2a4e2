//! ApiVersions (18): what is served. Allowed before anything else.
//!
//! A version from the future is answered in the format of version 0 with error 35 and the row of ApiVersions, without
//! a look at the body, so that the client can come back with the right one (KIP-511).

use crate::features::{FEATURES, Feature};
use crate::pending::{Context, Step};
use crate::versions::{self, SERVED};
use bowline_codec_kafka::frame::encode_response;
use bowline_codec_kafka::messages::api_versions_response::{
    ApiVersion, FinalizedFeatureKey, SupportedFeatureKey,
};
use bowline_codec_kafka::messages::{ApiVersionsRequest, ApiVersionsResponse};
use bowline_codec_kafka::{ApiKey, ErrorCode, Reader};

/// From this version on the client names its software.
const NAMED_FROM: i16 = 3;

/// From this version on there is room for features.
const FEATURES_FROM: i16 = 3;

pub fn start(body: &mut Reader, cx: &mut Context<'_>) -> Step {
    let version = cx.head.version;
    if !versions::is_served(ApiKey::ApiVersions, version) {
        return unsupported(cx);
    }
    super::run(body, cx, answer)
}

fn answer(request: ApiVersionsRequest, cx: &mut Context<'_>) -> Step {
    let named =
        is_software_name(&request.client_software_name) && is_software_name(&request.client_software_version);
    if cx.head.version >= NAMED_FROM && !named {
        let error_code = ErrorCode::InvalidRequest.code();
        return cx.reply(&ApiVersionsResponse { error_code, ..Default::default() });
    }
    if cx.head.version >= NAMED_FROM {
        cx.connected.is_software(&request.client_software_name, &request.client_software_version);
        tracing::debug!(
            peer = %cx.peer.client_host,
            software = %request.client_software_name,
            version = %request.client_software_version,
            "Kafka client"
        );
    }
    let offered = SERVED.iter().filter(|(api, _)| cx.broker.options.serves(*api));
    let mut response = ApiVersionsResponse { api_keys: offered.map(row).collect(), ..Default::default() };
    if cx.head.version >= FEATURES_FROM {
        tell_features(&mut response, cx.head.version);
    }
    cx.reply(&response)
}

/// Levels never change while the broker runs, so their epoch stands still. A level of 0 is not in force.
fn tell_features(response: &mut ApiVersionsResponse, version: i16) {
    let supported = |feature: &Feature| SupportedFeatureKey {
        name: feature.name.into(),
        min_version: feature.supported.0,
        max_version: feature.supported.1,
    };
    let finalized = |feature: &Feature| FinalizedFeatureKey {
        name: feature.name.into(),
        max_version_level: feature.level,
        min_version_level: feature.level,
    };
    // Clients that ask with version 3 cannot read a lowest level of 0; Kafka leaves those features out for them.
    let shown = FEATURES.iter().filter(|feature| version > FEATURES_FROM || feature.supported.0 > 0);
    response.supported_features = shown.map(supported).collect();
    response.finalized_features_epoch = 0;
    response.finalized_features =
        FEATURES.iter().filter(|feature| feature.level > 0).map(finalized).collect();
}

fn unsupported(cx: &Context<'_>) -> Step {
    let api_keys = SERVED.iter().filter(|(api, _)| *api == ApiKey::ApiVersions).map(row).collect();
    let response = ApiVersionsResponse {
        error_code: ErrorCode::UnsupportedVersion.code(),
        api_keys,
        ..Default::default()
    };
    match encode_response(0, cx.head.correlation_id, &response) {
        Ok(segments) => Step::Reply(segments),
        Err(_) => cx.mismatch(),
    }
}

fn row((api, versions): &(ApiKey, std::ops::RangeInclusive<i16>)) -> ApiVersion {
    ApiVersion { api_key: *api as i16, min_version: *versions.start(), max_version: *versions.end() }
}

/// KIP-511: letters and digits, inside also `-` and `.`.
fn is_software_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
}

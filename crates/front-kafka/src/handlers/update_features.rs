//! UpdateFeatures (57): levels are what is built ([`crate::features`]). Asking for the level that is in force is done;
//! another one is refused, and with it the whole request.

use super::create_topics::Refusal;
use crate::features::feature;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::update_features_request::FeatureUpdateKey;
use bowline_codec_kafka::messages::update_features_response::UpdatableFeatureResult;
use bowline_codec_kafka::messages::{UpdateFeaturesRequest, UpdateFeaturesResponse};
use bowline_model::acl::Operation;

/// The last version that has a result for each feature of a request that is done.
const RESULTS_UP_TO: i16 = 1;
/// An upgrade, a safe and an unsafe downgrade (KIP-778).
const TYPES: std::ops::RangeInclusive<i8> = 1..=3;

pub fn start(request: UpdateFeaturesRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_rule(Operation::Alter, cx) {
        return cx.reply(&UpdateFeaturesResponse { error_code: error.code(), ..Default::default() });
    }
    let mut results = Vec::with_capacity(request.feature_updates.len());
    for update in request.feature_updates {
        if let Err((error, message)) = check(&update) {
            return cx.reply(&UpdateFeaturesResponse {
                error_code: error.code(),
                error_message: Some(message),
                ..Default::default()
            });
        }
        results.push(UpdatableFeatureResult {
            feature: update.feature,
            error_message: None,
            ..Default::default()
        });
    }
    if cx.head.version > RESULTS_UP_TO {
        results.clear();
    }
    cx.reply(&UpdateFeaturesResponse { results, error_message: None, ..Default::default() })
}

fn check(update: &FeatureUpdateKey) -> Result<(), Refusal> {
    let (name, level) = (&*update.feature, update.max_version_level);
    let invalid = |text: String| Err((ErrorCode::InvalidUpdateVersion, text));
    if !TYPES.contains(&update.upgrade_type) {
        return invalid(format!("The upgrade type for feature {name} is unknown."));
    }
    match feature(name) {
        None if level == 0 => Ok(()),
        None => invalid(format!(
            "Invalid update version {level} for feature {name}. The broker does not support this feature."
        )),
        Some(feature) if feature.level == level => Ok(()),
        Some(feature) if !(feature.supported.0..=feature.supported.1).contains(&level) => invalid(format!(
            "Invalid update version {level} for feature {name}. The broker only supports versions {}-{}",
            feature.supported.0, feature.supported.1
        )),
        Some(feature) => invalid(format!(
            "Invalid update version {level} for feature {name}. This broker keeps it at {}.",
            feature.level
        )),
    }
}

//! ListConfigResources (74): what DescribeConfigs can be asked for. Version 0 asks for subscriptions to clients'
//! metrics alone.

use super::configs::{BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::list_config_resources_response::ConfigResource;
use bowline_codec_kafka::messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};
use bowline_model::acl::Operation;
use bowline_model::meta::ConfigKind;

const ALL: [i8; 5] = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];

pub fn start(request: ListConfigResourcesRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = super::may_rule(Operation::DescribeConfigs, cx) {
        return cx.reply(&ListConfigResourcesResponse { error_code: error.code(), ..Default::default() });
    }
    let mut types = request.resource_types;
    if cx.head.version == 0 {
        types = vec![CLIENT_METRICS];
    } else if types.is_empty() {
        types = ALL.to_vec();
    }
    if types.iter().any(|kind| !ALL.contains(kind)) {
        let error_code = ErrorCode::UnsupportedVersion.code();
        return cx.reply(&ListConfigResourcesResponse { error_code, ..Default::default() });
    }
    types.sort_unstable();
    types.dedup();
    let mut config_resources = Vec::new();
    for resource_type in types {
        let names = match resource_type {
            TOPIC => cx.broker.catalog.topics().iter().map(|topic| topic.name.clone()).collect(),
            BROKER => vec![cx.broker.options.node_id.to_string()],
            BROKER_LOGGER if cx.broker.options.loggers.is_some() => {
                vec![cx.broker.options.node_id.to_string()]
            }
            GROUP => cx.broker.catalog.configured(ConfigKind::Group),
            CLIENT_METRICS if cx.broker.options.telemetry.is_some() => {
                cx.broker.catalog.configured(ConfigKind::ClientMetrics)
            }
            _ => vec![],
        };
        let named = |resource_name| ConfigResource { resource_name, resource_type };
        config_resources.extend(names.into_iter().map(named));
    }
    cx.reply(&ListConfigResourcesResponse { config_resources, ..Default::default() })
}

//! FindCoordinator (10): this node coordinates every group and every transactional id.

use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::find_coordinator_response::Coordinator;
use bowline_codec_kafka::messages::{FindCoordinatorRequest, FindCoordinatorResponse};
use bowline_model::acl::{Operation, Resource};

/// From this version on a request names several keys.
const BATCHED_FROM: i16 = 4;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
/// Of a share group's partition, named `group:topic id:partition`. In Kafka only brokers ask for it.
const SHARE: i8 = 2;
/// First version that knows it.
const SHARE_FROM: i16 = 6;

pub fn start(request: FindCoordinatorRequest, cx: &mut Context<'_>) -> Step {
    if cx.head.version >= BATCHED_FROM {
        let mut find = |key| coordinator(key, request.key_type, cx);
        let coordinators = request.coordinator_keys.into_iter().map(&mut find).collect();
        return cx.reply(&FindCoordinatorResponse { coordinators, ..Default::default() });
    }
    let found = coordinator(request.key, request.key_type, cx);
    cx.reply(&FindCoordinatorResponse {
        error_code: found.error_code,
        error_message: found.error_message,
        node_id: found.node_id,
        host: found.host,
        port: found.port,
        ..Default::default()
    })
}

fn coordinator(key: String, key_type: i8, cx: &mut Context<'_>) -> Coordinator {
    let refused = match key_type {
        GROUP if !cx.allows(Operation::Describe, Resource::Group(&key)) => {
            (ErrorCode::GroupAuthorizationFailed, "Authorization failed.")
        }
        SHARE if !cx.allows(Operation::ClusterAction, Resource::Cluster) => {
            (ErrorCode::ClusterAuthorizationFailed, "Authorization failed.")
        }
        SHARE if cx.head.version >= SHARE_FROM && !is_share_key(&key) => {
            (ErrorCode::InvalidRequest, "the key is not group:topic id:partition")
        }
        SHARE if cx.head.version < SHARE_FROM => (ErrorCode::InvalidRequest, "unknown coordinator type"),
        TRANSACTION if !cx.allows(Operation::Describe, Resource::TransactionalId(&key)) => {
            (ErrorCode::TransactionalIdAuthorizationFailed, "Authorization failed.")
        }
        GROUP | SHARE | TRANSACTION => {
            let (host, port) = cx.peer.advertised.clone();
            return Coordinator {
                key,
                node_id: cx.broker.options.node_id,
                host,
                port: port.into(),
                error_code: ErrorCode::None.code(),
                // Kafka's words for success.
                error_message: Some(if cx.head.version < BATCHED_FROM { "NONE" } else { "" }.into()),
            };
        }
        _ => (ErrorCode::InvalidRequest, "unknown coordinator type"),
    };
    Coordinator {
        key,
        node_id: -1,
        host: String::new(),
        port: -1,
        error_code: refused.0.code(),
        error_message: Some(refused.1.into()),
    }
}

fn is_share_key(key: &str) -> bool {
    let mut parts = key.rsplitn(3, ':');
    let (partition, topic, group) = (parts.next(), parts.next(), parts.next());
    partition.is_some_and(|p| p.parse::<u32>().is_ok())
        && topic.is_some()
        && group.is_some_and(|g| !g.is_empty())
}

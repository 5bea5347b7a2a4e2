//! DescribeCluster (60): the brokers that clients can reach.

use super::cluster_operations;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_cluster_response::DescribeClusterBroker;
use bowline_codec_kafka::messages::{DescribeClusterRequest, DescribeClusterResponse};

/// Endpoint type 1 asks for brokers, 2 for KRaft controllers, of which there are none.
const BROKERS: i8 = 1;

pub fn start(request: DescribeClusterRequest, cx: &mut Context<'_>) -> Step {
    let operations = cluster_operations(request.include_cluster_authorized_operations, cx);
    let node_id = cx.broker.options.node_id;
    let (host, port) = cx.peer.advertised.clone();
    if request.endpoint_type != BROKERS {
        let error = match request.endpoint_type {
            2 => ErrorCode::MismatchedEndpointType,
            _ => ErrorCode::UnsupportedEndpointType,
        };
        return cx.reply(&DescribeClusterResponse {
            error_code: error.code(),
            error_message: Some("this is a broker endpoint".into()),
            ..Default::default()
        });
    }
    let broker =
        DescribeClusterBroker { broker_id: node_id, host, port: port.into(), rack: None, is_fenced: false };
    cx.reply(&DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: cx.broker.cluster_id.clone(),
        controller_id: node_id,
        brokers: vec![broker],
        cluster_authorized_operations: operations,
        ..Default::default()
    })
}

//! WriteTxnMarkers (27): ends a transaction in single partitions, past its coordinator: the last resort of an
//! administrator (`kafka-transactions.sh abort`). A commit is taken as well, as in Kafka: whoever may act as the
//! cluster answers for it. The partition refuses what is older than what it knows: the producer's epoch (47), the
//! coordinator's (52). Our own coordinator is never refused, whatever epoch an administrator has claimed.

use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use bowline_codec_kafka::messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use bowline_model::acl::Operation;
use bowline_model::event::Event;
use bowline_model::record::{APPEND_FOREIGN_MARKER, APPEND_FOREIGN_MARKER_V2, Append};
use bowline_model::request::{Propose, Request, Want};
use bowline_model::txn::{Producer, marker_of};

pub fn start(request: WriteTxnMarkersRequest, cx: &mut Context<'_>) -> Step {
    let allowed = super::may_rule(Operation::Alter, cx).is_ok()
        || super::may_rule(Operation::ClusterAction, cx).is_ok();
    let mut markers = Vec::with_capacity(request.markers.len());
    // Marker, topic and partition positions of each question.
    let mut places = Vec::new();
    for asked in request.markers {
        let producer = Producer { id: asked.producer_id, epoch: asked.producer_epoch };
        let time = cx.now.millis.max(0) as u64;
        let batch = marker_of(asked.coordinator_epoch, producer, asked.transaction_result, time);
        let flags =
            if asked.transaction_version >= 2 { APPEND_FOREIGN_MARKER_V2 } else { APPEND_FOREIGN_MARKER };
        let mut topics = Vec::with_capacity(asked.topics.len());
        for asked_topic in asked.topics {
            let topic = cx.topic(&asked_topic.name);
            let mut partitions = Vec::with_capacity(asked_topic.partition_indexes.len());
            for partition_index in asked_topic.partition_indexes {
                let found = topic.as_ref().and_then(|topic| topic.partition(partition_index));
                let error = match found {
                    _ if !allowed => ErrorCode::ClusterAuthorizationFailed,
                    None => ErrorCode::UnknownTopicOrPartition,
                    Some(partition) => {
                        let mut records = Vec::new();
                        Append::encode(&mut records, partition.0, flags, &batch);
                        let token = cx.token(places.len() as u32);
                        let propose = Propose {
                            token,
                            records: records.into(),
                            count: 1,
                            want: Want::Appended,
                            checked: false,
                        };
                        cx.send(cx.shard_of(partition), Request::Propose(propose));
                        places.push((markers.len(), topics.len(), partitions.len()));
                        ErrorCode::None
                    }
                };
                let error_code = error.code();
                partitions.push(WritableTxnMarkerPartitionResult { partition_index, error_code });
            }
            topics.push(WritableTxnMarkerTopicResult { name: asked_topic.name, partitions });
        }
        markers.push(WritableTxnMarkerResult { producer_id: asked.producer_id, topics });
    }
    cx.gather(places.len(), move |answers, cx| {
        for ((m, t, p), answer) in places.into_iter().zip(answers) {
            let error = match answer {
                Event::Appended { results, .. } => match results.first().map(|result| result.result) {
                    Some(Err(error)) => errors::append(error),
                    _ => ErrorCode::None,
                },
                Event::Failed { reason, .. } => errors::failure(reason),
                _ => return cx.mismatch(),
            };
            markers[m].topics[t].partitions[p].error_code = error.code();
        }
        cx.reply(&WriteTxnMarkersResponse { markers })
    })
}

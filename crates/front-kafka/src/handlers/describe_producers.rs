//! DescribeProducers (61): who writes to partitions, and since when transactions have been open there.

use crate::access::Named;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use bowline_codec_kafka::messages::{DescribeProducersRequest, DescribeProducersResponse};
use bowline_model::acl::Operation;
use bowline_model::event::Event;
use bowline_model::request::Request;
use bowline_model::txn::ActiveProducer;

pub fn start(request: DescribeProducersRequest, cx: &mut Context<'_>) -> Step {
    let mut topics = Vec::with_capacity(request.topics.len());
    // Topic and partition positions of each question.
    let mut places = Vec::new();
    for asked in request.topics {
        let topic = cx.permitted(Operation::Read, Named::Name(&asked.name));
        let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
        for index in asked.partition_indexes {
            let mut response = PartitionResponse { partition_index: index, ..Default::default() };
            match topic.as_ref().map(|topic| topic.partition(index)) {
                Err(error) => response.error_code = error.code(),
                Ok(None) => response.error_code = ErrorCode::UnknownTopicOrPartition.code(),
                Ok(Some(partition)) => {
                    let token = cx.token(places.len() as u32);
                    cx.send(cx.shard_of(partition), Request::Producers { token, partition });
                    places.push((topics.len(), partitions.len()));
                }
            }
            partitions.push(response);
        }
        topics.push(TopicResponse { name: asked.name, partitions });
    }
    cx.gather(places.len(), move |answers, cx| {
        for ((t, p), answer) in places.into_iter().zip(answers) {
            let response: &mut PartitionResponse = &mut topics[t].partitions[p];
            match answer {
                Event::Producers { result: Ok(producers), .. } => {
                    response.active_producers = producers.into_iter().map(state).collect();
                }
                Event::Producers { result: Err(error), .. } => {
                    response.error_code = errors::fetch(error).code()
                }
                Event::Failed { reason, .. } => response.error_code = errors::failure(reason).code(),
                _ => return cx.mismatch(),
            }
        }
        cx.reply(&DescribeProducersResponse { topics, ..Default::default() })
    })
}

fn state(active: ActiveProducer) -> ProducerState {
    ProducerState {
        producer_id: active.producer.id,
        producer_epoch: active.producer.epoch.into(),
        last_sequence: active.last_sequence,
        last_timestamp: active.last_timestamp,
        // Of the last marker.
        coordinator_epoch: active.coordinator_epoch,
        current_txn_start_offset: active.open_since.map_or(-1, |offset| offset as i64),
    }
}

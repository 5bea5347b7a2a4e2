//! ShareAcknowledge (79): what became of acquired records.

use super::share_acks::{Acks, Batch};
use super::share_fetch::{end_session, is_name};
use crate::pending::{Context, Pending, Step};
use crate::share;
use crate::share::session::{Phase, Place};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::share_acknowledge_response::{
    PartitionData, ShareAcknowledgeTopicResponse,
};
use bowline_codec_kafka::messages::{ShareAcknowledgeRequest, ShareAcknowledgeResponse};
use bowline_model::acl::{Operation, Resource};
use bowline_model::event::Event;

struct Acknowledging {
    acks: Acks,
    lock_ms: i32,
}

pub fn start(request: ShareAcknowledgeRequest, cx: &mut Context<'_>) -> Step {
    let refuse = |error: ErrorCode, cx: &Context<'_>| {
        cx.reply(&ShareAcknowledgeResponse { error_code: error.code(), ..Default::default() })
    };
    let (Some(group), Some(member)) = (request.group_id, request.member_id) else {
        return refuse(ErrorCode::InvalidRequest, cx);
    };
    if !is_name(&group) || !is_name(&member) {
        return refuse(ErrorCode::InvalidRequest, cx);
    }
    let denied = ErrorCode::GroupAuthorizationFailed;
    if let Err(error) = cx.check(Operation::Read, Resource::Group(&group), denied) {
        return refuse(error, cx);
    }
    let entered = match cx.shares.enter(&group, &member, request.share_session_epoch) {
        Ok(entered) => entered,
        Err(error) => return refuse(error, cx),
    };
    let config = share::config(&group, cx);
    let mut batches: Vec<(Place, Vec<Batch>)> = Vec::new();
    for topic in request.topics {
        for partition in topic.partitions {
            let of = partition.acknowledgement_batches.into_iter();
            let of = of.map(|batch| (batch.first_offset, batch.last_offset, batch.acknowledge_types));
            batches.push(((topic.topic_id, partition.partition_index), of.collect()));
        }
    }
    let mut next_sub = 0;
    let renew = request.is_renew_ack && config.renew;
    let acks = Acks::send(entered.holder, batches, renew, &mut next_sub, cx);
    if entered.phase == Phase::Closes {
        end_session(&group, &member, cx);
    }
    let acknowledging = Acknowledging { acks, lock_ms: config.record_lock_ms as i32 };
    match acknowledging.acks.are_answered() {
        true => acknowledging.finish(cx),
        false => Step::Wait(Box::new(acknowledging)),
    }
}

impl Pending for Acknowledging {
    fn event(&mut self, sub: u32, event: Event, cx: &mut Context<'_>) -> Step {
        if !self.acks.have_asked(sub) {
            return Step::Stay;
        }
        if !self.acks.take(sub, event) {
            return cx.mismatch();
        }
        match self.acks.are_answered() {
            true => self.finish(cx),
            false => Step::Stay,
        }
    }
}

impl Acknowledging {
    fn finish(&self, cx: &Context<'_>) -> Step {
        let mut responses: Vec<ShareAcknowledgeTopicResponse> = Vec::new();
        for &((topic_id, partition_index), error) in &self.acks.results {
            let data = PartitionData { partition_index, error_code: error.code(), ..Default::default() };
            match responses.last_mut().filter(|topic| topic.topic_id == topic_id) {
                Some(topic) => topic.partitions.push(data),
                None => responses.push(ShareAcknowledgeTopicResponse { topic_id, partitions: vec![data] }),
            }
        }
        let acquisition_lock_timeout_ms = self.lock_ms;
        cx.reply(&ShareAcknowledgeResponse { acquisition_lock_timeout_ms, responses, ..Default::default() })
    }
}

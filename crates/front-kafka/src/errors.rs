//! Refusals of the broker as Kafka's error codes.
//!
//! Clients decide by the code whether to retry, to refresh metadata, to start over or to fail, so choosing a code is
//! choosing their behaviour.

use bowline_codec_kafka::ErrorCode;
use bowline_model::event::{AppendError, Event, Failure, FetchError};
use bowline_model::group;
use bowline_model::meta::{Outcome, Reason, Rejection};
use bowline_model::txn;

pub fn append(error: AppendError) -> ErrorCode {
    match error {
        AppendError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        AppendError::OutOfOrderSequence => ErrorCode::OutOfOrderSequenceNumber,
        AppendError::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
        AppendError::InvalidTxnState => ErrorCode::InvalidTxnState,
        AppendError::CoordinatorFenced => ErrorCode::TransactionCoordinatorFenced,
        AppendError::DiskFull => ErrorCode::KafkaStorageError,
    }
}

/// Both are retried by clients: a full disk may be relieved, a stopping node comes back.
pub fn failure(reason: Failure) -> ErrorCode {
    match reason {
        Failure::DiskFull => ErrorCode::KafkaStorageError,
        // Partitions are never full in this sense.
        Failure::Stopping | Failure::QueueFull | Failure::NothingWaits => ErrorCode::NotLeaderOrFollower,
    }
}

/// The same for requests to a group coordinator, whose clients look for coordinator errors.
pub fn coordinator_failure(reason: Failure) -> ErrorCode {
    match reason {
        Failure::DiskFull | Failure::Stopping | Failure::QueueFull | Failure::NothingWaits => {
            ErrorCode::CoordinatorNotAvailable
        }
    }
}

/// What the meta shard made of a command, or why not, as code and text. `None`: it is an answer to something else.
pub fn outcome(answer: Event) -> Option<Result<Outcome, (ErrorCode, String)>> {
    Some(match answer {
        Event::Meta { result: Ok(outcome), .. } => Ok(outcome),
        Event::Meta { result: Err(refused), .. } => Err((rejection(&refused), refused.text)),
        Event::Failed { reason, .. } => Err((failure(reason), "the node cannot write now".to_owned())),
        _ => return None,
    })
}

pub fn fetch(error: FetchError) -> ErrorCode {
    match error {
        FetchError::UnknownPartition => ErrorCode::UnknownTopicOrPartition,
        FetchError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        FetchError::Storage => ErrorCode::KafkaStorageError,
    }
}

pub fn group(error: group::Error) -> ErrorCode {
    ErrorCode::from_i16(error as i16).unwrap_or(ErrorCode::UnknownServerError)
}

/// `fences`: the version of the request knows PRODUCER_FENCED (KIP-588).
pub fn txn(error: txn::Error, fences: bool) -> ErrorCode {
    match error {
        txn::Error::ProducerFenced if !fences => ErrorCode::InvalidProducerEpoch,
        error => ErrorCode::from_i16(error as i16).unwrap_or(ErrorCode::UnknownServerError),
    }
}

/// The same as answers to Produce, where clients expect a partition's errors.
pub fn joining(error: txn::Error) -> ErrorCode {
    match error {
        txn::Error::CoordinatorNotAvailable => ErrorCode::NotEnoughReplicas,
        error => txn(error, false),
    }
}

/// A refused topic command.
pub fn rejection(rejection: &Rejection) -> ErrorCode {
    match rejection.reason {
        Reason::NotFound => ErrorCode::UnknownTopicOrPartition,
        Reason::AlreadyExists => ErrorCode::TopicAlreadyExists,
        // The name belongs to an AMQP queue that is not a stream, or to one with other properties.
        Reason::Inequivalent | Reason::Locked => ErrorCode::TopicAlreadyExists,
        Reason::InUse | Reason::NotEmpty | Reason::Forbidden => ErrorCode::PolicyViolation,
        Reason::InvalidArgument | Reason::NotImplemented => ErrorCode::InvalidRequest,
        Reason::InvalidName => ErrorCode::InvalidTopicException,
        Reason::InvalidPartitions => ErrorCode::InvalidPartitions,
        Reason::InvalidConfig => ErrorCode::InvalidConfig,
        Reason::Limit => ErrorCode::PolicyViolation,
        Reason::Unavailable => ErrorCode::KafkaStorageError,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_errors_are_their_own_numbers() {
        for (error, code) in [
            (group::Error::MemberIdRequired, ErrorCode::MemberIdRequired),
            (group::Error::RebalanceInProgress, ErrorCode::RebalanceInProgress),
            (group::Error::UnknownMemberId, ErrorCode::UnknownMemberId),
            (group::Error::GroupSubscribedToTopic, ErrorCode::GroupSubscribedToTopic),
            (group::Error::OffsetMetadataTooLarge, ErrorCode::OffsetMetadataTooLarge),
        ] {
            assert_eq!(super::group(error), code);
        }
    }
}

//! A name is of one kind of group. Who begins under a name asks here whether it is of another kind.

use super::share_group_describe::{ask_for_all, known};
use super::share_group_offsets::is_inhabited;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_model::event::Event;
use bowline_model::group::{Reply, Request};

/// `GroupIdNotFound`: the name is of another kind of group. Another error: that could not be found out.
pub type Free = Result<(), ErrorCode>;

/// Goes on when it is known whether a share group has the name: Kafka members of it are there, or a shard keeps what
/// was settled. A group that is already read with offsets is in its right, whatever AMQP consumers call theirs.
pub fn not_shared<F>(group: String, cx: &mut Context<'_>, then: F) -> Step
where
    F: FnOnce(Free, &mut Context<'_>) -> Step + Send + 'static,
{
    if is_inhabited(&group, cx) {
        return then(Err(ErrorCode::GroupIdNotFound), cx);
    }
    not_read(group.clone(), cx, move |free, cx| match free {
        Ok(()) => {
            ask_for_all(cx);
            cx.gather(cx.broker.data_shards.into(), move |answers, cx| match known(answers) {
                Ok(kept) if kept.contains(&group) => then(Err(ErrorCode::GroupIdNotFound), cx),
                Ok(_) => then(Ok(()), cx),
                Err(Some(error)) => then(Err(error), cx),
                Err(None) => cx.mismatch(),
            })
        }
        Err(ErrorCode::GroupIdNotFound) => then(Ok(()), cx),
        Err(error) => then(Err(error), cx),
    })
}

/// Goes on when it is known whether a group of the classic or the newer protocol, with members or offsets, has the
/// name.
pub fn not_read<F>(group: String, cx: &mut Context<'_>, then: F) -> Step
where
    F: FnOnce(Free, &mut Context<'_>) -> Step + Send + 'static,
{
    cx.ask_group(0, &group.clone(), Request::KindOf { group });
    cx.gather(1, |mut answers, cx| match answers.pop() {
        Some(Event::Group { reply: Reply::KindOf(None), .. }) => then(Ok(()), cx),
        Some(Event::Group { reply: Reply::KindOf(Some(_)), .. }) => then(Err(ErrorCode::GroupIdNotFound), cx),
        Some(Event::Failed { reason, .. }) => then(Err(errors::coordinator_failure(reason)), cx),
        _ => cx.mismatch(),
    })
}

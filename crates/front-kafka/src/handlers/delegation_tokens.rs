//! Delegation tokens (38 to 41): not in use, and said so, as by a Kafka without a secret key for them.

use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{
    CreateDelegationTokenRequest, CreateDelegationTokenResponse, DescribeDelegationTokenRequest,
    DescribeDelegationTokenResponse, ExpireDelegationTokenRequest, ExpireDelegationTokenResponse,
    RenewDelegationTokenRequest, RenewDelegationTokenResponse,
};

const DISABLED: i16 = ErrorCode::DelegationTokenAuthDisabled as i16;
/// No time is told with an error.
const NEVER: i64 = -1;

pub fn create(_request: CreateDelegationTokenRequest, cx: &mut Context<'_>) -> Step {
    cx.reply(&CreateDelegationTokenResponse { error_code: DISABLED, ..Default::default() })
}

pub fn renew(_request: RenewDelegationTokenRequest, cx: &mut Context<'_>) -> Step {
    cx.reply(&RenewDelegationTokenResponse {
        error_code: DISABLED,
        expiry_timestamp_ms: NEVER,
        ..Default::default()
    })
}

pub fn expire(_request: ExpireDelegationTokenRequest, cx: &mut Context<'_>) -> Step {
    cx.reply(&ExpireDelegationTokenResponse {
        error_code: DISABLED,
        expiry_timestamp_ms: NEVER,
        ..Default::default()
    })
}

pub fn describe(_request: DescribeDelegationTokenRequest, cx: &mut Context<'_>) -> Step {
    cx.reply(&DescribeDelegationTokenResponse { error_code: DISABLED, ..Default::default() })
}

//! SaslHandshake (17): the mechanism of the exchange that follows. Allowed before anything else, and again for a new
//! login on the same connection (KIP-368).

use crate::login::Stage;
use crate::pending::{Closed, Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{SaslHandshakeRequest, SaslHandshakeResponse};
use bowline_sasl::Mechanism;

/// From this version on tokens come in SaslAuthenticate requests.
const WRAPPED_FROM: i16 = 1;

pub fn start(request: SaslHandshakeRequest, cx: &mut Context<'_>) -> Step {
    let offered: Vec<Mechanism> = cx.broker.options.authentication.mechanisms().collect();
    let mechanisms = offered.iter().map(|mechanism| mechanism.name().to_owned()).collect();
    let answer =
        |error: ErrorCode, mechanisms| SaslHandshakeResponse { error_code: error.code(), mechanisms };
    if cx.login.is_midway() {
        let answer = cx.reply(&answer(ErrorCode::IllegalSaslState, mechanisms));
        return answer.and_close(Closed::LoginOutOfTurn);
    }
    let Some(mechanism) = Mechanism::named(&request.mechanism).filter(|m| offered.contains(m)) else {
        tracing::info!(
            peer = %cx.peer.client_host,
            mechanism = request.mechanism.as_str(),
            "a Kafka client asks for a mechanism that is not offered"
        );
        return cx.reply(&answer(ErrorCode::UnsupportedSaslMechanism, mechanisms));
    };
    cx.login.stage = Stage::Begun(mechanism);
    cx.login.bare_tokens = cx.head.version < WRAPPED_FROM;
    cx.reply(&answer(ErrorCode::None, mechanisms))
}

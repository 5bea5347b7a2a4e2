//! SaslAuthenticate (36): one token of the exchange that SaslHandshake began. After a handshake of version 0 tokens
//! come bare, without this request around them.
//!
//! A refusal says neither why nor whether there is such a user, and comes after a while: the log says more.

use crate::login::{Accepted, Stage};
use crate::passwords::Check;
use crate::pending::{Closed, Context, Pending, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use bowline_model::Principal;
use bowline_model::event::Event;
use bowline_model::meta::ScramMechanism;
use bowline_sasl::{Mechanism, Refused, TOKEN_BYTES_MAX, oauth, plain, scram};
use bytes::{BufMut, Bytes, BytesMut};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A refusal keeps a client waiting this long since its token came (Kafka's
/// `connection.failed.authentication.delay.ms`).
const REFUSAL_DELAY: Duration = Duration::from_millis(100);
/// In answers; a version that cannot carry it leaves it out.
const LIFETIME_FROM: i16 = 1;

pub fn start(request: SaslAuthenticateRequest, cx: &mut Context<'_>) -> Step {
    token(&request.auth_bytes, cx)
}

/// A token of the client, bare or out of its request.
pub fn token(token: &[u8], cx: &mut Context<'_>) -> Step {
    let stage = std::mem::take(&mut cx.login.stage);
    if matches!(stage, Stage::Idle) {
        return out_of_turn(cx);
    }
    if token.len() > TOKEN_BYTES_MAX {
        return refuse("", mechanism_of(&stage), &Refused::Malformed, cx);
    }
    match stage {
        Stage::Idle => out_of_turn(cx),
        Stage::Begun(Mechanism::Plain) => begin_plain(token, cx),
        Stage::Begun(Mechanism::Scram(mechanism)) => begin_scram(mechanism, token, cx),
        Stage::Begun(Mechanism::OAuthBearer) => begin_oauth(token, cx),
        Stage::Proof(exchange, mechanism) => match exchange.finish(token) {
            Ok(verifier) => accept(exchange.user, mechanism, verifier, None, cx),
            Err(why) => refuse(&exchange.user, mechanism, &why, cx),
        },
        // Why was logged when the token was looked at.
        Stage::Denied => Step::Wait(Box::new(Refusal::new(Mechanism::OAuthBearer, cx.now.instant))),
    }
}

fn begin_plain(token: &[u8], cx: &mut Context<'_>) -> Step {
    let credentials = match plain::read(token) {
        Ok(credentials) => credentials,
        Err(why) => return refuse("", Mechanism::Plain, &why, cx),
    };
    let user = credentials.user.to_owned();
    let hash = cx.broker.accounts.password(&user, cx.peer.is_loopback);
    cx.check_password(Check { user: user.clone(), hash, password: credentials.password.to_vec() });
    Step::Wait(Box::new(Checked { user, arrived: cx.now.instant }))
}

fn begin_scram(mechanism: ScramMechanism, token: &[u8], cx: &mut Context<'_>) -> Step {
    let first = match scram::First::read(token) {
        Ok(first) => first,
        Err(why) => return refuse("", Mechanism::Scram(mechanism), &why, cx),
    };
    let accounts = &cx.broker.accounts;
    let credential = accounts.scram(&first.user, mechanism, cx.peer.is_loopback);
    let nonce = uuid::Uuid::new_v4().simple().to_string();
    let (challenge, exchange) = first.challenge(mechanism, credential, &accounts.secret(), &nonce);
    cx.login.stage = Stage::Proof(Box::new(exchange), Mechanism::Scram(mechanism));
    answer(challenge, 0, cx)
}

fn begin_oauth(token: &[u8], cx: &mut Context<'_>) -> Step {
    let read = oauth::read(token);
    let verified = read.and_then(|message| {
        let tokens = cx.broker.options.authentication.tokens.as_ref().ok_or(Refused::Unsupported)?;
        let claims = tokens.verify(message.token, cx.now.millis).map_err(Refused::Token)?;
        let for_itself = message.authorized.is_empty() || message.authorized == claims.subject;
        if for_itself { Ok(claims) } else { Err(Refused::ActsForAnother) }
    });
    match verified {
        Ok(claims) => {
            let left_ms = claims.expires.saturating_sub(cx.now.millis).max(0);
            let left = Duration::from_millis(left_ms as u64);
            accept(claims.subject, Mechanism::OAuthBearer, Vec::new(), Some(left), cx)
        }
        Err(why) => {
            log_refusal("", Mechanism::OAuthBearer, &why, cx);
            cx.login.stage = Stage::Denied;
            answer(oauth::INVALID_TOKEN.to_vec(), 0, cx)
        }
    }
}

/// `token` goes with the answer. `left` bounds how long the login may last.
fn accept(
    user: String,
    mechanism: Mechanism,
    token: Vec<u8>,
    left: Option<Duration>,
    cx: &mut Context<'_>,
) -> Step {
    let principal = Principal::user(user);
    if cx.login.is_by_sasl && principal != **cx.principal() {
        tracing::warn!(peer = %cx.peer.client_host, was = %cx.principal(), "a new login as somebody else");
        return Step::Wait(Box::new(Refusal::new(mechanism, cx.now.instant)));
    }
    // A token that expires sooner ends the login sooner, as in Kafka only where logins end at all.
    let lasts =
        cx.broker.options.authentication.lasts.map(|lasts| left.map_or(lasts, |left| left.min(lasts)));
    tracing::debug!(
        peer = %cx.peer.client_host,
        user = principal.name.as_str(),
        mechanism = mechanism.name(),
        again = cx.login.is_by_sasl,
        "Kafka client logged in"
    );
    let lifetime_ms = lasts.map_or(0, |lasts| i64::try_from(lasts.as_millis()).unwrap_or(i64::MAX));
    let ends = lasts.map(|lasts| cx.now.instant + lasts);
    let accepted = Accepted { principal: Arc::new(principal), ends };
    match answer(token, lifetime_ms, cx) {
        Step::Reply(segments) => Step::LoggedIn(segments, accepted),
        other => other,
    }
}

fn refuse(user: &str, mechanism: Mechanism, why: &Refused, cx: &mut Context<'_>) -> Step {
    log_refusal(user, mechanism, why, cx);
    Step::Wait(Box::new(Refusal::new(mechanism, cx.now.instant)))
}

fn log_refusal(user: &str, mechanism: Mechanism, why: &Refused, cx: &Context<'_>) {
    tracing::warn!(peer = %cx.peer.client_host, user, mechanism = mechanism.name(), %why, "Kafka login refused");
}

fn out_of_turn(cx: &Context<'_>) -> Step {
    let text = match cx.login.is_by_sasl {
        true => "SaslAuthenticate without a SaslHandshake; there is a login already",
        false => "SaslAuthenticate without a SaslHandshake",
    };
    let answer = cx.reply(&SaslAuthenticateResponse {
        error_code: ErrorCode::IllegalSaslState.code(),
        error_message: Some(text.into()),
        ..Default::default()
    });
    if cx.login.is_demanded { answer.and_close(Closed::LoginOutOfTurn) } else { answer }
}

fn mechanism_of(stage: &Stage) -> Mechanism {
    match stage {
        Stage::Begun(mechanism) | Stage::Proof(_, mechanism) => *mechanism,
        Stage::Idle | Stage::Denied => Mechanism::OAuthBearer,
    }
}

fn answer(token: Vec<u8>, lifetime_ms: i64, cx: &Context<'_>) -> Step {
    if cx.login.bare_tokens {
        let mut frame = BytesMut::with_capacity(4 + token.len());
        frame.put_u32(token.len() as u32);
        frame.put_slice(&token);
        return Step::Reply(vec![frame.freeze()]);
    }
    let session_lifetime_ms = if cx.head.version >= LIFETIME_FROM { lifetime_ms } else { 0 };
    cx.reply(&SaslAuthenticateResponse {
        auth_bytes: Bytes::from(token),
        session_lifetime_ms,
        ..Default::default()
    })
}

/// Waits for the password to be checked.
struct Checked {
    user: String,
    arrived: Instant,
}

impl Pending for Checked {
    fn event(&mut self, _sub: u32, _event: Event, cx: &mut Context<'_>) -> Step {
        cx.mismatch()
    }

    fn checked(&mut self, is_right: bool, cx: &mut Context<'_>) -> Step {
        if is_right {
            return accept(std::mem::take(&mut self.user), Mechanism::Plain, Vec::new(), None, cx);
        }
        log_refusal(&self.user, Mechanism::Plain, &Refused::WrongCredentials, cx);
        Step::Wait(Box::new(Refusal::new(Mechanism::Plain, self.arrived)))
    }
}

/// A refusal that is not told yet.
struct Refusal {
    mechanism: Mechanism,
    told: Instant,
}

impl Refusal {
    fn new(mechanism: Mechanism, arrived: Instant) -> Refusal {
        Refusal { mechanism, told: arrived + REFUSAL_DELAY }
    }
}

impl Pending for Refusal {
    fn event(&mut self, _sub: u32, _event: Event, cx: &mut Context<'_>) -> Step {
        cx.mismatch()
    }

    fn deadline(&self) -> Option<Instant> {
        Some(self.told)
    }

    fn expired(&mut self, cx: &mut Context<'_>) -> Step {
        if cx.login.bare_tokens {
            // There is no form for an error.
            return Step::Close(Closed::LoginRefused);
        }
        let text = format!("authentication with {} failed", self.mechanism.name());
        let answer = cx.reply(&SaslAuthenticateResponse {
            error_code: ErrorCode::SaslAuthenticationFailed.code(),
            error_message: Some(text),
            ..Default::default()
        });
        answer.and_close(Closed::LoginRefused)
    }
}

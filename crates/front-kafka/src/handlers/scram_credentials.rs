//! DescribeUserScramCredentials (50) and AlterUserScramCredentials (51): the client salts a password, we keep what is
//! needed to check proofs of it. Users of the configuration (`--user`) are neither shown nor changed here.

use super::may_rule;
use crate::accounts::ScramUser;
use crate::errors;
use crate::pending::{Context, Step};
use bowline_codec_kafka::ErrorCode;
use bowline_codec_kafka::messages::alter_user_scram_credentials_request::ScramCredentialUpsertion;
use bowline_codec_kafka::messages::alter_user_scram_credentials_response::AlterUserScramCredentialsResult;
use bowline_codec_kafka::messages::describe_user_scram_credentials_response::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use bowline_codec_kafka::messages::*;
use bowline_model::acl::Operation;
use bowline_model::event::Event;
use bowline_model::meta::{Command, MetaRequest, Reason, ScramCredential, ScramMechanism};
use bowline_sasl::scram::{self, ITERATIONS_MAX, ITERATIONS_MIN};
use std::collections::BTreeMap;

type Problem = (ErrorCode, &'static str);

const NOT_ALLOWED: &str = "the client may not rule the cluster";

pub fn describe(request: DescribeUserScramCredentialsRequest, cx: &mut Context<'_>) -> Step {
    if let Err(error) = may_rule(Operation::Describe, cx) {
        return cx.reply(&DescribeUserScramCredentialsResponse {
            error_code: error.code(),
            error_message: Some(NOT_ALLOWED.into()),
            ..Default::default()
        });
    }
    let accounts = &cx.broker.accounts;
    let named = request.users.unwrap_or_default();
    if named.is_empty() {
        let results = accounts.scram_users().into_iter().map(described).collect();
        return cx.reply(&DescribeUserScramCredentialsResponse { results, ..Default::default() });
    }
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for user in named {
        *times.entry(user.name).or_default() += 1;
    }
    let failed = |user, error: ErrorCode, text: &str| DescribeUserScramCredentialsResult {
        user,
        error_code: error.code(),
        error_message: Some(text.into()),
        ..Default::default()
    };
    let result = |(user, times): (String, usize)| match (times, accounts.scram_user(&user)) {
        (2.., _) => failed(user, ErrorCode::DuplicateResource, "the user is asked for more than once"),
        (_, Some(known)) => described(known),
        (_, None) => failed(user, ErrorCode::ResourceNotFound, "the user has no SCRAM credentials"),
    };
    let results = times.into_iter().map(result).collect();
    cx.reply(&DescribeUserScramCredentialsResponse { results, ..Default::default() })
}

fn described((user, known): ScramUser) -> DescribeUserScramCredentialsResult {
    let info = |(mechanism, iterations): (ScramMechanism, u32)| CredentialInfo {
        mechanism: code(mechanism),
        iterations: iterations as i32,
    };
    DescribeUserScramCredentialsResult {
        user,
        credential_infos: known.into_iter().map(info).collect(),
        ..Default::default()
    }
}

/// What is asked for one user: all of it happens or nothing.
#[derive(Default)]
struct Change {
    put: Vec<(ScramMechanism, ScramCredential)>,
    remove: Vec<ScramMechanism>,
    problem: Option<Problem>,
}

impl Change {
    fn touches(&self, mechanism: ScramMechanism) -> bool {
        self.remove.contains(&mechanism) || self.put.iter().any(|(other, _)| *other == mechanism)
    }

    /// Notes a part of it, unless something is wrong already.
    fn add(
        &mut self,
        user: &str,
        code: i8,
        part: impl FnOnce(ScramMechanism, &mut Change) -> Result<(), Problem>,
    ) {
        let added = match (user.is_empty(), mechanism(code)) {
            (true, _) => Err((ErrorCode::UnacceptableCredential, "a user has a name")),
            (_, None) => Err((ErrorCode::UnsupportedSaslMechanism, "no such SCRAM mechanism")),
            (_, Some(mechanism)) if self.touches(mechanism) => {
                Err((ErrorCode::DuplicateResource, "a credential is changed more than once"))
            }
            (_, Some(mechanism)) => part(mechanism, self),
        };
        if let Err(problem) = added {
            self.problem.get_or_insert(problem);
        }
    }
}

pub fn alter(request: AlterUserScramCredentialsRequest, cx: &mut Context<'_>) -> Step {
    let mut changes: BTreeMap<String, Change> = BTreeMap::new();
    for deletion in request.deletions {
        let change = changes.entry(deletion.name.clone()).or_default();
        change.add(&deletion.name, deletion.mechanism, |mechanism, change| {
            change.remove.push(mechanism);
            Ok(())
        });
    }
    for upsertion in request.upsertions {
        let change = changes.entry(upsertion.name.clone()).or_default();
        change.add(&upsertion.name, upsertion.mechanism, |mechanism, change| {
            change.put.push((mechanism, credential(mechanism, &upsertion)?));
            Ok(())
        });
    }
    let denied = may_rule(Operation::Alter, cx).err().map(|error| (error, NOT_ALLOWED));
    let mut results = Vec::with_capacity(changes.len());
    let mut asked = Vec::new();
    for (user, Change { put, remove, problem }) in changes {
        let problem = denied.or(problem);
        let mut result =
            AlterUserScramCredentialsResult { user: user.clone(), error_message: None, ..Default::default() };
        match problem {
            Some((error, text)) => {
                result.error_code = error.code();
                result.error_message = Some(text.into());
            }
            None => {
                let alter = Command::ScramAlter { user, put, remove };
                cx.ask_meta(asked.len() as u32, MetaRequest::Propose(alter));
                asked.push(results.len());
            }
        }
        results.push(result);
    }
    cx.gather(asked.len(), move |answers, cx| {
        for (position, answer) in asked.into_iter().zip(answers) {
            let result = &mut results[position];
            match answer {
                Event::Meta { result: Ok(_), .. } => {}
                Event::Meta { result: Err(rejection), .. } => {
                    let error = match rejection.reason {
                        Reason::NotFound => ErrorCode::ResourceNotFound,
                        _ => ErrorCode::UnacceptableCredential,
                    };
                    result.error_code = error.code();
                    result.error_message = Some(rejection.text);
                }
                Event::Failed { reason, .. } => result.error_code = errors::failure(reason).code(),
                _ => return cx.mismatch(),
            }
        }
        cx.reply(&AlterUserScramCredentialsResponse { results, ..Default::default() })
    })
}

fn credential(
    mechanism: ScramMechanism,
    upsertion: &ScramCredentialUpsertion,
) -> Result<ScramCredential, Problem> {
    let unacceptable = |text| Err((ErrorCode::UnacceptableCredential, text));
    let iterations = u32::try_from(upsertion.iterations).unwrap_or(0);
    if iterations < ITERATIONS_MIN {
        return unacceptable("too few iterations");
    }
    if iterations > ITERATIONS_MAX {
        return unacceptable("too many iterations");
    }
    if upsertion.salt.is_empty() {
        return unacceptable("there is no salt");
    }
    // Kafka asks for no length. One that is not the hash's is of a password that nobody can have, and still a
    // credential.
    if upsertion.salted_password.is_empty() {
        return unacceptable("there is no salted password");
    }
    Ok(scram::of_salted(mechanism, &upsertion.salted_password, &upsertion.salt, iterations))
}

/// On the wire.
fn code(mechanism: ScramMechanism) -> i8 {
    match mechanism {
        ScramMechanism::Sha256 => 1,
        ScramMechanism::Sha512 => 2,
    }
}

fn mechanism(code: i8) -> Option<ScramMechanism> {
    match code {
        1 => Some(ScramMechanism::Sha256),
        2 => Some(ScramMechanism::Sha512),
        _ => None,
    }
}

use super::*;
use crate::messages::{ApiVersionsRequest, ApiVersionsResponse, FetchResponse, MetadataRequest};
use crate::records::Records;

fn join(segments: Vec<Bytes>) -> BytesMut {
    BytesMut::from(segments.concat().as_slice())
}

#[test]
fn requests_read_back_with_either_header() {
    for version in [4, 9] {
        let request = MetadataRequest { topics: None, ..Default::default() };
        let mut stream = join(encode_request(version, 77, Some("me"), &request).unwrap());
        let frame = FrameSplitter::new(1024).next_frame(&mut stream).unwrap().unwrap();
        let mut reader = Reader::new(frame);
        let head = RequestHead::decode(&mut reader).unwrap();
        assert_eq!((head.api, head.version, head.correlation_id), (ApiKey::Metadata, version, 77));
        assert_eq!(head.client_id(), Some("me"));
        assert_eq!(MetadataRequest::decode(&mut reader, version), Ok(request));
        assert_eq!(reader.expect_end(), Ok(()));
    }
}

#[test]
fn api_versions_answers_without_tags_in_the_header() {
    let bytes = join(encode_response(3, 5, &ApiVersionsResponse::default()).unwrap());
    // size, correlation id, error code, empty compact array, throttle time, no tags
    assert_eq!(&bytes[..], [0, 0, 0, 12, 0, 0, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0]);
    let mut reader = Reader::new(bytes.freeze().slice(4..));
    assert_eq!(decode_response_head(&mut reader, ApiKey::ApiVersions, 3), Ok(5));
    assert!(ApiVersionsResponse::decode(&mut reader, 3).is_ok());
}

#[test]
fn splitter_waits_for_whole_frames_and_refuses_large_ones() {
    let splitter = FrameSplitter::new(8);
    let mut stream = BytesMut::from(&[0, 0, 0, 2, 7][..]);
    assert_eq!(splitter.next_frame(&mut stream), Ok(None));
    assert_eq!(splitter.missing_bytes(&stream), Ok(1));
    stream.extend_from_slice(&[8, 0, 0]);
    assert_eq!(splitter.next_frame(&mut stream), Ok(Some(Bytes::from_static(&[7, 8]))));
    assert_eq!(splitter.next_frame(&mut stream), Ok(None));
    assert_eq!(splitter.missing_bytes(&stream), Ok(2));
    stream.extend_from_slice(&[0, 9]);
    assert_eq!(splitter.next_frame(&mut stream), Err(FrameError { size: 9, max: 8 }));
    let mut negative = BytesMut::from(&[0xff; 4][..]);
    assert!(splitter.next_frame(&mut negative).is_err());
}

#[test]
fn unknown_apis_are_told_apart_from_garbage() {
    let mut reader = Reader::new(Bytes::from_static(&[0x7f, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff]));
    assert_eq!(RequestHead::decode(&mut reader), Err(HeadError::UnknownApi { key: 0x7f00, version: 1 }));
    assert!(matches!(RequestHead::decode(&mut Reader::new(Bytes::new())), Err(HeadError::Decode(_))));
}

#[test]
fn api_versions_from_the_future_still_has_a_readable_header() {
    let mut stream = join(encode_request(3, 1, None, &ApiVersionsRequest::default()).unwrap());
    stream[6..8].copy_from_slice(&99i16.to_be_bytes());
    let head = RequestHead::decode(&mut Reader::new(stream.freeze().slice(4..))).unwrap();
    assert!(!head.is_supported());
    assert_eq!((head.version, head.client_id()), (99, None));
}

#[test]
fn large_records_are_not_copied_and_frames_share_a_writer() {
    let first = Bytes::from(vec![1; 5000]);
    let second = Bytes::from(vec![2; 3000]);
    let partition = crate::messages::fetch_response::PartitionData {
        records: Some(Records::from(vec![first.clone(), second.clone()])),
        ..Default::default()
    };
    let topic = crate::messages::fetch_response::FetchableTopicResponse {
        topic: "t".into(),
        partitions: vec![partition],
        ..Default::default()
    };
    let response = FetchResponse { responses: vec![topic], ..Default::default() };
    let mut out = Writer::new();
    write_response(&mut out, 12, 1, &response).unwrap();
    write_response(&mut out, 12, 2, &response).unwrap();
    // Version 6 has no sessions; nothing of the failed frame stays.
    let length = out.len();
    let unsendable = FetchResponse { session_id: 1, ..response.clone() };
    assert!(write_response(&mut out, 6, 3, &unsendable).is_err());
    assert_eq!(out.len(), length);
    let segments = out.into_segments();
    assert!(segments.iter().any(|s| s.as_ptr() == first.as_ptr()));
    assert!(segments.iter().any(|s| s.as_ptr() == second.as_ptr()));
    let mut stream = join(segments);
    for correlation_id in [1, 2] {
        let frame = FrameSplitter::new(FRAME_BYTES_MAX).next_frame(&mut stream).unwrap().unwrap();
        let mut reader = Reader::new(frame);
        assert_eq!(decode_response_head(&mut reader, ApiKey::Fetch, 12), Ok(correlation_id));
        assert_eq!(FetchResponse::decode(&mut reader, 12), Ok(response.clone()));
    }
    assert!(stream.is_empty());
}

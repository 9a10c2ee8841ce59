//! HTTPS and SVCB records without their address hints: no client is led to an address that nothing has opened.

use hickory_proto::rr::{
    RData, Record,
    rdata::svcb::{SVCB, SvcParamKey, SvcParamValue},
};

/// Takes the hints out of a record (RFC 9460 §7.3); whether there were any.
pub(super) fn strip(record: &mut Record) -> bool {
    match &mut record.data {
        RData::HTTPS(https) => strip_parameters(&mut https.0),
        RData::SVCB(svcb) => strip_parameters(svcb),
        _ => false,
    }
}

fn strip_parameters(svcb: &mut SVCB) -> bool {
    let before = svcb.svc_params.len();
    svcb.svc_params.retain(|(key, _)| !is_hint(*key));
    let stripped = svcb.svc_params.len() != before;
    // A key that is mandatory must be there (§8).
    for (_, value) in &mut svcb.svc_params {
        if let SvcParamValue::Mandatory(mandatory) = value {
            mandatory.0.retain(|key| !is_hint(*key));
        }
    }
    svcb.svc_params.retain(|(_, value)| !matches!(value, SvcParamValue::Mandatory(mandatory) if mandatory.0.is_empty()));
    stripped
}

fn is_hint(key: SvcParamKey) -> bool {
    matches!(key, SvcParamKey::Ipv4Hint | SvcParamKey::Ipv6Hint)
}

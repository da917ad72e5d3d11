//! Code points of the IANA registry "Internet Key Exchange Version 2 (IKEv2)
//! Parameters". Every type is open: a number without a constant survives
//! decoding and encoding, and is printed as a number.

use std::fmt;

macro_rules! code_points {
    (
        $(#[$meta:meta])*
        $name:ident($repr:ty) { $( $constant:ident = $value:literal $label:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        #[allow(missing_docs, reason = "each constant is named as in the registry")]
        impl $name {
            $( pub const $constant: Self = Self($value); )+

            /// Every code point that has a name here.
            pub const KNOWN: &'static [Self] = &[ $( Self::$constant, )+ ];

            /// The registry's name, where the number has one here.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $( $value => Some($label), )+
                    _ => None,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }
    };
}

code_points! {
    /// Exchange type (RFC 7296 section 3.1, RFC 5723, RFC 9242, RFC 9370).
    ExchangeType(u8) {
        IKE_SA_INIT = 34 "IKE_SA_INIT",
        IKE_AUTH = 35 "IKE_AUTH",
        CREATE_CHILD_SA = 36 "CREATE_CHILD_SA",
        INFORMATIONAL = 37 "INFORMATIONAL",
        IKE_SESSION_RESUME = 38 "IKE_SESSION_RESUME",
        IKE_INTERMEDIATE = 43 "IKE_INTERMEDIATE",
        IKE_FOLLOWUP_KE = 44 "IKE_FOLLOWUP_KE",
    }
}

code_points! {
    /// Next Payload type (RFC 7296 section 3.2), in the RFC's notation.
    PayloadType(u8) {
        NONE = 0 "none",
        SA = 33 "SA",
        KE = 34 "KE",
        ID_I = 35 "IDi",
        ID_R = 36 "IDr",
        CERT = 37 "CERT",
        CERTREQ = 38 "CERTREQ",
        AUTH = 39 "AUTH",
        NONCE = 40 "Nonce",
        NOTIFY = 41 "N",
        DELETE = 42 "D",
        VENDOR_ID = 43 "V",
        TS_I = 44 "TSi",
        TS_R = 45 "TSr",
        ENCRYPTED = 46 "SK",
        CP = 47 "CP",
        EAP = 48 "EAP",
        ENCRYPTED_FRAGMENT = 53 "SKF",
    }
}

code_points! {
    /// Protocol ID in proposals, Notify and Delete payloads (RFC 7296 section 3.3.1).
    ProtocolId(u8) {
        NONE = 0 "no protocol",
        IKE = 1 "IKE",
        AH = 2 "AH",
        ESP = 3 "ESP",
    }
}

code_points! {
    /// Transform type (RFC 7296 section 3.3.2, RFC 9370 section 2.2.1, RFC 9838), with the names
    /// used in logs.
    TransformType(u8) {
        ENCRYPTION = 1 "encryption",
        PRF = 2 "PRF",
        INTEGRITY = 3 "integrity",
        KEY_EXCHANGE = 4 "key exchange group",
        ESN = 5 "extended sequence numbers",
        ADDITIONAL_KEY_EXCHANGE_1 = 6 "additional key exchange 1",
        ADDITIONAL_KEY_EXCHANGE_2 = 7 "additional key exchange 2",
        ADDITIONAL_KEY_EXCHANGE_3 = 8 "additional key exchange 3",
        ADDITIONAL_KEY_EXCHANGE_4 = 9 "additional key exchange 4",
        ADDITIONAL_KEY_EXCHANGE_5 = 10 "additional key exchange 5",
        ADDITIONAL_KEY_EXCHANGE_6 = 11 "additional key exchange 6",
        ADDITIONAL_KEY_EXCHANGE_7 = 12 "additional key exchange 7",
        KEY_WRAP = 13 "key wrap algorithm",
        GROUP_CONTROLLER_AUTHENTICATION = 14 "group controller authentication method",
    }
}

code_points! {
    /// Authentication method (RFC 7296 section 3.8, RFC 4754, RFC 7427, RFC 7619).
    AuthMethod(u8) {
        RSA_SIGNATURE = 1 "RSA signature",
        SHARED_KEY = 2 "pre-shared key",
        DSS_SIGNATURE = 3 "DSS signature",
        ECDSA_SHA256_P256 = 9 "ECDSA with SHA-256 on P-256",
        ECDSA_SHA384_P384 = 10 "ECDSA with SHA-384 on P-384",
        ECDSA_SHA512_P521 = 11 "ECDSA with SHA-512 on P-521",
        NULL = 13 "no authentication",
        DIGITAL_SIGNATURE = 14 "digital signature",
    }
}

code_points! {
    /// Identification type (RFC 7296 section 3.5).
    IdType(u8) {
        IPV4_ADDR = 1 "ID_IPV4_ADDR",
        FQDN = 2 "ID_FQDN",
        RFC822_ADDR = 3 "ID_RFC822_ADDR",
        IPV6_ADDR = 5 "ID_IPV6_ADDR",
        DER_ASN1_DN = 9 "ID_DER_ASN1_DN",
        DER_ASN1_GN = 10 "ID_DER_ASN1_GN",
        KEY_ID = 11 "ID_KEY_ID",
    }
}

code_points! {
    /// Notify message type (RFC 7296 section 3.10.1 and the documents that
    /// registered the rest).
    NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1 "UNSUPPORTED_CRITICAL_PAYLOAD",
        INVALID_IKE_SPI = 4 "INVALID_IKE_SPI",
        INVALID_MAJOR_VERSION = 5 "INVALID_MAJOR_VERSION",
        INVALID_SYNTAX = 7 "INVALID_SYNTAX",
        INVALID_MESSAGE_ID = 9 "INVALID_MESSAGE_ID",
        INVALID_SPI = 11 "INVALID_SPI",
        NO_PROPOSAL_CHOSEN = 14 "NO_PROPOSAL_CHOSEN",
        INVALID_KE_PAYLOAD = 17 "INVALID_KE_PAYLOAD",
        AUTHENTICATION_FAILED = 24 "AUTHENTICATION_FAILED",
        SINGLE_PAIR_REQUIRED = 34 "SINGLE_PAIR_REQUIRED",
        NO_ADDITIONAL_SAS = 35 "NO_ADDITIONAL_SAS",
        INTERNAL_ADDRESS_FAILURE = 36 "INTERNAL_ADDRESS_FAILURE",
        FAILED_CP_REQUIRED = 37 "FAILED_CP_REQUIRED",
        TS_UNACCEPTABLE = 38 "TS_UNACCEPTABLE",
        INVALID_SELECTORS = 39 "INVALID_SELECTORS",
        UNACCEPTABLE_ADDRESSES = 40 "UNACCEPTABLE_ADDRESSES",
        UNEXPECTED_NAT_DETECTED = 41 "UNEXPECTED_NAT_DETECTED",
        TEMPORARY_FAILURE = 43 "TEMPORARY_FAILURE",
        CHILD_SA_NOT_FOUND = 44 "CHILD_SA_NOT_FOUND",
        INITIAL_CONTACT = 16384 "INITIAL_CONTACT",
        SET_WINDOW_SIZE = 16385 "SET_WINDOW_SIZE",
        ADDITIONAL_TS_POSSIBLE = 16386 "ADDITIONAL_TS_POSSIBLE",
        IPCOMP_SUPPORTED = 16387 "IPCOMP_SUPPORTED",
        NAT_DETECTION_SOURCE_IP = 16388 "NAT_DETECTION_SOURCE_IP",
        NAT_DETECTION_DESTINATION_IP = 16389 "NAT_DETECTION_DESTINATION_IP",
        COOKIE = 16390 "COOKIE",
        USE_TRANSPORT_MODE = 16391 "USE_TRANSPORT_MODE",
        HTTP_CERT_LOOKUP_SUPPORTED = 16392 "HTTP_CERT_LOOKUP_SUPPORTED",
        REKEY_SA = 16393 "REKEY_SA",
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394 "ESP_TFC_PADDING_NOT_SUPPORTED",
        NON_FIRST_FRAGMENTS_ALSO = 16395 "NON_FIRST_FRAGMENTS_ALSO",
        MOBIKE_SUPPORTED = 16396 "MOBIKE_SUPPORTED",
        ADDITIONAL_IP4_ADDRESS = 16397 "ADDITIONAL_IP4_ADDRESS",
        ADDITIONAL_IP6_ADDRESS = 16398 "ADDITIONAL_IP6_ADDRESS",
        NO_ADDITIONAL_ADDRESSES = 16399 "NO_ADDITIONAL_ADDRESSES",
        UPDATE_SA_ADDRESSES = 16400 "UPDATE_SA_ADDRESSES",
        COOKIE2 = 16401 "COOKIE2",
        NO_NATS_ALLOWED = 16402 "NO_NATS_ALLOWED",
        AUTH_LIFETIME = 16403 "AUTH_LIFETIME",
        MULTIPLE_AUTH_SUPPORTED = 16404 "MULTIPLE_AUTH_SUPPORTED",
        ANOTHER_AUTH_FOLLOWS = 16405 "ANOTHER_AUTH_FOLLOWS",
        REDIRECT_SUPPORTED = 16406 "REDIRECT_SUPPORTED",
        REDIRECT = 16407 "REDIRECT",
        REDIRECTED_FROM = 16408 "REDIRECTED_FROM",
        TICKET_LT_OPAQUE = 16409 "TICKET_LT_OPAQUE",
        TICKET_REQUEST = 16410 "TICKET_REQUEST",
        TICKET_ACK = 16411 "TICKET_ACK",
        TICKET_NACK = 16412 "TICKET_NACK",
        TICKET_OPAQUE = 16413 "TICKET_OPAQUE",
        EAP_ONLY_AUTHENTICATION = 16417 "EAP_ONLY_AUTHENTICATION",
        CHILDLESS_IKEV2_SUPPORTED = 16418 "CHILDLESS_IKEV2_SUPPORTED",
        QUICK_CRASH_DETECTION = 16419 "QUICK_CRASH_DETECTION",
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420 "IKEV2_MESSAGE_ID_SYNC_SUPPORTED",
        IKEV2_FRAGMENTATION_SUPPORTED = 16430 "IKEV2_FRAGMENTATION_SUPPORTED",
        SIGNATURE_HASH_ALGORITHMS = 16431 "SIGNATURE_HASH_ALGORITHMS",
        USE_PPK = 16435 "USE_PPK",
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438 "INTERMEDIATE_EXCHANGE_SUPPORTED",
    }
}

impl TransformType {
    /// Whether transforms of this type are key exchange methods, of the first exchange or of an
    /// additional one (RFC 9370 section 2.2.1).
    #[must_use]
    pub const fn is_key_exchange(self) -> bool {
        self.0 == Self::KEY_EXCHANGE.0 || self.is_additional_key_exchange()
    }

    /// Whether this type asks for an additional key exchange (RFC 9370 section 2.2.1).
    #[must_use]
    pub const fn is_additional_key_exchange(self) -> bool {
        Self::ADDITIONAL_KEY_EXCHANGE_1.0 <= self.0 && self.0 <= Self::ADDITIONAL_KEY_EXCHANGE_7.0
    }
}

impl NotifyType {
    /// Types below 16384 report errors (RFC 7296 section 3.10.1).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

#[cfg(test)]
mod tests {
    use super::{NotifyType, PayloadType};

    #[test]
    fn a_known_code_point_prints_its_name_and_an_unknown_one_its_number() {
        assert_eq!(NotifyType::COOKIE.to_string(), "COOKIE");
        assert_eq!(NotifyType(40000).to_string(), "40000");
        assert_eq!(PayloadType::TS_I.to_string(), "TSi");
        assert_eq!(PayloadType(200).to_string(), "200");
    }

    #[test]
    fn notify_types_below_16384_are_errors() {
        assert!(NotifyType::TEMPORARY_FAILURE.is_error());
        assert!(NotifyType(16383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }
}

//! Packets that others have published.

use vgw_crypto::{DirectionKeys, Encryption, EspSuite, Integrity, MacKey, Secret};

use crate::{DropReason, InboundSa, NEXT_HEADER_IPV4};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

struct GcmVector {
    encryption: Encryption,
    esn: bool,
    keymat: &'static str,
    /// Sequence number before the vector's own.
    before: u64,
    packet: &'static str,
    payload: &'static str,
}

// draft-mcgrew-gcm-test-01 section 4: two 128-bit cases with and without ESN,
// and a 256-bit one. The packets carry next header 1, which is no inner packet.
const GCM_VECTORS: &[GcmVector] = &[
    GcmVector {
        encryption: Encryption::AesGcm128,
        esn: true,
        keymat: "4c80cdefbb5d10da906ac73c3613a634 2e443b68",
        before: 0x8765_4320_ffff_ffff,
        packet: "00004321 00000000 4956ed7e3b244cfe\
                 fecf537e729d5b07dc30df528dd22b768d1b98736696a6fd348509fa13ceac34\
                 cfa2436f14a3f3cf65925bf1f4a13c5d15b21e1884f5ff6247aeabb786b93bce\
                 61bc17d768fd9732 459018148f6cbe722fd04796562dfdb4",
        payload: "45000048699a000080114db7c0a80102c0a801010a9bf15638d3010000010000\
                  00000000045f736970045f756470037369700963796265726369747902646b00\
                  0021000101020201",
    },
    GcmVector {
        encryption: Encryption::AesGcm128,
        esn: false,
        keymat: "feffe9928665731c6d6a8f9467308308 cafebabe",
        before: 9,
        packet: "0000a5f8 0000000a facedbaddecaf888\
                 deb22cd9b07c72c16e3a65beeb8df304a5a5897d33ae530f1ba76d5d114d2a5c\
                 3de81827c10e9a4f51330d0eec416642cfbb85a5b47e48a4ec3b9ba95d918bd1\
                 83b70d3aa8bc6ee4c309e9d85a41ad4a",
        payload: "4500003e698f000080114dccc0a80102c0a801010a980035002a2343b2d00100\
                  0001000000000000037369700963796265726369747902646b00000100010001",
    },
    GcmVector {
        encryption: Encryption::AesGcm256,
        esn: false,
        keymat: "abbccddef00112233445566778899aababbccddef00112233445566778899aab 11223344",
        before: 1,
        packet: "4a2cbfe3 00000002 0102030405060708\
                 ff425c9b724599df7a3bcd510194e00d6a78107f1b0b1cbf06efae9d65a5d763\
                 748a637985771d347f0545659f14e99def842d8e\
                 b335f4eecfdbf831824b4c4915956c96",
        payload: "4500003069a6400080062690c0a801029389155e0a9e008b2dc57ee000000000\
                  7002400020bf0000020405b40101040201020201",
    },
];

#[test]
fn published_gcm_packets_are_authentic_and_decrypt_to_their_payload() {
    for vector in GCM_VECTORS {
        let suite = EspSuite {
            encryption: vector.encryption,
            integrity: None,
            esn: vector.esn,
        };
        let keys = DirectionKeys {
            encryption: Secret::new(hex(vector.keymat)),
            integrity: Secret::default(),
        };
        let mut packet = hex(vector.packet);
        let spi = u32::from_be_bytes(packet[..4].try_into().unwrap());
        let sa = InboundSa::new(spi, suite, &keys, 64).unwrap();
        sa.commit_for_test(vector.before);
        assert_eq!(
            sa.opener().open(&mut packet),
            Err(DropReason::BadNextHeader)
        );
        assert_eq!(packet[16..packet.len() - 16], hex(vector.payload));
        assert_eq!(sa.sequence(), vector.before + 1);
    }
}

// RFC 3602 section 4, case 7: a ping in tunnel mode. The RFC leaves the ICV to
// the integrity algorithm, so it is added here.
#[test]
fn the_published_cbc_packet_opens_to_its_ping() {
    let suite = EspSuite {
        encryption: Encryption::AesCbc128,
        integrity: Some(Integrity::HmacSha256_128),
        esn: false,
    };
    let keys = DirectionKeys {
        encryption: Secret::new(hex("0123456789abcdef0123456789abcdef")),
        integrity: Secret::new(vec![7; 32]),
    };
    let mut packet = hex("00008765 00000002 f4e765244f6407adf13dc1380f673f37\
         773b5241a4c449225e4f3ce5ed611b0c237ca96cf74a93013c1b0ea1a0cf70f8\
         e4ecaec78ac53aad7a0f022b859243c647752e94a859352b8a4d4d2decd136e5\
         c177f132ad3fbfb2201ac9904c74ee0a109e0ca1e4dfe9d5a100b842f1c22f0d");
    let mac = MacKey::new(Integrity::HmacSha256_128, &[7; 32]).unwrap();
    packet.extend(mac.icv(&[&packet]));
    let sa = InboundSa::new(0x8765, suite, &keys, 64).unwrap();
    let opened = sa.opener().open(&mut packet).unwrap();
    assert_eq!(opened.sequence, 2);
    assert_eq!(opened.next_header, NEXT_HEADER_IPV4);
    assert_eq!(
        packet[opened.inner],
        hex(
            "45000054090400004001f988c0a87b03c0a87bc808009f76a90a0100b49c083d\
             02a2040008090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223\
             2425262728292a2b2c2d2e2f3031323334353637"
        )
    );
}

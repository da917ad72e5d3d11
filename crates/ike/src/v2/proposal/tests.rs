use proptest::prelude::*;
use proptest::sample::subsequence;
use vgw_crypto::{Encryption, Group, Integrity, Prf};

use super::*;

fn ike(e: &[Encryption], i: &[Integrity], p: &[Prf], g: &[Group]) -> IkeAlgorithms {
    IkeAlgorithms {
        encryption: e.to_vec(),
        integrity: i.to_vec(),
        prf: p.to_vec(),
        groups: g.to_vec(),
    }
}

fn esp(e: &[Encryption], i: &[Integrity], g: &[Group], esn: &[bool]) -> EspAlgorithms {
    EspAlgorithms {
        encryption: e.to_vec(),
        integrity: i.to_vec(),
        groups: g.to_vec(),
        esn: esn.to_vec(),
    }
}

use Encryption::{AesCbc128, AesCbc256, AesGcm128, AesGcm256};
use Group::{Curve25519, Ecp256, Modp1024, Modp2048};
use Integrity::{HmacSha1_96, HmacSha256_128};

const SHA256: Prf = Prf::HmacSha256;

fn proposal(protocol: ProtocolId, spi: &[u8], transforms: &[Transform]) -> Proposal {
    Proposal {
        number: 1,
        protocol,
        spi: spi.to_vec(),
        transforms: transforms.to_vec(),
    }
}

fn none(kind: TransformType) -> Transform {
    transform(kind, NONE, None)
}

#[test]
fn aead_ciphers_are_offered_apart_from_others_and_without_integrity() {
    let ours = ike(
        &[AesGcm256, AesGcm128, AesCbc256],
        &[HmacSha256_128],
        &[SHA256],
        &[Curve25519],
    );
    let offered = offer_ike(&ours, None);
    assert_eq!(
        names::proposals(&offered),
        "1: IKE AES256-GCM-16, AES128-GCM-16, PRF-SHA2-256, group 31; \
         2: IKE AES256, SHA2-256, PRF-SHA2-256, group 31"
    );
    assert!(offered.iter().all(|p| p.spi.is_empty()));
}

#[test]
fn a_mixed_order_of_ciphers_survives_in_the_offer() {
    let ours = esp(
        &[AesCbc256, AesGcm256, AesCbc128],
        &[HmacSha1_96],
        &[Ecp256],
        &[true, false],
    );
    assert_eq!(
        names::proposals(&offer_esp(&ours, 0x1234_5678, true)),
        "1: ESP AES256, SHA1, group 19, ESN yes, ESN no; \
         2: ESP AES256-GCM-16, group 19, ESN yes, ESN no; \
         3: ESP AES128, SHA1, group 19, ESN yes, ESN no"
    );
}

#[test]
fn an_offer_in_ike_auth_has_no_groups_and_always_esn() {
    let ours = esp(&[AesGcm128], &[], &[Ecp256], &[false]);
    let offered = offer_esp(&ours, 0x1234_5678, false);
    assert_eq!(names::proposals(&offered), "1: ESP AES128-GCM-16, ESN no");
    assert_eq!(offered[0].spi, [0x12, 0x34, 0x56, 0x78]);
}

#[test]
fn the_responder_selects_by_its_own_preference() {
    let peer = ike(
        &[AesCbc128, AesGcm128, AesGcm256],
        &[HmacSha1_96, HmacSha256_128],
        &[Prf::HmacSha1, SHA256],
        &[Modp2048, Curve25519],
    );
    let ours = ike(
        &[AesGcm256, AesCbc128],
        &[HmacSha256_128],
        &[SHA256],
        &[Curve25519, Modp2048],
    );
    let choice = select_ike(&ours, &offer_ike(&peer, Some(7))).unwrap();
    assert_eq!(
        choice.suite.to_string(),
        "AES256-GCM-16/PRF-SHA2-256/group 31"
    );
    assert_eq!(choice.answer.number, 2);
    assert_eq!(choice.spi, Some(7));
}

#[test]
fn the_better_of_two_proposals_with_one_cipher_is_selected() {
    let of = |number, mac| Proposal {
        number,
        ..proposal(
            ProtocolId::ESP,
            &[0, 0, 1, 0],
            &[encryption(AesCbc128), integrity(mac), esn(false)],
        )
    };
    let ours = esp(&[AesCbc128], &[HmacSha256_128, HmacSha1_96], &[], &[false]);
    let offered = [of(1, HmacSha1_96), of(2, HmacSha256_128)];
    assert_eq!(select_esp(&ours, &offered, true).unwrap().answer.number, 2);
}

#[test]
fn integrity_none_beside_an_aead_cipher_is_accepted_and_answered() {
    let transforms = [
        encryption(AesGcm128),
        none(TransformType::INTEGRITY),
        esn(false),
    ];
    let ours = esp(&[AesGcm128], &[], &[], &[false]);
    let offered = [proposal(ProtocolId::ESP, &[0, 0, 1, 0], &transforms)];
    let choice = select_esp(&ours, &offered, false).unwrap();
    assert_eq!(choice.suite.integrity, None);
    assert_eq!(choice.answer.transforms, transforms);
    // As a response, NONE is accepted though we did not offer it.
    let answer = [Proposal {
        spi: vec![0, 0, 2, 0],
        ..choice.answer
    }];
    assert_eq!(
        accept_esp(&offer_esp(&ours, 256, false), &answer)
            .unwrap()
            .spi,
        512
    );
}

#[test]
fn an_aead_cipher_with_integrity_is_not_acceptable() {
    let transforms = [encryption(AesGcm128), integrity(HmacSha1_96), esn(false)];
    let ours = esp(&[AesGcm128], &[], &[], &[false]);
    let offered = [proposal(ProtocolId::ESP, &[0, 0, 1, 0], &transforms)];
    assert_eq!(
        select_esp(&ours, &offered, false).unwrap_err().to_string(),
        "no common integrity: peer offers SHA1; we accept none"
    );
}

#[test]
fn a_cipher_without_integrity_is_not_acceptable_when_it_is_no_aead() {
    let transforms = [
        encryption(AesCbc128),
        none(TransformType::INTEGRITY),
        esn(false),
    ];
    let ours = esp(&[AesCbc128], &[HmacSha256_128], &[], &[false]);
    let offered = [proposal(ProtocolId::ESP, &[0, 0, 1, 0], &transforms)];
    assert_eq!(
        select_esp(&ours, &offered, false).unwrap_err().to_string(),
        "no common integrity: peer offers none; we accept SHA2-256"
    );
}

#[test]
fn groups_do_not_count_in_ike_auth_but_do_in_create_child_sa() {
    let peer = esp(&[AesGcm128], &[], &[Modp1024], &[false]);
    let offered = offer_esp(&peer, 256, true);
    let ours = esp(&[AesGcm128], &[], &[Ecp256], &[false]);
    let choice = select_esp(&ours, &offered, false).unwrap();
    assert_eq!(choice.group, None);
    assert_eq!(
        select_esp(&ours, &offered, true).unwrap_err().to_string(),
        "no common key exchange group: peer offers 2; we accept 19"
    );
    let without = esp(&[AesGcm128], &[], &[], &[false]);
    assert_eq!(
        select_esp(&without, &offered, true)
            .unwrap_err()
            .to_string(),
        "no common key exchange group: peer offers 2; we accept none"
    );
    assert_eq!(
        select_esp(&ours, &offer_esp(&without, 256, true), true)
            .unwrap_err()
            .to_string(),
        "no common key exchange group: peer offers none; we accept 19"
    );
}

#[test]
fn group_none_is_no_pfs() {
    let transforms = [
        encryption(AesGcm128),
        none(TransformType::KEY_EXCHANGE),
        esn(false),
    ];
    let offered = [proposal(ProtocolId::ESP, &[0, 0, 1, 0], &transforms)];
    let ours = esp(&[AesGcm128], &[], &[], &[false]);
    let choice = select_esp(&ours, &offered, true).unwrap();
    assert_eq!(choice.group, None);
    assert_eq!(choice.answer.transforms, transforms);
}

#[test]
fn esp_without_esn_transform_is_not_acceptable() {
    let offered = [proposal(
        ProtocolId::ESP,
        &[0, 0, 1, 0],
        &[encryption(AesGcm128)],
    )];
    let ours = esp(&[AesGcm128], &[], &[], &[true, false]);
    assert_eq!(
        select_esp(&ours, &offered, false).unwrap_err().to_string(),
        "no common extended sequence numbers: peer offers none; we accept yes, no"
    );
}

#[test]
fn a_mismatch_names_the_first_kind_without_a_common_value_and_which_others_have_none() {
    let des = transform(TransformType::ENCRYPTION, 3, None);
    let aes192 = transform(TransformType::ENCRYPTION, 12, Some(192));
    let rest = [integrity(HmacSha1_96), prf(Prf::HmacSha1), group(Modp1024)];
    let peer = |ciphers: &[Transform]| {
        [proposal(
            ProtocolId::IKE,
            &[],
            &[ciphers, rest.as_slice()].concat(),
        )]
    };
    let ours = ike(
        &[AesGcm128, AesCbc128],
        &[HmacSha256_128],
        &[SHA256],
        &[Modp2048],
    );
    assert_eq!(
        select_ike(&ours, &peer(&[encryption(AesCbc256), des, aes192]))
            .unwrap_err()
            .to_string(),
        "no common encryption: peer offers AES256, 3DES, AES192; \
         we accept AES128-GCM-16, AES128; nor a common integrity, PRF, key exchange group"
    );
    assert_eq!(
        select_ike(&ours, &peer(&[encryption(AesCbc128), des]))
            .unwrap_err()
            .to_string(),
        "no common integrity: peer offers SHA1; we accept SHA2-256; nor a common PRF, key exchange group"
    );
    let ours = ike(&[AesCbc128], &[HmacSha1_96], &[SHA256], &[Modp2048]);
    assert_eq!(
        select_ike(&ours, &peer(&[encryption(AesCbc128)]))
            .unwrap_err()
            .to_string(),
        "no common PRF: peer offers PRF-SHA1; we accept PRF-SHA2-256; nor a common key exchange group"
    );
}

#[test]
fn a_proposal_with_a_transform_type_we_do_not_know_is_passed_over() {
    let ours = ike(&[AesGcm128], &[], &[SHA256], &[Ecp256]);
    let [plain] = <[Proposal; 1]>::try_from(offer_ike(&ours, None)).unwrap();
    let mut hybrid = plain.clone();
    hybrid
        .transforms
        .push(transform(TransformType(6), 36, None));
    let second = Proposal { number: 2, ..plain };
    let choice = select_ike(&ours, &[hybrid.clone(), second]).unwrap();
    assert_eq!(choice.answer.number, 2);
    assert_eq!(
        select_ike(&ours, &[hybrid]).unwrap_err().to_string(),
        "no usable proposal: proposal 1: it demands additional key exchange 1 ML-KEM-768 (36); \
         this gateway makes one key exchange alone (no RFC 9370); we accept \
         AES128-GCM-16/PRF-SHA2-256/group 19"
    );
}

#[test]
fn of_what_we_offer_a_line_has_what_we_want_most_and_where_the_rest_is() {
    const OTHERS: &str = "or others (`algorithms` in `vgw status --json`)";
    let one = ike(
        &[AesGcm256],
        &[HmacSha256_128, HmacSha1_96],
        &[SHA256],
        &[Ecp256],
    );
    assert_eq!(brief_ike(&one), "AES256-GCM-16/PRF-SHA2-256/group 19");
    let some = ike(
        &[AesCbc128],
        &[HmacSha256_128, HmacSha1_96],
        &[SHA256],
        &[Ecp256],
    );
    let first = "AES128/SHA2-256/PRF-SHA2-256/group 19";
    assert_eq!(brief_ike(&some), format!("{first} {OTHERS}"));

    let one = esp(&[AesGcm256], &[], &[], &[true]);
    assert_eq!(brief_esp(&one, false), "AES256-GCM-16/ESN");
    assert_eq!(brief_esp(&one, true), "AES256-GCM-16/ESN without PFS");
    let some = esp(&[AesGcm256], &[], &[Ecp256, Modp2048], &[false]);
    assert_eq!(brief_esp(&some, false), "AES256-GCM-16");
    let first = "AES256-GCM-16 with PFS by group 19";
    assert_eq!(brief_esp(&some, true), format!("{first} {OTHERS}"));
}

#[test]
fn what_a_peer_offers_is_named_as_in_the_registry_and_by_number_what_that_lacks() {
    let of = |kind, id| names::list([transform(kind, id, None)]);
    let group = TransformType::KEY_EXCHANGE;
    let groups = [
        (14, "14"),
        (28, "brainpoolP256r1 (28)"),
        (32, "Curve448 (32)"),
    ];
    let ml_kem = [(35, "ML-KEM-512"), (36, "ML-KEM-768"), (37, "ML-KEM-1024")];
    for (id, name) in groups {
        assert_eq!(of(group, id), name);
    }
    for (id, name) in ml_kem {
        assert_eq!(of(group, id), format!("{name} ({id})"));
        let further = TransformType::ADDITIONAL_KEY_EXCHANGE_7;
        assert_eq!(of(further, id), format!("{name} ({id})"));
        assert_eq!(further.to_string(), "additional key exchange 7");
    }
    assert_eq!(of(group, 1_000), "1000");
    assert_eq!(of(TransformType::PRF, 8), "PRF-AES128-CMAC");
    assert_eq!(of(TransformType::PRF, 77), "77");
    assert_eq!(of(TransformType::INTEGRITY, 8), "AES-CMAC");
    assert_eq!(of(TransformType::ENCRYPTION, 28), "CHACHA20-POLY1305");
    assert_eq!(of(TransformType::ENCRYPTION, 99), "encryption 99");
    assert_eq!(TransformType(15).to_string(), "15");
}

#[test]
fn a_transform_with_an_attribute_we_do_not_know_is_passed_over() {
    let ours = ike(&[AesGcm128], &[], &[SHA256], &[Ecp256]);
    let mut offered = offer_ike(&ours, None);
    offered[0].transforms[0].unknown_attribute = true;
    assert!(matches!(
        select_ike(&ours, &offered),
        Err(Mismatch::NoCommon {
            kind: TransformType::ENCRYPTION,
            ..
        })
    ));
}

#[test]
fn a_proposal_of_another_protocol_or_spi_size_is_passed_over() {
    let ours = esp(&[AesGcm128], &[], &[], &[false]);
    let mut offered = offer_esp(&ours, 256, false);
    offered[0].spi.pop();
    assert_eq!(
        select_esp(&ours, &offered, false).unwrap_err().to_string(),
        "no usable proposal: proposal 1: its SPI has 3 octets, expected 4; we accept AES128-GCM-16"
    );
    offered[0].protocol = ProtocolId::AH;
    assert_eq!(
        select_esp(&ours, &offered, false).unwrap_err().to_string(),
        "no usable proposal: proposal 1: it is for AH, expected ESP; we accept AES128-GCM-16"
    );
}

#[test]
fn an_answer_that_selects_what_we_did_not_offer_is_refused() {
    let ours = esp(&[AesGcm256], &[], &[], &[false]);
    let offered = offer_esp(&ours, 256, false);
    let answer = |t: &[Transform]| [proposal(ProtocolId::ESP, &[0, 0, 2, 0], t)];
    assert!(accept_esp(&offered, &answer(&[encryption(AesGcm256), esn(false)])).is_ok());
    assert_eq!(
        accept_esp(&offered, &answer(&[encryption(AesGcm128), esn(false)]))
            .unwrap_err()
            .to_string(),
        "peer selects 1: ESP AES128-GCM-16, ESN no; we offered 1: ESP AES256-GCM-16, ESN no"
    );
    for wrong in [
        // One type missing, one too many, one selected twice.
        vec![encryption(AesGcm256)],
        vec![encryption(AesGcm256), esn(false), group(Ecp256)],
        vec![encryption(AesGcm256), encryption(AesGcm256), esn(false)],
    ] {
        assert!(matches!(
            accept_esp(&offered, &answer(&wrong)),
            Err(Mismatch::NotOffered { .. })
        ));
    }
}

#[test]
fn an_answer_has_one_proposal_and_a_number_of_ours() {
    let ours = ike(&[AesGcm256], &[], &[SHA256], &[Ecp256]);
    let offered = offer_ike(&ours, None);
    assert!(accept_ike(&offered, &[]).is_err());
    assert!(accept_ike(&offered, &[offered[0].clone(), offered[0].clone()]).is_err());
    assert!(
        accept_ike(
            &offered,
            &[Proposal {
                number: 2,
                ..offered[0].clone()
            }]
        )
        .is_err()
    );
    assert!(accept_ike(&offered, &offered).is_ok());
}

fn some_of<T: Copy + std::fmt::Debug + 'static>(
    all: &'static [T],
) -> impl Strategy<Value = Vec<T>> {
    subsequence(all, 1..=all.len()).prop_shuffle()
}

fn any_ike() -> impl Strategy<Value = IkeAlgorithms> {
    let parts = (
        some_of(Encryption::ALL),
        some_of(Integrity::ALL),
        some_of(Prf::ALL),
        some_of(Group::ALL),
    );
    parts.prop_map(|(e, i, p, g)| ike(&e, &i, &p, &g))
}

fn any_esp() -> impl Strategy<Value = EspAlgorithms> {
    let parts = (
        some_of(Encryption::ALL),
        some_of(Integrity::ALL),
        some_of(Group::ALL),
        some_of(&[true, false]),
    );
    parts.prop_map(|(e, i, g, esn)| esp(&e, &i, &g, &esn))
}

proptest! {
    #[test]
    fn for_one_list_alone_the_selection_is_the_same(i in any_ike(), r in any_ike()) {
        let offered = offer_ike(&i, None);
        prop_assert_eq!(select_for_several(&offered, &[(&r, 1)]), select_ike(&r, &offered).ok());
    }

    #[test]
    fn nothing_that_is_offered_is_permitted_by_more_lists(
        i in any_ike(),
        lists in proptest::collection::vec(any_ike(), 1..5),
    ) {
        let offered = offer_ike(&i, None);
        let counted: Vec<_> = lists.iter().map(|list| (list, 1)).collect();
        let permitted = |suite| lists.iter().filter(|list| permits(list, suite)).count();
        let chosen = select_for_several(&offered, &counted);
        let most = chosen.map_or(0, |choice| permitted(choice.suite));
        for &encryption in &i.encryption {
            for &integrity in &i.integrity {
                let integrity = (!encryption.is_aead()).then_some(integrity);
                for &prf in &i.prf {
                    for &group in &i.groups {
                        let suite = IkeSuite { encryption, integrity, prf, group };
                        prop_assert!(permitted(suite) <= most, "{suite}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_a_responder_selects_its_initiator_accepts(i in any_ike(), r in any_ike()) {
        let offered = offer_ike(&i, None);
        if let Ok(choice) = select_ike(&r, &offered) {
            let accepted = accept_ike(&offered, std::slice::from_ref(&choice.answer)).unwrap();
            prop_assert_eq!(accepted.suite, choice.suite);
            prop_assert!(i.encryption.contains(&choice.suite.encryption));
            prop_assert!(r.encryption.contains(&choice.suite.encryption));
        }
    }

    #[test]
    fn a_selected_child_suite_is_accepted_too(i in any_esp(), r in any_esp(), pfs: bool) {
        let offered = offer_esp(&i, 256, pfs);
        if let Ok(choice) = select_esp(&r, &offered, pfs) {
            prop_assert_eq!(choice.group.is_some(), pfs);
            let answer = Proposal { spi: 512_u32.to_be_bytes().to_vec(), ..choice.answer };
            let accepted = accept_esp(&offered, &[answer]).unwrap();
            prop_assert_eq!(accepted.suite, choice.suite);
            prop_assert_eq!(accepted.spi, 512);
        }
    }

    #[test]
    fn equal_configurations_agree_on_the_first_of_each(both in any_ike()) {
        let choice = select_ike(&both, &offer_ike(&both, None)).unwrap();
        prop_assert_eq!(choice.suite.encryption, both.encryption[0]);
        prop_assert_eq!(choice.suite.prf, both.prf[0]);
        prop_assert_eq!(choice.suite.group, both.groups[0]);
    }
}

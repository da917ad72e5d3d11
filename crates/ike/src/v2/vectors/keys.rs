//! The keys of the conversation, from the same log.

/// The pre-shared key.
pub(crate) const PSK: &str = "636f727265637420686f7273652062617474657279";

/// g^ir.
pub(crate) const SHARED: &str = "33f0e11717dc5526436cf3c4ba2f849618f8d6d987ff55ef832e1f36a84e4b20";

/// SK_ei and its salt.
pub(crate) const SK_EI: &str =
    "11c2cc26bccd9ceeb59ca7b85b4100334f3191327b3fc097dad0e61b383ee95174c9bd92";

/// SK_er and its salt.
pub(crate) const SK_ER: &str =
    "f99e15e3436337c5f06a46cf1c6742365645d393e7181560012ce4d83dd041b46e0456ef";

/// SK_pi.
pub(crate) const SK_PI: &str = "ca67eb3141b1848f849f21df0442efbb55bb4833725be620223abe1bd8e25b8c";

/// SK_pr.
pub(crate) const SK_PR: &str = "477254d868c20f8c2e3b71eb59ced73875d088152b68576950171092997eedc3";

/// Key and salt of what left sends in the first CHILD SA.
pub(crate) const CHILD_I: &str = "30af9af5b85e3b79437bbfb032fdb096f435b2f9";

/// Key and salt of what right sends in the first CHILD SA.
pub(crate) const CHILD_R: &str = "53f11691d3fb43a5606b58d269d6c40656711b93";

/// Key and salt of what left sends in the second CHILD SA.
pub(crate) const REKEYED_CHILD_I: &str = "54a7fd82067d6d0f199507dee030c0c1e04fb08c";

/// Key and salt of what right sends in the second CHILD SA.
pub(crate) const REKEYED_CHILD_R: &str = "7735c79d4514bfc6f84c9dcd9f6977c9534f3bef";

/// g^ir of the IKE SA's rekey.
pub(crate) const REKEYED_SHARED: &str =
    "c6088a6044331d0ed2d4c2697cd88c4fa45f8146b091541b79500e0e7509adca";

/// SK_ei of the new IKE SA; its initiator is right.
pub(crate) const REKEYED_SK_EI: &str =
    "33d31b77018f25959788ea3ae0cc214cfd23c411f99f523175212e6665e98d946870b245";

/// SK_er of the new IKE SA.
pub(crate) const REKEYED_SK_ER: &str =
    "e550a999e4f9422177196eaec6aae2f71d8015c160d834d1f26c9b99b516a83fe8fc4ffb";

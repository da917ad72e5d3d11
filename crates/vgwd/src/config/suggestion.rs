//! "Did you mean …?" for keys that are not known.

/// A key longer than this is a mistake of another kind.
pub(super) const LONGEST_SHOWN: usize = 64;

/// The known key that `key` was probably meant to be. Case and underscores do
/// not count, so that AWS's own `DPDTimeoutSeconds` finds `dpd_timeout_seconds`.
pub(super) fn nearest(key: &str, known: &[&'static str]) -> Option<&'static str> {
    if key.len() > LONGEST_SHOWN {
        return None;
    }
    let wanted = squash(key);
    let allowed = (wanted.len() / 3).clamp(1, 3);
    known
        .iter()
        .map(|candidate| (distance(&wanted, &squash(candidate)), *candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn squash(key: &str) -> Vec<char> {
    let letters = key.chars().filter(|c| !matches!(c, '_' | '-'));
    letters.flat_map(char::to_lowercase).collect()
}

/// Levenshtein's distance: insertions, deletions and replacements.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = Vec::with_capacity(row.len());
        next.push(left);
        for (to, above) in b.iter().zip(row.iter().skip(1)) {
            let replaced = diagonal.saturating_add(usize::from(from != to));
            left = replaced
                .min(left.saturating_add(1))
                .min(above.saturating_add(1));
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{distance, nearest};

    fn between(a: &str, b: &str) -> usize {
        let letters = |s: &str| s.chars().collect::<Vec<_>>();
        distance(&letters(a), &letters(b))
    }

    #[test]
    fn distance_counts_single_edits() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "ab", 2),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(between(a, b), edits, "{a} {b}");
            assert_eq!(between(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn a_misspelt_key_finds_the_known_one() {
        let known = ["dpd_timeout_seconds", "dpd_timeout_action", "identity"];
        assert_eq!(
            nearest("dpd_timeout_second", &known),
            Some("dpd_timeout_seconds")
        );
        assert_eq!(
            nearest("DPDTimeoutSeconds", &known),
            Some("dpd_timeout_seconds")
        );
        assert_eq!(nearest("identty", &known), Some("identity"));
        assert_eq!(nearest("colour", &known), None);
    }
}
